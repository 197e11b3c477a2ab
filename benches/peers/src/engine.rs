//! What an engine must be able to do to take part, in its users' usual way of doing it.

use std::path::Path;

use crate::data::{Data, Key};

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Error>;

/// What is the same for all engines.
#[derive(Clone, Copy)]
pub struct Settings {
    /// For decoded blocks or pages. Engines that read through the operating system's cache have no limit.
    pub cache_bytes: u64,
    /// Of one memtable, where there are memtables.
    pub write_buffer_bytes: u64,
    /// No less than the database can grow to, for engines that map it.
    pub map_bytes: u64,
    /// Each commit survives power loss; otherwise it survives the process (but see redb).
    pub synced: bool,
    /// Values are large: keep them apart from keys where the engine can.
    pub large_values: bool,
    /// The database is not in memory: no read-ahead for single pages.
    pub cold: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Reverse,
}

/// A half-open range of keys; no end goes to the last key.
#[derive(Clone, Copy)]
pub struct Range<'key> {
    pub start: &'key [u8],
    pub end: Option<&'key [u8]>,
}

impl Range<'_> {
    pub const ALL: Range<'static> = Range {
        start: &[],
        end: None,
    };
}

/// A database that is open. All threads share it.
pub trait Engine: Sized + Sync {
    type Reader<'engine>: Reader
    where
        Self: 'engine;

    fn open(directory: &Path, settings: &Settings) -> Result<Self>;
    fn put(&self, key: &Key, value: &[u8]) -> Result<()>;
    /// One atomic commit of all these rows.
    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()>;
    fn delete_range(&self, start: &Key, end: &Key) -> Result<()>;
    /// For one thread.
    fn reader(&self) -> Result<Self::Reader<'_>>;
    /// Waits for what goes on in the background; forces nothing that would not happen by itself, but a flush.
    fn settle(&self) -> Result<()> {
        Ok(())
    }
    /// The values of several keys, in the way that is quickest when none is in memory, each given to
    /// `found`. None if there is no such way: threads do it then.
    fn get_together(&self, _keys: &[Key], _found: impl FnMut(&[u8])) -> Option<Result<()>> {
        None
    }
    fn close(self) -> Result<()>;
}

/// Reads of one thread.
pub trait Reader {
    /// Lends the value where it lies, seen at one moment for the reader's life where that is quicker.
    fn get<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>>;
    /// The newest committed value.
    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>>;
    /// In a vector of the caller's.
    fn get_owned(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.get(key, <[u8]>::to_vec)
    }
    /// Lends rows until `row` says that it is enough.
    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()>;
    /// Rows as owned pairs.
    fn scan_owned(
        &mut self,
        range: Range<'_>,
        mut row: impl FnMut(Vec<u8>, Vec<u8>),
    ) -> Result<()> {
        self.scan(range, Direction::Forward, |key, value| {
            row(key.to_vec(), value.to_vec());
            true
        })
    }
}
