//! Random histories against a map: whatever the options, flushes, compactions and reopens in
//! between, every read answers as a sorted map with copies for snapshots would.
//!
//! The seed is printed first; `TRINE_TEST_SEED=<seed> cargo test --test model` replays a run, and a
//! failure prints the shortest history that proptest found. `TRINE_MODEL_CASES` makes runs longer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use trine_kv::{
    BlobGcRatio, BlobLevelMergePolicy, Bucket, BucketOptions, CompressionProfile, Db, DbOptions,
    DurabilityMode, Iter, KeyRange, Snapshot, WriteBatch, WriteOptions,
};

mod common {
    pub(crate) mod executor;
    pub(crate) mod place;
    pub(crate) mod random;
    pub(crate) mod way;
}
use common::place;
use common::random::{Random, seed};
use common::way::{Way, call};

/// Whether there are threads, and promises that outlive a power loss.
const NATIVE: bool = cfg!(not(target_family = "wasm"));
const CASES: u32 = 16;
const OPERATIONS_PER_CASE: usize = 120;
const BUCKETS: [&str; 3] = ["default", "second", "../third\0"];
const SNAPSHOTS_MAX: usize = 4;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Row = (Vec<u8>, Vec<u8>);
type State = [Rows; BUCKETS.len()];
type TestResult = Result<(), TestCaseError>;

#[derive(Clone, Debug)]
enum Write {
    Put {
        bucket: usize,
        key: Vec<u8>,
        length: usize,
    },
    Delete {
        bucket: usize,
        key: Vec<u8>,
    },
    DeleteRange {
        bucket: usize,
        range: KeyRange,
    },
}

#[derive(Clone, Debug)]
enum Operation {
    One(Write, WriteOptions),
    Batch(Vec<Write>, WriteOptions),
    Get {
        bucket: usize,
        key: Vec<u8>,
        at: Option<usize>,
    },
    Range {
        bucket: usize,
        range: KeyRange,
        reverse: bool,
        at: Option<usize>,
    },
    Prefix {
        bucket: usize,
        prefix: Vec<u8>,
        reverse: bool,
        at: Option<usize>,
    },
    TakeSnapshot,
    DropSnapshot(usize),
    /// Creates a scan now and reads it at some later operation.
    HoldScan {
        bucket: usize,
        range: KeyRange,
        reverse: bool,
    },
    ReadHeldScans,
    Flush,
    Compact(KeyRange),
    Reopen,
}

/// `wanted`, or the strongest that is honoured here.
fn synced(wanted: WriteOptions) -> WriteOptions {
    if NATIVE {
        wanted
    } else {
        WriteOptions::flush()
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few bytes, short keys: histories meet on the same keys, and prefixes of keys are keys.
    vec(
        prop_oneof![Just(0), Just(1), Just(b'a'), Just(b'b'), Just(0xff)],
        0..4,
    )
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    // Inverted and empty ranges are ranges too.
    (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end })
}

fn bucket() -> impl Strategy<Value = usize> {
    0..BUCKETS.len()
}

fn write() -> impl Strategy<Value = Write> {
    let length = prop_oneof![4 => 0..40_usize, 1 => 40..400_usize, 1 => Just(3000_usize)];
    prop_oneof![
        6 => (bucket(), key(), length)
            .prop_map(|(bucket, key, length)| Write::Put { bucket, key, length }),
        2 => (bucket(), key()).prop_map(|(bucket, key)| Write::Delete { bucket, key }),
        1 => (bucket(), range()).prop_map(|(bucket, range)| Write::DeleteRange { bucket, range }),
    ]
}

fn write_options() -> impl Strategy<Value = WriteOptions> {
    prop_oneof![
        8 => Just(WriteOptions::buffered()),
        1 => Just(WriteOptions::flush()),
        1 => Just(synced(WriteOptions::sync_data())),
        1 => Just(synced(WriteOptions::sync_all())),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let at = || proptest::option::of(0..SNAPSHOTS_MAX);
    prop_oneof![
        24 => (write(), write_options()).prop_map(|(write, options)| Operation::One(write, options)),
        8 => (vec(write(), 0..6), write_options())
            .prop_map(|(writes, options)| Operation::Batch(writes, options)),
        8 => (bucket(), key(), at()).prop_map(|(bucket, key, at)| Operation::Get { bucket, key, at }),
        8 => (bucket(), range(), any::<bool>(), at()).prop_map(|(bucket, range, reverse, at)| {
            Operation::Range { bucket, range, reverse, at }
        }),
        4 => (bucket(), key(), any::<bool>(), at()).prop_map(|(bucket, prefix, reverse, at)| {
            Operation::Prefix { bucket, prefix, reverse, at }
        }),
        3 => Just(Operation::TakeSnapshot),
        2 => (0..SNAPSHOTS_MAX).prop_map(Operation::DropSnapshot),
        2 => (bucket(), range(), any::<bool>())
            .prop_map(|(bucket, range, reverse)| Operation::HoldScan { bucket, range, reverse }),
        2 => Just(Operation::ReadHeldScans),
        4 => Just(Operation::Flush),
        2 => Just(Operation::Compact(KeyRange::all())),
        2 => range().prop_map(Operation::Compact),
        2 => Just(Operation::Reopen),
    ]
}

fn contains(range: &KeyRange, key: &[u8]) -> bool {
    let after_start = match &range.start {
        Bound::Included(start) => key >= start.as_slice(),
        Bound::Excluded(start) => key > start.as_slice(),
        Bound::Unbounded => true,
    };
    let before_end = match &range.end {
        Bound::Included(end) => key <= end.as_slice(),
        Bound::Excluded(end) => key < end.as_slice(),
        Bound::Unbounded => true,
    };
    after_start && before_end
}

fn expected_rows(rows: &Rows, wanted: impl Fn(&[u8]) -> bool, reverse: bool) -> Vec<Row> {
    let mut rows: Vec<_> = rows
        .iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if reverse {
        rows.reverse();
    }
    rows
}

/// The options that a whole run keeps.
#[derive(Clone, Debug)]
struct Setting {
    name: &'static str,
    options: DbOptions,
    bucket_options: BucketOptions,
    persistent: bool,
}

struct Run<'setting> {
    setting: &'setting Setting,
    path: &'setting Path,
    way: Way,
    db: Db,
    buckets: Vec<Bucket>,
    state: State,
    sequence: u64,
    snapshots: Vec<(Snapshot, State)>,
    held: Vec<(Iter, Vec<Row>)>,
    writes: u64,
}

impl<'setting> Run<'setting> {
    fn new(setting: &'setting Setting, path: &'setting Path) -> trine_kv::Result<Self> {
        let (db, buckets) = Self::open(setting, path, Way::Sync)?;
        Ok(Self {
            setting,
            path,
            way: Way::Sync,
            db,
            buckets,
            state: State::default(),
            sequence: 0,
            snapshots: Vec::new(),
            held: Vec::new(),
            writes: 0,
        })
    }

    fn open(setting: &Setting, path: &Path, way: Way) -> trine_kv::Result<(Db, Vec<Bucket>)> {
        let mut options = setting.options.clone();
        if setting.persistent {
            options.storage_mode = place::options(path).storage_mode;
        }
        options.default_bucket_options = setting.bucket_options.clone();
        let db = way.open(options)?;
        let mut buckets = vec![call!(way, db, default_bucket / default_bucket_sync())?];
        for name in &BUCKETS[1..] {
            let options = setting.bucket_options.clone();
            buckets.push(call!(
                way,
                db,
                bucket_with_options / bucket_with_options_sync(*name, options)
            )?);
        }
        Ok((db, buckets))
    }

    /// Values are never repeated, so a read of the wrong version shows.
    fn value(&mut self, length: usize) -> Vec<u8> {
        self.writes += 1;
        let mut value = self.writes.to_le_bytes()[..length.min(8)].to_vec();
        value.resize(length, u8::try_from(self.writes % 251).expect("below 251"));
        value
    }

    fn apply(&mut self, write: &Write, value: &[u8]) {
        match write {
            Write::Put { bucket, key, .. } => {
                self.state[*bucket].insert(key.clone(), value.to_vec());
            }
            Write::Delete { bucket, key } => {
                self.state[*bucket].remove(key);
            }
            Write::DeleteRange { bucket, range } => {
                self.state[*bucket].retain(|key, _| !contains(range, key));
            }
        }
    }

    fn one(&mut self, write: Write, options: WriteOptions) -> trine_kv::Result<u64> {
        let way = self.way;
        let value = match &write {
            Write::Put { length, .. } => self.value(*length),
            _ => Vec::new(),
        };
        self.apply(&write, &value);
        self.sequence += 1;
        let info = match write {
            Write::Put { bucket, key, .. } => {
                let bucket = &self.buckets[bucket];
                call!(
                    way,
                    bucket,
                    put_with_options / put_with_options_sync(key, value, options)
                )?
            }
            Write::Delete { bucket, key } => {
                let bucket = &self.buckets[bucket];
                call!(
                    way,
                    bucket,
                    delete_with_options / delete_with_options_sync(key, options)
                )?
            }
            Write::DeleteRange { bucket, range } => {
                let bucket = &self.buckets[bucket];
                call!(
                    way,
                    bucket,
                    delete_range_with_options / delete_range_with_options_sync(range, options)
                )?
            }
        };
        Ok(info.sequence().get())
    }

    fn batch(&mut self, writes: Vec<Write>, options: WriteOptions) -> trine_kv::Result<u64> {
        let mut batch = WriteBatch::new();
        self.sequence += u64::from(!writes.is_empty());
        for write in writes {
            let value = match &write {
                Write::Put { length, .. } => self.value(*length),
                _ => Vec::new(),
            };
            self.apply(&write, &value);
            match write {
                Write::Put { bucket: 0, key, .. } => batch.put(key, value),
                Write::Delete { bucket: 0, key } => batch.delete(key),
                Write::DeleteRange { bucket: 0, range } => batch.delete_range(range),
                Write::Put { bucket, key, .. } => batch.put_bucket(BUCKETS[bucket], key, value)?,
                Write::Delete { bucket, key } => batch.delete_bucket(BUCKETS[bucket], key)?,
                Write::DeleteRange { bucket, range } => {
                    batch.delete_range_bucket(BUCKETS[bucket], range)?;
                }
            }
        }
        let info = call!(self.way, self.db, write / write_sync(batch, options))?;
        Ok(info.sequence().get())
    }

    /// The snapshot to read at, if there are any, and what it must show.
    fn at(&self, at: Option<usize>) -> (Option<&Snapshot>, &State) {
        let pinned = at.and_then(|at| self.snapshots.get(at % self.snapshots.len().max(1)));
        match pinned {
            Some((snapshot, state)) => (Some(snapshot), state),
            None => (None, &self.state),
        }
    }

    fn range_iter(
        &self,
        bucket: usize,
        range: &KeyRange,
        reverse: bool,
        at: Option<&Snapshot>,
    ) -> trine_kv::Result<Iter> {
        let (way, bucket) = (self.way, &self.buckets[bucket]);
        match (at, reverse) {
            (None, false) => call!(way, bucket, range / range_sync(range)),
            (None, true) => call!(way, bucket, range_reverse / range_reverse_sync(range)),
            (Some(at), false) => call!(way, bucket, range_at / range_at_sync(at, range)),
            (Some(at), true) => call!(
                way,
                bucket,
                range_reverse_at / range_reverse_at_sync(at, range)
            ),
        }
    }

    fn prefix_iter(
        &self,
        bucket: usize,
        prefix: &[u8],
        reverse: bool,
        at: Option<&Snapshot>,
    ) -> trine_kv::Result<Iter> {
        let (way, bucket) = (self.way, &self.buckets[bucket]);
        match (at, reverse) {
            (None, false) => call!(way, bucket, prefix / prefix_sync(prefix)),
            (None, true) => call!(way, bucket, prefix_reverse / prefix_reverse_sync(prefix)),
            (Some(at), false) => call!(way, bucket, prefix_at / prefix_at_sync(at, prefix)),
            (Some(at), true) => {
                call!(
                    way,
                    bucket,
                    prefix_reverse_at / prefix_reverse_at_sync(at, prefix)
                )
            }
        }
    }

    fn read_held(&mut self) -> TestResult {
        for (iter, expected) in std::mem::take(&mut self.held) {
            same("a scan created earlier", self.way.rows(iter), &expected)?;
        }
        Ok(())
    }

    fn step(&mut self, operation: Operation) -> TestResult {
        match operation {
            Operation::One(write, options) => {
                let sequence = self.one(write, options);
                same("the commit's sequence", sequence, &self.sequence)?;
            }
            Operation::Batch(writes, options) => {
                let sequence = self.batch(writes, options);
                same("the commit's sequence", sequence, &self.sequence)?;
            }
            Operation::Get { bucket, key, at } => {
                let (at, state) = self.at(at);
                let read = match at {
                    None => call!(self.way, self.buckets[bucket], get / get_sync(&key)),
                    Some(at) => call!(
                        self.way,
                        self.buckets[bucket],
                        get_at / get_at_sync(at, &key)
                    ),
                };
                same("a point read", read, &state[bucket].get(&key).cloned())?;
            }
            Operation::Range {
                bucket,
                range,
                reverse,
                at,
            } => {
                let (at, state) = self.at(at);
                let expected = expected_rows(&state[bucket], |key| contains(&range, key), reverse);
                let rows = self
                    .range_iter(bucket, &range, reverse, at)
                    .and_then(|iter| self.way.rows(iter));
                same("a range scan", rows, &expected)?;
            }
            Operation::Prefix {
                bucket,
                prefix,
                reverse,
                at,
            } => {
                let (at, state) = self.at(at);
                let expected =
                    expected_rows(&state[bucket], |key| key.starts_with(&prefix), reverse);
                let rows = self
                    .prefix_iter(bucket, &prefix, reverse, at)
                    .and_then(|iter| self.way.rows(iter));
                same("a prefix scan", rows, &expected)?;
            }
            Operation::TakeSnapshot => {
                if self.snapshots.len() == SNAPSHOTS_MAX {
                    self.snapshots.remove(0);
                }
                let snapshot = self.db.snapshot();
                same(
                    "the snapshot's sequence",
                    Ok(snapshot.read_sequence().get()),
                    &self.sequence,
                )?;
                self.snapshots.push((snapshot, self.state.clone()));
            }
            Operation::DropSnapshot(index) => {
                if !self.snapshots.is_empty() {
                    self.snapshots.remove(index % self.snapshots.len());
                }
            }
            Operation::HoldScan {
                bucket,
                range,
                reverse,
            } => {
                let expected =
                    expected_rows(&self.state[bucket], |key| contains(&range, key), reverse);
                let iter = self
                    .range_iter(bucket, &range, reverse, None)
                    .map_err(failed)?;
                self.held.push((iter, expected));
            }
            Operation::ReadHeldScans => self.read_held()?,
            Operation::Flush => call!(self.way, self.db, flush / flush_sync()).map_err(failed)?,
            Operation::Compact(range) => {
                call!(self.way, self.db, compact_range / compact_range_sync(range))
                    .map_err(failed)?;
            }
            Operation::Reopen => self.reopen()?,
        }
        same(
            "the newest sequence",
            Ok(self.db.last_committed_sequence().get()),
            &self.sequence,
        )
    }

    fn reopen(&mut self) -> TestResult {
        if !self.setting.persistent {
            return Ok(());
        }
        self.way.close(&self.db).map_err(failed)?;
        // A snapshot pins nothing in the next opening; a scan made before keeps its rows.
        self.snapshots.clear();
        let (db, buckets) = Self::open(self.setting, self.path, self.way).map_err(failed)?;
        (self.db, self.buckets) = (db, buckets);
        Ok(())
    }

    /// After the last operation: everything in every view, both ways round.
    fn check_all(&mut self) -> TestResult {
        self.read_held()?;
        for index in 0..=self.snapshots.len() {
            for bucket in 0..BUCKETS.len() {
                for reverse in [false, true] {
                    self.step(Operation::Range {
                        bucket,
                        range: KeyRange::all(),
                        reverse,
                        at: (index < self.snapshots.len()).then_some(index),
                    })?;
                }
            }
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn failed(error: trine_kv::Error) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: trine_kv::Result<T>,
    expected: &T,
) -> TestResult {
    match found {
        Ok(found) if found == *expected => Ok(()),
        found => Err(TestCaseError::fail(format!(
            "{what}: found {found:?}, expected {expected:?}"
        ))),
    }
}

fn agrees_with_the_model(setting: &Setting) {
    let seed = seed(&format!("model, {}", setting.name));
    let mut random = Random(seed);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    let cases = std::env::var("TRINE_MODEL_CASES").map_or(CASES, |text| {
        text.parse().expect("TRINE_MODEL_CASES is a number")
    });
    let config = Config {
        cases,
        max_shrink_iters: 4096,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    // Half of the operations through the async interface, mixed.
    let histories = vec((any::<bool>(), operation()), 1..2 * OPERATIONS_PER_CASE);
    let outcome = runner.run(&histories, |history| {
        let directory = place::directory();
        let mut run = Run::new(setting, directory.path()).map_err(failed)?;
        for (cooperative, operation) in history {
            run.way = if cooperative { Way::Async } else { Way::Sync };
            run.step(operation)?;
        }
        run.check_all()?;
        run.step(Operation::Reopen)?;
        run.check_all()
    });
    if let Err(failure) = outcome {
        panic!("{}, TRINE_TEST_SEED={seed}: {failure}", setting.name);
    }
}

fn memory() -> Setting {
    Setting {
        name: "memory",
        options: DbOptions::memory(),
        bucket_options: BucketOptions::default(),
        persistent: false,
    }
}

fn persistent(name: &'static str, write_buffer_bytes: usize, workers: usize) -> Setting {
    Setting {
        name,
        options: DbOptions {
            write_buffer_bytes,
            background_worker_count: if NATIVE { workers } else { 0 },
            durability: DurabilityMode::Buffered,
            ..place::options(Path::new("set by each case"))
        },
        bucket_options: BucketOptions::default(),
        persistent: true,
    }
}

impl Setting {
    fn blocks(mut self, block_bytes: usize, compression: CompressionProfile) -> Self {
        self.bucket_options.block_bytes = block_bytes;
        self.bucket_options.compression = compression;
        self
    }
}

/// Most values go to blob files, most of which are garbage soon.
fn large_values(
    name: &'static str,
    policy: BlobLevelMergePolicy,
    compression: CompressionProfile,
    workers: usize,
) -> Setting {
    let mut setting = persistent(name, 400, workers).blocks(64, compression);
    setting.bucket_options.blob_threshold_bytes = 10;
    setting.bucket_options.blob_level_merge_policy = policy;
    setting.options.blob_gc_min_file_bytes = 1;
    setting.options.blob_gc_discardable_ratio = BlobGcRatio::from_millionths(200_000);
    setting.options.target_table_bytes = 400;
    setting.options.max_l0_files = 2;
    setting
}

#[test]
fn large_values_that_stay_until_they_are_garbage() {
    agrees_with_the_model(&large_values(
        "large values, no level merge",
        BlobLevelMergePolicy::Disabled,
        CompressionProfile::Fast,
        1,
    ));
}

#[test]
fn large_values_that_move_when_it_pays() {
    agrees_with_the_model(&large_values(
        "large values, automatic level merge",
        BlobLevelMergePolicy::Auto,
        CompressionProfile::None,
        0,
    ));
}

#[test]
fn large_values_that_always_move() {
    agrees_with_the_model(&large_values(
        "large values, level merge always",
        BlobLevelMergePolicy::Always,
        CompressionProfile::Fast,
        1,
    ));
}

#[test]
fn memory_mode() {
    agrees_with_the_model(&memory());
}

#[test]
fn default_options() {
    agrees_with_the_model(&persistent("default options", 64 << 20, 1));
}

#[test]
fn no_workers() {
    agrees_with_the_model(&persistent("no workers", 64 << 20, 0));
}

#[test]
fn every_write_freezes_a_memtable() {
    agrees_with_the_model(&persistent("write buffer of one byte", 1, 0));
}

#[test]
fn tiny_write_buffer_with_a_worker_and_one_entry_per_block() {
    let setting = persistent("tiny write buffer, one entry per block", 300, 1);
    agrees_with_the_model(&setting.blocks(1, CompressionProfile::Fast));
}

#[test]
fn tiny_write_buffer_without_workers_and_small_plain_blocks() {
    let setting = persistent("tiny write buffer, small plain blocks", 300, 0);
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::None));
}

#[test]
fn small_blocks_compressed() {
    let setting = persistent("small blocks, compressed", 2000, 1);
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::Fast));
}

#[cfg(all(feature = "zstd", not(target_family = "wasm")))]
#[test]
fn small_blocks_compressed_with_zstd() {
    let setting = persistent("small blocks, compressed with zstd", 2000, 1);
    agrees_with_the_model(&setting.blocks(300, CompressionProfile::Zstd));
}

#[test]
fn large_plain_blocks_without_a_cache() {
    let mut setting = persistent("large plain blocks, no cache", 2000, 1);
    setting.options.block_cache_bytes = 0;
    agrees_with_the_model(&setting.blocks(16 << 10, CompressionProfile::None));
}

#[test]
fn tiny_tables_and_many_levels() {
    let mut setting = persistent("tiny tables and many levels", 200, 1);
    setting.options.target_table_bytes = 300;
    setting.options.level_size_multiplier = 2;
    setting.options.max_l0_files = 2;
    setting.options.max_immutable_memtables = 1;
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::None));
}
