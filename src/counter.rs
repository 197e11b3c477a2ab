//! A statistic that hot paths add to without sharing a cache line, and without losing a count.
//!
//! The first threads of a process own a stripe each: adding is a plain load and store, which, unlike
//! an atomic addition, does not hold up the loads behind it. Later threads share one more stripe.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const STRIPES: usize = 32;

/// Adds up over all threads. Reading it while others add gives some value in between.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    owned: [Stripe; STRIPES],
    shared: Stripe,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A number that this thread alone has; never given again, so that a stripe never changes hands.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    THREAD.with(|thread| {
        if thread.get() == usize::MAX {
            thread.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

impl Counter {
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        match self.owned.get(thread_number()) {
            // Nobody else writes it: nothing can come between.
            Some(Stripe(count)) => count.store(
                count.load(Ordering::Relaxed).wrapping_add(amount),
                Ordering::Relaxed,
            ),
            None => {
                self.shared.0.fetch_add(amount, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.owned
            .iter()
            .chain([&self.shared])
            .fold(0, |sum, stripe| {
                sum.wrapping_add(stripe.0.load(Ordering::Relaxed))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_whoever_adds() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 8 {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(2)));
            }
        });
        assert_eq!(counter.get(), (STRIPES as u64 + 8) * 2000);
    }
}
