//! Random interleavings of transactions, direct writes, flushes and compactions on one thread, against
//! a model that keeps every commit.
//!
//! - A transaction reads the state of its own sequence, whatever came after.
//! - It conflicts exactly if a later commit wrote to something it recorded.
//! - So a committed transaction read what it would have read had it run alone at its commit: the
//!   commits are a serial history.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use trine_kv::{
    Db, DbOptions, Error, KeyRange, Snapshot, Transaction, TransactionOptions, WriteBatch,
    WriteOptions,
};

use crate::common::random::{Random, seed};
use crate::common::way::{Way, call};
use crate::scene::persistent;

const CASES: u32 = 24;
const SLOTS: usize = 3;
const KEYS: u8 = 6;

type Rows = BTreeMap<u8, u64>;
type TestResult = Result<(), TestCaseError>;

#[derive(Clone, Debug)]
enum Write {
    Put(u8),
    Delete(u8),
    DeleteRange(u8, u8),
}

impl Write {
    fn meets(&self, start: u8, end: u8) -> bool {
        match *self {
            Self::Put(key) | Self::Delete(key) => (start..end).contains(&key),
            Self::DeleteRange(from, to) => start.max(from) < end.min(to),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(usize, u8),
    ReadRange(usize, u8, u8),
    Stage(usize, Write),
    Commit(usize),
    Discard(usize),
    Direct(Vec<Write>),
    Flush,
    Compact(u8, u8),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (0..KEYS).prop_map(Write::Put),
        2 => (0..KEYS).prop_map(Write::Delete),
        1 => (0..=KEYS, 0..=KEYS).prop_map(|(start, end)| Write::DeleteRange(start, end)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let slot = || 0..SLOTS;
    prop_oneof![
        6 => (slot(), 0..KEYS).prop_map(|(slot, key)| Step::Get(slot, key)),
        3 => (slot(), 0..=KEYS, 0..=KEYS)
            .prop_map(|(slot, start, end)| Step::ReadRange(slot, start, end)),
        6 => (slot(), write()).prop_map(|(slot, write)| Step::Stage(slot, write)),
        5 => slot().prop_map(Step::Commit),
        1 => slot().prop_map(Step::Discard),
        3 => vec(write(), 1..3).prop_map(Step::Direct),
        1 => Just(Step::Flush),
        1 => (0..=KEYS, 0..=KEYS).prop_map(|(start, end)| Step::Compact(start, end)),
    ]
}

fn range(start: u8, end: u8) -> KeyRange {
    KeyRange::half_open([start], [end])
}

/// One transaction, and what it did.
struct Open {
    transaction: Transaction,
    /// `[start, end)` of every recorded read; a point is a range of one key.
    reads: Vec<(u8, u8)>,
    staged: Vec<(Write, u64)>,
}

struct Run {
    db: Db,
    way: Way,
    open: [Option<Open>; SLOTS],
    /// The state after each commit, from the empty one.
    states: Vec<Rows>,
    /// What each commit wrote: the first one made `states[1]`.
    commits: Vec<Vec<Write>>,
    values: u64,
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn failed(error: Error) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}

impl Run {
    fn new(options: DbOptions) -> Self {
        Self {
            db: Db::open_sync(options).unwrap(),
            way: Way::Sync,
            open: std::array::from_fn(|_| None),
            states: vec![Rows::new()],
            commits: Vec::new(),
            values: 0,
        }
    }

    /// The transaction of the slot; begun now if there is none.
    fn slot(&mut self, slot: usize) -> &mut Open {
        let db = &self.db;
        self.open[slot].get_or_insert_with(|| Open {
            transaction: db.transaction(TransactionOptions::default()),
            reads: Vec::new(),
            staged: Vec::new(),
        })
    }

    fn state_at(&self, sequence: u64) -> &Rows {
        &self.states[usize::try_from(sequence).unwrap()]
    }

    /// Values are never repeated, so a read of the wrong version shows.
    fn next_value(&mut self) -> u64 {
        self.values += 1;
        self.values
    }

    fn applied(&mut self, writes: Vec<(Write, u64)>) {
        let mut state = self.states.last().unwrap().clone();
        for (write, value) in &writes {
            match *write {
                Write::Put(key) => drop(state.insert(key, *value)),
                Write::Delete(key) => drop(state.remove(&key)),
                Write::DeleteRange(start, end) => {
                    state.retain(|key, _| !(start..end).contains(key));
                }
            }
        }
        self.states.push(state);
        self.commits
            .push(writes.into_iter().map(|(write, _)| write).collect());
    }

    fn rows_at(&self, at: u64, start: u8, end: u8) -> Result<Rows, TestCaseError> {
        let at = Snapshot::new(trine_kv::Sequence::new(at));
        let range = range(start, end);
        let rows = call!(self.way, self.db, range_at / range_at_sync(&at, &range));
        let rows = self.way.rows(rows.map_err(failed)?).map_err(failed)?;
        Ok(rows
            .into_iter()
            .map(|(key, value)| (key[0], u64::from_be_bytes(value.try_into().unwrap())))
            .collect())
    }

    fn expected(&self, at: u64, start: u8, end: u8) -> Rows {
        let state = self.state_at(at).iter();
        state
            .filter(|(key, _)| (start..end).contains(*key))
            .map(|(key, value)| (*key, *value))
            .collect()
    }

    fn commit(&mut self, slot: usize) -> TestResult {
        let Some(open) = self.open[slot].take() else {
            return Ok(());
        };
        let at = open.transaction.read_sequence().get();
        let later = &self.commits[usize::try_from(at).unwrap()..];
        let written = later.iter().flatten();
        let conflict = written
            .flat_map(|write| open.reads.iter().map(move |read| (write, read)))
            .any(|(write, (start, end))| write.meets(*start, *end));
        let before = self.db.last_committed_sequence().get();
        match call!(self.way, open.transaction, commit / commit_sync()) {
            Err(Error::Conflict { message }) => {
                prop_assert!(conflict, "unexpected: {}", message);
                prop_assert_eq!(self.db.last_committed_sequence().get(), before);
            }
            Err(error) => return Err(failed(error)),
            Ok(info) => {
                prop_assert!(!conflict, "a conflict was missed");
                for (start, end) in &open.reads {
                    // Nothing it read has changed: it might as well have run now, alone.
                    prop_assert_eq!(
                        self.expected(at, *start, *end),
                        self.expected(before, *start, *end)
                    );
                }
                let sequence = info.sequence().get();
                prop_assert_eq!(sequence, before + u64::from(!open.staged.is_empty()));
                if !open.staged.is_empty() {
                    self.applied(open.staged);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> TestResult {
        match step {
            Step::Get(slot, key) => {
                let way = self.way;
                let open = self.slot(slot);
                let at = open.transaction.read_sequence().get();
                let found = call!(way, open.transaction, get / get_sync(&[key])).map_err(failed)?;
                open.reads.push((key, key + 1));
                let expected = self.state_at(at).get(&key);
                prop_assert_eq!(found, expected.map(|value| value.to_be_bytes().to_vec()));
            }
            Step::ReadRange(slot, start, end) => {
                let way = self.way;
                let open = self.slot(slot);
                let at = open.transaction.read_sequence().get();
                let range = range(start, end);
                call!(way, open.transaction, read_range / read_range_sync(range))
                    .map_err(failed)?;
                open.reads.push((start, end));
                prop_assert_eq!(self.rows_at(at, start, end)?, self.expected(at, start, end));
            }
            Step::Stage(slot, write) => {
                let value = self.next_value();
                let open = self.slot(slot);
                match write {
                    Write::Put(key) => open.transaction.put([key], value.to_be_bytes()),
                    Write::Delete(key) => open.transaction.delete([key]),
                    Write::DeleteRange(start, end) => {
                        open.transaction.delete_range(range(start, end));
                    }
                }
                open.staged.push((write, value));
            }
            Step::Commit(slot) => self.commit(slot)?,
            Step::Discard(slot) => self.open[slot] = None,
            Step::Direct(writes) => {
                let mut batch = WriteBatch::new();
                let mut valued = Vec::new();
                for write in writes {
                    let value = self.next_value();
                    match write {
                        Write::Put(key) => batch.put([key], value.to_be_bytes()),
                        Write::Delete(key) => batch.delete([key]),
                        Write::DeleteRange(start, end) => batch.delete_range(range(start, end)),
                    }
                    valued.push((write, value));
                }
                let options = WriteOptions::buffered();
                call!(self.way, self.db, write / write_sync(batch, options)).map_err(failed)?;
                self.applied(valued);
            }
            Step::Flush => call!(self.way, self.db, flush / flush_sync()).map_err(failed)?,
            Step::Compact(start, end) => {
                let range = range(start, end);
                call!(self.way, self.db, compact_range / compact_range_sync(range))
                    .map_err(failed)?;
            }
        }
        let newest = self.db.last_committed_sequence().get();
        prop_assert_eq!(newest, u64::try_from(self.commits.len()).unwrap());
        Ok(())
    }
}

fn commits_are_a_serial_history(name: &str, options: impl Fn(&tempfile::TempDir) -> DbOptions) {
    let seed = seed(name);
    let mut random = Random(seed);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    let config = Config {
        cases: CASES,
        max_shrink_iters: 4096,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    // Half of the steps through the async interface, mixed.
    let histories = vec((any::<bool>(), step()), 1..150);
    let outcome = runner.run(&histories, |history| {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::new(options(&directory));
        for (cooperative, step) in history {
            run.way = if cooperative { Way::Async } else { Way::Sync };
            run.step(step)?;
        }
        for slot in 0..SLOTS {
            run.commit(slot)?;
        }
        let newest = run.db.last_committed_sequence().get();
        prop_assert_eq!(run.rows_at(newest, 0, KEYS)?, run.expected(newest, 0, KEYS));
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}, TRINE_TEST_SEED={seed}: {failure}");
    }
}

#[test]
fn in_memory() {
    commits_are_a_serial_history("serial, in memory", |_| DbOptions::memory());
}

#[test]
fn on_disk() {
    commits_are_a_serial_history("serial, on disk", persistent);
}

#[test]
fn with_a_memtable_for_each_commit() {
    commits_are_a_serial_history("serial, a memtable for each commit", |directory| {
        DbOptions {
            write_buffer_bytes: 1,
            max_immutable_memtables: 3,
            max_l0_files: 2,
            ..persistent(directory)
        }
    });
}

#[test]
fn beside_a_worker_with_tiny_tables() {
    commits_are_a_serial_history("serial, beside a worker", |directory| DbOptions {
        write_buffer_bytes: 60,
        max_l0_files: 1,
        target_table_bytes: 100,
        background_worker_count: 1,
        ..persistent(directory)
    });
}
