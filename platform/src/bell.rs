//! A repeating wake-up, for threads and for tasks. Rings between two waits are not lost, only merged.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::{Event, Setter, channel};

/// Something that threads and tasks can wait for again and again.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rings: u64,
    /// Of tasks; each is told of the next ring only.
    listeners: Vec<Setter<()>>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes everybody who waits, and lets the next wait of any other thread return at once.
    pub fn ring(&self) {
        let listeners = {
            let mut state = self.lock();
            state.rings = state.rings.wrapping_add(1);
            self.rung.notify_all();
            std::mem::take(&mut state.listeners)
        };
        // Without the lock: a waker may run anything.
        for listener in listeners {
            listener.set(());
        }
    }

    /// Ready once the bell has rung since this call. Look at what is waited for between the two.
    pub fn next_ring(&self) -> Event<()> {
        let (listener, event) = channel();
        self.lock().listeners.push(listener);
        event
    }

    /// Returns once the bell has rung since `heard`, which is brought up to date.
    pub fn wait(&self, heard: &mut u64) {
        let mut state = self.lock();
        while state.rings == *heard {
            state = self
                .rung
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *heard = state.rings;
    }

    /// As [`wait`](Self::wait), for about `timeout` at the longest. Whether it has rung.
    pub fn wait_for(&self, heard: &mut u64, timeout: Duration) -> bool {
        let (state, _) = self
            .rung
            .wait_timeout_while(self.lock(), timeout, |state| state.rings == *heard)
            .unwrap_or_else(PoisonError::into_inner);
        let rang = state.rings != *heard;
        *heard = state.rings;
        rang
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::block_on;

    #[test]
    fn a_task_hears_the_first_ring_after_it_began_to_listen() {
        let bell = Bell::default();
        bell.ring();
        let (first, second) = (bell.next_ring(), bell.next_ring());
        bell.ring();
        assert_eq!(block_on(first), Some(()));
        assert_eq!(block_on(second), Some(()));
    }

    #[test]
    fn a_thread_hears_a_ring_that_came_before_it_waited() {
        let bell = Bell::default();
        let mut heard = 0;
        bell.ring();
        bell.ring();
        assert!(bell.wait_for(&mut heard, Duration::MAX));
        assert!(!bell.wait_for(&mut heard, Duration::ZERO));
    }
}
