//! Where storage work ran, how often, and how long the host took.
//!
//! Counters only grow, except those that say what is queued now. They are relaxed atomics, shared by all clones and files of one
//! storage: cheap, exact once everything has finished, not a consistent cut before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use trine_platform::clock::{self, Instant};

use crate::Operation;

/// How often an operation was asked of the host, and how long the host took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationStats {
    /// Calls, failed ones too.
    pub requests: u64,
    /// Their run time, without waiting for a thread. Always zero in memory.
    pub nanos: u64,
}

/// What went to one kind of offload thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadStats {
    /// Handed over.
    pub submitted: u64,
    /// Finished, panicked ones too.
    pub completed: u64,
    /// Handed over and not yet begun.
    pub queued: u64,
    /// Run time of what has finished.
    pub nanos: u64,
}

/// A storage's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    operations: [OperationStats; Operation::ALL.len()],
    /// Operations and jobs that ran on the caller's thread, in either mode.
    pub inline: u64,
    /// Single operations that went to the offload threads.
    pub offloaded_operations: OffloadStats,
    /// Whole jobs that went to the offload threads.
    pub offloaded_jobs: OffloadStats,
    /// Reads that a ring of the operating system carried out.
    pub driven_reads: OffloadStats,
}

impl OffloadStats {
    /// Adds what another one counted.
    pub(crate) fn add(&mut self, other: Self) {
        self.submitted += other.submitted;
        self.completed += other.completed;
        self.queued += other.queued;
        self.nanos += other.nanos;
    }
}

impl Stats {
    /// The counters of one operation.
    pub fn operation(&self, operation: Operation) -> OperationStats {
        self.operations
            .get(operation.index())
            .copied()
            .unwrap_or_default()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct OperationCounters {
    requests: AtomicU64,
    nanos: AtomicU64,
}

/// The live counters of one storage.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    operations: [OperationCounters; Operation::ALL.len()],
    inline: AtomicU64,
    /// Told of each operation, on the thread that does it.
    watcher: OnceLock<fn(Operation)>,
}

impl Metrics {
    /// Has every operation told to `watcher`, for good.
    pub(crate) fn watch(&self, watcher: fn(Operation)) {
        // The first one stays.
        let _ = self.watcher.set(watcher);
    }

    fn tell(&self, operation: Operation) {
        if let Some(watcher) = self.watcher.get() {
            watcher(operation);
        }
    }

    /// Counts an operation that is not worth timing.
    pub(crate) fn count(&self, operation: Operation) {
        self.tell(operation);
        self.inline.fetch_add(1, Relaxed);
        if let Some(counters) = self.operations.get(operation.index()) {
            counters.requests.fetch_add(1, Relaxed);
        }
    }

    /// Runs and times an operation, on whatever thread this is.
    pub(crate) fn time<T>(&self, operation: Operation, work: impl FnOnce() -> T) -> T {
        self.tell(operation);
        let start = clock::now();
        let result = work();
        if let Some(counters) = self.operations.get(operation.index()) {
            counters.requests.fetch_add(1, Relaxed);
            counters.nanos.fetch_add(nanos(start.elapsed()), Relaxed);
        }
        result
    }

    /// Counts an operation that the host carried out by itself since `start`.
    pub(crate) fn driven(&self, operation: Operation, start: Instant) {
        if let Some(counters) = self.operations.get(operation.index()) {
            counters.requests.fetch_add(1, Relaxed);
            counters.nanos.fetch_add(nanos(start.elapsed()), Relaxed);
        }
    }

    /// Runs and times an operation on the caller's thread.
    pub(crate) fn time_inline<T>(&self, operation: Operation, work: impl FnOnce() -> T) -> T {
        self.inline.fetch_add(1, Relaxed);
        self.time(operation, work)
    }

    /// The counters now; the offload threads' own are left at zero.
    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats {
            inline: self.inline.load(Relaxed),
            ..Stats::default()
        };
        for (stats, counters) in stats.operations.iter_mut().zip(&self.operations) {
            *stats = OperationStats {
                requests: counters.requests.load(Relaxed),
                nanos: counters.nanos.load(Relaxed),
            };
        }
        stats
    }
}

/// The live counters of one kind of offload thread.
#[derive(Debug, Default)]
pub(crate) struct OffloadCounters {
    submitted: AtomicU64,
    completed: AtomicU64,
    nanos: AtomicU64,
}

impl OffloadCounters {
    pub(crate) fn submitted(&self) {
        self.submitted.fetch_add(1, Relaxed);
    }

    /// Counts a run as completed when the guard is dropped, by a panic too.
    pub(crate) fn running(&self) -> Running<'_> {
        Running {
            counters: self,
            start: clock::now(),
        }
    }

    pub(crate) fn stats(&self, queued: usize) -> OffloadStats {
        OffloadStats {
            submitted: self.submitted.load(Relaxed),
            completed: self.completed.load(Relaxed),
            queued: queued as u64,
            nanos: self.nanos.load(Relaxed),
        }
    }
}

/// Work in progress on an offload thread.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    counters: &'a OffloadCounters,
    start: Instant,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let elapsed = nanos(self.start.elapsed());
        self.counters.nanos.fetch_add(elapsed, Relaxed);
        self.counters.completed.fetch_add(1, Relaxed);
    }
}
