//! A memtable with what the tree must know of it to account for it and to flush it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};

use crate::blob::GrowingFile;
use crate::internal_key::Kind;
use crate::sequence::Sequence;
use crate::tree::memtable::Memtable;

/// What an entry counts beyond its key and value: its sequence, its kind, its place in the index.
const ENTRY_OVERHEAD_BYTES: usize = 16;

/// The memory of an index may exceed the limit of a memtable by this; small memtables, whose first
/// chunk is most of it, are judged by their entries alone.
const INDEX_ALLOWANCE_BYTES: usize = 64 << 10;

/// The file of a memtable's large values may outgrow the memtable by this: it takes no memory, but what
/// is in it may have to be read when the database is opened.
const VALUES_FACTOR: usize = 4;

/// One memtable, active or immutable. Only the commit leader writes, and only while it is active.
#[derive(Debug)]
pub(crate) struct WriteBuffer {
    memtable: Arc<Memtable>,
    bytes: AtomicUsize,
    /// The WAL segment of its first commit; `NONE` while it is empty.
    first_segment: AtomicU64,
    /// Its newest commit.
    last_sequence: AtomicU64,
    /// Where those of its values lie that do not lie here, if there are any.
    values: OnceLock<Arc<GrowingFile>>,
}

const NONE: u64 = u64::MAX;

impl WriteBuffer {
    pub(crate) fn new() -> Self {
        Self {
            memtable: Arc::new(Memtable::new()),
            bytes: AtomicUsize::new(0),
            first_segment: AtomicU64::new(NONE),
            last_sequence: AtomicU64::new(0),
            values: OnceLock::new(),
        }
    }

    /// The file of its large values, if it has one.
    pub(crate) fn values(&self) -> Option<&Arc<GrowingFile>> {
        self.values.get()
    }

    /// Gives it a file for large values, unless it has one. Commit leader (or recovery) only.
    pub(crate) fn set_values(&self, file: Arc<GrowingFile>) {
        drop(self.values.set(file));
    }

    pub(crate) fn memtable(&self) -> &Arc<Memtable> {
        &self.memtable
    }

    /// Key and value bytes, with a constant for each entry.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// Whether it has grown to `limit`: by what callers put in, or by the memory that this takes.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.bytes() >= limit
            || self.memtable.bytes() >= limit.saturating_add(INDEX_ALLOWANCE_BYTES)
            || self
                .values()
                .is_some_and(|file| file.bytes() >= limit.saturating_mul(VALUES_FACTOR) as u64)
    }

    /// The oldest WAL segment that this memtable still needs.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        Some(self.first_segment.load(Relaxed)).filter(|segment| *segment != NONE)
    }

    pub(crate) fn last_sequence(&self) -> Sequence {
        Sequence::new(self.last_sequence.load(Relaxed))
    }

    /// Adds an entry of the commit `sequence`, logged in `segment`.
    pub(crate) fn insert(
        &self,
        key: &[u8],
        sequence: Sequence,
        kind: Kind,
        value: &[u8],
        segment: u64,
    ) {
        self.memtable.insert(key, sequence, kind, value);
        self.account(key.len() + value.len(), sequence, segment);
    }

    /// As `insert`, but readers find it only after [`insert_staged`](Self::insert_staged). For recovery: many
    /// entries are inserted faster in their order than in that of the log.
    pub(crate) fn stage(
        &self,
        key: &[u8],
        sequence: Sequence,
        kind: Kind,
        value: &[u8],
        segment: u64,
    ) {
        self.memtable.stage(key, sequence, kind, value);
        self.account(key.len() + value.len(), sequence, segment);
    }

    /// Makes what was staged readable.
    pub(crate) fn insert_staged(&self) {
        self.memtable.insert_staged();
    }

    /// Adds a range tombstone of the commit `sequence`, logged in `segment`.
    pub(crate) fn insert_range_tombstone(
        &self,
        start: &[u8],
        end: &[u8],
        sequence: Sequence,
        segment: u64,
    ) {
        self.memtable.insert_range_tombstone(start, end, sequence);
        self.account(start.len() + end.len(), sequence, segment);
    }

    // Plain stores suffice: the commit leader is the only writer.
    fn account(&self, bytes: usize, sequence: Sequence, segment: u64) {
        self.bytes
            .store(self.bytes() + bytes + ENTRY_OVERHEAD_BYTES, Relaxed);
        if self.first_segment.load(Relaxed) == NONE {
            self.first_segment.store(segment, Relaxed);
        }
        self.last_sequence.store(sequence.get(), Relaxed);
    }
}
