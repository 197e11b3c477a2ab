//! Where this version promises more than its predecessor did.

use trine_kv::{Db, DbOptions, KeyRange, WriteBatch, WriteOptions};

use crate::fixture::{Place, all_keys, put_all};

fn numbered(number: u8) -> [u8; 1] {
    [number]
}

/// Delete 6; flush; delete 3..6; flush; put 5; flush, with reads between the steps.
#[test]
fn sequence_order_decides_between_range_deletes_and_puts_across_tables() {
    for (reads, options) in [(false, 0), (true, 0), (true, 1)] {
        let place = Place::new();
        let options = DbOptions {
            background_worker_count: options,
            ..place.options()
        };
        let db = Db::open_sync(options).unwrap();
        let look = |expected: &[u8]| {
            if reads {
                let expected: Vec<_> = expected.iter().map(|number| vec![*number]).collect();
                assert_eq!(all_keys(&db), expected);
            }
        };
        for number in 0..8 {
            db.put_sync(numbered(number), "old").unwrap();
        }
        db.flush_sync().unwrap();
        look(&[0, 1, 2, 3, 4, 5, 6, 7]);
        db.delete_sync(numbered(6)).unwrap();
        db.flush_sync().unwrap();
        look(&[0, 1, 2, 3, 4, 5, 7]);
        db.delete_range_sync(KeyRange::half_open(numbered(3), numbered(6)))
            .unwrap();
        db.flush_sync().unwrap();
        look(&[0, 1, 2, 7]);
        db.put_sync(numbered(5), "new").unwrap();
        db.flush_sync().unwrap();
        look(&[0, 1, 2, 5, 7]);
        db.compact_range_sync(KeyRange::all()).unwrap();
        look(&[0, 1, 2, 5, 7]);
        assert_eq!(db.get_sync(&numbered(5)).unwrap(), Some(b"new".to_vec()));
        assert_eq!(db.get_sync(&numbered(4)).unwrap(), None);
    }
}

#[test]
fn range_deletes_in_small_buffers_without_workers_always_make_progress() {
    let place = Place::new();
    let options = DbOptions {
        write_buffer_bytes: 64,
        max_immutable_memtables: 1,
        max_l0_files: 1,
        target_table_bytes: 64,
        ..place.options()
    };
    let db = Db::open_sync(options).unwrap();
    for round in 0..60_u8 {
        db.put_sync(numbered(round % 10), vec![round; 40]).unwrap();
        db.delete_range_sync(KeyRange::half_open(
            numbered(round % 7),
            numbered(round % 7 + 3),
        ))
        .unwrap();
        if round % 9 == 0 {
            db.flush_sync().unwrap();
        }
    }
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
}

#[test]
fn commits_return_in_an_order_without_holes() {
    // Every prefix of files that a crash may leave holds a prefix of the commits: see `corruption.rs`
    // for cut logs. Here: after a copy of the files at any moment, keys are 0..n.
    let place = Place::new();
    let db = place.open();
    for number in 0..40 {
        db.put_sync(numbered(number), "value").unwrap();
        if number % 8 == 7 {
            let copy = Place::new();
            std::fs::create_dir_all(copy.path()).unwrap();
            for entry in std::fs::read_dir(place.path()).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() != "LOCK" {
                    std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
                }
            }
            let expected: Vec<_> = (0..=number).map(|number| vec![number]).collect();
            assert_eq!(all_keys(&copy.open()), expected);
        }
    }
}

#[test]
fn log_bytes_waiting_for_a_sync_are_reported() {
    let place = Place::new();
    let options = place
        .options()
        .with_durability(trine_kv::DurabilityMode::Buffered);
    let db = Db::open_sync(options).unwrap();
    put_all(&db, &[b"a"]);
    assert!(db.stats().wal_bytes_pending_sync > 0);
    db.persist_sync(trine_kv::DurabilityMode::SyncAll).unwrap();
    assert_eq!(db.stats().wal_bytes_pending_sync, 0);
}

#[test]
fn flushes_compactions_and_workers_beside_each_other_raise_no_errors() {
    let place = Place::new();
    let options = DbOptions {
        write_buffer_bytes: 500,
        max_l0_files: 2,
        target_table_bytes: 1000,
        background_worker_count: 3,
        ..place.options()
    };
    let db = Db::open_sync(options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2_u8 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..150_u8 {
                    let mut batch = WriteBatch::new();
                    batch.put([thread, round % 20], vec![round; 60]);
                    batch.delete([thread, round % 13]);
                    db.write_sync(batch, WriteOptions::buffered()).unwrap();
                }
            });
            scope.spawn(move || {
                for _ in 0..15 {
                    db.flush_sync().unwrap();
                    db.compact_range_sync(KeyRange::all()).unwrap();
                }
            });
        }
    });
    let rows = all_keys(&db);
    db.close_sync();
    assert_eq!(all_keys(&place.open()), rows);
}
