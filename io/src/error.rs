//! What failed: the operation, the file, the offset, and the host's own error.

use std::fmt;

/// A storage operation, named as the statistics name it.
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
    /// Remove a file.
    Remove,
    /// List a directory.
    List,
    /// Make a directory's entries durable.
    SyncDirectory,
    /// Take the writer's lock.
    Lock,
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
