//! Iterators over rows. They own what they read and may outlive every other handle.

use std::iter::FusedIterator;

use trine_io::Mode;
use trine_platform::block_on;

use crate::blob::BlobValue;
use crate::direction::Direction;
use crate::error::{Error, Result};
use crate::tree::pins::Pin;
use crate::tree::scan::{RowValue, Scan};
use crate::types::{KeyValue, Value};

/// The rows of a scan, fixed at the sequence at which it was created.
///
/// `it.next()` in method-call syntax is the asynchronous step; `for` loops and adaptors use the
/// [`Iterator`] implementation, and [`next_sync`](Self::next_sync) is the blocking step by name.
/// A clone goes on from the same position on its own.
///
/// Rows can be taken from either end ([`next_back_sync`](Self::next_back_sync), or any adaptor that
/// needs a [`DoubleEndedIterator`]) until the two meet.
///
/// # Cost
/// A row is copied once; taken from the back, its key once more. The memtables and tables it reads stay in memory and on disk while it lives.
#[derive(Clone)]
pub struct Iter {
    pub(crate) rows: Rows<KeyValue>,
    pub(crate) direction: Direction,
}

/// As [`Iter`], with large values that are read only when they are asked for.
///
/// # Cost
/// A row's key is copied; a value that lies in a table beside its key is copied with it. Of a value in a
/// blob file nothing is read.
#[derive(Clone)]
pub struct LazyIter {
    pub(crate) rows: Rows<LazyKeyValue>,
    pub(crate) direction: Direction,
}

pub(crate) enum Rows<T> {
    Items(std::vec::IntoIter<T>),
    Scan(Box<Scan>, Pin),
}

/// What an iterator hands out of the row that a scan stands on.
pub(crate) trait Row: Sized {
    fn copied(scan: &Scan) -> Option<Self>;
}

impl Row for KeyValue {
    fn copied(scan: &Scan) -> Option<Self> {
        scan.row().map(|(key, value)| Self::new(key, value))
    }
}

impl Row for LazyKeyValue {
    fn copied(scan: &Scan) -> Option<Self> {
        let (key, value) = scan.whole_row()?;
        let value = match value {
            RowValue::Here(value) => LazyValue(Lies::Here(value.to_vec())),
            RowValue::Blob(value) => LazyValue(Lies::Blob(value)),
        };
        Some(Self {
            key: key.to_vec(),
            value,
        })
    }
}

impl<T: Clone> Clone for Rows<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Items(items) => Self::Items(items.clone()),
            Self::Scan(scan, pin) => Self::Scan(Box::new(scan.fork()), pin.clone()),
        }
    }
}

impl<T: Row> Rows<T> {
    async fn step(&mut self, mode: Mode) -> Result<Option<T>> {
        match self {
            Self::Items(items) => Ok(items.next()),
            Self::Scan(scan, _) => {
                if !scan.advance(mode).await? {
                    return Ok(None);
                }
                Ok(T::copied(scan))
            }
        }
    }

    fn step_sync(&mut self) -> Option<Result<T>> {
        match self {
            Self::Items(items) => items.next().map(Ok),
            Self::Scan(scan, _) => match scan.advance_sync() {
                Ok(_) => T::copied(scan).map(Ok),
                Err(error) => Some(Err(error)),
            },
        }
    }

    async fn step_back(&mut self, mode: Mode) -> Result<Option<T>> {
        match self {
            Self::Items(items) => Ok(items.next_back()),
            Self::Scan(scan, _) => {
                if !scan.advance_back(mode).await? {
                    return Ok(None);
                }
                Ok(scan.back().and_then(T::copied))
            }
        }
    }
}

impl std::fmt::Debug for Iter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter")
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LazyIter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LazyIter")
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

impl Iter {
    /// Without rows.
    #[must_use]
    pub fn empty(direction: Direction) -> Self {
        Self {
            rows: Rows::Items(Vec::new().into_iter()),
            direction,
        }
    }

    /// These rows as they are; `Reverse` yields them back to front. Nothing is sorted.
    #[must_use]
    pub fn from_items(mut items: Vec<KeyValue>, direction: Direction) -> Self {
        if direction == Direction::Reverse {
            items.reverse();
        }
        Self {
            rows: Rows::Items(items.into_iter()),
            direction,
        }
    }

    pub(crate) fn scan(scan: Scan, pin: Pin) -> Self {
        let direction = scan.direction();
        Self {
            rows: Rows::Scan(Box::new(scan), pin),
            direction,
        }
    }

    /// Which way it goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The next row; `None` after the last, for ever.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corruption`] or [`Error::InvalidFormat`] from reading a table. The
    /// iteration is over then.
    ///
    /// # Cancellation
    /// A step that is dropped is made again by the next one; no row is lost.
    ///
    /// # Cost
    /// Copies the row. The first row of each block costs one read of it, unless it is in memory.
    pub async fn next(&mut self) -> Result<Option<KeyValue>> {
        self.rows.step(Mode::Cooperative).await
    }

    /// The next row, read on this thread; `None` after the last, for ever.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_sync(&mut self) -> Option<Result<KeyValue>> {
        self.rows.step_sync()
    }

    /// The next row from the other end; `None` once the two ends have met, for ever.
    ///
    /// # Errors
    /// As [`Self::next`].
    ///
    /// # Cancellation
    /// As [`Self::next`].
    ///
    /// # Cost
    /// As the step from the front; the first one sets up a second cursor over what is left.
    pub async fn next_back(&mut self) -> Result<Option<KeyValue>> {
        self.rows.step_back(Mode::Cooperative).await
    }

    /// [`next_back`](Self::next_back) on this thread.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_back_sync(&mut self) -> Option<Result<KeyValue>> {
        block_on(self.rows.step_back(Mode::Blocking)).transpose()
    }
}

impl Iterator for Iter {
    type Item = std::result::Result<KeyValue, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_sync()
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_sync()
    }
}

impl FusedIterator for Iter {}

impl LazyIter {
    pub(crate) fn scan(mut scan: Scan, pin: Pin) -> Self {
        scan.leave_blobs();
        let direction = scan.direction();
        Self {
            rows: Rows::Scan(Box::new(scan), pin),
            direction,
        }
    }

    /// Which way it goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The next row; `None` after the last, for ever.
    ///
    /// # Errors
    /// As [`Iter::next`].
    ///
    /// # Cancellation
    /// As [`Iter::next`].
    ///
    /// # Cost
    /// Copies the row. The first row of each block costs one read of it, unless it is in memory.
    pub async fn next(&mut self) -> Result<Option<LazyKeyValue>> {
        self.rows.step(Mode::Cooperative).await
    }

    /// The next row, read on this thread; `None` after the last, for ever.
    ///
    /// # Errors
    /// As [`Iter::next`].
    pub fn next_sync(&mut self) -> Option<Result<LazyKeyValue>> {
        self.rows.step_sync()
    }

    /// The next row from the other end; `None` once the two ends have met, for ever.
    ///
    /// # Errors
    /// As [`Iter::next`].
    ///
    /// # Cancellation
    /// As [`Iter::next`].
    ///
    /// # Cost
    /// As the step from the front; the first one sets up a second cursor over what is left.
    pub async fn next_back(&mut self) -> Result<Option<LazyKeyValue>> {
        self.rows.step_back(Mode::Cooperative).await
    }

    /// [`next_back`](Self::next_back) on this thread.
    ///
    /// # Errors
    /// As [`Iter::next`].
    pub fn next_back_sync(&mut self) -> Option<Result<LazyKeyValue>> {
        block_on(self.rows.step_back(Mode::Blocking)).transpose()
    }
}

impl Iterator for LazyIter {
    type Item = std::result::Result<LazyKeyValue, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_sync()
    }
}

impl DoubleEndedIterator for LazyIter {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_back_sync()
    }
}

impl FusedIterator for LazyIter {}

/// A row whose value may not have been read yet.
#[derive(Clone, Debug)]
pub struct LazyKeyValue {
    /// The key.
    pub key: Vec<u8>,
    /// The value, or where it lies.
    pub value: LazyValue,
}

impl LazyKeyValue {
    /// The row with its value read.
    ///
    /// # Errors
    /// As [`LazyValue::read`].
    ///
    /// # Cost
    /// As [`LazyValue::into_value`].
    pub async fn into_key_value(self) -> Result<KeyValue> {
        Ok(KeyValue {
            key: self.key,
            value: self.value.into_value().await?,
        })
    }

    /// The row with its value read on this thread.
    ///
    /// # Errors
    /// As [`LazyValue::read`].
    pub fn into_key_value_sync(self) -> Result<KeyValue> {
        Ok(KeyValue {
            key: self.key,
            value: self.value.into_value_sync()?,
        })
    }
}

/// A value, or where it lies. Stays readable after its row was deleted, compacted away, or the
/// database closed: it keeps the blob file that it lies in.
#[derive(Clone)]
pub struct LazyValue(Lies);

/// Where a value lies.
#[derive(Clone)]
enum Lies {
    Here(Value),
    Blob(BlobValue),
}

impl std::fmt::Debug for LazyValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = match &self.0 {
            Lies::Here(value) => value.len() as u64,
            Lies::Blob(value) => value.index().value_bytes.into(),
        };
        f.debug_struct("LazyValue")
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl LazyValue {
    /// Whether it lay in a memtable or beside its key and is here already; if not, it is in a blob file.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        matches!(self.0, Lies::Here(_))
    }

    /// A copy of the value.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corruption`] or [`Error::InvalidFormat`] if it has to be read from a file.
    ///
    /// # Cost
    /// Copies the value. One in a blob file is read, and decoded if it is compressed, each time.
    pub async fn read(&self) -> Result<Value> {
        self.clone().fetch(Mode::Cooperative).await
    }

    /// A copy of the value, read on this thread.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_sync(&self) -> Result<Value> {
        self.clone().into_value_sync()
    }

    /// The value.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cost
    /// As [`read`](Self::read), without the copy if it is here already.
    pub async fn into_value(self) -> Result<Value> {
        self.fetch(Mode::Cooperative).await
    }

    /// The value, read on this thread.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn into_value_sync(self) -> Result<Value> {
        block_on(self.fetch(Mode::Blocking))
    }

    async fn fetch(self, mode: Mode) -> Result<Value> {
        match self.0 {
            Lies::Here(value) => Ok(value),
            Lies::Blob(value) => Ok(value.read(mode).await?.into_vec()),
        }
    }
}
