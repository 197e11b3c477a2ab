//! Work spread over time: each piece has a cost, and pieces follow each other as if one after the other.
//!
//! A token bucket kept as one number, the moment at which all that was let through is paid for. What
//! was not used while nobody worked is not saved up.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{Instant, now};

/// When the next piece may begin. Shared by all who are paced together.
#[derive(Debug, Default)]
pub struct Pace {
    /// In nanoseconds of the monotonic clock. It guards nothing else.
    paid_at: AtomicU64,
}

impl Pace {
    /// Takes a turn of this cost, which begins now if nobody's lasts beyond now. Gives back how long to
    /// wait until it is over, at most `longest`: what is beyond is forgiven.
    pub fn take(&self, cost: Duration, longest: Duration) -> Duration {
        self.take_at(now(), cost, longest)
    }

    fn take_at(&self, now: Instant, cost: Duration, longest: Duration) -> Duration {
        let mut before = self.paid_at.load(Relaxed);
        loop {
            let start = Instant::from_nanos(before).max(now);
            let end = (start + cost).min(now + longest);
            match self
                .paid_at
                .compare_exchange_weak(before, end.nanos(), Relaxed, Relaxed)
            {
                Ok(_) => return end.since(now),
                Err(other) => before = other,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(100);

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn nanos(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn turns_follow_each_other() {
        let pace = Pace::default();
        assert_eq!(pace.take_at(at(100), nanos(10), LONG), nanos(10));
        assert_eq!(pace.take_at(at(100), nanos(5), LONG), nanos(15));
        assert_eq!(pace.take_at(at(110), nanos(5), LONG), nanos(10));
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let pace = Pace::default();
        pace.take_at(at(0), nanos(10), LONG);
        assert_eq!(pace.take_at(at(1000), nanos(10), LONG), nanos(10));
    }

    #[test]
    fn nobody_waits_longer_than_the_longest() {
        let pace = Pace::default();
        for _ in 0..100 {
            assert_eq!(pace.take_at(at(0), LONG, nanos(7)), nanos(7));
        }
        assert_eq!(pace.take_at(at(7), nanos(0), LONG), nanos(0));
    }
}
