//! What is known of a table without opening it: the manifest records it, and opening compares it.

use std::ops::Bound;

use crate::blob::BlobUses;
use crate::coding::{Reader, put_varint};
use crate::error::Fault;
use crate::key::KeyRange;
use crate::sequence::Sequence;

/// A table in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    /// The file's number, never reused.
    pub(crate) number: u64,
    /// The file's length.
    pub(crate) bytes: u64,
    /// Point entries, tombstones among them.
    pub(crate) entries: u64,
    /// Point tombstones and range tombstones.
    pub(crate) tombstones: u64,
    /// Range tombstones among them, one for each sequence of each fragment.
    pub(crate) range_tombstones: u64,
    /// The least user key that the table says anything of.
    pub(crate) smallest: Vec<u8>,
    /// The greatest such key, or its bound.
    pub(crate) largest: Vec<u8>,
    /// Whether `largest` is the end of a range tombstone, thus not itself in the table. If it is empty
    /// then, the tombstone has no end.
    pub(crate) largest_exclusive: bool,
    pub(crate) smallest_sequence: Sequence,
    pub(crate) largest_sequence: Sequence,
    /// The values that lie in blob files.
    pub(crate) blobs: BlobUses,
    /// Entries of its own that were kept for a snapshot.
    pub(crate) superseded: Freeable,
    /// What its range tombstones hide in older tables; an estimate, of when it was written.
    pub(crate) covered: Freeable,
}

/// What merging frees as soon as nobody reads before a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Freeable {
    pub(crate) bytes: u64,
    pub(crate) until: Sequence,
}

impl Freeable {
    /// This much more.
    pub(crate) fn add(&mut self, bytes: u64, until: Sequence) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.until = self.until.max(until);
    }

    /// How much can be freed while the oldest reader is at `oldest_pin`.
    pub(crate) fn free_bytes(&self, oldest_pin: Option<Sequence>) -> u64 {
        if oldest_pin.is_none_or(|pin| pin >= self.until) {
            self.bytes
        } else {
            0
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.bytes);
        put_varint(out, self.until.get());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            bytes: reader.varint()?,
            until: Sequence::new(reader.varint()?),
        })
    }
}

impl TableMeta {
    /// Whether every key of the table is below `key`.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        if self.largest_exclusive {
            !self.largest.is_empty() && self.largest.as_slice() <= key
        } else {
            self.largest.as_slice() < key
        }
    }

    /// Whether `key` lies between the table's bounds.
    pub(crate) fn spans(&self, key: &[u8]) -> bool {
        self.smallest.as_slice() <= key && !self.ends_before(key)
    }

    /// Whether the table may hold a key of `range`.
    pub(crate) fn overlaps(&self, range: &KeyRange) -> bool {
        let reaches = match &range.start {
            Bound::Unbounded => true,
            Bound::Included(start) | Bound::Excluded(start) => !self.ends_before(start),
        };
        reaches && !range.ends_before(&self.smallest)
    }

    /// Whether its bounds are the right way round.
    pub(crate) fn is_ordered(&self) -> bool {
        let endless = self.largest_exclusive && self.largest.is_empty();
        (endless || self.smallest <= self.largest)
            && self.smallest_sequence <= self.largest_sequence
    }
}
