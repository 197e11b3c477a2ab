//! What was committed, and what a reader at any sequence number must therefore find.
//!
//! - Each commit takes one sequence number, and none is left out: the history is complete up to the first commit that
//!   nobody has recorded.
//! - A commit is recorded once its call has returned. Who has read at its sequence by then waits for the record.
//! - When a thread fails, nobody waits for it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::common::random::Random;

pub(crate) const BUCKETS: [&str; 3] = ["default", "few large", "most large"];
pub(crate) const WRITERS: usize = 2;
/// Of each writer, in each bucket: nobody else writes them.
pub(crate) const SLOTS_PER_WRITER: usize = 40;
/// Rows of the default bucket that every writer adds to.
pub(crate) const COUNTERS: usize = 2;
pub(crate) const SLOTS: usize = WRITERS * SLOTS_PER_WRITER + COUNTERS;

pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// What of a slot somebody may read: the stamp of its value, or nothing.
pub(crate) type Stamp = Option<u64>;

/// One slot changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) bucket: usize,
    pub(crate) slot: usize,
    pub(crate) stamp: Stamp,
}

/// The key of a slot. Keys ascend with their slots and start with a letter of their writer.
pub(crate) fn key(slot: usize) -> Vec<u8> {
    let owner = u8::try_from(slot / SLOTS_PER_WRITER).expect("few writers");
    let own = slot % SLOTS_PER_WRITER;
    let mut key = format!("{}{own:03}", char::from(b'a' + owner)).into_bytes();
    key.resize(key.len() + own % 5 * 6, b'-');
    key
}

/// The value with this stamp: its own length and bytes, so that no other passes for it.
pub(crate) fn value(stamp: u64) -> Vec<u8> {
    let mut random = Random(stamp);
    let length = match random.next() % 16 {
        0 => random.next() % 3000,
        1..6 => 100 + random.next() % 300,
        _ => random.next() % 60,
    };
    let filling = random.next().to_le_bytes();
    let mut value = stamp.to_le_bytes().to_vec();
    let length = usize::try_from(length).expect("a small length");
    value.extend(filling.iter().cycle().take(length));
    value
}

/// The stamp that a value says it has.
pub(crate) fn stamp_of(value: &[u8]) -> u64 {
    let stamp = value.first_chunk().expect("a value starts with its stamp");
    u64::from_le_bytes(*stamp)
}

/// All slots of one bucket.
pub(crate) type State = Vec<Stamp>;

/// The rows of the slots that are there.
pub(crate) fn rows(state: &[Stamp]) -> Vec<Row> {
    let slots = state.iter().enumerate();
    slots
        .filter_map(|(slot, stamp)| stamp.map(|stamp| (key(slot), value(stamp))))
        .collect()
}

#[derive(Debug, Default)]
struct Records {
    /// Of each slot of each bucket: who wrote it, ascending.
    versions: Vec<Vec<(u64, Stamp)>>,
    /// Every commit up to this one is in `versions`.
    complete: u64,
    /// Commits after one that is not recorded yet.
    waiting: BTreeMap<u64, Vec<Change>>,
    writing: usize,
    failed: bool,
}

impl Records {
    fn at(&self, bucket: usize, slot: usize, sequence: u64) -> Stamp {
        let versions = &self.versions[bucket * SLOTS + slot];
        let visible = versions.partition_point(|(written, _)| *written <= sequence);
        visible.checked_sub(1).and_then(|newest| versions[newest].1)
    }
}

/// See the header.
#[derive(Debug)]
pub(crate) struct History {
    records: Mutex<Records>,
    changed: Condvar,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            records: Mutex::new(Records {
                versions: vec![Vec::new(); BUCKETS.len() * SLOTS],
                writing: WRITERS,
                ..Records::default()
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().expect("nobody panics under the lock")
    }

    /// The commit with this sequence made these changes, in their order.
    pub(crate) fn record(&self, sequence: u64, changes: Vec<Change>) {
        let mut guard = self.lock();
        let records = &mut *guard;
        let known = sequence <= records.complete || records.waiting.contains_key(&sequence);
        records.waiting.insert(sequence, changes);
        while let Some(changes) = records.waiting.remove(&(records.complete + 1)) {
            records.complete += 1;
            for change in changes {
                let versions = &mut records.versions[change.bucket * SLOTS + change.slot];
                versions.push((records.complete, change.stamp));
            }
        }
        drop(guard);
        self.changed.notify_all();
        assert!(!known, "two commits at {sequence}");
    }

    /// A writer made its last commit.
    pub(crate) fn writer_is_done(&self) {
        self.lock().writing -= 1;
        self.changed.notify_all();
    }

    fn fail(&self) {
        self.lock().failed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        let records = self.lock();
        records.writing == 0 || records.failed
    }

    /// How many commits are recorded, without a gap.
    pub(crate) fn complete(&self) -> u64 {
        self.lock().complete
    }

    /// Waits for as many commits, or until nobody writes any more.
    pub(crate) fn wait_for_progress(&self, complete: u64) {
        let over = |records: &mut Records| {
            records.complete < complete && records.writing > 0 && !records.failed
        };
        drop(self.changed.wait_while(self.lock(), over));
    }

    /// All records up to this sequence, once they are there.
    fn through(&self, sequence: u64) -> MutexGuard<'_, Records> {
        let incomplete = |records: &mut Records| records.complete < sequence && !records.failed;
        let records = self.changed.wait_while(self.lock(), incomplete);
        let records = records.expect("nobody panics under the lock");
        if records.failed {
            drop(records);
            // Only the first failure is worth printing.
            std::panic::resume_unwind(Box::new("another thread failed"));
        }
        records
    }

    /// What one bucket holds at this sequence.
    pub(crate) fn state(&self, bucket: usize, sequence: u64) -> State {
        let records = self.through(sequence);
        let slots = 0..SLOTS;
        slots
            .map(|slot| records.at(bucket, slot, sequence))
            .collect()
    }

    /// What one slot may hold for who reads it while the newest sequence passes through these.
    pub(crate) fn while_at(
        &self,
        bucket: usize,
        slot: usize,
        sequences: RangeInclusive<u64>,
    ) -> Vec<Stamp> {
        let records = self.through(*sequences.end());
        let mut stamps = vec![records.at(bucket, slot, *sequences.start())];
        let versions = &records.versions[bucket * SLOTS + slot];
        let within = versions.iter().filter(|(at, _)| sequences.contains(at));
        stamps.extend(within.map(|(_, stamp)| *stamp));
        stamps
    }
}

/// Lets nobody wait for a thread that failed.
pub(crate) struct Alarm<'history>(pub(crate) &'history History);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}
