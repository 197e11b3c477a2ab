//! Transactions that begin again after a conflict.

use crate::db::Db;
use crate::db::transaction::{Transaction, TransactionOptions};
use crate::error::{Error, Result};

/// How [`Db::transact`] commits, and how often it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactOptions {
    transaction: TransactionOptions,
    attempts_max: usize,
}

impl TransactOptions {
    /// Attempts unless said otherwise.
    pub const DEFAULT_ATTEMPTS_MAX: usize = 16;

    /// Transactions with these options, up to [`DEFAULT_ATTEMPTS_MAX`](Self::DEFAULT_ATTEMPTS_MAX) of them.
    #[must_use]
    pub const fn new(transaction: TransactionOptions) -> Self {
        Self {
            transaction,
            attempts_max: Self::DEFAULT_ATTEMPTS_MAX,
        }
    }

    /// With up to `attempts_max` attempts, the first included; zero becomes 1.
    #[must_use]
    pub const fn with_attempts_max(mut self, attempts_max: usize) -> Self {
        self.attempts_max = if attempts_max == 0 { 1 } else { attempts_max };
        self
    }

    /// The options of each transaction.
    #[must_use]
    pub const fn transaction(self) -> TransactionOptions {
        self.transaction
    }

    /// How many attempts there are at the most.
    #[must_use]
    pub const fn attempts_max(self) -> usize {
        self.attempts_max
    }
}

impl Default for TransactOptions {
    fn default() -> Self {
        Self::new(TransactionOptions::default())
    }
}

impl Db {
    /// Runs `body` over a new transaction and commits it. After a conflict it does both again, with
    /// another transaction, up to a bounded number of attempts; there is no pause between them.
    ///
    /// An attempt conflicts only because another commit got through, so somebody always makes progress.
    /// `body` may run several times: what it does besides reading and writing its transaction should
    /// bear that. Awaiting other things in it is fine, and lengthens the time in which others can
    /// conflict. An outcome that is not an [`Error`] can be part of the value: a transaction that staged
    /// nothing commits nothing.
    ///
    /// The future runs on any executor. It is `Send`, so that a task may move between threads, if `body`
    /// owns what it captures: write `async move |transaction| ..` and give it clones. With borrowed
    /// captures today's compilers cannot see that it is `Send`.
    ///
    /// # Errors
    /// [`Error::Conflict`], that of the last attempt, when all are used up. What `body` returns, as it is
    /// and without a commit, except that [`Error::Conflict`] asks for another attempt. As
    /// [`Transaction::commit`].
    ///
    /// # Durability
    /// As [`Transaction::commit`].
    ///
    /// # Cancellation
    /// As [`Db::write`]: dropped before the commit was handed over, nothing is written.
    ///
    /// # Cost
    /// That of the closure and of a commit, for each attempt.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions, TransactOptions};
    /// # trine_platform::block_on(async {
    /// let db = Db::open(DbOptions::memory()).await?;
    /// let visits = db
    ///     .transact(TransactOptions::default(), async |transaction| {
    ///         let visits = transaction.get(b"visits").await?.map_or(0, |value| value[0]);
    ///         transaction.put("visits", [visits + 1]);
    ///         Ok(visits + 1)
    ///     })
    ///     .await?;
    /// assert_eq!(visits, 1);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    pub async fn transact<T>(
        &self,
        options: TransactOptions,
        mut body: impl AsyncFnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut transaction = self.transaction(options.transaction);
            let outcome = match body(&mut transaction).await {
                Ok(value) => transaction.commit().await.map(|_| value),
                Err(error) => Err(error),
            };
            match outcome {
                Err(Error::Conflict { .. }) if attempts < options.attempts_max => {}
                outcome => return outcome,
            }
        }
    }

    /// [`transact`](Self::transact) on this thread, with a plain closure.
    ///
    /// # Errors
    /// As [`transact`](Self::transact).
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions, TransactOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.put_sync("from", [5])?;
    /// let moved = db.transact_sync(TransactOptions::default(), |transaction| {
    ///     let Some(value) = transaction.get_sync(b"from")? else {
    ///         return Ok(false);
    ///     };
    ///     transaction.put("to", value);
    ///     transaction.delete("from");
    ///     Ok(true)
    /// })?;
    /// assert!(moved);
    /// assert_eq!(db.get_sync(b"to")?, Some(vec![5]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn transact_sync<T>(
        &self,
        options: TransactOptions,
        mut body: impl FnMut(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut transaction = self.transaction(options.transaction);
            let outcome =
                body(&mut transaction).and_then(|value| transaction.commit_sync().map(|_| value));
            match outcome {
                Err(Error::Conflict { .. }) if attempts < options.attempts_max => {}
                outcome => return outcome,
            }
        }
    }
}
