//! What a database counts, as a copy of plain numbers.
//!
//! Counters start at zero with each open; sizes are in bytes, times in microseconds.

/// A database's state and counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Buckets loaded, the default bucket among them.
    pub live_buckets: usize,
    /// Live handles that pin a sequence: each clone of a snapshot, each iterator.
    pub active_snapshots: usize,
    /// Approximate bytes in active memtables.
    pub memtable_bytes: u64,
    /// Immutable memtables that wait for their flush.
    pub immutable_memtables: usize,
    /// Tables in level 0, over all buckets.
    pub l0_tables: usize,
    /// Tables in all levels, over all buckets.
    pub total_tables: usize,
    /// The levels that hold tables, ascending, over all buckets.
    pub level_tables: Vec<LevelStats>,
    /// Bytes of all live table files.
    pub table_bytes: u64,
    /// WAL bytes accepted and not yet synced.
    pub wal_bytes_pending_sync: u64,
    /// Blob files that live tables refer to.
    pub live_blob_files: usize,
    /// Bytes of the live values in them.
    pub live_blob_bytes: u64,
    /// Blob files with discardable bytes.
    pub stale_blob_files: usize,
    /// Discardable bytes in them.
    pub stale_blob_bytes: u64,
    /// Blob files that nothing refers to, waiting for deletion.
    pub obsolete_blob_files: usize,
    /// Bytes of these files.
    pub obsolete_blob_bytes: u64,
    /// Runs of blob garbage collection.
    pub blob_gc_runs: u64,
    /// Bytes that these runs read.
    pub blob_gc_input_bytes: u64,
    /// Bytes that these runs wrote.
    pub blob_gc_output_bytes: u64,
    /// Bytes that these runs discarded.
    pub blob_gc_discarded_bytes: u64,
    /// Values fetched from blob files.
    pub blob_read_count: u64,
    /// Bytes of these values.
    pub blob_read_bytes: u64,
    /// Compactions; moving a table to the next level counts as one.
    pub compaction_runs: u64,
    /// Tables that compactions took.
    pub compaction_input_tables: u64,
    /// Tables that compactions made.
    pub compaction_output_tables: u64,
    /// Bytes of the tables that compactions took.
    pub compaction_input_bytes: u64,
    /// Bytes of the tables that compactions made.
    pub compaction_output_bytes: u64,
    /// The highest sequence given to a commit; goes on from the recovered one after a reopen.
    pub commit_sequences_allocated: u64,
    /// The highest sequence that reads see; goes on from the recovered one after a reopen.
    pub commit_visible_sequence: u64,
    /// Commits that have a sequence and are not yet visible.
    pub commit_open_slots: usize,
    /// Sequences given up after a failed commit.
    pub commit_skipped_slots: u64,
    /// Logs that commits are spread over; zero in memory.
    pub wal_shards: usize,
    /// How many of these are open.
    pub wal_open_shards: usize,
    /// How many commits can wait for the log at once; zero in memory.
    pub wal_queue_capacity: usize,
    /// Commits that the WAL accepted; zero in memory.
    pub wal_records_accepted: u64,
    /// Bytes that the WAL accepted; zero in memory.
    pub wal_bytes_accepted: u64,
    /// Whether asynchronous calls hand blocking storage work to threads.
    pub storage_uses_sync_adapter: bool,
    /// Whether some storage work is asynchronous in the operating system itself.
    pub storage_uses_platform_async_io: bool,
    /// Storage tasks handed to threads: reads of tables and blob files, and maintenance.
    pub storage_sync_adapter_tasks: u64,
    /// How many such tasks can wait at once; zero without such threads.
    pub storage_sync_adapter_queue_capacity: usize,
    /// How many such tasks wait now.
    pub storage_sync_adapter_queued_tasks: usize,
    /// Tasks submitted by asynchronous flushes, compactions and maintenance.
    pub storage_sync_adapter_submitted_tasks: u64,
    /// Tasks that were finished.
    pub storage_sync_adapter_completed_tasks: u64,
    /// Tasks that were refused because the queue was full.
    pub storage_sync_adapter_rejected_tasks: u64,
    /// Time spent in tasks, in microseconds.
    pub storage_sync_adapter_total_runtime_micros: u64,
    /// Storage operations that the operating system carried out asynchronously.
    pub storage_platform_async_io_tasks: u64,
    /// Operations that the asynchronous backend passed on to another one.
    pub storage_platform_backend_fallback_tasks: u64,
    /// Operations that the asynchronous backend carried out by a blocking call.
    pub storage_platform_sync_fallback_tasks: u64,
    /// Operations carried out on the calling thread.
    pub storage_inline_tasks: u64,
    /// Count and time of each storage operation.
    pub storage_operations: StorageOperationStats,
    /// How often maintenance let other work go first.
    pub maintenance_cooperative_yields: u64,
    /// Maintenance calls that ended with `budget_exhausted`.
    pub maintenance_budget_exhaustions: u64,
    /// Table blocks that reads found resident.
    pub block_cache_hits: u64,
    /// Table blocks that reads had to load.
    pub block_cache_misses: u64,
    /// Steps of point reads.
    pub read_path: ReadPathStats,
    /// Answers of filters.
    pub filters: FilterStats,
}

/// One level, over all buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// The level's number.
    pub level: u32,
    /// Its tables.
    pub tables: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Steps of point reads, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadPathStats {
    /// Tables asked.
    pub point_table_probes: u64,
    /// Index partitions searched.
    pub point_index_partition_probes: u64,
    /// Blocks whose metadata was looked at.
    pub point_block_metadata_probes: u64,
    /// Data blocks read.
    pub point_data_block_reads: u64,
    /// Tables that a filter ruled out.
    pub point_filter_misses: u64,
}

/// Answers of filters, counted: a hit says "maybe", a miss rules out, a false positive said "maybe" of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterStats {
    /// Key filters of tables: maybe.
    pub table_point_hits: u64,
    /// Key filters of tables: ruled out.
    pub table_point_misses: u64,
    /// Key filters of tables: maybe, and nothing was there.
    pub table_point_false_positives: u64,
    /// Prefix filters of tables: maybe.
    pub table_prefix_hits: u64,
    /// Prefix filters of tables: ruled out.
    pub table_prefix_misses: u64,
    /// Prefix filters of tables: maybe, and nothing was there.
    pub table_prefix_false_positives: u64,
    /// Key filters of blocks: maybe.
    pub block_point_hits: u64,
    /// Key filters of blocks: ruled out.
    pub block_point_misses: u64,
    /// Key filters of blocks: maybe, and nothing was there.
    pub block_point_false_positives: u64,
    /// Prefix filters of blocks: maybe.
    pub block_prefix_hits: u64,
    /// Prefix filters of blocks: ruled out.
    pub block_prefix_misses: u64,
    /// Prefix filters of blocks: maybe, and nothing was there.
    pub block_prefix_false_positives: u64,
}

/// Count and time of one storage operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageOperationMetric {
    /// How often it was requested.
    pub requests: u64,
    /// Time from request to completion, summed, in microseconds.
    pub total_latency_micros: u64,
}

/// Count and time of each storage operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageOperationStats {
    /// Opening a file for reading.
    pub open_read: StorageOperationMetric,
    /// Asking a file's length.
    pub len: StorageOperationMetric,
    /// Reading at an offset into a caller's buffer.
    pub read_exact_at: StorageOperationMetric,
    /// Reading at an offset into a buffer that is returned.
    pub read_exact_at_owned: StorageOperationMetric,
    /// Reading a whole file.
    pub read_object_bytes: StorageOperationMetric,
    /// Opening a log for appending.
    pub open_append: StorageOperationMetric,
    /// Appending to a log.
    pub append: StorageOperationMetric,
    /// Making a file's bytes durable.
    pub persist: StorageOperationMetric,
    /// Replacing a log.
    pub rewrite_wal: StorageOperationMetric,
    /// Taking the writer's lock.
    pub acquire_writer_lease: StorageOperationMetric,
    /// Creating directories.
    pub create_directory_all: StorageOperationMetric,
    /// Listing the directory.
    pub list_directory_files: StorageOperationMetric,
    /// Making directory entries durable.
    pub sync_directory_after_renames: StorageOperationMetric,
    /// Reading the manifest that is current.
    pub read_current_manifest: StorageOperationMetric,
    /// Making a manifest edit durable.
    pub publish_manifest: StorageOperationMetric,
    /// Writing a table or blob file.
    pub write_object: StorageOperationMetric,
    /// Removing a table or blob file.
    pub delete_object: StorageOperationMetric,
    /// Listing table and blob files.
    pub list_objects: StorageOperationMetric,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_copy<T: Copy + Eq + Default + Send + Sync + 'static>() {}

    #[test]
    fn counters_are_plain_numbers_that_start_at_zero() {
        is_copy::<ReadPathStats>();
        is_copy::<FilterStats>();
        is_copy::<StorageOperationMetric>();
        is_copy::<StorageOperationStats>();
        let stats = DbStats::default();
        assert_eq!(stats, stats.clone());
        assert_eq!(stats.storage_operations.append.requests, 0);
        assert!(stats.level_tables.is_empty());
    }
}
