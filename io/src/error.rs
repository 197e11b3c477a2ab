//! What failed: the operation, the file, the offset, and the host's own error.

use std::fmt;
use std::sync::Arc;

use trine_platform::LockError;

/// A storage operation, as errors and statistics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Create a directory and its parents.
    CreateDirectory,
    /// Create a new file.
    Create,
    /// Open an existing file.
    Open,
    /// Ask a file's length.
    Len,
    /// Read at an offset.
    Read,
    /// Write at an offset.
    Write,
    /// Write at an offset, durably.
    WriteDurably,
    /// Make a file's bytes durable.
    SyncData,
    /// Make a file's bytes and metadata durable.
    SyncAll,
    /// Cut or extend a file.
    SetLen,
    /// Map a file into memory.
    Map,
    /// Rename a file.
    Rename,
    /// Give a file another name in another directory.
    Link,
    /// Remove a file.
    Remove,
    /// List a directory.
    List,
    /// Make a directory's entries durable.
    SyncDirectory,
    /// Take the writer's lock.
    Lock,
    /// A caller's own work, given to `Storage::offload`.
    Job,
    /// Start a ring for reads, and prove it.
    StartRing,
}

impl Operation {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 19] = [
        Self::CreateDirectory,
        Self::Create,
        Self::Open,
        Self::Len,
        Self::Read,
        Self::Write,
        Self::WriteDurably,
        Self::SyncData,
        Self::SyncAll,
        Self::SetLen,
        Self::Map,
        Self::Rename,
        Self::Link,
        Self::Remove,
        Self::List,
        Self::SyncDirectory,
        Self::Lock,
        Self::Job,
        Self::StartRing,
    ];

    /// Its place in [`Operation::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Why a lock could not be had, where that is no failure of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockRefusal {
    /// Somebody holds it, here or in another process. The error's kind is `WouldBlock`.
    Held,
    /// Something that we did not write has the lock file's name. The error's kind is `InvalidData`.
    Foreign,
}

/// A failed storage operation.
#[derive(Debug)]
pub struct Error {
    /// What was attempted.
    pub operation: Operation,
    /// File name inside the directory, or the directory's own path.
    pub name: String,
    /// Offset in the file, where the operation has one.
    pub offset: Option<u64>,
    /// What the host said.
    pub source: std::io::Error,
}

impl Error {
    /// Whether this is a lock that was refused, and why; `None` for every other failure.
    pub fn lock_refusal(&self) -> Option<LockRefusal> {
        match self.source.get_ref()?.downcast_ref::<LockError>()? {
            LockError::Held => Some(LockRefusal::Held),
            LockError::Foreign => Some(LockRefusal::Foreign),
            LockError::Io(_) => None,
        }
    }
}

/// What is being attempted, from which an error is made if it fails.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) operation: Operation,
    pub(crate) name: Arc<str>,
    pub(crate) offset: Option<u64>,
}

impl Attempt {
    pub(crate) fn new(operation: Operation, name: &str) -> Self {
        Self {
            operation,
            name: name.into(),
            offset: None,
        }
    }

    pub(crate) fn failed(&self, source: std::io::Error) -> Error {
        Error {
            operation: self.operation,
            name: (*self.name).to_owned(),
            offset: self.offset,
            source,
        }
    }

    /// Nobody is left to finish it.
    pub(crate) fn lost(&self) -> Error {
        self.failed(std::io::Error::other(
            "the thread that ran the operation panicked; its outcome is unknown",
        ))
    }
}

/// `std::result::Result` of this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.operation, self.name)?;
        if let Some(offset) = self.offset {
            write!(f, " at offset {offset}")?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_own_place() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), place);
        }
    }

    #[test]
    fn message_names_operation_file_and_offset() {
        let mut attempt = Attempt::new(Operation::Read, "table-000001");
        attempt.offset = Some(4096);
        let error = attempt.failed(std::io::ErrorKind::UnexpectedEof.into());
        let text = error.to_string();
        assert_eq!(
            text,
            "Read of table-000001 at offset 4096: unexpected end of file"
        );
    }
}
