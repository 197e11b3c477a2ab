//! Dropping and listing buckets, checkpoints, verification, sizes: what goes beyond 0.1.0.

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, Error, KeyRange, WriteBatch,
    WriteOptions,
};

use tempfile::tempdir;

fn options(path: &std::path::Path) -> DbOptions {
    DbOptions::new(path).with_durability(DurabilityMode::Buffered)
}

fn keys(db: &Db) -> Vec<Vec<u8>> {
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    rows.map(|row| row.unwrap().key).collect()
}

#[test]
fn a_dropped_bucket_is_gone_now_and_after_reopening() {
    let directory = tempdir().unwrap();
    for flushed in [false, true] {
        let path = directory.path().join(format!("flushed-{flushed}"));
        let db = Db::open_sync(options(&path)).unwrap();
        let bucket = db.bucket_sync("gone").unwrap();
        db.bucket_sync("kept").unwrap().put_sync("k", "1").unwrap();
        bucket.put_sync("k", "old").unwrap();
        if flushed {
            db.flush_sync().unwrap();
        }
        bucket.put_sync("m", "in the log only").unwrap();
        let mut rows = bucket.range_sync(&KeyRange::all()).unwrap();
        db.drop_bucket_sync("gone").unwrap();

        assert!(
            matches!(bucket.get_sync(b"k"), Err(Error::BucketMissing { name }) if name == "gone")
        );
        assert!(matches!(
            bucket.put_sync("k", "x"),
            Err(Error::BucketMissing { .. })
        ));
        let mut batch = WriteBatch::new();
        batch.put_bucket("gone", "k", "x").unwrap();
        let written = db.write_sync(batch, WriteOptions::default());
        assert!(matches!(written, Err(Error::BucketMissing { .. })));
        assert!(matches!(
            db.drop_bucket_sync("gone"),
            Err(Error::BucketMissing { .. })
        ));
        assert_eq!(
            rows.next_sync().unwrap().unwrap().value,
            b"old",
            "made before"
        );
        drop(rows);
        let names: Vec<_> = db
            .bucket_names()
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect();
        assert_eq!(names, ["kept"]);

        db.close_sync();
        let db = Db::open_sync(options(&path)).unwrap();
        assert_eq!(
            db.bucket_sync("kept").unwrap().get_sync(b"k").unwrap(),
            Some(b"1".to_vec())
        );
        let again = db.bucket_sync("gone").unwrap();
        assert_eq!(
            again.get_sync(b"k").unwrap(),
            None,
            "another bucket of the same name"
        );
        again.put_sync("k", "new").unwrap();
        db.close_sync();
        let db = Db::open_sync(options(&path)).unwrap();
        assert_eq!(
            db.bucket_sync("gone").unwrap().get_sync(b"k").unwrap(),
            Some(b"new".to_vec())
        );
        assert_eq!(
            db.bucket_sync("gone").unwrap().get_sync(b"m").unwrap(),
            None
        );
    }
}

#[test]
fn dropping_a_bucket_frees_its_files() {
    let directory = tempdir().unwrap();
    let db = Db::open_sync(options(directory.path())).unwrap();
    let bucket = db.bucket_sync("big").unwrap();
    for number in 0..500_u32 {
        bucket.put_sync(number.to_be_bytes(), vec![7; 100]).unwrap();
    }
    db.flush_sync().unwrap();
    let tables = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("table-")).count()
    };
    assert_eq!(tables(), 1);
    drop(bucket);
    db.drop_bucket_sync("big").unwrap();
    db.close_sync();
    assert_eq!(tables(), 0);
}

#[test]
fn the_default_bucket_cannot_be_dropped() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    assert!(matches!(
        db.drop_bucket_sync("default"),
        Err(Error::InvalidOptions { .. })
    ));
    db.bucket_sync("a").unwrap().put_sync("k", "1").unwrap();
    db.drop_bucket_sync("a").unwrap();
    assert_eq!(db.bucket_sync("a").unwrap().get_sync(b"k").unwrap(), None);
}

#[test]
fn a_checkpoint_opens_as_the_database_was() {
    let directory = tempdir().unwrap();
    let db = Db::open_sync(options(&directory.path().join("db"))).unwrap();
    let other = db
        .bucket_with_options_sync(
            "other",
            BucketOptions {
                compression: CompressionProfile::None,
                ..BucketOptions::default()
            },
        )
        .unwrap();
    db.put_sync("a", "1").unwrap();
    other.put_sync("b", "2").unwrap();
    db.delete_range_sync(KeyRange::half_open("x", "y")).unwrap();
    let copy = directory.path().join("copies").join("first");
    let at = db.checkpoint_sync(&copy).unwrap();
    assert_eq!(at, db.last_committed_sequence());
    db.put_sync("a", "changed").unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    db.drop_bucket_sync("other").unwrap();
    db.close_sync();

    let db = Db::open_sync(options(&copy)).unwrap();
    assert_eq!(db.last_committed_sequence(), at);
    assert_eq!(db.get_sync(b"a").unwrap(), Some(b"1".to_vec()));
    let other = db.bucket_with_options_sync(
        "other",
        BucketOptions {
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        },
    );
    assert_eq!(other.unwrap().get_sync(b"b").unwrap(), Some(b"2".to_vec()));
    db.put_sync("c", "3").unwrap();
    assert_eq!(keys(&db), [b"a", b"c"]);
    db.verify_sync(|_| ()).unwrap();
}

#[test]
fn a_checkpoint_never_holds_part_of_a_batch() {
    let directory = tempdir().unwrap();
    let mut options = options(&directory.path().join("db"));
    options.write_buffer_bytes = 2_000;
    let db = Db::open_sync(options.clone()).unwrap();
    let other = db.bucket_sync("other").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..2_000_u32 {
                let mut batch = WriteBatch::new();
                batch.put(number.to_be_bytes(), vec![1; 50]);
                batch
                    .put_bucket("other", number.to_be_bytes(), vec![2; 5])
                    .unwrap();
                db.write_sync(batch, WriteOptions::default()).unwrap();
            }
        });
        let mut copies = 0;
        while !writer.is_finished() || copies == 0 {
            let path = directory.path().join(format!("copy-{copies}"));
            let at = db.checkpoint_sync(&path).unwrap();
            copies += 1;
            let copy = Db::open_sync(DbOptions::persistent_read_only(&path)).unwrap();
            let left = keys(&copy);
            let right = copy
                .bucket_sync("other")
                .unwrap()
                .range_sync(&KeyRange::all())
                .unwrap();
            let right: Vec<_> = right.map(|row| row.unwrap().key).collect();
            assert_eq!(left, right);
            assert_eq!(left.len() as u64, at.get());
        }
    });
    drop(other);
}

#[test]
fn a_checkpoint_needs_an_empty_directory_and_a_database_on_disk() {
    let directory = tempdir().unwrap();
    let db = Db::open_sync(options(directory.path())).unwrap();
    assert!(matches!(
        db.checkpoint_sync(directory.path()),
        Err(Error::InvalidOptions { .. })
    ));
    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    let path = directory.path().join("copy");
    assert!(matches!(
        memory.checkpoint_sync(path),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn verification_reads_everything_and_names_what_is_wrong() {
    let directory = tempdir().unwrap();
    let db = Db::open_sync(options(directory.path())).unwrap();
    for number in 0..1_000_u32 {
        db.put_sync(number.to_be_bytes(), vec![3; 100]).unwrap();
    }
    db.flush_sync().unwrap();
    let mut seen = 0;
    let report = db.verify_sync(|_| seen += 1).unwrap();
    assert_eq!((seen, report.tables, report.entries), (1, 1, 1_000));
    db.close_sync();

    let entries = std::fs::read_dir(directory.path()).unwrap();
    let table = entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".trinet"))
        .unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&table, bytes).unwrap();
    let db = Db::open_sync(options(directory.path())).unwrap();
    let name = table.file_name().unwrap().to_string_lossy().into_owned();
    let error = db.verify_sync(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

#[test]
fn sizes_and_ends_of_a_range() {
    let directory = tempdir().unwrap();
    let db = Db::open_sync(options(directory.path())).unwrap();
    assert_eq!(db.first_sync(&KeyRange::all()).unwrap(), None);
    for number in 0..10_000_u32 {
        db.put_sync(number.to_be_bytes(), number.to_be_bytes().repeat(25))
            .unwrap();
    }
    db.flush_sync().unwrap();
    let half = KeyRange::half_open(0_u32.to_be_bytes(), 5_000_u32.to_be_bytes());
    let (part, whole) = (
        db.approximate_size(&half),
        db.approximate_size(&KeyRange::all()),
    );
    assert!(
        whole / 3 < part && part < whole * 2 / 3,
        "{part} of {whole}"
    );
    assert_eq!(
        db.first_sync(&half).unwrap().unwrap().key,
        0_u32.to_be_bytes()
    );
    assert_eq!(
        db.last_sync(&half).unwrap().unwrap().key,
        4_999_u32.to_be_bytes()
    );
    assert!(db.contains_key_sync(&7_u32.to_be_bytes()).unwrap());
    assert!(!db.contains_key_sync(b"absent").unwrap());
    let values = db
        .multi_get_sync(&[&9_u32.to_be_bytes()[..], b"absent"])
        .unwrap();
    assert_eq!(values, [Some(9_u32.to_be_bytes().repeat(25)), None]);
}
