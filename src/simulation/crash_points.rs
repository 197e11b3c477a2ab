//! Every place where a run may be cut off, and what may be left on the disk there.
//!
//! A workload runs once and leaves its steps. After each step the process may end (the page cache stays; the write
//! under way may be there in part), or the power may go (of what is not synced anything may be lost). Each state that
//! can be left is opened: what is found must be what [`History`] allows, and the engine must work. The steps that the
//! opening itself made are cut off in turn, three crashes deep.
//!
//! States that look alike and have the same promises are opened once.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use trine_io::Mode;
use trine_io::simulation::{Disk, Simulation, Step, Unsynced};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::db::Db;
use crate::epoch::alone;
use crate::file_name::wal_name;
use crate::options::{DbOptions, DurabilityMode};
use crate::record::{FileHeader, LogKind};
use crate::sequence::Sequence;
use crate::simulation::history::{History, Moment, check_no_strays};
use crate::simulation::rows::Write;
use crate::simulation::seeds::random_options;
use crate::simulation::totals::{self, run_chosen, run_once_failed};
use crate::simulation::workload::{Act, Run};
use crate::simulation::workloads::{Acts, random_workload, test_each_workload, workload};
use crate::simulation::{COPY, HERE, Time, empty_disk, open_with, options};

/// How many crashes follow each other at the most.
const DEPTH: usize = 3;

/// How far to look.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// Random choices of what survives a power loss, besides the systematic ones.
    samples: usize,
    /// Of the places in the run itself, one in so many.
    one_place_in: u64,
    /// Of the states that a recovery can leave, one in so many is opened.
    one_nested_in: u64,
    /// In one state of so many the engine is also written to and opened again.
    one_used_in: u64,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Found {
    points: u64,
    nested: u64,
    used: u64,
    /// After which the power was lost.
    power_losses: u64,
    /// Of the host, by the openings.
    operations: u64,
    /// Of every disk that was opened, its hash.
    images: Vec<u64>,
}

struct Explorer<'a> {
    name: &'a str,
    history: &'a History,
    effort: Effort,
    time: Time,
    options: DbOptions,
    seen: HashSet<u64>,
    random: Random,
    found: Found,
}

/// One crash, and those before it: how to get to a state.
struct Crash<'a> {
    /// Of the run that was cut off.
    steps: &'a [Step],
    /// How many of them were made.
    done: usize,
    left: Left,
    before: Option<&'a Crash<'a>>,
    number: usize,
}

/// What a crash left.
enum Left {
    /// The page cache, with so many bytes of the write under way.
    Cache(usize),
    /// Of the unsynced parts those with `true`.
    Parts(Vec<bool>),
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cache(bytes) => {
                write!(f, "the page cache, {bytes} bytes of the next write in it")
            }
            Self::Parts(parts) => {
                f.write_str("of the unsynced parts ")?;
                let mut parts = parts.iter();
                parts.try_for_each(|kept| f.write_str(if *kept { "1" } else { "0" }))
            }
        }
    }
}

impl std::fmt::Display for Crash<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(before) = self.before {
            write!(f, "{before}")?;
        }
        writeln!(
            f,
            "crash {}, after {} steps, left {}",
            self.number, self.done, self.left
        )?;
        let from = self.done.saturating_sub(6);
        for step in self.steps.iter().take(self.done + 1).skip(from) {
            let step = format!("{step:?}");
            writeln!(f, "    {}", step.get(..160).unwrap_or(&step))?;
        }
        Ok(())
    }
}

/// The disks that a power loss now can leave: systematic choices of what survives, then random ones.
fn power_losses(disk: &Disk, samples: usize, random: &mut Random) -> Vec<Vec<bool>> {
    let parts = disk.unsynced();
    let mut choices: Vec<Vec<bool>> = vec![vec![false; parts.len()], vec![true; parts.len()]];
    let of = |choose: &dyn Fn(usize, Unsynced) -> bool| -> Vec<bool> {
        let parts = parts.iter().enumerate();
        parts.map(|(index, part)| choose(index, *part)).collect()
    };
    if parts.len() <= 4 {
        for set in 0..1_usize << parts.len() {
            choices.push(of(&|index, _| set >> index & 1 == 1));
        }
    } else {
        choices.push(of(&|_, part| part == Unsynced::Entry));
        choices.push(of(&|_, part| part != Unsynced::Entry));
        choices.push(of(&|_, part| part != Unsynced::End));
        choices.push(of(&|_, part| {
            matches!(part, Unsynced::Entry | Unsynced::End)
        }));
        let last = parts.len().saturating_sub(8);
        for at in (0..parts.len().min(4)).chain(last..parts.len()) {
            choices.push(of(&|index, _| index != at));
            choices.push(of(&|index, part| index == at || part == Unsynced::Entry));
            choices.push(of(&|index, _| index < at));
        }
        for _ in 0..samples {
            choices.push(parts.iter().map(|_| random.below(2) == 0).collect());
        }
    }
    choices
}

/// What the host copies into its cache at once.
const PAGE_BYTES: usize = 4096;

/// Where a write of so many bytes may be cut by the end of its process: at the ends of pages.
fn cuts(offset: usize, length: usize) -> impl Iterator<Item = usize> {
    let first = PAGE_BYTES - offset % PAGE_BYTES;
    (first..length).step_by(PAGE_BYTES)
}

impl Explorer<'_> {
    /// Whether this state, with these promises, was not looked at before.
    fn is_new(&mut self, disk: &Disk, moment: Moment) -> bool {
        let mut hasher = DefaultHasher::new();
        let image = disk.fingerprint();
        image.hash(&mut hasher);
        self.history.time(moment.position).hash(&mut hasher);
        self.history.bounds(moment).hash(&mut hasher);
        self.history.buckets(moment).hash(&mut hasher);
        self.history.checkpoint(moment).hash(&mut hasher);
        let is_new = self.seen.insert(hasher.finish());
        if is_new {
            self.found.images.push(image);
        }
        is_new
    }

    /// Cuts a run off after each of its steps. `moment` tells what was promised after so many of them.
    fn cut_everywhere(
        &mut self,
        start: &Disk,
        steps: &[Step],
        moment: &dyn Fn(usize) -> Moment,
        before: Option<&Crash<'_>>,
    ) {
        let number = before.map_or(1, |crash| crash.number + 1);
        let mut disk = start.clone();
        for done in 0..=steps.len() {
            let step = steps.get(done);
            let one_in = match number {
                1 => self.effort.one_place_in,
                _ => self.effort.one_nested_in,
            };
            if self.random.below(one_in) == 0 {
                let crash = |left| Crash {
                    steps,
                    done,
                    left,
                    before,
                    number,
                };
                self.cut_here(&disk, step, moment(done), &crash);
            }
            match step {
                Some(step) => disk.apply(step),
                None => return,
            }
        }
    }

    /// Cuts a run off on this disk, before or within its next step.
    fn cut_here<'b>(
        &mut self,
        disk: &Disk,
        next: Option<&Step>,
        moment: Moment,
        crash: &dyn Fn(Left) -> Crash<'b>,
    ) {
        self.look_at(&disk.process_end(), moment, &crash(Left::Cache(0)));
        let lost = Moment {
            power_lost: true,
            ..moment
        };
        for choice in power_losses(disk, self.effort.samples, &mut self.random) {
            let mut parts = choice.iter();
            let after = disk.power_loss(&mut |_| parts.next().is_some_and(|kept| *kept));
            self.look_at(&after, lost, &crash(Left::Parts(choice)));
        }
        let Some(Step::Write {
            file,
            offset,
            bytes,
            ..
        }) = next
        else {
            return;
        };
        for cut in cuts(*offset, bytes.len()) {
            let mut torn = disk.process_end();
            torn.apply(&Step::Write {
                file: *file,
                offset: *offset,
                bytes: bytes[..cut].into(),
                durable: false,
            });
            self.look_at(&torn, moment, &crash(Left::Cache(cut)));
        }
    }

    /// Opens what a crash left.
    fn look_at(&mut self, disk: &Disk, moment: Moment, crash: &Crash<'_>) {
        if !self.is_new(disk, moment) {
            return;
        }
        self.found.points += 1;
        self.found.nested += u64::from(crash.number > 1);
        self.found.power_losses += u64::from(moment.power_lost);
        let simulation = Simulation::new(disk.clone(), 0);
        self.time.set(self.history.time(moment.position));
        let steps = match self.recover(&simulation, moment) {
            Ok(steps) => steps,
            Err(found) => panic!(
                "{}, state {}, {moment:?}: {found}\n{crash}",
                self.name, self.found.points
            ),
        };
        self.found.operations += simulation.operations();
        if crash.number < DEPTH {
            self.cut_everywhere(disk, &steps, &|_| moment, Some(crash));
        }
    }

    /// Opens and checks. Gives back the steps of the opening alone.
    fn recover(&mut self, simulation: &Simulation, moment: Moment) -> Result<Vec<Step>, String> {
        let db = open_with(self.options.clone(), simulation, HERE)
            .map_err(|error| format!("refused: {error}"))?;
        let steps = simulation.steps();
        let last = self.history.check(&db, moment)?;
        check_no_strays(&db, &simulation.storage(HERE))?;
        self.check_copy(simulation, moment)?;
        if self.random.below(self.effort.one_used_in) == 0 {
            self.found.used += 1;
            db.verify_sync(|_| {})
                .map_err(|error| format!("verified: {error}"))?;
            let mut history = self.history.clone();
            history.resolve(&db, last, moment);
            drop(db);
            Self::use_it(simulation, history, moment)?;
        }
        Ok(steps)
    }

    fn check_copy(&self, simulation: &Simulation, moment: Moment) -> Result<(), String> {
        let Some((shows, must)) = self.history.checkpoint(moment) else {
            return Ok(());
        };
        if !must && simulation.disk().file(COPY, "CURRENT").is_none() {
            return Ok(());
        }
        let copy = open_with(self.options.clone(), simulation, COPY)
            .map_err(|error| format!("the copy is refused: {error}"))?;
        let checked = self.history.check(&copy, shows);
        checked
            .map(drop)
            .map_err(|found| format!("the copy: {found}"))
    }

    /// The engine takes a commit and keeps it through a power loss.
    fn use_it(simulation: &Simulation, history: History, moment: Moment) -> Result<(), String> {
        let mut run = Run::recovered(simulation.clone(), history, moment);
        let put = Write::Put {
            key: b"k\x01".to_vec(),
            length: 100,
        };
        let commit = Act::Commit(DurabilityMode::SyncData, vec![("default".to_owned(), put)]);
        for act in [commit, Act::Flush] {
            run.act(&act)
                .map_err(|error| format!("{act:?} after recovery: {error}"))?;
        }
        let left = Simulation::new(simulation.disk().power_loss(&mut |_| false), 0);
        let db = open_with(run.options.clone(), &left, HERE)
            .map_err(|error| format!("refused after use: {error}"))?;
        let checked = run.history.check(&db, run.now(true));
        checked
            .map(drop)
            .map_err(|found| format!("after use: {found}"))
    }
}

/// Runs the workload and cuts it off everywhere.
fn explore(name: &str, acts: &[Act], options: DbOptions, effort: Effort, seed: u64) -> Found {
    let start = empty_disk();
    let simulation = Simulation::new(start.clone(), seed);
    let mut run = Run::new(simulation.clone());
    run.use_options(options);
    for act in acts {
        run.act(act)
            .unwrap_or_else(|error| panic!("{name}: {act:?}: {error}"));
    }
    run.close();
    let steps = simulation.steps();
    let time = Time::default();
    let mut explorer = Explorer {
        name,
        history: &run.history,
        effort,
        options: time.of(run.options.clone()),
        time,
        seen: HashSet::new(),
        random: Random::new(seed),
        found: Found::default(),
    };
    let moment = |position| Moment {
        position,
        power_lost: false,
    };
    explorer.cut_everywhere(&start, &steps, &moment, None);
    explorer.found.operations += simulation.operations();
    explorer.found
}

/// In the default suite a part of the nested crashes; all that a single crash can leave.
fn every_state_recovers(name: &str) {
    let effort = Effort {
        samples: 4,
        one_place_in: 1,
        one_nested_in: 12,
        one_used_in: 12,
    };
    let found = explore(name, &workload(name), options(), effort, 1);
    let Found {
        points,
        nested,
        used,
        ..
    } = found;
    println!("{name}: {points} states, {nested} of them of a recovery, {used} used");
    assert!(points > 300, "{name}: {points}");
}

test_each_workload!(every_state_recovers);

/// How many random workloads the default suite samples.
const SEEDS: u64 = 2;

/// States that a random workload, longer than the named ones, may leave: some of its places, and more of what may be lost there.
fn sample_seed(seed: u64) -> totals::Found {
    alone(|| {
        let random = &mut Random::new(seed);
        let options = random_options(random);
        let acts = random_workload(random, 40, Acts::All);
        let effort = Effort {
            samples: 20,
            one_place_in: 20,
            one_nested_in: 60,
            one_used_in: 40,
        };
        let found = explore("random", &acts, options, effort, random.next_u64());
        let mut hasher = DefaultHasher::new();
        found.images.hash(&mut hasher);
        totals::Found {
            calls: acts.len() as u64,
            operations: found.operations,
            process_ends: found.points - found.power_losses,
            power_losses: found.power_losses,
            images: found.images,
            trace: hasher.finish(),
            ..totals::Found::default()
        }
    })
}

#[test]
fn chosen_seeds_hold() {
    run_chosen("crash_points", SEEDS, |seed, _| sample_seed(seed));
}

#[test]
fn seeds_that_once_failed_hold() {
    run_once_failed("crash_points", |seed, _| sample_seed(seed));
}

#[test]
fn no_sequence_is_left_out_where_a_segment_was_begun_behind_a_commit_that_was_lost() {
    let options = DbOptions {
        change_retention_bytes: 1,
        ..options()
    };
    let simulation = Simulation::new(empty_disk(), 0);
    let open = |simulation: &Simulation| open_with(options.clone(), simulation, HERE);
    let close = |db: Db| block_on(db.core().close(Mode::Blocking)).unwrap();
    let db = open(&simulation).unwrap();
    db.put_sync("key", "value").unwrap();
    close(db);
    let db = open(&simulation).unwrap();
    db.flush_sync().unwrap();
    close(db);
    // As if the second commit had been in the segment before, and went with the power.
    let (storage, last) = (simulation.storage(HERE), wal_name(2));
    let header = FileHeader {
        kind: LogKind::Wal,
        number: 2,
        first_sequence: Sequence::new(3),
        previous: 1,
        settled: false,
    };
    let file = block_on(storage.open_write(Mode::Blocking, &last)).unwrap();
    block_on(file.write_at(Mode::Blocking, 0, header.encode())).unwrap();
    block_on(file.sync_all(Mode::Blocking)).unwrap();
    let before = simulation.disk();
    for changes in 0.. {
        let simulation = Simulation::new(before.clone(), 0);
        simulation.stop_after(changes);
        let opened = open(&simulation).map(drop);
        let next = Simulation::new(simulation.disk(), 0);
        let last = open(&next).unwrap().last_committed_sequence();
        assert_eq!(
            last,
            Sequence::new(1),
            "cut off after {changes}: {opened:?}"
        );
        if !simulation.has_stopped() {
            break;
        }
    }
}
