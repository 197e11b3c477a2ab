//! The sequences that somebody reads at: what a flush or compaction must not drop.
//!
//! Registering takes the newest visible sequence under the same lock under which maintenance reads
//! the list, so there is no moment at which a pinned version can slip through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sequence::Sequence;

/// All pinned sequences, with how many pins each has.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<BTreeMap<Sequence, usize>>);

impl Pins {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sequence, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins the sequence that `newest` gives.
    pub(crate) fn pin(self: &Arc<Self>, newest: impl FnOnce() -> Sequence) -> Pin {
        let mut pinned = self.lock();
        let sequence = newest();
        *pinned.entry(sequence).or_default() += 1;
        Pin {
            pins: Arc::clone(self),
            sequence,
        }
    }

    /// The pinned sequences and the one that `newest` gives, at which somebody may begin to read at any
    /// moment; ascending.
    pub(crate) fn sequences(&self, newest: impl FnOnce() -> Sequence) -> Vec<Sequence> {
        let pinned = self.lock();
        let newest = newest();
        let mut sequences: Vec<_> = pinned.keys().copied().collect();
        if let Err(at) = sequences.binary_search(&newest) {
            sequences.insert(at, newest);
        }
        sequences
    }

    /// The oldest pinned sequence.
    pub(crate) fn oldest(&self) -> Option<Sequence> {
        self.lock().keys().next().copied()
    }

    /// How many pins there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().values().sum()
    }
}

/// Keeps one sequence readable. A clone is a pin of its own.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    sequence: Sequence,
}

impl Pin {
    pub(crate) fn sequence(&self) -> Sequence {
        self.sequence
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.pins.pin(|| self.sequence)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.pins.lock();
        if let Some(count) = pinned.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                pinned.remove(&self.sequence);
            }
        }
    }
}
