//! A memtable with what the tree must know of it to account for it and to flush it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, OnceLock};

use crate::blob::GrowingFile;
use crate::internal_key::Kind;
use crate::sequence::Sequence;
use crate::tree::memtable::{Memtable, MemtableWriter};

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
    /// That commit; 0 while it is empty.
    first_sequence: AtomicU64,
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
            first_sequence: AtomicU64::new(0),
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

    /// Its oldest commit.
    pub(crate) fn first_sequence(&self) -> Option<Sequence> {
        match self.first_sequence.load(Relaxed) {
            0 => None,
            first => Some(Sequence::new(first)),
        }
    }

    pub(crate) fn last_sequence(&self) -> Sequence {
        Sequence::new(self.last_sequence.load(Relaxed))
    }

    /// The right to write to it, for commits that were logged in `segment`.
    pub(crate) fn writer(&self, segment: u64) -> BufferWriter<'_> {
        BufferWriter {
            buffer: self,
            memtable: self.memtable.writer(),
            segment,
            bytes: 0,
            sequence: None,
        }
    }

    /// Makes what was staged readable.
    pub(crate) fn insert_staged(&self) {
        self.memtable.insert_staged();
    }
}

/// Adds entries of one commit to one memtable, and accounts for them when it is dropped. The commit leader has one at a time.
pub(crate) struct BufferWriter<'b> {
    buffer: &'b WriteBuffer,
    memtable: MemtableWriter<'b>,
    segment: u64,
    /// What was added, and is not accounted for yet.
    bytes: usize,
    sequence: Option<Sequence>,
}

impl BufferWriter<'_> {
    /// Adds an entry of the commit `sequence`.
    pub(crate) fn insert(&mut self, key: &[u8], sequence: Sequence, kind: Kind, value: &[u8]) {
        self.memtable.insert(key, sequence, kind, value);
        self.account(key.len() + value.len(), sequence);
    }

    /// As `insert`, but readers find it only after [`insert_staged`](WriteBuffer::insert_staged). For recovery: many
    /// entries are inserted faster in their order than in that of the log.
    pub(crate) fn stage(&mut self, key: &[u8], sequence: Sequence, kind: Kind, value: &[u8]) {
        self.memtable.stage(key, sequence, kind, value);
        self.account(key.len() + value.len(), sequence);
    }

    /// Adds a range tombstone of the commit `sequence`.
    pub(crate) fn insert_range_tombstone(&mut self, start: &[u8], end: &[u8], sequence: Sequence) {
        self.memtable.insert_range_tombstone(start, end, sequence);
        self.account(start.len() + end.len(), sequence);
    }

    fn account(&mut self, bytes: usize, sequence: Sequence) {
        self.bytes += bytes + ENTRY_OVERHEAD_BYTES;
        debug_assert!(self.sequence.is_none_or(|other| other == sequence));
        self.sequence = Some(sequence);
    }
}

impl Drop for BufferWriter<'_> {
    // Plain stores suffice: the commit leader is the only writer.
    fn drop(&mut self) {
        let Some(sequence) = self.sequence else {
            return;
        };
        let buffer = self.buffer;
        buffer.bytes.store(buffer.bytes() + self.bytes, Relaxed);
        if buffer.first_segment.load(Relaxed) == NONE {
            buffer.first_segment.store(self.segment, Relaxed);
            buffer.first_sequence.store(sequence.get(), Relaxed);
        }
        buffer.last_sequence.store(sequence.get(), Relaxed);
    }
}
