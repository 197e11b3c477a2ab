//! Small runs that visit each thing that changes a directory.

use trine_io::Mode;
use trine_io::simulation::{Faults, Simulation};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::commit::batch::BatchOperation;
use crate::db::bulk_load::BulkLoadOptions;
use crate::db::iter::LazyIter;
use crate::db::{Db, MaintenanceBudget};
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::DurabilityMode::{Buffered, SyncAll, SyncData};
use crate::options::{DbOptions, DurabilityMode, WriteOptions};
use crate::simulation::beside::Beside;
use crate::simulation::history::{History, Moment, Write};
use crate::simulation::{COPY, HERE, UNMOVED, bucket, empty_disk, open_with, options};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Commit(DurabilityMode, Vec<(String, Write)>),
    Persist(DurabilityMode),
    /// Puts into the default bucket.
    Load(Vec<(u8, usize)>),
    Create(String),
    Drop(String),
    Flush,
    Compact,
    Maintain,
    Checkpoint,
    BackUp,
    Restore,
    Prune,
    /// Somebody who only reads looks anew.
    Refresh,
    /// Takes what came in the feed of changes.
    Feed,
    /// Keeps what this bucket holds now readable, until the next opening or [`Act::Release`].
    Hold(String),
    Release,
    Reopen,
}

/// A run in progress: the host, the database while it is open, and what was asked and answered.
pub(super) struct Run {
    pub(super) simulation: Simulation,
    pub(super) db: Option<Db>,
    pub(super) history: History,
    held: Option<LazyIter>,
    /// For the next opening.
    pub(super) options: DbOptions,
    /// How many changes had been made before this host was there.
    base: usize,
    /// The power was lost since the last opening that came to its end.
    power_lost: bool,
    /// How many operations had been made to fail when it was opened.
    injected_before: u64,
    pub(super) beside: Beside,
}

impl Run {
    pub(super) fn new(simulation: Simulation) -> Self {
        Self {
            simulation,
            db: None,
            history: History::default(),
            held: None,
            options: options(),
            base: 0,
            power_lost: false,
            injected_before: 0,
            beside: Beside::default(),
        }
    }

    /// Goes on from what an opening of this host's disk has found.
    pub(super) fn recovered(simulation: Simulation, history: History, moment: Moment) -> Self {
        Self {
            history,
            base: moment.position,
            ..Self::new(simulation)
        }
    }

    /// The process ends here, with the power or without; `simulation` has what is left of its disk.
    pub(super) fn crash(&mut self, simulation: Simulation, power_lost: bool) {
        self.base = self.position();
        // An opening that was cut off in between changes nothing.
        self.power_lost |= power_lost;
        let old = std::mem::replace(&mut self.simulation, simulation);
        old.stop_after(0);
        self.held = None;
        self.db = None;
        self.beside.is_alone();
    }

    pub(super) fn position(&self) -> usize {
        self.base + self.simulation.changes()
    }

    /// Now, if only the process ended (or the power went, too).
    pub(super) fn now(&self, power_lost: bool) -> Moment {
        Moment {
            position: self.position(),
            power_lost,
        }
    }

    /// What the caller gets: nothing any more once the process is gone, whatever was stored into a map meanwhile.
    pub(super) fn answered<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(_) if self.simulation.has_stopped() => Err(gone()),
            result => result,
        }
    }

    /// Makes the call, and opens the database first where it is closed.
    pub(super) fn act(&mut self, act: &Act) -> Result<()> {
        if *act == Act::Reopen {
            self.close();
        }
        let db = match &self.db {
            Some(db) => db.clone(),
            None => self.open()?,
        };
        match act {
            Act::Commit(mode, writes) => {
                let batch = self.history.ask_commit(self.position(), writes)?;
                let options = WriteOptions { durability: *mode };
                let result = self.answered(db.write_sync(batch, options));
                self.history
                    .answer_commit(self.position(), *mode, result.is_ok());
                result.map(drop)
            }
            Act::Load(rows) => {
                let writes: Vec<_> = rows
                    .iter()
                    .map(|(key, length)| put("default", *key, *length))
                    .collect();
                let batch = self.history.ask_commit(self.position(), &writes)?;
                self.history.is_load();
                let rows = batch
                    .into_operations()
                    .into_iter()
                    .map(|operation| match operation {
                        BatchOperation::Put { key, value, .. } => Ok((key, value)),
                        other => panic!("{other:?} in a load"),
                    });
                let before = db.last_committed_sequence();
                let options = BulkLoadOptions::new().with_memory_bytes(400);
                let result = self.answered(db.try_bulk_load_sync(rows, options));
                let took = db.last_committed_sequence() > before;
                self.history
                    .answer_load(self.position(), result.is_ok(), took);
                result.map(drop)
            }
            Act::Persist(mode) => {
                self.answered(db.persist_sync(*mode))?;
                if matches!(mode, DurabilityMode::SyncData | DurabilityMode::SyncAll) {
                    self.history.all_durable(self.position());
                }
                Ok(())
            }
            Act::Create(name) if self.history.is_free(name) => {
                self.history.ask_create(self.position(), name);
                let result = self.answered(bucket(&db, name));
                self.history.answer_create(self.position(), result.is_ok());
                result.map(drop)
            }
            Act::Drop(name) if self.history.ask_drop(self.position(), name) => {
                let result = self.answered(db.drop_bucket_sync(name.as_str()));
                self.history
                    .answer_drop(self.position(), name, result.is_ok());
                result
            }
            Act::Flush => {
                self.answered(db.flush_sync())?;
                // What is in tables survives: see `Core::flush_buffer`.
                self.history.all_durable(self.position());
                Ok(())
            }
            Act::Compact => db.compact_range_sync(KeyRange::all()).map(drop),
            Act::Maintain => db
                .run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
                .map(drop),
            Act::Checkpoint => {
                let target = self.simulation.storage(COPY);
                self.history.ask_checkpoint(self.position());
                let made = block_on(db.core().checkpoint(&target, Mode::Blocking));
                self.answered(made)?;
                self.history.answer_checkpoint(self.position());
                Ok(())
            }
            Act::BackUp => self.back_up(&db),
            Act::Restore => self.restore(),
            Act::Prune => self.prune(),
            Act::Refresh => self.refresh(),
            Act::Feed => self.feed(&db),
            Act::Hold(name) if !self.history.is_free(name) => {
                self.held = Some(bucket(&db, name)?.range_lazy_sync(&KeyRange::all())?);
                Ok(())
            }
            Act::Release => {
                self.held = None;
                Ok(())
            }
            Act::Create(_) | Act::Drop(_) | Act::Hold(_) | Act::Reopen => Ok(()),
        }
    }

    /// Closes; everything committed survives power loss then, if closing works.
    pub(super) fn close(&mut self) {
        self.held = None;
        self.beside.is_closed();
        if let Some(db) = self.db.take()
            && self
                .answered(block_on(db.core().close(Mode::Blocking)))
                .is_ok()
        {
            let position = self.position();
            self.history.all_durable(position);
        }
    }

    /// Opens, and compares what is found with what was asked for.
    fn open(&mut self) -> Result<Db> {
        let opened = open_with(self.options.clone(), &self.simulation, HERE);
        let db = self.answered(opened)?;
        let now = self.now(self.power_lost);
        self.power_lost = false;
        let last = self.undisturbed(|run| {
            run.check_backups();
            let last = run.history.check(&db, now);
            last.unwrap_or_else(|found| panic!("reopened: {found}"))
        });
        self.history.resolve(&db, last, now);
        self.injected_before = self.simulation.injected();
        self.db = Some(db.clone());
        Ok(db)
    }

    /// Nothing happens to the one who looks.
    pub(super) fn undisturbed<T>(&self, look: impl FnOnce(&Self) -> T) -> T {
        let faults = self.simulation.set_faults(Faults::None);
        let stops_after = self.simulation.stop_after(usize::MAX);
        let capacity = self.simulation.set_capacity(None);
        let found = look(self);
        self.simulation.set_faults(faults);
        self.simulation.stop_after(stops_after);
        self.simulation.set_capacity(capacity);
        found
    }

    /// Whether since the last opening nothing failed but for want of space.
    pub(super) fn is_unhurt(&self) -> bool {
        self.db.is_some() && self.simulation.injected() == self.injected_before
    }
}

/// What a call of a process that is gone comes to.
fn gone() -> Error {
    std::io::Error::other("the simulated process is gone").into()
}

fn put(bucket: &str, key: u8, length: usize) -> (String, Write) {
    let key = vec![b'k', key];
    (bucket.to_owned(), Write::Put { key, length })
}

fn merge(key: u8, length: usize) -> (String, Write) {
    let key = vec![b'k', key];
    ("default".to_owned(), Write::Merge { key, length })
}

fn delete(bucket: &str, key: u8) -> (String, Write) {
    let key = vec![b'k', key];
    (bucket.to_owned(), Write::Delete { key })
}

fn delete_range(bucket: &str, start: u8, end: u8) -> (String, Write) {
    let (start, end) = (vec![b'k', start], vec![b'k', end]);
    (bucket.to_owned(), Write::DeleteRange { start, end })
}

const ALL_MODES: [DurabilityMode; 4] = [
    DurabilityMode::Buffered,
    DurabilityMode::Flush,
    DurabilityMode::SyncData,
    DurabilityMode::SyncAll,
];

/// A test of each workload, by its name.
macro_rules! test_each_workload {
    ($check:ident) => {
        crate::simulation::workload::test_each_workload!($check:
            commits buffered buckets flushes compactions blobs collected placed checkpoint rollover loads merges);
    };
    ($check:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            crate::epoch::alone(|| $check(stringify!($name)));
        })*

        #[test]
        fn no_workload_is_left_out() {
            let tested = [$(stringify!($name)),*];
            let all = crate::simulation::workload::workloads();
            assert!(all.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}
pub(super) use test_each_workload;

/// The workload of this name.
pub(super) fn workload(name: &str) -> Vec<Act> {
    let found = workloads().into_iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no workload {name}")).1
}

/// The named workloads.
pub(super) fn workloads() -> Vec<(&'static str, Vec<Act>)> {
    vec![
        ("commits", commits()),
        ("buffered", buffered()),
        ("buckets", buckets()),
        ("flushes", flushes()),
        ("compactions", compactions()),
        ("blobs", blobs()),
        ("collected", collected()),
        ("placed", placed()),
        ("checkpoint", checkpoint()),
        ("rollover", rollover()),
        ("loads", loads()),
        ("merges", merges()),
    ]
}

fn commit(mode: DurabilityMode, writes: Vec<(String, Write)>) -> Act {
    Act::Commit(mode, writes)
}

fn one(mode: DurabilityMode, key: u8, length: usize) -> Act {
    commit(mode, vec![put("default", key, length)])
}

fn create(name: &str) -> Act {
    Act::Create(name.to_owned())
}

fn remove(name: &str) -> Act {
    Act::Drop(name.to_owned())
}

/// Commits of every durability, small ones and ones that span sectors.
fn commits() -> Vec<Act> {
    let mut acts = Vec::new();
    for round in 0..2 {
        for mode in ALL_MODES {
            acts.push(one(mode, round, 10));
            acts.push(commit(
                mode,
                vec![put("default", 7, 700), delete("default", round)],
            ));
        }
    }
    acts
}

/// Large values that go to a file with their commit, synced or not, of one bucket or two at once; that are superseded before their
/// flush, and after it.
fn placed() -> Vec<Act> {
    vec![
        create(UNMOVED),
        // A memtable takes a file once it holds something. The first time there is none yet, and the value fills the memtable.
        one(Buffered, 1, 10),
        one(Buffered, 2, 210),
        commit(Buffered, vec![put("default", 1, 10), put(UNMOVED, 1, 10)]),
        one(SyncData, 2, 220),
        commit(Buffered, vec![put("default", 2, 230), put(UNMOVED, 2, 240)]),
        one(SyncAll, 4, 10),
        one(Buffered, 3, 250),
        Act::Reopen,
        one(Buffered, 1, 10),
        one(Buffered, 2, 260),
        commit(Buffered, vec![put("default", 3, 5), put(UNMOVED, 2, 5)]),
        Act::Persist(SyncData),
        Act::Flush,
    ]
}

/// Commits that nothing syncs for a while, and a reopening between.
fn buffered() -> Vec<Act> {
    vec![
        one(Buffered, 1, 40),
        one(Buffered, 2, 600),
        one(Buffered, 3, 1),
        one(Buffered, 4, 1100),
        Act::Persist(SyncData),
        one(Buffered, 5, 300),
        one(Buffered, 6, 300),
        Act::Reopen,
        one(Buffered, 7, 20),
        one(SyncData, 8, 20),
    ]
}

/// Buckets that come, go, and come again.
fn buckets() -> Vec<Act> {
    vec![
        create("a"),
        commit(SyncData, vec![put("a", 1, 30), put("default", 1, 30)]),
        create("b"),
        commit(Buffered, vec![put("b", 1, 30), delete("a", 1)]),
        remove("a"),
        commit(Buffered, vec![put("b", 2, 30)]),
        create("a"),
        commit(SyncAll, vec![put("a", 2, 30), put("b", 3, 30)]),
        Act::Flush,
        remove("b"),
        commit(Buffered, vec![put("a", 3, 300)]),
        Act::Reopen,
        create("b"),
        commit(SyncData, vec![put("a", 4, 30), put("b", 4, 30)]),
    ]
}

/// Flushes of one bucket and of two, asked for and due.
fn flushes() -> Vec<Act> {
    vec![
        create("other"),
        commit(Buffered, vec![put("default", 1, 60), put("other", 1, 10)]),
        commit(
            Buffered,
            vec![put("default", 2, 60), delete_range("default", 0, 2)],
        ),
        Act::Flush,
        commit(SyncData, vec![put("default", 3, 120), put("other", 2, 120)]),
        commit(Buffered, vec![put("default", 4, 120), put("other", 3, 120)]),
        commit(Buffered, vec![put("default", 5, 120), delete("other", 1)]),
        commit(Buffered, vec![put("default", 6, 120), put("other", 5, 120)]),
        Act::Maintain,
        commit(Buffered, vec![put("default", 7, 10)]),
        Act::Flush,
        commit(
            Buffered,
            vec![delete_range("default", 0, 9), put("other", 6, 9)],
        ),
        Act::Flush,
    ]
}

/// Compactions, also of range deletes, and the removal of what they leave.
fn compactions() -> Vec<Act> {
    let mut acts = Vec::new();
    for round in 0..4 {
        acts.push(commit(
            Buffered,
            vec![put("default", round, 250), delete("default", round / 2)],
        ));
        acts.push(commit(Buffered, vec![put("default", round + 3, 250)]));
        acts.push(Act::Flush);
    }
    acts.extend([
        Act::Compact,
        commit(SyncData, vec![delete_range("default", 1, 5)]),
        Act::Flush,
        Act::Compact,
        one(Buffered, 9, 10),
        Act::Reopen,
        Act::Maintain,
        one(SyncData, 9, 11),
    ]);
    acts
}

/// Operands on values, on large ones, on nothing, and on what their own batch did, put together by compactions.
fn merges() -> Vec<Act> {
    let mut acts = vec![commit(
        Buffered,
        vec![put("default", 1, 30), put("default", 2, 250)],
    )];
    for round in 0..3 {
        acts.push(commit(
            Buffered,
            vec![
                merge(1, 20),
                merge(1, 9),
                merge(2, 20),
                merge(3 + round, 10),
            ],
        ));
        acts.push(commit(
            SyncData,
            vec![merge(1, 20), delete("default", 4), merge(4, 30)],
        ));
        acts.push(Act::Flush);
    }
    acts.extend([
        Act::Compact,
        commit(Buffered, vec![delete_range("default", 1, 3), merge(2, 9)]),
        Act::Flush,
        Act::Reopen,
        commit(SyncData, vec![merge(1, 10), merge(2, 220)]),
        Act::Maintain,
        Act::Flush,
        Act::Compact,
    ]);
    acts
}

/// Large values that are replaced and deleted, until their files are rewritten and go.
fn blobs() -> Vec<Act> {
    let mut acts = Vec::new();
    for round in 0..3 {
        acts.push(commit(
            Buffered,
            vec![put("default", 1, 600), put("default", 2 + round, 300)],
        ));
        acts.push(Act::Flush);
    }
    acts.extend([
        commit(
            SyncData,
            vec![delete("default", 2), delete_range("default", 3, 4)],
        ),
        Act::Flush,
        Act::Compact,
        Act::Maintain,
        Act::Reopen,
        one(SyncData, 1, 250),
        Act::Flush,
        Act::Compact,
        Act::Maintain,
    ]);
    acts
}

/// Large values that no merge moves: their files are collected, once while they are read and once more, and go with their bucket.
fn collected() -> Vec<Act> {
    let unmoved = |key, length| put(UNMOVED, key, length);
    let mut acts = vec![create(UNMOVED)];
    for round in 0..2 {
        let first = 10 * round;
        let all = (first..first + 3).map(|key| unmoved(key, 250)).collect();
        acts.extend([commit(Buffered, all), Act::Flush, Act::Compact]);
    }
    acts.extend([
        Act::Hold(UNMOVED.to_owned()),
        commit(Buffered, vec![delete(UNMOVED, 0), delete(UNMOVED, 1)]),
        Act::Flush,
        Act::Compact,
        Act::Maintain,
        Act::Release,
        commit(SyncData, vec![delete_range(UNMOVED, 10, 12)]),
        Act::Flush,
        Act::Maintain,
        Act::Reopen,
        Act::Compact,
        Act::Maintain,
        remove(UNMOVED),
        one(SyncData, 1, 10),
    ]);
    acts
}

/// A checkpoint while the database is written to.
fn checkpoint() -> Vec<Act> {
    vec![
        create("other"),
        commit(Buffered, vec![put("default", 1, 60), put("other", 1, 10)]),
        Act::Flush,
        commit(Buffered, vec![put("default", 2, 60), put("other", 2, 10)]),
        Act::Checkpoint,
        commit(Buffered, vec![put("default", 3, 60)]),
        Act::Compact,
        one(SyncData, 4, 10),
    ]
}

/// Edits of the manifest that make it roll over, more than once.
fn rollover() -> Vec<Act> {
    let long = |letter: &str| letter.repeat(900);
    let mut acts = vec![one(SyncData, 1, 10)];
    for letter in ["a", "b", "c", "d", "e", "f"] {
        acts.push(create(&long(letter)));
        acts.push(commit(Buffered, vec![put(&long(letter), 1, 20)]));
    }
    acts.extend([Act::Flush, remove(&long("a")), one(SyncData, 2, 10)]);
    acts
}

/// Loads in order and not, above memtables and tables and beneath them, with large values and without.
fn loads() -> Vec<Act> {
    vec![
        one(Buffered, 3, 60),
        Act::Load(vec![(1, 20), (2, 20), (6, 250)]),
        one(Buffered, 7, 60),
        Act::Load(vec![(7, 30), (6, 250), (5, 90), (6, 30), (2, 90), (1, 220)]),
        delete_of(2),
        Act::Flush,
        Act::Load(vec![(2, 30), (20, 30)]),
        Act::Reopen,
        Act::Load(vec![(30, 30), (31, 30)]),
        Act::Compact,
        one(SyncData, 2, 10),
    ]
}

fn delete_of(key: u8) -> Act {
    commit(Buffered, vec![delete("default", key)])
}

/// A workload of so many calls, chosen by the seed.
pub(super) fn random_workload(random: &mut Random, calls: usize) -> Vec<Act> {
    let names = ["default", "default", "a", UNMOVED];
    let pick = |random: &mut Random, below: u64| usize::try_from(random.below(below)).unwrap_or(0);
    let byte = |random: &mut Random, below: u64| u8::try_from(random.below(below)).unwrap_or(0);
    let mut acts = Vec::new();
    while acts.len() < calls {
        let act = match random.below(38) {
            0 => Act::Flush,
            1 => Act::Compact,
            2 => Act::Maintain,
            3 => Act::Reopen,
            4 | 5 => Act::Create(names[2 + pick(random, 2)].to_owned()),
            6 => Act::Drop(names[2 + pick(random, 2)].to_owned()),
            7 => Act::Persist(ALL_MODES[pick(random, 4)]),
            8 => Act::Hold(names[1 + pick(random, 3)].to_owned()),
            9 => Act::Release,
            10 => Act::Refresh,
            11 => Act::Feed,
            12 => match random.below(4) {
                0 | 1 => Act::BackUp,
                2 => Act::Restore,
                _ => Act::Prune,
            },
            13 => {
                let rows = 0..=random.below(8);
                Act::Load(
                    rows.map(|_| (byte(random, 24), pick(random, 400)))
                        .collect(),
                )
            }
            _ => {
                let mut writes = Vec::new();
                for _ in 0..=random.below(3) {
                    let bucket = names[pick(random, 4)];
                    let key = byte(random, 24);
                    let length = match random.below(12) {
                        0 => pick(random, 4000),
                        1..4 => pick(random, 600),
                        _ => pick(random, 60),
                    };
                    writes.push(match random.below(8) {
                        0 => delete(bucket, key),
                        1 => delete_range(bucket, key, key + byte(random, 6)),
                        _ => put(bucket, key, length),
                    });
                }
                Act::Commit(ALL_MODES[pick(random, 4)], writes)
            }
        };
        acts.push(act);
    }
    acts
}

#[test]
fn workloads_do_what_they_are_named_for() {
    let done = |name| {
        let simulation = Simulation::new(empty_disk(), 1);
        let mut run = Run::new(simulation);
        let (mut most, mut collected, mut placed) = (0, 0, false);
        for act in workload(name) {
            run.act(&act)
                .unwrap_or_else(|error| panic!("{name}: {act:?}: {error}"));
            let db = run.db.as_ref().expect("it is open");
            let view = db.core().trees.load().iter().next().map(|tree| tree.pin());
            placed |=
                view.is_some_and(|view| view.buffers().any(|buffer| buffer.values().is_some()));
            let stats = db.stats();
            most = stats.compaction_runs.max(most);
            collected = stats.blob_gc_runs.max(collected);
        }
        (most, collected, placed)
    };
    assert!(done("compactions").0 > 1);
    assert!(done("placed").2);
    for name in ["blobs", "collected"] {
        let (_, collected, _) = done(name);
        assert!(collected > 0, "{name} collects no garbage");
    }
}
