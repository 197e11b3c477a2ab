//! What is chosen when a database is opened.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::{EventListener, Listener};
use crate::operator::{CompactionFilter, CompactionFilters, MergeOperator, MergeOperators};
use crate::options::{BucketOptions, DurabilityMode};
use crate::runtime::RuntimeOptions;

/// Where a database lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorageMode {
    /// In memory: it goes with its last handle.
    #[default]
    InMemory,
    /// In a directory of the native file system.
    Persistent {
        /// The directory.
        path: PathBuf,
    },
    /// In storage that a host provides.
    HostPersistent {
        /// Which host.
        backend: HostStorageBackend,
    },
}

/// A host that provides storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostStorageBackend {
    /// A WASI host.
    Wasi {
        /// A directory below one that the host opened beforehand.
        path: PathBuf,
    },
    /// A browser: the origin's private file system. Asynchronous calls only.
    Browser,
}

/// How finished files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileReads {
    /// Through maps, where the host has them: what is in memory is lent without a copy. A fault of the disk under a
    /// block that was read before and has left memory since ends the process by a signal.
    #[default]
    Mapped,
    /// By copying each block into the block cache. A fault of the disk is always an error.
    Copied,
}

/// What an open does about files that a crash can leave and that hold nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailOnCorruptionPolicy {
    /// Anything unexpected fails the open, and nothing is touched.
    #[default]
    FailClosed,
    /// A writable open deletes known temporary files and lists them in the recovery report.
    /// Everything else unexpected still fails the open.
    RepairSafeTemporaryFiles,
}

/// A share in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobGcRatio(u32);

impl BlobGcRatio {
    /// One half, the default.
    pub const HALF: Self = Self(500_000);
    /// The whole.
    pub const FULL: Self = Self(1_000_000);

    /// So many millionths. Opening refuses 0 and what is above [`BlobGcRatio::FULL`].
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Self {
        Self(millionths)
    }

    /// How many millionths it is.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

impl Default for BlobGcRatio {
    fn default() -> Self {
        Self::HALF
    }
}

/// Options of a database, for one open. Nothing but `default_bucket_options` is stored.
///
/// ```
/// use trine_kv::options::{DbOptions, DurabilityMode};
///
/// let options = DbOptions {
///     write_buffer_bytes: 8 << 20,
///     ..DbOptions::new("data").with_durability(DurabilityMode::SyncData)
/// };
/// assert!(options.create_if_missing);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DbOptions {
    /// Where the database lives.
    pub storage_mode: StorageMode,
    /// Whether a missing directory is created; if not, opening it fails. Default `true`.
    pub create_if_missing: bool,
    /// Whether to open without the writer's lock and without changing any file. Default `false`.
    pub read_only: bool,
    /// Options of the default bucket when the database is created. An existing database keeps the
    /// options that it was created with, which its default bucket's `options()` returns.
    pub default_bucket_options: BucketOptions,
    /// The least durability of any commit. Default: [`DurabilityMode::SyncAll`] for a native
    /// directory, [`DurabilityMode::Flush`] for a host's storage, [`DurabilityMode::Buffered`] in memory.
    pub durability: DurabilityMode,
    /// A bucket's memtable of at least this many bytes becomes immutable. Default 64 MiB. Not zero.
    pub write_buffer_bytes: usize,
    /// With this many immutable memtables in a bucket, writes to it wait for a flush; from half of them on
    /// they are slowed. Default 4. Not zero.
    pub max_immutable_memtables: usize,
    /// Target size of a table file, in bytes. Default 64 MiB. Not zero.
    pub target_table_bytes: usize,
    /// How many times larger a level is than the one above. Default 10, at least 2.
    pub level_size_multiplier: usize,
    /// With more tables than this in a bucket's level 0, compaction is due. Default 8. Not zero.
    pub max_l0_files: usize,
    /// Memory for decompressed blocks, in bytes; zero keeps none. Default 256 MiB.
    pub block_cache_bytes: usize,
    /// How many tables and blob files may be open at a time, each with a file descriptor and a memory map. Opening a database opens up
    /// to 64 of them, so that damage shows; others are opened when they are first read. Beyond this number, those read least recently are closed. What
    /// readers and iterators hold stays open all the same. Default 800.
    pub max_open_tables: usize,
    /// How many threads compact in the background, beside one that flushes; zero leaves both to the caller.
    /// Default 1 in memory and for a native directory, 0 for a host's storage.
    pub background_worker_count: usize,
    /// Where background and storage work runs. Default: threads of its own; inline for a host's storage.
    pub runtime: RuntimeOptions,
    /// Under [`RuntimeMode::PlatformIo`](crate::RuntimeMode::PlatformIo): how many threads with a ring of
    /// the operating system read from the disk. A second one gains a fifth on a disk that is fast enough.
    /// Default 1. Not zero.
    pub read_rings: usize,
    /// How finished files are read. Default [`FileReads::Mapped`].
    pub file_reads: FileReads,
    /// What an open does about leftovers of a crash. Default [`FailOnCorruptionPolicy::FailClosed`].
    pub fail_on_corruption: FailOnCorruptionPolicy,
    /// Whether blob garbage collection runs. Default `true`.
    pub blob_gc_enabled: bool,
    /// A blob file with at least this share of discardable bytes is rewritten. Default one half. Under
    /// [`BlobLevelMergePolicy::Auto`](crate::BlobLevelMergePolicy::Auto) it waits until this is the share of all blob files of its bucket, or nobody writes.
    pub blob_gc_discardable_ratio: BlobGcRatio,
    /// Smaller blob files are left alone, in bytes. Default 64 MiB. Not zero where blob files are collected.
    pub blob_gc_min_file_bytes: u64,
    /// How much of the log is kept for [`Db::changes`](crate::Db::changes) beyond what is not in tables yet, in bytes of its files, at
    /// least. Opening reads it. Unless it is 0, large values go through the log, which else only says where they lie. Default 0.
    pub change_retention_bytes: u64,
    /// In browsers, the directory of the origin's private file system that the database lies in, components separated by `/`: each has
    /// its own. Nowhere else does it mean anything. Default `trine-kv`.
    pub browser_directory: String,
    /// Who hears of maintenance and of trouble. Default nobody.
    pub listener: Option<Listener>,
    /// The operators that buckets name in [`BucketOptions::merge_operator`]. Default none.
    pub merge_operators: MergeOperators,
    /// What looks at rows while compaction rewrites them, by the names of their buckets. Default nothing.
    pub compaction_filters: CompactionFilters,
    /// What rows [expire](crate::Db::put_with_ttl) by. Default the host's wall clock.
    pub clock: Clock,
}

impl DbOptions {
    /// Default of [`DbOptions::write_buffer_bytes`].
    pub const DEFAULT_WRITE_BUFFER_BYTES: usize = 67_108_864;
    /// Default of [`DbOptions::target_table_bytes`].
    pub const DEFAULT_TARGET_TABLE_BYTES: usize = 67_108_864;
    /// Default of [`DbOptions::block_cache_bytes`].
    pub const DEFAULT_BLOCK_CACHE_BYTES: usize = 268_435_456;
    /// Default of [`DbOptions::max_open_tables`].
    pub const DEFAULT_MAX_OPEN_TABLES: usize = 800;
    /// Default of [`DbOptions::blob_gc_min_file_bytes`].
    pub const DEFAULT_BLOB_GC_MIN_FILE_BYTES: u64 = 67_108_864;

    /// The same as [`DbOptions::persistent`].
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::persistent(path)
    }

    /// A database in memory; the default.
    #[must_use]
    pub fn memory() -> Self {
        Self {
            storage_mode: StorageMode::InMemory,
            create_if_missing: true,
            read_only: false,
            default_bucket_options: BucketOptions::default(),
            durability: DurabilityMode::Buffered,
            write_buffer_bytes: Self::DEFAULT_WRITE_BUFFER_BYTES,
            max_immutable_memtables: 4,
            target_table_bytes: Self::DEFAULT_TARGET_TABLE_BYTES,
            level_size_multiplier: 10,
            max_l0_files: 8,
            block_cache_bytes: Self::DEFAULT_BLOCK_CACHE_BYTES,
            max_open_tables: Self::DEFAULT_MAX_OPEN_TABLES,
            background_worker_count: 1,
            runtime: RuntimeOptions::native_threads(),
            read_rings: 1,
            file_reads: FileReads::Mapped,
            fail_on_corruption: FailOnCorruptionPolicy::FailClosed,
            blob_gc_enabled: true,
            blob_gc_discardable_ratio: BlobGcRatio::HALF,
            blob_gc_min_file_bytes: Self::DEFAULT_BLOB_GC_MIN_FILE_BYTES,
            change_retention_bytes: 0,
            browser_directory: "trine-kv".to_owned(),
            listener: None,
            merge_operators: MergeOperators::new(),
            compaction_filters: CompactionFilters::new(),
            clock: Clock::host(),
        }
    }

    /// A database in a directory of the native file system; every commit survives power loss.
    #[must_use]
    pub fn persistent(path: impl Into<PathBuf>) -> Self {
        Self {
            storage_mode: StorageMode::Persistent { path: path.into() },
            durability: DurabilityMode::SyncAll,
            ..Self::memory()
        }
    }

    /// [`DbOptions::persistent`], [read-only](DbOptions::read_only()).
    #[must_use]
    pub fn persistent_read_only(path: impl Into<PathBuf>) -> Self {
        Self::persistent(path).read_only()
    }

    /// A database below a directory that a WASI host opened beforehand.
    #[must_use]
    pub fn wasi_persistent(path: impl Into<PathBuf>) -> Self {
        Self::host(HostStorageBackend::Wasi { path: path.into() })
    }

    /// [`DbOptions::wasi_persistent`], [read-only](DbOptions::read_only()).
    #[must_use]
    pub fn wasi_persistent_read_only(path: impl Into<PathBuf>) -> Self {
        Self::wasi_persistent(path).read_only()
    }

    /// A database in a browser's private file system.
    #[must_use]
    pub fn browser_persistent() -> Self {
        Self::host(HostStorageBackend::Browser)
    }

    /// [`DbOptions::browser_persistent`], [read-only](DbOptions::read_only()).
    #[must_use]
    pub fn browser_persistent_read_only() -> Self {
        Self::browser_persistent().read_only()
    }

    fn host(backend: HostStorageBackend) -> Self {
        Self {
            storage_mode: StorageMode::HostPersistent { backend },
            durability: DurabilityMode::Flush,
            background_worker_count: 0,
            runtime: RuntimeOptions::inline(),
            ..Self::memory()
        }
    }

    /// Opens read-only: sets [`DbOptions::read_only`](field@DbOptions::read_only) and clears
    /// [`DbOptions::create_if_missing`].
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self.create_if_missing = false;
        self
    }

    /// Sets [`DbOptions::durability`].
    #[must_use]
    pub const fn with_durability(mut self, durability: DurabilityMode) -> Self {
        self.durability = durability;
        self
    }

    /// Sets [`DbOptions::default_bucket_options`].
    #[must_use]
    pub fn with_default_bucket_options(mut self, options: BucketOptions) -> Self {
        self.default_bucket_options = options;
        self
    }

    /// Sets [`DbOptions::browser_directory`].
    #[must_use]
    pub fn with_browser_directory(mut self, directory: impl Into<String>) -> Self {
        self.browser_directory = directory.into();
        self
    }

    /// Adds to [`DbOptions::merge_operators`]; buckets with this name in their options merge with `operator`.
    #[must_use]
    pub fn with_merge_operator(
        mut self,
        name: impl Into<String>,
        operator: impl MergeOperator,
    ) -> Self {
        self.merge_operators.insert(name, operator);
        self
    }

    /// Adds to [`DbOptions::compaction_filters`]: `filter` looks at the rows of this bucket, `"default"` for the default one.
    #[must_use]
    pub fn with_compaction_filter(
        mut self,
        bucket: impl Into<String>,
        filter: impl CompactionFilter,
    ) -> Self {
        self.compaction_filters.insert(bucket, filter);
        self
    }

    /// Sets [`DbOptions::clock`].
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets [`DbOptions::listener`].
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    /// use std::sync::Arc;
    /// use trine_kv::{Db, DbOptions, Event};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path();
    /// let flushes = Arc::new(AtomicUsize::new(0));
    /// let counted = Arc::clone(&flushes);
    /// let options = DbOptions::new(path).with_listener(move |event: &Event<'_>| {
    ///     if let Event::Flushed { .. } = event {
    ///         counted.fetch_add(1, Relaxed);
    ///     }
    /// });
    /// let db = Db::open_sync(options)?;
    /// db.put_sync("key", "value")?;
    /// db.flush_sync()?;
    /// assert_eq!(flushes.load(Relaxed), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_listener(mut self, listener: impl EventListener) -> Self {
        self.listener = Some(Listener::new(listener));
        self
    }

    /// Where the database lives, for people.
    pub(crate) fn place(&self) -> String {
        match &self.storage_mode {
            StorageMode::InMemory => "memory".to_owned(),
            StorageMode::Persistent { path }
            | StorageMode::HostPersistent {
                backend: HostStorageBackend::Wasi { path },
            } => path.display().to_string(),
            StorageMode::HostPersistent {
                backend: HostStorageBackend::Browser,
            } => "browser".to_owned(),
        }
    }

    /// Refuses what no database can work with.
    pub(crate) fn validate(&self) -> Result<()> {
        let ratio = self.blob_gc_discardable_ratio.millionths();
        let persistent = self.storage_mode != StorageMode::InMemory;
        if persistent
            && self.background_worker_count > 0
            && !self.runtime.capabilities().background_threads()
        {
            return Err(Error::invalid_options(
                "background workers require runtime background threads",
            ));
        }
        self.default_bucket_options.validate()?;
        let message = if self.write_buffer_bytes == 0 {
            "write buffer must be non-zero"
        } else if self.max_immutable_memtables == 0 {
            "max immutable memtables must be non-zero"
        } else if self.target_table_bytes == 0 {
            "target table size must be non-zero"
        } else if self.level_size_multiplier < 2 {
            "level size multiplier must be >= 2"
        } else if self.max_l0_files == 0 {
            "max L0 files must be non-zero"
        } else if self.read_rings == 0 {
            "read rings must be non-zero"
        } else if ratio == 0 || ratio > BlobGcRatio::FULL.millionths() {
            "blob GC discardable ratio must be in (0.0, 1.0]"
        } else if self.blob_gc_enabled && self.blob_gc_min_file_bytes == 0 {
            "blob GC minimum file size must be non-zero"
        } else {
            return Ok(());
        };
        Err(Error::invalid_options(message))
    }
}

impl Default for DbOptions {
    fn default() -> Self {
        Self::memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::RuntimeMode;

    fn refusal(options: DbOptions, change: impl FnOnce(&mut DbOptions)) -> Option<String> {
        let mut options = options;
        change(&mut options);
        options.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn defaults_are_as_documented() {
        let options = DbOptions::default();
        assert_eq!(options, DbOptions::memory());
        assert_eq!(options.storage_mode, StorageMode::InMemory);
        assert!(options.create_if_missing && !options.read_only && options.blob_gc_enabled);
        assert_eq!(options.durability, DurabilityMode::Buffered);
        assert_eq!(options.write_buffer_bytes, 67_108_864);
        assert_eq!(options.max_immutable_memtables, 4);
        assert_eq!(options.target_table_bytes, 67_108_864);
        assert_eq!(options.level_size_multiplier, 10);
        assert_eq!(options.max_l0_files, 8);
        assert_eq!(options.block_cache_bytes, 268_435_456);
        assert_eq!(options.background_worker_count, 1);
        assert_eq!(options.runtime.mode, RuntimeMode::NativeThreads);
        assert_eq!(
            options.fail_on_corruption,
            FailOnCorruptionPolicy::FailClosed
        );
        assert_eq!(options.blob_gc_discardable_ratio, BlobGcRatio::HALF);
        assert_eq!(options.blob_gc_min_file_bytes, 67_108_864);
    }

    #[test]
    fn a_native_directory_differs_from_memory_in_place_and_durability() {
        let path = PathBuf::from("data");
        let options = DbOptions::new("data");
        assert_eq!(options, DbOptions::persistent("data"));
        assert_eq!(options.storage_mode, StorageMode::Persistent { path });
        assert_eq!(options.durability, DurabilityMode::SyncAll);
        let back = DbOptions {
            storage_mode: StorageMode::InMemory,
            ..options.with_durability(DurabilityMode::Buffered)
        };
        assert_eq!(back, DbOptions::memory());
    }

    #[test]
    fn a_hosts_storage_runs_inline_without_workers() {
        for options in [
            DbOptions::wasi_persistent("data"),
            DbOptions::browser_persistent(),
        ] {
            assert_eq!(options.durability, DurabilityMode::Flush);
            assert_eq!(options.background_worker_count, 0);
            assert_eq!(options.runtime, RuntimeOptions::inline());
            assert!(options.validate().is_ok());
        }
    }

    #[test]
    fn read_only_does_not_create() {
        for (read_only, plain) in [
            (
                DbOptions::persistent_read_only("d"),
                DbOptions::persistent("d"),
            ),
            (
                DbOptions::wasi_persistent_read_only("d"),
                DbOptions::wasi_persistent("d"),
            ),
            (
                DbOptions::browser_persistent_read_only(),
                DbOptions::browser_persistent(),
            ),
        ] {
            assert!(read_only.read_only && !read_only.create_if_missing);
            assert_eq!(read_only, plain.read_only());
        }
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        type Change = fn(&mut DbOptions);
        let cases: [(Change, &str); 11] = [
            (
                |options| options.write_buffer_bytes = 0,
                "write buffer must be non-zero",
            ),
            (
                |options| options.max_immutable_memtables = 0,
                "max immutable memtables must be non-zero",
            ),
            (
                |options| options.target_table_bytes = 0,
                "target table size must be non-zero",
            ),
            (
                |options| options.level_size_multiplier = 1,
                "level size multiplier must be >= 2",
            ),
            (
                |options| options.max_l0_files = 0,
                "max L0 files must be non-zero",
            ),
            (
                |options| options.blob_gc_discardable_ratio = BlobGcRatio::from_millionths(0),
                "blob GC discardable ratio must be in (0.0, 1.0]",
            ),
            (
                |options| {
                    options.blob_gc_discardable_ratio = BlobGcRatio::from_millionths(1_000_001);
                },
                "blob GC discardable ratio must be in (0.0, 1.0]",
            ),
            (
                |options| options.blob_gc_min_file_bytes = 0,
                "blob GC minimum file size must be non-zero",
            ),
            (
                |options| options.default_bucket_options.block_bytes = 0,
                "block size must be non-zero",
            ),
            (
                |options| options.default_bucket_options.blob_threshold_bytes = 0,
                "blob threshold must be non-zero",
            ),
            (
                |options| {
                    options.storage_mode = DbOptions::new("d").storage_mode;
                    options.runtime = RuntimeOptions::inline();
                },
                "background workers require runtime background threads",
            ),
        ];
        for (change, message) in cases {
            assert_eq!(
                refusal(DbOptions::memory(), change),
                Some(format!("invalid options: {message}"))
            );
        }
    }

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn odd_options_are_accepted() {
        assert_eq!(
            refusal(DbOptions::new("d"), |options| options.block_cache_bytes = 0),
            None
        );
        assert_eq!(
            refusal(DbOptions::new("d"), |options| options
                .background_worker_count =
                64),
            None
        );
        let full = |options: &mut DbOptions| options.blob_gc_discardable_ratio = BlobGcRatio::FULL;
        assert_eq!(refusal(DbOptions::new("d"), full), None);
        assert_eq!(
            refusal(DbOptions::memory(), |options| {
                options.durability = DurabilityMode::SyncAll;
                options.runtime = RuntimeOptions::inline();
                options.background_worker_count = 3;
            }),
            None
        );
    }
}
