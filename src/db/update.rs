//! Read-modify-write of one key: a read and a commit that conflicts if anybody else came between.

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::conflict::Reads;
use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::transact::TransactOptions;
use crate::db::write::{Prepared, check_key};
use crate::error::{Error, Result};
use crate::types::Value;

/// One attempt, up to its commit.
enum Step {
    /// There was nothing and there is to be nothing: no commit is needed for that.
    Nothing,
    Commit(Prepared, Option<Value>),
}

impl Bucket {
    /// Reads `key` and prepares what `change` makes of it.
    async fn attempt(
        &self,
        key: &[u8],
        options: TransactOptions,
        change: &mut impl FnMut(Option<&[u8]>) -> Option<Value>,
        mode: Mode,
    ) -> Result<Step> {
        let core = self.core();
        core.check_writable()?;
        let pin = core.pin_newest();
        let at = Some(pin.sequence());
        let old = core.get_with(self.tree(), key, at, mode, <[u8]>::to_vec);
        let old = old.finished().await?;
        let new = change(old.as_deref());
        if old.is_none() && new.is_none() {
            return Ok(Step::Nothing);
        }
        let mut reads = Reads::new(pin);
        reads.add_point(self.tree(), key);
        let prepared =
            core.prepare_one(self.tree(), options.transaction().write_options, |batch| {
                check_key(self.tree(), key)?;
                match &new {
                    Some(value) => batch.put(self.tree().id(), key, value),
                    None => batch.delete(self.tree().id(), key),
                }
            })?;
        Ok(Step::Commit(prepared.reading(reads), new))
    }

    pub(crate) async fn update_in(
        &self,
        key: &[u8],
        options: TransactOptions,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Value>,
        mode: Mode,
    ) -> Result<Option<Value>> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (prepared, new) = match self.attempt(key, options, &mut change, mode).await? {
                Step::Nothing => return Ok(None),
                Step::Commit(prepared, new) => (prepared, new),
            };
            let committed = match mode {
                Mode::Blocking => self.core().commit_blocking(prepared),
                Mode::Cooperative => self.core().commit_async(prepared).await,
            };
            match committed {
                Err(Error::Conflict { .. }) if attempts < options.attempts_max() => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(new),
            }
        }
    }
}

macro_rules! update_methods {
    () => {
        /// Sets `key` to what `change` makes of its value, or deletes it for `None`; gives back what it has
        /// become. After a conflict it reads and changes again, up to
        /// [`DEFAULT_ATTEMPTS_MAX`](TransactOptions::DEFAULT_ATTEMPTS_MAX) times.
        ///
        /// `change` may run several times. An attempt conflicts only because another commit to the key got
        /// through, so somebody always makes progress. A missing key that stays missing is no commit.
        ///
        /// # Errors
        /// [`Error::Conflict`](crate::Error::Conflict) when all attempts are used up; nothing was applied. As
        /// [`get`](Self::get) and [`put`](Self::put).
        ///
        /// # Durability
        /// As [`put`](Self::put).
        ///
        /// # Cancellation
        /// Dropped before the commit was handed over, nothing is written.
        ///
        /// # Cost
        /// A read, and a commit that looks the key up once more, for each attempt.
        ///
        /// # Examples
        /// ```
        /// # fn main() -> trine_kv::Result<()> {
        /// use trine_kv::{Db, DbOptions};
        /// # trine_kv::block_on(async {
        /// let db = Db::open(DbOptions::memory()).await?;
        /// for _ in 0..3 {
        ///     db.update(b"visits", |old| Some(vec![old.map_or(1, |old| old[0] + 1)])).await?;
        /// }
        /// assert_eq!(db.get(b"visits").await?, Some(vec![3]));
        /// # Ok(())
        /// # })
        /// # }
        /// ```
        pub async fn update(
            &self,
            key: &[u8],
            change: impl FnMut(Option<&[u8]>) -> Option<Value>,
        ) -> Result<Option<Value>> {
            self.update_with_options(key, TransactOptions::default(), change)
                .await
        }

        /// [`update`](Self::update) on this thread.
        ///
        /// # Errors
        /// As [`update`](Self::update).
        pub fn update_sync(
            &self,
            key: &[u8],
            change: impl FnMut(Option<&[u8]>) -> Option<Value>,
        ) -> Result<Option<Value>> {
            self.update_with_options_sync(key, TransactOptions::default(), change)
        }

        /// [`update`](Self::update), as durable and as often as `options` say.
        ///
        /// # Errors
        /// As [`update`](Self::update).
        ///
        /// # Durability
        /// That of the options, or the database's own if that is stronger.
        ///
        /// # Cost
        /// As [`update`](Self::update).
        pub async fn update_with_options(
            &self,
            key: &[u8],
            options: TransactOptions,
            change: impl FnMut(Option<&[u8]>) -> Option<Value>,
        ) -> Result<Option<Value>> {
            let bucket = self.keyspace();
            bucket
                .update_in(key, options, change, Mode::Cooperative)
                .await
        }

        /// [`update_with_options`](Self::update_with_options) on this thread.
        ///
        /// # Errors
        /// As [`update`](Self::update).
        pub fn update_with_options_sync(
            &self,
            key: &[u8],
            options: TransactOptions,
            change: impl FnMut(Option<&[u8]>) -> Option<Value>,
        ) -> Result<Option<Value>> {
            let bucket = self.keyspace();
            block_on(bucket.update_in(key, options, change, Mode::Blocking))
        }
    };
}

impl Db {
    update_methods!();
}

impl Bucket {
    update_methods!();
}
