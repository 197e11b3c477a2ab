//! Values beside their tables: where they lie, who reads them, what becomes of them, and when their files go.
#![cfg(not(target_family = "wasm"))]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a step that fails is a test that fails; files are damaged behind the engine's back"
)]

use std::path::Path;

use trine_kv::{
    BlobLevelMergePolicy, BucketOptions, CompressionProfile, Db, DbOptions, Direction, Error,
    KeyRange, LazyIter, LazyKeyValue, MaintenanceBudget, TransactionOptions,
};

const VALUE_BYTES: usize = 3000;

struct Opened {
    db: Db,
    directory: tempfile::TempDir,
}

impl std::ops::Deref for Opened {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

/// The profile that compresses large values, where there is one.
const COMPRESSING: CompressionProfile = if cfg!(all(feature = "zstd", not(target_family = "wasm")))
{
    CompressionProfile::Zstd
} else {
    CompressionProfile::None
};

fn bucket_options(policy: BlobLevelMergePolicy, compression: CompressionProfile) -> BucketOptions {
    BucketOptions {
        compression,
        blob_threshold_bytes: 1000,
        blob_level_merge_policy: policy,
        ..BucketOptions::default()
    }
}

fn options(path: &Path, bucket: BucketOptions) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        blob_gc_enabled: false,
        default_bucket_options: bucket,
        ..DbOptions::new(path)
    }
}

fn opened_with(policy: BlobLevelMergePolicy, compression: CompressionProfile) -> Opened {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), bucket_options(policy, compression));
    Opened {
        db: Db::open_sync(options).unwrap(),
        directory,
    }
}

fn opened(policy: BlobLevelMergePolicy) -> Opened {
    opened_with(policy, CompressionProfile::None)
}

fn reopened(opened: Opened) -> Opened {
    let Opened { db, directory } = opened;
    let path = directory.path().to_owned();
    drop(db);
    let db = Db::open_sync(DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(path)
    });
    Opened {
        db: db.unwrap(),
        directory,
    }
}

fn blob_files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("blob-")).collect();
    names.sort();
    names
}

/// The blob files once there are as few as that: a view that other threads may still look at keeps its files
/// until they have moved on, and the next flush looks again.
fn blob_files_down_to(db: &Db, directory: &Path, count: usize) -> Vec<String> {
    for _ in 0..10_000 {
        if blob_files(directory).len() <= count {
            break;
        }
        std::thread::yield_now();
        db.flush_sync().unwrap();
    }
    blob_files(directory)
}

fn large(tag: u8) -> Vec<u8> {
    vec![tag; VALUE_BYTES]
}

fn put_and_flush(db: &Db, keys: &[&str], tag: u8) {
    for key in keys {
        db.put_sync(*key, large(tag)).unwrap();
    }
    db.flush_sync().unwrap();
}

fn lazy_row(mut rows: LazyIter) -> LazyKeyValue {
    rows.next_sync().unwrap().unwrap()
}

#[test]
fn values_from_the_threshold_on_lie_in_one_blob_file_for_a_flush() {
    let db = opened(BlobLevelMergePolicy::Auto);
    db.put_sync("small", vec![1; 999]).unwrap();
    db.put_sync("large", vec![2; 1000]).unwrap();
    db.put_sync("larger", large(3)).unwrap();
    assert!(blob_files(db.directory.path()).is_empty());
    assert!(
        lazy_row(db.range_lazy_sync(&KeyRange::all()).unwrap())
            .value
            .is_inline()
    );
    db.flush_sync().unwrap();
    assert_eq!(blob_files(db.directory.path()).len(), 1);
    let inline: Vec<bool> = db
        .range_lazy_sync(&KeyRange::all())
        .unwrap()
        .map(|row| row.unwrap().value.is_inline())
        .collect();
    assert_eq!(inline, [false, false, true]);
    let stats = db.stats();
    assert_eq!((stats.live_blob_files, stats.live_blob_bytes), (1, 4000));
    assert_eq!((stats.stale_blob_files, stats.stale_blob_bytes), (0, 0));
    let bucket = db.default_bucket_sync().unwrap().stats();
    assert_eq!((bucket.blob_files, bucket.live_blob_bytes), (1, 4000));
    assert!(bucket.table_bytes < 3000, "{}", bucket.table_bytes);
}

#[test]
fn every_way_of_reading_gives_the_value() {
    for compression in [CompressionProfile::Fast, COMPRESSING] {
        let db = opened_with(BlobLevelMergePolicy::Auto, compression);
        put_and_flush(&db, &["a", "b"], 7);
        db.put_sync("c", large(8)).unwrap();
        let db = reopened(db);
        let bucket = db.default_bucket_sync().unwrap();
        assert_eq!(db.get_sync(b"a").unwrap(), Some(large(7)));
        assert_eq!(
            db.get_with_sync(b"b", <[u8]>::len).unwrap(),
            Some(VALUE_BYTES)
        );
        assert!(db.contains_key_sync(b"b").unwrap());
        let values = db.multi_get_sync(&["a", "x", "c"]).unwrap();
        assert_eq!(values, [Some(large(7)), None, Some(large(8))]);
        let snapshot = db.snapshot();
        let reader = bucket.reader(&snapshot).unwrap();
        assert_eq!(*reader.get_ref_sync(b"a").unwrap().unwrap(), large(7));
        assert_eq!(reader.get_owned_sync(b"b").unwrap(), Some(large(7)));
        let expected = [("a", 7), ("b", 7), ("c", 8)];
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut cursor = db.cursor(&KeyRange::all(), direction).unwrap();
            let mut rows = Vec::new();
            while cursor.advance_sync().unwrap() {
                rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
            }
            if direction == Direction::Reverse {
                rows.reverse();
            }
            let expected = expected.map(|(key, tag)| (key.as_bytes().to_vec(), large(tag)));
            assert_eq!(rows, expected);
        }
        let lazy: Vec<_> = db
            .range_lazy_sync(&KeyRange::all())
            .unwrap()
            .map(|row| row.unwrap().into_key_value_sync().unwrap())
            .collect();
        let eager: Vec<_> = db
            .range_sync(&KeyRange::all())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(lazy, eager);
        let mut transaction = db.transaction(TransactionOptions::default());
        assert_eq!(transaction.get_sync(b"a").unwrap(), Some(large(7)));
        let report = db.verify_sync(|_| {}).unwrap();
        assert_eq!((report.blob_values, report.blob_bytes), (2, 6000));
    }
}

#[test]
fn a_mapped_plain_value_is_lent_without_a_copy() {
    let db = opened(BlobLevelMergePolicy::Auto);
    put_and_flush(&db, &["a"], 7);
    let bucket = db.default_bucket_sync().unwrap();
    let snapshot = db.snapshot();
    let reader = bucket.reader(&snapshot).unwrap();
    let first = reader.get_ref_sync(b"a").unwrap().unwrap();
    let second = reader.get_ref_sync(b"a").unwrap().unwrap();
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn a_value_is_counted_when_it_is_fetched_and_only_then() {
    let db = opened(BlobLevelMergePolicy::Auto);
    put_and_flush(&db, &["a", "b"], 7);
    let counted = || {
        let stats = db.stats();
        (stats.blob_read_count, stats.blob_read_bytes)
    };
    let rows = db.range_lazy_sync(&KeyRange::all()).unwrap();
    let rows: Vec<_> = rows.map(Result::unwrap).collect();
    assert!(db.contains_key_sync(b"a").unwrap());
    assert_eq!(counted(), (0, 0));
    rows[0].value.read_sync().unwrap();
    assert_eq!(counted(), (1, 3000));
    db.get_sync(b"a").unwrap();
    assert_eq!(counted(), (2, 6000));
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 2);
    assert_eq!(counted(), (4, 12000));
}

#[test]
fn without_a_level_merge_compaction_keeps_the_files_that_are_referred_to() {
    let db = opened(BlobLevelMergePolicy::Disabled);
    put_and_flush(&db, &["a", "b"], 1);
    put_and_flush(&db, &["b", "c"], 2);
    let before = blob_files(db.directory.path());
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(blob_files(db.directory.path()), before);
    let stats = db.stats();
    assert_eq!((stats.live_blob_files, stats.live_blob_bytes), (2, 9000));
    assert_eq!((stats.stale_blob_files, stats.stale_blob_bytes), (1, 3000));
    let db = reopened(db);
    let stats = db.stats();
    assert_eq!((stats.live_blob_files, stats.live_blob_bytes), (2, 9000));
    assert_eq!((stats.stale_blob_files, stats.stale_blob_bytes), (1, 3000));
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
    assert_eq!(db.get_sync(b"b").unwrap(), Some(large(2)));
}

#[test]
fn a_level_merge_leaves_one_file_without_garbage() {
    for policy in [BlobLevelMergePolicy::Auto, BlobLevelMergePolicy::Always] {
        let db = opened(policy);
        put_and_flush(&db, &["a", "b"], 1);
        put_and_flush(&db, &["b", "c"], 2);
        let before = blob_files(db.directory.path());
        db.compact_range_sync(KeyRange::all()).unwrap();
        let after = blob_files_down_to(&db, db.directory.path(), 1);
        assert_eq!(after.len(), 1, "{policy:?}: {after:?}");
        assert!(!before.contains(&after[0]));
        let stats = db.stats();
        assert_eq!((stats.live_blob_bytes, stats.stale_blob_bytes), (9000, 0));
        assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
        assert_eq!(db.get_sync(b"b").unwrap(), Some(large(2)));
        db.verify_sync(|_| {}).unwrap();
    }
}

#[test]
fn a_file_goes_when_its_last_reader_does() {
    let db = opened(BlobLevelMergePolicy::Auto);
    put_and_flush(&db, &["a"], 1);
    let file = blob_files(db.directory.path()).remove(0);
    let row = lazy_row(db.range_lazy_sync(&KeyRange::all()).unwrap());
    db.delete_sync("a").unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert!(blob_files(db.directory.path()).contains(&file));
    let stats = db.stats();
    assert_eq!(stats.obsolete_blob_files, 1);
    assert!(stats.obsolete_blob_bytes > 3000);
    assert_eq!(row.value.read_sync().unwrap(), large(1));
    drop(row);
    assert!(blob_files_down_to(&db, db.directory.path(), 0).is_empty());
    assert_eq!(db.stats().obsolete_blob_files, 0);
}

#[test]
fn lazy_values_outlive_their_row_and_the_database() {
    for compression in [CompressionProfile::Fast, COMPRESSING] {
        let db = opened_with(BlobLevelMergePolicy::Auto, compression);
        put_and_flush(&db, &["a", "b"], 1);
        let rows = db.range_lazy_sync(&KeyRange::all()).unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        db.delete_range_sync(KeyRange::all()).unwrap();
        db.flush_sync().unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
        let Opened { db, directory } = db;
        drop(db);
        // The next opening finishes what readers kept from going.
        let db = Db::open_sync(directory.path()).unwrap();
        assert!(blob_files(directory.path()).is_empty());
        drop(db);
        drop(directory);
        assert_eq!(rows[1].value.read_sync().unwrap(), large(1));
    }
}

#[test]
fn an_iterator_keeps_its_values_through_deletion_compaction_and_close() {
    let Opened { db, directory } = opened(BlobLevelMergePolicy::Always);
    put_and_flush(&db, &["a", "b"], 1);
    let mut rows = db.range_sync(&KeyRange::all()).unwrap();
    let mut fork = rows.clone();
    assert_eq!(rows.next_sync().unwrap().unwrap().value, large(1));
    db.delete_range_sync(KeyRange::all()).unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    drop(db);
    drop(directory);
    assert_eq!(rows.next_sync().unwrap().unwrap().value, large(1));
    assert_eq!(fork.by_ref().count(), 2);
}

#[test]
fn a_snapshot_keeps_its_values_through_a_level_merge() {
    let db = opened(BlobLevelMergePolicy::Always);
    put_and_flush(&db, &["a"], 1);
    let snapshot = db.snapshot();
    put_and_flush(&db, &["a"], 2);
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(db.get_at_sync(&snapshot, b"a").unwrap(), Some(large(1)));
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(2)));
    assert_eq!(db.stats().live_blob_bytes, 6000);
}

#[test]
fn a_dropped_bucket_takes_its_blob_files_with_it() {
    let db = opened(BlobLevelMergePolicy::Auto);
    let options = bucket_options(BlobLevelMergePolicy::Auto, CompressionProfile::None);
    let bucket = db.bucket_with_options_sync("large", options).unwrap();
    bucket.put_sync("a", large(1)).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(blob_files(db.directory.path()).len(), 1);
    drop(bucket);
    db.drop_bucket_sync("large").unwrap();
    assert!(blob_files_down_to(&db, db.directory.path(), 0).is_empty());
    reopened(db);
}

#[test]
fn a_checkpoint_has_the_values() {
    let db = opened(BlobLevelMergePolicy::Auto);
    put_and_flush(&db, &["a"], 1);
    db.put_sync("b", large(2)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    db.checkpoint_sync(copy.path()).unwrap();
    drop(db);
    let copied = Db::open_sync(copy.path()).unwrap();
    assert_eq!(copied.get_sync(b"a").unwrap(), Some(large(1)));
    assert_eq!(copied.get_sync(b"b").unwrap(), Some(large(2)));
    copied.verify_sync(|_| {}).unwrap();
}

#[test]
fn a_blob_file_that_is_missing_or_cut_or_of_another_kind_fails_the_opening() {
    for damage in 0..3 {
        let Opened { db, directory } = {
            let db = opened(BlobLevelMergePolicy::Auto);
            put_and_flush(&db, &["a"], 1);
            db
        };
        drop(db);
        let name = blob_files(directory.path()).remove(0);
        let path = directory.path().join(&name);
        let mut bytes = std::fs::read(&path).unwrap();
        match damage {
            0 => std::fs::remove_file(&path).unwrap(),
            1 => std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap(),
            _ => {
                bytes[3] ^= 1;
                std::fs::write(&path, &bytes).unwrap();
            }
        }
        let error = Db::open_sync(directory.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&name), "{text}");
        if damage == 0 {
            assert!(matches!(error, Error::Corruption { .. }));
            assert!(text.contains("referenced files are missing"), "{text}");
        }
    }
}

#[test]
fn damage_of_a_value_is_an_error_of_its_reader_and_of_verify() {
    let Opened { db, directory } = {
        let db = opened(BlobLevelMergePolicy::Auto);
        put_and_flush(&db, &["a", "b"], 1);
        db
    };
    drop(db);
    let name = blob_files(directory.path()).remove(0);
    let path = directory.path().join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[24 + VALUE_BYTES / 2] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let db = Db::open_sync(directory.path()).unwrap();
    assert_eq!(db.get_sync(b"b").unwrap(), Some(large(1)));
    for error in [
        db.get_sync(b"a").unwrap_err(),
        db.verify_sync(|_| {}).unwrap_err(),
        db.range_sync(&KeyRange::all())
            .unwrap()
            .next_sync()
            .unwrap()
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::Corruption { .. }), "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

/// Maintenance until there is nothing left to do.
fn maintained(db: &Db) {
    let budget = MaintenanceBudget::default();
    while db
        .run_maintenance_with_budget_sync(budget)
        .unwrap()
        .made_progress()
    {}
}

#[test]
fn garbage_is_collected_from_files_that_hold_enough_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket_options(BlobLevelMergePolicy::Disabled, CompressionProfile::None);
    let db = Db::open_sync(DbOptions {
        blob_gc_enabled: true,
        blob_gc_min_file_bytes: 1,
        ..options(directory.path(), bucket)
    })
    .unwrap();
    put_and_flush(&db, &["a", "b", "c", "d"], 1);
    put_and_flush(&db, &["a"], 2);
    db.compact_range_sync(KeyRange::all()).unwrap();
    // A quarter of the first file is garbage: not enough.
    maintained(&db);
    let stats = db.stats();
    assert_eq!((stats.stale_blob_bytes, stats.blob_gc_runs), (3000, 0));
    put_and_flush(&db, &["b"], 3);
    let row = db
        .range_lazy_sync(&KeyRange::all())
        .unwrap()
        .last()
        .unwrap()
        .unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    maintained(&db);
    let stats = db.stats();
    assert_eq!((stats.live_blob_bytes, stats.stale_blob_bytes), (12000, 0));
    assert_eq!(stats.blob_gc_runs, 1);
    assert_eq!(stats.blob_gc_input_bytes, 12000);
    assert_eq!(stats.blob_gc_output_bytes, 6000);
    assert_eq!(stats.blob_gc_discarded_bytes, 6000);
    assert_eq!(row.value.read_sync().unwrap(), large(1));
    for (key, tag) in [("a", 2), ("b", 3), ("c", 1), ("d", 1)] {
        assert_eq!(db.get_sync(key.as_bytes()).unwrap(), Some(large(tag)));
    }
    db.verify_sync(|_| {}).unwrap();
}

#[test]
fn garbage_of_a_file_of_one_level_is_collected_without_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    let bucket = bucket_options(BlobLevelMergePolicy::Disabled, CompressionProfile::None);
    let open = |gc| {
        Db::open_sync(DbOptions {
            blob_gc_enabled: gc,
            blob_gc_min_file_bytes: 1,
            ..options(directory.path(), bucket.clone())
        })
        .unwrap()
    };
    let db = open(false);
    put_and_flush(&db, &["a", "b", "c"], 1);
    put_and_flush(&db, &["a", "b"], 2);
    db.compact_range_sync(KeyRange::all()).unwrap();
    maintained(&db);
    assert_eq!(db.stats().stale_blob_bytes, 6000);
    drop(db);
    let db = open(true);
    maintained(&db);
    let stats = db.stats();
    assert_eq!((stats.live_blob_bytes, stats.stale_blob_bytes), (9000, 0));
    assert_eq!(stats.blob_gc_runs, 1);
    assert_eq!(blob_files_down_to(&db, directory.path(), 2).len(), 2);
}
