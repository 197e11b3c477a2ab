//! Background threads: loops around the same units of maintenance that a caller can run.
//!
//! One thread flushes and does nothing else, so that a long compaction never keeps a memtable waiting.
//! The others compact; when nothing has happened for a while, they tidy up what no limit asks for.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use trine_io::Mode;
use trine_platform::bell::Bell;
use trine_platform::block_on;

use crate::db::Core;
use crate::error::Result;
use crate::tree::picker::Goal;

/// With no flush for so long, the database is at rest.
const REST: Duration = Duration::from_secs(1);

/// The background threads of one database.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts a thread that flushes and `count` that compact, or none for a count of zero. They hold the
    /// database weakly: handles alone keep it open.
    pub(crate) fn start(&self, count: usize, core: &Arc<Core>) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        self.spawn("trine-flush", core, Worker::flush)?;
        for index in 0..count {
            self.spawn(&format!("trine-compact-{index}"), core, Worker::compact)?;
        }
        Ok(())
    }

    fn spawn(&self, name: &str, core: &Arc<Core>, work: fn(&Worker)) -> Result<()> {
        let worker = Worker {
            core: Arc::downgrade(core),
            bell: Arc::clone(&core.maintenance),
            stopping: Arc::clone(&self.stopping),
        };
        let thread = trine_platform::thread::spawn(name, move || work(&worker))?;
        self.threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
        Ok(())
    }

    /// Whether the caller runs on one of them.
    pub(crate) fn is_current(&self) -> bool {
        let current = std::thread::current().id();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.iter().any(|thread| thread.thread().id() == current)
    }

    /// Ends the threads; each finishes the unit it is in.
    pub(crate) fn stop(&self, bell: &Bell) {
        self.stopping.store(true, Release);
        bell.ring();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // It ends by returning, or by a panic that is a bug of ours and was printed.
            drop(thread.join());
        }
    }
}

/// How long after a failure a job is tried again, though nobody asks: the disk may have room by then.
const RETRY: Duration = Duration::from_secs(1);

/// What became of one job.
enum Ran {
    Worked,
    /// There was nothing to do.
    Idle,
    Failed,
}

/// What a background thread has.
struct Worker {
    core: Weak<Core>,
    bell: Arc<Bell>,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// Runs `job` on the database, if it is still open. A failure is noted for the next write.
    fn run(&self, job: impl AsyncFnOnce(&Core) -> Result<bool>) -> Ran {
        let Some(core) = self.core.upgrade() else {
            return Ran::Idle;
        };
        match block_on(job(&core)) {
            Ok(true) => Ran::Worked,
            // A compaction that gave way to closing is no failure.
            Err(error) if core.check_open().is_ok() => {
                core.note_background_failure(&error);
                Ran::Failed
            }
            Ok(false) | Err(_) => Ran::Idle,
        }
    }

    fn flush(&self) {
        let mut heard = 0;
        while !self.is_stopping() {
            let stop = || self.is_stopping();
            match self.run(async |core| core.flush_due(&stop, Mode::Blocking).await) {
                Ran::Failed => {
                    self.bell.wait_for(&mut heard, RETRY);
                    continue;
                }
                // Level 0 may have grown beyond its limit.
                Ran::Worked => self.bell.ring(),
                Ran::Idle => {}
            }
            self.bell.wait(&mut heard);
        }
    }

    fn compact(&self) {
        let mut heard = 0;
        let mut at_rest = false;
        while !self.is_stopping() {
            let goal = if at_rest { Goal::Rest } else { Goal::Busy };
            let stop = || self.is_stopping();
            match self.run(async |core| core.compact_due(&goal, &stop, Mode::Blocking).await) {
                Ran::Failed => {
                    self.bell.wait_for(&mut heard, RETRY);
                }
                // What other threads wait for may be possible now.
                Ran::Worked => self.bell.ring(),
                Ran::Idle if at_rest => {
                    self.bell.wait(&mut heard);
                    at_rest = false;
                }
                Ran::Idle => at_rest = !self.bell.wait_for(&mut heard, REST),
            }
        }
    }
}
