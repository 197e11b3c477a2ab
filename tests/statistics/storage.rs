//! Where storage work runs, and how much of it.

use trine_kv::{
    CompressionProfile, Db, DbOptions, DbStats, KeyRange, MaintenanceBudget, RuntimeOptions,
};

use crate::common::executor::block_on;
use crate::opened::{Opened, key};

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
