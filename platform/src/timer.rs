//! Waiting for a time, without holding a thread.
//!
//! One thread for the whole process, started with the first wait, wakes whoever's time has come. Where
//! there are no threads nobody could, so [`sleep`] does not wait there: who needs a pause finds none.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Instant, now};
use crate::event::{Setter, channel};

struct Timer {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    /// By time, then by arrival.
    waiting: BTreeMap<(Instant, u64), Setter<()>>,
    arrivals: u64,
    runs: bool,
}

static TIMER: Timer = Timer {
    queue: Mutex::new(Queue {
        waiting: BTreeMap::new(),
        arrivals: 0,
        runs: false,
    }),
    changed: Condvar::new(),
};

/// Whether [`sleep`] can wait here.
pub const fn available() -> bool {
    crate::thread::available()
}

/// Ready after about `duration`; at once where no thread can be had to wake anybody.
///
/// # Cancellation
/// Dropping the future leaves nothing behind that lasts longer than the wait would have.
pub async fn sleep(duration: Duration) {
    if !available() {
        return;
    }
    let event = {
        let mut queue = TIMER.lock();
        if !queue.runs {
            queue.runs = crate::thread::spawn("trine-timer", run).is_ok();
        }
        if !queue.runs {
            return;
        }
        let (setter, event) = channel();
        let ticket = (now() + duration, queue.arrivals);
        queue.arrivals = queue.arrivals.wrapping_add(1);
        queue.waiting.insert(ticket, setter);
        event
    };
    TIMER.changed.notify_one();
    event.await;
}

/// Holds this thread for `duration`.
pub fn sleep_here(duration: Duration) {
    if available() {
        std::thread::sleep(duration);
    }
}

fn run() {
    let mut queue = TIMER.lock();
    loop {
        let now = now();
        match queue.waiting.first_key_value() {
            None => {
                queue = TIMER
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            Some(((at, _), _)) if *at > now => {
                let left = at.since(now);
                let waited = TIMER.changed.wait_timeout(queue, left);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {
                let due = queue.waiting.pop_first();
                // Without the lock: a waker may run anything.
                drop(queue);
                if let Some((_, setter)) = due {
                    setter.set(());
                }
                queue = TIMER.lock();
            }
        }
    }
}

impl Timer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::block_on;

    #[test]
    fn nobody_is_woken_before_the_time() {
        let before = now();
        block_on(sleep(Duration::from_millis(2)));
        assert!(!available() || before.elapsed() >= Duration::from_millis(2));
    }

    #[test]
    fn waits_of_several_threads_all_end() {
        std::thread::scope(|scope| {
            for millis in [9, 1, 5] {
                scope.spawn(move || block_on(sleep(Duration::from_millis(millis))));
            }
        });
    }

    #[test]
    fn a_wait_that_is_given_up_disturbs_nobody() {
        drop(sleep(Duration::from_secs(1000)));
        block_on(sleep(Duration::from_millis(1)));
    }
}
