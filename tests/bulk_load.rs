//! Bulk loads: rows in any order that become one commit, built straight into tables.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use trine_kv::{
    Bucket, BucketOptions, BulkLoadOptions, Db, DbOptions, DurabilityMode, Error, KeyRange,
    TransactionOptions,
};

mod common {
    pub(crate) mod executor;
    pub(crate) mod random;
    pub(crate) mod way;
}
use common::random::{Random, seed};
use common::way::{Way, call};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// No workers, so that only what a test asks for happens.
fn options(path: &Path) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        target_table_bytes: 4096,
        default_bucket_options: BucketOptions::default().with_blob_threshold_bytes(200),
        ..DbOptions::new(path).with_durability(DurabilityMode::Buffered)
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

fn value(number: u64, tag: &str) -> Vec<u8> {
    let length = if number.is_multiple_of(17) { 300 } else { 20 };
    let mut value = format!("{tag} {number}").into_bytes();
    value.resize(length, b'.');
    value
}

fn rows(numbers: impl Iterator<Item = u64>, tag: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
    numbers
        .map(|number| (key(number), value(number, tag)))
        .collect()
}

fn all(bucket: &Bucket) -> Rows {
    let rows = bucket.range_sync(&KeyRange::all()).unwrap();
    Way::Sync.rows(rows).unwrap().into_iter().collect()
}

fn names(path: &Path, prefix: &str) -> usize {
    let names = std::fs::read_dir(path).unwrap();
    names
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(prefix)
        })
        .count()
}

/// A rule, for both ways of calling, in memory and in a directory.
fn everywhere(rule: impl Fn(Way, &Db)) {
    for way in [Way::Sync, Way::Async] {
        let memory = DbOptions {
            background_worker_count: 0,
            ..DbOptions::memory()
        };
        rule(way, &way.open(memory).unwrap());
        let place = tempfile::tempdir().unwrap();
        rule(way, &way.open(options(place.path())).unwrap());
        assert_eq!(names(place.path(), "unfinished"), 0);
    }
}

fn in_directory(rule: impl Fn(&Path, &Db)) {
    let place = tempfile::tempdir().unwrap();
    let db = Db::open_sync(options(place.path())).unwrap();
    rule(place.path(), &db);
}

#[test]
fn a_load_is_one_commit_in_any_order_and_the_last_row_of_a_key_counts() {
    let mut random = Random(seed("bulk load"));
    let unsorted: Vec<u64> = (0..3000).map(|_| random.next() % 900).collect();
    let ascending: Vec<u64> = (0..1000).collect();
    let late = ascending.iter().copied().chain([5, 5, 3]).collect();
    for (numbers, memory_bytes) in [
        (ascending.clone(), 0),
        (
            ascending
                .iter()
                .flat_map(|number| [*number, *number])
                .collect(),
            0,
        ),
        (late, 1 << 20),
        (unsorted.clone(), 1 << 20),
        // More runs than are merged at once.
        (unsorted, 1500),
        ((0..1000).rev().collect(), 20_000),
    ] {
        everywhere(|way, db| {
            let count = numbers.len();
            let rows: Vec<_> = numbers
                .iter()
                .enumerate()
                .map(|(at, number)| {
                    (
                        key(*number),
                        value(*number, &format!("row {at} of {count}")),
                    )
                })
                .collect();
            let expected: Rows = rows.iter().cloned().collect();
            let options = BulkLoadOptions::default().with_memory_bytes(memory_bytes);
            let rows = rows.into_iter().map(Ok);
            let commit = call!(way, db, try_bulk_load / try_bulk_load_sync(rows, options)).unwrap();
            assert_eq!(commit.sequence().get(), 1);
            assert_eq!(db.last_committed_sequence(), commit.sequence());
            assert_eq!(all(&db.default_bucket_sync().unwrap()), expected);
            for (key, value) in expected.iter().step_by(97) {
                assert_eq!(db.get_sync(key).unwrap().as_ref(), Some(value));
            }
            let report = db.verify_sync(|_| {}).unwrap();
            let tables = db.stats().total_tables;
            assert!(tables == 0 || report.entries == expected.len() as u64);
        });
    }
}

#[test]
fn a_load_replaces_what_was_there_wherever_it_lies_and_later_commits_replace_it() {
    everywhere(|way, db| {
        let bucket = db.default_bucket_sync().unwrap();
        let mut expected = Rows::new();
        let mut put = |numbers: std::ops::Range<u64>, tag: &'static str| {
            for (key, value) in rows(numbers, tag) {
                db.put_sync(key.clone(), value.clone()).unwrap();
                expected.insert(key, value);
            }
        };
        // In a deep level, in level 0, in a memtable.
        put(0..400, "deep");
        if db.options().storage_mode != DbOptions::memory().storage_mode {
            db.flush_sync().unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
        put(100..300, "upper");
        drop(db.flush_sync());
        put(150..250, "newest");
        db.delete_range_sync(KeyRange::half_open(key(180), key(190)))
            .unwrap();
        expected.retain(|row, _| !(key(180)..key(190)).contains(row));

        let before = db.snapshot();
        let held = db.range_sync(&KeyRange::all()).unwrap();
        let old = expected.clone();
        let loaded = rows((120..280).step_by(2).chain([500]), "loaded");
        expected.extend(loaded.iter().cloned());
        call!(way, bucket, bulk_load / bulk_load_sync(loaded)).unwrap();
        assert_eq!(all(&bucket), expected);
        assert_eq!(
            before
                .range_sync(&bucket, &KeyRange::all())
                .unwrap()
                .map(|row| row.map(|row| (row.key, row.value)).unwrap())
                .collect::<Rows>(),
            old
        );
        assert_eq!(held.count(), old.len());

        db.delete_range_sync(KeyRange::half_open(key(200), key(210)))
            .unwrap();
        expected.retain(|row, _| !(key(200)..key(210)).contains(row));
        db.put_sync(key(130), "later").unwrap();
        expected.insert(key(130), b"later".to_vec());
        assert_eq!(all(&bucket), expected);
        drop(db.flush_sync());
        assert_eq!(all(&bucket), expected);
        if db.stats().total_tables > 0 {
            db.compact_range_sync(KeyRange::all()).unwrap();
            db.verify_sync(|_| {}).unwrap();
        }
        assert_eq!(all(&bucket), expected);
        assert_eq!(
            before.get_sync(&bucket, &key(122)).unwrap(),
            old.get(&key(122)).cloned()
        );
    });
}

#[test]
fn loads_are_there_after_reopening() {
    let place = tempfile::tempdir().unwrap();
    let mut expected = Rows::new();
    for round in 0..4_u64 {
        let way = if round < 2 { Way::Sync } else { Way::Async };
        let db = way.open(options(place.path())).unwrap();
        assert_eq!(all(&db.default_bucket_sync().unwrap()), expected);
        assert_eq!(db.last_committed_sequence().get(), 2 * round);
        let loaded = rows((50 * round)..(50 * round + 150), "loaded");
        expected.extend(loaded.iter().cloned());
        db.bulk_load_sync(loaded).unwrap();
        db.put_sync(key(round), "put").unwrap();
        expected.insert(key(round), b"put".to_vec());
        way.close(&db).unwrap();
    }
}

#[test]
fn what_fits_beneath_everything_goes_to_the_deepest_level_at_once() {
    in_directory(|_, db| {
        let tables_of = |level: u32| {
            let levels = db.stats().level_tables;
            levels
                .iter()
                .find(|it| it.level == level)
                .map_or(0, |it| it.tables)
        };
        db.bulk_load_sync(rows(0..500, "first")).unwrap();
        assert!(tables_of(1) > 1 && tables_of(0) == 0);
        db.bulk_load_sync(rows(1000..1500, "beside")).unwrap();
        assert!(tables_of(0) == 0);
        db.bulk_load_sync(rows(100..200, "above")).unwrap();
        assert!(tables_of(0) > 0);
    });
}

#[test]
fn a_transaction_conflicts_with_a_load_of_what_it_read() {
    everywhere(|way, db| {
        let begin = || db.transaction(TransactionOptions::default());
        let (mut point, mut range, mut other) = (begin(), begin(), begin());
        point.get_sync(&key(4)).unwrap();
        range
            .read_range_sync(KeyRange::half_open(key(0), key(5)))
            .unwrap();
        other.get_sync(&key(5)).unwrap();
        other.get_sync(b"elsewhere").unwrap();
        let loaded = rows([2, 4, 6].into_iter(), "loaded");
        call!(way, db, bulk_load / bulk_load_sync(loaded)).unwrap();
        for mut transaction in [point, range] {
            transaction.put("key", "value");
            assert!(matches!(
                transaction.commit_sync(),
                Err(Error::Conflict { .. })
            ));
        }
        other.put("key", "value");
        other.commit_sync().unwrap();
    });
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    everywhere(|way, db| {
        for numbers in [vec![1, 2, 3], vec![3, 2, 1, 5, 4, 3, 2, 1]] {
            let rows: Vec<_> = numbers
                .iter()
                .map(|number| Ok((key(*number), value(*number, "loaded"))))
                .chain([Err(Error::invalid_options("the end of the line"))])
                .collect();
            let options = BulkLoadOptions::new().with_memory_bytes(50);
            let failed = call!(way, db, try_bulk_load / try_bulk_load_sync(rows, options));
            assert!(
                matches!(failed, Err(Error::InvalidOptions { message }) if message.contains("line"))
            );
        }
        assert_eq!(db.last_committed_sequence().get(), 0);
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 0);
    });
}

#[test]
fn a_load_of_nothing_is_no_commit() {
    everywhere(|way, db| {
        db.put_sync("key", "value").unwrap();
        let nothing: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let commit = call!(way, db, bulk_load / bulk_load_sync(nothing)).unwrap();
        assert_eq!(
            (commit.sequence().get(), db.last_committed_sequence().get()),
            (1, 1)
        );
    });
}

#[test]
fn keys_that_a_bucket_refuses_refuse_the_load() {
    in_directory(|_, db| {
        let strict = BucketOptions {
            allow_empty_keys: false,
            ..BucketOptions::default()
        };
        let bucket = db.bucket_with_options_sync("strict", strict).unwrap();
        let failed = bucket.bulk_load_sync([("", "value"), ("key", "value")]);
        assert!(matches!(failed, Err(Error::InvalidOptions { .. })));
        db.drop_bucket_sync("strict").unwrap();
        let failed = bucket.bulk_load_sync([("key", "value")]);
        assert!(matches!(failed, Err(Error::BucketMissing { .. })));
    });
}

#[test]
fn closing_ends_a_load_and_waits_for_it() {
    let place = tempfile::tempdir().unwrap();
    let db = Db::open_sync(options(place.path())).unwrap();
    let (told, heard) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let mut number = 0;
            db.bulk_load_sync(std::iter::from_fn(|| {
                number += 1;
                told.send(()).unwrap();
                Some((key(number), "value"))
            }))
        });
        heard.recv().unwrap();
        db.close_sync();
        assert!(matches!(loading.join().unwrap(), Err(Error::Closed)));
    });
    assert_eq!(names(place.path(), "unfinished"), 0);
}

#[test]
fn commits_go_on_beside_loads_and_each_is_whole_and_in_its_place() {
    let place = tempfile::tempdir().unwrap();
    let db = Db::open_sync(DbOptions {
        background_worker_count: 1,
        write_buffer_bytes: 20_000,
        ..options(place.path())
    })
    .unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut newest = 0;
            while !done.load(Ordering::Relaxed) {
                newest += 1;
                db.put_sync(key(newest % 300), format!("put {newest}"))
                    .unwrap();
            }
            newest
        });
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A load holds every even key and writes one value to all of them that nobody else writes to.
                let rows = db
                    .range_sync(&KeyRange::half_open(key(1000), key(2000)))
                    .unwrap();
                let rows: Vec<_> = rows.map(Result::unwrap).collect();
                assert!(rows.windows(2).all(|pair| pair[0].value == pair[1].value));
                assert!(rows.is_empty() || rows.len() == 500);
            }
        });
        let mut last = trine_kv::Sequence::ZERO;
        for round in 0..6_u64 {
            let even = (0..2000)
                .step_by(2)
                .map(|number| (key(number), format!("load {round}")));
            let commit = db.bulk_load_sync(even).unwrap();
            assert!(commit.sequence() > last);
            last = commit.sequence();
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        let newest = writer.join().unwrap();
        assert_eq!(db.last_committed_sequence().get(), newest + 6);
        let odd = newest - u64::from(newest.is_multiple_of(2));
        assert_eq!(
            db.get_sync(&key(odd % 300)).unwrap(),
            Some(format!("put {odd}").into_bytes())
        );
    });
    assert_eq!(
        db.get_sync(&key(1998)).unwrap().as_deref(),
        Some(&b"load 5"[..])
    );
}
