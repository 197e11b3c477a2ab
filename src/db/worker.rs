//! Background threads: a loop around the same units of maintenance that a caller can run.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use trine_io::Mode;
use trine_platform::bell::Bell;
use trine_platform::block_on;

use crate::db::Core;
use crate::error::Result;

/// The background threads of one database.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts `count` threads. They hold the database weakly: handles alone keep it open.
    pub(crate) fn start(&self, count: usize, core: &Arc<Core>) -> Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for index in 0..count {
            let weak = Arc::downgrade(core);
            let bell = Arc::clone(&core.maintenance);
            let stopping = Arc::clone(&self.stopping);
            let name = format!("trine-worker-{index}");
            threads.push(trine_platform::thread::spawn(&name, move || {
                work(&weak, &bell, &stopping)
            })?);
        }
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

fn work(core: &Weak<Core>, bell: &Bell, stopping: &AtomicBool) {
    let mut heard = 0;
    let stop = || stopping.load(Acquire);
    while !stop() {
        let Some(core) = core.upgrade() else {
            return;
        };
        if let Err(error) = block_on(core.run_due_maintenance(&stop, Mode::Blocking)) {
            // Tried again when the bell rings next, which the next freeze does.
            core.note_background_failure(&error);
        }
        drop(core);
        bell.wait(&mut heard);
    }
}
