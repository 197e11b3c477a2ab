//! Statistics that hot paths add to without sharing a cache line, and without losing a count.
//!
//! Each thread has a stripe of its own while it lives: adding is a plain load and store, which, unlike an
//! atomic addition, does not hold up the loads behind it. Threads beyond the number of stripes share
//! one more.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

const STRIPES: usize = 64;

/// Several counts that are often added to together. Each adds up over all threads; reading them while
/// others add gives some values in between.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize> {
    owned: Box<[Stripe<N>]>,
    shared: Stripe<N>,
}

/// Two cache lines, since hosts fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Stripe<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// The stripe numbers of this process.
#[derive(Debug)]
struct Numbers {
    given: usize,
    /// Of threads that have ended. The lock orders what they counted before what the next owner does.
    returned: Vec<usize>,
}

static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers {
    given: 0,
    returned: Vec::new(),
});

fn numbers() -> MutexGuard<'static, Numbers> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not asked for yet.
const UNKNOWN: usize = usize::MAX;
/// No stripe of its own.
const SHARES: usize = usize::MAX - 1;

/// Gives the thread's number back when the thread ends.
struct Lease(usize);

impl Drop for Lease {
    fn drop(&mut self) {
        // What other destructors of this thread still count must not go to the number's next owner.
        NUMBER.set(SHARES);
        numbers().returned.push(self.0);
    }
}

thread_local! {
    // Apart from the lease, so that reading it needs no check for a destructor.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
}

#[cold]
fn take_number() -> usize {
    let free = {
        let mut numbers = numbers();
        numbers.returned.pop().or_else(|| {
            let next = numbers.given;
            (next < STRIPES).then(|| {
                numbers.given += 1;
                next
            })
        })
    };
    // A thread that is ending cannot hold a lease any more: the closure goes, and gives the number back.
    let number = free.filter(|number| {
        let lease = Lease(*number);
        LEASE.try_with(move |place| place.set(Some(lease))).is_ok()
    });
    let number = number.unwrap_or(SHARES);
    NUMBER.set(number);
    number
}

/// The number of this thread while it lives, or one that several share.
#[inline]
pub(crate) fn number() -> usize {
    match NUMBER.get() {
        UNKNOWN => take_number(),
        number => number,
    }
}

impl<const N: usize> Counters<N> {
    /// Adds to each count its amount.
    #[inline]
    pub(crate) fn add(&self, amounts: [u64; N]) {
        match self.owned.get(number()) {
            // Nobody else writes it: nothing can come between.
            Some(Stripe(counts)) => {
                for (count, amount) in counts.iter().zip(amounts) {
                    count.store(count.load(Relaxed).wrapping_add(amount), Relaxed);
                }
            }
            None => self.add_shared(amounts),
        }
    }

    #[cold]
    fn add_shared(&self, amounts: [u64; N]) {
        for (count, amount) in self.shared.0.iter().zip(amounts) {
            if amount > 0 {
                count.fetch_add(amount, Relaxed);
            }
        }
    }

    pub(crate) fn get(&self) -> [u64; N] {
        let mut sums = [0u64; N];
        for Stripe(counts) in self.owned.iter().chain([&self.shared]) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.wrapping_add(count.load(Relaxed));
            }
        }
        sums
    }
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self {
            owned: (0..STRIPES).map(|_| Stripe::default()).collect(),
            shared: Stripe::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_is_lost_whoever_adds() {
        let counters = Counters::default();
        std::thread::scope(|scope| {
            for _ in 0..STRIPES + 8 {
                scope.spawn(|| (0..1000).for_each(|_| counters.add([2, 3])));
            }
        });
        let added = (STRIPES as u64 + 8) * 1000;
        assert_eq!(counters.get(), [added * 2, added * 3]);
    }

    #[test]
    fn threads_that_have_ended_leave_their_stripes_to_others() {
        let counters = Counters::default();
        for _ in 0..STRIPES * 4 {
            std::thread::scope(|scope| {
                // Joined in full: the scope alone does not wait for destructors of thread-locals.
                let joined = scope.spawn(|| counters.add([1])).join();
                joined.unwrap();
            });
        }
        assert_eq!(counters.get(), [STRIPES as u64 * 4]);
        assert!(
            counters
                .owned
                .iter()
                .any(|stripe| stripe.0[0].load(Relaxed) > 1)
        );
    }

    #[test]
    fn a_destructor_of_an_ending_thread_still_counts() {
        struct Late(&'static Counters<1>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.add([1]);
            }
        }
        thread_local! {
            static LATE: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let counters: &'static Counters<1> = Box::leak(Box::default());
        for late_first in [true, false] {
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    if late_first {
                        LATE.set(Some(Late(counters)));
                    }
                    counters.add([1]);
                    LATE.set(Some(Late(counters)));
                });
                thread.join().unwrap();
            });
        }
        // A `Late` that was replaced counted, too.
        assert_eq!(counters.get(), [5]);
    }
}
