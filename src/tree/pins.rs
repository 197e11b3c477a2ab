//! The sequences that somebody reads at: what a flush or compaction must not drop.
//!
//! Registering takes the newest visible sequence under the same lock under which maintenance reads
//! the list, so there is no moment at which a pinned version can slip through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trine_platform::bell::Bell;
use trine_platform::clock::Instant;

use crate::sequence::Sequence;
use trine_platform::sorted::SortedMap;

/// All pinned sequences.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    pinned: Mutex<Pinned>,
    /// Rung when nobody reads any more below the sequence that is awaited.
    maintenance: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Pinned {
    held: SortedMap<Sequence, Held>,
    awaited: Option<Sequence>,
}

/// A pinned sequence.
#[derive(Debug, Default)]
struct Held {
    pins: usize,
    /// When somebody who cares first met it. Not when it was pinned: most pins are gone before anybody would ask,
    /// and none of them should ask for the time.
    met: Option<Instant>,
}

impl Held {
    /// For how long, as far as anybody knows.
    fn meet(&mut self, now: Instant) -> Duration {
        now.since(*self.met.get_or_insert(now))
    }
}

/// A pinned sequence as it is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldPin {
    pub(crate) sequence: Sequence,
    pub(crate) readers: usize,
    pub(crate) held_for: Duration,
}

impl Pinned {
    fn oldest(&self) -> Option<Sequence> {
        self.held.keys().next().copied()
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
        pinned.held.get_or_default(sequence).pins += 1;
        Pin {
            pins: Arc::clone(self),
            sequence,
        }
    }

    /// At `now`, the pinned sequences and the one that `newest` gives, at which somebody may begin to read at any
    /// moment; ascending.
    pub(crate) fn sequences(
        &self,
        now: Instant,
        newest: impl FnOnce() -> Sequence,
    ) -> Vec<Sequence> {
        let mut pinned = self.lock();
        let newest = newest();
        for held in pinned.held.values_mut() {
            held.meet(now);
        }
        let mut sequences: Vec<_> = pinned.held.keys().copied().collect();
        if let Err(at) = sequences.binary_search(&newest) {
            sequences.insert(at, newest);
        }
        sequences
    }

    /// The oldest pinned sequence.
    pub(crate) fn oldest(&self) -> Option<Sequence> {
        self.lock().oldest()
    }

    /// The newest pinned sequence; zero if there is none.
    pub(crate) fn newest(&self) -> Sequence {
        let pinned = self.lock();
        pinned.held.keys().next_back().copied().unwrap_or_default()
    }

    /// How many pins there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().held.values().map(|held| held.pins).sum()
    }

    /// All of them, ascending.
    pub(crate) fn held(&self, now: Instant) -> Vec<HeldPin> {
        let mut pinned = self.lock();
        let held = pinned.held.iter_mut();
        held.map(|(sequence, held)| HeldPin {
            sequence: *sequence,
            readers: held.pins,
            held_for: held.meet(now),
        })
        .collect()
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
        if let Some(held) = pinned.held.get_mut(&self.sequence) {
            held.pins -= 1;
            if held.pins == 0 {
                pinned.held.remove(&self.sequence);
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
    fn a_pin_is_timed_from_when_somebody_first_looked() {
        let pins = Arc::new(Pins::default());
        let at = |nanos| Instant::from_nanos(nanos);
        let newest = || Sequence::new(9);
        let old = pins.pin(|| Sequence::new(1));
        assert_eq!(pins.sequences(at(5), newest), [old.sequence(), newest()]);
        let second = old.clone();
        let young = pins.pin(|| Sequence::new(2));
        let held: Vec<_> = pins
            .held(at(8))
            .iter()
            .map(|pin| (pin.sequence.get(), pin.readers, pin.held_for.as_nanos()))
            .collect();
        assert_eq!(held, [(1, 2, 3), (2, 1, 0)]);
        drop((old, second, young));
        assert!(pins.held(at(9)).is_empty());
    }

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
