//! The calls that [`Db`](crate::Db) (on its default bucket) and [`Bucket`] share, written once.
//!
//! Each call is one line over [`Bucket::scan`], the reads of `db/read.rs` and the commit path; its `*_sync` form
//! runs the same code on the calling thread.

use trine_io::Mode;
use trine_platform::block_on;

use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::inspect::approximate_size;
use crate::db::iter::{Iter, LazyIter};
use crate::db::snapshot::Snapshot;
use crate::db::write::{Prepared, check_key};
use crate::direction::Direction;
use crate::error::Result;
use crate::key::KeyRange;
use crate::options::WriteOptions;
use crate::types::{CommitInfo, KeyValue, Value};

impl Bucket {
    fn prepare_put(&self, key: &[u8], value: &[u8], options: WriteOptions) -> Result<Prepared> {
        self.core().prepare_one(self.tree(), options, |batch| {
            check_key(self.tree(), key)?;
            batch.put(self.tree().id(), key, value)
        })
    }

    fn prepare_delete(&self, key: &[u8], options: WriteOptions) -> Result<Prepared> {
        self.core().prepare_one(self.tree(), options, |batch| {
            check_key(self.tree(), key)?;
            batch.delete(self.tree().id(), key)
        })
    }

    fn prepare_delete_range(&self, range: &KeyRange, options: WriteOptions) -> Result<Prepared> {
        self.core().prepare_one(self.tree(), options, |batch| {
            batch.delete_range(self.tree().id(), range)
        })
    }
}

/// Point reads and writes.
macro_rules! point_methods {
    () => {
        /// The value of `key`, or `None`.
        ///
        /// # Errors
        /// [`Error::Closed`](crate::Error::Closed); [`Error::Io`](crate::Error::Io),
        /// [`Error::Corruption`](crate::Error::Corruption) or
        /// [`Error::InvalidFormat`](crate::Error::InvalidFormat) from reading a table.
        ///
        /// # Cost
        /// Copies the value once. At most one block of each table that may hold the key.
        pub async fn get(&self, key: &[u8]) -> Result<Option<Value>> {
            self.keyspace()
                .value(key, None, Mode::Cooperative)
                .finished()
                .await
        }

        /// [`get`](Self::get) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn get_sync(&self, key: &[u8]) -> Result<Option<Value>> {
            self.keyspace().value(key, None, Mode::Blocking).here()
        }

        /// The value of `key` as the snapshot sees it.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// As [`get`](Self::get).
        pub async fn get_at(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Value>> {
            self.keyspace()
                .value(key, Some(snapshot), Mode::Cooperative)
                .finished()
                .await
        }

        /// [`get_at`](Self::get_at) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn get_at_sync(&self, snapshot: &Snapshot, key: &[u8]) -> Result<Option<Value>> {
            self.keyspace()
                .value(key, Some(snapshot), Mode::Blocking)
                .here()
        }

        /// What `read` makes of the value of `key`, lent from where it lies; `None` if there is none.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// No copy and no allocation but the closure's own. Keep the closure short: memory that it may
        /// read is not reclaimed while it runs.
        pub async fn get_with<R>(
            &self,
            key: &[u8],
            read: impl FnMut(&[u8]) -> R,
        ) -> Result<Option<R>> {
            self.keyspace()
                .value_with(key, None, Mode::Cooperative, read)
                .finished()
                .await
        }

        /// [`get_with`](Self::get_with) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn get_with_sync<R>(
            &self,
            key: &[u8],
            read: impl FnMut(&[u8]) -> R,
        ) -> Result<Option<R>> {
            self.keyspace()
                .value_with(key, None, Mode::Blocking, read)
                .here()
        }

        /// Whether `key` has a value.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// As [`get_with`](Self::get_with), without reading a value in a blob file.
        pub async fn contains_key(&self, key: &[u8]) -> Result<bool> {
            let bucket = self.keyspace();
            bucket.contains(key, Mode::Cooperative).finished().await
        }

        /// [`contains_key`](Self::contains_key) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn contains_key_sync(&self, key: &[u8]) -> Result<bool> {
            self.keyspace().contains(key, Mode::Blocking).here()
        }

        /// The values of several keys, in their order, all as of one moment.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// One view for all of them, then as [`get`](Self::get) for each.
        pub async fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
            self.keyspace().values(keys, None, Mode::Cooperative).await
        }

        /// [`multi_get`](Self::multi_get) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn multi_get_sync<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
            block_on(self.keyspace().values(keys, None, Mode::Blocking))
        }

        /// The row with the least key of `range`.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// As one step of [`range`](Self::range).
        pub async fn first(&self, range: &KeyRange) -> Result<Option<KeyValue>> {
            self.range(range).await?.next().await
        }

        /// [`first`](Self::first) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn first_sync(&self, range: &KeyRange) -> Result<Option<KeyValue>> {
            self.range_sync(range)?.next_sync().transpose()
        }

        /// The row with the greatest key of `range`.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        ///
        /// # Cost
        /// As one step of [`range_reverse`](Self::range_reverse).
        pub async fn last(&self, range: &KeyRange) -> Result<Option<KeyValue>> {
            self.range_reverse(range).await?.next().await
        }

        /// [`last`](Self::last) on this thread.
        ///
        /// # Errors
        /// As [`get`](Self::get).
        pub fn last_sync(&self, range: &KeyRange) -> Result<Option<KeyValue>> {
            self.range_reverse_sync(range)?.next_sync().transpose()
        }

        /// About how many bytes the keys of `range` and their values take in files, to the size of
        /// a block at either end; values in blob files as if all of a table were of one length. Memtables
        /// are not counted.
        ///
        /// # Cost
        /// Two index searches for each table at an end of the range, which are opened on this thread if they
        /// are not open.
        #[must_use]
        pub fn approximate_size(&self, range: &KeyRange) -> u64 {
            approximate_size(self.keyspace().tree(), range)
        }

        /// Sets the value of `key`, as durably as the database's options say.
        ///
        /// # Errors
        /// [`Error::Closed`](crate::Error::Closed), [`Error::ReadOnly`](crate::Error::ReadOnly);
        /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) for a key or value that is too large, or
        /// an empty key where the bucket forbids it; [`Error::Io`](crate::Error::Io), after which nothing
        /// is written until the database is reopened.
        ///
        /// # Durability
        /// That of [`DbOptions::durability`](crate::DbOptions), before the call returns.
        ///
        /// # Cancellation
        /// A future that was never polled does nothing; after its first poll the write happens anyway.
        ///
        /// # Cost
        /// Copies key and value into the log and the memtable. Commits that come at the same time share one write and
        /// one sync.
        pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Value>) -> Result<()> {
            self.put_with_options(key, value, WriteOptions::default())
                .await
                .map(drop)
        }

        /// [`put`](Self::put) on this thread.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        pub fn put_sync(&self, key: impl Into<Vec<u8>>, value: impl Into<Value>) -> Result<()> {
            self.put_with_options_sync(key, value, WriteOptions::default())
                .map(drop)
        }

        /// [`put`](Self::put), at least as durable as `options` say.
        ///
        /// # Errors
        /// As [`put`](Self::put); [`Error::UnsupportedDurability`](crate::Error::UnsupportedDurability).
        ///
        /// # Cost
        /// As [`put`](Self::put).
        ///
        /// # Durability
        /// The stronger of `options` and the database's own, before the call returns.
        pub async fn put_with_options(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self
                .keyspace()
                .prepare_put(&key.into(), &value.into(), options)?;
            self.core().commit_async(prepared).await
        }

        /// [`put_with_options`](Self::put_with_options) on this thread.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        pub fn put_with_options_sync(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self
                .keyspace()
                .prepare_put(&key.into(), &value.into(), options)?;
            self.core().commit_blocking(prepared)
        }

        /// Deletes `key`. Deleting a missing key is a commit, too.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        ///
        /// # Cost
        /// As [`put`](Self::put), without a value.
        ///
        /// # Durability
        /// As [`put`](Self::put).
        pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<()> {
            self.delete_with_options(key, WriteOptions::default())
                .await
                .map(drop)
        }

        /// [`delete`](Self::delete) on this thread.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        pub fn delete_sync(&self, key: impl Into<Vec<u8>>) -> Result<()> {
            self.delete_with_options_sync(key, WriteOptions::default())
                .map(drop)
        }

        /// [`delete`](Self::delete), at least as durable as `options` say.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        ///
        /// # Cost
        /// As [`delete`](Self::delete).
        ///
        /// # Durability
        /// As [`put_with_options`](Self::put_with_options).
        pub async fn delete_with_options(
            &self,
            key: impl Into<Vec<u8>>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self.keyspace().prepare_delete(&key.into(), options)?;
            self.core().commit_async(prepared).await
        }

        /// [`delete_with_options`](Self::delete_with_options) on this thread.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        pub fn delete_with_options_sync(
            &self,
            key: impl Into<Vec<u8>>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self.keyspace().prepare_delete(&key.into(), options)?;
            self.core().commit_blocking(prepared)
        }

        /// Deletes every key of `range`. An empty or inverted range deletes nothing, and is a commit.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        ///
        /// # Cost
        /// One entry, however many keys it covers.
        ///
        /// # Durability
        /// As [`put`](Self::put).
        pub async fn delete_range(&self, range: KeyRange) -> Result<()> {
            self.delete_range_with_options(range, WriteOptions::default())
                .await
                .map(drop)
        }

        /// [`delete_range`](Self::delete_range) on this thread.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        pub fn delete_range_sync(&self, range: KeyRange) -> Result<()> {
            self.delete_range_with_options_sync(range, WriteOptions::default())
                .map(drop)
        }

        /// [`delete_range`](Self::delete_range), at least as durable as `options` say.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        ///
        /// # Cost
        /// As [`delete_range`](Self::delete_range).
        ///
        /// # Durability
        /// As [`put_with_options`](Self::put_with_options).
        pub async fn delete_range_with_options(
            &self,
            range: KeyRange,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self.keyspace().prepare_delete_range(&range, options)?;
            self.core().commit_async(prepared).await
        }

        /// [`delete_range_with_options`](Self::delete_range_with_options) on this thread.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        pub fn delete_range_with_options_sync(
            &self,
            range: KeyRange,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let prepared = self.keyspace().prepare_delete_range(&range, options)?;
            self.core().commit_blocking(prepared)
        }
    };
}

/// One scan in its four forms: now and at a snapshot, asynchronous and on this thread. Creating a scan
/// reads nothing, so the forms differ only in how the iterator is stepped.
macro_rules! scan_methods {
    () => {
        scan_methods! {
            "The rows of a range in ascending order", Iter, Forward, range: &KeyRange => range.clone(),
                range, range_sync, range_at, range_at_sync;
            "The rows of a range in descending order", Iter, Reverse, range: &KeyRange => range.clone(),
                range_reverse, range_reverse_sync, range_reverse_at, range_reverse_at_sync;
            "The rows whose keys start with a prefix in ascending order", Iter, Forward, prefix: impl Into<Vec<u8>> => KeyRange::prefix(prefix),
                prefix, prefix_sync, prefix_at, prefix_at_sync;
            "The rows whose keys start with a prefix in descending order", Iter, Reverse, prefix: impl Into<Vec<u8>> => KeyRange::prefix(prefix),
                prefix_reverse, prefix_reverse_sync, prefix_reverse_at, prefix_reverse_at_sync;
            "The rows of a range, with values read on demand, in ascending order", LazyIter, Forward, range: &KeyRange => range.clone(),
                range_lazy, range_lazy_sync, range_lazy_at, range_lazy_at_sync;
            "The rows of a range, with values read on demand, in descending order", LazyIter, Reverse, range: &KeyRange => range.clone(),
                range_lazy_reverse, range_lazy_reverse_sync, range_lazy_reverse_at, range_lazy_reverse_at_sync;
            "The rows whose keys start with a prefix, with values read on demand, in ascending order", LazyIter, Forward, prefix: impl Into<Vec<u8>> => KeyRange::prefix(prefix),
                prefix_lazy, prefix_lazy_sync, prefix_lazy_at, prefix_lazy_at_sync;
            "The rows whose keys start with a prefix, with values read on demand, in descending order", LazyIter, Reverse, prefix: impl Into<Vec<u8>> => KeyRange::prefix(prefix),
                prefix_lazy_reverse, prefix_lazy_reverse_sync, prefix_lazy_reverse_at, prefix_lazy_reverse_at_sync;
        }
    };
    ($($what:literal, $iter:ident, $direction:ident, $argument:ident: $type:ty => $range:expr,
       $now:ident, $now_sync:ident, $at:ident, $at_sync:ident;)*) => {
        $(
            #[doc = concat!($what, ", as of now.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed). Reading errors come from the iterator.
            ///
            /// # Cost
            /// Reads nothing yet; pins what the iterator will read.
            pub async fn $now(&self, $argument: $type) -> Result<$iter> {
                self.$now_sync($argument)
            }

            #[doc = concat!("[`", stringify!($now), "`](Self::", stringify!($now), ") on this thread.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed).
            pub fn $now_sync(&self, $argument: $type) -> Result<$iter> {
                let (scan, pin) = self.keyspace().scan($range, Direction::$direction, None)?;
                Ok($iter::scan(scan, pin))
            }

            #[doc = concat!($what, ", as the snapshot sees them.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed). Reading errors come from the iterator.
            ///
            /// # Cost
            /// Reads nothing yet; pins what the iterator will read.
            pub async fn $at(&self, snapshot: &Snapshot, $argument: $type) -> Result<$iter> {
                self.$at_sync(snapshot, $argument)
            }

            #[doc = concat!("[`", stringify!($at), "`](Self::", stringify!($at), ") on this thread.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed).
            pub fn $at_sync(&self, snapshot: &Snapshot, $argument: $type) -> Result<$iter> {
                let at = Some(snapshot.read_sequence());
                let (scan, pin) = self.keyspace().scan($range, Direction::$direction, at)?;
                Ok($iter::scan(scan, pin))
            }
        )*
    };
}

/// The scans of a snapshot: the bucket's own, at its sequence.
macro_rules! snapshot_scan_methods {
    ($($what:literal, $iter:ident, $argument:ident: $type:ty, $name:ident, $name_sync:ident, $at_sync:ident;)*) => {
        $(
            #[doc = concat!($what, ", as this snapshot sees them.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed). Reading errors come from the iterator.
            ///
            /// # Cost
            /// Reads nothing yet; pins what the iterator will read.
            pub async fn $name(&self, bucket: &Bucket, $argument: $type) -> Result<$iter> {
                bucket.$at_sync(self, $argument)
            }

            #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") on this thread.")]
            ///
            /// # Errors
            /// [`Error::Closed`](crate::Error::Closed).
            pub fn $name_sync(&self, bucket: &Bucket, $argument: $type) -> Result<$iter> {
                bucket.$at_sync(self, $argument)
            }
        )*
    };
}

impl Snapshot {
    /// The value of `key` in `bucket`, or `None`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As [`Bucket::get`].
    pub async fn get(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Value>> {
        bucket
            .value(key, Some(self), Mode::Cooperative)
            .finished()
            .await
    }

    /// [`get`](Self::get) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_sync(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Value>> {
        bucket.value(key, Some(self), Mode::Blocking).here()
    }

    /// What `read` makes of the value of `key` in `bucket`, lent from where it lies; `None` if there is
    /// none.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As [`Bucket::get_with`].
    pub async fn get_with<R>(
        &self,
        bucket: &Bucket,
        key: &[u8],
        read: impl FnMut(&[u8]) -> R,
    ) -> Result<Option<R>> {
        bucket
            .value_with(key, Some(self), Mode::Cooperative, read)
            .finished()
            .await
    }

    /// [`get_with`](Self::get_with) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn get_with_sync<R>(
        &self,
        bucket: &Bucket,
        key: &[u8],
        read: impl FnMut(&[u8]) -> R,
    ) -> Result<Option<R>> {
        bucket
            .value_with(key, Some(self), Mode::Blocking, read)
            .here()
    }

    /// Whether `key` has a value in `bucket`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As [`Bucket::contains_key`].
    pub async fn contains_key(&self, bucket: &Bucket, key: &[u8]) -> Result<bool> {
        Ok(self.get_with(bucket, key, |_| ()).await?.is_some())
    }

    /// [`contains_key`](Self::contains_key) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn contains_key_sync(&self, bucket: &Bucket, key: &[u8]) -> Result<bool> {
        Ok(self.get_with_sync(bucket, key, |_| ())?.is_some())
    }

    /// The values of several keys of `bucket`, in their order.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As [`Bucket::multi_get`].
    pub async fn multi_get<K: AsRef<[u8]>>(
        &self,
        bucket: &Bucket,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>> {
        bucket.values(keys, Some(self), Mode::Cooperative).await
    }

    /// [`multi_get`](Self::multi_get) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn multi_get_sync<K: AsRef<[u8]>>(
        &self,
        bucket: &Bucket,
        keys: &[K],
    ) -> Result<Vec<Option<Value>>> {
        block_on(bucket.values(keys, Some(self), Mode::Blocking))
    }

    /// The row of `bucket` with the least key of `range`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As one step of [`range`](Self::range).
    pub async fn first(&self, bucket: &Bucket, range: &KeyRange) -> Result<Option<KeyValue>> {
        self.range_sync(bucket, range)?.next().await
    }

    /// [`first`](Self::first) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn first_sync(&self, bucket: &Bucket, range: &KeyRange) -> Result<Option<KeyValue>> {
        self.range_sync(bucket, range)?.next_sync().transpose()
    }

    /// The row of `bucket` with the greatest key of `range`.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    ///
    /// # Cost
    /// As one step of [`range_reverse`](Self::range_reverse).
    pub async fn last(&self, bucket: &Bucket, range: &KeyRange) -> Result<Option<KeyValue>> {
        self.range_reverse_sync(bucket, range)?.next().await
    }

    /// [`last`](Self::last) on this thread.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn last_sync(&self, bucket: &Bucket, range: &KeyRange) -> Result<Option<KeyValue>> {
        self.range_reverse_sync(bucket, range)?
            .next_sync()
            .transpose()
    }

    snapshot_scan_methods! {
        "The rows of a range, in ascending order", Iter, range: &KeyRange,
            range, range_sync, range_at_sync;
        "The rows of a range, in descending order", Iter, range: &KeyRange,
            range_reverse, range_reverse_sync, range_reverse_at_sync;
        "The rows whose keys start with a prefix, in ascending order", Iter, prefix: impl Into<Vec<u8>>,
            prefix, prefix_sync, prefix_at_sync;
        "The rows whose keys start with a prefix, in descending order", Iter, prefix: impl Into<Vec<u8>>,
            prefix_reverse, prefix_reverse_sync, prefix_reverse_at_sync;
        "The rows of a range, with values read on demand, in ascending order", LazyIter, range: &KeyRange,
            range_lazy, range_lazy_sync, range_lazy_at_sync;
        "The rows of a range, with values read on demand, in descending order", LazyIter, range: &KeyRange,
            range_lazy_reverse, range_lazy_reverse_sync, range_lazy_reverse_at_sync;
        "The rows whose keys start with a prefix, with values read on demand, in ascending order", LazyIter, prefix: impl Into<Vec<u8>>,
            prefix_lazy, prefix_lazy_sync, prefix_lazy_at_sync;
        "The rows whose keys start with a prefix, with values read on demand, in descending order", LazyIter, prefix: impl Into<Vec<u8>>,
            prefix_lazy_reverse, prefix_lazy_reverse_sync, prefix_lazy_reverse_at_sync;
    }
}

impl Db {
    point_methods!();
    scan_methods!();
}

impl Bucket {
    point_methods!();
    scan_methods!();
}
