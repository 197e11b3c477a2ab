//! The change feed: every commit in order, from the log and then live, or a typed error; never a gap.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use trine_kv::{
    ChangeOperation, Changes, CommittedBatch, Db, DbOptions, DurabilityMode, Error, KeyRange,
    Sequence, WriteBatch, WriteOptions, block_on,
};

mod common {
    pub(crate) mod random;
}
use common::random::{Random, seed};

type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn options(path: &Path) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(path).with_durability(DurabilityMode::Buffered)
    }
}

fn in_directory(rule: impl Fn(&Path, &Db)) {
    let place = tempfile::tempdir().unwrap();
    rule(place.path(), &Db::open_sync(options(place.path())).unwrap());
}

/// The next batch, by turns in both ways.
fn next(changes: &mut Changes) -> trine_kv::Result<CommittedBatch> {
    if changes.position().get().is_multiple_of(2) {
        changes.next_sync()
    } else {
        block_on(changes.next())
    }
}

/// Everything committed so far, applied to `rows`.
fn follow(db: &Db, changes: &mut Changes, rows: &mut Rows) {
    while changes.position() < db.last_committed_sequence() {
        let batch = next(changes).unwrap();
        assert_eq!(batch.sequence(), changes.position());
        for operation in batch.into_operations() {
            let bucket = operation.bucket().to_owned();
            match operation {
                ChangeOperation::Put { key, value, .. } => {
                    rows.insert((bucket, key), value);
                }
                ChangeOperation::Delete { key, .. } => {
                    rows.remove(&(bucket, key));
                }
                ChangeOperation::DeleteRange { range, .. } => {
                    rows.retain(|(other, key), _| *other != bucket || !range.contains(key));
                }
                ChangeOperation::BulkLoad {
                    range, rows: count, ..
                } => {
                    let now = scan(db, &bucket, &range);
                    assert!(count > 0);
                    rows.extend(now);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn scan(db: &Db, name: &str, range: &KeyRange) -> Rows {
    let bucket = match name {
        "default" => db.default_bucket_sync().unwrap(),
        name => db.bucket_sync(name).unwrap(),
    };
    let rows = bucket.range_sync(range).unwrap();
    rows.map(Result::unwrap)
        .map(|row| ((name.to_owned(), row.key), row.value))
        .collect()
}

fn all(db: &Db) -> Rows {
    let mut rows = scan(db, "default", &KeyRange::all());
    rows.append(&mut scan(db, "other", &KeyRange::all()));
    rows
}

#[test]
fn every_commit_comes_once_in_order_with_its_operations() {
    in_directory(|_, db| {
        db.bucket_sync("other").unwrap();
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.delete_bucket("other", "b").unwrap();
        batch.delete_range(KeyRange::half_open("c", "d"));
        batch.delete_range_bucket("other", KeyRange::all()).unwrap();
        db.write_sync(batch, WriteOptions::buffered()).unwrap();
        db.put_sync("e", "2").unwrap();
        db.bulk_load_sync([("f", "3"), ("h", "4")]).unwrap();
        let mut changes = db.changes(Sequence::ZERO).unwrap();
        let (bucket, other) = ("default".to_owned(), "other".to_owned());
        let first = changes.next_sync().unwrap();
        assert_eq!(first.sequence().get(), 1);
        assert_eq!(
            first.operations(),
            [
                ChangeOperation::Put {
                    bucket: bucket.clone(),
                    key: b"a".to_vec(),
                    value: b"1".to_vec()
                },
                ChangeOperation::Delete {
                    bucket: other.clone(),
                    key: b"b".to_vec()
                },
                ChangeOperation::DeleteRange {
                    bucket: bucket.clone(),
                    range: KeyRange::half_open("c", "d")
                },
                ChangeOperation::DeleteRange {
                    bucket: other,
                    range: KeyRange::from_bounds(Vec::<u8>::new()..)
                },
            ]
        );
        assert_eq!(block_on(changes.next()).unwrap().sequence().get(), 2);
        let load = changes.next_sync().unwrap();
        assert_eq!(
            load.operations(),
            [ChangeOperation::BulkLoad {
                bucket,
                range: KeyRange::from_bounds("f"..="h"),
                rows: 2
            }]
        );
        let mut middle = db.changes(Sequence::new(1)).unwrap();
        assert_eq!(middle.next_sync().unwrap().sequence().get(), 2);
    });
}

#[test]
fn operations_of_a_bucket_that_is_gone_are_left_out() {
    in_directory(|_, db| {
        let bucket = db.bucket_sync("other").unwrap();
        bucket.put_sync("a", "1").unwrap();
        db.drop_bucket_sync("other").unwrap();
        let mut changes = db.changes(Sequence::ZERO).unwrap();
        assert_eq!(changes.next_sync().unwrap().operations(), []);
    });
}

#[test]
fn what_follows_the_feed_has_what_the_database_has() {
    let seed = seed("changes");
    for retention in [0, 1 << 30] {
        let place = tempfile::tempdir().unwrap();
        let options = DbOptions {
            change_retention_bytes: retention,
            ..options(place.path())
        };
        let mut random = Random(seed);
        let mut db = Db::open_sync(options.clone()).unwrap();
        db.bucket_sync("other").unwrap();
        let mut rows = Rows::new();
        let mut changes = db.changes(Sequence::ZERO).unwrap();
        for round in 0..400_u64 {
            let key = format!("key {:02}", random.next() % 60);
            let length = match random.next() % 20 {
                // Longer than what is read at once.
                0 if round % 4 == 0 => 600_000,
                0..4 => 20_000,
                _ => 30,
            };
            let value = vec![u8::try_from(round % 251).unwrap(); length];
            let operation = random.next() % 12;
            if retention == 0 && operation == 2 {
                // It may flush.
                follow(&db, &mut changes, &mut rows);
            }
            match operation {
                0 => db.delete_range_sync(KeyRange::prefix(&key[..5])).unwrap(),
                1 => db.delete_sync(key).unwrap(),
                2 => db.bulk_load_sync([(key, value)]).map(drop).unwrap(),
                3..6 => db
                    .bucket_sync("other")
                    .unwrap()
                    .put_sync(key, value)
                    .unwrap(),
                _ => db.put_sync(key, value).unwrap(),
            }
            let (flush, reopen) = (
                random.next().is_multiple_of(40),
                random.next().is_multiple_of(60),
            );
            if retention == 0 && (flush || reopen) || random.next().is_multiple_of(10) {
                follow(&db, &mut changes, &mut rows);
                assert_eq!(rows, all(&db), "TRINE_TEST_SEED={seed}, round {round}");
            }
            if flush {
                db.flush_sync().unwrap();
            }
            if reopen {
                db.close_sync();
                db = Db::open_sync(options.clone()).unwrap();
                changes = db.changes(changes.position()).unwrap();
            }
        }
        if retention > 0 {
            let mut changes = db.changes(Sequence::ZERO).unwrap();
            let mut rows = Rows::new();
            follow(&db, &mut changes, &mut rows);
            assert_eq!(rows, all(&db));
        }
    }
}

#[test]
fn who_falls_behind_is_told_and_gets_no_gap() {
    in_directory(|path, db| {
        let mut changes = db.changes(Sequence::ZERO).unwrap();
        for round in 0..3 {
            db.put_sync("key", [round]).unwrap();
        }
        assert_eq!(changes.next_sync().unwrap().sequence().get(), 1);
        db.flush_sync().unwrap();
        db.put_sync("key", "newer").unwrap();
        for _ in 0..2 {
            let lost = db.changes(Sequence::new(1)).unwrap().next_sync();
            assert!(
                matches!(
                    lost,
                    Err(Error::ChangesLost {
                        after: 1,
                        oldest: 4
                    })
                ),
                "{lost:?}"
            );
        }
        // What it had read already may still come.
        while let Ok(batch) = changes.next_sync() {
            if batch.sequence().get() == 4 {
                break;
            }
        }
        let mut afresh = db.changes(Sequence::new(3)).unwrap();
        assert_eq!(afresh.next_sync().unwrap().sequence().get(), 4);
        db.flush_sync().unwrap();
        db.close_sync();
        let db = Db::open_sync(options(path)).unwrap();
        let lost = db.changes(Sequence::new(3)).unwrap().next_sync();
        assert!(
            matches!(
                lost,
                Err(Error::ChangesLost {
                    after: 3,
                    oldest: 5
                })
            ),
            "{lost:?}"
        );
    });
}

#[test]
fn the_retained_log_is_bounded() {
    let place = tempfile::tempdir().unwrap();
    let db = Db::open_sync(DbOptions {
        change_retention_bytes: 100_000,
        ..options(place.path())
    })
    .unwrap();
    for round in 0..40 {
        db.put_sync("key", vec![round; 20_000]).unwrap();
        db.flush_sync().unwrap();
    }
    let mut from_the_end = db.changes(Sequence::new(38)).unwrap();
    assert_eq!(from_the_end.next_sync().unwrap().sequence().get(), 39);
    let lost = db.changes(Sequence::ZERO).unwrap().next_sync();
    assert!(matches!(lost, Err(Error::ChangesLost { .. })), "{lost:?}");
}

#[test]
fn who_waits_is_woken_by_a_commit_of_either_kind_and_by_the_close() {
    in_directory(|_, db| {
        let (told, heard) = mpsc::channel();
        thread::scope(|scope| {
            for way in 0..2 {
                let mut changes = db.changes(Sequence::ZERO).unwrap();
                let told = told.clone();
                scope.spawn(move || {
                    loop {
                        let batch = if way == 0 {
                            changes.next_sync()
                        } else {
                            block_on(changes.next())
                        };
                        let is_last = batch.is_err();
                        told.send(batch.map(|batch| batch.sequence().get()))
                            .unwrap();
                        if is_last {
                            return;
                        }
                    }
                });
            }
            for round in 1..20 {
                if round % 2 == 0 {
                    db.put_sync("key", "value").unwrap();
                } else {
                    block_on(db.put("key", "value")).unwrap();
                }
                for _ in 0..2 {
                    assert_eq!(heard.recv().unwrap().unwrap(), round);
                }
            }
            db.close_sync();
            for _ in 0..2 {
                assert!(matches!(heard.recv().unwrap(), Err(Error::Closed)));
            }
        });
    });
}

#[test]
fn commits_of_several_threads_come_in_the_order_of_their_sequences() {
    const EACH: u64 = 300;
    in_directory(|_, db| {
        thread::scope(|scope| {
            for thread in 0..3_u64 {
                scope.spawn(move || {
                    for number in 0..EACH {
                        let value = vec![b'.'; usize::try_from(number * 7 % 900).unwrap()];
                        if thread == 0 {
                            block_on(db.put(format!("{thread}/{}", number % 40), value)).unwrap();
                        } else {
                            db.put_sync(format!("{thread}/{}", number % 40), value)
                                .unwrap();
                        }
                    }
                });
            }
            let mut changes = db.changes(Sequence::ZERO).unwrap();
            let mut rows = Rows::new();
            for expected in 1..=3 * EACH {
                let batch = changes.next_sync().unwrap();
                assert_eq!(batch.sequence().get(), expected);
                for operation in batch.into_operations() {
                    if let ChangeOperation::Put { bucket, key, value } = operation {
                        rows.insert((bucket, key), value);
                    }
                }
            }
            assert_eq!(rows, scan(db, "default", &KeyRange::all()));
        });
    });
}

#[test]
fn a_feed_that_cannot_be_is_refused() {
    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    assert!(matches!(
        memory.changes(Sequence::ZERO),
        Err(Error::Unsupported { .. })
    ));
    in_directory(|path, db| {
        assert!(matches!(
            db.changes(Sequence::new(1)),
            Err(Error::InvalidOptions { .. })
        ));
        let reader = Db::open_sync(DbOptions::persistent_read_only(path)).unwrap();
        assert!(matches!(
            reader.changes(Sequence::ZERO),
            Err(Error::Unsupported { .. })
        ));
        db.close_sync();
        assert!(matches!(db.changes(Sequence::ZERO), Err(Error::Closed)));
    });
}
