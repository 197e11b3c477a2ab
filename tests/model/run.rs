//! One history, run on a database and on the model of it: sorted maps, copied for each snapshot. Time passes when the history says so.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use trine_kv::{
    Bucket, BucketOptions, BulkLoadOptions, Clock, Db, DbOptions, Iter, KeyRange, MergeOperator,
    Merged, Snapshot, WriteBatch, WriteOptions,
};

use crate::common::place;
use crate::common::way::{Way, call};
use crate::history::{BUCKETS, IN_BROWSER, Operation, SNAPSHOTS_MAX, Write};

type Rows = BTreeMap<Vec<u8>, Made>;
type Row = (Vec<u8>, Vec<u8>);
type State = [Rows; BUCKETS.len()];
type TestResult = Result<(), TestCaseError>;

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

/// What the value of a key is made of.
#[derive(Clone, Debug, Default)]
struct Made {
    /// With the time until which it is one, if it expires.
    base: Option<(Vec<u8>, Option<u64>)>,
    operands: Vec<Vec<u8>>,
}

impl Made {
    fn put(value: &[u8], until: Option<u64>) -> Self {
        Self {
            base: Some((value.to_vec(), until)),
            operands: Vec::new(),
        }
    }

    fn value(&self, now: u64) -> Option<Vec<u8>> {
        let base = self.base.as_ref();
        let base = base.filter(|(_, until)| until.is_none_or(|until| now < until));
        let operands: Vec<_> = self.operands.iter().map(Vec::as_slice).collect();
        Append::merged(base.map(|(value, _)| value.as_slice()), &operands)
    }
}

fn value_at(rows: &Rows, key: &[u8], now: u64) -> Option<Vec<u8>> {
    rows.get(key)?.value(now)
}

/// Puts operands behind the value; an empty one takes all of it away.
pub(crate) struct Append;

impl Append {
    pub(crate) const NAME: &str = "append";

    fn merged(existing: Option<&[u8]>, operands: &[&[u8]]) -> Option<Vec<u8>> {
        let mut value = existing.map(<[u8]>::to_vec);
        for operand in operands {
            if operand.is_empty() {
                value = None;
            } else {
                value.get_or_insert_default().extend_from_slice(operand);
            }
        }
        value
    }
}

impl MergeOperator for Append {
    fn merge(&self, _: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
        Ok(Self::merged(existing, operands))
    }

    fn combine(&self, _: &[u8], operands: &[&[u8]]) -> Merged {
        let takes_away = operands.iter().any(|operand| operand.is_empty());
        Ok((!takes_away).then(|| operands.concat()))
    }
}

/// What time it is, in milliseconds. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn pass(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

/// The options that a whole run keeps.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) options: DbOptions,
    pub(crate) bucket_options: BucketOptions,
    pub(crate) persistent: bool,
    pub(crate) time: Time,
}

impl Setting {
    /// What to open the database at `path` with.
    pub(crate) fn at(&self, path: &Path) -> DbOptions {
        let mut options = self.options.clone();
        if self.persistent {
            options.storage_mode = place::options(path).storage_mode;
        }
        options.default_bucket_options = self.bucket_options.clone();
        let time = self.time.clone();
        options.clock = Clock::new(move || time.now());
        options
    }
}

fn buckets(setting: &Setting, db: &Db, way: Way) -> trine_kv::Result<Vec<Bucket>> {
    let mut buckets = vec![call!(way, db, default_bucket / default_bucket_sync())?];
    for name in &BUCKETS[1..] {
        let options = setting.bucket_options.clone();
        buckets.push(call!(
            way,
            db,
            bucket_with_options / bucket_with_options_sync(*name, options)
        )?);
    }
    Ok(buckets)
}

pub(crate) struct Run<'setting> {
    setting: &'setting Setting,
    path: &'setting Path,
    pub(crate) way: Way,
    db: Db,
    buckets: Vec<Bucket>,
    state: State,
    sequence: u64,
    snapshots: Vec<(Snapshot, State)>,
    held: Vec<(Iter, Vec<Row>)>,
    writes: u64,
}

impl<'setting> Run<'setting> {
    /// A history on a database that was opened with [`Setting::at`] `path`.
    pub(crate) fn new(
        setting: &'setting Setting,
        path: &'setting Path,
        db: Db,
    ) -> trine_kv::Result<Self> {
        Ok(Self {
            setting,
            path,
            way: Way::Sync,
            buckets: buckets(setting, &db, Way::Sync)?,
            db,
            state: State::default(),
            sequence: 0,
            snapshots: Vec::new(),
            held: Vec::new(),
            writes: 0,
        })
    }

    /// Values are never repeated, so a read of the wrong version shows.
    fn value(&mut self, length: usize) -> Vec<u8> {
        self.writes += 1;
        let mut value = self.writes.to_le_bytes()[..length.min(8)].to_vec();
        value.resize(length, u8::try_from(self.writes % 251).expect("below 251"));
        value
    }

    fn now(&self) -> u64 {
        self.setting.time.now()
    }

    fn rows(&self, rows: &Rows, wanted: impl Fn(&[u8]) -> bool, reverse: bool) -> Vec<Row> {
        let (now, wanted) = (self.now(), rows.iter().filter(|(key, _)| wanted(key)));
        let mut rows: Vec<_> = wanted
            .filter_map(|(key, made)| Some((key.clone(), made.value(now)?)))
            .collect();
        if reverse {
            rows.reverse();
        }
        rows
    }

    fn apply(&mut self, write: &Write, value: &[u8]) {
        let now = self.now();
        match write {
            Write::Put { bucket, key, .. } => {
                self.state[*bucket].insert(key.clone(), Made::put(value, None));
            }
            Write::PutFor {
                bucket,
                key,
                millis,
                ..
            } => {
                let made = Made::put(value, Some(now + millis));
                self.state[*bucket].insert(key.clone(), made);
            }
            Write::Delete { bucket, key } => {
                self.state[*bucket].remove(key);
            }
            Write::Merge { bucket, key, .. } => {
                let made = self.state[*bucket].entry(key.clone()).or_default();
                made.operands.push(value.to_vec());
            }
            Write::DeleteRange { bucket, range } => {
                self.state[*bucket].retain(|key, _| !contains(range, key));
            }
        }
    }

    fn one(&mut self, write: Write, options: WriteOptions) -> trine_kv::Result<u64> {
        let way = self.way;
        let value = match &write {
            Write::Put { length, .. }
            | Write::PutFor { length, .. }
            | Write::Merge { length, .. } => self.value(*length),
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
            Write::PutFor {
                bucket,
                key,
                millis,
                ..
            } => {
                let (bucket, ttl) = (&self.buckets[bucket], Duration::from_millis(millis));
                call!(
                    way,
                    bucket,
                    put_with_ttl_and_options
                        / put_with_ttl_and_options_sync(key, value, ttl, options)
                )?
            }
            Write::Merge { bucket, key, .. } => {
                let bucket = &self.buckets[bucket];
                call!(
                    way,
                    bucket,
                    merge_with_options / merge_with_options_sync(key, value, options)
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
                Write::Put { length, .. }
                | Write::PutFor { length, .. }
                | Write::Merge { length, .. } => self.value(*length),
                _ => Vec::new(),
            };
            self.apply(&write, &value);
            match write {
                Write::Put { bucket: 0, key, .. } => batch.put(key, value),
                Write::PutFor {
                    bucket,
                    key,
                    millis,
                    ..
                } => {
                    let ttl = Duration::from_millis(millis);
                    if bucket == 0 {
                        batch.put_with_ttl(key, value, ttl);
                    } else {
                        batch.put_with_ttl_bucket(BUCKETS[bucket], key, value, ttl)?;
                    }
                }
                Write::Delete { bucket: 0, key } => batch.delete(key),
                Write::Merge { bucket: 0, key, .. } => batch.merge(key, value),
                Write::DeleteRange { bucket: 0, range } => batch.delete_range(range),
                Write::Put { bucket, key, .. } => batch.put_bucket(BUCKETS[bucket], key, value)?,
                Write::Delete { bucket, key } => batch.delete_bucket(BUCKETS[bucket], key)?,
                Write::Merge { bucket, key, .. } => {
                    batch.merge_bucket(BUCKETS[bucket], key, value)?;
                }
                Write::DeleteRange { bucket, range } => {
                    batch.delete_range_bucket(BUCKETS[bucket], range)?;
                }
            }
        }
        let info = call!(self.way, self.db, write / write_sync(batch, options))?;
        Ok(info.sequence().get())
    }

    fn load(
        &mut self,
        bucket: usize,
        keys: Vec<(Vec<u8>, usize)>,
        memory_bytes: usize,
    ) -> trine_kv::Result<u64> {
        self.sequence += u64::from(!keys.is_empty());
        let mut rows = Vec::new();
        for (key, length) in keys {
            let value = self.value(length);
            self.state[bucket].insert(key.clone(), Made::put(&value, None));
            rows.push(Ok((key, value)));
        }
        let options = BulkLoadOptions::new().with_memory_bytes(memory_bytes);
        let info = call!(
            self.way,
            self.buckets[bucket],
            try_bulk_load / try_bulk_load_sync(rows, options)
        )?;
        Ok(info.sequence().get())
    }

    fn update(&mut self, bucket: usize, key: &[u8]) -> TestResult {
        const LONG: usize = 100;
        let added = self.value(30);
        let change = |old: Option<&[u8]>| match old {
            Some(old) if old.len() > LONG => None,
            old => Some([old.unwrap_or_default(), &added].concat()),
        };
        let old = value_at(&self.state[bucket], key, self.now());
        let new = change(old.as_deref());
        self.state[bucket].remove(key);
        if let Some(new) = &new {
            self.state[bucket].insert(key.to_vec(), Made::put(new, None));
        }
        self.sequence += 1;
        let updated = call!(
            self.way,
            self.buckets[bucket],
            update / update_sync(key, change)
        );
        same("an update", updated, &new)
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

    fn get(&self, bucket: usize, key: &[u8], at: Option<usize>) -> TestResult {
        let (at, state) = self.at(at);
        let (bucket, rows) = (&self.buckets[bucket], &state[bucket]);
        let read = match at {
            None => call!(self.way, bucket, get / get_sync(key)),
            Some(at) => call!(self.way, bucket, get_at / get_at_sync(at, key)),
        };
        let expected = value_at(rows, key, self.now());
        same("a point read", read, &expected)?;
        if at.is_some() {
            return Ok(());
        }
        let found = call!(self.way, bucket, contains_key / contains_key_sync(key));
        same("whether a key is there", found, &expected.is_some())
    }

    pub(crate) fn step(&mut self, operation: Operation) -> TestResult {
        match operation {
            Operation::One(write, options) => {
                let sequence = self.one(write, options);
                same("the commit's sequence", sequence, &self.sequence)?;
            }
            Operation::Batch(writes, options) => {
                let sequence = self.batch(writes, options);
                same("the commit's sequence", sequence, &self.sequence)?;
            }
            Operation::Load {
                bucket,
                rows,
                memory_bytes,
            } => {
                let sequence = self.load(bucket, rows, memory_bytes);
                same("the load's sequence", sequence, &self.sequence)?;
            }
            Operation::Update { bucket, key } => self.update(bucket, &key)?,
            Operation::Get { bucket, key, at } => self.get(bucket, &key, at)?,
            Operation::Range {
                bucket,
                range,
                reverse,
                at,
            } => {
                let (at, state) = self.at(at);
                let expected = self.rows(&state[bucket], |key| contains(&range, key), reverse);
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
                let expected = self.rows(&state[bucket], |key| key.starts_with(&prefix), reverse);
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
                let expected = self.rows(&self.state[bucket], |key| contains(&range, key), reverse);
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
            Operation::Wait(millis) => self.wait(millis)?,
            Operation::Reopen => self.reopen()?,
        }
        same(
            "the newest sequence",
            Ok(self.db.last_committed_sequence().get()),
            &self.sequence,
        )
    }

    /// Scans judge what expires as they come to it, so they are read before.
    fn wait(&mut self, millis: u64) -> TestResult {
        self.read_held()?;
        self.setting.time.pass(millis);
        Ok(())
    }

    fn reopen(&mut self) -> TestResult {
        if !self.setting.persistent {
            return Ok(());
        }
        self.leave()?;
        let db = self.way.open(self.setting.at(self.path)).map_err(failed)?;
        self.enter(db)
    }

    /// Closes the database.
    pub(crate) fn leave(&mut self) -> TestResult {
        self.way.close(&self.db).map_err(failed)?;
        // A snapshot pins nothing in the next opening; a scan made before keeps its rows, but not in a browser.
        self.snapshots.clear();
        if IN_BROWSER {
            self.held.clear();
        }
        Ok(())
    }

    /// Goes on with the database, opened again.
    pub(crate) fn enter(&mut self, db: Db) -> TestResult {
        self.buckets = buckets(self.setting, &db, self.way).map_err(failed)?;
        self.db = db;
        Ok(())
    }

    /// After the last operation: everything in every view, both ways round.
    pub(crate) fn check_all(&mut self) -> TestResult {
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
pub(crate) fn failed(error: trine_kv::Error) -> TestCaseError {
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
