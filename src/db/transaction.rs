//! Optimistic transactions: reads at one pinned sequence, writes staged, both checked at commit.

use std::sync::Arc;
use std::time::Duration;

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::batch::{DEFAULT_BUCKET, Staged as StagedWrite, WriteBatch};
use crate::commit::conflict::Reads;
use crate::db::iter::Iter;
use crate::db::staged::{Staged, StagedIndex};
use crate::db::{Core, Db, Handle};
use crate::direction::Direction;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::WriteOptions;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::pins::Pin;
use crate::tree::scan::Scan;
use crate::types::{CommitInfo, Value};

/// How a transaction commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionOptions {
    /// Raised to the database's own durability if that is stronger.
    pub write_options: WriteOptions,
}

/// Reads at one sequence and stages writes; commits if nobody else wrote to what it read.
///
/// - Reads see the database as it was when the transaction began, for as long as it lives. [`get`](Self::get)
///   and [`scan`](Self::scan) do not see the transaction's own staged writes; [`get_staged`](Self::get_staged) does.
/// - Every key read and every range read is recorded. If another commit has since touched one of
///   them, [`commit`](Self::commit) fails with [`Error::Conflict`] and nothing is applied. So
///   transactions are serializable as far as they recorded what they read.
/// - Dropping a transaction discards it. A live one keeps the database open.
///
/// [`Db::transact`] begins, commits, and begins again after a conflict.
///
/// # Cost
/// A recorded key is kept once, however often it is read; ranges that touch are kept as one. To commit,
/// each key is looked up, and each range walked, in what was committed since the transaction began; buckets
/// without such commits cost nothing.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{Db, DbOptions, TransactionOptions};
/// let db = Db::open_sync(DbOptions::memory())?;
/// db.put_sync("counter", "1")?;
/// let mut transaction = db.transaction(TransactionOptions::default());
/// assert_eq!(transaction.get_sync(b"counter")?.as_deref(), Some(&b"1"[..]));
/// transaction.put("counter", "2");
/// db.put_sync("counter", "9")?;
/// assert!(matches!(transaction.commit_sync(), Err(trine_kv::Error::Conflict { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Transaction {
    handle: Arc<Handle>,
    options: TransactionOptions,
    reads: Reads,
    batch: WriteBatch,
    staged: StagedIndex,
    /// The pinned sequence, where a constant function can read it.
    sequence: Sequence,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("read_sequence", &self.sequence)
            .field("staged", &self.batch.len())
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Begins a transaction that reads what is committed now.
    #[must_use]
    pub fn transaction(&self, options: TransactionOptions) -> Transaction {
        let pin = self.core().pin_newest();
        let sequence = pin.sequence();
        Transaction {
            handle: Arc::clone(self.keyspace().handle()),
            options,
            reads: Reads::new(pin),
            batch: WriteBatch::new(),
            staged: StagedIndex::default(),
            sequence,
        }
    }
}

impl Core {
    fn tree_named(&self, name: &str) -> Result<Arc<Tree>> {
        self.check_open()?;
        match self.trees.load().by_name(name) {
            Some(tree) => Ok(Arc::clone(tree)),
            None => Err(Error::BucketMissing {
                name: name.to_owned(),
            }),
        }
    }
}

impl Transaction {
    /// The sequence it reads at.
    #[must_use]
    pub const fn read_sequence(&self) -> Sequence {
        self.sequence
    }

    /// How it commits.
    #[must_use]
    pub const fn options(&self) -> TransactionOptions {
        self.options
    }

    /// The value of `key` in the default bucket as of the transaction's sequence; recorded.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Io`], [`Error::Corruption`], [`Error::InvalidFormat`]; nothing is recorded.
    ///
    /// # Cost
    /// As [`Bucket::get`](crate::Bucket::get), and remembers a copy of the key.
    pub async fn get(&mut self, key: &[u8]) -> Result<Option<Value>> {
        self.get_in(DEFAULT_BUCKET, key, Mode::Cooperative).await
    }

    /// [`get`](Self::get) on this thread.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_sync(&mut self, key: &[u8]) -> Result<Option<Value>> {
        block_on(self.get_in(DEFAULT_BUCKET, key, Mode::Blocking))
    }

    /// The value of `key` in a named bucket as of the transaction's sequence; recorded.
    ///
    /// # Errors
    /// [`Error::BucketMissing`], and as [`get`](Self::get).
    ///
    /// # Cost
    /// As [`get`](Self::get).
    pub async fn get_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: &[u8],
    ) -> Result<Option<Value>> {
        self.get_in(&bucket.into(), key, Mode::Cooperative).await
    }

    /// [`get_bucket`](Self::get_bucket) on this thread.
    ///
    /// # Errors
    /// As [`get_bucket`](Self::get_bucket).
    pub fn get_bucket_sync(
        &mut self,
        bucket: impl Into<String>,
        key: &[u8],
    ) -> Result<Option<Value>> {
        block_on(self.get_in(&bucket.into(), key, Mode::Blocking))
    }

    async fn get_in(&mut self, bucket: &str, key: &[u8], mode: Mode) -> Result<Option<Value>> {
        let tree = self.handle.tree_named(bucket)?;
        self.read(&tree, key, mode).await
    }

    async fn read(&mut self, tree: &Arc<Tree>, key: &[u8], mode: Mode) -> Result<Option<Value>> {
        let value = self
            .handle
            .get_with(tree, key, Some(self.sequence), mode, <[u8]>::to_vec)
            .finished()
            .await?;
        self.reads.add_point(tree, key);
        Ok(value)
    }

    /// The value that `key` of the default bucket would have if the transaction committed now: what it
    /// staged last for the key, range deletes included, or else what [`get`](Self::get) reads; and what it merged into that.
    ///
    /// What was staged depends on nobody else, so only a read of the database is recorded.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cost
    /// A search among the staged writes, then a read if they do not decide. The staged keys are copied
    /// into an index, each once, at the next call of this method. Once something was merged or put to expire, each call looks through all staged writes.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions, TransactionOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.put_sync("counter", "1")?;
    /// let mut transaction = db.transaction(TransactionOptions::default());
    /// transaction.put("counter", "2");
    /// assert_eq!(transaction.get_sync(b"counter")?.as_deref(), Some(&b"1"[..]));
    /// assert_eq!(transaction.get_staged_sync(b"counter")?.as_deref(), Some(&b"2"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_staged(&mut self, key: &[u8]) -> Result<Option<Value>> {
        self.get_staged_in(DEFAULT_BUCKET, key, Mode::Cooperative)
            .await
    }

    /// [`get_staged`](Self::get_staged) on this thread.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_staged_sync(&mut self, key: &[u8]) -> Result<Option<Value>> {
        block_on(self.get_staged_in(DEFAULT_BUCKET, key, Mode::Blocking))
    }

    /// [`get_staged`](Self::get_staged) of a key of a named bucket.
    ///
    /// # Errors
    /// [`Error::BucketMissing`], also for a staged key, and as [`get`](Self::get).
    ///
    /// # Cost
    /// As [`get_staged`](Self::get_staged).
    pub async fn get_staged_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: &[u8],
    ) -> Result<Option<Value>> {
        self.get_staged_in(&bucket.into(), key, Mode::Cooperative)
            .await
    }

    /// [`get_staged_bucket`](Self::get_staged_bucket) on this thread.
    ///
    /// # Errors
    /// As [`get_staged_bucket`](Self::get_staged_bucket).
    pub fn get_staged_bucket_sync(
        &mut self,
        bucket: impl Into<String>,
        key: &[u8],
    ) -> Result<Option<Value>> {
        block_on(self.get_staged_in(&bucket.into(), key, Mode::Blocking))
    }

    async fn get_staged_in(
        &mut self,
        bucket: &str,
        key: &[u8],
        mode: Mode,
    ) -> Result<Option<Value>> {
        let tree = self.handle.tree_named(bucket)?;
        if self.batch.has_composites() {
            return self.get_merged(&tree, key, mode).await;
        }
        match self.staged.find(self.batch.operations(), bucket, key) {
            Some(Staged::Put(value)) => Ok(Some(value.to_vec())),
            Some(Staged::Deleted) => Ok(None),
            None => self.read(&tree, key, mode).await,
        }
    }

    /// What all that was staged makes of the key, operands among it.
    async fn get_merged(
        &mut self,
        tree: &Arc<Tree>,
        key: &[u8],
        mode: Mode,
    ) -> Result<Option<Value>> {
        // What the last put or delete made of it; `None`: there was none.
        let mut base: Option<Option<&[u8]>> = None;
        let mut operands = Vec::new();
        self.batch.each(|name, operation| {
            let made = match operation {
                _ if name != tree.name() => return Ok(()),
                StagedWrite::Merge(other, operand) if other == key => {
                    operands.push(operand);
                    return Ok(());
                }
                StagedWrite::Put(other, value) | StagedWrite::PutExpiring(other, value, _)
                    if other == key =>
                {
                    Some(value)
                }
                StagedWrite::Delete(other) if other == key => None,
                StagedWrite::DeleteRange(range) if range.contains(key) => None,
                _ => return Ok(()),
            };
            base = Some(made);
            operands.clear();
            Ok(())
        })?;
        let base = if let Some(made) = base {
            made.map(<[u8]>::to_vec)
        } else {
            let at = Some(self.sequence);
            let read = self.handle.get_with(tree, key, at, mode, <[u8]>::to_vec);
            let value = read.finished().await?;
            self.reads.add_point(tree, key);
            value
        };
        if operands.is_empty() {
            return Ok(base);
        }
        let rules = tree.rules();
        rules.operator()?.merge(key, base.as_deref(), &operands)
    }

    /// Records a read of a whole range of the default bucket: a commit inside it, even of a new key,
    /// is a conflict. Reads every row of it first.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cost
    /// Reads every row of the range once; remembers its bounds only.
    pub async fn read_range(&mut self, range: KeyRange) -> Result<()> {
        self.read_range_in(DEFAULT_BUCKET, range, Mode::Cooperative)
            .await
    }

    /// [`read_range`](Self::read_range) on this thread.
    ///
    /// # Errors
    /// As [`read_range`](Self::read_range).
    pub fn read_range_sync(&mut self, range: KeyRange) -> Result<()> {
        block_on(self.read_range_in(DEFAULT_BUCKET, range, Mode::Blocking))
    }

    /// Records a read of a whole range of a named bucket.
    ///
    /// # Errors
    /// [`Error::BucketMissing`], and as [`read_range`](Self::read_range).
    ///
    /// # Cost
    /// As [`read_range`](Self::read_range).
    pub async fn read_range_bucket(
        &mut self,
        bucket: impl Into<String>,
        range: KeyRange,
    ) -> Result<()> {
        self.read_range_in(&bucket.into(), range, Mode::Cooperative)
            .await
    }

    /// [`read_range_bucket`](Self::read_range_bucket) on this thread.
    ///
    /// # Errors
    /// As [`read_range_bucket`](Self::read_range_bucket).
    pub fn read_range_bucket_sync(
        &mut self,
        bucket: impl Into<String>,
        range: KeyRange,
    ) -> Result<()> {
        block_on(self.read_range_in(&bucket.into(), range, Mode::Blocking))
    }

    async fn read_range_in(&mut self, bucket: &str, range: KeyRange, mode: Mode) -> Result<()> {
        let tree = self.handle.tree_named(bucket)?;
        let (mut scan, _) = self.scan_of(&tree, &range, Direction::Forward)?;
        while scan.advance(mode).await? {}
        self.reads.add_range(&tree, &range);
        Ok(())
    }

    fn scan_of(&self, tree: &Tree, range: &KeyRange, direction: Direction) -> Result<(Scan, Pin)> {
        self.handle
            .scan(tree, range.clone(), direction, Some(self.sequence))
    }

    fn scan_in(&mut self, bucket: &str, range: &KeyRange, direction: Direction) -> Result<Iter> {
        let tree = self.handle.tree_named(bucket)?;
        let (scan, pin) = self.scan_of(&tree, range, direction)?;
        self.reads.add_range(&tree, range);
        Ok(Iter::scan(scan, pin))
    }

    /// Stages a put in the default bucket.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Value>) {
        self.batch.put(key, value);
    }

    /// Stages a put in the default bucket of a value that expires so long after the commit began; see [`Db::put_with_ttl`].
    pub fn put_with_ttl(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        ttl: Duration,
    ) {
        self.batch.put_with_ttl(key, value, ttl);
    }

    /// Stages a put in a named bucket of a value that expires. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    ///
    /// # Cost
    /// Keeps the operation in memory until the commit.
    pub fn put_with_ttl_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        ttl: Duration,
    ) -> Result<()> {
        self.batch.put_with_ttl_bucket(bucket, key, value, ttl)
    }

    /// Stages an operand for a key of the default bucket; see [`Db::merge`]. It reads nothing: others may merge into the key
    /// meanwhile.
    pub fn merge(&mut self, key: impl Into<Vec<u8>>, operand: impl Into<Value>) {
        self.batch.merge(key, operand);
    }

    /// Stages a delete in the default bucket.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.batch.delete(key);
    }

    /// Stages a range delete in the default bucket.
    pub fn delete_range(&mut self, range: KeyRange) {
        self.batch.delete_range(range);
    }

    /// Stages a put in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if the name is empty or `"default"`.
    ///
    /// # Cost
    /// Keeps the operation in memory until the commit.
    pub fn put_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
    ) -> Result<()> {
        self.batch.put_bucket(bucket, key, value)
    }

    /// Stages an operand for a key of a named bucket. Whether it exists, and has a merge operator, is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    ///
    /// # Cost
    /// Keeps the operation in memory until the commit.
    pub fn merge_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        operand: impl Into<Value>,
    ) -> Result<()> {
        self.batch.merge_bucket(bucket, key, operand)
    }

    /// Stages a delete in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    ///
    /// # Cost
    /// Keeps the operation in memory until the commit.
    pub fn delete_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> Result<()> {
        self.batch.delete_bucket(bucket, key)
    }

    /// Stages a range delete in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    ///
    /// # Cost
    /// Keeps the operation in memory until the commit.
    pub fn delete_range_bucket(
        &mut self,
        bucket: impl Into<String>,
        range: KeyRange,
    ) -> Result<()> {
        self.batch.delete_range_bucket(bucket, range)
    }

    /// Applies the staged writes, if nobody has written since to what was read.
    ///
    /// # Errors
    /// [`Error::Conflict`]: nothing was applied; begin again. [`Error::BucketMissing`], and as
    /// [`Db::write`].
    ///
    /// # Durability
    /// As a batch with [`options`](Self::options)`.write_options`.
    ///
    /// # Cancellation
    /// As [`Db::write`].
    ///
    /// # Cost
    /// One look-up for each key that was read and a scan of what changed in each range, then as a batch.
    pub async fn commit(self) -> Result<CommitInfo> {
        let prepared =
            self.handle
                .prepare_batch(self.batch, Some(self.reads), self.options.write_options)?;
        self.handle.commit_async(prepared).await
    }

    /// [`commit`](Self::commit) on this thread.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_sync(self) -> Result<CommitInfo> {
        let prepared =
            self.handle
                .prepare_batch(self.batch, Some(self.reads), self.options.write_options)?;
        self.handle.commit_blocking(prepared)
    }
}

/// One scan in its four forms. Creating an iterator reads nothing, so the forms differ only in how it
/// is stepped.
macro_rules! scan_methods {
    ($($order:literal, $direction:ident, $(#[$example:meta])*
       $scan:ident, $scan_sync:ident, $bucket:ident, $bucket_sync:ident;)*) => {
        impl Transaction {
            $(
                #[doc = concat!("The rows of a range of the default bucket in ", $order,
                    " order, as of the transaction's sequence; recorded.")]
                ///
                /// The rows are committed ones: staged writes are not among them. The whole range counts as
                /// read from now on, however far the iterator gets: a commit inside it, even of a new
                /// key, is a conflict. The iterator may outlive the transaction.
                ///
                /// # Errors
                /// [`Error::Closed`]; nothing is recorded. Reading errors come from the iterator.
                ///
                /// # Cost
                /// Reads nothing yet; pins what the iterator will read.
                $(#[$example])*
                pub async fn $scan(&mut self, range: &KeyRange) -> Result<Iter> {
                    self.$scan_sync(range)
                }

                #[doc = concat!("[`", stringify!($scan), "`](Self::", stringify!($scan), ") on this thread.")]
                ///
                /// # Errors
                #[doc = concat!("As [`", stringify!($scan), "`](Self::", stringify!($scan), ").")]
                pub fn $scan_sync(&mut self, range: &KeyRange) -> Result<Iter> {
                    self.scan_in(DEFAULT_BUCKET, range, Direction::$direction)
                }

                #[doc = concat!("[`", stringify!($scan), "`](Self::", stringify!($scan), ") of a named bucket.")]
                ///
                /// # Errors
                #[doc = concat!("[`Error::BucketMissing`], and as [`", stringify!($scan), "`](Self::", stringify!($scan), ").")]
                ///
                /// # Cost
                /// Reads nothing yet; pins what the iterator will read.
                pub async fn $bucket(&mut self, bucket: impl Into<String>, range: &KeyRange) -> Result<Iter> {
                    self.$bucket_sync(bucket, range)
                }

                #[doc = concat!("[`", stringify!($bucket), "`](Self::", stringify!($bucket), ") on this thread.")]
                ///
                /// # Errors
                #[doc = concat!("As [`", stringify!($bucket), "`](Self::", stringify!($bucket), ").")]
                pub fn $bucket_sync(&mut self, bucket: impl Into<String>, range: &KeyRange) -> Result<Iter> {
                    self.scan_in(&bucket.into(), range, Direction::$direction)
                }
            )*
        }
    };
}

scan_methods! {
    "ascending", Forward,
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions, Error, KeyRange, TransactionOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.put_sync("seat:1", "Ada")?;
    /// let mut transaction = db.transaction(TransactionOptions::default());
    /// let seats = transaction.scan_sync(&KeyRange::prefix("seat:"))?.count();
    /// transaction.put("taken", seats.to_string());
    /// // Somebody takes a seat meanwhile: the count would be wrong.
    /// db.put_sync("seat:2", "Grace")?;
    /// assert!(matches!(transaction.commit_sync(), Err(Error::Conflict { .. })));
    /// # Ok(())
    /// # }
    /// ```
    scan, scan_sync, scan_bucket, scan_bucket_sync;
    "descending", Reverse,
    scan_reverse, scan_reverse_sync, scan_reverse_bucket, scan_reverse_bucket_sync;
}

#[cfg(test)]
impl Transaction {
    /// What a commit hands over, once everything else of the transaction is gone.
    pub(crate) fn into_reads(self) -> Reads {
        self.reads
    }
}
