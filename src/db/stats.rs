//! The picture of one open database that its counters make with everything else.

use std::sync::atomic::Ordering::Relaxed;

use trine_io::{Operation, Stats};

use crate::db::bucket::Bucket;
use crate::db::{Core, Db, Persistent};
use crate::read_counters::ReadCounters;
use crate::runtime::RuntimeMode;
use crate::stats::{
    BucketStats, DbStats, FilterStats, LevelStats, ReadPathStats, StorageOperationMetric,
    StorageOperationStats,
};
use crate::tree::Tree;
use trine_platform::sorted::SortedMap;

impl Db {
    /// What the database holds and has done since it was opened. May be called at any time, also after
    /// it was closed.
    ///
    /// # Cost
    /// Walks the list of tables; no I/O, no lock that a reader or writer waits for.
    #[must_use]
    pub fn stats(&self) -> DbStats {
        self.core().stats()
    }
}

#[cfg(feature = "hdrhistogram")]
impl Db {
    /// Times public calls from now on, or no more of them: reads of keys and commits, of the whole database. What they took
    /// is in [`DbStats::call_latencies`] and, with the feature `metrics`, in `trine_call_seconds`.
    ///
    /// # Cost
    /// The first time, 2 MiB of memory. While it is on, each call asks the clock twice and counts under a lock that few
    /// threads share.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.record_latencies(true);
    /// db.put_sync("key", "value")?;
    /// let stats = db.stats();
    /// assert_eq!((stats.call_latencies[0].call, stats.call_latencies[0].count), ("commit", 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn record_latencies(&self, on: bool) {
        let core = self.core();
        core.latencies.switch(on, &core.observer);
    }
}

impl Bucket {
    /// What the bucket holds. May be called at any time, also after the database was closed.
    ///
    /// # Cost
    /// Walks the bucket's list of tables; no I/O, no lock that a reader or writer waits for.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// let bucket = db.bucket_sync("events")?;
    /// bucket.put_sync("key", "value")?;
    /// assert!(bucket.stats().memtable_bytes > 0);
    /// assert_eq!(bucket.stats().tables, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> BucketStats {
        bucket_stats(self.tree())
    }
}

fn bucket_stats(tree: &Tree) -> BucketStats {
    let view = tree.pin();
    let mut stats = BucketStats {
        memtable_bytes: view.active.bytes() as u64,
        immutable_memtables: view.immutables.len(),
        ..BucketStats::default()
    };
    for (level, tables) in (0..).zip(view.version.levels().map(|(_, tables)| tables)) {
        if tables.is_empty() {
            continue;
        }
        let bytes = tables.iter().map(|table| table.meta().bytes).sum();
        let entries: u64 = tables.iter().map(|table| table.meta().entries).sum();
        stats.tables += tables.len();
        stats.table_bytes += bytes;
        stats.table_entries += entries;
        stats.level_tables.push(LevelStats {
            level,
            tables: tables.len(),
            bytes,
        });
    }
    for share in view.version.blobs() {
        let stale = share.stale_bytes();
        stats.blob_files += 1;
        stats.live_blob_bytes += share.live_bytes;
        stats.stale_blob_files += usize::from(stale > 0);
        stats.stale_blob_bytes += stale;
    }
    stats
}

impl Core {
    fn stats(&self) -> DbStats {
        let trees = self.trees.load();
        let commits = self.commits.stats();
        let mut stats = DbStats {
            live_buckets: trees.len(),
            active_snapshots: self.pins.count(),
            commit_sequences_allocated: commits.allocated,
            commit_visible_sequence: commits.visible,
            commit_open_slots: usize::try_from(
                commits
                    .allocated
                    .saturating_sub(commits.visible)
                    .saturating_sub(commits.skipped),
            )
            .unwrap_or(usize::MAX),
            commit_skipped_slots: commits.skipped,
            wal_records_accepted: commits.records,
            wal_bytes_accepted: commits.bytes,
            wal_bytes_pending_sync: commits.unsynced_bytes,
            compaction_runs: self.counters.compaction_runs.load(Relaxed),
            compaction_input_tables: self.counters.compaction_input_tables.load(Relaxed),
            compaction_output_tables: self.counters.compaction_output_tables.load(Relaxed),
            compaction_input_bytes: self.counters.compaction_input_bytes.load(Relaxed),
            compaction_output_bytes: self.counters.compaction_output_bytes.load(Relaxed),
            level_traffic: self.counters.traffic(),
            write_stalls: self.counters.stalls.stats(),
            blob_gc_runs: self.counters.blob_gc_runs.load(Relaxed),
            blob_gc_input_bytes: self.counters.blob_gc_input_bytes.load(Relaxed),
            blob_gc_output_bytes: self.counters.blob_gc_output_bytes.load(Relaxed),
            blob_gc_discarded_bytes: self.counters.blob_gc_discarded_bytes.load(Relaxed),
            maintenance_budget_exhaustions: self.counters.budget_exhaustions.load(Relaxed),
            call_latencies: self.latencies.stats(),
            ..DbStats::default()
        };
        let mut levels: SortedMap<u32, LevelStats> = SortedMap::new();
        for bucket in trees.iter().map(|tree| bucket_stats(tree)) {
            stats.memtable_bytes += bucket.memtable_bytes;
            stats.immutable_memtables += bucket.immutable_memtables;
            stats.total_tables += bucket.tables;
            stats.table_bytes += bucket.table_bytes;
            stats.live_blob_files += bucket.blob_files;
            stats.live_blob_bytes += bucket.live_blob_bytes;
            stats.stale_blob_files += bucket.stale_blob_files;
            stats.stale_blob_bytes += bucket.stale_blob_bytes;
            for level in bucket.level_tables {
                let sum = levels.get_or_default(level.level);
                sum.level = level.level;
                sum.tables += level.tables;
                sum.bytes += level.bytes;
            }
        }
        stats.l0_tables = levels.get(&0).map_or(0, |level| level.tables);
        stats.level_tables = levels.into_values().collect();
        if let Some(persistent) = &self.persistent {
            self.add_storage(persistent, &mut stats);
        }
        stats
    }

    fn add_storage(&self, persistent: &Persistent, stats: &mut DbStats) {
        stats.open_tables = persistent.files.open_count();
        let storage = persistent.storage.stats();
        let jobs = storage.offloaded_jobs;
        let operations = storage.offloaded_operations;
        let submitted = operations.submitted + jobs.submitted;
        stats.wal_shards = 1;
        if !self.options.read_only {
            stats.wal_open_shards = 1;
            stats.wal_queue_capacity = usize::MAX;
        }
        if persistent.storage.capabilities().cooperative {
            let reads = persistent.files.cache().reads();
            let ready = reads.points().rare.ready_async_reads + reads.scans().ready_async_reads;
            stats.storage_uses_sync_adapter = true;
            stats.storage_sync_adapter_tasks = submitted + ready;
            stats.storage_sync_adapter_queue_capacity = usize::MAX;
        }
        stats.storage_sync_adapter_queued_tasks =
            usize::try_from(operations.queued + jobs.queued).unwrap_or(usize::MAX);
        stats.storage_sync_adapter_submitted_tasks = submitted;
        stats.storage_sync_adapter_completed_tasks = operations.completed + jobs.completed;
        stats.storage_sync_adapter_total_runtime_micros = (operations.nanos + jobs.nanos) / 1_000;
        if self.options.runtime.mode == RuntimeMode::PlatformIo {
            stats.storage_uses_platform_async_io = persistent.storage.has_rings();
            stats.storage_platform_async_io_tasks = storage.driven_reads.completed;
            stats.storage_platform_backend_fallback_tasks = submitted;
        }
        stats.storage_inline_tasks = storage.inline;
        stats.storage_operations = storage_operations(&storage);
        let cache = persistent.files.cache();
        stats.block_cache_bytes = cache.bytes() as u64;
        add_reads(cache.reads(), stats);
        (stats.obsolete_blob_files, stats.obsolete_blob_bytes) = persistent.obsolete_blobs();
    }
}

fn add_reads(reads: &ReadCounters, stats: &mut DbStats) {
    let (points, scans) = (reads.points(), reads.scans());
    let rare = points.rare;
    [stats.blob_read_count, stats.blob_read_bytes] = reads.blobs();
    stats.block_cache_hits = points.block_hits() + scans.block_hits;
    stats.block_cache_misses = rare.block_misses + scans.block_misses;
    let parts = reads.parts();
    (stats.index_cache_hits, stats.index_cache_misses) = (parts.index_hits, parts.index_misses);
    (stats.filter_cache_hits, stats.filter_cache_misses) = (parts.filter_hits, parts.filter_misses);
    stats.read_path = ReadPathStats {
        point_table_probes: points.tables,
        // Whatever table is not ruled out has its index searched, and a block's place and shape are
        // looked at when it is searched.
        point_index_partition_probes: points.tables.saturating_sub(rare.filter_misses),
        point_block_metadata_probes: points.blocks,
        point_data_block_reads: points.blocks,
        point_filter_misses: rare.filter_misses,
    };
    stats.filters = FilterStats {
        table_point_hits: points.filter_hits(),
        table_point_misses: rare.filter_misses,
        table_point_false_positives: rare.false_positives,
        table_prefix_hits: scans.filter_hits,
        table_prefix_misses: scans.filter_misses,
        table_prefix_false_positives: scans.false_positives,
        ..FilterStats::default()
    };
}

/// The storage's operations under the names that the statistics have.
fn storage_operations(storage: &Stats) -> StorageOperationStats {
    let metric = |operation: Operation| {
        let counted = storage.operation(operation);
        StorageOperationMetric {
            requests: counted.requests,
            total_latency_micros: counted.nanos / 1_000,
        }
    };
    let sum =
        |left: StorageOperationMetric, right: StorageOperationMetric| StorageOperationMetric {
            requests: left.requests + right.requests,
            total_latency_micros: left.total_latency_micros + right.total_latency_micros,
        };
    StorageOperationStats {
        open_read: metric(Operation::Open),
        len: metric(Operation::Len),
        read_exact_at: metric(Operation::Read),
        open_append: metric(Operation::Create),
        append: metric(Operation::Write),
        persist: sum(
            metric(Operation::WriteDurably),
            sum(metric(Operation::SyncData), metric(Operation::SyncAll)),
        ),
        acquire_writer_lease: metric(Operation::Lock),
        create_directory_all: metric(Operation::CreateDirectory),
        list_directory_files: metric(Operation::List),
        sync_directory_after_renames: metric(Operation::SyncDirectory),
        publish_manifest: metric(Operation::Rename),
        delete_object: metric(Operation::Remove),
        ..StorageOperationStats::default()
    }
}
