//! `std::fs`, through `trine_platform::target`.
//!
//! Blocking calls run here and now. Cooperative ones go to the storage's offload threads; what they need
//! (the file, the buffer) goes along, so that a dropped completion leaves nothing dangling.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use trine_platform::target::{self, Access};
use trine_platform::{DirectoryLock, LockError, space};

use crate::driver::ReadDriver;
use crate::error::Attempt;
use crate::file::Backend;
use crate::lock::Held;
use crate::metrics::{Metrics, Stats};
use crate::offload::Offload;
#[cfg(uring)]
use crate::uring::UringDriver;
use crate::{
    Bytes, Completion, File, Lock, Mode, Operation, PortableOptions, WritableMap, mapped,
    writable_map,
};

/// What a directory and its files share: where work runs, and how it is counted.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) offload: Offload,
    /// What cold reads of callers that must not wait go to instead of the offload threads. Each has a thread.
    drivers: OnceLock<Vec<Box<dyn ReadDriver>>>,
    /// Whose turn it is.
    turn: AtomicUsize,
    maps: bool,
}

impl Host {
    pub(crate) fn new(options: PortableOptions) -> Self {
        Self {
            metrics: Arc::default(),
            offload: Offload::new(options.offload_threads, options.job_threads),
            drivers: OnceLock::new(),
            turn: AtomicUsize::new(0),
            maps: options.map && mapped::AVAILABLE,
        }
    }

    /// The driver that the next read goes to, if there is one.
    pub(crate) fn driver(&self) -> Option<&dyn ReadDriver> {
        let drivers = self.drivers.get()?;
        let turn = match drivers.len() {
            0 | 1 => 0,
            count => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        drivers.get(turn).map(AsRef::as_ref)
    }

    /// Whether files are mapped here.
    pub(crate) fn maps(&self) -> bool {
        self.maps
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.metrics.stats();
        stats.offloaded_operations = self.offload.operations.stats();
        stats.offloaded_jobs = self.offload.jobs.stats();
        for driver in self.drivers.get().into_iter().flatten() {
            stats.driven_reads.add(driver.stats());
        }
        stats
    }

    pub(crate) fn watch(&self, watcher: fn(Operation)) {
        self.metrics.watch(watcher);
    }

    pub(crate) fn is_cooperative(&self) -> bool {
        self.offload.operations.exists()
    }

    /// Runs a caller's whole job.
    pub(crate) fn job<T: Send + 'static>(
        &self,
        mode: Mode,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Completion<T> {
        if mode == Mode::Blocking || !self.offload.jobs.is_usable_here() {
            return Completion::ready(Ok(self.metrics.time_inline(Operation::Job, work)));
        }
        let metrics = Arc::clone(&self.metrics);
        self.offload.jobs.run(
            move || Ok(metrics.time(Operation::Job, work)),
            || Attempt::new(Operation::Job, "a job").lost(),
        )
    }

    /// Runs one operation on `owner`.
    fn operation<O, T>(
        &self,
        mode: Mode,
        attempt: Attempt,
        owner: &Arc<O>,
        work: impl FnOnce(&O) -> io::Result<T> + Send + 'static,
    ) -> Completion<T>
    where
        O: Send + Sync + 'static,
        T: Send + 'static,
    {
        let operation = attempt.operation;
        if mode == Mode::Blocking || !self.offload.operations.is_usable_here() {
            let result = self.metrics.time_inline(operation, || work(owner));
            return Completion::ready(result.map_err(|error| attempt.failed(error)));
        }
        let (metrics, owner) = (Arc::clone(&self.metrics), Arc::clone(owner));
        let if_lost = attempt.clone();
        self.offload.operations.run(
            move || {
                let result = metrics.time(operation, || work(&owner));
                // Before the answer: whoever gets it may close everything and expect it closed.
                drop(owner);
                result.map_err(|error| attempt.failed(error))
            },
            move || if_lost.lost(),
        )
    }
}

/// A directory of the host.
#[derive(Debug)]
pub(crate) struct PortableDirectory {
    path: PathBuf,
    pub(crate) host: Arc<Host>,
}

/// An open file of the host.
#[derive(Debug)]
pub(crate) struct PortableFile {
    pub(crate) name: Arc<str>,
    pub(crate) file: fs::File,
    is_writable: bool,
    pub(crate) host: Arc<Host>,
}

impl PortableDirectory {
    pub(crate) fn new(path: &Path, host: Host) -> Self {
        Self {
            path: path.to_owned(),
            host: Arc::new(host),
        }
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        space::free_bytes(&self.path)
    }

    /// An operation on the file `name`.
    fn on_file<T: Send + 'static>(
        self: &Arc<Self>,
        mode: Mode,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&Self, &str) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let attempt = Attempt::new(operation, name);
        let name = Arc::clone(&attempt.name);
        self.host
            .operation(mode, attempt, self, move |directory| work(directory, &name))
    }

    /// An operation on the directory itself.
    fn on_directory<T: Send + 'static>(
        self: &Arc<Self>,
        mode: Mode,
        operation: Operation,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let attempt = Attempt::new(operation, &self.path.to_string_lossy());
        self.host
            .operation(mode, attempt, self, |directory| work(&directory.path))
    }

    fn file(&self, name: &str, file: fs::File, is_writable: bool) -> File {
        File(Backend::Portable(Arc::new(PortableFile {
            name: name.into(),
            file,
            is_writable,
            host: Arc::clone(&self.host),
        })))
    }

    pub(crate) fn exists(self: &Arc<Self>, mode: Mode) -> Completion<bool> {
        self.on_directory(mode, Operation::Open, Path::try_exists)
    }

    pub(crate) fn create_directory(self: &Arc<Self>, mode: Mode) -> Completion<()> {
        self.on_directory(mode, Operation::CreateDirectory, create_directory)
    }

    /// Starts `count` rings for the reads of all files, proved by reading the file `name`.
    pub(crate) fn start_rings(
        self: &Arc<Self>,
        mode: Mode,
        name: &str,
        count: usize,
    ) -> Completion<()> {
        self.on_file(mode, Operation::StartRing, name, move |directory, name| {
            let file = target::open_regular(&directory.path.join(name), Access::Read)?;
            let drivers = rings(&Arc::new(PortableFile::alone(name, file)), count)?;
            // Whoever came first has started as good ones.
            drop(directory.host.drivers.set(drivers));
            Ok(())
        })
    }

    pub(crate) fn create(self: &Arc<Self>, mode: Mode, name: &str) -> Completion<File> {
        self.on_file(mode, Operation::Create, name, |directory, name| {
            let file = target::create_new_regular(&directory.path.join(name))?;
            Ok(directory.file(name, file, true))
        })
    }

    pub(crate) fn open(
        self: &Arc<Self>,
        mode: Mode,
        name: &str,
        access: Access,
    ) -> Completion<File> {
        self.on_file(mode, Operation::Open, name, move |directory, name| {
            let file = target::open_regular(&directory.path.join(name), access)?;
            Ok(directory.file(name, file, access == Access::Write))
        })
    }

    pub(crate) fn rename(self: &Arc<Self>, mode: Mode, from: &str, to: &str) -> Completion<()> {
        let to = to.to_owned();
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the lint points to"
        )]
        self.on_file(mode, Operation::Rename, from, move |directory, from| {
            fs::rename(directory.path.join(from), directory.path.join(to))
        })
    }

    pub(crate) fn link(self: &Arc<Self>, mode: Mode, name: &str, to: &Self) -> Completion<()> {
        let to = to.path.clone();
        self.on_file(mode, Operation::Link, name, move |directory, name| {
            fs::hard_link(directory.path.join(name), to.join(name))
        })
    }

    pub(crate) fn remove(self: &Arc<Self>, mode: Mode, name: &str) -> Completion<()> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the lint points to"
        )]
        self.on_file(mode, Operation::Remove, name, |directory, name| {
            fs::remove_file(directory.path.join(name))
        })
    }

    pub(crate) fn list(self: &Arc<Self>, mode: Mode) -> Completion<Vec<String>> {
        self.on_directory(mode, Operation::List, |path| {
            let mut names = Vec::new();
            for entry in fs::read_dir(path)? {
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        })
    }

    pub(crate) fn sync_directory(self: &Arc<Self>, mode: Mode) -> Completion<()> {
        self.on_directory(mode, Operation::SyncDirectory, target::sync_directory)
    }

    pub(crate) fn lock(self: &Arc<Self>, mode: Mode, name: &str) -> Completion<Lock> {
        self.on_file(mode, Operation::Lock, name, |directory, name| {
            let lock = DirectoryLock::acquire(&directory.path.join(name)).map_err(lock_refused)?;
            Ok(Lock(Held::Portable(lock)))
        })
    }
}

#[cfg(uring)]
fn rings(proof: &Arc<PortableFile>, count: usize) -> io::Result<Vec<Box<dyn ReadDriver>>> {
    let start = |_| -> io::Result<Box<dyn ReadDriver>> { Ok(Box::new(UringDriver::start(proof)?)) };
    (0..count).map(start).collect()
}

#[cfg(not(uring))]
fn rings(_proof: &Arc<PortableFile>, _count: usize) -> io::Result<Vec<Box<dyn ReadDriver>>> {
    Err(ErrorKind::Unsupported.into())
}

/// A refused lock as an error that `Error::lock_refusal` recognises.
pub(crate) fn lock_refused(error: LockError) -> io::Error {
    let kind = match error {
        LockError::Held => ErrorKind::WouldBlock,
        LockError::Foreign => ErrorKind::InvalidData,
        LockError::Io(error) => return error,
    };
    io::Error::new(kind, error)
}

/// Creates `path` and what is missing above it, each new name durable before the next is made in it.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() {
        return Err(ErrorKind::NotFound.into());
    }
    let mut missing: Vec<&Path> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.is_dir())
        .collect();
    while let Some(next) = missing.pop() {
        match fs::create_dir(next) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !next.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            // Made by us, or by someone else just now, who may not have got to its sync.
            _ => target::sync_directory(target::parent(next))?,
        }
    }
    Ok(())
}

impl PortableFile {
    /// A file for reading with a host of its own: a driver must not keep the host that keeps it.
    pub(crate) fn alone(name: &str, file: fs::File) -> Self {
        Self {
            name: name.into(),
            file,
            is_writable: false,
            host: Arc::new(Host::new(PortableOptions::default())),
        }
    }

    pub(crate) fn run<T: Send + 'static>(
        self: &Arc<Self>,
        mode: Mode,
        operation: Operation,
        offset: Option<u64>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let attempt = Attempt {
            operation,
            name: Arc::clone(&self.name),
            offset,
        };
        self.host.operation(mode, attempt, self, work)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable {
            Ok(())
        } else {
            Err(ErrorKind::PermissionDenied.into())
        }
    }

    /// Inline in either mode: what is open has its length in memory.
    pub(crate) fn len(self: &Arc<Self>) -> Completion<u64> {
        self.run(Mode::Blocking, Operation::Len, None, |file| {
            Ok(file.file.metadata()?.len())
        })
    }

    /// Inline in either mode: where data lies is metadata.
    pub(crate) fn written_len(self: &Arc<Self>) -> Completion<u64> {
        self.run(Mode::Blocking, Operation::Len, None, |file| {
            let length = file.file.metadata()?.len();
            Ok(target::written_end(&file.file, length))
        })
    }

    pub(crate) fn write_at(
        self: &Arc<Self>,
        mode: Mode,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Completion<Vec<u8>> {
        self.run(mode, Operation::Write, Some(offset), move |file| {
            file.check_writable()?;
            end(offset, bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
            target::write_all_at(&file.file, &bytes, offset)?;
            Ok(bytes)
        })
    }

    pub(crate) fn write_durably_at(
        self: &Arc<Self>,
        mode: Mode,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Completion<Vec<u8>> {
        self.run(mode, Operation::WriteDurably, Some(offset), move |file| {
            file.check_writable()?;
            end(offset, bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
            target::write_all_durably_at(&file.file, &bytes, offset)?;
            Ok(bytes)
        })
    }

    pub(crate) fn reserve(self: &Arc<Self>, mode: Mode, length: u64) -> Completion<bool> {
        self.run(mode, Operation::SetLen, None, move |file| {
            file.check_writable()?;
            Ok(target::overwrites_in_place(&file.file) && target::reserve(&file.file, length)?)
        })
    }

    pub(crate) fn start_writeback(&self, offset: u64, length: u64) {
        target::start_writeback(&self.file, offset, length);
    }

    pub(crate) fn sync_data(self: &Arc<Self>, mode: Mode) -> Completion<()> {
        self.run(mode, Operation::SyncData, None, |file| {
            file.check_writable()?;
            target::sync_data(&file.file)
        })
    }

    pub(crate) fn sync_all(self: &Arc<Self>, mode: Mode) -> Completion<()> {
        self.run(mode, Operation::SyncAll, None, |file| {
            file.check_writable()?;
            target::sync_all(&file.file)
        })
    }

    pub(crate) fn set_len(self: &Arc<Self>, mode: Mode, length: u64) -> Completion<()> {
        self.run(mode, Operation::SetLen, None, move |file| {
            file.check_writable()?;
            end(length, 0).ok_or(ErrorKind::FileTooLarge)?;
            file.file.set_len(length)
        })
    }

    pub(crate) fn map(self: &Arc<Self>, mode: Mode, length: u64) -> Completion<Option<Bytes>> {
        self.run(mode, Operation::Map, None, move |file| {
            if !file.host.maps() {
                return Ok(None);
            }
            Ok(mapped::map(&file.file, length)?.map(Bytes::from_map))
        })
    }
}

impl PortableFile {
    pub(crate) fn map_writable(
        self: &Arc<Self>,
        mode: Mode,
        length: u64,
    ) -> Completion<Option<WritableMap>> {
        self.run(mode, Operation::Map, None, move |file| {
            file.check_writable()?;
            writable_map::map(&file.file, length)
        })
    }
}

/// Where a range ends, if a host's signed offsets go that far.
pub(crate) fn end(offset: u64, length: usize) -> Option<u64> {
    let end = offset.checked_add(u64::try_from(length).ok()?)?;
    (end <= i64::MAX.cast_unsigned()).then_some(end)
}
