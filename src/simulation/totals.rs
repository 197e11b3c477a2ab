//! What a number of seeds did, and running them for as long as somebody wants.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trine_platform::clock;

/// What a seed did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Calls of the engine's interface.
    pub(super) calls: u64,
    /// Operations of the host.
    pub(super) operations: u64,
    /// Operations that were made to fail.
    pub(super) injected: u64,
    /// Operations that failed because the disk was full.
    pub(super) refused: u64,
    pub(super) process_ends: u64,
    pub(super) power_losses: u64,
    /// Files that changed by themselves.
    pub(super) rotten: u64,
    /// Of every disk that was left behind and opened, its hash.
    pub(super) images: Vec<u64>,
    /// Of all operations and how each ended.
    pub(super) trace: u64,
}

/// What many seeds did.
#[derive(Default)]
pub(super) struct Totals {
    seeds: u64,
    replayed: u64,
    counts: Found,
    images: HashSet<u64>,
    failing: Vec<u64>,
}

impl Totals {
    /// Adds what a seed did.
    pub(super) fn add(&mut self, found: &Found) {
        self.seeds += 1;
        let counts = &mut self.counts;
        counts.calls += found.calls;
        counts.operations += found.operations;
        counts.injected += found.injected;
        counts.refused += found.refused;
        counts.process_ends += found.process_ends;
        counts.power_losses += found.power_losses;
        counts.rotten += found.rotten;
        self.images.extend(&found.images);
    }

    /// The seeds that failed.
    pub(super) fn failing(&self) -> &[u64] {
        &self.failing
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = &self.counts;
        write!(
            f,
            "seeds {}, run twice {}, calls {}, operations {}, injected failures {}, of a full disk {}, process ends {}, \
             power losses {}, rotten files {}, distinct disk states {}, failing seeds {:?}",
            self.seeds,
            self.replayed,
            counts.calls,
            counts.operations,
            counts.injected,
            counts.refused,
            counts.process_ends,
            counts.power_losses,
            counts.rotten,
            self.images.len(),
            self.failing
        )
    }
}

/// After so many failing seeds there is enough to look at.
const FAILING_MAX: usize = 10;

/// Of many seeds one in so many is run twice, which must be the same.
const REPLAYED_ONE_IN: u64 = 100;

/// Runs seeds from `first` on for so long, on so many threads, and tells now and then what was done.
pub(super) fn run_for(
    duration: Duration,
    jobs: u64,
    first: u64,
    run: impl Fn(u64) -> Found + Sync,
) -> Totals {
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(first);
    let began = clock::now();
    let work = || {
        let mut told = 0;
        while began.elapsed() < duration {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let again = seed.is_multiple_of(REPLAYED_ONE_IN);
            let found = catch_unwind(AssertUnwindSafe(|| {
                let found = run(seed);
                assert!(!again || found == run(seed), "seed {seed} does not replay");
                found
            }));
            let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(found) = found {
                totals.add(&found);
                totals.replayed += u64::from(again);
            } else {
                totals.failing.push(seed);
                if totals.failing.len() >= FAILING_MAX {
                    return;
                }
            }
            let minutes = began.elapsed().as_secs() / 60;
            if std::mem::replace(&mut told, minutes) < minutes {
                println!("after {minutes} minutes: {totals}");
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(work);
        }
    });
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}
