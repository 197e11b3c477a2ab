//! The engine's one ordering: user key ascending, then sequence descending (newest first).
//!
//! No two entries of a tree have the same user key and sequence: a commit is one sequence, and the
//! last operation of a batch on a key wins before it is applied.

use std::cmp::Ordering;

use crate::sequence::Sequence;

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
}

impl Kind {
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Tombstone),
            1 => Some(Self::Value),
            2 => Some(Self::Blob),
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
    /// Empty for a tombstone; for a blob, where the value lies.
    pub(crate) value: &'a [u8],
}

/// Compares two positions in the engine's order.
pub(crate) fn compare(left: (&[u8], Sequence), right: (&[u8], Sequence)) -> Ordering {
    left.0.cmp(right.0).then_with(|| right.1.cmp(&left.1))
}
