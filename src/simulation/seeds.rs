//! Random calls under random failures, ends of the process and power losses, all chosen by one seed.
//!
//! `TRINE_SIMULATION_SEED=<seed>` runs one seed, and with `TRINE_SIMULATION_SEEDS=<count>` so many from there on; it
//! prints what was done. `ci/simulate.sh` does that in several processes. A failure names its seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use trine_io::simulation::{Disk, Failure, Faults, Simulation};
use trine_platform::random::Random;

use crate::epoch::alone;
use crate::error::Error;
use crate::options::DbOptions;
use crate::simulation::workload::{Act, Run, random_workload};
use crate::simulation::{empty_disk, options};

/// How many seeds the default suite runs.
const SEEDS: u64 = 40;

/// What a seed did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    calls: u64,
    operations: u64,
    injected: u64,
    process_ends: u64,
    power_losses: u64,
    /// Of all operations and how each ended.
    trace: u64,
}

fn small(random: &mut Random, least: usize, most: usize) -> usize {
    let span = u64::try_from(most - least).unwrap_or(0) + 1;
    least + usize::try_from(random.below(span)).unwrap_or(0)
}

fn random_options(random: &mut Random) -> DbOptions {
    DbOptions {
        write_buffer_bytes: small(random, 1, 40) * 100,
        max_immutable_memtables: small(random, 1, 3),
        max_l0_files: small(random, 1, 5),
        target_table_bytes: small(random, 2, 60) * 100,
        ..options()
    }
}

fn random_faults(random: &mut Random, operations: u64) -> Faults {
    match random.below(4) {
        0 => Faults::Random {
            one_in: 5 + random.below(300),
        },
        1 => Faults::Numbered {
            first: operations + random.below(200),
            count: 1 + random.below(4) * random.below(100),
            failure: [Failure::Io, Failure::Full][small(random, 0, 1)],
        },
        _ => Faults::None,
    }
}

/// What a power loss leaves, with a chance for each part that is itself chosen.
fn random_power_loss(disk: &Disk, random: &mut Random) -> Disk {
    let kept = random.below(5);
    disk.power_loss(&mut |_| random.below(4) < kept)
}

/// Runs one seed; told to, it prints its calls and what they did. Whatever else this process does, the same happens.
fn run_seed(seed: u64, tell: bool) -> Found {
    alone(|| run_seed_here(seed, tell))
}

fn run_seed_here(seed: u64, tell: bool) -> Found {
    let random = &mut Random::new(seed);
    let mut found = Found::default();
    let mut run = Run::new(Simulation::new(empty_disk(), random.next_u64()));
    for _ in 0..=random.below(6) {
        run.options = random_options(random);
        let calls = small(random, 1, 50);
        for act in random_workload(random, calls) {
            found.calls += 1;
            if random.below(8) == 0 {
                let faults = random_faults(random, run.simulation.operations());
                run.simulation.set_faults(faults);
            }
            let (changes, injected) = (run.simulation.changes(), run.simulation.injected());
            let result = run.act(&act);
            if tell {
                println!("{act:?}: {result:?}");
                for step in run.simulation.steps().iter().skip(changes) {
                    println!("    {step:?}");
                }
                println!("    {} failures", run.simulation.injected() - injected);
            }
            match result {
                Ok(()) | Err(Error::Io(_)) => {}
                Err(error) => panic!("{act:?}: {error}"),
            }
        }
        run.simulation.set_faults(Faults::None);
        let ends = random.below(4);
        if tell {
            println!(
                "{}",
                ["reopened", "process end", "power loss", "power loss"]
                    [usize::try_from(ends).unwrap_or(0)]
            );
        }
        if ends == 0 {
            run.act(&Act::Reopen)
                .unwrap_or_else(|error| panic!("reopen: {error}"));
            continue;
        }
        found.operations += run.simulation.operations();
        found.injected += run.simulation.injected();
        found.trace = found.trace.rotate_left(5) ^ run.simulation.trace();
        let disk = run.simulation.disk();
        let disk = if ends == 1 {
            found.process_ends += 1;
            disk.process_end()
        } else {
            found.power_losses += 1;
            random_power_loss(&disk, random)
        };
        run.crash(Simulation::new(disk, random.next_u64()), ends != 1);
    }
    // Liveness: whatever happened, now everything works.
    for act in [Act::Flush, Act::Compact, Act::Maintain, Act::Reopen] {
        run.act(&act)
            .unwrap_or_else(|error| panic!("{act:?} at the end: {error}"));
    }
    run.close();
    found.operations += run.simulation.operations();
    found.injected += run.simulation.injected();
    found.trace = found.trace.rotate_left(5) ^ run.simulation.trace();
    found
}

/// Runs the seeds one after the other; a failure says which.
fn run_seeds(seeds: impl Iterator<Item = u64>, tell: bool) -> Found {
    let mut all = Found::default();
    for seed in seeds {
        let found =
            catch_unwind(AssertUnwindSafe(|| run_seed(seed, tell))).unwrap_or_else(|panic| {
                eprintln!(
                    "seed {seed} failed; again: TRINE_SIMULATION_SEED={seed} \
                 cargo test --lib simulation::seeds::chosen -- --nocapture"
                );
                resume_unwind(panic)
            });
        all.calls += found.calls;
        all.operations += found.operations;
        all.injected += found.injected;
        all.process_ends += found.process_ends;
        all.power_losses += found.power_losses;
        all.trace = all.trace.rotate_left(5) ^ found.trace;
    }
    all
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn chosen_seeds_hold() {
    let first = from_environment("TRINE_SIMULATION_SEED");
    let count = from_environment("TRINE_SIMULATION_SEEDS");
    let count = count.unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    println!(
        "from {first}: {:?}",
        run_seeds(first..first + count, count == 1)
    );
}

/// Of the seeds of the default suite one in so many is run twice.
const REPLAYED_ONE_IN: usize = 4;

#[test]
fn a_seed_replays_operation_for_operation_whatever_other_threads_read() {
    // The other tests of this process are those threads.
    for seed in (0..SEEDS).step_by(REPLAYED_ONE_IN) {
        assert_eq!(run_seed(seed, false), run_seed(seed, false), "seed {seed}");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    let lines = include_str!("seeds.txt").lines();
    let seeds = lines.filter(|line| !line.starts_with('#'));
    run_seeds(
        seeds.map(|line| line.parse().expect("a seed a line")),
        false,
    );
}
