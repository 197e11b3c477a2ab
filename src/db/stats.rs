//! Counters of one open database, and the picture of it that they make with everything else.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use trine_io::{Operation, Stats};

use crate::db::{Core, Db, Persistent};
use crate::runtime::RuntimeMode;
use crate::stats::{DbStats, LevelStats, StorageOperationMetric, StorageOperationStats};
use crate::tree::picker::Compaction;

/// What only counting can tell. Each counter stands alone: relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) budget_exhaustions: AtomicU64,
    compaction_runs: AtomicU64,
    compaction_input_tables: AtomicU64,
    compaction_output_tables: AtomicU64,
    compaction_input_bytes: AtomicU64,
    compaction_output_bytes: AtomicU64,
}

impl Counters {
    /// Counts a finished compaction; a table that only moved was neither read nor written.
    pub(crate) fn compacted(
        &self,
        compaction: &Compaction,
        output_tables: usize,
        output_bytes: u64,
    ) {
        self.compaction_runs.fetch_add(1, Relaxed);
        if compaction.trivial_move().is_some() {
            return;
        }
        let input_bytes = compaction
            .inputs
            .iter()
            .map(|(_, table)| table.meta().bytes)
            .sum();
        self.compaction_input_tables
            .fetch_add(compaction.inputs.len() as u64, Relaxed);
        self.compaction_input_bytes.fetch_add(input_bytes, Relaxed);
        self.compaction_output_tables
            .fetch_add(output_tables as u64, Relaxed);
        self.compaction_output_bytes
            .fetch_add(output_bytes, Relaxed);
    }
}

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

impl Core {
    fn stats(&self) -> DbStats {
        let trees = self.trees.load();
        let log = self.commits.log_stats();
        let mut stats = DbStats {
            live_buckets: trees.len(),
            active_snapshots: self.pins.count(),
            commit_sequences_allocated: self.commits.visible().get(),
            commit_visible_sequence: self.commits.visible().get(),
            wal_records_accepted: log.records,
            wal_bytes_accepted: log.bytes,
            wal_bytes_pending_sync: log.unsynced_bytes,
            compaction_runs: self.counters.compaction_runs.load(Relaxed),
            compaction_input_tables: self.counters.compaction_input_tables.load(Relaxed),
            compaction_output_tables: self.counters.compaction_output_tables.load(Relaxed),
            compaction_input_bytes: self.counters.compaction_input_bytes.load(Relaxed),
            compaction_output_bytes: self.counters.compaction_output_bytes.load(Relaxed),
            maintenance_budget_exhaustions: self.counters.budget_exhaustions.load(Relaxed),
            ..DbStats::default()
        };
        let mut levels: Vec<LevelStats> = Vec::new();
        for tree in trees.iter() {
            let view = tree.pin();
            stats.memtable_bytes += view.active.bytes() as u64;
            stats.immutable_memtables += view.immutables.len();
            for (level, tables) in view.version.levels() {
                if tables.is_empty() {
                    continue;
                }
                if levels.len() <= level {
                    levels.resize_with(level + 1, LevelStats::default);
                }
                levels[level].tables += tables.len();
                levels[level].bytes += tables.iter().map(|table| table.meta().bytes).sum::<u64>();
            }
        }
        for (level, own) in (0..).zip(&mut levels) {
            own.level = level;
        }
        stats.l0_tables = levels.first().map_or(0, |level| level.tables);
        levels.retain(|level| level.tables > 0);
        stats.total_tables = levels.iter().map(|level| level.tables).sum();
        stats.table_bytes = levels.iter().map(|level| level.bytes).sum();
        stats.level_tables = levels;
        if let Some(persistent) = &self.persistent {
            self.add_storage(persistent, &mut stats);
        }
        stats
    }

    fn add_storage(&self, persistent: &Persistent, stats: &mut DbStats) {
        let storage = persistent.storage.stats();
        let jobs = storage.offloaded_jobs;
        let operations = storage.offloaded_operations;
        stats.wal_shards = 1;
        stats.wal_open_shards = usize::from(!self.options.read_only);
        stats.storage_uses_sync_adapter = self.options.runtime.mode == RuntimeMode::NativeThreads;
        stats.storage_sync_adapter_tasks = operations.submitted + jobs.submitted;
        stats.storage_sync_adapter_queued_tasks =
            usize::try_from(operations.queued + jobs.queued).unwrap_or(usize::MAX);
        stats.storage_sync_adapter_submitted_tasks = operations.submitted + jobs.submitted;
        stats.storage_sync_adapter_completed_tasks = operations.completed + jobs.completed;
        stats.storage_sync_adapter_total_runtime_micros = (operations.nanos + jobs.nanos) / 1_000;
        stats.storage_inline_tasks = storage.inline;
        stats.storage_operations = storage_operations(&storage);
        let (hits, misses) = (persistent.cache.hits(), persistent.cache.misses());
        stats.block_cache_hits = hits;
        stats.block_cache_misses = misses;
    }
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
        persist: sum(metric(Operation::SyncData), metric(Operation::SyncAll)),
        acquire_writer_lease: metric(Operation::Lock),
        create_directory_all: metric(Operation::CreateDirectory),
        list_directory_files: metric(Operation::List),
        sync_directory_after_renames: metric(Operation::SyncDirectory),
        publish_manifest: metric(Operation::Rename),
        delete_object: metric(Operation::Remove),
        ..StorageOperationStats::default()
    }
}
