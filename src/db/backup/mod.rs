//! Backups: copies of a database in a directory of their own, which share the files that they have in common.
//!
//! ```text
//! BACKUP-000001   BACKUP-000002        what each consists of: buckets, options, tables, checksums
//!    |       \      /      |
//! table-..   table-..   table-..       each once; named by where it comes from and what is in it
//! ```
//! - A backup counts once its own file has its name, which it gets last: so one that is cut short leaves files
//!   at most, which the next one uses.
//! - A data file goes only when no backup names it, and only after the backups that did are gone for good.
//! - Whoever changes the directory holds its lock. Reading takes none.
//! - What is not flushed is flushed first: a backup has tables and no log.

#[cfg(test)]
mod crash_tests;
mod create;
mod directory;
mod generation;
mod names;
#[cfg(feature = "object-store")]
mod objects;
mod prune;
mod restore;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use trine_io::{Mode, Storage};
use trine_platform::block_on;
use trine_platform::clock::wall_millis;

use crate::db::Db;
use crate::db::backup::generation::Generation;
use crate::db::backup::store::Store;
use crate::error::Result;
use crate::sequence::Sequence;

/// The number of a backup. Later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(u64);

impl BackupId {
    /// The backup of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a backup is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// How much is copied in a second, at the most. Default: no limit.
    pub bytes_per_second: Option<u64>,
    /// Whether files that are there already are read, and copied again where their bytes have changed. Repairs earlier
    /// backups, too. Default: false; only their lengths are looked at.
    pub check_shared: bool,
}

/// One backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupInfo {
    /// Its number.
    pub id: BackupId,
    /// The newest commit in it.
    pub sequence: Sequence,
    /// When it was made, by the clock of its host.
    pub created: SystemTime,
    /// How many data files it needs.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl BackupInfo {
    fn new(id: BackupId, generation: &Generation) -> Self {
        let created = Duration::from_millis(generation.created_ms);
        Self {
            id,
            sequence: generation.state.last_sequence(),
            // A time beyond what this host can tell is as good as none.
            created: SystemTime::UNIX_EPOCH
                .checked_add(created)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            files: generation.files.len(),
            bytes: generation.bytes(),
        }
    }
}

/// What making a backup took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// What was made.
    pub backup: BackupInfo,
    /// How many of its files were copied; the others were there.
    pub copied_files: usize,
    /// The bytes of those.
    pub copied_bytes: u64,
}

/// What pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneReport {
    /// Backups.
    pub backups: usize,
    /// Data files that no other backup needs.
    pub files: usize,
}

/// A place for backups, of one database or of several: a directory, or a prefix in a store of objects. Clones share it.
///
/// Backups share the files that they have in common, so one after a small change takes little time and room. Each
/// can be restored by itself, and holds all buckets and their options.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// # let home = tempfile::tempdir()?;
/// use trine_kv::{BackupOptions, Backups, Db};
///
/// let db = Db::open_sync(home.path().join("data"))?;
/// let backups = Backups::in_directory(home.path().join("backups"));
/// db.put_sync("key", "then")?;
/// let then = db.backup_sync(&backups, BackupOptions::default())?.backup;
/// db.put_sync("key", "now")?;
/// backups.verify_sync(then.id)?;
/// backups.restore_sync(then.id, home.path().join("restored"))?;
/// let restored = Db::open_sync(home.path().join("restored"))?;
/// assert_eq!(restored.get_sync(b"key")?.as_deref(), Some(&b"then"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Backups {
    store: Store,
}

impl Backups {
    /// Backups in the directory at `path`. Nothing is touched yet.
    #[must_use]
    pub fn in_directory(path: impl AsRef<Path>) -> Self {
        Self {
            store: Store::new(Storage::portable(path.as_ref())),
        }
    }

    /// Backups below `prefix` in a store of objects: of a cloud, of a directory, in memory. Nothing is touched yet.
    ///
    /// The store has to keep two callers from creating the same object (`PutMode::Create`), as those of clouds do. Whoever
    /// changes backups has an object `LOCK` there meanwhile; if that process dies, somebody has to remove it.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) for a prefix that is none;
    /// [`Error::Io`](crate::Error::Io) if the thread that runs the store's client cannot be started.
    ///
    /// # Cost
    /// A thread with a runtime of `tokio`, as long as the value and its clones live. A new file is read twice: its name, with the
    /// checksum in it, is known before it is sent, in parts of 8 MiB.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// # let home = tempfile::tempdir()?;
    /// # let db = trine_kv::Db::open_sync(home.path().join("data"))?;
    /// use std::sync::Arc;
    ///
    /// use object_store::memory::InMemory;
    /// use trine_kv::{BackupOptions, Backups};
    ///
    /// let backups = Backups::in_object_store(Arc::new(InMemory::new()), "nightly/accounts")?;
    /// db.put_sync("key", "value")?;
    /// let made = db.backup_sync(&backups, BackupOptions::default())?;
    /// backups.restore_sync(made.backup.id, home.path().join("restored"))?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "object-store")]
    pub fn in_object_store(
        store: std::sync::Arc<dyn object_store::ObjectStore>,
        prefix: impl AsRef<str>,
    ) -> Result<Self> {
        objects::Objects::new(store, prefix.as_ref()).map(|objects| Self {
            store: Store::Objects(objects),
        })
    }

    /// All backups by number, each with what it is, or why that cannot be read.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the directory cannot be read. One that is missing has no backups.
    ///
    /// # Cost
    /// Reads each backup's own file, which grows with the number of its tables.
    pub async fn list(&self) -> Result<Vec<(BackupId, Result<BackupInfo>)>> {
        self.offload(|store| async move { store.infos(Mode::Blocking).await })
            .await
    }

    /// [`list`](Self::list) on this thread.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn list_sync(&self) -> Result<Vec<(BackupId, Result<BackupInfo>)>> {
        block_on(self.store.infos(Mode::Blocking))
    }

    /// Reads every file of a backup and compares it with its checksum.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) if there is no such backup;
    /// [`Error::Corruption`](crate::Error::Corruption) naming the first file that is missing or damaged;
    /// [`Error::UnsupportedFormat`](crate::Error::UnsupportedFormat); [`Error::Io`](crate::Error::Io).
    ///
    /// # Cost
    /// Reads all its files.
    pub async fn verify(&self, id: BackupId) -> Result<BackupInfo> {
        self.offload(move |store| async move { store.verify(id, Mode::Blocking).await })
            .await
    }

    /// [`verify`](Self::verify) on this thread.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_sync(&self, id: BackupId) -> Result<BackupInfo> {
        block_on(self.store.verify(id, Mode::Blocking))
    }

    /// Makes a database of a backup, in the directory at `path`, which must be empty or missing. Every file is compared
    /// with its checksum on the way.
    ///
    /// # Errors
    /// As [`verify`](Self::verify); [`Error::InvalidOptions`](crate::Error::InvalidOptions) also if the directory is not
    /// empty. What a restore that failed leaves opens as nothing but an error: remove it.
    ///
    /// # Durability
    /// The database survives power loss when the call returns.
    ///
    /// # Cost
    /// Copies all files of the backup.
    pub async fn restore(&self, id: BackupId, path: impl AsRef<Path>) -> Result<BackupInfo> {
        let target = Storage::portable_inline(path.as_ref());
        self.offload(move |store| async move { store.restore(id, &target, Mode::Blocking).await })
            .await
    }

    /// [`restore`](Self::restore) on this thread.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_sync(&self, id: BackupId, path: impl AsRef<Path>) -> Result<BackupInfo> {
        let target = Storage::portable_inline(path.as_ref());
        block_on(self.store.restore(id, &target, Mode::Blocking))
    }

    /// Removes all backups but the newest `keep`, and every file that none of those needs.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) for `keep` 0;
    /// [`Error::Corruption`](crate::Error::Corruption) if somebody else changes the directory now, or one of the backups
    /// that stay cannot be read: nothing is removed then; [`Error::Io`](crate::Error::Io).
    ///
    /// # Durability
    /// The others are as they were, whatever happens meanwhile. What was removed stays removed after power loss
    /// when the call returns.
    ///
    /// # Cost
    /// Reads the files of the backups that stay, without their data.
    pub async fn prune(&self, keep: usize) -> Result<PruneReport> {
        self.offload(move |store| async move { store.prune(keep, Mode::Blocking).await })
            .await
    }

    /// [`prune`](Self::prune) on this thread.
    ///
    /// # Errors
    /// As [`prune`](Self::prune).
    pub fn prune_sync(&self, keep: usize) -> Result<PruneReport> {
        block_on(self.store.prune(keep, Mode::Blocking))
    }

    /// Removes one backup, also one that cannot be read, and every file that no other needs. The number of the
    /// newest one, if that is removed, is given again.
    ///
    /// # Errors
    /// As [`prune`](Self::prune); [`Error::InvalidOptions`](crate::Error::InvalidOptions) if there is no such backup.
    ///
    /// # Durability
    /// As [`prune`](Self::prune).
    ///
    /// # Cost
    /// As [`prune`](Self::prune).
    pub async fn remove(&self, id: BackupId) -> Result<PruneReport> {
        self.offload(move |store| async move { store.forget(id, Mode::Blocking).await })
            .await
    }

    /// [`remove`](Self::remove) on this thread.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub fn remove_sync(&self, id: BackupId) -> Result<PruneReport> {
        block_on(self.store.forget(id, Mode::Blocking))
    }

    /// Runs a job on a thread where it may block.
    async fn offload<T, F>(&self, job: impl FnOnce(Store) -> F + Send + 'static) -> Result<T>
    where
        T: Send + Unpin + 'static,
        F: Future<Output = Result<T>>,
    {
        let store = self.store.clone();
        self.store.offload(move || block_on(job(store))).await
    }
}

impl Db {
    /// Adds a backup of the database to `backups`, as of one commit that includes everything committed before the call.
    /// Reads and writes go on meanwhile. Files that an earlier backup has, or one that was cut short, are not copied again.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) if somebody else changes the directory of backups now;
    /// [`Error::InvalidOptions`](crate::Error::InvalidOptions) if that is one of a database;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for a database in memory;
    /// [`Error::ReadOnly`](crate::Error::ReadOnly), [`Error::Closed`](crate::Error::Closed), [`Error::Io`](crate::Error::Io).
    /// No backup was added then, unless it is the last step that failed; those before are as they were.
    ///
    /// # Durability
    /// The backup survives power loss when the call returns.
    ///
    /// # Cancellation
    /// Dropping the future abandons the answer, not the backup.
    ///
    /// # Cost
    /// A flush, then a copy of each table and blob file that `backups` does not have yet.
    pub async fn backup(&self, backups: &Backups, options: BackupOptions) -> Result<BackupReport> {
        let store = backups.store.clone();
        self.core()
            .offload(move |core| async move {
                core.backup(&store, options, wall_millis(), Mode::Blocking)
                    .await
            })
            .await
    }

    /// [`backup`](Self::backup) on this thread.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub fn backup_sync(&self, backups: &Backups, options: BackupOptions) -> Result<BackupReport> {
        block_on(
            self.core()
                .backup(&backups.store, options, wall_millis(), Mode::Blocking),
        )
    }
}
