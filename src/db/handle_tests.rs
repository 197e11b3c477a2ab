//! Tables and blob files are opened when they are read, no more of them than allowed, and never closed under a reader.

use std::sync::Arc;

use trine_io::{Mode, Operation, Storage};
use trine_platform::block_on;

use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::iter::Iter;
use crate::db::open::on_storage;
use crate::error::Error;
use crate::file_name::{blob_name, table_name};
use crate::key::KeyRange;
use crate::options::{BucketOptions, CompressionProfile, DbOptions, DurabilityMode};
use crate::tree::Tree;

const MODE: Mode = Mode::Blocking;
/// The first bucket whose table opening the database does not look into.
const FIRST: u8 = 64;
const BUCKETS: u8 = FIRST + 12;

fn open(storage: &Storage, max_open_tables: usize) -> Db {
    let options = DbOptions {
        background_worker_count: 0,
        durability: DurabilityMode::Buffered,
        max_open_tables,
        ..DbOptions::new("unused")
    };
    block_on(on_storage(options, storage.clone(), MODE)).expect("the database")
}

fn bucket(db: &Db, number: u8) -> Bucket {
    db.bucket_sync(format!("bucket {number}")).unwrap()
}

/// Buckets with a table each, which holds two rows and, in every third one, a range tombstone.
fn build(storage: &Storage) {
    let db = open(storage, 100);
    for number in 0..BUCKETS {
        let bucket = bucket(&db, number);
        for key in ["a", "b", "c"] {
            bucket.put_sync(key, [number]).unwrap();
        }
        if number % 3 == 0 {
            bucket
                .delete_range_sync(KeyRange::half_open("b", "c"))
                .unwrap();
        } else {
            bucket.delete_sync("b").unwrap();
        }
    }
    db.flush_sync().unwrap();
    db.close_sync();
}

/// How many tables of the buckets as they are now are open.
fn open_tables(db: &Db) -> usize {
    let trees = db.core().trees.load();
    let open = |tree: &Arc<Tree>| {
        let view = tree.pin();
        view.version
            .tables()
            .filter(|table| table.is_open())
            .count()
    };
    trees.iter().map(open).sum()
}

fn check(bucket: &Bucket, number: u8) {
    assert_eq!(
        bucket.get_sync(b"a").unwrap().as_deref(),
        Some(&[number][..])
    );
    assert_eq!(bucket.get_sync(b"b").unwrap(), None);
    let keys = |rows: Iter| rows.map(|row| row.unwrap().key).collect::<Vec<_>>();
    assert_eq!(
        keys(bucket.range_sync(&KeyRange::all()).unwrap()),
        [b"a", b"c"]
    );
    let reverse = bucket.range_reverse_sync(&KeyRange::all()).unwrap();
    assert_eq!(keys(reverse), [b"c", b"a"]);
}

#[test]
fn opening_a_database_opens_a_few_tables_and_a_read_those_it_needs() {
    let storage = Storage::memory();
    build(&storage);
    let opened = || storage.stats().operation(Operation::Map).requests;
    let before = opened();
    let db = open(&storage, 100);
    let few = usize::from(FIRST);
    assert_eq!(
        (open_tables(&db), opened()),
        (few, before + u64::from(FIRST))
    );
    for number in FIRST..FIRST + 3 {
        check(&bucket(&db, number), number);
        assert_eq!(open_tables(&db), usize::from(number) + 1);
    }
    assert_eq!(db.stats().open_tables, few + 3);
    // Bounds are known without opening.
    assert_eq!(bucket(&db, FIRST + 5).get_sync(b"z").unwrap(), None);
    assert_eq!(open_tables(&db), few + 3);
}

#[test]
fn no_more_tables_are_open_than_allowed() {
    let storage = Storage::memory();
    build(&storage);
    for max in [0, 1, 3] {
        let db = open(&storage, max);
        for _ in 0..2 {
            for number in FIRST..BUCKETS {
                check(&bucket(&db, number), number);
                assert!(open_tables(&db) <= max);
            }
        }
    }
}

#[test]
fn a_table_in_constant_use_stays_open() {
    let storage = Storage::memory();
    build(&storage);
    let db = open(&storage, 4);
    let storage_opens = || storage.stats().operation(Operation::Map).requests;
    check(&bucket(&db, FIRST), FIRST);
    let before = storage_opens();
    for number in FIRST + 1..BUCKETS {
        check(&bucket(&db, number), number);
        check(&bucket(&db, FIRST), FIRST);
    }
    // Among tables that were all read since the last look, the wrong one may go; but no more than once.
    assert!(storage_opens() - before <= u64::from(BUCKETS));
}

#[test]
fn what_a_reader_borrows_outlives_the_closing_of_its_table() {
    let storage = Storage::memory();
    build(&storage);
    let db = open(&storage, 1);
    let snapshot = db.snapshot();
    let first = bucket(&db, FIRST);
    let reader = first.reader(&snapshot).unwrap();
    let lent = reader.get_ref_sync(b"c").unwrap().unwrap();
    let mut rows = first.range_sync(&KeyRange::all()).unwrap();
    assert_eq!(rows.next_sync().unwrap().unwrap().key, b"a");
    for number in FIRST + 1..BUCKETS {
        check(&bucket(&db, number), number);
    }
    assert!(open_tables(&db) <= 1);
    assert_eq!(*lent, [FIRST]);
    assert_eq!(rows.next_sync().unwrap().unwrap().key, b"c");
    // The reader's own view is still open: it takes no file to read on.
    let before = storage.stats().operation(Operation::Map).requests;
    assert_eq!(
        reader.get_ref_sync(b"a").unwrap().as_deref(),
        Some(&[FIRST][..])
    );
    assert_eq!(storage.stats().operation(Operation::Map).requests, before);
}

#[test]
fn a_closed_tables_file_stays_while_an_older_handle_is_read() {
    let storage = Storage::memory();
    build(&storage);
    let db = open(&storage, 1);
    let first = bucket(&db, FIRST);
    let mut rows = first.range_sync(&KeyRange::all()).unwrap();
    assert_eq!(rows.next_sync().unwrap().unwrap().key, b"a");
    for number in FIRST + 1..FIRST + 4 {
        check(&bucket(&db, number), number);
    }
    let tables = || {
        let mut names = block_on(storage.list(MODE)).unwrap();
        names.retain(|name| name.starts_with("table-"));
        names.len()
    };
    let before = tables();
    db.drop_bucket_sync(format!("bucket {FIRST}")).unwrap();
    assert_eq!(tables(), before);
    assert_eq!(rows.next_sync().unwrap().unwrap().key, b"c");
}

#[test]
fn a_damaged_table_that_opening_passed_over_is_noticed_when_it_is_first_read() {
    let storage = Storage::memory();
    build(&storage);
    let db = open(&storage, 100);
    let trees = db.core().trees.load();
    let tree = trees.by_name(&format!("bucket {}", FIRST + 1)).unwrap();
    let meta = tree.pin().version.tables().next().unwrap().meta().clone();
    let name = table_name(meta.number);
    let file = block_on(storage.open_write(MODE, &name)).unwrap();
    block_on(file.set_len(MODE, meta.bytes - 1)).unwrap();
    let is_named = |error: &Error| error.to_string().contains(&name);
    for _ in 0..2 {
        assert!(is_named(
            &bucket(&db, FIRST + 1).get_sync(b"a").unwrap_err()
        ));
        let mut rows = bucket(&db, FIRST + 1).range_sync(&KeyRange::all()).unwrap();
        assert!(is_named(&rows.next_sync().unwrap().unwrap_err()));
    }
    assert!(is_named(&db.verify_sync(|_| {}).unwrap_err()));
    check(&bucket(&db, FIRST + 2), FIRST + 2);
}

#[test]
fn a_damaged_table_is_noticed_by_the_opening_that_looks_into_it() {
    let storage = Storage::memory();
    build(&storage);
    let db = open(&storage, 100);
    let trees = db.core().trees.load();
    let meta = trees.by_name("bucket 1").unwrap().pin();
    let meta = meta.version.tables().next().unwrap().meta().clone();
    drop(trees);
    db.close_sync();
    let name = table_name(meta.number);
    let file = block_on(storage.open_write(MODE, &name)).unwrap();
    block_on(file.set_len(MODE, meta.bytes - 1)).unwrap();
    let options = DbOptions::new("unused");
    let refused = block_on(on_storage(options, storage.clone(), MODE)).unwrap_err();
    assert!(refused.to_string().contains(&name), "{refused}");
}

/// The value of the row "a" of such a bucket, which lies in a blob file.
fn large(number: u8) -> Vec<u8> {
    vec![number; 5_000]
}

/// Buckets with a table and a blob file each.
fn build_large(storage: &Storage) {
    let db = open(storage, 1_000);
    for number in 0..BUCKETS {
        large_bucket(&db, number)
            .put_sync("a", large(number))
            .unwrap();
    }
    db.flush_sync().unwrap();
    db.close_sync();
}

fn large_bucket(db: &Db, number: u8) -> Bucket {
    let options = BucketOptions {
        compression: CompressionProfile::None,
        blob_threshold_bytes: 1_000,
        ..BucketOptions::default()
    };
    let name = format!("bucket {number}");
    db.bucket_with_options_sync(name, options).unwrap()
}

fn blob_file(db: &Db, number: u8) -> (u64, u64, bool) {
    let trees = db.core().trees.load();
    let tree = trees.by_name(&format!("bucket {number}")).unwrap();
    let file = Arc::clone(&tree.pin().version.blobs()[0].file);
    (
        file.meta().number,
        file.meta().bytes,
        file.handle().is_open(),
    )
}

#[test]
fn a_blob_file_is_opened_when_a_value_in_it_is_read_and_is_one_of_those_allowed() {
    let storage = Storage::memory();
    build_large(&storage);
    let opened = || storage.stats().operation(Operation::Map).requests;
    let before = opened();
    let db = open(&storage, 1_000);
    assert_eq!(opened(), before + u64::from(FIRST), "tables and blob files");
    for lazy in [false, true] {
        let number = if lazy { BUCKETS - 1 } else { BUCKETS - 2 };
        let bucket = large_bucket(&db, number);
        assert!(!blob_file(&db, number).2);
        if lazy {
            let rows = bucket.range_lazy_sync(&KeyRange::all()).unwrap();
            let values: Vec<_> = rows.map(|row| row.unwrap().value).collect();
            assert!(blob_file(&db, number).2, "whoever has it may read it late");
            assert_eq!(values[0].read_sync().unwrap(), large(number));
        } else {
            assert!(bucket.contains_key_sync(b"a").unwrap());
            assert!(!blob_file(&db, number).2);
            assert_eq!(bucket.get_sync(b"a").unwrap(), Some(large(number)));
            assert!(blob_file(&db, number).2);
        }
    }
    db.close_sync();

    let db = open(&storage, 3);
    for number in 0..BUCKETS {
        let bucket = large_bucket(&db, number);
        let mut rows = bucket.range_sync(&KeyRange::all()).unwrap();
        let lent = rows.next_sync().unwrap().unwrap();
        assert_eq!(lent.value, large(number));
        drop(rows);
        assert_eq!(bucket.get_sync(b"a").unwrap(), Some(large(number)));
        let blobs = (0..BUCKETS).filter(|number| blob_file(&db, *number).2);
        assert!(open_tables(&db) + blobs.count() <= 3);
    }
}

#[test]
fn values_of_a_snapshot_are_read_after_their_database_was_closed() {
    let storage = Storage::memory();
    build_large(&storage);
    let db = open(&storage, 1_000);
    let last = large_bucket(&db, BUCKETS - 1);
    let rows = last.range_sync(&KeyRange::all()).unwrap();
    assert!(!blob_file(&db, BUCKETS - 1).2);
    db.close_sync();
    for name in block_on(storage.list(MODE)).unwrap() {
        if name.starts_with("blob-") || name.starts_with("table-") {
            block_on(storage.remove(MODE, &name)).unwrap();
        }
    }
    let values: Vec<_> = rows.map(|row| row.unwrap().value).collect();
    assert_eq!(values, [large(BUCKETS - 1)]);
}

#[test]
fn a_damaged_blob_file_that_opening_passed_over_is_noticed_when_a_value_is_read() {
    let storage = Storage::memory();
    build_large(&storage);
    let last = BUCKETS - 1;
    let (number, bytes, _) = blob_file(&open(&storage, 1_000), last);
    let name = blob_name(number);
    let file = block_on(storage.open_write(MODE, &name)).unwrap();
    // In turn its magic, its footer and its length.
    for damage in 0..3 {
        if damage == 0 {
            block_on(file.write_at(MODE, 3, vec![0])).unwrap();
        } else if damage == 1 {
            block_on(file.write_at(MODE, 3, vec![b'N'])).unwrap();
            block_on(file.write_at(MODE, bytes - 20, vec![0xff])).unwrap();
        } else {
            block_on(file.set_len(MODE, bytes - 1)).unwrap();
        }
        let db = open(&storage, 1_000);
        let bucket = large_bucket(&db, last);
        let is_named = |error: &Error| error.to_string().contains(&name);
        assert!(is_named(&bucket.get_sync(b"a").unwrap_err()));
        let mut rows = bucket.range_sync(&KeyRange::all()).unwrap();
        assert!(is_named(&rows.next_sync().unwrap().unwrap_err()));
        assert!(is_named(&db.verify_sync(|_| {}).unwrap_err()));
        check_large(&db, last - 1);
        db.close_sync();
    }
}

fn check_large(db: &Db, number: u8) {
    let found = large_bucket(db, number).get_sync(b"a").unwrap();
    assert_eq!(found, Some(large(number)));
}

#[test]
fn the_size_of_a_range_has_its_share_of_the_blob_files() {
    let storage = Storage::memory();
    build_large(&storage);
    let db = open(&storage, 1_000);
    let (_, bytes, _) = blob_file(&db, 1);
    let bucket = large_bucket(&db, 1);
    let size = bucket.approximate_size(&KeyRange::all());
    assert!((bytes..bytes + 1_000).contains(&size), "{size}");
    assert_eq!(bucket.approximate_size(&KeyRange::half_open("b", "c")), 0);
}
