//! Ranges of user keys.

use std::ops::Bound;

/// A range of keys, in byte order. An inverted or empty range holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it starts.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}
