//! What is known of a table without opening it: the manifest records it, and opening compares it.

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
    /// The least user key that the table says anything of.
    pub(crate) smallest: Vec<u8>,
    /// The greatest such key, or its bound.
    pub(crate) largest: Vec<u8>,
    /// Whether `largest` is the end of a range tombstone, thus not itself in the table.
    pub(crate) largest_exclusive: bool,
    pub(crate) smallest_sequence: Sequence,
    pub(crate) largest_sequence: Sequence,
}
