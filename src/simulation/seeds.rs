//! Random calls under random failures, a full disk, ends of the process and power losses, all chosen by one seed.

use trine_io::simulation::{Disk, Failure, Faults, Simulation};
use trine_platform::random::Random;

use crate::db::Db;
use crate::epoch::alone;
use crate::error::{Error, Result};
use crate::file_name::FileName;
use crate::key::KeyRange;
use crate::options::{DbOptions, DurabilityMode, FileReads};
use crate::simulation::rows::Write;
use crate::simulation::totals::{Found, run_chosen, run_once_failed};
use crate::simulation::workload::{Act, Run};
use crate::simulation::workloads::{Acts, random_workload};
use crate::simulation::{HERE, bucket, empty_disk, open_with, options};

/// How many seeds the default suite runs.
const SEEDS: u64 = 40;

/// How many crashes follow each other at the most, the later ones in the middle of an opening.
const DEPTH: u64 = 3;

fn small(random: &mut Random, least: usize, most: usize) -> usize {
    let span = u64::try_from(most - least).unwrap_or(0) + 1;
    least + usize::try_from(random.below(span)).unwrap_or(0)
}

/// Options that make everything small, in other ways than [`options`].
pub(super) fn random_options(random: &mut Random) -> DbOptions {
    DbOptions {
        write_buffer_bytes: small(random, 1, 40) * 100,
        max_immutable_memtables: small(random, 1, 3),
        max_l0_files: small(random, 1, 5),
        change_retention_bytes: random.below(3) * 2000,
        target_table_bytes: small(random, 2, 60) * 100,
        file_reads: [FileReads::Mapped, FileReads::Copied][small(random, 0, 1)],
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

/// A run, and what was done in it so far.
struct Story<'a> {
    random: &'a mut Random,
    run: Run,
    acts: Acts,
    found: Found,
    tells: bool,
}

impl Story<'_> {
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.tells {
            println!("{}", what());
        }
    }

    fn simulation(&mut self, disk: Disk) -> Simulation {
        let simulation = Simulation::new(disk, self.random.next_u64());
        simulation.set_maps_logs(self.random.below(4) > 0);
        simulation
    }

    /// Counts what a host did that is not needed any more.
    fn count(&mut self, simulation: &Simulation) {
        self.found.operations += simulation.operations();
        self.found.injected += simulation.injected();
        self.found.refused += simulation.refused();
        self.found.trace = self.found.trace.rotate_left(5) ^ simulation.trace();
    }

    /// What is left of a disk: without power, or of a process that ended.
    fn left(&mut self, disk: &Disk, power_lost: bool) -> Disk {
        let left = if power_lost {
            self.found.power_losses += 1;
            random_power_loss(disk, self.random)
        } else {
            self.found.process_ends += 1;
            disk.process_end()
        };
        self.found.images.push(left.fingerprint());
        left
    }

    /// Makes a call; it works, or says that the host does not.
    fn act(&mut self, act: &Act) -> Result<()> {
        self.found.calls += 1;
        let (changes, failed) = {
            let host = &self.run.simulation;
            (host.changes(), host.injected() + host.refused())
        };
        let result = self.run.act(act);
        if self.tells {
            let host = &self.run.simulation;
            println!("{act:?}: {result:?}");
            for step in host.steps().iter().skip(changes) {
                println!("    {step:?}");
            }
            println!("    {} failures", host.injected() + host.refused() - failed);
        }
        match &result {
            Ok(()) | Err(Error::Io(_)) => result,
            Err(error) => panic!("{act:?}: {error}"),
        }
    }

    /// From here on operations fail in another way, or none does; or the disk has little room.
    fn change_host(&mut self) {
        let host = &self.run.simulation;
        let faults = random_faults(self.random, host.operations());
        let is_small = faults == Faults::None && self.random.below(2) == 0;
        let capacity = is_small.then(|| host.disk().used_bytes() + small(self.random, 0, 6000));
        host.set_faults(faults);
        host.set_capacity(capacity);
    }

    fn calls(&mut self) {
        if self.random.below(3) == 0 {
            let host = &self.run.simulation;
            let span = [20, 1000][small(self.random, 0, 1)];
            host.stop_after(host.changes() + small(self.random, 0, span));
        }
        let calls = small(self.random, 1, 50);
        for act in random_workload(self.random, calls, self.acts) {
            if self.random.below(8) == 0 {
                self.change_host();
            }
            // Whether it worked, the history knows.
            drop(self.act(&act));
            if self.run.simulation.has_stopped() {
                break;
            }
            if self.random.below(8) == 0 {
                self.look_at_a_power_loss();
            }
        }
    }

    /// Where nothing failed but for want of space, everything works again once there is some.
    fn resume(&mut self) {
        self.run.simulation.set_faults(Faults::None);
        self.run.simulation.set_capacity(None);
        if self.run.simulation.has_stopped() || !self.run.is_unhurt() {
            return;
        }
        let write = Write::Put {
            key: b"k\x01".to_vec(),
            length: 30,
        };
        let commit = Act::Commit(
            DurabilityMode::SyncData,
            vec![("default".to_owned(), write)],
        );
        for act in [commit, Act::Flush, Act::Compact, Act::Maintain] {
            let result = self.act(&act);
            if self.run.simulation.has_stopped() {
                return;
            }
            result.unwrap_or_else(|error| {
                panic!("{act:?}, with space again and without a reopen: {error}")
            });
        }
    }

    /// What would be found if the power went now, and again while that is opened.
    fn look_at_a_power_loss(&mut self) {
        let now = self.run.now(true);
        let mut disk = self.run.simulation.disk();
        for depth in 1..=DEPTH {
            let power_lost = depth == 1 || self.random.below(2) == 0;
            let left = self.left(&disk, power_lost);
            let simulation = self.simulation(left);
            if depth < DEPTH && self.random.below(2) == 0 {
                simulation.stop_after(small(self.random, 0, 12));
            }
            let opened = open_with(self.run.options.clone(), &simulation, HERE);
            if simulation.has_stopped() {
                disk = simulation.disk();
                self.count(&simulation);
                continue;
            }
            let db = opened.unwrap_or_else(|error| panic!("power lost, refused: {error}"));
            simulation.stop_after(usize::MAX);
            let seen = self.run.history.check(&db, now);
            seen.unwrap_or_else(|found| panic!("power lost: {found}"));
            self.count(&simulation);
            return;
        }
    }

    /// The process ends in one way or another, and there may be another one.
    fn end(&mut self) {
        let ends = self.random.below(4);
        if ends == 0 {
            let reopened = self.act(&Act::Reopen);
            if !self.run.simulation.has_stopped() {
                reopened.unwrap_or_else(|error| panic!("reopen: {error}"));
                return;
            }
        }
        let looks = self.random.below(4);
        for _ in 0..looks {
            self.look_at_a_power_loss();
        }
        let power_lost = ends > 1;
        self.tell(|| format!("power lost: {power_lost}"));
        let host = self.run.simulation.clone();
        self.count(&host);
        let left = self.left(&host.disk(), power_lost);
        let next = self.simulation(left);
        self.run.crash(next, power_lost);
    }

    /// Whatever happened, now everything works.
    fn live(&mut self) {
        self.run.simulation.stop_after(usize::MAX);
        for act in [Act::Flush, Act::Compact, Act::Maintain, Act::Reopen] {
            self.act(&act)
                .unwrap_or_else(|error| panic!("{act:?} at the end: {error}"));
        }
        self.run.close();
        let host = self.run.simulation.clone();
        self.count(&host);
    }

    /// A bit of a file changes: what is read is right, or an error that names the file.
    fn rot(&mut self) {
        let disk = self.run.simulation.disk().process_end();
        let names = disk.names(HERE);
        let name = names[small(self.random, 0, names.len() - 1)].to_owned();
        let Some(file) = disk.file(HERE, &name) else {
            return;
        };
        let length = disk.bytes(file).len();
        if length == 0 || FileName::parse(&name) == FileName::Lock {
            return;
        }
        let (at, bit) = (small(self.random, 0, length - 1), self.random.below(8));
        self.tell(|| format!("bit {bit} of byte {at} of {name} changes"));
        self.found.rotten += 1;
        let now = self.run.now(false);
        let simulation = self.simulation(disk);
        simulation.rot(file, at, 1 << bit);
        let read = open_with(self.run.options.clone(), &simulation, HERE)
            .and_then(|db| read_everything(&db).map(|()| db));
        match read {
            Ok(db) => {
                let seen = self.run.history.check(&db, now);
                seen.unwrap_or_else(|found| panic!("bit {bit} of byte {at} of {name}: {found}"));
            }
            Err(
                Error::Corruption { message }
                | Error::InvalidFormat { message }
                | Error::UnsupportedFormat { message },
            ) if message.contains(&name) => {}
            Err(error) => panic!("bit {bit} of byte {at} of {name}: {error}"),
        }
        self.count(&simulation);
    }
}

fn read_everything(db: &Db) -> Result<()> {
    for tree in db.core().trees.load().iter() {
        let mut rows = bucket(db, tree.name())?.range_sync(&KeyRange::all())?;
        rows.try_for_each(|row| row.map(drop))?;
    }
    Ok(())
}

/// Runs one seed; told to, it prints its calls and what they did. Whatever else this process does, the same happens.
fn run_seed(seed: u64, acts: Acts, tells: bool) -> Found {
    alone(|| {
        let random = &mut Random::new(seed);
        let run = Run::new(Simulation::new(empty_disk(), random.next_u64()));
        let mut story = Story {
            random,
            run,
            acts,
            found: Found::default(),
            tells,
        };
        for _ in 0..=story.random.below(6) {
            let options = random_options(story.random);
            story.run.use_options(options);
            story.calls();
            story.resume();
            story.end();
        }
        story.live();
        story.rot();
        story.found
    })
}

#[test]
fn chosen_seeds_hold() {
    run_chosen("seeds", SEEDS, |seed, tells| {
        run_seed(seed, Acts::All, tells)
    });
}

/// Of the seeds of the default suite one in so many is run twice.
const REPLAYED_ONE_IN: usize = 4;

#[test]
fn a_seed_replays_operation_for_operation_whatever_other_threads_read() {
    // The other tests of this process are those threads.
    for seed in (0..SEEDS).step_by(REPLAYED_ONE_IN) {
        let run = || run_seed(seed, Acts::All, false);
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn seeds_that_once_failed_hold() {
    run_once_failed("seeds", |seed, acts| run_seed(seed, acts, false));
}
