//! Opening: checks before anything is touched, then the lock, the manifest, the tables, the log.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use trine_io::{Lock, Mode, PortableOptions, Storage};
use trine_platform::baton::Baton;
use trine_platform::bell::Bell;
use trine_platform::clock::{self, Instant};
use trine_platform::pace::Pace;

use crate::blob::BlobGc;
use crate::commit::backpressure::Backpressure;
use crate::commit::{CommitPath, GroupContext, LogSupply, Writer};
use crate::db::bucket::Bucket;
use crate::db::counters::Counters;
use crate::db::follow::{self, Before};
use crate::db::latency::Latencies;
use crate::db::loads::Loads;
use crate::db::recovery::{self, Recovered};
use crate::db::rota::Rota;
use crate::db::worker::Workers;
use crate::db::{Core, Db, Handle, Persistent};
use crate::error::{Error, Result};
use crate::event::{Event, Job, Observer};
use crate::file_name::CURRENT;
use crate::manifest::BucketId;
use crate::options::{DbOptions, FileReads, HostStorageBackend, StorageMode};
use crate::runtime::RuntimeMode;
use crate::sequence::Sequence;
use crate::tree::claims::Claims;
use crate::tree::pins::Pins;
use crate::tree::rules::Rules;
use crate::tree::{Registry, Tree, version::Version};

/// What [`Db::open`] takes: options, or anything that is a path, which means `DbOptions::new(path)`.
pub trait IntoOpenOptions {
    /// The options to open with.
    fn into_open_options(self) -> DbOptions;
}

impl IntoOpenOptions for DbOptions {
    fn into_open_options(self) -> DbOptions {
        self
    }
}

impl<P: AsRef<Path>> IntoOpenOptions for P {
    fn into_open_options(self) -> DbOptions {
        DbOptions::new(self.as_ref())
    }
}

/// Opens without blocking the polling thread, where the runtime has threads to do it on.
pub(crate) async fn open_async(options: DbOptions) -> Result<Db> {
    let Some(storage) = storage(&options).await? else {
        return Ok(in_memory(options));
    };
    let waits = cfg!(any(wasi_storage, browser_storage));
    if options.runtime.mode == RuntimeMode::Inline && !waits {
        return Err(Error::unsupported("runtime sync adapter"));
    }
    on_thread(options, storage, Mode::Cooperative).await
}

/// Opens where that may block.
pub(crate) async fn on_thread(options: DbOptions, storage: Storage, mode: Mode) -> Result<Db> {
    let there = storage.clone();
    let opened = storage.offload(mode, move || here(options, &there));
    opened.await?
}

/// Opens on this thread. A function, since the code of a future is there once more for each crate that awaits it.
fn here(options: DbOptions, storage: &Storage) -> Result<Db> {
    let opening = on_storage(options, storage.clone(), Mode::Blocking);
    trine_platform::block_on(opening).inspect_err(|_| storage.close())
}

#[cfg(browser_storage)]
fn is_in_browser(options: &DbOptions) -> bool {
    let backend = HostStorageBackend::Browser;
    options.storage_mode == StorageMode::HostPersistent { backend }
}

/// The browser's private file system. Nothing but its opening waits.
#[cfg(browser_storage)]
async fn browser_storage(options: &DbOptions) -> Result<Storage> {
    options.validate()?;
    let storage = Storage::opfs(&options.browser_directory, options.create_if_missing).await;
    storage.map_err(|error| match error.source.kind() {
        std::io::ErrorKind::NotFound => Error::invalid_options("database path does not exist"),
        _ => recovery::refused(error),
    })
}

/// Opens, in whatever mode.
pub(crate) async fn open(options: DbOptions, mode: Mode) -> Result<Db> {
    match checked_storage(&options)? {
        None => Ok(in_memory(options)),
        Some(storage) => on_storage(options, storage, mode).await,
    }
}

/// The storage that valid options name, wherever it is; `None` in memory.
#[cfg_attr(
    not(browser_storage),
    expect(clippy::unused_async, reason = "only a browser makes it wait")
)]
pub(crate) async fn storage(options: &DbOptions) -> Result<Option<Storage>> {
    #[cfg(browser_storage)]
    if is_in_browser(options) {
        return browser_storage(options).await.map(Some);
    }
    checked_storage(options)
}

/// The storage that valid options name; `None` in memory. Refusals come in one order: where, by which
/// means, and only then how large.
pub(crate) fn checked_storage(options: &DbOptions) -> Result<Option<Storage>> {
    let path = match &options.storage_mode {
        StorageMode::InMemory => None,
        StorageMode::Persistent { path } => Some(path),
        StorageMode::HostPersistent {
            backend: HostStorageBackend::Wasi { path },
        } if cfg!(wasi_storage) => Some(path),
        #[cfg(browser_storage)]
        StorageMode::HostPersistent {
            backend: HostStorageBackend::Browser,
        } => return Err(Error::unsupported("opening browser storage synchronously")),
        StorageMode::HostPersistent { backend } => {
            return Err(Error::unsupported_backend(match backend {
                HostStorageBackend::Wasi { .. } => "WASI persistent storage backend",
                HostStorageBackend::Browser => "browser persistent storage backend",
            }));
        }
    };
    if options.runtime.mode == RuntimeMode::PlatformIo && !cfg!(platform_io) {
        return Err(Error::unsupported_backend(
            "platform async I/O runtime requires the platform-io feature",
        ));
    }
    options.validate()?;
    Ok(path.map(|path| {
        let mut portable = PortableOptions {
            map: options.file_reads == FileReads::Mapped,
            ..PortableOptions::default()
        };
        if options.runtime.mode == RuntimeMode::Inline {
            (portable.offload_threads, portable.job_threads) = (0, 0);
        }
        Storage::portable_with(path, portable)
    }))
}

fn in_memory(options: DbOptions) -> Db {
    let began = clock::now();
    let trees = Arc::new(Registry::default());
    let default = Arc::new(Tree::new(
        BucketId(0),
        crate::commit::batch::DEFAULT_BUCKET.to_owned(),
        options.default_bucket_options.clone(),
        Version::default(),
        Rules::of(
            &options,
            crate::commit::batch::DEFAULT_BUCKET,
            &options.default_bucket_options,
        ),
    ));
    trees.add(Arc::clone(&default));
    let maintenance = Arc::new(Bell::default());
    let context = GroupContext {
        trees: Arc::clone(&trees),
        write_buffer_bytes: None,
        places_values: false,
        maintenance: Arc::clone(&maintenance),
        log: None,
    };
    let commits = CommitPath::new(Writer::new(None, Sequence::ZERO), context);
    finish(
        Core::new(options, trees, commits, maintenance, None),
        default,
        began,
    )
}

pub(crate) async fn on_storage(options: DbOptions, storage: Storage, mode: Mode) -> Result<Db> {
    let observer = observer(&options);
    let opening = recovered(options, storage, mode);
    observer.within(Job::Open, opening).await
}

fn observer(options: &DbOptions) -> Observer {
    Observer::new(options.place(), options.listener.clone())
}

async fn recovered(options: DbOptions, storage: Storage, mode: Mode) -> Result<Db> {
    let began = clock::now();
    let lock = recovery::enter(&options, &storage, mode).await?;
    let recovered = if options.read_only {
        match follow::follow(&options, &storage, None, mode).await? {
            Some(found) => found,
            // An empty directory: an empty database that takes nothing.
            None => return Ok(in_memory(options)),
        }
    } else {
        recovery::recover(&options, &storage, mode).await?
    };
    with_state(options, storage, lock, recovered, began, mode).await
}

/// Opens read-only, with the files that another reader of the same directory has open.
pub(crate) async fn reader(
    options: DbOptions,
    storage: Storage,
    before: &Before,
    mode: Mode,
) -> Result<Db> {
    let began = clock::now();
    match follow::follow(&options, &storage, Some(before), mode).await? {
        Some(found) => with_state(options, storage, None, found, began, mode).await,
        None => Ok(in_memory(options)),
    }
}

async fn with_state(
    options: DbOptions,
    storage: Storage,
    lock: Option<Lock>,
    recovered: Recovered,
    began: Instant,
    mode: Mode,
) -> Result<Db> {
    let Recovered {
        trees,
        manifest,
        files,
        log,
        last,
    } = recovered;
    let mut refused = None;
    if options.runtime.mode == RuntimeMode::PlatformIo && !storage.has_rings() {
        let started = storage.start_rings(mode, CURRENT, options.read_rings).await;
        refused = started.err().map(Error::from);
    }
    let numbers = Arc::clone(manifest.numbers());
    let manifest = Arc::new(Baton::new(manifest));
    let maintenance = Arc::new(Bell::default());
    let default = trees
        .load()
        .by_id(BucketId(0))
        .map(Arc::clone)
        .ok_or_else(|| Error::Corruption {
            message: "the manifest names no default bucket".to_owned(),
        })?;
    let context = GroupContext {
        trees: Arc::clone(&trees),
        write_buffer_bytes: Some(options.write_buffer_bytes),
        places_values: options.change_retention_bytes == 0,
        maintenance: Arc::clone(&maintenance),
        log: Some(Arc::new(LogSupply::new(
            storage.clone(),
            Arc::clone(&manifest),
            Arc::clone(&files),
            Arc::clone(&numbers),
            log.as_ref(),
        ))),
    };
    let commits = CommitPath::new(Writer::new(log, last), context);
    let persistent = Persistent {
        storage,
        manifest,
        files,
        numbers,
        blob_gc: options.blob_gc_enabled.then_some(BlobGc {
            ratio: options.blob_gc_discardable_ratio,
            min_file_bytes: options.blob_gc_min_file_bytes,
        }),
        flushing: Baton::new(()),
        claims: Claims::new(&maintenance),
        loads: Loads::default(),
        background: Pace::default(),
        background_limit: AtomicU64::new(0),
        obsolete: Mutex::default(),
        background_failure: Mutex::default(),
        workers: Workers::default(),
        lock: Mutex::new(lock),
    };
    let workers = if options.read_only {
        0
    } else {
        options.background_worker_count
    };
    let core = Core::new(options, trees, commits, maintenance, Some(persistent));
    if let Some(persistent) = &core.persistent
        && let Err(error) = persistent.workers.start(workers, &core)
    {
        drop(core.close(mode).await);
        return Err(error);
    }
    if let Some(reason) = &refused {
        core.observer.tell(&Event::RingRefused { reason });
    }
    Ok(finish(core, default, began))
}

impl Core {
    fn new(
        options: DbOptions,
        trees: Arc<Registry>,
        commits: CommitPath,
        maintenance: Arc<Bell>,
        persistent: Option<Persistent>,
    ) -> Arc<Self> {
        Arc::new(Self {
            backpressure: Backpressure::of(&options),
            observer: observer(&options),
            options,
            trees,
            commits: Arc::new(commits),
            pins: Arc::new(Pins::new(&maintenance)),
            buckets: Baton::new(()),
            maintenance,
            progress: Bell::default(),
            writes: Pace::default(),
            flushed: Rota::default(),
            compacted: Rota::default(),
            counters: Counters::default(),
            latencies: Latencies::default(),
            persistent,
            closed: std::sync::atomic::AtomicBool::new(false),
            closing: Baton::new(false),
        })
    }

    /// Runs a job on a thread where it may block, if the runtime has one; else here.
    pub(crate) async fn offload<T, F>(
        self: &Arc<Self>,
        job: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T>
    where
        T: Send + Unpin + 'static,
        F: Future<Output = Result<T>>,
    {
        let core = Arc::clone(self);
        match &self.persistent {
            Some(persistent) => {
                let storage = persistent.storage.clone();
                storage
                    .offload(Mode::Cooperative, move || {
                        trine_platform::block_on(job(core))
                    })
                    .await?
            }
            None => trine_platform::block_on(job(core)),
        }
    }
}

fn finish(core: Arc<Core>, default: Arc<Tree>, began: Instant) -> Db {
    core.observer.tell(&Event::Opened {
        took: began.elapsed(),
        last_committed: core.commits.visible(),
    });
    Db {
        default_bucket: Bucket::new(Arc::new(Handle { core }), default),
    }
}
