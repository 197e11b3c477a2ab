//! What writers do: batches, range deletes and transactions, all of it chosen by a seed.
//!
//! A writer alone writes its slots, and adds to counters that all share. So what is there in the end follows from the
//! seed, however the threads met ([`outcome`]).

use std::ops::Range;

use trine_kv::{Bucket, Db, Error, KeyRange, TransactionOptions, WriteBatch, WriteOptions};

use crate::common::random::Random;
use crate::common::way::{Way, call};
use crate::history::{
    BUCKETS, COUNTERS, Change, History, SLOTS, SLOTS_PER_WRITER, State, WRITERS, key, stamp_of,
    value,
};

#[derive(Clone, Debug)]
enum Step {
    Put {
        bucket: usize,
        slot: usize,
        stamp: u64,
    },
    Delete {
        bucket: usize,
        slot: usize,
    },
    DeleteRange {
        bucket: usize,
        slots: Range<usize>,
    },
}

impl Step {
    fn changes(&self) -> Vec<Change> {
        match self.clone() {
            Self::Put {
                bucket,
                slot,
                stamp,
            } => vec![Change {
                bucket,
                slot,
                stamp: Some(stamp),
            }],
            Self::Delete { bucket, slot } => vec![Change {
                bucket,
                slot,
                stamp: None,
            }],
            Self::DeleteRange { bucket, slots } => slots
                .map(|slot| Change {
                    bucket,
                    slot,
                    stamp: None,
                })
                .collect(),
        }
    }
}

/// One commit.
#[derive(Clone, Debug)]
struct Operation {
    steps: Vec<Step>,
    /// A transaction, which adds one to this counter.
    counter: Option<usize>,
    options: WriteOptions,
    way: Way,
}

fn step(random: &mut Random, writer: usize, stamp: u64) -> Step {
    let bucket = pick(random, BUCKETS.len());
    let own = pick(random, SLOTS_PER_WRITER);
    let slot = writer * SLOTS_PER_WRITER + own;
    match random.next() % 16 {
        0 => Step::DeleteRange {
            bucket,
            slots: slot..slot + pick(random, SLOTS_PER_WRITER - own + 1),
        },
        1..4 => Step::Delete { bucket, slot },
        _ => Step::Put {
            bucket,
            slot,
            stamp,
        },
    }
}

/// A number below `count`.
pub(crate) fn pick(random: &mut Random, count: usize) -> usize {
    let below = random.next() % u64::try_from(count).expect("a small count");
    usize::try_from(below).expect("below a usize")
}

/// Either way of calling, the synchronous one more often.
pub(crate) fn way(random: &mut Random) -> Way {
    match random.next() % 3 {
        0 => Way::Async,
        _ => Way::Sync,
    }
}

fn operations(seed: u64, writer: usize, count: u64) -> impl Iterator<Item = Operation> {
    let own = u64::try_from(writer).expect("few writers") + 1;
    let mut random = Random(seed ^ own);
    (0..count).map(move |index| {
        let steps = match random.next() % 4 {
            0 => 1 + random.next() % 6,
            _ => 1,
        };
        let stamp = own << 48 | index << 8;
        Operation {
            steps: (0..steps)
                .map(|nth| step(&mut random, writer, stamp | nth))
                .collect(),
            counter: (random.next().is_multiple_of(8)).then(|| pick(&mut random, COUNTERS)),
            options: match random.next() % 64 {
                0 => WriteOptions::sync_all(),
                1..4 => WriteOptions::flush(),
                _ => WriteOptions::buffered(),
            },
            way: way(&mut random),
        }
    })
}

fn apply(changes: &[Change], states: &mut [State]) {
    for change in changes {
        states[change.bucket][change.slot] = change.stamp;
    }
}

fn counter_slot(counter: usize) -> usize {
    WRITERS * SLOTS_PER_WRITER + counter
}

/// What each bucket holds when all writers are done, by the seed alone.
pub(crate) fn outcome(seed: u64, count: u64) -> Vec<State> {
    let mut states = vec![vec![None; SLOTS]; BUCKETS.len()];
    for writer in 0..WRITERS {
        for operation in operations(seed, writer, count) {
            for step in &operation.steps {
                apply(&step.changes(), &mut states);
            }
            if let Some(counter) = operation.counter {
                let stamp = &mut states[0][counter_slot(counter)];
                *stamp = Some(stamp.unwrap_or(0) + 1);
            }
        }
    }
    states
}

fn key_range(slots: &Range<usize>) -> KeyRange {
    KeyRange::half_open(key(slots.start), key(slots.end))
}

/// Puts a step into a batch or a transaction, whose methods have the same names.
macro_rules! stage {
    ($into:expr, $step:expr) => {
        match $step.clone() {
            Step::Put {
                bucket: 0,
                slot,
                stamp,
            } => $into.put(key(slot), value(stamp)),
            Step::Delete { bucket: 0, slot } => $into.delete(key(slot)),
            Step::DeleteRange { bucket: 0, slots } => $into.delete_range(key_range(&slots)),
            Step::Put {
                bucket,
                slot,
                stamp,
            } => ($into.put_bucket(BUCKETS[bucket], key(slot), value(stamp))).expect("a name"),
            Step::Delete { bucket, slot } => {
                ($into.delete_bucket(BUCKETS[bucket], key(slot))).expect("a name");
            }
            Step::DeleteRange { bucket, slots } => {
                ($into.delete_range_bucket(BUCKETS[bucket], key_range(&slots))).expect("a name");
            }
        }
    };
}

/// Makes all of one writer's commits and records them.
pub(crate) struct Writer<'run> {
    pub(crate) db: &'run Db,
    pub(crate) buckets: &'run [Bucket],
    pub(crate) history: &'run History,
    pub(crate) number: usize,
}

impl Writer<'_> {
    pub(crate) fn run(&self, seed: u64, count: u64) {
        // Nobody else writes this writer's slots, so it knows what is in them.
        let mut own = vec![vec![None; SLOTS]; BUCKETS.len()];
        for operation in operations(seed, self.number, count) {
            let changes: Vec<_> = operation.steps.iter().flat_map(Step::changes).collect();
            if let Some(counter) = operation.counter {
                self.transaction(&operation, counter, changes.clone(), &own);
            } else {
                self.write(&operation, changes.clone());
            }
            apply(&changes, &mut own);
            for change in changes.iter().take(2) {
                self.is_read_back(change.bucket, change.slot, &own, operation.way);
            }
        }
        self.history.writer_is_done();
    }

    fn write(&self, operation: &Operation, changes: Vec<Change>) {
        let (way, options) = (operation.way, operation.options);
        let info = match &operation.steps[..] {
            [
                Step::Put {
                    bucket,
                    slot,
                    stamp,
                },
            ] => {
                let bucket = &self.buckets[*bucket];
                call!(
                    way,
                    bucket,
                    put_with_options / put_with_options_sync(key(*slot), value(*stamp), options)
                )
            }
            [Step::DeleteRange { bucket, slots }] => {
                let bucket = &self.buckets[*bucket];
                let range = key_range(slots);
                call!(
                    way,
                    bucket,
                    delete_range_with_options / delete_range_with_options_sync(range, options)
                )
            }
            steps => {
                let mut batch = WriteBatch::new();
                for step in steps {
                    stage!(batch, step);
                }
                call!(way, self.db, write / write_sync(batch, options))
            }
        };
        let info = info.expect("a commit");
        self.history.record(info.sequence().get(), changes);
    }

    /// Reads a counter, adds one and stages the steps, until no other transaction came between.
    fn transaction(
        &self,
        operation: &Operation,
        counter: usize,
        mut changes: Vec<Change>,
        own: &[State],
    ) {
        let way = operation.way;
        let slot = counter_slot(counter);
        loop {
            let mut transaction = self.db.transaction(TransactionOptions {
                write_options: operation.options,
            });
            let read = call!(way, transaction, get / get_sync(&key(slot))).expect("a read");
            let before = read.as_deref().map(stamp_of);
            let at = transaction.read_sequence().get();
            assert_eq!(
                before,
                self.history.state(0, at)[slot],
                "a transaction's read of counter {counter} at {at}"
            );
            let after = before.unwrap_or(0) + 1;
            transaction.put(key(slot), value(after));
            let mut staged = own.to_vec();
            for step in &operation.steps {
                stage!(transaction, step);
                apply(&step.changes(), &mut staged);
            }
            for change in &changes {
                let key = &key(change.slot);
                let found = match BUCKETS[change.bucket] {
                    "default" => call!(way, transaction, get_staged / get_staged_sync(key)),
                    name => call!(
                        way,
                        transaction,
                        get_staged_bucket / get_staged_bucket_sync(name, key)
                    ),
                };
                let expected = staged[change.bucket][change.slot].map(value);
                assert_eq!(found.expect("a read"), expected, "a staged {change:?}");
            }
            match call!(way, transaction, commit / commit_sync()) {
                Ok(info) => {
                    changes.push(Change {
                        bucket: 0,
                        slot,
                        stamp: Some(after),
                    });
                    return self.history.record(info.sequence().get(), changes);
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("a transaction: {error}"),
            }
        }
    }

    fn is_read_back(&self, bucket: usize, slot: usize, own: &[State], way: Way) {
        let found = call!(way, self.buckets[bucket], get / get_sync(&key(slot)));
        assert_eq!(
            found.expect("a read"),
            own[bucket][slot].map(value),
            "its own commit, bucket {bucket}, slot {slot}"
        );
    }
}
