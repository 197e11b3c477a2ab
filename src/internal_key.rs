//! The engine's one ordering: user key ascending, then sequence descending (newest first).
//!
//! No two entries of a tree have the same user key and sequence: a commit is one sequence, and the
//! last operation of a batch on a key wins before it is applied.

use std::cmp::Ordering;

use crate::sequence::Sequence;

/// Values up to 128 MiB. With its key, a value fits a table's block.
pub(crate) const VALUE_BYTES_MAX: usize = 128 << 20;

/// What an entry says of its key. The numbers reach the disk: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The key is absent from this sequence on.
    Tombstone = 0,
    /// The key has this value from this sequence on.
    Value = 1,
    /// The key has a value from this sequence on; the entry holds a `BlobIndex` to it. Only in tables.
    Blob = 2,
    /// The key's value has to be worked out from what the entry holds, and perhaps older entries; see `composite`.
    Composite = 3,
}

impl Kind {
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Tombstone),
            1 => Some(Self::Value),
            2 => Some(Self::Blob),
            3 => Some(Self::Composite),
            _ => None,
        }
    }
}

/// One version of one key, lent from wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) sequence: Sequence,
    pub(crate) kind: Kind,
    /// Empty for a tombstone; for a blob, where the value lies; of a composite, its parts.
    pub(crate) value: &'a [u8],
}

/// Compares two positions in the engine's order.
pub(crate) fn compare(left: (&[u8], Sequence), right: (&[u8], Sequence)) -> Ordering {
    left.0.cmp(right.0).then_with(|| right.1.cmp(&left.1))
}
