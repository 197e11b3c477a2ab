//! What the manifest knows of a table.

use crate::sequence::Sequence;

/// One table file: its size, its key range and the commits in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    pub(crate) largest_exclusive: bool,
    pub(crate) smallest_sequence: Sequence,
    pub(crate) largest_sequence: Sequence,
}
