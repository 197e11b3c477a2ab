//! Threads that run blocking work for callers that must not block.
//!
//! - There are two sets of threads: one for single operations, one for whole jobs (a flush, a compaction).
//!   A read therefore never waits behind a compaction, and a job that waits for somebody who awaits an
//!   operation cannot starve that operation.
//! - Threads start when work is there for them, up to each set's limit, and stay until the storage goes. If none can be
//!   started the work runs on the caller's thread.
//! - Handing over never blocks. A queue is bounded by its callers alone: each waits for what it handed over.
//!   Its length is counted.
//! - Work that is handed over from one of these threads runs right there. So nothing here waits for
//!   itself; jobs should still use `Mode::Blocking` inside, which says what happens.
//! - A panic ends the work, not the thread: whoever waits gets an error.
//! - When the last handle of a storage goes, both sets finish what is queued and end; the dropping thread waits for them,
//!   unless it is one of them.
//!
//! One rule is left to callers: do not hold something that running jobs wait for while awaiting another
//! job. With all job threads waiting, that one would never begin.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use trine_platform::{event, thread};

use crate::metrics::{OffloadCounters, OffloadStats};
use crate::{Completion, Error, Result};

type Work = Box<dyn FnOnce() + Send>;

thread_local! {
    static IS_OFFLOAD_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Both sets of threads of one storage.
#[derive(Debug)]
pub(crate) struct Offload {
    pub(crate) operations: Threads,
    pub(crate) jobs: Threads,
}

/// One set of threads and their queue.
#[derive(Debug)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: &'static str,
    threads_max: usize,
    /// Held for a push, a pop or the start of a thread; never while work runs.
    state: Mutex<State>,
    changed: Condvar,
    counters: OffloadCounters,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Work>,
    threads: Vec<JoinHandle<()>>,
    /// Threads waiting for work, those already woken for some of it included.
    idle: usize,
    closing: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queue.len())
            .field("threads", &self.threads.len())
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life.
    fn serve(&self) {
        IS_OFFLOAD_THREAD.set(true);
        while let Some(work) = self.next() {
            // What the work leaves behind is its waiter's to judge: it learns that the answer is lost.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }

    /// The next work in the queue; `None` when it is empty and stays so.
    fn next(&self) -> Option<Work> {
        let mut state = self.state();
        loop {
            if let Some(work) = state.queue.pop_front() {
                return Some(work);
            }
            if state.closing {
                return None;
            }
            state.idle += 1;
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl Threads {
    fn new(name: &'static str, threads_max: usize) -> Self {
        Self(Arc::new(Shared {
            name,
            threads_max,
            state: Mutex::default(),
            changed: Condvar::new(),
            counters: OffloadCounters::default(),
        }))
    }

    /// Whether this thread should hand work over rather than run it.
    pub(crate) fn is_usable_here(&self) -> bool {
        self.exists() && !IS_OFFLOAD_THREAD.get()
    }

    /// Whether work ever leaves its caller's thread.
    pub(crate) fn exists(&self) -> bool {
        // Known to the compiler: where there are no threads, nothing that is for them is compiled.
        thread::available() && self.0.threads_max > 0
    }

    pub(crate) fn stats(&self) -> OffloadStats {
        let queued = self.0.state().queue.len();
        self.0.counters.stats(queued)
    }

    /// Hands `work` over; `lost` is the error if it panics.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
        lost: impl Fn() -> Error + Send + Sync + 'static,
    ) -> Completion<T> {
        let (setter, event) = event::channel();
        let shared = Arc::clone(&self.0);
        self.0.counters.submitted();
        self.submit(Box::new(move || {
            let running = shared.counters.running();
            let result = work();
            // Counted, and nothing of the caller's kept, before the caller goes on.
            drop(running);
            setter.set(result);
        }));
        Completion::pending(event, lost)
    }

    fn submit(&self, work: Work) {
        let mut state = self.0.state();
        state.queue.push_back(work);
        if state.queue.len() > state.idle && state.threads.len() < self.0.threads_max {
            let shared = Arc::clone(&self.0);
            match thread::spawn(self.0.name, move || shared.serve()) {
                Ok(thread) => state.threads.push(thread),
                // Those that run will come to it. If there are none, nobody else will.
                Err(_) if state.threads.is_empty() => {
                    let work = state.queue.pop_back();
                    drop(state);
                    if let Some(work) = work {
                        work();
                    }
                    return;
                }
                Err(_) => {}
            }
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Tells the threads to end once the queue is empty.
    fn close(&self) -> Vec<JoinHandle<()>> {
        let mut state = self.0.state();
        state.closing = true;
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        self.0.changed.notify_all();
        threads
    }
}

impl Offload {
    pub(crate) fn new(operation_threads: usize, job_threads: usize) -> Self {
        Self {
            operations: Threads::new("trine-io", operation_threads),
            jobs: Threads::new("trine-job", job_threads),
        }
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        let mut threads = self.operations.close();
        threads.extend(self.jobs.close());
        let own = std::thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == own) {
            // The last handle went inside our own work: it cannot wait for itself to end.
            return;
        }
        for thread in threads {
            // Work that panics does not end its thread, so there is nothing to learn here.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use trine_platform::block_on;

    use super::*;
    use crate::Operation;
    use crate::error::Attempt;

    fn lost() -> Error {
        Attempt::new(Operation::Job, "test").lost()
    }

    #[test]
    fn every_piece_of_work_runs_once_on_at_most_so_many_threads() {
        let offload = Offload::new(3, 0);
        let done: Vec<_> = (0..100)
            .map(|i| offload.operations.run(move || Ok(i), lost))
            .collect();
        for (i, done) in done.into_iter().enumerate() {
            assert_eq!(block_on(done).unwrap(), i);
        }
        assert!(offload.operations.0.state().threads.len() <= 3);
        let stats = offload.operations.stats();
        assert_eq!((stats.submitted, stats.completed), (100, 100));
        assert_eq!(stats.queued, 0);
    }

    #[test]
    fn blocked_work_does_not_hold_up_a_free_thread() {
        let offload = Offload::new(2, 0);
        let (release, blocked) = mpsc::channel::<()>();
        let first = offload
            .operations
            .run(move || Ok(blocked.recv().is_ok()), lost);
        // Runs beside the first: else it would never be released.
        block_on(offload.operations.run(|| Ok(()), lost)).unwrap();
        release.send(()).unwrap();
        assert!(block_on(first).unwrap());
    }

    #[test]
    fn panic_is_an_error_for_the_waiter_and_no_end_of_the_thread() {
        let offload = Offload::new(1, 0);
        let panicked = offload.operations.run(
            || -> Result<()> { std::panic::resume_unwind(Box::new(())) },
            lost,
        );
        assert_eq!(
            block_on(panicked).unwrap_err().source.kind(),
            std::io::ErrorKind::Other
        );
        block_on(offload.operations.run(|| Ok(()), lost)).unwrap();
        assert_eq!(offload.operations.0.state().threads.len(), 1);
        assert_eq!(offload.operations.stats().completed, 2);
    }

    #[test]
    fn drop_finishes_what_is_queued() {
        let offload = Offload::new(1, 0);
        let count = Arc::new(AtomicUsize::new(0));
        for _ in 0..50 {
            let count = Arc::clone(&count);
            let work = move || {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            // Abandoned: the answer, not the work.
            drop(offload.operations.run(work, lost));
        }
        drop(offload);
        assert_eq!(count.load(Ordering::SeqCst), 50);
    }

    #[test]
    fn last_handle_dropped_by_its_own_thread_does_not_wait_for_itself() {
        let offload = Arc::new(Offload::new(1, 0));
        let (ready, go) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel::<()>();
        let own = Arc::clone(&offload);
        let work = move || {
            let _ = go.recv();
            drop(own);
            let _ = done.send(());
            Ok(())
        };
        drop(offload.operations.run(work, lost));
        drop(offload);
        ready.send(()).unwrap();
        finished.recv().unwrap();
    }

    #[test]
    fn offload_threads_hand_nothing_over() {
        let offload = Arc::new(Offload::new(1, 1));
        let inner = Arc::clone(&offload);
        let work = move || Ok(inner.operations.is_usable_here() || inner.jobs.is_usable_here());
        assert!(!block_on(offload.jobs.run(work, lost)).unwrap());
        assert!(offload.operations.is_usable_here());
        assert!(!Offload::new(0, 0).operations.is_usable_here());
    }
}
