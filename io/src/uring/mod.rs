//! Reads through `io_uring`, by a thread that runs tokio-uring and nothing else.
//!
//! - Up to [`DEPTH`] reads are in flight; the rest wait in a queue. What was handed over while the thread
//!   worked goes to the kernel with one call.
//! - The thread is woken once for all that came since it last looked.
//! - It is proved to work by a real read before it is used: containers often allow a ring to be made and
//!   nothing else, or refuse it altogether.
//! - It only ends when nothing is in flight, and ends the process rather than unwind. See [`ring`] for why.
//!
//! tokio-uring submits when its thread goes to sleep, so nothing that could keep it awake may run here.

mod ring;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use trine_platform::thread;

use crate::driver::{PendingRead, ReadDriver};
use crate::metrics::{OffloadCounters, OffloadStats};
use crate::portable::PortableFile;
use ring::Ring;

/// Reads in flight: enough to keep a disk busy, few enough that none waits long.
const DEPTH: usize = 32;

/// How long the proof may take. A kernel that takes submissions and never answers is left alone.
const PROOF_MAX: Duration = Duration::from_secs(5);

/// A thread with a ring.
#[derive(Debug)]
pub(crate) struct UringDriver {
    shared: Arc<Shared>,
    /// Taken when it is waited for.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for a push, a pop or a look; never while a read is prepared or reported.
    state: Mutex<State>,
    counters: OffloadCounters,
}

#[derive(Default)]
struct State {
    queue: VecDeque<PendingRead>,
    /// Of the thread, if it has seen everything and waits.
    waiting: Option<Waker>,
    closing: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("queued", &self.queue.len())
            .finish_non_exhaustive()
    }
}

impl UringDriver {
    /// Starts a thread and reads the front of `proof` through its ring.
    ///
    /// # Errors
    /// The kernel's, where it refuses the ring or the read: no such call, forbidden, too many.
    pub(crate) fn start(proof: &Arc<PortableFile>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (proved, outcome) = mpsc::channel();
        let (own, proof) = (Arc::clone(&shared), Arc::clone(proof));
        let thread = thread::spawn("trine-uring", move || {
            let bomb = AbortOnUnwind;
            match Ring::new(DEPTH) {
                Ok(ring) => ring.run(own.serve(proof, proved)),
                // Who waits for it may have given up.
                Err(error) => drop(proved.send(Err(error))),
            }
            std::mem::forget(bomb);
        })?;
        match outcome.recv_timeout(PROOF_MAX) {
            Ok(Ok(())) => Ok(Self {
                shared,
                thread: Mutex::new(Some(thread)),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl ReadDriver for UringDriver {
    fn submit(&self, read: PendingRead) {
        self.shared.counters.submitted();
        let mut state = self.shared.state();
        state.queue.push_back(read);
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn stats(&self) -> OffloadStats {
        let queued = self.shared.state().queue.len();
        self.shared.counters.stats(queued)
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take()
            // The last handle may go inside a report, on that very thread: it cannot wait for itself.
            && thread.thread().id() != std::thread::current().id()
        {
            // It aborts rather than panic, so there is nothing to learn here.
            let _ = thread.join();
        }
    }
}

/// Ends the process if it is dropped: by a panic, under which buffers would be freed that the kernel still
/// writes to.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life: the proof, then whatever comes, until it is closed and all is reported.
    async fn serve(
        self: Arc<Self>,
        proof: Arc<PortableFile>,
        proved: mpsc::Sender<io::Result<()>>,
    ) {
        let (_, read) = ring::read(proof, vec![0], 0, 0).await;
        let works = read.is_ok();
        drop(proved.send(read.map(|_| ())));
        if works {
            let mut in_flight = InFlight::default();
            poll_fn(|context| self.work(&mut in_flight, context)).await;
        }
    }

    /// Starts what there is room for. Ready once all is done and nothing more will come.
    fn work(self: &Arc<Self>, in_flight: &mut InFlight, context: &mut Context<'_>) -> Poll<()> {
        loop {
            in_flight.move_on(context);
            let mut state = self.state();
            let room = DEPTH.saturating_sub(in_flight.count());
            let count = room.min(state.queue.len());
            let started: Vec<_> = state.queue.drain(..count).collect();
            if started.is_empty() {
                if state.closing && in_flight.count() == 0 {
                    return Poll::Ready(());
                }
                state.waiting = Some(context.waker().clone());
                return Poll::Pending;
            }
            drop(state);
            for read in started {
                in_flight.start(Arc::clone(self).carry_out(read));
            }
        }
    }

    /// One read, to its end.
    async fn carry_out(self: Arc<Self>, read: PendingRead) {
        let running = self.counters.running();
        let PendingRead {
            mut file,
            offset,
            mut bytes,
            mut filled,
            report,
        } = read;
        let outcome = loop {
            if filled >= bytes.len() {
                break Ok(bytes);
            }
            let (kept, read) = ring::read(file, bytes, filled, offset).await;
            (file, bytes) = kept;
            match read {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => break Err(error),
            }
        };
        drop(file);
        drop(running);
        // A waker of somebody else's runs in there; its panic is not ours to die of.
        let _ = catch_unwind(AssertUnwindSafe(|| report(outcome)));
    }
}

/// The reads that were started and have not ended.
#[derive(Default)]
struct InFlight(Vec<Pin<Box<dyn Future<Output = ()>>>>);

impl InFlight {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn start(&mut self, read: impl Future<Output = ()> + 'static) {
        self.0.push(Box::pin(read));
    }

    /// Moves all of them on, the new ones into the ring, and lets go of those that ended.
    fn move_on(&mut self, context: &mut Context<'_>) {
        self.0
            .retain_mut(|read| read.as_mut().poll(context).is_pending());
    }
}

#[cfg(test)]
mod tests;
