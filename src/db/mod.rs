//! The database: what its handles share, and its life from open to close.
//!
//! Locks, in the order in which they may be taken; none is held across I/O but the batons, which are
//! made for it:
//!
//! 1. `Core::buckets` (a baton: one creation or removal at a time), a claim or pause of
//!    `Persistent::claims` (what compactions work on), `Persistent::flushing` (a baton: one flush at a time)
//! 2. leadership of the commit path; the turn to prepare log segments (neither is waited for while the other is held)
//! 3. the manifest (baton: edits are appended one by one)
//! 4. the commit queue, the log's supply, a tree's view, the registry, pins (mutexes, held for a few instructions)

mod adoption;
pub(crate) mod archive;
mod attempt;
pub(crate) mod backup;
pub(crate) mod bucket;
pub(crate) mod budget;
pub(crate) mod bulk_load;
pub(crate) mod calls;
pub(crate) mod changes;
pub(crate) mod checkpoint;
pub(crate) mod compaction;
pub(crate) mod copy;
pub(crate) mod counters;
mod expiry;
pub(crate) mod explain;
pub(crate) mod follow;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod iter;
pub(crate) mod latency;
mod loads;
pub(crate) mod maintenance;
mod merge;
pub(crate) mod open;
pub(crate) mod pressure;
pub(crate) mod read;
pub(crate) mod reader;
pub(crate) mod recovery;
pub(crate) mod report;
pub(crate) mod rota;
pub(crate) mod row_cursor;
pub(crate) mod snapshot;
pub(crate) mod space;
pub(crate) mod staged;
pub(crate) mod stats;
#[cfg(stream)]
pub(crate) mod stream;
pub(crate) mod surface;
pub(crate) mod transact;
pub(crate) mod transaction;
mod update;
pub(crate) mod worker;
pub(crate) mod write;

pub use backup::{BackupId, BackupInfo, BackupOptions, BackupReport, Backups, PruneReport};
pub use budget::{MaintenanceBudget, MaintenanceOutcome};
pub use inspect::VerifyReport;
pub use open::IntoOpenOptions;

use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use trine_io::{Lock, Mode, Storage};
use trine_platform::baton::Baton;
use trine_platform::bell::Bell;
use trine_platform::block_on;
use trine_platform::pace::Pace;

use crate::blob::BlobGc;
use crate::commit::CommitPath;
use crate::commit::backpressure::Backpressure;
use crate::db::bucket::{Bucket, BucketName};
use crate::db::counters::Counters;
use crate::db::install::Obsolete;
use crate::db::latency::Latencies;
use crate::db::loads::Loads;
use crate::db::rota::Rota;
use crate::db::snapshot::Snapshot;
use crate::db::worker::Workers;
use crate::error::{Error, Result};
use crate::event::{Event, Observer};
use crate::file_name::FileNumbers;
use crate::manifest::Manifest;
use crate::open_files::OpenFiles;
use crate::options::{BucketOptions, DbOptions};
use crate::sequence::Sequence;
use crate::tree::Registry;
use crate::tree::claims::Claims;
use crate::tree::pins::Pins;

/// What every handle of one open database shares.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) options: DbOptions,
    pub(crate) trees: Arc<Registry>,
    pub(crate) commits: Arc<CommitPath>,
    pub(crate) pins: Arc<Pins>,
    /// One bucket creation at a time.
    pub(crate) buckets: Baton<()>,
    /// Rung when there may be something to flush or compact.
    pub(crate) maintenance: Arc<Bell>,
    /// Rung when writes that wait may go on, or fail.
    pub(crate) progress: Bell,
    pub(crate) backpressure: Backpressure,
    /// Spreads writes over time while they are slowed.
    pub(crate) writes: Pace,
    /// Whose turn it is to be flushed, and compacted, by callers with a budget.
    pub(crate) flushed: Rota,
    pub(crate) compacted: Rota,
    pub(crate) counters: Counters,
    pub(crate) latencies: Latencies,
    pub(crate) observer: Observer,
    /// `None` in memory.
    pub(crate) persistent: Option<Persistent>,
    pub(crate) closed: AtomicBool,
    /// Held by whoever closes; true once that is done.
    closing: Baton<bool>,
}

/// What a database on storage has besides.
#[derive(Debug)]
pub(crate) struct Persistent {
    pub(crate) storage: Storage,
    pub(crate) manifest: Arc<Baton<Manifest>>,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) numbers: Arc<FileNumbers>,
    /// `None` if blob files are not rewritten for their garbage.
    pub(crate) blob_gc: Option<BlobGc>,
    /// One flush at a time, so that memtables reach level 0 in their order.
    pub(crate) flushing: Baton<()>,
    /// What the compactions that run have for themselves.
    pub(crate) claims: Claims,
    /// Bulk loads that run.
    pub(crate) loads: Loads,
    /// Spreads background writes over time where their rate is limited.
    pub(crate) background: Pace,
    /// In bytes for each second; zero is no limit.
    pub(crate) background_limit: AtomicU64,
    /// Tables that no version names and blob files that no table of one refers to, until nobody can read
    /// them and their files are gone.
    pub(crate) obsolete: Mutex<Vec<(u64, Obsolete)>>,
    /// Why background maintenance failed last; the next write reports it.
    pub(crate) background_failure: Mutex<Option<(std::io::ErrorKind, String)>>,
    workers: Workers,
    /// Released by close. `None` for a read-only database, which takes none.
    lock: Mutex<Option<Lock>>,
}

impl Core {
    /// Fails once the database is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Fails if the database is closed or read-only.
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.options.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Ends everything: running commits and jobs finish, the lock is released. Idempotent; whoever
    /// comes second waits for the first.
    pub(crate) async fn close(&self, mode: Mode) -> Result<()> {
        self.closed.store(true, Release);
        self.progress.ring();
        let mut done = self.closing.take().await;
        if *done {
            return Ok(());
        }
        let result = self.commits.close(mode).await;
        if let Some(persistent) = &self.persistent {
            persistent.workers.stop(&self.maintenance);
            // Callers' jobs: those that run finish, those that come later see that it is closed. The
            // directory may belong to somebody else once the lock is released.
            let _buckets = self.buckets.take().await;
            persistent.loads.ended().await;
            let _compacting = persistent.claims.pause().await;
            let _flushing = persistent.flushing.take().await;
            if !self.options.read_only {
                self.remove_obsolete(mode).await;
                if let Some(supply) = self.commits.supply() {
                    supply.close(mode).await;
                }
            }
            // Iterators read on, whoever has the directory next.
            for tree in self.trees.load().iter() {
                tree.open_pinned(mode).await;
            }
            persistent.manifest.take().await.retire();
            let lock = persistent
                .lock
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(lock);
            persistent.storage.close();
        }
        *done = true;
        self.observer.tell(&Event::Closed);
        result
    }
}

/// Keeps the database open; the last one dropped closes it.
#[derive(Debug)]
pub(crate) struct Handle {
    core: Arc<Core>,
}

impl std::ops::Deref for Handle {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure; what was acknowledged is in the log already.
        let own_thread = |persistent: &Persistent| persistent.workers.is_current();
        if self.core.commits.is_log_thread()
            || self.core.persistent.as_ref().is_some_and(own_thread)
        {
            // A waker that the thread woke held the last handle. It cannot wait for itself to end.
            let core = Arc::clone(&self.core);
            drop(trine_platform::thread::spawn("trine-close", move || {
                drop(block_on(core.close(Mode::Blocking)));
            }));
            return;
        }
        drop(block_on(self.core.close(Mode::Blocking)));
    }
}

/// An open database. Clones share it; the last of all `Db`, [`Bucket`] and transaction handles closes it.
///
/// Every operation exists as an `async fn`, which any executor may poll, and as a `*_sync` method,
/// which needs none. Calls without a bucket work on the default bucket.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{Db, DbOptions, KeyRange};
/// let db = Db::open_sync(DbOptions::memory())?;
/// db.put_sync("b", "2")?;
/// db.put_sync("a", "1")?;
/// let keys: Vec<_> = db.range_sync(&KeyRange::all())?.map(|row| row.map(|row| row.key)).collect::<Result<_, _>>()?;
/// assert_eq!(keys, [b"a", b"b"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Db {
    default_bucket: Bucket,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db")
            .field("storage_mode", &self.core().options.storage_mode)
            .finish_non_exhaustive()
    }
}

impl Db {
    pub(crate) fn core(&self) -> &Arc<Core> {
        self.default_bucket.core()
    }

    pub(crate) fn keyspace(&self) -> &Bucket {
        &self.default_bucket
    }

    /// Opens a database: a path, or [`DbOptions`]. Creates it if it is missing and the options say so.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] for options or a path that cannot be; [`Error::Corruption`] if another
    /// writer holds the directory or it is damaged; [`Error::UnsupportedBackend`] and
    /// [`Error::Unsupported`] for what this target or build lacks; [`Error::Io`].
    ///
    /// # Cost
    /// Reads the manifest, the names in the directory, and the log that is not in tables yet. Of
    /// tables the first 64 are opened and their indexes checked, others when they are first read.
    pub async fn open(options: impl IntoOpenOptions) -> Result<Self> {
        open::open_async(options.into_open_options()).await
    }

    /// [`open`](Self::open) on this thread.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sync(options: impl IntoOpenOptions) -> Result<Self> {
        block_on(open::open(options.into_open_options(), Mode::Blocking))
    }

    /// The default bucket.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Cost
    /// Clones a handle.
    #[expect(clippy::unused_async, reason = "asynchronous by contract")]
    pub async fn default_bucket(&self) -> Result<Bucket> {
        self.default_bucket_sync()
    }

    /// The default bucket.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Cost
    /// Clones a handle.
    pub fn default_bucket_sync(&self) -> Result<Bucket> {
        Ok(self.default_bucket.clone())
    }

    /// The bucket of this name, created with default options if there is none. Names are data: any
    /// text but the empty one and `"default"`.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] for those names, or if the bucket exists with other options;
    /// [`Error::ReadOnly`] if it would have to be created; [`Error::Closed`]; [`Error::Io`].
    ///
    /// # Durability
    /// A created bucket survives power loss when the call returns.
    ///
    /// # Cost
    /// An existing bucket is a look-up. A new one is one synced edit of the manifest.
    pub async fn bucket(&self, name: impl Into<BucketName>) -> Result<Bucket> {
        self.bucket_with_options(name, BucketOptions::default())
            .await
    }

    /// [`bucket`](Self::bucket) on this thread.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket).
    pub fn bucket_sync(&self, name: impl Into<BucketName>) -> Result<Bucket> {
        self.bucket_with_options_sync(name, BucketOptions::default())
    }

    /// The bucket of this name, created with these options if there is none.
    ///
    /// # Errors
    /// As [`bucket`](Self::bucket); [`Error::InvalidOptions`] also for options that cannot be;
    /// [`Error::MergeOperatorMissing`] if they name an operator that this open was not given.
    ///
    /// # Cost
    /// As [`bucket`](Self::bucket).
    ///
    /// # Durability
    /// As [`bucket`](Self::bucket).
    pub async fn bucket_with_options(
        &self,
        name: impl Into<BucketName>,
        options: BucketOptions,
    ) -> Result<Bucket> {
        self.core().check_operator_of(&options)?;
        let (any, name) = (self.default_bucket.clone(), name.into());
        // As a job: a future that is dropped half way must not leave half a creation.
        self.core()
            .offload(|_| async move {
                bucket::open_or_create(&any, name, options, Mode::Blocking).await
            })
            .await
    }

    /// [`bucket_with_options`](Self::bucket_with_options) on this thread.
    ///
    /// # Errors
    /// As [`bucket_with_options`](Self::bucket_with_options).
    pub fn bucket_with_options_sync(
        &self,
        name: impl Into<BucketName>,
        options: BucketOptions,
    ) -> Result<Bucket> {
        self.core().check_operator_of(&options)?;
        block_on(bucket::open_or_create(
            &self.default_bucket,
            name.into(),
            options,
            Mode::Blocking,
        ))
    }

    /// The bucket of this name, whatever its options; none is created. `"default"` is the default bucket.
    ///
    /// # Errors
    /// [`Error::BucketMissing`]; [`Error::Closed`].
    ///
    /// # Cost
    /// A look-up; no I/O.
    pub fn existing_bucket(&self, name: impl Into<BucketName>) -> Result<Bucket> {
        bucket::existing_named(&self.default_bucket, &name.into())
    }

    /// Drops a bucket with everything in it. Handles to it fail with
    /// [`Error::BucketMissing`] from then on; iterators and readers made before still deliver. A bucket
    /// of the same name can be created afterwards, and is another one.
    ///
    /// # Errors
    /// [`Error::BucketMissing`]; [`Error::InvalidOptions`] for the default bucket;
    /// [`Error::ReadOnly`], [`Error::Closed`], [`Error::Io`].
    ///
    /// # Durability
    /// The bucket stays dropped after power loss when the call returns.
    ///
    /// # Cost
    /// One edit of the manifest. Table files are removed when nothing reads them any more. Waits for a
    /// flush or compaction that runs.
    pub async fn drop_bucket(&self, name: impl Into<BucketName>) -> Result<()> {
        let name = name.into();
        self.core()
            .offload(
                move |core| async move { bucket::drop_named(&core, &name, Mode::Blocking).await },
            )
            .await
    }

    /// [`drop_bucket`](Self::drop_bucket) on this thread.
    ///
    /// # Errors
    /// As [`drop_bucket`](Self::drop_bucket).
    pub fn drop_bucket_sync(&self, name: impl Into<BucketName>) -> Result<()> {
        block_on(bucket::drop_named(
            self.core(),
            &name.into(),
            Mode::Blocking,
        ))
    }

    /// A view of everything committed so far. It pins what it sees until its last clone is dropped.
    ///
    /// # Cost
    /// A short lock; no I/O.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::pinned(self.core().pin_newest())
    }

    /// The options it was opened with. Of an existing database the stored bucket options rule, which
    /// `default_bucket_sync()?.options()` gives.
    #[must_use]
    pub fn options(&self) -> &DbOptions {
        &self.core().options
    }

    /// The newest visible commit; [`Sequence::ZERO`] before the first.
    #[must_use]
    pub fn last_committed_sequence(&self) -> Sequence {
        self.core().commits.visible()
    }

    /// Closes the database for every handle: waits for running commits and jobs, stops the workers,
    /// releases the lock. Memtables are not flushed: their commits are in the log. Idempotent.
    ///
    /// # Errors
    /// [`Error::Io`] if the log cannot be synced a last time.
    ///
    /// # Durability
    /// Everything committed survives power loss when it returns without an error.
    ///
    /// # Cost
    /// Waits for running commits and background jobs. Flushes no memtable.
    pub async fn close(&self) -> Result<()> {
        self.core()
            .offload(|core| async move { core.close(Mode::Blocking).await })
            .await
    }

    /// [`close`](Self::close) on this thread.
    pub fn close_sync(&self) {
        // The signature has no room for an error; what was acknowledged is in the log already.
        drop(block_on(self.core().close(Mode::Blocking)));
    }
}

#[cfg(test)]
mod handle_tests;
#[cfg(test)]
mod maintenance_tests;
#[cfg(test)]
mod pressure_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
