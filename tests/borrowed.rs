//! Borrowed reads: nothing is copied, and a loan outlives everything but its reader.
//!
//! By address: two loans of one value are the same bytes, and a value of several rows of one table
//! lies at the distance its neighbours have in the file, which no copy would keep.

#![expect(
    clippy::disallowed_methods,
    reason = "the test looks at the files from outside"
)]

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, KeyRange, block_on,
};

const ROWS: u32 = 2_000;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn value(number: u32) -> Vec<u8> {
    let byte = u8::try_from(number % 251).expect("below 251");
    vec![byte; 64]
}

fn open(path: &std::path::Path, compression: CompressionProfile) -> Db {
    let options = DbOptions {
        block_cache_bytes: 1 << 20,
        ..DbOptions::new(path).with_durability(DurabilityMode::Buffered)
    };
    Db::open_sync(options.with_default_bucket_options(BucketOptions {
        compression,
        block_bytes: 4_096,
        ..BucketOptions::default()
    }))
    .expect("a database")
}

fn fill(db: &Db) {
    for number in 0..ROWS {
        db.put_sync(key(number), value(number)).expect("a put");
    }
}

#[test]
fn a_memtable_lends_its_own_bytes() {
    let db = Db::open_sync(DbOptions::memory()).expect("a database");
    fill(&db);
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().expect("the bucket");
    let (first, second) = (bucket.reader(&snapshot), bucket.reader(&snapshot));
    let (first, second) = (first.expect("a reader"), second.expect("a reader"));
    let left = first
        .get_ref_sync(&key(7))
        .expect("a read")
        .expect("a value");
    let right = block_on(second.get_ref(&key(7)))
        .expect("a read")
        .expect("a value");
    assert_eq!(left.as_ptr(), right.as_ptr());
    assert_eq!(&*left, value(7));
}

#[test]
fn a_mapped_table_lends_its_own_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = open(directory.path(), CompressionProfile::None);
    fill(&db);
    db.flush_sync().expect("a flush");
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().expect("the bucket");
    let reader = bucket.reader(&snapshot).expect("a reader");
    let lent = |number| {
        reader
            .get_ref_sync(&key(number))
            .expect("a read")
            .expect("a value")
    };
    let (one, two, again) = (lent(10), lent(11), lent(10));
    assert_eq!(one.as_ptr(), again.as_ptr());
    // Neighbours in the table are neighbours in memory.
    assert!(one.as_ptr().addr().abs_diff(two.as_ptr().addr()) < 4_096);
    // The mapping holds the file's bytes: the loan's surroundings are the file's.
    let table = std::fs::read_dir(directory.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "trinet")
        })
        .expect("a table");
    let file = std::fs::read(table).expect("the table");
    let offset = |number| file.windows(64).position(|window| window == value(number));
    let distance = offset(11).expect("in the file") - offset(10).expect("in the file");
    assert_eq!(two.as_ptr().addr() - one.as_ptr().addr(), distance);
}

#[test]
fn a_cached_block_is_lent_without_a_copy() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = open(directory.path(), CompressionProfile::Fast);
    fill(&db);
    db.flush_sync().expect("a flush");
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().expect("the bucket");
    let reader = bucket.reader(&snapshot).expect("a reader");
    let lent = |number| {
        reader
            .get_ref_sync(&key(number))
            .expect("a read")
            .expect("a value")
    };
    let (one, again) = (lent(10), lent(10));
    assert_eq!(one.as_ptr(), again.as_ptr());
}

#[test]
fn a_loan_outlives_flush_compaction_eviction_deletion_and_the_database() {
    for compression in [CompressionProfile::None, CompressionProfile::Fast] {
        for flushed in [false, true] {
            let directory = tempfile::tempdir().expect("a directory");
            let db = open(directory.path(), compression);
            fill(&db);
            if flushed {
                db.flush_sync().expect("a flush");
            }
            let snapshot = db.snapshot();
            let bucket = db.default_bucket_sync().expect("the bucket");
            let reader = bucket.reader(&snapshot).expect("a reader");
            drop(bucket);
            let lent: Vec<_> = (0..ROWS)
                .step_by(97)
                .map(|number| {
                    let loan = reader.get_ref_sync(&key(number)).expect("a read");
                    (number, loan.expect("a value"))
                })
                .collect();
            db.delete_range_sync(KeyRange::all()).expect("a delete");
            for number in 0..ROWS {
                db.put_sync(key(number), vec![0xee; 300]).expect("a put");
            }
            db.flush_sync().expect("a flush");
            db.compact_range_sync(KeyRange::all())
                .expect("a compaction");
            // Evicts every block that nobody holds.
            assert_eq!(
                db.range_sync(&KeyRange::all()).expect("a scan").count(),
                ROWS as usize
            );
            db.close_sync();
            drop(db);
            for (number, loan) in &lent {
                assert_eq!(&**loan, value(*number));
            }
        }
    }
}

#[test]
fn a_closure_borrows_the_value() {
    let db = Db::open_sync(DbOptions::memory()).expect("a database");
    db.put_sync("key", "value").expect("a put");
    assert_eq!(
        db.get_with_sync(b"key", <[u8]>::len).expect("a read"),
        Some(5)
    );
    assert_eq!(
        block_on(db.get_with(b"key", |value| value[0])).expect("a read"),
        Some(b'v')
    );
    assert_eq!(
        db.get_with_sync(b"absent", <[u8]>::len).expect("a read"),
        None
    );
}
