//! What each operation does on the simulated host.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use trine_platform::LockError;

use super::disk::SECTOR_BYTES;
use super::{Failure, FileId, Host, Machine, Step};
use crate::error::Attempt;
use crate::file::Backend;
use crate::lock::Held;
use crate::metrics::{Metrics, Stats};
use crate::portable::lock_refused;
use crate::writable_map::Kind;
use crate::{Bytes, Completion, File, Lock, Mode, Operation, Warmth, WritableMap};

/// A directory of the host.
#[derive(Debug)]
pub(crate) struct SimulatedDirectory {
    host: Arc<Host>,
    path: Arc<str>,
}

/// An open file of the host.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedFile {
    pub(crate) name: Arc<str>,
    host: Arc<Host>,
    file: FileId,
    is_writable: bool,
}

/// All of a file, to be stored to. Each store is a change of its own, after which the process may end.
#[derive(Debug)]
pub(crate) struct SimulatedMap {
    host: Arc<Host>,
    file: FileId,
    bytes: usize,
}

impl SimulatedMap {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "a store beyond the map"
        );
        self.host.machine().make(Step::Write {
            file: self.file,
            offset,
            bytes: bytes.into(),
            durable: false,
        });
    }
}

impl Drop for SimulatedMap {
    fn drop(&mut self) {
        let mut machine = self.host.machine();
        if let Some(maps) = machine.mapped.get_mut(&self.file) {
            *maps -= 1;
        }
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct SimulatedLock {
    host: Arc<Host>,
    key: (Arc<str>, String),
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.host.machine().locks.remove(&self.key);
    }
}

/// Fails before anything happens.
fn refuse(failure: Option<Failure>) -> io::Result<()> {
    failure.map_or(Ok(()), |failure| Err(failure.error()))
}

impl Machine {
    /// Makes a change of a directory. One that fails by an error of the disk may be made all the same.
    fn change_entries(&mut self, failure: Option<Failure>, step: Step) -> io::Result<()> {
        match failure {
            None => {}
            Some(Failure::Full) if matches!(step, Step::Remove { .. }) => {}
            Some(failure) => {
                if failure == Failure::Io && self.random.below(2) == 0 {
                    self.make(step);
                }
                return Err(failure.error());
            }
        }
        self.make(step);
        Ok(())
    }

    /// How many bytes the file can grow by.
    fn room(&self) -> usize {
        self.capacity.map_or(usize::MAX, |capacity| {
            capacity.saturating_sub(self.disk.used_bytes())
        })
    }

    fn write(
        &mut self,
        failure: Option<Failure>,
        file: FileId,
        offset: u64,
        bytes: &[u8],
        durable: bool,
    ) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| ErrorKind::FileTooLarge)?;
        let end = offset
            .checked_add(bytes.len())
            .ok_or(ErrorKind::FileTooLarge)?;
        let fits = (self.disk.bytes(file).len().saturating_add(self.room()))
            .saturating_sub(offset)
            .min(bytes.len());
        let failure = failure.or_else(|| {
            (fits < bytes.len()).then(|| {
                self.refused += 1;
                Failure::Full
            })
        });
        let written = match failure {
            None => end - offset,
            Some(Failure::Dead) => 0,
            Some(_) => {
                let part = self.random.below(bytes.len() as u64);
                let part = usize::try_from(part).unwrap_or_default().min(fits);
                // Sectors are written whole.
                part.saturating_sub((offset + part) % SECTOR_BYTES)
            }
        };
        if written > 0 {
            self.make(Step::Write {
                file,
                offset,
                bytes: bytes[..written].into(),
                durable: durable && failure.is_none(),
            });
        }
        if durable && failure == Some(Failure::Io) {
            // It may have been the sync that failed.
            let seed = self.random.next_u64();
            self.make(Step::FailSync { file, seed });
        }
        refuse(failure)
    }

    fn set_len(&mut self, failure: Option<Failure>, file: FileId, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge)?;
        let now = self.disk.bytes(file).len();
        let grows = length.saturating_sub(now);
        let maps = self.mapped.get(&file).copied().unwrap_or_default();
        assert!(maps == 0 || length >= now, "a mapped file is cut");
        match failure {
            Some(Failure::Full) if grows == 0 => {}
            failure => refuse(failure)?,
        }
        if grows > self.room() {
            self.refused += 1;
            return Err(Failure::Full.error());
        }
        self.make(Step::SetLen { file, length });
        Ok(())
    }

    fn sync(&mut self, failure: Option<Failure>, file: FileId) -> io::Result<()> {
        match failure {
            None => self.make(Step::Sync { file }),
            Some(Failure::Dead) => {}
            Some(_) => {
                let seed = self.random.next_u64();
                self.make(Step::FailSync { file, seed });
            }
        }
        refuse(failure)
    }
}

/// What needs no space does not fail for want of it.
fn without_space(failure: Option<Failure>) -> Option<Failure> {
    failure.filter(|failure| *failure != Failure::Full)
}

impl SimulatedDirectory {
    pub(crate) fn fresh_id(&self) -> u64 {
        self.host.machine().random.next_u64()
    }

    pub(crate) fn new(host: Arc<Host>, path: &str) -> Self {
        Self {
            host,
            path: path.into(),
        }
    }

    pub(crate) fn is_deferring(&self) -> bool {
        self.host.is_deferring()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.host.metrics
    }

    pub(crate) fn stats(&self) -> Stats {
        self.host.metrics.stats()
    }

    fn on_file<T: Send + 'static>(
        &self,
        mode: Mode,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&mut Machine, Option<Failure>, &Arc<str>, &Arc<str>) -> io::Result<T>
        + Send
        + 'static,
    ) -> Completion<T> {
        let attempt = Attempt::new(operation, name);
        let (path, name) = (Arc::clone(&self.path), Arc::clone(&attempt.name));
        self.host.run(mode, attempt, move |machine, failure| {
            if !machine.disk.is_directory(&path) {
                return Err(ErrorKind::NotFound.into());
            }
            work(machine, failure, &path, &name)
        })
    }

    fn on_directory<T: Send + 'static>(
        &self,
        mode: Mode,
        operation: Operation,
        work: impl FnOnce(&mut Machine, Option<Failure>, &Arc<str>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let path = Arc::clone(&self.path);
        let attempt = Attempt::new(operation, &path);
        self.host.run(mode, attempt, move |machine, failure| {
            work(machine, failure, &path)
        })
    }

    fn handle(host: &Arc<Host>, name: &Arc<str>, file: FileId, is_writable: bool) -> File {
        File(Backend::Simulated(SimulatedFile {
            name: Arc::clone(name),
            host: Arc::clone(host),
            file,
            is_writable,
        }))
    }

    pub(crate) fn exists(&self, mode: Mode) -> Completion<bool> {
        self.on_directory(mode, Operation::Open, |machine, failure, path| {
            refuse(without_space(failure))?;
            Ok(machine.disk.is_directory(path))
        })
    }

    pub(crate) fn create_directory(&self, mode: Mode) -> Completion<()> {
        self.on_directory(
            mode,
            Operation::CreateDirectory,
            |machine, failure, path| {
                refuse(failure)?;
                if !machine.disk.is_directory(path) {
                    machine.make(Step::MakeDirectory {
                        path: Arc::clone(path),
                    });
                }
                Ok(())
            },
        )
    }

    pub(crate) fn create(&self, mode: Mode, name: &str) -> Completion<File> {
        let host = Arc::clone(&self.host);
        let work = move |machine: &mut Machine, failure, path: &Arc<str>, name: &Arc<str>| {
            if machine.disk.file(path, name).is_some() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let step = Step::Create {
                directory: Arc::clone(path),
                name: Arc::clone(name),
            };
            machine.change_entries(failure, step)?;
            let file = machine.disk.file(path, name).ok_or(ErrorKind::NotFound)?;
            Ok(Self::handle(&host, name, file, true))
        };
        self.on_file(mode, Operation::Create, name, work)
    }

    pub(crate) fn open(&self, mode: Mode, name: &str, is_writable: bool) -> Completion<File> {
        let host = Arc::clone(&self.host);
        let work = move |machine: &mut Machine, failure, path: &Arc<str>, name: &Arc<str>| {
            refuse(without_space(failure))?;
            let file = machine.disk.file(path, name).ok_or(ErrorKind::NotFound)?;
            Ok(Self::handle(&host, name, file, is_writable))
        };
        self.on_file(mode, Operation::Open, name, work)
    }

    pub(crate) fn rename(&self, mode: Mode, from: &str, to: &str) -> Completion<()> {
        let to: Arc<str> = to.into();
        self.on_file(
            mode,
            Operation::Rename,
            from,
            move |machine, failure, path, from| {
                machine.disk.file(path, from).ok_or(ErrorKind::NotFound)?;
                let step = Step::Rename {
                    directory: Arc::clone(path),
                    from: Arc::clone(from),
                    to,
                };
                machine.change_entries(failure, step)
            },
        )
    }

    /// Both directories must be of one host.
    pub(crate) fn link(&self, mode: Mode, name: &str, to: &Self) -> Completion<()> {
        let is_same_host = Arc::ptr_eq(&self.host, &to.host);
        let to = Arc::clone(&to.path);
        self.on_file(
            mode,
            Operation::Link,
            name,
            move |machine, failure, path, name| {
                if !is_same_host {
                    return Err(ErrorKind::Unsupported.into());
                }
                machine.disk.file(path, name).ok_or(ErrorKind::NotFound)?;
                if machine.disk.file(&to, name).is_some() {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                let step = Step::Link {
                    directory: Arc::clone(path),
                    name: Arc::clone(name),
                    to,
                };
                machine.change_entries(failure, step)
            },
        )
    }

    pub(crate) fn remove(&self, mode: Mode, name: &str) -> Completion<()> {
        self.on_file(
            mode,
            Operation::Remove,
            name,
            |machine, failure, path, name| {
                machine.disk.file(path, name).ok_or(ErrorKind::NotFound)?;
                let step = Step::Remove {
                    directory: Arc::clone(path),
                    name: Arc::clone(name),
                };
                machine.change_entries(failure, step)
            },
        )
    }

    pub(crate) fn list(&self, mode: Mode) -> Completion<Vec<String>> {
        self.on_directory(mode, Operation::List, |machine, failure, path| {
            refuse(without_space(failure))?;
            if !machine.disk.is_directory(path) {
                return Err(ErrorKind::NotFound.into());
            }
            let names = machine.disk.names(path);
            Ok(names.into_iter().map(str::to_owned).collect())
        })
    }

    pub(crate) fn sync_directory(&self, mode: Mode) -> Completion<()> {
        self.on_directory(mode, Operation::SyncDirectory, |machine, failure, path| {
            // After a failure the entries are as unsynced as before.
            refuse(failure)?;
            machine.make(Step::SyncDirectory {
                directory: Arc::clone(path),
            });
            Ok(())
        })
    }

    pub(crate) fn lock(&self, mode: Mode, name: &str) -> Completion<Lock> {
        let host = Arc::clone(&self.host);
        self.on_file(
            mode,
            Operation::Lock,
            name,
            move |machine, failure, path, name| {
                refuse(failure)?;
                let key = (Arc::clone(path), (**name).to_owned());
                if !machine.locks.insert(key.clone()) {
                    return Err(lock_refused(LockError::Held));
                }
                Ok(Lock(Held::Simulated(SimulatedLock { host, key })))
            },
        )
    }
}

impl SimulatedFile {
    fn run<T: Send + 'static>(
        &self,
        mode: Mode,
        operation: Operation,
        offset: Option<u64>,
        work: impl FnOnce(&mut Machine, Option<Failure>, FileId) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let attempt = Attempt {
            operation,
            name: Arc::clone(&self.name),
            offset,
        };
        let file = self.file;
        self.host.run(mode, attempt, move |machine, failure| {
            work(machine, failure, file)
        })
    }

    /// A change, which needs a file that is open for writing.
    fn change<T: Send + 'static>(
        &self,
        mode: Mode,
        operation: Operation,
        offset: Option<u64>,
        work: impl FnOnce(&mut Machine, Option<Failure>, FileId) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let is_writable = self.is_writable;
        self.run(mode, operation, offset, move |machine, failure, file| {
            if !is_writable {
                return Err(ErrorKind::PermissionDenied.into());
            }
            work(machine, failure, file)
        })
    }

    pub(crate) fn len(&self) -> Completion<u64> {
        self.run(
            Mode::Blocking,
            Operation::Len,
            None,
            |machine, failure, file| {
                refuse(without_space(failure))?;
                Ok(machine.disk.bytes(file).len() as u64)
            },
        )
    }

    pub(crate) fn read_at(&self, mode: Mode, offset: u64, length: usize) -> Completion<Vec<u8>> {
        self.read(mode, offset, length, <[u8]>::to_vec)
    }

    /// All of a file is in memory, and a read may fail all the same.
    pub(crate) fn warm(&self, mode: Mode, offset: u64, length: usize) -> Completion<Warmth> {
        self.read(mode, offset, length, |_| Warmth::Resident)
    }

    fn read<T: Send + 'static>(
        &self,
        mode: Mode,
        offset: u64,
        length: usize,
        take: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Completion<T> {
        self.run(
            mode,
            Operation::Read,
            Some(offset),
            move |machine, failure, file| {
                if length == 0 {
                    return Ok(take(&[]));
                }
                refuse(without_space(failure))?;
                let start = usize::try_from(offset).map_err(|_| ErrorKind::UnexpectedEof)?;
                let end = start.checked_add(length).ok_or(ErrorKind::UnexpectedEof)?;
                let bytes = machine.disk.bytes(file).get(start..end);
                Ok(take(bytes.ok_or(ErrorKind::UnexpectedEof)?))
            },
        )
    }

    pub(crate) fn write_at(&self, mode: Mode, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        self.write(mode, Operation::Write, offset, bytes)
    }

    pub(crate) fn write_durably_at(
        &self,
        mode: Mode,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Completion<Vec<u8>> {
        self.write(mode, Operation::WriteDurably, offset, bytes)
    }

    fn write(
        &self,
        mode: Mode,
        operation: Operation,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Completion<Vec<u8>> {
        let durable = operation == Operation::WriteDurably;
        self.change(
            mode,
            operation,
            Some(offset),
            move |machine, failure, file| {
                if !bytes.is_empty() {
                    machine.write(failure, file, offset, &bytes, durable)?;
                }
                Ok(bytes)
            },
        )
    }

    pub(crate) fn map_writable(&self, mode: Mode, length: u64) -> Completion<Option<WritableMap>> {
        let host = Arc::clone(&self.host);
        self.change(mode, Operation::Map, None, move |machine, failure, file| {
            refuse(without_space(failure))?;
            let bytes = machine.disk.bytes(file).len();
            if bytes as u64 != length {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let is_mapped = machine.maps_logs && bytes > 0;
            Ok(is_mapped.then(|| {
                *machine.mapped.entry(file).or_default() += 1;
                WritableMap(Kind::Simulated(SimulatedMap { host, file, bytes }))
            }))
        })
    }

    pub(crate) fn sync(&self, mode: Mode, operation: Operation) -> Completion<()> {
        self.change(mode, operation, None, Machine::sync)
    }

    pub(crate) fn set_len(&self, mode: Mode, length: u64) -> Completion<()> {
        self.change(
            mode,
            Operation::SetLen,
            None,
            move |machine, failure, file| machine.set_len(failure, file, length),
        )
    }

    pub(crate) fn map(&self, mode: Mode, length: u64) -> Completion<Option<Bytes>> {
        self.run(mode, Operation::Map, None, move |machine, failure, file| {
            refuse(without_space(failure))?;
            if machine.disk.bytes(file).len() as u64 != length {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if length == 0 {
                return Ok(None);
            }
            let bytes = Bytes::from_shared(machine.disk.bytes(file).into());
            machine.make(Step::Seal { file });
            Ok(Some(bytes))
        })
    }
}
