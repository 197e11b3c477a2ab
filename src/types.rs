//! Small public values.

pub use crate::key::KeyRange;
pub use crate::sequence::Sequence;

/// A value's bytes.
pub type Value = Vec<u8>;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Value,
}

impl KeyValue {
    /// A row of these bytes.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// What a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    sequence: Sequence,
}

impl CommitInfo {
    /// Of the commit with this sequence.
    #[must_use]
    pub const fn new(sequence: Sequence) -> Self {
        Self { sequence }
    }

    /// The commit's sequence; for an empty batch, the newest visible one.
    #[must_use]
    pub const fn sequence(self) -> Sequence {
        self.sequence
    }
}
