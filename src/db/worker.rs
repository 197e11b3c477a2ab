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
use crate::error::{Error, Result};
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

    /// Runs `job` on the database, if it is still open. Whether it did anything; a failure is noted for
    /// the next write, and what failed is tried again when the bell rings next.
    fn run(&self, job: impl AsyncFnOnce(&Core) -> Result<bool>) -> bool {
        let Some(core) = self.core.upgrade() else {
            return false;
        };
        block_on(job(&core)).unwrap_or_else(|error| {
            // Found closed half way: whoever writes hears that by itself.
            if !matches!(error, Error::Closed) {
                core.note_background_failure(&error);
            }
            false
        })
    }

    fn flush(&self) {
        let mut heard = 0;
        while !self.is_stopping() {
            let stop = || self.is_stopping();
            let flushed = self.run(async |core| core.flush_due(&stop, Mode::Blocking).await);
            if flushed {
                // Level 0 may have grown beyond its limit.
                self.bell.ring();
            }
            self.bell.wait(&mut heard);
        }
    }

    fn compact(&self) {
        let mut heard = 0;
        let mut at_rest = false;
        while !self.is_stopping() {
            let goal = if at_rest { Goal::Rest } else { Goal::Shape };
            let stop = || self.is_stopping();
            let compacted =
                self.run(async |core| core.compact_due(&goal, &stop, Mode::Blocking).await);
            if compacted {
                // What other threads wait for may be possible now.
                self.bell.ring();
            } else if at_rest {
                self.bell.wait(&mut heard);
                at_rest = false;
            } else {
                at_rest = !self.bell.wait_for(&mut heard, REST);
            }
        }
    }
}
