//! A repeating wake-up for background threads. Rings between two waits are not lost, only merged.

use std::sync::{Condvar, Mutex, PoisonError};

/// Something that a thread can wait for again and again.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Wakes every thread that waits, and lets the next wait of any other return at once.
    pub fn ring(&self) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        *rings = rings.wrapping_add(1);
        self.rung.notify_all();
    }

    /// Returns once the bell has rung since `heard`, which is brought up to date.
    pub fn wait(&self, heard: &mut u64) {
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        while *rings == *heard {
            rings = self
                .rung
                .wait(rings)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *heard = *rings;
    }
}
