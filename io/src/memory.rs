//! Files in memory, for databases that keep nothing and for tests.
//!
//! - A mapped file's bytes are shared, never copied again: reads serve them too. A write to such a file takes a
//!   copy first, so that bytes once handed out never change.
//! - Every call finishes inline. Lock order: the directory's files, or one file's bytes; never both.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_platform::LockError;
use trine_platform::sorted::{SortedMap, SortedSet};

use crate::Bytes;
use crate::metrics::Metrics;

/// A flat directory.
#[derive(Debug, Default)]
pub(crate) struct MemoryDirectory {
    files: Mutex<SortedMap<String, Arc<Content>>>,
    locks: Mutex<SortedSet<String>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// An open file. A rename of the entry leaves it as it is.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    pub(crate) name: Arc<str>,
    pub(crate) metrics: Arc<Metrics>,
    content: Arc<Content>,
    is_writable: bool,
}

/// A file's bytes, shared by its entry and all who have it open.
#[derive(Debug, Default)]
struct Content {
    stored: Mutex<Stored>,
}

#[derive(Debug)]
enum Stored {
    Growing(Vec<u8>),
    /// Handed out by `map`: must not change.
    Shared(Arc<[u8]>),
}

impl Default for Stored {
    fn default() -> Self {
        Self::Growing(Vec::new())
    }
}

impl Stored {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Growing(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut Vec<u8> {
        if let Self::Shared(bytes) = self {
            *self = Self::Growing(bytes.to_vec());
        }
        match self {
            Self::Growing(bytes) => bytes,
            Self::Shared(_) => unreachable!("replaced above"),
        }
    }

    fn share(&mut self) -> Arc<[u8]> {
        if let Self::Growing(bytes) = self {
            *self = Self::Shared(std::mem::take(bytes).into());
        }
        match self {
            Self::Shared(bytes) => Arc::clone(bytes),
            Self::Growing(_) => unreachable!("replaced above"),
        }
    }
}

impl MemoryDirectory {
    fn files(&self) -> MutexGuard<'_, SortedMap<String, Arc<Content>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, SortedSet<String>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, name: &str, content: Arc<Content>, is_writable: bool) -> MemoryFile {
        MemoryFile {
            name: name.into(),
            metrics: Arc::clone(&self.metrics),
            content,
            is_writable,
        }
    }

    pub(crate) fn create(&self, name: &str) -> io::Result<MemoryFile> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let content = Arc::<Content>::default();
        files.insert(name.to_owned(), Arc::clone(&content));
        Ok(self.handle(name, content, true))
    }

    pub(crate) fn open(&self, name: &str, is_writable: bool) -> io::Result<MemoryFile> {
        match self.files().get(name) {
            Some(content) => Ok(self.handle(name, Arc::clone(content), is_writable)),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let content = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match self.files().remove(name) {
            Some(_) => Ok(()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }

    pub(crate) fn lock(&self, name: &str) -> Result<(), LockError> {
        if self.locks().insert(name.to_owned()) {
            Ok(())
        } else {
            Err(LockError::Held)
        }
    }

    pub(crate) fn unlock(&self, name: &str) {
        self.locks().remove(name);
    }
}

/// Where `length` bytes from `offset` lie, if addresses go that far.
fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

/// Resizes without aborting where memory does not suffice.
fn resize(bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    bytes
        .try_reserve(length.saturating_sub(bytes.len()))
        .map_err(|_| ErrorKind::OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(())
}

impl MemoryFile {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.content
            .stored
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable {
            Ok(())
        } else {
            Err(ErrorKind::PermissionDenied.into())
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.stored().bytes().len() as u64
    }

    pub(crate) fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let stored = self.stored();
        let bytes = range(offset, length).and_then(|range| stored.bytes().get(range));
        Ok(bytes.ok_or(ErrorKind::UnexpectedEof)?.to_vec())
    }

    pub(crate) fn write_at(&self, offset: u64, source: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        if source.is_empty() {
            return Ok(());
        }
        let range = range(offset, source.len()).ok_or(ErrorKind::FileTooLarge)?;
        let mut stored = self.stored();
        let bytes = stored.bytes_mut();
        if bytes.len() < range.end {
            resize(bytes, range.end)?;
        }
        bytes[range].copy_from_slice(source);
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.check_writable()
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.check_writable()?;
        let length = usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?;
        resize(self.stored().bytes_mut(), length)
    }

    pub(crate) fn map(&self, length: u64) -> io::Result<Option<Bytes>> {
        let mut stored = self.stored();
        if stored.bytes().len() as u64 != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if length == 0 {
            return Ok(None);
        }
        Ok(Some(Bytes::from_shared(stored.share())))
    }
}
