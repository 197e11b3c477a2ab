//! Any number of threads on the same handles.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use trine_kv::{Db, DbOptions, KeyRange, WriteBatch, WriteOptions};

use crate::common::way::{Way, call};
use crate::fixture::{Place, all_keys, everywhere_both_ways, sequence};

const THREADS: u8 = 4;
const COMMITS: u16 = 100;

#[test]
fn sequences_are_dense_and_unique_over_all_threads() {
    everywhere_both_ways(|way, db| {
        let seen = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let seen = &seen;
                scope.spawn(move || {
                    let mut last = 0;
                    for index in 0..COMMITS {
                        let mut batch = WriteBatch::new();
                        batch.put(index.to_be_bytes(), [thread]);
                        let options = WriteOptions::buffered();
                        let info = call!(way, db, write / write_sync(batch, options)).unwrap();
                        let sequence = info.sequence().get();
                        assert!(sequence > last, "one thread's commits go up");
                        last = sequence;
                        assert!(
                            seen.lock().unwrap().insert(sequence),
                            "{sequence} given twice"
                        );
                    }
                });
            }
        });
        let all = u64::from(THREADS) * u64::from(COMMITS);
        assert_eq!(seen.into_inner().unwrap(), (1..=all).collect());
        assert_eq!(sequence(db), all);
    });
}

#[test]
fn a_writer_sees_its_own_commit_and_all_before_it() {
    everywhere_both_ways(|way, db| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for index in 0..COMMITS {
                        let value = index.to_be_bytes();
                        let options = WriteOptions::buffered();
                        let commit = call!(
                            way,
                            db,
                            put_with_options / put_with_options_sync([thread], value, options)
                        );
                        let sequence_of_commit = commit.unwrap().sequence().get();
                        assert!(sequence(db) >= sequence_of_commit);
                        let read = call!(way, db, get / get_sync(&[thread])).unwrap();
                        assert_eq!(read, Some(value.to_vec()));
                    }
                });
            }
        });
    });
}

/// Readers check an invariant that every batch keeps, while writers, flushes and compactions go on.
fn batches_are_never_seen_in_part(db: &Db, way: Way) {
    let done = AtomicBool::new(false);
    let write = |value: u32| {
        let mut batch = WriteBatch::new();
        for key in ["a", "b", "c"] {
            batch.put(key, value.to_be_bytes());
        }
        db.write_sync(batch, WriteOptions::buffered()).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        let reader = || {
            while !done.load(Ordering::Relaxed) {
                let scan = call!(way, db, range / range_sync(&KeyRange::all())).unwrap();
                let rows = way.rows(scan).unwrap();
                assert_eq!(rows.len(), 3);
                assert!(rows.iter().all(|row| row.1 == rows[0].1), "{rows:?}");
                let at = db.snapshot();
                let one = call!(way, db, get_at / get_at_sync(&at, b"a")).unwrap();
                std::thread::yield_now();
                assert_eq!(
                    call!(way, db, get_at / get_at_sync(&at, b"c")).unwrap(),
                    one
                );
            }
        };
        scope.spawn(reader);
        scope.spawn(reader);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
        });
        for value in 1..400 {
            write(value);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(all_keys(db).len(), 3);
}

#[test]
fn readers_never_see_part_of_a_batch() {
    everywhere_both_ways(|way, db| batches_are_never_seen_in_part(db, way));
}

#[test]
fn readers_never_see_part_of_a_batch_while_memtables_freeze_and_workers_run() {
    let place = Place::new();
    let options = DbOptions {
        write_buffer_bytes: 100,
        background_worker_count: 2,
        max_l0_files: 2,
        ..place.options()
    };
    batches_are_never_seen_in_part(&Db::open_sync(options).unwrap(), Way::Sync);
}
