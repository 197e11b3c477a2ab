//! "Certainly absent" answers from a few bits per key, read in place from a table's bytes.
//!
//! A filter never says absent of what was put in; it may say present of what was not.

pub(crate) mod bloom;
pub(crate) mod prefix;
