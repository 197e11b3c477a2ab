//! Maintenance of every kind, in an order that a seed chooses: flushes, compactions with and without a budget, verification,
//! checkpoints, buckets that come and go. Blob files are collected by what compacts.

use std::path::Path;

use trine_kv::{
    Bucket, BucketOptions, Db, DbOptions, Error, KeyRange, MaintenanceBudget, WriteBatch,
    WriteOptions,
};

use crate::common::random::Random;
use crate::common::way::call;
use crate::history::{BUCKETS, History, SLOTS, key, rows, value};
use crate::readers::same;
use crate::writers::{pick, way};

pub(crate) struct Maintenance<'run> {
    pub(crate) db: &'run Db,
    pub(crate) history: &'run History,
    pub(crate) options: &'run DbOptions,
}

impl Maintenance<'_> {
    /// Maintains until the writers are done.
    pub(crate) fn run(&self, seed: u64) {
        let mut random = Random(seed);
        while !self.history.is_over() {
            self.one(&mut random);
            // Some time for tables to gather between.
            let pause = random.next() % 16;
            self.history
                .wait_for_progress(self.history.complete() + pause);
        }
    }

    fn one(&self, random: &mut Random) {
        let way = way(random);
        let db = self.db;
        let start = pick(random, SLOTS);
        let range = match random.next() % 2 {
            0 => KeyRange::all(),
            _ => KeyRange::half_open(key(start), key(start + pick(random, SLOTS - start))),
        };
        let budget = match random.next() % 3 {
            0 => MaintenanceBudget::unbounded(),
            1 => MaintenanceBudget::single_unit(),
            _ => MaintenanceBudget::new(1 + pick(random, 3), 1 + pick(random, 3)),
        };
        match random.next() % 16 {
            0..4 => call!(way, db, flush / flush_sync()).expect("a flush"),
            4..7 => call!(way, db, compact_range / compact_range_sync(range)).expect("a merge"),
            7..9 => drop(
                call!(
                    way,
                    db,
                    compact_range_with_budget / compact_range_with_budget_sync(range, budget)
                )
                .expect("a merge"),
            ),
            9..14 => drop(
                call!(
                    way,
                    db,
                    run_maintenance_with_budget / run_maintenance_with_budget_sync(budget)
                )
                .expect("maintenance"),
            ),
            14 => drop(call!(way, db, verify / verify_sync(|_| {})).expect("nothing is damaged")),
            _ => assert!(!db.stats().to_string().is_empty(), "figures at any time"),
        }
    }

    /// Makes copies until the writers are done, and compares them.
    pub(crate) fn checkpoints(&self, seed: u64, path: &Path) {
        let mut random = Random(seed);
        while !self.history.is_over() {
            let way = way(&mut random);
            let through = call!(way, self.db, checkpoint / checkpoint_sync(path));
            let through = through.expect("a checkpoint").get();
            let options = DbOptions {
                background_worker_count: 0,
                storage_mode: DbOptions::new(path).storage_mode,
                ..self.options.clone()
            };
            let copy = way.open(options).expect("the copy opens");
            assert_eq!(copy.last_committed_sequence().get(), through);
            let buckets = open_buckets(&copy, self.options);
            is_as_at(&copy, &buckets, self.history, through);
            way.close(&copy).expect("the copy closes");
            std::fs::remove_dir_all(path).expect("the copy goes");
            self.history
                .wait_for_progress(self.history.complete() + random.next() % 100);
        }
    }

    /// Makes buckets, fills them and drops them under who reads them, until the writers are done.
    pub(crate) fn passing_buckets(&self, seed: u64) {
        let mut random = Random(seed);
        while !self.history.is_over() {
            self.passing_bucket(&mut random);
        }
    }

    fn passing_bucket(&self, random: &mut Random) {
        let way = way(random);
        let db = self.db;
        let name = ["passing by", "passing too"][pick(random, 2)];
        let options = self.options.default_bucket_options.clone();
        let bucket = call!(
            way,
            db,
            bucket_with_options / bucket_with_options_sync(name, options)
        )
        .expect("a bucket");
        assert_eq!(bucket.first_sync(&KeyRange::all()).expect("a read"), None);
        let mut expected = Vec::new();
        for slot in 0..pick(random, SLOTS) {
            let stamp = random.next();
            let mut batch = WriteBatch::new();
            batch
                .put_bucket(name, key(slot), value(stamp))
                .expect("a bucket's name");
            let info = call!(way, db, write / write_sync(batch, WriteOptions::buffered()));
            self.history
                .record(info.expect("a commit").sequence().get(), Vec::new());
            expected.push((key(slot), value(stamp)));
        }
        let snapshot = db.snapshot();
        let reader = bucket.reader(&snapshot).expect("a reader");
        let lent: Vec<_> = expected
            .iter()
            .map(|(key, _)| call!(way, reader, get_ref / get_ref_sync(key)).expect("a read"))
            .collect();
        let iter = bucket.range_sync(&KeyRange::all()).expect("a scan");
        self.history
            .wait_for_progress(self.history.complete() + random.next() % 60);
        call!(way, db, drop_bucket / drop_bucket_sync(name)).expect("the bucket goes");
        let gone = bucket.put_sync("key", "value");
        assert!(
            matches!(gone, Err(Error::BucketMissing { .. })),
            "a dropped bucket takes no writes: {gone:?}"
        );
        let rows = way.rows(iter).expect("rows");
        same(&rows, &expected, "rows of a dropped bucket");
        for ((key, value), lent) in expected.iter().zip(&lent) {
            assert!(
                lent.as_deref() == Some(value),
                "{key:?} of a dropped bucket, lent before"
            );
        }
    }
}

/// The buckets of a run, made where they are missing.
pub(crate) fn open_buckets(db: &Db, options: &DbOptions) -> Vec<Bucket> {
    let of = |threshold| BucketOptions {
        blob_threshold_bytes: threshold,
        ..options.default_bucket_options.clone()
    };
    vec![
        db.default_bucket_sync().expect("the default bucket"),
        db.bucket_with_options_sync(BUCKETS[1], of(300))
            .expect("a bucket"),
        db.bucket_with_options_sync(BUCKETS[2], of(20))
            .expect("a bucket"),
    ]
}

/// Whether the database holds what the history says of this sequence, both ways round, and is undamaged.
pub(crate) fn is_as_at(db: &Db, buckets: &[Bucket], history: &History, sequence: u64) {
    for (index, bucket) in buckets.iter().enumerate() {
        let expected = rows(&history.state(index, sequence));
        holds(bucket, expected);
    }
    db.verify_sync(|_| {}).expect("nothing is damaged");
}

/// Whether the bucket holds these rows, both ways round.
pub(crate) fn holds(bucket: &Bucket, mut expected: Vec<(Vec<u8>, Vec<u8>)>) {
    let way = crate::common::way::Way::Sync;
    let name = bucket.name().as_str();
    let forward = bucket.range_sync(&KeyRange::all()).expect("a scan");
    same(&way.rows(forward).expect("rows"), &expected, name);
    expected.reverse();
    let backward = bucket.range_reverse_sync(&KeyRange::all());
    let backward = way.rows(backward.expect("a scan")).expect("rows");
    same(&backward, &expected, name);
}
