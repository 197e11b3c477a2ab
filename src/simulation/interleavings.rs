//! Futures of writers, a loader, readers, maintenance and backups on one thread: which of them goes on, which operation of the host is done
//! next, and which future is dropped half-way, is chosen by the seed.
//!
//! Every storage operation waits until the scheduler lets it happen, so between any two operations of one call there may
//! be any of another, as with threads. A future is polled only when it was woken: if nobody is, nothing waits, and
//! somebody is not done, a wake-up was lost. Without workers nothing asks for the time, so there is no clock.
//!
//! Each writer counts its commits under one key in two buckets, and notes with each commit how far the others were known
//! to be. What a reader may find, and what a crash may leave, follows from that. With each commit goes an operand for a list of all
//! commits, in both buckets, and a value that expires.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use trine_io::simulation::{Faults, Simulation};
use trine_io::{Mode, Storage};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::commit::batch::WriteBatch;
use crate::db::backup::BackupOptions;
use crate::db::backup::store::Store;
use crate::db::bucket::{drop_named, open_or_create};
use crate::db::bulk_load::BulkLoadOptions;
use crate::db::maintenance::Turn;
use crate::db::open::on_storage;
use crate::db::{Db, MaintenanceBudget};
use crate::epoch::alone;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::{DbOptions, DurabilityMode, WriteOptions};
use crate::simulation::totals::{Found, run_chosen, run_once_failed};
use crate::simulation::workloads::Acts;
use crate::simulation::{BACKUPS, HERE, Time, UNMOVED, bucket, empty_disk, open_with, options};

/// How many seeds the default suite runs.
const SEEDS: u64 = 24;
const WRITERS: usize = 3;
/// Who loads in bulk is numbered behind them.
const LOADER: usize = WRITERS;
const COUNTERS: usize = WRITERS + 1;
/// Who maintains, who follows in another process, and the first and last of those who read.
const KEEPER: usize = COUNTERS;
const FOLLOWER: usize = COUNTERS + 1;
const LAST_READER: usize = FOLLOWER + 2;
/// How many keys a writer fills besides its counter.
const SLOTS: u64 = 5;
/// The bucket that is written to together with the default one; only the second has an operator.
fn other(acts: Acts) -> &'static str {
    match acts {
        Acts::Plain => "other",
        Acts::All => UNMOVED,
    }
}

/// A bucket that comes and goes.
const PASSING: &str = "passing";

/// How far each writer has come, and the loader.
type Counts = [u64; COUNTERS];

/// What is known of the writers.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Begun.
    asked: Counts,
    /// Acknowledged, or seen by somebody.
    visible: Counts,
    /// Known to survive power loss.
    durable: Counts,
    /// Of each commit that may have happened, until when its value is one, and whether it is acknowledged.
    commits: BTreeMap<(usize, u64), (u64, bool)>,
}

/// The operands of all commits, one behind the other.
const LIST: &[u8] = b"list";

fn operand(writer: usize, number: u64) -> [u8; 16] {
    let mut operand = [0; 16];
    operand[..8].copy_from_slice(&(writer as u64).to_le_bytes());
    operand[8..].copy_from_slice(&number.to_le_bytes());
    operand
}

/// Where a writer puts a value that expires.
fn expiring(writer: usize) -> Vec<u8> {
    format!("e{writer}").into_bytes()
}

/// What was found of one moment.
#[derive(Default)]
struct Seen {
    counts: Counts,
    /// Of each operand in the list, whose it is.
    list: Vec<(usize, u64)>,
    /// Which commits' values have not expired.
    unexpired: Vec<(usize, u64)>,
    /// From then to then it was looked for these.
    times: (u64, u64),
}

impl Known {
    /// Whether operands and values that expire are as they must be.
    fn check(&self, seen: &Seen) -> std::result::Result<(), String> {
        let (began, ended) = seen.times;
        for (writer, &count) in seen.counts.iter().enumerate().take(WRITERS) {
            let listed: Vec<_> = seen.list.iter().filter(|it| it.0 == writer).collect();
            let last = listed.last().map_or(0, |last| last.1);
            if !listed.is_sorted_by(|one, next| one < next) || last != count {
                return Err(format!("commit {count} of {writer} in {:?}", seen.list));
            }
            let commits = self.commits.range((writer, 0)..=(writer, count));
            for (commit, (_, is_acknowledged)) in commits {
                if *is_acknowledged && !listed.contains(&commit) {
                    return Err(format!("{commit:?} is not in {:?}", seen.list));
                }
            }
            let until = |commit| self.commits.get(&commit).map_or(0, |(until, _)| *until);
            let fits = match seen.unexpired.iter().find(|it| it.0 == writer) {
                Some(commit) => commit.1 == count && began < until(*commit),
                None => until((writer, count)) <= ended,
            };
            if !fits {
                let (unexpired, times) = (&seen.unexpired, &seen.times);
                return Err(format!("{unexpired:?} at {times:?}, {count} of {writer}"));
            }
        }
        Ok(())
    }

    /// What comes behind these is lost.
    fn forget_behind(&mut self, counts: &Counts) {
        self.commits
            .retain(|(writer, number), _| *number <= counts[*writer]);
    }
}

fn counter(writer: usize) -> Vec<u8> {
    format!("w{writer}").into_bytes()
}

fn slot(writer: usize, number: u64) -> Vec<u8> {
    format!("f{writer}{}", number % SLOTS).into_bytes()
}

/// What commit `number` of a writer puts into its slot: it says whose it is, and in places is longer than what
/// stays in tables.
fn filler(writer: usize, number: u64) -> Vec<u8> {
    let length = 10 + (number * 37 + writer as u64 * 11) % 290;
    (0..length)
        .map(|place| (number * 7 + writer as u64 + place).to_le_bytes()[0])
        .collect()
}

/// A counter's value: the commit's number, then how far all were known to be before it.
fn encode(number: u64, before: &Counts) -> Vec<u8> {
    let all = std::iter::once(&number).chain(before);
    all.flat_map(|count| count.to_le_bytes()).collect()
}

fn decode_operand(operand: &[u8; 16]) -> (usize, u64) {
    let (numbers, _) = operand.as_chunks::<8>();
    let [writer, number] = [0, 1].map(|at| u64::from_le_bytes(numbers[at]));
    (usize::try_from(writer).unwrap_or(usize::MAX), number)
}

fn decode(value: &[u8]) -> (u64, Counts) {
    let (counts, _) = value.as_chunks::<8>();
    let mut counts = counts.iter().map(|count| u64::from_le_bytes(*count));
    let number = counts.next().expect("a number");
    (
        number,
        [(); COUNTERS].map(|()| counts.next().expect("one of each")),
    )
}

/// Reads of one moment, and whether they fit together.
async fn look(db: &Db, acts: Acts) -> Result<std::result::Result<Seen, String>> {
    let (first, second) = (bucket(db, "default")?, bucket(db, other(acts))?);
    let now = || db.core().options.clock.now();
    let snapshot = db.snapshot();
    let mut seen = Seen {
        times: (now(), 0),
        ..Seen::default()
    };
    if acts == Acts::All {
        for writer in 0..WRITERS {
            if let Some(value) = snapshot.get(&first, &expiring(writer)).await? {
                seen.unexpired.push((writer, decode(&value).0));
            }
        }
        seen.times.1 = now();
        let list = snapshot.get(&first, LIST).await?;
        if list != snapshot.get(&second, LIST).await? {
            return Ok(Err(format!("a list in part: {list:?}")));
        }
        let list = list.unwrap_or_default();
        seen.list = list.as_chunks().0.iter().map(decode_operand).collect();
    }
    let found = &mut seen.counts;
    let mut before = Vec::new();
    for (writer, reached) in found.iter_mut().enumerate() {
        let key = counter(writer);
        let values = (
            snapshot.get(&first, &key).await?,
            snapshot.get(&second, &key).await?,
        );
        // A load is of one bucket.
        if writer != LOADER && values.0 != values.1 {
            return Ok(Err(format!("a batch in part: {values:?}")));
        }
        if let Some(value) = &values.0 {
            let (number, others) = decode(value);
            *reached = number;
            before.push(others);
        }
    }
    if let Some(others) = before.iter().find(|others| !reaches(found, others)) {
        return Ok(Err(format!("{found:?} is no prefix: one knew {others:?}")));
    }
    let mut rows = snapshot
        .range(&first, &KeyRange::half_open(b"f".to_vec(), b"g".to_vec()))
        .await?;
    while let Some(row) = rows.next().await? {
        let writer = usize::from(row.key[1] - b'0');
        let newest = (0..=found[writer]).rev().take(1000);
        let mut newest = newest.filter(|number| slot(writer, *number) == row.key);
        if !newest.any(|number| filler(writer, number) == row.value) {
            return Ok(Err(format!("{:?} holds what nobody put there", row.key)));
        }
    }
    Ok(Ok(seen))
}

/// Whether each is as far as in `least`.
fn reaches(counts: &Counts, least: &Counts) -> bool {
    counts
        .iter()
        .zip(least)
        .all(|(count, least)| count >= least)
}

/// What the futures of one database share.
struct Shared {
    db: Db,
    simulation: Simulation,
    known: RefCell<Known>,
    random: RefCell<Random>,
    acts: Acts,
    time: Time,
    calls: Cell<u64>,
    follower: RefCell<Option<Db>>,
}

impl Shared {
    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    /// Whether the call worked; it may fail as its host does, and afterwards as long as it is not opened anew.
    fn worked<T>(&self, what: &str, result: Result<T>) -> Option<T> {
        self.calls.set(self.calls.get() + 1);
        match result {
            Ok(_) if self.simulation.has_stopped() => None,
            Ok(value) => Some(value),
            Err(Error::Io(_)) => None,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// The next number of a writer, and the value that says so.
    fn ask(&self, writer: usize) -> (u64, Vec<u8>) {
        let mut known = self.known.borrow_mut();
        known.asked[writer] += 1;
        let number = known.asked[writer];
        (number, encode(number, &known.visible))
    }

    fn answer(&self, writer: usize, number: u64, is_durable: bool) {
        let mut known = self.known.borrow_mut();
        known.visible[writer] = number;
        if let Some((_, is_acknowledged)) = known.commits.get_mut(&(writer, number)) {
            *is_acknowledged = true;
        }
        if is_durable {
            known.durable[writer] = number;
        }
    }

    /// Commits once; dropped, it may or may not have happened.
    async fn commit(&self, writer: usize) {
        let (number, value) = self.ask(writer);
        let mut batch = WriteBatch::new();
        batch.put(counter(writer), value.clone());
        batch.put(slot(writer, number), filler(writer, number));
        batch
            .put_bucket(other(self.acts), counter(writer), value)
            .expect("a name");
        if self.acts == Acts::All {
            self.stage_more(writer, number, &mut batch);
        }
        let synced = self.below(3) == 0;
        let durability = [DurabilityMode::Buffered, DurabilityMode::SyncData][usize::from(synced)];
        let written = self.db.write(batch, WriteOptions { durability }).await;
        if self.worked("commit", written).is_some() {
            self.answer(writer, number, synced);
        }
    }

    /// An operand in both buckets, and a value that expires.
    fn stage_more(&self, writer: usize, number: u64, batch: &mut WriteBatch) {
        batch.merge(LIST, operand(writer, number));
        batch
            .merge_bucket(other(self.acts), LIST, operand(writer, number))
            .expect("a name");
        let millis = self.below(300);
        let value = encode(number, &Counts::default());
        batch.put_with_ttl(expiring(writer), value, Duration::from_millis(millis));
        let until = self.time.now() + millis;
        let mut known = self.known.borrow_mut();
        known.commits.insert((writer, number), (until, false));
    }

    /// Loads once.
    async fn load(&self) {
        let (number, value) = self.ask(LOADER);
        let rows = [
            (slot(LOADER, number), filler(LOADER, number)),
            (counter(LOADER), value),
        ];
        let core = self.db.core();
        let tree = core.trees.load().by_name("default").map(Arc::clone);
        let tree = tree.expect("it is always there");
        let (rows, options) = (rows.into_iter().map(Ok), BulkLoadOptions::new());
        let loaded = core
            .bulk_load(&tree, rows, options, Mode::Cooperative)
            .await;
        if self.worked("load", loaded).is_some() {
            self.answer(LOADER, number, true);
        }
    }

    /// What is seen in `db`, after checking it against what was known before.
    async fn seen(&self, db: &Db, least: &Counts) -> Option<Counts> {
        let seen = self.worked("read", look(db, self.acts).await)?;
        let seen = seen.unwrap_or_else(|found| panic!("{found}"));
        let known = self.known.borrow();
        check(self.acts, &known, &seen);
        let seen = seen.counts;
        assert!(reaches(&seen, least), "{seen:?} after {least:?}");
        assert!(reaches(&known.asked, &seen), "{seen:?} of {known:?}");
        Some(seen)
    }

    async fn read(&self) {
        let least = self.known.borrow().visible;
        if let Some(seen) = self.seen(&self.db, &least).await {
            let mut known = self.known.borrow_mut();
            for (visible, seen) in known.visible.iter_mut().zip(seen) {
                *visible = seen.max(*visible);
            }
        }
    }

    /// A reader beside the writer looks anew. It may see what fails a moment later.
    async fn follow(&self) {
        let least = self.known.borrow().visible;
        let before = self.follower.borrow_mut().take();
        let looked = if let Some(reader) = before {
            reader.core().refresh(Mode::Cooperative).await
        } else {
            let storage = self.simulation.storage(HERE);
            let options = self.time.of(options()).read_only();
            on_storage(options, storage, Mode::Cooperative).await
        };
        if matches!(looked, Err(Error::RuntimeBusy { .. })) {
            return;
        }
        if let Some(reader) = self.worked("refresh", looked) {
            self.seen(&reader, &least).await;
            *self.follower.borrow_mut() = Some(reader);
        }
    }

    /// Makes a backup, and restores it while nothing happens.
    async fn back_up(&self) -> Result<()> {
        let least = self.known.borrow().visible;
        let store = Store::new(self.simulation.storage(BACKUPS));
        let (core, mode) = (self.db.core(), Mode::Cooperative);
        let made = core
            .backup(&store, BackupOptions::default(), 0, mode)
            .await?;
        if self.simulation.has_stopped() {
            return Ok(());
        }
        let (target, mode) = (Storage::memory(), Mode::Blocking);
        let faults = self.simulation.set_faults(Faults::None);
        let restored = block_on(store.restore(made.backup.id, &target, mode));
        self.simulation.set_faults(faults);
        restored.unwrap_or_else(|error| panic!("restored: {error}"));
        let db = on_storage(self.time.of(options()), target, mode).await;
        let db = db.unwrap_or_else(|error| panic!("restored: {error}"));
        self.seen(&db, &least).await;
        Ok(())
    }

    async fn maintain(&self) {
        let core = self.db.core();
        let mode = Mode::Cooperative;
        let visible = self.known.borrow().visible;
        let (result, is_durable) = match self.below(6) {
            0 => (core.flush_all(mode).await, true),
            1 => (core.persist(DurabilityMode::SyncAll, mode).await, true),
            2 => {
                let all = KeyRange::all();
                let merged = core.compact_range_in(&all, usize::MAX, Turn::Wait, mode);
                (merged.await.map(drop), false)
            }
            3 => {
                let budget = MaintenanceBudget::unbounded();
                (
                    core.maintain(budget, Turn::Try, mode).await.map(drop),
                    false,
                )
            }
            4 => (self.back_up().await, true),
            _ => (self.pass().await, false),
        };
        if self.worked("maintenance", result).is_some() && is_durable {
            let mut known = self.known.borrow_mut();
            for (durable, visible) in known.durable.iter_mut().zip(visible) {
                *durable = visible.max(*durable);
            }
        }
    }

    /// A bucket comes, is written to, and goes.
    async fn pass(&self) -> Result<()> {
        let mode = Mode::Cooperative;
        let (default, options) = (self.db.default_bucket_sync()?, self.db.options().clone());
        let options = options.default_bucket_options;
        let passing = open_or_create(&default, PASSING.into(), options, mode).await?;
        passing.put("k", vec![7; 250]).await?;
        match drop_named(self.db.core(), &PASSING.into(), mode).await {
            Err(Error::BucketMissing { .. }) => Ok(()),
            result => result,
        }
    }
}

/// Says whether its task was woken.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

struct Task {
    work: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
    /// Drop the call under way.
    cancels: Rc<Cell<bool>>,
    may_cancel: bool,
}

/// Polls `call` until it is ready, or until it is to be dropped.
async fn unless<T>(cancelled: &Cell<bool>, call: impl Future<Output = T>) {
    let mut call = pin!(call);
    poll_fn(|context| {
        if cancelled.take() {
            return Poll::Ready(());
        }
        call.as_mut().poll(context).map(drop)
    })
    .await;
}

/// So many calls, one after the other.
fn task(shared: &Rc<Shared>, what: usize, calls: u64, drops_commits: bool) -> Task {
    let cancels = Rc::new(Cell::new(false));
    let (shared, cancelled) = (Rc::clone(shared), Rc::clone(&cancels));
    let work = async move {
        for _ in 0..calls {
            match what {
                0..WRITERS => unless(&cancelled, shared.commit(what)).await,
                LOADER => Box::pin(unless(&cancelled, shared.load())).await,
                KEEPER => Box::pin(unless(&cancelled, shared.maintain())).await,
                FOLLOWER => Box::pin(unless(&cancelled, shared.follow())).await,
                _ => unless(&cancelled, shared.read()).await,
            }
        }
    };
    Task {
        work: Box::pin(work),
        woken: Arc::new(Woken(AtomicBool::new(true))),
        cancels,
        // Loads and maintenance belong to a thread that nobody drops.
        may_cancel: what > KEEPER || (what < WRITERS && drops_commits),
    }
}

/// Runs the tasks to their ends, or until the host has stopped.
fn schedule(shared: &Shared, tasks: &mut Vec<Task>, cancel_one_in: u64) {
    while !tasks.is_empty() && !shared.simulation.has_stopped() {
        if shared.acts == Acts::All && shared.below(20) == 0 {
            shared.time.set(shared.time.now() + shared.below(100));
        }
        let woken = |task: &Task| task.woken.0.load(Ordering::Acquire);
        let ready: Vec<usize> = (0..tasks.len()).filter(|at| woken(&tasks[*at])).collect();
        if ready.is_empty() || shared.below(2) == 0 {
            let stepped = shared.simulation.step();
            assert!(stepped || !ready.is_empty(), "nobody goes on");
            continue;
        }
        let chosen = usize::try_from(shared.below(ready.len() as u64)).unwrap_or(0);
        let at = ready[chosen];
        let task = &mut tasks[at];
        if task.may_cancel && shared.below(cancel_one_in) == 0 {
            task.cancels.set(true);
        }
        task.woken.0.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.woken));
        if task
            .work
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            drop(tasks.swap_remove(at));
        }
    }
}

/// Opens what is left and checks it. Gives back how far each writer is.
fn recover(
    options: DbOptions,
    simulation: &Simulation,
    known: &Known,
    acts: Acts,
    power_lost: bool,
) -> (Db, Counts) {
    let db =
        open_with(options, simulation, HERE).unwrap_or_else(|error| panic!("refused: {error}"));
    bucket(&db, other(acts)).unwrap_or_else(|error| panic!("{error}"));
    let found = block_on(look(&db, acts)).unwrap_or_else(|error| panic!("recovered: {error}"));
    let found = found.unwrap_or_else(|found| panic!("recovered: {found}"));
    check(acts, known, &found);
    let found = found.counts;
    let least = if power_lost {
        &known.durable
    } else {
        &known.visible
    };
    assert!(
        reaches(&found, least),
        "{found:?} of {known:?}, power lost: {power_lost}"
    );
    assert!(reaches(&known.asked, &found), "{found:?} of {known:?}");
    (db, found)
}

fn check(acts: Acts, known: &Known, seen: &Seen) {
    if acts == Acts::All {
        let fits = known.check(seen);
        fits.unwrap_or_else(|found| panic!("{found}"));
    }
}

fn run_seed(seed: u64, acts: Acts) -> Found {
    alone(|| {
        let mut random = Random::new(seed);
        let mut found = Found::default();
        let mut simulation = Simulation::new(empty_disk(), random.next_u64());
        let mut known = Known::default();
        let time = Time::default();
        let mut power_lost = false;
        for _ in 0..=random.below(4) {
            // A commit that has to make room does maintenance itself, and one that is dropped while it leads stops
            // all later ones.
            let drops_commits = random.below(4) == 0;
            let limit = if drops_commits { 1000 } else { 2 };
            let options = DbOptions {
                write_buffer_bytes: 200 + usize::try_from(random.below(3000)).unwrap_or(0),
                max_immutable_memtables: limit,
                max_l0_files: limit,
                ..options()
            };
            let options = time.of(options);
            let (db, counts) = recover(options, &simulation, &known, acts, power_lost);
            known.visible = counts;
            known.durable = counts;
            known.forget_behind(&counts);
            simulation.defer();
            if random.below(2) == 0 {
                let changes = usize::try_from(random.below(400)).unwrap_or(0);
                simulation.stop_after(simulation.changes() + changes);
            }
            if random.below(4) == 0 {
                let one_in = 50 + random.below(500);
                simulation.set_faults(Faults::Random { one_in });
            }
            let cancel_one_in = [5, 50, u64::MAX][usize::try_from(random.below(3)).unwrap_or(0)];
            let shared = Rc::new(Shared {
                db,
                simulation: simulation.clone(),
                known: RefCell::new(known),
                random: RefCell::new(Random::new(random.next_u64())),
                acts,
                time: time.clone(),
                calls: Cell::new(0),
                follower: RefCell::default(),
            });
            let mut tasks: Vec<_> = (0..=LAST_READER)
                .map(|what| task(&shared, what, 1 + random.below(12), drops_commits))
                .collect();
            schedule(&shared, &mut tasks, cancel_one_in);
            // Whatever is under way goes with the process.
            let host = simulation;
            host.stop_after(0);
            drop(tasks);
            while host.step() {}
            known = shared.known.borrow().clone();
            found.calls += shared.calls.get();
            found.operations += host.operations();
            found.injected += host.injected();
            found.trace = found.trace.rotate_left(5) ^ host.trace();
            power_lost = random.below(2) == 0;
            let kept = random.below(5);
            let left = if power_lost {
                found.power_losses += 1;
                host.disk().power_loss(&mut |_| random.below(4) < kept)
            } else {
                found.process_ends += 1;
                host.disk().process_end()
            };
            found.images.push(left.fingerprint());
            simulation = Simulation::new(left, random.next_u64());
        }
        // Liveness: whatever was dropped or failed, now everything works.
        let options = time.of(options());
        let (db, _) = recover(options, &simulation, &known, acts, power_lost);
        let finished = db
            .put_sync("last", "one")
            .and_then(|()| db.flush_sync())
            .and_then(|()| db.compact_range_sync(KeyRange::all()))
            .and_then(|()| db.verify_sync(|_| {}).map(drop));
        finished.unwrap_or_else(|error| panic!("at the end: {error}"));
        found
    })
}

#[test]
fn chosen_seeds_hold() {
    run_chosen("interleavings", SEEDS, |seed, _| run_seed(seed, Acts::All));
}

#[test]
fn seeds_that_once_failed_hold() {
    run_once_failed("interleavings", run_seed);
}

#[test]
fn a_seed_replays_operation_for_operation() {
    for seed in 0..4 {
        let run = || run_seed(seed, Acts::All);
        assert_eq!(run(), run(), "seed {seed}");
    }
}
