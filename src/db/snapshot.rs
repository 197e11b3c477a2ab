//! Snapshots: one sequence, pinned for as long as the handle lives.

use crate::sequence::Sequence;
use crate::tree::pins::Pin;

/// Everything that was committed up to one sequence. Each clone keeps that sequence readable: versions
/// it sees survive overwrites, deletes, flushes and compactions.
///
/// A snapshot does not keep the database open; reading through it needs a live [`Bucket`](crate::Bucket)
/// or [`Db`](crate::Db).
#[derive(Clone, Debug)]
pub struct Snapshot {
    sequence: Sequence,
    /// `None` if it was made from a bare number.
    pin: Option<Pin>,
}

impl Snapshot {
    /// A snapshot at any sequence. It pins nothing: versions that only it could see may be gone, and a
    /// sequence in the future also sees commits to come.
    #[must_use]
    pub const fn new(read_sequence: Sequence) -> Self {
        Self {
            sequence: read_sequence,
            pin: None,
        }
    }

    pub(crate) fn pinned(pin: Pin) -> Self {
        Self {
            sequence: pin.sequence(),
            pin: Some(pin),
        }
    }

    /// The sequence it reads at.
    #[must_use]
    pub const fn read_sequence(&self) -> Sequence {
        self.sequence
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Snapshot {}
