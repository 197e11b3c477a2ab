//! What the database holds now, and what it did since it was opened.

use trine_kv::stats::{FilterStats, LevelStats, ReadPathStats};
use trine_kv::{CompressionProfile, Db, DbOptions, KeyRange, MaintenanceBudget, Snapshot};

use crate::opened::{Opened, key};

#[test]
fn a_fresh_database_has_one_bucket_and_nothing_else() {
    let stats = Opened::new().stats();
    assert_eq!(stats.live_buckets, 1);
    assert_eq!(stats.active_snapshots, 0);
    assert_eq!(stats.memtable_bytes, 0);
    assert_eq!(stats.immutable_memtables, 0);
    assert_eq!(stats.total_tables, 0);
    assert_eq!(stats.level_tables, []);
    assert_eq!(stats.commit_visible_sequence, 0);
    assert_eq!(stats.commit_open_slots, 0);
    assert_eq!(stats.commit_skipped_slots, 0);
}

#[test]
fn clones_of_snapshots_and_live_iterators_are_active() {
    let db = Opened::new();
    let first = db.snapshot();
    let second = first.clone();
    let iter = db.range_sync(&KeyRange::all()).unwrap();
    assert_eq!(db.stats().active_snapshots, 3);
    let untracked = Snapshot::new(first.read_sequence());
    assert_eq!(db.stats().active_snapshots, 3);
    drop((first, second, iter, untracked));
    assert_eq!(db.stats().active_snapshots, 0);
}

#[test]
fn a_flush_empties_memtables_into_level_0() {
    let db = Opened::new();
    db.bucket_sync("second")
        .unwrap()
        .put_sync("a", "1")
        .unwrap();
    db.put_sync("a", "1").unwrap();
    assert!(db.stats().memtable_bytes > 0);
    db.flush_sync().unwrap();
    let stats = db.stats();
    assert_eq!(stats.live_buckets, 2);
    assert_eq!(stats.memtable_bytes, 0);
    assert_eq!(stats.immutable_memtables, 0);
    assert_eq!((stats.l0_tables, stats.total_tables), (2, 2));
    let expected = LevelStats {
        level: 0,
        tables: 2,
        bytes: stats.table_bytes,
    };
    assert_eq!(stats.level_tables, [expected]);
    assert!(stats.table_bytes > 0);
}

#[test]
fn compactions_count_what_they_took_and_made() {
    let db = Opened::new();
    for value in ["1", "2"] {
        db.put_sync("a", value).unwrap();
        db.flush_sync().unwrap();
    }
    let before = db.stats();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let stats = db.stats();
    assert_eq!(stats.compaction_runs, 1);
    assert_eq!(stats.compaction_input_tables, 2);
    assert_eq!(stats.compaction_output_tables, 1);
    assert_eq!(stats.compaction_input_bytes, before.table_bytes);
    assert_eq!(stats.compaction_output_bytes, stats.table_bytes);
    assert_eq!(stats.l0_tables, 0);
    assert_eq!(stats.level_tables.len(), 1);
    assert!(stats.level_tables[0].level > 0);
}

#[test]
fn a_table_that_only_moves_is_taken_and_made_without_a_byte() {
    let db = Opened::new();
    db.put_sync("a", "1").unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let stats = db.stats();
    assert_eq!((stats.compaction_runs, stats.l0_tables), (1, 0));
    assert_eq!(stats.compaction_input_tables, 1);
    assert_eq!(stats.compaction_output_tables, 1);
    assert_eq!(stats.compaction_input_bytes, 0);
    assert_eq!(stats.compaction_output_bytes, 0);
}

#[test]
fn a_budget_that_is_used_up_counts_once_for_each_call() {
    let db = Opened::with(|options| options.write_buffer_bytes = 1);
    for bucket in ["a", "b"] {
        let bucket = db.bucket_sync(bucket).unwrap();
        bucket.put_sync("key", "value").unwrap();
    }
    assert_eq!(db.stats().immutable_memtables, 2);
    for exhausted in [true, false] {
        let outcome = db
            .run_maintenance_with_budget_sync(MaintenanceBudget::default())
            .unwrap();
        assert_eq!(outcome.budget_exhausted, exhausted);
        assert_eq!(db.stats().maintenance_budget_exhaustions, 1);
    }
}

#[test]
fn sequences_go_on_after_a_reopen_and_counters_start_again() {
    let opened = Opened::with_table(CompressionProfile::Fast, 3);
    opened.get_sync(&key(0)).unwrap();
    opened.put_sync("in the log", "").unwrap();
    let options = opened.options().clone();
    opened.close_sync();
    let db = Db::open_sync(options).unwrap();
    let stats = db.stats();
    assert_eq!(stats.commit_visible_sequence, 4);
    assert_eq!(stats.commit_sequences_allocated, 4);
    assert_eq!(stats.wal_records_accepted, 0);
    assert_eq!(stats.wal_bytes_accepted, 0);
    assert_eq!(stats.read_path, ReadPathStats::default());
    assert_eq!(stats.filters, FilterStats::default());
    assert_eq!((stats.block_cache_hits, stats.block_cache_misses), (0, 0));
    assert_eq!(stats.total_tables, 1);
}

#[test]
fn the_log_accepts_one_record_for_each_commit() {
    let db = Opened::new();
    for i in 0..5 {
        db.put_sync(key(i), "value").unwrap();
    }
    let stats = db.stats();
    assert_eq!(stats.wal_records_accepted, 5);
    assert!(
        stats.wal_bytes_accepted >= 5 * 13,
        "keys and values at least"
    );
    assert_eq!(stats.commit_sequences_allocated, 5);
    assert_eq!(stats.commit_visible_sequence, 5);
    assert_eq!(stats.commit_open_slots, 0);
    assert_eq!((stats.wal_shards, stats.wal_open_shards), (1, 1));
    assert!(stats.wal_queue_capacity > 0);

    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    memory.put_sync("a", "1").unwrap();
    let stats = memory.stats();
    assert_eq!(
        (stats.wal_records_accepted, stats.wal_bytes_accepted),
        (0, 0)
    );
    assert_eq!((stats.wal_shards, stats.wal_open_shards), (0, 0));
    assert_eq!(stats.wal_queue_capacity, 0);
    assert_eq!(stats.commit_visible_sequence, 1);
}

#[test]
fn statistics_can_be_read_after_close() {
    let db = Opened::with_table(CompressionProfile::Fast, 3);
    let bucket = db.default_bucket_sync().unwrap();
    db.close_sync();
    assert_eq!(db.stats().total_tables, 1);
    assert_eq!(bucket.stats().tables, 1);
}
