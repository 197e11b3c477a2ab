//! What one bucket holds.

use trine_kv::stats::LevelStats;
use trine_kv::{Bucket, BucketOptions, KeyRange};

use crate::opened::{Opened, key};

#[test]
fn a_bucket_counts_what_it_holds_and_no_other() {
    let db = Opened::with(|options| options.write_buffer_bytes = 10_000);
    let bucket = db.bucket_sync("second").unwrap();
    db.put_sync("elsewhere", "").unwrap();
    let rows = |bucket: &Bucket, count: usize| {
        for i in 0..count {
            bucket.put_sync(key(i), "").unwrap();
        }
    };
    let empty = bucket.stats();
    assert_eq!(empty, trine_kv::BucketStats::default());
    rows(&bucket, 10);
    assert!(bucket.stats().memtable_bytes > 0);
    assert_eq!(bucket.stats().immutable_memtables, 0);
    bucket.put_sync("large", vec![0; 10_000]).unwrap();
    assert_eq!(bucket.stats().immutable_memtables, 1);
    db.flush_sync().unwrap();
    let stats = bucket.stats();
    assert_eq!((stats.memtable_bytes, stats.immutable_memtables), (0, 0));
    assert_eq!((stats.tables, stats.table_entries), (1, 11));
    let expected = LevelStats {
        level: 0,
        tables: 1,
        bytes: stats.table_bytes,
    };
    assert_eq!(stats.level_tables, [expected]);
    let default = db.default_bucket_sync().unwrap().stats();
    assert_eq!((default.tables, default.table_entries), (1, 1));
    let all = db.stats();
    assert_eq!(all.total_tables, 2);
    assert_eq!(all.table_bytes, stats.table_bytes + default.table_bytes);
}

#[test]
fn table_entries_count_versions_and_tombstones_until_a_compaction_drops_them() {
    let db = Opened::new();
    let options = BucketOptions::default();
    let bucket = db.bucket_with_options_sync("second", options).unwrap();
    bucket.put_sync("a", "1").unwrap();
    bucket.put_sync("b", "1").unwrap();
    db.flush_sync().unwrap();
    bucket.delete_sync("a").unwrap();
    bucket.delete_range_sync(KeyRange::prefix("c")).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(bucket.stats().table_entries, 3);
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(bucket.stats().table_entries, 1);
    assert_eq!(bucket.stats().level_tables.len(), 1);
}
