//! Readers of one bucket at one snapshot, with their sources captured once.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use trine_io::Mode;

use crate::db::Core;
use crate::db::attempt::Attempt;
use crate::db::bucket::Bucket;
use crate::db::read::get_in_view;
use crate::db::snapshot::Snapshot;
use crate::error::Result;
use crate::sequence::Sequence;
use crate::table::Lent;
use crate::tree::lookup::Readable;
use crate::tree::view::View;
use crate::types::Value;

/// Reads what one bucket held at a snapshot. It captured its memtables and tables when it was made, so
/// a read takes neither the view nor the sequence again, and nothing that it reads goes away.
pub struct BucketReader<'snapshot> {
    core: Arc<Core>,
    view: View,
    sequence: Sequence,
    snapshot: PhantomData<&'snapshot Snapshot>,
}

impl std::fmt::Debug for BucketReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BucketReader")
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// A reader of this bucket at `snapshot`.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    ///
    /// # Cost
    /// Pins the memtables and tables of now, once for all reads. No I/O.
    pub fn reader<'snapshot>(
        &self,
        snapshot: &'snapshot Snapshot,
    ) -> Result<BucketReader<'snapshot>> {
        self.core().check_open()?;
        self.tree().check_kept()?;
        Ok(BucketReader {
            core: Arc::clone(self.core()),
            view: self.tree().pin(),
            sequence: snapshot.read_sequence(),
            snapshot: PhantomData,
        })
    }
}

impl BucketReader<'_> {
    /// The value of `key`, or `None`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// Copies the value once. At most one block of each table that may hold the key.
    pub async fn get(&self, key: &[u8]) -> Result<Option<PointValue>> {
        let value = self.read(key, Mode::Cooperative).finished().await?;
        Ok(value.map(PointValue))
    }

    /// [`get`](Self::get) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_sync(&self, key: &[u8]) -> Result<Option<PointValue>> {
        Ok(self.read(key, Mode::Blocking).here()?.map(PointValue))
    }

    /// The value of `key` in a vector of its own, or `None`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As [`get`](Self::get).
    pub async fn get_owned(&self, key: &[u8]) -> Result<Option<Value>> {
        self.read(key, Mode::Cooperative).finished().await
    }

    /// [`get_owned`](Self::get_owned) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_owned_sync(&self, key: &[u8]) -> Result<Option<Value>> {
        self.read(key, Mode::Blocking).here()
    }

    /// The value of `key`, lent from where it lies: the memtable's arena, a table's mapping, a
    /// decoded block of the cache, or a blob file's mapping. Nothing is copied. Of a value in a blob file that is compressed,
    /// or on a host that maps no files, the loan is of memory that it was decoded or read into.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// No allocation and no copy, whatever the value's length. While the loan lives its memtable or
    /// table stays, even after it was flushed, compacted or evicted.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.put_sync("key", "value")?;
    /// let snapshot = db.snapshot();
    /// let bucket = db.default_bucket_sync()?;
    /// let reader = bucket.reader(&snapshot)?;
    /// let value = reader.get_ref_sync(b"key")?.expect("it was put");
    /// assert_eq!(&*value, b"value");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_ref(&self, key: &[u8]) -> Result<Option<ValueRef<'_>>> {
        self.lend(key, Mode::Cooperative).finished().await
    }

    /// [`get_ref`](Self::get_ref) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_ref_sync(&self, key: &[u8]) -> Result<Option<ValueRef<'_>>> {
        self.lend(key, Mode::Blocking).here()
    }

    fn lend<'a>(
        &'a self,
        key: &[u8],
        mode: Mode,
    ) -> Attempt<Result<Option<ValueRef<'a>>>, impl Future<Output = Result<Option<ValueRef<'a>>>>>
    {
        self.with(key, mode, |value| value.lend().map(ValueRef))
    }

    fn read(
        &self,
        key: &[u8],
        mode: Mode,
    ) -> Attempt<Result<Option<Value>>, impl Future<Output = Result<Option<Value>>>> {
        self.with(key, mode, |value| Ok(value.into_vec()))
    }

    #[inline]
    fn with<'a, R>(
        &'a self,
        key: &[u8],
        mode: Mode,
        read: impl FnMut(Readable<'a, '_>) -> Result<R>,
    ) -> Attempt<Result<Option<R>>, impl Future<Output = Result<Option<R>>>> {
        match self.core.check_open() {
            Ok(()) => get_in_view(&self.view, key, self.sequence, mode, read),
            Err(error) => Attempt::Through(Err(error)),
        }
    }
}

/// A value's bytes, lent by a [`BucketReader`] and bound to it.
#[derive(Clone)]
pub struct ValueRef<'reader>(Lent<'reader>);

impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ValueRef").field(&&**self).finish()
    }
}

impl Deref for ValueRef<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for ValueRef<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// A value that a [`BucketReader`] found.
#[derive(Clone, PartialEq, Eq)]
pub struct PointValue(Value);

impl std::fmt::Debug for PointValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PointValue").field(&self.0).finish()
    }
}

impl PointValue {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes in a vector of their own.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }

    /// Its bytes in a vector of their own.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl AsRef<[u8]> for PointValue {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
