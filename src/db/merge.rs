//! Writes that say how a value changes and not what it becomes.

use crate::composite::{Base, put_base, put_operand};
use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::write::{Prepared, check_key, check_operator};
use crate::error::Result;
use crate::options::WriteOptions;
use crate::types::{CommitInfo, Value};

impl Bucket {
    fn prepare_merge(&self, key: &[u8], operand: &[u8], options: WriteOptions) -> Result<Prepared> {
        self.core().prepare_one(self.tree(), options, |batch| {
            check_key(self.tree(), key)?;
            check_operator(self.tree())?;
            let mut composite = Vec::new();
            put_base(&mut composite, Base::Older);
            put_operand(&mut composite, operand);
            batch.merge(self.tree().id(), key, &composite)
        })
    }
}

macro_rules! merge_methods {
    () => {
        /// Merges `operand` into the value of `key`, as durably as the database's options say. Nothing is read: whoever
        /// reads the key gets what the bucket's [operator](crate::MergeOperator) makes of its value and all operands since.
        ///
        /// # Errors
        /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) if the bucket
        /// [names no operator](crate::BucketOptions::merge_operator). As [`put`](Self::put). Whoever reads the key gets
        /// [`Error::MergeOperatorMissing`](crate::Error::MergeOperatorMissing) if this open was not given the operator, and
        /// [`Error::MergeFailed`](crate::Error::MergeFailed) if it fails; the operands are kept.
        ///
        /// # Durability
        /// As [`put`](Self::put).
        ///
        /// # Cancellation
        /// As [`put`](Self::put).
        ///
        /// # Cost
        /// As [`put`](Self::put). In a transaction it reads nothing, so two that merge into one key do not conflict. Reads
        /// of the key pay for its operands, each of which is looked up, until compaction has put them together: down to
        /// the oldest of them that somebody may still read, or the value.
        ///
        /// # Examples
        /// ```
        /// # fn main() -> trine_kv::Result<()> {
        /// use trine_kv::{BucketOptions, Db, DbOptions, Merged};
        /// # trine_kv::block_on(async {
        /// let append = |_: &[u8], old: Option<&[u8]>, new: &[&[u8]]| -> Merged {
        ///     Ok(Some([old.unwrap_or_default(), &new.concat()].concat()))
        /// };
        /// let options = DbOptions::memory()
        ///     .with_merge_operator("append", append)
        ///     .with_default_bucket_options(BucketOptions::default().with_merge_operator("append"));
        /// let db = Db::open(options).await?;
        /// db.put("log", "a").await?;
        /// db.merge("log", "b").await?;
        /// db.merge("log", "c").await?;
        /// assert_eq!(db.get(b"log").await?.as_deref(), Some(&b"abc"[..]));
        /// # Ok(())
        /// # })
        /// # }
        /// ```
        pub async fn merge(
            &self,
            key: impl Into<Vec<u8>>,
            operand: impl Into<Value>,
        ) -> Result<()> {
            self.merge_with_options(key, operand, WriteOptions::default())
                .await
                .map(drop)
        }

        /// [`merge`](Self::merge) on this thread.
        ///
        /// # Errors
        /// As [`merge`](Self::merge).
        pub fn merge_sync(&self, key: impl Into<Vec<u8>>, operand: impl Into<Value>) -> Result<()> {
            self.merge_with_options_sync(key, operand, WriteOptions::default())
                .map(drop)
        }

        /// [`merge`](Self::merge), at least as durable as `options` say.
        ///
        /// # Errors
        /// As [`merge`](Self::merge); [`Error::UnsupportedDurability`](crate::Error::UnsupportedDurability).
        ///
        /// # Cost
        /// As [`merge`](Self::merge).
        ///
        /// # Durability
        /// As [`put_with_options`](Self::put_with_options).
        pub async fn merge_with_options(
            &self,
            key: impl Into<Vec<u8>>,
            operand: impl Into<Value>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let bucket = self.keyspace();
            let prepared = bucket.prepare_merge(&key.into(), &operand.into(), options)?;
            self.core().commit_async(prepared).await
        }

        /// [`merge_with_options`](Self::merge_with_options) on this thread.
        ///
        /// # Errors
        /// As [`merge_with_options`](Self::merge_with_options).
        pub fn merge_with_options_sync(
            &self,
            key: impl Into<Vec<u8>>,
            operand: impl Into<Value>,
            options: WriteOptions,
        ) -> Result<CommitInfo> {
            let bucket = self.keyspace();
            let prepared = bucket.prepare_merge(&key.into(), &operand.into(), options)?;
            self.core().commit_blocking(prepared)
        }
    };
}

impl Db {
    merge_methods!();
}

impl Bucket {
    merge_methods!();
}
