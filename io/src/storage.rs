//! A directory of files, on one of the backends.

use std::io;
use std::path::Path;
use std::sync::Arc;

use trine_platform::target::{self, Access};

use crate::error::Attempt;
use crate::file::Backend as FileBackend;
#[cfg(image)]
use crate::image::{self, ImageDirectory};
use crate::lock::{Held, MemoryLock};
use crate::memory::MemoryDirectory;
use crate::portable::{Host, PortableDirectory, lock_refused};
#[cfg(feature = "simulation")]
use crate::simulation::SimulatedDirectory;
use crate::{Completion, File, Lock, Operation, Result, Stats, name};

/// How an operation may complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Inline, on the calling thread: the completion is ready when it is returned.
    Blocking,
    /// Elsewhere, unless that costs nothing: the calling thread is never blocked.
    Cooperative,
}

/// What a backend honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Syncs reach the device: `SyncData` and `SyncAll` may be promised.
    pub durable_sync: bool,
    /// Finished files can be mapped (or are in memory anyway).
    pub map: bool,
    /// `Mode::Cooperative` really leaves the calling thread free.
    pub cooperative: bool,
}

/// How a portable storage runs cooperative calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortableOptions {
    /// Threads for single operations, started when needed. 0: they run on the caller's thread. Default 16:
    /// so many cold reads at once keep a disk busy.
    pub offload_threads: usize,
    /// Threads for whole jobs, started when needed. 0: they run on the caller's thread. Default 2.
    pub job_threads: usize,
    /// Whether finished files may be mapped, where the host can. Default true.
    pub map: bool,
}

impl Default for PortableOptions {
    fn default() -> Self {
        Self {
            offload_threads: 16,
            job_threads: 2,
            map: true,
        }
    }
}

/// A directory that holds one database. Names are plain file names, never paths. Clones share it.
///
/// Every call that takes a name fails with `InvalidInput` for one that is empty, `.`, `..`, or contains a
/// separator of any host (`/`, `\`, `:`) or a zero.
///
/// The last clone to go, files included, waits until offloaded work has finished.
#[derive(Clone, Debug)]
pub struct Storage(Backend);

#[derive(Clone, Debug)]
enum Backend {
    Memory(Arc<MemoryDirectory>),
    Portable(Arc<PortableDirectory>),
    #[cfg(image)]
    Image(Arc<ImageDirectory>),
    #[cfg(feature = "simulation")]
    Simulated(Arc<SimulatedDirectory>),
}

/// A finished operation in memory.
fn finished<T>(
    directory: &MemoryDirectory,
    operation: Operation,
    name: &str,
    result: io::Result<T>,
) -> Completion<T> {
    directory.metrics.count(operation);
    Completion::ready(result.map_err(|error| Attempt::new(operation, name).failed(error)))
}

fn memory_file(file: io::Result<crate::memory::MemoryFile>) -> io::Result<File> {
    file.map(|file| File(FileBackend::Memory(Arc::new(file))))
}

/// Stops with the refusal of a name that is not plain.
macro_rules! check_name {
    ($operation:expr, $name:expr) => {
        if let Err(error) = name::check($name) {
            return Completion::ready(Err(Attempt::new($operation, $name).failed(error)));
        }
    };
}

impl Storage {
    /// An empty directory in memory.
    pub fn memory() -> Self {
        Self(Backend::Memory(Arc::default()))
    }

    /// The directory at `path` of the host's file system, with default options. Nothing is touched yet.
    pub fn portable(path: &Path) -> Self {
        Self::portable_with(path, PortableOptions::default())
    }

    /// The directory at `path` of the host's file system. Nothing is touched yet, and no thread started.
    pub fn portable_with(path: &Path, options: PortableOptions) -> Self {
        Self(Backend::Portable(Arc::new(PortableDirectory::new(
            path,
            Host::new(options),
        ))))
    }

    /// The directory at `path` of the host's file system. Never starts a thread: cooperative calls block.
    pub fn portable_inline(path: &Path) -> Self {
        let options = PortableOptions {
            offload_threads: 0,
            job_threads: 0,
            ..PortableOptions::default()
        };
        Self::portable_with(path, options)
    }

    /// The directory at `path`, components separated by `/`, of the browser's private file system. Held by this handle
    /// and its clones alone until [`Storage::close`], or until the last is dropped. Created if `create`.
    ///
    /// Not inside what it opens: the answer comes when the browser gives it, to any executor of this thread.
    ///
    /// # Errors
    /// `Unsupported` outside of dedicated workers, where browsers have no synchronous access to files; a
    /// [lock refusal](crate::Error::lock_refusal) if another worker or tab has the directory; `NotFound` if it is not
    /// there; `StorageFull`; `InvalidData` if the image is damaged.
    #[cfg(opfs)]
    pub async fn opfs(path: &str, create: bool) -> Result<Self> {
        let directory = crate::opfs::open(path, create).await?;
        Ok(Self(Backend::Image(Arc::new(directory))))
    }

    /// For tests anywhere: the directory in an image that lies in three files of `host`, which are made if they are missing.
    ///
    /// # Errors
    /// The host's; `InvalidData` if the image is damaged.
    #[cfg(feature = "simulation")]
    pub fn image(host: &Self) -> Result<Self> {
        image::hosted::open(host).map(|directory| Self(Backend::Image(Arc::new(directory))))
    }

    /// Gives back what the host holds for this storage, where that would keep others out: in browsers the files of the
    /// image, and every later call fails. Elsewhere nothing happens.
    pub fn close(&self) {
        #[cfg(image)]
        if let Backend::Image(directory) = &self.0 {
            directory.close();
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(directory: SimulatedDirectory) -> Self {
        Self(Backend::Simulated(Arc::new(directory)))
    }

    /// What this backend honours.
    pub fn capabilities(&self) -> Capabilities {
        match &self.0 {
            Backend::Memory(_) => Capabilities {
                durable_sync: true,
                map: true,
                cooperative: true,
            },
            Backend::Portable(directory) => Capabilities {
                durable_sync: target::DURABLE_SYNC,
                map: directory.host.maps(),
                cooperative: directory.host.is_cooperative(),
            },
            // A flush is asked of the browser, which promises nothing about power loss.
            #[cfg(image)]
            Backend::Image(_) => Capabilities {
                durable_sync: false,
                map: false,
                cooperative: false,
            },
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => Capabilities {
                durable_sync: true,
                map: true,
                cooperative: !directory.is_deferring(),
            },
        }
    }

    /// Where work ran so far, how often, and how long it took. Shared by clones and files.
    pub fn stats(&self) -> Stats {
        match &self.0 {
            Backend::Memory(directory) => directory.metrics.stats(),
            Backend::Portable(directory) => directory.host.stats(),
            #[cfg(image)]
            Backend::Image(directory) => directory.metrics.stats(),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.stats(),
        }
    }

    /// Runs a caller's whole job: inline in `Mode::Blocking`, else on the threads kept for jobs.
    ///
    /// The job may block; it should use `Mode::Blocking` inside. It must not wait for another job that has
    /// not begun: see [`PortableOptions::job_threads`]. In memory it runs inline in either mode.
    ///
    /// # Errors
    /// The job panicked on its thread. Inline, a panic goes through to the caller.
    ///
    /// # Cancellation
    /// A dropped completion abandons the answer; the job runs to its end.
    pub fn offload<T: Send + 'static>(
        &self,
        mode: Mode,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Completion<T> {
        match &self.0 {
            Backend::Memory(directory) => {
                directory.metrics.count(Operation::Job);
                Completion::ready(Ok(work()))
            }
            Backend::Portable(directory) => directory.host.job(mode, work),
            #[cfg(image)]
            Backend::Image(directory) => {
                Completion::ready(Ok(directory.metrics.time_inline(Operation::Job, work)))
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => {
                directory.metrics().count(Operation::Job);
                Completion::ready(Ok(work()))
            }
        }
    }

    /// Starts `count` threads that carry out cold reads of cooperative callers through a ring of the operating
    /// system (`io_uring`), for all files, also those that are open. Each proves itself by reading the front
    /// of the file `name`. Until then, and if it fails, such reads go to the offload threads.
    ///
    /// # Errors
    /// `Unsupported` where there is no such thing, in memory too; else what the host says: containers often
    /// forbid it with `PermissionDenied`.
    pub fn start_rings(&self, mode: Mode, name: &str, count: usize) -> Completion<()> {
        check_name!(Operation::StartRing, name);
        match &self.0 {
            Backend::Memory(directory) => {
                let refused = Err(io::ErrorKind::Unsupported.into());
                finished(directory, Operation::StartRing, name, refused)
            }
            Backend::Portable(directory) => directory.start_rings(mode, name, count),
            #[cfg(image)]
            Backend::Image(directory) => directory.on(Operation::StartRing, name, |_| {
                Err(io::ErrorKind::Unsupported.into())
            }),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => {
                directory.metrics().count(Operation::StartRing);
                let unsupported = io::ErrorKind::Unsupported.into();
                let attempt = Attempt::new(Operation::StartRing, name);
                Completion::ready(Err(attempt.failed(unsupported)))
            }
        }
    }

    /// Bytes that new files of this directory can still take, as the host says now; `None` where nobody can tell. No
    /// disk is asked.
    pub fn free_bytes(&self) -> Option<u64> {
        if let Backend::Portable(directory) = &self.0 {
            directory.free_bytes()
        } else {
            None
        }
    }

    /// Whether cold reads of cooperative callers go to a ring of the operating system.
    pub fn has_rings(&self) -> bool {
        match &self.0 {
            Backend::Memory(_) => false,
            #[cfg(image)]
            Backend::Image(_) => false,
            #[cfg(feature = "simulation")]
            Backend::Simulated(_) => false,
            Backend::Portable(directory) => directory.host.driver().is_some(),
        }
    }

    /// For tests: `watcher` is called before every operation from now on, on the thread that does it. The first
    /// watcher of a storage stays.
    pub fn watch(&self, watcher: fn(Operation)) {
        match &self.0 {
            Backend::Memory(directory) => directory.metrics.watch(watcher),
            Backend::Portable(directory) => directory.host.watch(watcher),
            #[cfg(image)]
            Backend::Image(directory) => directory.metrics.watch(watcher),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.metrics().watch(watcher),
        }
    }

    /// A number that no other call will ever give, as far as the host's chance goes; from its seed on a simulated host.
    pub fn fresh_id(&self) -> u64 {
        match &self.0 {
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.fresh_id(),
            _ => trine_platform::random::entropy_seed(),
        }
    }

    /// Creates the directory and its parents where missing; makes their entries durable.
    ///
    /// # Errors
    /// `NotADirectory` if something else is there; `NotFound` for an empty path.
    pub fn create_directory(&self, mode: Mode) -> Completion<()> {
        match &self.0 {
            Backend::Memory(directory) => {
                finished(directory, Operation::CreateDirectory, "", Ok(()))
            }
            Backend::Portable(directory) => directory.create_directory(mode),
            #[cfg(image)]
            Backend::Image(directory) => directory.on(Operation::CreateDirectory, "", |_| Ok(())),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.create_directory(mode),
        }
    }

    /// Whether anything is at the directory's path, without creating it.
    pub fn exists(&self, mode: Mode) -> Completion<bool> {
        match &self.0 {
            Backend::Memory(directory) => finished(directory, Operation::Open, "", Ok(true)),
            Backend::Portable(directory) => directory.exists(mode),
            #[cfg(image)]
            Backend::Image(directory) => directory.on(Operation::Open, "", |_| Ok(true)),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.exists(mode),
        }
    }

    /// Creates a new empty file, open for reading and writing; fails with `AlreadyExists` if the name is taken.
    pub fn create(&self, mode: Mode, name: &str) -> Completion<File> {
        check_name!(Operation::Create, name);
        match &self.0 {
            Backend::Memory(directory) => {
                let file = memory_file(directory.create(name));
                finished(directory, Operation::Create, name, file)
            }
            Backend::Portable(directory) => directory.create(mode, name),
            #[cfg(image)]
            Backend::Image(directory) => directory.create(name),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.create(mode, name),
        }
    }

    /// Opens an existing regular file for reading; fails with `NotFound`, or `InvalidInput` if it is not a regular file.
    pub fn open(&self, mode: Mode, name: &str) -> Completion<File> {
        self.open_for(mode, name, Access::Read)
    }

    /// Opens an existing regular file for reading and writing.
    pub fn open_write(&self, mode: Mode, name: &str) -> Completion<File> {
        self.open_for(mode, name, Access::Write)
    }

    fn open_for(&self, mode: Mode, name: &str, access: Access) -> Completion<File> {
        check_name!(Operation::Open, name);
        match &self.0 {
            Backend::Memory(directory) => {
                let file = memory_file(directory.open(name, access == Access::Write));
                finished(directory, Operation::Open, name, file)
            }
            Backend::Portable(directory) => directory.open(mode, name, access),
            #[cfg(image)]
            Backend::Image(directory) => directory.open_file(name, access == Access::Write),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.open(mode, name, access == Access::Write),
        }
    }

    /// Renames a file, replacing what has the new name. Durable after `sync_directory`.
    pub fn rename(&self, mode: Mode, from: &str, to: &str) -> Completion<()> {
        check_name!(Operation::Rename, from);
        check_name!(Operation::Rename, to);
        match &self.0 {
            Backend::Memory(directory) => {
                let renamed = directory.rename(from, to);
                finished(directory, Operation::Rename, from, renamed)
            }
            Backend::Portable(directory) => directory.rename(mode, from, to),
            #[cfg(image)]
            Backend::Image(directory) => {
                directory.on(Operation::Rename, from, |state| state.rename(from, to))
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.rename(mode, from, to),
        }
    }

    /// Gives a sealed file the same name in another directory of the same host, without copying it.
    /// Durable after the other directory's `sync_directory`.
    ///
    /// # Errors
    /// `Unsupported` where the two are not directories of one host; what the host says where its file
    /// system cannot link, or not from one to the other: copy the file then.
    pub fn link(&self, mode: Mode, name: &str, to: &Self) -> Completion<()> {
        check_name!(Operation::Link, name);
        if let (Backend::Portable(from), Backend::Portable(to)) = (&self.0, &to.0) {
            return from.link(mode, name, to);
        }
        #[cfg(feature = "simulation")]
        if let (Backend::Simulated(from), Backend::Simulated(to)) = (&self.0, &to.0) {
            return from.link(mode, name, to);
        }
        let unsupported = io::ErrorKind::Unsupported.into();
        Completion::ready(Err(Attempt::new(Operation::Link, name).failed(unsupported)))
    }

    /// Removes a file. Open handles and maps of it stay readable. Durable after `sync_directory`.
    pub fn remove(&self, mode: Mode, name: &str) -> Completion<()> {
        check_name!(Operation::Remove, name);
        match &self.0 {
            Backend::Memory(directory) => {
                finished(directory, Operation::Remove, name, directory.remove(name))
            }
            Backend::Portable(directory) => directory.remove(mode, name),
            #[cfg(image)]
            Backend::Image(directory) => {
                directory.on(Operation::Remove, name, |state| state.remove(name))
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.remove(mode, name),
        }
    }

    /// The names of all entries, in no order. Entries whose names are not UTF-8 are left out.
    pub fn list(&self, mode: Mode) -> Completion<Vec<String>> {
        match &self.0 {
            Backend::Memory(directory) => {
                finished(directory, Operation::List, "", Ok(directory.list()))
            }
            Backend::Portable(directory) => directory.list(mode),
            #[cfg(image)]
            Backend::Image(directory) => {
                directory.on(Operation::List, "", |state| Ok(state.list()))
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.list(mode),
        }
    }

    /// Makes creations, renames and removals that returned before this call durable.
    pub fn sync_directory(&self, mode: Mode) -> Completion<()> {
        match &self.0 {
            Backend::Memory(directory) => finished(directory, Operation::SyncDirectory, "", Ok(())),
            Backend::Portable(directory) => directory.sync_directory(mode),
            #[cfg(image)]
            Backend::Image(directory) => {
                directory.on(Operation::SyncDirectory, "", image::State::sync)
            }
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.sync_directory(mode),
        }
    }

    /// Takes the writer's lock, without waiting. It is released when dropped, or when the process dies.
    ///
    /// # Errors
    /// [`Error::lock_refusal`](crate::Error::lock_refusal) tells a lock that somebody else holds, and a
    /// file in its place that we did not write, from a failure of the host.
    pub fn lock(&self, mode: Mode, name: &str) -> Completion<Lock> {
        check_name!(Operation::Lock, name);
        match &self.0 {
            Backend::Memory(directory) => {
                let lock = directory.lock(name).map(|()| {
                    Lock(Held::Memory(MemoryLock {
                        directory: Arc::clone(directory),
                        name: name.to_owned(),
                    }))
                });
                finished(directory, Operation::Lock, name, lock.map_err(lock_refused))
            }
            Backend::Portable(directory) => directory.lock(mode, name),
            #[cfg(image)]
            Backend::Image(directory) => directory.lock(name),
            #[cfg(feature = "simulation")]
            Backend::Simulated(directory) => directory.lock(mode, name),
        }
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// As `open`; `InvalidData` if the file is longer than `limit`.
    pub async fn read_file(&self, mode: Mode, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (file, length) = self.open_within(mode, name, limit).await?;
        file.read_at(mode, 0, length).await
    }

    /// As [`read_file`](Self::read_file), without zeros at the end that were [never
    /// written](crate::File::written_len); and the file's length.
    ///
    /// # Errors
    /// As there.
    pub async fn read_written(
        &self,
        mode: Mode,
        name: &str,
        limit: u64,
    ) -> Result<(Vec<u8>, usize)> {
        let (file, length) = self.open_within(mode, name, limit).await?;
        let written = usize::try_from(file.written_len(mode).await?).unwrap_or(length);
        let bytes = file.read_at(mode, 0, written.min(length)).await?;
        Ok((bytes, length))
    }

    async fn open_within(&self, mode: Mode, name: &str, limit: u64) -> Result<(File, usize)> {
        let file = self.open(mode, name).await?;
        let length = file.len(mode).await?;
        match usize::try_from(length) {
            Ok(bytes) if length <= limit => Ok((file, bytes)),
            _ => Err(Attempt::new(Operation::Read, name).failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "file is longer than it may be",
            ))),
        }
    }
}
