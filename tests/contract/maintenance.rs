//! When memtables freeze, what a flush and a compaction leave.

use trine_kv::{BucketOptions, CompressionProfile, Db, DbOptions, KeyRange};

use crate::fixture::{Place, all_keys, put_all};

#[test]
fn a_flush_leaves_nothing_in_memtables_and_one_table_for_each() {
    let place = Place::new();
    let db = place.open();
    db.put_sync("key", "value").unwrap();
    db.bucket_sync("other")
        .unwrap()
        .put_sync("key", "value")
        .unwrap();
    db.bucket_sync("empty").unwrap();
    db.flush_sync().unwrap();
    let stats = db.stats();
    assert_eq!((stats.l0_tables, stats.total_tables), (2, 2));
    assert_eq!((stats.memtable_bytes, stats.immutable_memtables), (0, 0));
    assert!(stats.table_bytes > 0);
    // With nothing to flush, a flush changes nothing.
    db.flush_sync().unwrap();
    assert_eq!(db.stats().total_tables, 2);
}

#[test]
fn compacting_one_table_moves_it_to_level_one() {
    let place = Place::new();
    let db = place.open();
    put_all(&db, &[b"a", b"b"]);
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let stats = db.stats();
    assert_eq!(stats.l0_tables, 0);
    let levels: Vec<_> = stats
        .level_tables
        .iter()
        .map(|level| (level.level, level.tables))
        .collect();
    assert_eq!(levels, [(1, 1)]);
    assert_eq!(all_keys(&db), [b"a", b"b"]);
}

#[test]
fn compaction_removes_what_nothing_can_see() {
    let place = Place::new();
    let plain = BucketOptions {
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    };
    let db = Db::open_sync(place.options().with_default_bucket_options(plain)).unwrap();
    for round in 0..3_u8 {
        for key in 0..50_u8 {
            db.put_sync([key], vec![round; 1000]).unwrap();
        }
        db.flush_sync().unwrap();
    }
    let before = db.stats().table_bytes;
    db.delete_range_sync(KeyRange::all()).unwrap();
    db.put_sync("only", "row").unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(all_keys(&db), [b"only"]);
    assert!(
        db.stats().table_bytes * 4 < before,
        "{} of {before}",
        db.stats().table_bytes
    );
}

#[test]
fn a_fresh_database_counts_one_bucket_and_no_tables() {
    let place = Place::new();
    let stats = place.open().stats();
    assert_eq!(
        (
            stats.live_buckets,
            stats.total_tables,
            stats.active_snapshots
        ),
        (1, 0, 0)
    );
    assert_eq!(
        (
            stats.commit_sequences_allocated,
            stats.commit_visible_sequence
        ),
        (0, 0)
    );
    assert!(stats.level_tables.is_empty());
}

#[test]
fn commits_are_counted_and_continue_after_reopening() {
    let place = Place::new();
    let db = place.open();
    put_all(&db, &[b"a", b"b"]);
    let stats = db.stats();
    assert_eq!(
        (stats.wal_records_accepted, stats.commit_visible_sequence),
        (2, 2)
    );
    assert_eq!(stats.commit_open_slots, 0);
    db.close_sync();
    let stats = place.open().stats();
    assert_eq!(
        (stats.wal_records_accepted, stats.commit_visible_sequence),
        (0, 2)
    );
}

#[test]
fn a_worker_flushes_and_compacts_by_itself_and_loses_nothing() {
    let place = Place::new();
    let options = DbOptions {
        write_buffer_bytes: 2000,
        max_l0_files: 2,
        background_worker_count: 1,
        ..place.options()
    };
    let db = Db::open_sync(options).unwrap();
    for index in 0..1000_u16 {
        db.put_sync(index.to_be_bytes(), vec![1; 50]).unwrap();
    }
    assert_eq!(all_keys(&db).len(), 1000);
    db.flush_sync().unwrap();
    assert_eq!(all_keys(&db).len(), 1000);
    assert!(db.stats().total_tables > 0);
    db.close_sync();
    assert_eq!(all_keys(&place.open()).len(), 1000);
}
