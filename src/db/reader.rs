//! Readers of one bucket at one snapshot, with their sources captured once.

use std::marker::PhantomData;
use std::sync::Arc;

use trine_io::Mode;
use trine_platform::block_on;

use crate::db::Core;
use crate::db::bucket::Bucket;
use crate::db::read::get_in_view;
use crate::db::snapshot::Snapshot;
use crate::error::Result;
use crate::sequence::Sequence;
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
    pub fn reader<'snapshot>(
        &self,
        snapshot: &'snapshot Snapshot,
    ) -> Result<BucketReader<'snapshot>> {
        self.core().check_open()?;
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
    pub async fn get(&self, key: &[u8]) -> Result<Option<PointValue>> {
        Ok(self.read(key, Mode::Cooperative).await?.map(PointValue))
    }

    /// [`get`](Self::get) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_sync(&self, key: &[u8]) -> Result<Option<PointValue>> {
        Ok(block_on(self.read(key, Mode::Blocking))?.map(PointValue))
    }

    /// The value of `key` in a vector of its own, or `None`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub async fn get_owned(&self, key: &[u8]) -> Result<Option<Value>> {
        self.read(key, Mode::Cooperative).await
    }

    /// [`get_owned`](Self::get_owned) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_owned_sync(&self, key: &[u8]) -> Result<Option<Value>> {
        block_on(self.read(key, Mode::Blocking))
    }

    async fn read(&self, key: &[u8], mode: Mode) -> Result<Option<Value>> {
        self.core.check_open()?;
        get_in_view(&self.view, key, self.sequence, mode, <[u8]>::to_vec).await
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
