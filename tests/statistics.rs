//! What `Db::stats` and `Bucket::stats` count, one test for each rule.
//!
//! Every test starts without background workers: what happens, the test does.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use tempfile::TempDir;
use trine_kv::stats::{FilterStats, LevelStats, ReadPathStats};
use trine_kv::{
    Bucket, BucketOptions, CompressionProfile, Db, DbOptions, DbStats, FilterPolicy, KeyRange,
    MaintenanceBudget, PrefixExtractor, RuntimeOptions, Snapshot, TransactionOptions,
};

mod common {
    pub(crate) mod executor;
}
use common::executor::block_on;

/// A database in a directory that goes with it.
struct Opened {
    db: Db,
    _directory: TempDir,
}

impl std::ops::Deref for Opened {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Opened {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut DbOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DbOptions::new(directory.path().join("database"));
        options.background_worker_count = 0;
        change(&mut options);
        let db = Db::open_sync(options).unwrap();
        Self {
            db,
            _directory: directory,
        }
    }

    /// With so many rows in one table of the default bucket.
    fn with_table(compression: CompressionProfile, rows: usize) -> Self {
        let opened = Self::with(|options| {
            options.default_bucket_options.compression = compression;
            options.default_bucket_options.block_bytes = 512;
        });
        for i in 0..rows {
            opened.put_sync(key(i), [7; 50]).unwrap();
        }
        opened.flush_sync().unwrap();
        opened
    }

    fn blocks(&self) -> (u64, u64) {
        let stats = self.stats();
        (stats.block_cache_hits, stats.block_cache_misses)
    }
}

const CODECS: [CompressionProfile; 2] = [CompressionProfile::None, CompressionProfile::Fast];

fn key(i: usize) -> Vec<u8> {
    format!("key{i:05}").into_bytes()
}

// Block lookups.

#[test]
fn block_counts_are_zero_after_a_flush_and_after_a_compaction() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        assert_eq!(db.blocks(), (0, 0));
        db.put_sync(key(3), "newer").unwrap();
        db.flush_sync().unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
        assert_eq!(db.stats().compaction_runs, 1);
        assert_eq!(db.blocks(), (0, 0), "compactions do not read for anybody");
    }
}

#[test]
fn the_first_point_read_of_a_block_is_a_miss_and_a_repeat_a_hit() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        for hits in 0..4 {
            assert!(db.get_sync(&key(50)).unwrap().is_some());
            assert_eq!(db.blocks(), (hits, 1));
        }
    }
}

#[test]
fn every_kind_of_point_read_counts_its_block() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    let key = key(50);
    db.get_sync(&key).unwrap();
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().unwrap();
    let reader = bucket.reader(&snapshot).unwrap();
    let reads: [&dyn Fn(); 10] = [
        &|| {
            block_on(db.get(&key)).unwrap();
        },
        &|| {
            db.get_at_sync(&snapshot, &key).unwrap();
        },
        &|| {
            db.get_with_sync(&key, <[u8]>::len).unwrap();
        },
        &|| {
            db.contains_key_sync(&key).unwrap();
        },
        &|| {
            db.multi_get_sync(&[&key]).unwrap();
        },
        &|| {
            reader.get_sync(&key).unwrap();
        },
        &|| {
            reader.get_ref_sync(&key).unwrap();
        },
        &|| {
            block_on(reader.get_owned(&key)).unwrap();
        },
        &|| {
            bucket.get_sync(&key).unwrap();
        },
        &|| {
            let options = TransactionOptions::default();
            db.transaction(options).get_sync(&key).unwrap();
        },
    ];
    for (done, read) in (1..).zip(reads) {
        read();
        assert_eq!(db.blocks(), (done, 1));
    }
}

#[test]
fn creating_an_iterator_looks_up_no_block() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    let iters = (
        db.range_sync(&KeyRange::all()).unwrap(),
        db.range_reverse_sync(&KeyRange::all()).unwrap(),
        db.prefix_sync("key").unwrap(),
        block_on(db.range(&KeyRange::all())).unwrap(),
    );
    assert_eq!(db.blocks(), (0, 0));
    drop(iters);
}

#[test]
fn a_scan_misses_each_block_once_and_hits_it_when_repeated() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 100);
        let (hits, blocks) = db.blocks();
        assert_eq!(
            hits, 0,
            "a block counts when it is entered, not for each row"
        );
        assert!((5..=100).contains(&blocks), "{blocks}");
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 100);
        assert_eq!(db.blocks(), (blocks, blocks));
        let reverse = db.range_reverse_sync(&KeyRange::all()).unwrap();
        assert_eq!(reverse.count(), 100);
        assert_eq!(db.blocks(), (2 * blocks, blocks));
        db.get_sync(&key(50)).unwrap();
        assert_eq!(db.blocks(), (2 * blocks + 1, blocks));
    }
}

#[test]
fn a_block_that_the_cache_gave_up_is_a_miss_again() {
    let db = Opened::with(|options| options.block_cache_bytes = 0);
    db.put_sync("key", [7; 5000]).unwrap();
    db.flush_sync().unwrap();
    for misses in 1..4 {
        db.get_sync(b"key").unwrap();
        assert_eq!(db.blocks(), (0, misses));
    }
}

// Point reads.

#[test]
fn memtables_take_no_steps_in_tables() {
    let db = Opened::new();
    db.put_sync("a", "1").unwrap();
    db.get_sync(b"a").unwrap();
    db.get_sync(b"b").unwrap();
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 1);
    let stats = db.stats();
    assert_eq!(stats.read_path, ReadPathStats::default());
    assert_eq!(stats.filters, FilterStats::default());
    assert_eq!(db.blocks(), (0, 0));
}

#[test]
fn a_point_read_counts_its_steps() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    assert!(db.get_sync(&key(50)).unwrap().is_some());
    let expected = ReadPathStats {
        point_table_probes: 1,
        point_index_partition_probes: 1,
        point_block_metadata_probes: 1,
        point_data_block_reads: 1,
        point_filter_misses: 0,
    };
    assert_eq!(db.stats().read_path, expected);
    db.get_sync(b"before all keys").unwrap();
    db.get_sync(b"zzz after all keys").unwrap();
    assert_eq!(
        db.stats().read_path,
        expected,
        "tables whose key range does not hold the key are not asked"
    );
}

#[test]
fn tables_are_asked_from_the_newest_until_one_knows_the_key() {
    let db = Opened::with(|options| {
        options.default_bucket_options.filter_policy = FilterPolicy::Disabled;
    });
    for newest in ["2", "3", "4"] {
        for key in ["a", "m", newest, "z"] {
            db.put_sync(key, newest).unwrap();
        }
        db.flush_sync().unwrap();
    }
    db.get_sync(b"m").unwrap();
    assert_eq!(db.stats().read_path.point_table_probes, 1);
    db.get_sync(b"n").unwrap();
    let read_path = db.stats().read_path;
    assert_eq!(read_path.point_table_probes, 1 + 3);
    assert_eq!(read_path.point_index_partition_probes, 1 + 3);
    assert_eq!(read_path.point_filter_misses, 0);
    assert_eq!(
        db.stats().filters,
        FilterStats::default(),
        "tables without a filter were asked"
    );
}

// Filters.

#[test]
fn key_filters_count_hits_misses_and_false_positives() {
    let db = Opened::with_table(CompressionProfile::None, 1000);
    for i in 0..1000 {
        assert!(db.get_sync(&key(i)).unwrap().is_some());
    }
    let filters = db.stats().filters;
    assert_eq!(filters.table_point_hits, 1000);
    assert_eq!(filters.table_point_misses, 0);
    assert_eq!(filters.table_point_false_positives, 0);
    for i in 0..999 {
        let absent = [key(i).as_slice(), b"x"].concat();
        assert_eq!(db.get_sync(&absent).unwrap(), None);
    }
    let stats = db.stats();
    let (filters, read_path) = (stats.filters, stats.read_path);
    let wrong = filters.table_point_false_positives;
    assert!(wrong < 100, "{wrong} of 999 at ten bits a key");
    assert_eq!(filters.table_point_hits, 1000 + wrong);
    assert_eq!(filters.table_point_misses, 999 - wrong);
    assert_eq!(read_path.point_table_probes, 1999);
    assert_eq!(read_path.point_filter_misses, filters.table_point_misses);
    assert_eq!(read_path.point_index_partition_probes, 1000 + wrong);
    assert_eq!(read_path.point_data_block_reads, 1000 + wrong);
}

#[test]
fn a_filter_of_one_bit_is_often_wrong() {
    let db = Opened::with(|options| {
        options.default_bucket_options.filter_policy = FilterPolicy::Bloom { bits_per_key: 1 };
    });
    for i in 0..1000 {
        db.put_sync(key(i), "").unwrap();
    }
    db.flush_sync().unwrap();
    for i in 0..999 {
        let absent = [key(i).as_slice(), b"x"].concat();
        assert_eq!(db.get_sync(&absent).unwrap(), None);
    }
    let filters = db.stats().filters;
    assert!(filters.table_point_false_positives > 0);
    assert_eq!(
        filters.table_point_hits,
        filters.table_point_false_positives
    );
    assert_eq!(filters.table_point_hits + filters.table_point_misses, 999);
}

/// Two tables whose key ranges overlap: users in one, visits in both.
fn prefixed(bits_per_prefix: u8) -> Opened {
    let db = Opened::with(|options| {
        let bucket = &mut options.default_bucket_options;
        bucket.prefix_extractor = PrefixExtractor::Separator(b':');
        bucket.prefix_filter_policy = trine_kv::PrefixFilterPolicy::Bloom { bits_per_prefix };
    });
    for rows in [["a:1", "user:1", "z:1"], ["a:2", "visit:1", "z:2"]] {
        for key in rows {
            db.put_sync(key, "").unwrap();
        }
        db.flush_sync().unwrap();
    }
    db
}

#[test]
fn prefix_filters_count_hits_and_misses_when_a_scan_begins() {
    let db = prefixed(16);
    let scan = db.prefix_sync("user:").unwrap();
    assert_eq!(db.stats().filters, FilterStats::default());
    assert_eq!(scan.count(), 1);
    let expected = FilterStats {
        table_prefix_hits: 1,
        table_prefix_misses: 1,
        ..FilterStats::default()
    };
    assert_eq!(db.stats().filters, expected);
    assert_eq!(db.prefix_reverse_sync("a:").unwrap().count(), 2);
    let expected = FilterStats {
        table_prefix_hits: 3,
        ..expected
    };
    assert_eq!(db.stats().filters, expected, "each was right");
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 6);
    assert_eq!(db.stats().filters, expected, "no filter was asked");
}

#[test]
fn prefix_filters_count_false_positives_when_a_scan_comes_to_the_table() {
    let db = prefixed(1);
    for i in 0..500 {
        db.put_sync(format!("a{i}:"), "").unwrap();
    }
    db.put_sync("z:4", "").unwrap();
    db.flush_sync().unwrap();
    let (mut scans, mut last) = (0, FilterStats::default());
    // Prefixes that nobody wrote, until a filter of a few bits has been wrong both ways of scanning.
    for reverse in [false, true] {
        loop {
            scans += 1;
            assert!(scans < 10_000, "a filter that is never wrong");
            let prefix = format!("b{scans}:");
            let scan = if reverse {
                db.prefix_reverse_sync(prefix).unwrap()
            } else {
                db.prefix_sync(prefix).unwrap()
            };
            assert_eq!(db.stats().filters, last, "nobody has looked yet");
            assert_eq!(scan.count(), 0);
            let before = last;
            last = db.stats().filters;
            let wrong = last.table_prefix_hits - before.table_prefix_hits;
            assert_eq!(
                last.table_prefix_false_positives,
                before.table_prefix_false_positives + wrong
            );
            if wrong > 0 {
                break;
            }
        }
    }
    assert_eq!(last.table_prefix_hits, last.table_prefix_false_positives);
    assert_eq!(last.table_prefix_hits + last.table_prefix_misses, 3 * scans);
}

#[test]
fn the_filter_of_a_table_with_range_tombstones_is_asked_as_any() {
    let db = prefixed(16);
    for key in ["a:3", "z:3"] {
        db.put_sync(key, "").unwrap();
    }
    db.delete_range_sync(KeyRange::prefix("visit:")).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(db.prefix_sync("user:").unwrap().count(), 1);
    let filters = db.stats().filters;
    assert_eq!(
        (filters.table_prefix_hits, filters.table_prefix_misses),
        (1, 2)
    );
    assert_eq!(filters.table_prefix_false_positives, 0);
}

// Where storage work runs.

#[test]
fn each_asynchronous_point_read_that_asks_a_table_moves_the_adapter_tasks() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    let tasks = || db.stats().storage_sync_adapter_tasks;
    let before = tasks();
    block_on(db.get(&key(50))).unwrap();
    assert_eq!(tasks(), before + 1, "a first read");
    block_on(db.get(&key(50))).unwrap();
    assert_eq!(tasks(), before + 2, "a hit, though it needs no thread");
    let submitted = db.stats().storage_sync_adapter_submitted_tasks;
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().unwrap();
    let reader = bucket.reader(&snapshot).unwrap();
    block_on(reader.get(&key(51))).unwrap();
    block_on(bucket.get_at(&snapshot, &key(52))).unwrap();
    assert_eq!(tasks(), before + 4);
    assert_eq!(db.stats().storage_sync_adapter_submitted_tasks, submitted);

    db.put_sync("key in memory", "").unwrap();
    block_on(db.get(b"key in memory")).unwrap();
    block_on(db.get(b"a key that no table may hold")).unwrap();
    db.get_sync(&key(50)).unwrap();
    assert_eq!(tasks(), before + 4, "no table, or not asynchronous");
}

#[test]
fn each_asynchronous_step_of_a_scan_over_tables_moves_the_adapter_tasks() {
    let db = Opened::with_table(CompressionProfile::Fast, 3);
    let tasks = || db.stats().storage_sync_adapter_tasks;
    let before = tasks();
    let mut rows = block_on(db.range(&KeyRange::all())).unwrap();
    let mut lazy = block_on(db.range_lazy(&KeyRange::all())).unwrap();
    assert_eq!(tasks(), before, "creating an iterator reads nothing");
    assert!(block_on(rows.next()).unwrap().is_some());
    assert_eq!(tasks(), before + 1);
    assert!(block_on(lazy.next()).unwrap().is_some());
    assert_eq!(tasks(), before + 2);
    assert!(rows.next_sync().is_some());
    assert_eq!(tasks(), before + 2);
}

#[test]
fn asynchronous_maintenance_is_submitted_to_the_adapter() {
    let db = Opened::with_table(CompressionProfile::Fast, 10);
    let stats = db.stats();
    assert!(stats.storage_uses_sync_adapter);
    assert!(stats.storage_sync_adapter_queue_capacity > 0);
    let mut last = stats.storage_sync_adapter_submitted_tasks;
    let mut moved = |what: &str| {
        let stats = db.stats();
        let submitted = stats.storage_sync_adapter_submitted_tasks;
        assert_eq!(submitted, last + 1, "{what}");
        assert_eq!(stats.storage_sync_adapter_completed_tasks, submitted);
        assert!(stats.storage_sync_adapter_tasks >= submitted);
        assert_eq!(stats.storage_sync_adapter_queued_tasks, 0);
        assert_eq!(stats.storage_sync_adapter_rejected_tasks, 0);
        last = submitted;
    };
    let budget = MaintenanceBudget::default();
    block_on(db.flush()).unwrap();
    moved("flush");
    block_on(db.compact_range(KeyRange::all())).unwrap();
    moved("compact_range");
    block_on(db.compact_range_with_budget(KeyRange::all(), budget)).unwrap();
    moved("compact_range_with_budget");
    block_on(db.run_maintenance_with_budget(budget)).unwrap();
    moved("run_maintenance_with_budget");
    db.flush_sync().unwrap();
    assert_eq!(db.stats().storage_sync_adapter_submitted_tasks, last);
    assert!(db.stats().storage_sync_adapter_total_runtime_micros > 0);
}

fn adapter(stats: &DbStats) -> [u64; 5] {
    [
        u64::from(stats.storage_uses_sync_adapter),
        stats.storage_sync_adapter_tasks,
        stats.storage_sync_adapter_queue_capacity as u64,
        stats.storage_sync_adapter_submitted_tasks,
        stats.storage_sync_adapter_completed_tasks,
    ]
}

#[test]
fn there_is_no_adapter_inline_and_in_memory() {
    let inline = Opened::with(|options| options.runtime = RuntimeOptions::inline());
    inline.put_sync("a", "1").unwrap();
    inline.flush_sync().unwrap();
    block_on(inline.get(b"a")).unwrap();
    assert_eq!(adapter(&inline.stats()), [0; 5]);
    assert!(inline.stats().storage_inline_tasks > 0);

    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    block_on(memory.put("a", "1")).unwrap();
    block_on(memory.get(b"a")).unwrap();
    block_on(memory.flush()).unwrap();
    let stats = memory.stats();
    assert_eq!(adapter(&stats), [0; 5]);
    assert_eq!(stats.storage_inline_tasks, 0);
}

#[test]
fn nothing_is_asynchronous_in_the_platform() {
    let db = Opened::new();
    let stats = db.stats();
    assert!(!stats.storage_uses_platform_async_io);
    assert_eq!(stats.storage_platform_async_io_tasks, 0);
    assert_eq!(stats.storage_platform_backend_fallback_tasks, 0);
    assert_eq!(stats.storage_platform_sync_fallback_tasks, 0);
}

#[test]
fn storage_operations_are_counted() {
    let db = Opened::with_table(CompressionProfile::Fast, 10);
    let operations = db.stats().storage_operations;
    for (name, metric) in [
        ("open_read", operations.open_read),
        ("open_append", operations.open_append),
        ("append", operations.append),
        ("persist", operations.persist),
        ("acquire_writer_lease", operations.acquire_writer_lease),
        ("create_directory_all", operations.create_directory_all),
        ("sync_directory", operations.sync_directory_after_renames),
        ("publish_manifest", operations.publish_manifest),
    ] {
        assert!(metric.requests > 0, "{name}");
    }
}

// State.

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

// Buckets.

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

// For people.

#[test]
fn statistics_are_shown_as_a_table() {
    let db = Opened::with_table(CompressionProfile::Fast, 3);
    db.get_sync(&key(1)).unwrap();
    let shown = db.stats().to_string();
    for line in [
        "level",
        "block cache 0 hits",
        "key filter  1 maybe",
        "compaction",
    ] {
        assert!(shown.contains(line), "{line} in:\n{shown}");
    }
    assert!(
        db.default_bucket_sync()
            .unwrap()
            .stats()
            .to_string()
            .contains("3 entries")
    );
}
