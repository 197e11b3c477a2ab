//! A host that exists in memory, behaves as badly as real ones may, and does it again from the same seed.
//!
//! What may happen:
//!
//! - **Power loss.** What was not synced is kept or lost in any combination, writes by the sector, creations,
//!   renames and removals each for itself: see [`disk`].
//! - **Stores into a map** of a file are changes like writes, each for itself, and fail never.
//! - **Failures.** Any operation may fail with an error of the disk or for want of space ([`Faults`]). A write that
//!   fails has written some part; a creation, rename or removal that fails with an error of the disk may have happened;
//!   a failed sync forgets what it could not write, so that the next one succeeds without it (Rebello et al., "Can
//!   applications recover from fsync failures?", ATC 2020); a full disk takes what still fits.
//! - **Damage.** Bytes of a file change by themselves: [`Simulation::rot`].
//! - **Time.** With [`Simulation::defer`], cooperative operations wait until [`Simulation::step`] runs one of them, in
//!   an order chosen by the seed, also when nobody waits for the answer any more.
//!
//! What never happens: a file that is mapped to be read changes, or one that is mapped to be written is cut (mistakes of
//! ours, which panic); a lock that two hold.
//! Short reads and writes of the host's calls are below this interface, in the portable backend.
//!
//! Everything that is chosen comes from the seed, so one thread that makes the same calls sees the same answers.
//! Each change is recorded as a [`Step`]: replaying the steps on the first [`Disk`] gives the disk of any moment.

mod backend;
pub mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_platform::random::Random;

pub(crate) use backend::{SimulatedDirectory, SimulatedFile, SimulatedLock, SimulatedMap};
pub use disk::{Disk, FileId, Step, Unsynced};

use crate::error::Attempt;
use crate::metrics::Metrics;
use crate::{Completion, Mode, Storage};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The disk reports an error: EIO.
    Io,
    /// Nothing more fits: ENOSPC. What needs no space succeeds.
    Full,
    /// The process is gone: nothing happens any more.
    Dead,
}

/// Which operations fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Faults {
    /// None.
    #[default]
    None,
    /// Those from the one with this number on, so many of them.
    Numbered {
        /// The number of the first: see [`Simulation::operations`].
        first: u64,
        /// How many; `u64::MAX` for all that follow.
        count: u64,
        /// In which way.
        failure: Failure,
    },
    /// Each, with a chance of one in so many, in either way.
    Random {
        /// One in so many.
        one_in: u64,
    },
}

/// The state of the host. Guarded by one mutex: an operation is one visit.
#[derive(Debug)]
struct Machine {
    disk: Disk,
    steps: Vec<Step>,
    operations: u64,
    faults: Faults,
    injected: u64,
    refused: u64,
    capacity: Option<usize>,
    locks: BTreeSet<(Arc<str>, String)>,
    /// Whether files can be mapped to be written to.
    maps_logs: bool,
    /// How many such maps each file has.
    mapped: BTreeMap<FileId, usize>,
    /// After so many changes nothing happens any more.
    stops_after: usize,
    random: Random,
    /// Of every operation and how it ended.
    trace: DefaultHasher,
}

type Deferred = Box<dyn FnOnce() + Send>;

/// What storages of one host share.
pub(crate) struct Host {
    machine: Mutex<Machine>,
    /// Cooperative operations that have not run yet; `None` if they run at once.
    deferred: Mutex<Option<Vec<Deferred>>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// A simulated host. Clones share it.
#[derive(Clone, Debug)]
pub struct Simulation(Arc<Host>);

impl Machine {
    /// Counts an operation and decides whether it fails.
    fn verdict(&mut self) -> Option<Failure> {
        let number = self.operations;
        self.operations += 1;
        if self.has_stopped() {
            return Some(Failure::Dead);
        }
        let failure = match self.faults {
            Faults::None => None,
            Faults::Numbered {
                first,
                count,
                failure,
            } => (number >= first && number - first < count).then_some(failure),
            Faults::Random { one_in } => (self.random.below(one_in) == 0).then(|| {
                if self.random.below(2) == 0 {
                    Failure::Io
                } else {
                    Failure::Full
                }
            }),
        };
        self.injected += u64::from(failure.is_some());
        failure
    }

    fn has_stopped(&self) -> bool {
        self.steps.len() >= self.stops_after
    }

    fn make(&mut self, step: Step) {
        if self.has_stopped() {
            return;
        }
        self.disk.apply(&step);
        self.steps.push(step);
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Io => io::Error::other("simulated error of the disk"),
            Self::Full => ErrorKind::StorageFull.into(),
            Self::Dead => io::Error::other("the simulated process is gone"),
        }
    }
}

impl Host {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deferred(&self) -> MutexGuard<'_, Option<Vec<Deferred>>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_deferring(&self) -> bool {
        self.deferred().is_some()
    }

    /// Runs one operation, now or when its turn comes.
    fn run<T: Send + 'static>(
        self: &Arc<Self>,
        mode: Mode,
        attempt: Attempt,
        work: impl FnOnce(&mut Machine, Option<Failure>) -> io::Result<T> + Send + 'static,
    ) -> Completion<T> {
        let host = Arc::clone(self);
        let if_lost = attempt.clone();
        let operate = move || {
            let mut machine = host.machine();
            host.metrics.count(attempt.operation);
            let failure = machine.verdict();
            let result = work(&mut machine, failure);
            let outcome = result.as_ref().map(drop).map_err(io::Error::kind);
            (attempt.operation as u8, &*attempt.name, attempt.offset).hash(&mut machine.trace);
            outcome.hash(&mut machine.trace);
            result.map_err(|error| attempt.failed(error))
        };
        if mode == Mode::Blocking {
            return Completion::ready(operate());
        }
        match &mut *self.deferred() {
            None => Completion::ready(operate()),
            Some(waiting) => {
                let (setter, event) = trine_platform::event::channel();
                waiting.push(Box::new(move || setter.set(operate())));
                Completion::pending(event, move || if_lost.lost())
            }
        }
    }
}

impl Simulation {
    /// A host with this disk, on which nothing fails. Whatever is chosen is chosen by the seed.
    pub fn new(disk: Disk, seed: u64) -> Self {
        let machine = Machine {
            disk,
            steps: Vec::new(),
            operations: 0,
            faults: Faults::None,
            injected: 0,
            refused: 0,
            capacity: None,
            locks: BTreeSet::new(),
            maps_logs: true,
            mapped: BTreeMap::new(),
            stops_after: usize::MAX,
            random: Random::new(seed),
            trace: DefaultHasher::new(),
        };
        Self(Arc::new(Host {
            machine: Mutex::new(machine),
            deferred: Mutex::new(None),
            metrics: Arc::default(),
        }))
    }

    /// The directory at `path`. Nothing is touched yet.
    pub fn storage(&self, path: &str) -> Storage {
        Storage::simulated(SimulatedDirectory::new(Arc::clone(&self.0), path))
    }

    /// The disk now.
    pub fn disk(&self) -> Disk {
        self.0.machine().disk.clone()
    }

    /// How many changes were made so far.
    pub fn changes(&self) -> usize {
        self.0.machine().steps.len()
    }

    /// The changes made so far.
    pub fn steps(&self) -> Vec<Step> {
        self.0.machine().steps.clone()
    }

    /// How many operations were asked for so far, reads among them. The next one has this number.
    pub fn operations(&self) -> u64 {
        self.0.machine().operations
    }

    /// Of all operations so far, in order, and how each ended.
    pub fn trace(&self) -> u64 {
        self.0.machine().trace.finish()
    }

    /// From now on these operations fail. Gives back which ones did until now.
    pub fn set_faults(&self, faults: Faults) -> Faults {
        std::mem::replace(&mut self.0.machine().faults, faults)
    }

    /// How many operations were made to fail so far.
    pub fn injected(&self) -> u64 {
        self.0.machine().injected
    }

    /// How many operations failed because they exceeded the [capacity](Self::set_capacity).
    pub fn refused(&self) -> u64 {
        self.0.machine().refused
    }

    /// The process is gone once so many changes were made, which may be in the middle of an operation: nothing happens
    /// any more.
    /// Gives back how many it was until now.
    pub fn stop_after(&self, changes: usize) -> usize {
        std::mem::replace(&mut self.0.machine().stops_after, changes)
    }

    /// Whether the process is gone.
    pub fn has_stopped(&self) -> bool {
        self.0.machine().has_stopped()
    }

    /// Whether files are mapped to be written to, as from the beginning on.
    pub fn set_maps_logs(&self, maps_logs: bool) {
        self.0.machine().maps_logs = maps_logs;
    }

    /// How many bytes all files may hold together; `None`: any number. Gives back how many it was until now.
    pub fn set_capacity(&self, bytes: Option<usize>) -> Option<usize> {
        std::mem::replace(&mut self.0.machine().capacity, bytes)
    }

    /// Changes a stored byte.
    pub fn rot(&self, file: FileId, offset: usize, mask: u8) {
        self.0.machine().make(Step::Rot { file, offset, mask });
    }

    /// From now on cooperative operations wait for [`step`](Self::step).
    ///
    /// There are no threads then: who asks for a job does it himself.
    pub fn defer(&self) {
        self.0.deferred().get_or_insert_default();
    }

    /// Runs one waiting operation; false if none waits.
    pub fn step(&self) -> bool {
        let chosen = {
            let mut deferred = self.0.deferred();
            let Some(waiting) = deferred.as_mut().filter(|waiting| !waiting.is_empty()) else {
                return false;
            };
            let count = waiting.len() as u64;
            let index = self.0.machine().random.below(count);
            waiting.swap_remove(usize::try_from(index).unwrap_or_default())
        };
        chosen();
        true
    }
}
