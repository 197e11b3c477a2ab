//! The sequences that somebody reads at: what a flush or compaction must not drop.
//!
//! Registering takes the newest visible sequence under the same lock under which maintenance reads
//! the list, so there is no moment at which a pinned version can slip through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_platform::bell::Bell;

use crate::sequence::Sequence;

/// All pinned sequences.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pinned: Mutex<Pinned>,
    /// Rung when nobody reads any more below the sequence that is awaited.
    maintenance: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Pinned {
    /// With how many pins each has.
    counts: BTreeMap<Sequence, usize>,
    awaited: Option<Sequence>,
}

impl Pinned {
    fn oldest(&self) -> Option<Sequence> {
        self.counts.keys().next().copied()
    }

    /// Whether what is awaited has come; only once.
    fn take_awaited(&mut self) -> bool {
        let oldest = self.oldest();
        let come = |awaited: &mut Sequence| oldest.is_none_or(|oldest| oldest >= *awaited);
        self.awaited.take_if(come).is_some()
    }
}

impl Pins {
    /// Where `maintenance` wakes who looks for work.
    pub(crate) fn new(maintenance: &Arc<Bell>) -> Self {
        Self {
            maintenance: Arc::clone(maintenance),
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pinned> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings for maintenance once nobody reads below `sequence`, or the least that was asked for.
    pub(crate) fn ring_above(&self, sequence: Sequence) {
        let mut pinned = self.lock();
        let least = pinned.awaited.map_or(sequence, |other| other.min(sequence));
        pinned.awaited = Some(least);
        if pinned.take_awaited() {
            drop(pinned);
            self.maintenance.ring();
        }
    }

    /// Pins the sequence that `newest` gives.
    pub(crate) fn pin(self: &Arc<Self>, newest: impl FnOnce() -> Sequence) -> Pin {
        let mut pinned = self.lock();
        let sequence = newest();
        *pinned.counts.entry(sequence).or_default() += 1;
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
        let mut sequences: Vec<_> = pinned.counts.keys().copied().collect();
        if let Err(at) = sequences.binary_search(&newest) {
            sequences.insert(at, newest);
        }
        sequences
    }

    /// The oldest pinned sequence.
    pub(crate) fn oldest(&self) -> Option<Sequence> {
        self.lock().oldest()
    }

    /// How many pins there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().counts.values().sum()
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
        if let Some(count) = pinned.counts.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                pinned.counts.remove(&self.sequence);
            }
        }
        if pinned.take_awaited() {
            drop(pinned);
            self.pins.maintenance.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_hears_once_that_nobody_reads_below_what_it_awaits() {
        let bell = Arc::new(Bell::default());
        let pins = Arc::new(Pins::new(&bell));
        let pin = |sequence| pins.pin(|| Sequence::new(sequence));
        let rung = || {
            let mut heard = 0;
            bell.wait_for(&mut heard, std::time::Duration::ZERO);
            heard
        };
        let (first, second, third) = (pin(1), pin(4), pin(6));
        pins.ring_above(Sequence::new(5));
        pins.ring_above(Sequence::new(7));
        drop(first);
        assert_eq!(rung(), 0);
        drop(second);
        assert_eq!(rung(), 1, "the oldest reader is at six");
        drop(third);
        assert_eq!(rung(), 1);
        pins.ring_above(Sequence::new(7));
        assert_eq!(rung(), 2, "at once, if there is nobody");
    }
}
