//! Small runs that visit each thing that changes a directory, and random ones.

use trine_io::simulation::Simulation;
use trine_platform::random::Random;

use crate::options::DurabilityMode;
use crate::options::DurabilityMode::{Buffered, SyncAll, SyncData};
use crate::simulation::rows::Write;
use crate::simulation::workload::{Act, Run};
use crate::simulation::{FILTERED, UNMOVED, empty_disk};

pub(super) fn put(bucket: &str, key: u8, length: usize) -> (String, Write) {
    let key = vec![b'k', key];
    (bucket.to_owned(), Write::Put { key, length })
}

fn merge(bucket: &str, key: u8, length: usize) -> (String, Write) {
    let key = vec![b'k', key];
    (bucket.to_owned(), Write::Merge { key, length })
}

fn put_for(bucket: &str, key: u8, length: usize, millis: u64) -> (String, Write) {
    let key = vec![b'k', key];
    let put = Write::PutFor {
        key,
        length,
        millis,
    };
    (bucket.to_owned(), put)
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
        crate::simulation::workloads::test_each_workload!($check:
            commits buffered buckets flushes compactions blobs collected placed checkpoint rollover loads merges expiring filtered);
    };
    ($check:ident: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            crate::epoch::alone(|| $check(stringify!($name)));
        })*

        #[test]
        fn no_workload_is_left_out() {
            let tested = [$(stringify!($name)),*];
            let all = crate::simulation::workloads::workloads();
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
        ("expiring", expiring()),
        ("filtered", filtered()),
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
    let merge = |key, length| merge("default", key, length);
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

/// Values that expire while they are in memory, in a table, under operands; that are replaced, and put over others.
fn expiring() -> Vec<Act> {
    let put_for = |key, length, millis| put_for("default", key, length, millis);
    let merge = |key, length| merge("default", key, length);
    vec![
        commit(
            Buffered,
            vec![put("default", 1, 30), put("default", 2, 250)],
        ),
        Act::Flush,
        commit(
            Buffered,
            vec![
                put_for(1, 30, 10),
                put_for(2, 250, 20),
                put_for(3, 20, 30),
                put_for(4, 20, 5),
            ],
        ),
        commit(SyncData, vec![merge(2, 20), put("default", 4, 9)]),
        Act::Wait(5),
        Act::Flush,
        Act::Wait(5),
        Act::Compact,
        commit(Buffered, vec![merge(3, 9), put_for(5, 300, 0)]),
        Act::Reopen,
        Act::Wait(10),
        Act::Flush,
        Act::Compact,
        commit(
            SyncData,
            vec![
                delete_range("default", 2, 4),
                put_for(2, 9, 5),
                merge(2, 30),
            ],
        ),
        Act::Wait(20),
        Act::Flush,
        Act::Compact,
        one(SyncData, 1, 10),
    ]
}

/// Values that a filter removes and changes, in tables and beside them, above older ones of their keys, while they are read and not.
fn filtered() -> Vec<Act> {
    let put = |key, length| put(FILTERED, key, length);
    let mut acts = vec![create(FILTERED)];
    for round in 0..2 {
        acts.extend([
            commit(Buffered, vec![put(1, 30), put(2 + round, 250)]),
            commit(Buffered, vec![put(1, 30), put(4, 30)]),
            Act::Flush,
        ]);
        if round == 1 {
            acts.push(Act::Hold(FILTERED.to_owned()));
        }
        acts.push(Act::Compact);
    }
    acts.extend([
        Act::Release,
        commit(SyncData, vec![delete(FILTERED, 1), put(2, 20)]),
        Act::Flush,
        Act::Compact,
        Act::Reopen,
        commit(SyncData, vec![put(3, 9)]),
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

/// What random workloads are made of. A seed means the same as long as it is run with the same acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acts {
    /// Without operands, values that expire and filters.
    Plain,
    All,
}

/// Whether the bucket has a merge operator.
fn is_merged(bucket: &str) -> bool {
    matches!(bucket, "default" | UNMOVED)
}

/// A workload of so many calls, chosen by the seed.
pub(super) fn random_workload(random: &mut Random, calls: usize, acts: Acts) -> Vec<Act> {
    let names = ["default", "default", "a", UNMOVED, FILTERED];
    let (names, kinds, writes) = match acts {
        Acts::Plain => (&names[..4], 38, 8),
        Acts::All => (&names[..], 40, 12),
    };
    let (all, named) = (names.len() as u64, names.len() as u64 - 2);
    let pick = |random: &mut Random, below: u64| usize::try_from(random.below(below)).unwrap_or(0);
    let byte = |random: &mut Random, below: u64| u8::try_from(random.below(below)).unwrap_or(0);
    let mut acts = Vec::new();
    while acts.len() < calls {
        let act = match random.below(kinds) {
            0 => Act::Flush,
            1 => Act::Compact,
            2 => Act::Maintain,
            3 => Act::Reopen,
            4 | 5 => Act::Create(names[2 + pick(random, named)].to_owned()),
            6 => Act::Drop(names[2 + pick(random, named)].to_owned()),
            7 => Act::Persist(ALL_MODES[pick(random, 4)]),
            8 => Act::Hold(names[1 + pick(random, all - 1)].to_owned()),
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
            38 | 39 => Act::Wait(random.below(3000)),
            _ => {
                let mut batch = Vec::new();
                for _ in 0..=random.below(3) {
                    let bucket = names[pick(random, all)];
                    let key = byte(random, 24);
                    let length = match random.below(12) {
                        0 => pick(random, 4000),
                        1..4 => pick(random, 600),
                        _ => pick(random, 60),
                    };
                    batch.push(match random.below(writes) {
                        0 => delete(bucket, key),
                        1 => delete_range(bucket, key, key + byte(random, 6)),
                        8 | 9 if is_merged(bucket) => merge(bucket, key, length),
                        10 | 11 => put_for(bucket, key, length, random.below(5000)),
                        _ => put(bucket, key, length),
                    });
                }
                Act::Commit(ALL_MODES[pick(random, 4)], batch)
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
