//! Values that expire.

use std::time::Duration;

use crate::commit::batch::millis;
use crate::composite::{Base, put_base};
use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::write::{Prepared, check_key};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::types::{CommitInfo, Value};

impl Bucket {
    fn prepare_put_for(
        &self,
        key: &[u8],
        value: &[u8],
        ttl: Duration,
        options: WriteOptions,
    ) -> Result<Prepared> {
        let at = self.core().options.clock.now().saturating_add(millis(ttl));
        self.core().prepare_one(self.tree(), options, |batch| {
            check_key(self.tree(), key)?;
            let mut composite = Vec::new();
            put_base(&mut composite, Base::Expiring(at, value));
            batch.merge(self.tree().id(), key, &composite)
        })
    }
}

macro_rules! expiry_methods {
    () => {
        /// Sets the value of `key` for so long: from then on the key has no value. As durable as the database's options say.
        ///
        /// Time is that of [`DbOptions::clock`](crate::DbOptions::clock), in milliseconds, taken when the call begins. It is the same for
        /// everybody: a row that has expired is not returned, to snapshots and to iterators that began earlier neither. A later
        /// [`put`](Self::put) or [`update`](Self::update) of the key does not expire. What is [merged](Self::merge) into
        /// the key stays when the value that it was merged into has expired: as if that had been deleted before.
        ///
        /// An expired row takes space until compaction meets it.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        ///
        /// # Durability
        /// As [`put`](Self::put).
        ///
        /// # Cancellation
        /// As [`put`](Self::put).
        ///
        /// # Cost
        /// As [`put`](Self::put). A point read of the key is a seek, and asks the clock. However long the value is, it lies beside its key, not in a
        /// blob file.
        pub async fn put_with_ttl(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            ttl: Duration,
        ) -> Result<()> {
            self.put_with_ttl_and_options(key, value, ttl, WriteOptions::default())
                .await
                .map(drop)
        }

        /// [`put_with_ttl`](Self::put_with_ttl) on this thread.
        ///
        /// # Errors
        /// As [`put`](Self::put).
        pub fn put_with_ttl_sync(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            ttl: Duration,
        ) -> Result<()> {
            self.put_with_ttl_and_options_sync(key, value, ttl, WriteOptions::default())
                .map(drop)
        }

        /// [`put_with_ttl`](Self::put_with_ttl), at least as durable as `options` say.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        ///
        /// # Cost
        /// As [`put_with_ttl`](Self::put_with_ttl).
        ///
        /// # Durability
        /// As [`put_with_options`](Self::put_with_options).
        pub async fn put_with_ttl_and_options(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            ttl: Duration,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let bucket = self.keyspace();
            let prepared = bucket.prepare_put_for(&key.into(), &value.into(), ttl, options)?;
            self.core().commit_async(prepared).await
        }

        /// [`put_with_ttl_and_options`](Self::put_with_ttl_and_options) on this thread.
        ///
        /// # Errors
        /// As [`put_with_options`](Self::put_with_options).
        pub fn put_with_ttl_and_options_sync(
            &self,
            key: impl Into<Vec<u8>>,
            value: impl Into<Value>,
            ttl: Duration,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let bucket = self.keyspace();
            let prepared = bucket.prepare_put_for(&key.into(), &value.into(), ttl, options)?;
            self.core().commit_blocking(prepared)
        }
    };
}

impl Db {
    expiry_methods!();
}

impl Bucket {
    expiry_methods!();
}
