//! A directory of files, on one of the backends.

use std::path::Path;
use std::sync::Arc;

use crate::{Completion, File, Result, memory::MemoryDirectory, portable::PortableDirectory};

/// How an operation may complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Inline, on the calling thread: the completion is ready when it is returned.
    Blocking,
    /// Elsewhere, unless that costs nothing: the calling thread is never blocked.
    Cooperative,
}

/// What a backend honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Syncs reach the device: `SyncData` and `SyncAll` may be promised.
    pub durable_sync: bool,
    /// Finished files can be mapped (or are in memory anyway).
    pub map: bool,
    /// `Mode::Cooperative` really leaves the calling thread free.
    pub cooperative: bool,
}

/// A directory that holds one database. Names are plain file names, never paths.
#[derive(Clone, Debug)]
pub struct Storage(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Memory(Arc<MemoryDirectory>),
    Portable(Arc<PortableDirectory>),
}

impl Storage {
    /// An empty directory in memory.
    pub fn memory() -> Self {
        Self(Backend::Memory(Arc::default()))
    }

    /// The directory at `path` of the host's file system. Nothing is touched yet.
    pub fn portable(path: &Path) -> Self {
        Self(Backend::Portable(Arc::new(PortableDirectory::new(path))))
    }

    /// What this backend honours.
    pub fn capabilities(&self) -> Capabilities {
        match &self.0 {
            Backend::Memory(_) => Capabilities {
                durable_sync: true,
                map: true,
                cooperative: true,
            },
            Backend::Portable(_) => Capabilities {
                durable_sync: true,
                map: true,
                cooperative: false,
            },
        }
    }

    /// Creates the directory and its parents where missing; makes their entries durable.
    pub fn create_directory(&self, _mode: Mode) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(_) => Ok(()),
            Backend::Portable(directory) => directory.create_directory(),
        })
    }

    /// Creates a new empty file, open for reading and writing; fails with `AlreadyExists` if the name is taken.
    pub fn create(&self, _mode: Mode, name: &str) -> Completion<File> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => directory.create(name),
            Backend::Portable(directory) => directory.create(name),
        })
    }

    /// Opens an existing regular file for reading; fails with `NotFound`, or `InvalidInput` if it is not a regular file.
    pub fn open(&self, _mode: Mode, name: &str) -> Completion<File> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => directory.open(name),
            Backend::Portable(directory) => directory.open(name, false),
        })
    }

    /// Opens an existing regular file for reading and writing.
    pub fn open_write(&self, _mode: Mode, name: &str) -> Completion<File> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => directory.open(name),
            Backend::Portable(directory) => directory.open(name, true),
        })
    }

    /// Renames a file, replacing what has the new name. Durable after `sync_directory`.
    pub fn rename(&self, _mode: Mode, from: &str, to: &str) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => directory.rename(from, to),
            Backend::Portable(directory) => directory.rename(from, to),
        })
    }

    /// Removes a file. Open handles and maps of it stay readable. Durable after `sync_directory`.
    pub fn remove(&self, _mode: Mode, name: &str) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => directory.remove(name),
            Backend::Portable(directory) => directory.remove(name),
        })
    }

    /// The names of all entries, in no order. Entries whose names are not UTF-8 are left out.
    pub fn list(&self, _mode: Mode) -> Completion<Vec<String>> {
        Completion::ready(match &self.0 {
            Backend::Memory(directory) => Ok(directory.list()),
            Backend::Portable(directory) => directory.list(),
        })
    }

    /// Makes creations, renames and removals that returned before this call durable.
    pub fn sync_directory(&self, _mode: Mode) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(_) => Ok(()),
            Backend::Portable(directory) => directory.sync_directory(),
        })
    }
}

/// Whether the directory's path exists, without creating anything.
impl Storage {
    /// See above.
    pub fn exists(&self, _mode: Mode) -> Completion<bool> {
        Completion::ready(match &self.0 {
            Backend::Memory(_) => Ok(true),
            Backend::Portable(directory) => directory.exists(),
        })
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// As `open`; `InvalidData` if the file is longer than `limit`.
    pub async fn read_file(&self, mode: Mode, name: &str, limit: u64) -> Result<Vec<u8>> {
        let file = self.open(mode, name).await?;
        let length = file.len(mode).await?;
        match usize::try_from(length) {
            Ok(bytes) if length <= limit => file.read_at(mode, 0, bytes).await,
            _ => Err(crate::Error {
                operation: crate::Operation::Read,
                name: name.to_owned(),
                offset: None,
                source: std::io::Error::new(
                    std::io::ErrorKind::InvalidData,
                    "file is longer than it may be",
                ),
            }),
        }
    }
}
