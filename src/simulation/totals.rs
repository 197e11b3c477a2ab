//! Running seeds: those of the default suite, chosen ones, or as many as fit into some time; and what they did in all.
//!
//! `TRINE_SIMULATION_SEED=<seed>` runs one seed and, where it can, prints what was done; with
//! `TRINE_SIMULATION_SEEDS=<count>` so many from there on; with `TRINE_SIMULATION_SECONDS=<time>` as many as fit into that
//! time, on `TRINE_SIMULATION_JOBS` threads: `ci/simulate.sh`. A failure names its seed.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trine_platform::clock;

use crate::simulation::workloads::Acts;

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
struct Totals {
    seeds: u64,
    replayed: u64,
    counts: Found,
    images: HashSet<u64>,
    failing: Vec<u64>,
}

impl Totals {
    /// Adds what a seed did.
    fn add(&mut self, found: &Found) {
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
fn run_for(duration: Duration, jobs: u64, first: u64, run: impl Fn(u64) -> Found + Sync) -> Totals {
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
                eprintln!("seed {seed} failed");
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

/// How to run this seed again.
fn again(name: &str, seed: u64) -> String {
    format!(
        "seed {seed} failed; again: TRINE_SIMULATION_SEED={seed} \
         cargo test --lib simulation::{name}::chosen -- --nocapture"
    )
}

/// Runs the seeds one after the other; a failure says which. The last argument of `run` asks it to tell what it does.
pub(super) fn run_seeds(name: &str, seeds: &[u64], run: impl Fn(u64, bool) -> Found) {
    let mut totals = Totals::default();
    for &seed in seeds {
        let tells = seeds.len() == 1;
        let found = catch_unwind(AssertUnwindSafe(|| run(seed, tells)));
        totals.add(&found.unwrap_or_else(|panic| {
            eprintln!("{}", again(name, seed));
            resume_unwind(panic)
        }));
    }
    println!("{totals}");
}

/// Runs the seeds of `simulation::{name}` that once failed, each with the acts that it failed with.
pub(super) fn run_once_failed(name: &str, run: impl Fn(u64, Acts) -> Found) {
    for line in include_str!("seeds.txt").lines() {
        let words: Vec<_> = line.split(' ').collect();
        let (of, seed, acts) = match words[..] {
            ["#", ..] => continue,
            [of, seed] => (of, seed, Acts::All),
            [of, seed, "plain"] => (of, seed, Acts::Plain),
            _ => panic!("{line}"),
        };
        if of == name {
            let seed = seed.parse().expect("a seed");
            run_seeds(name, &[seed], |seed, _| run(seed, acts));
        }
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds that the environment asks for, else the first `count`. They are those of `simulation::{name}`.
pub(super) fn run_chosen(name: &str, count: u64, run: impl Fn(u64, bool) -> Found + Sync) {
    let first = from_environment("TRINE_SIMULATION_SEED");
    let Some(seconds) = from_environment("TRINE_SIMULATION_SECONDS") else {
        let wanted = from_environment("TRINE_SIMULATION_SEEDS");
        let count = wanted.unwrap_or(if first.is_some() { 1 } else { count });
        let first = first.unwrap_or(0);
        let seeds: Vec<u64> = (first..first + count).collect();
        return run_seeds(name, &seeds, run);
    };
    let jobs = from_environment("TRINE_SIMULATION_JOBS").unwrap_or(1);
    let duration = Duration::from_secs(seconds);
    let totals = run_for(duration, jobs, first.unwrap_or(0), |seed| run(seed, false));
    println!("{name}, in all: {totals}");
    for seed in &totals.failing {
        println!("{}", again(name, *seed));
    }
    assert!(totals.failing.is_empty());
}
