//! What a database counts, as a copy of plain numbers.
//!
//! - Sizes are in bytes, times in microseconds.
//! - *State* (buckets, handles, memtables, tables, queues) says what is now. *Counters* (everything
//!   else) start at zero with each open and only grow; the two sequences go on where they were.
//! - A copy is not one moment: what other threads do meanwhile may be in one field and not yet in
//!   another. Once they are done every count is exact.
//! - A field about something that this engine does not have stays zero and says so.

mod display;

/// A database's state and counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Buckets loaded, the default bucket among them.
    pub live_buckets: usize,
    /// Live handles that pin a sequence: each clone of a snapshot, each iterator, each transaction.
    pub active_snapshots: usize,
    /// Approximate bytes in active memtables. Grows with each write; zero after a flush.
    pub memtable_bytes: u64,
    /// Immutable memtables that wait for their flush. Always zero in memory.
    pub immutable_memtables: usize,
    /// Tables in level 0, over all buckets. A flush adds one for each memtable that holds something.
    pub l0_tables: usize,
    /// Tables in all levels, over all buckets.
    pub total_tables: usize,
    /// The levels that hold tables, ascending, over all buckets.
    pub level_tables: Vec<LevelStats>,
    /// What flushes and compactions read, wrote and moved, for each level that anything went into,
    /// ascending.
    pub level_traffic: Vec<LevelTraffic>,
    /// Writes that were slowed or stopped because maintenance was behind.
    pub write_stalls: StallStats,
    /// How long calls took, by kind; empty unless `Db::record_latencies` of the feature `hdrhistogram` said so.
    pub call_latencies: Vec<CallLatency>,
    /// Bytes of all live table files; of files that only older readers still need, none.
    pub table_bytes: u64,
    /// WAL bytes accepted and not yet synced: what a power loss may take now.
    pub wal_bytes_pending_sync: u64,
    /// Blob files that live tables refer to.
    pub live_blob_files: usize,
    /// Bytes of the live values in them, before compression: those that entries of tables refer to.
    pub live_blob_bytes: u64,
    /// Blob files with discardable bytes: values that no entry of a table refers to any more.
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
    /// Compactions, counted when they are done; moving a table to the next level counts as one.
    pub compaction_runs: u64,
    /// Tables that compactions took.
    pub compaction_input_tables: u64,
    /// Tables that compactions made or only moved.
    pub compaction_output_tables: u64,
    /// Bytes of the tables that compactions read; a table that only moves is not read.
    pub compaction_input_bytes: u64,
    /// Bytes of the tables that compactions wrote.
    pub compaction_output_bytes: u64,
    /// The highest sequence given to a commit; goes on from the recovered one after a reopen.
    pub commit_sequences_allocated: u64,
    /// The highest sequence that reads see; goes on from the recovered one after a reopen.
    pub commit_visible_sequence: u64,
    /// Commits that have a sequence and are not yet visible; zero when nobody commits.
    pub commit_open_slots: usize,
    /// Sequences given up after a failed write or sync of the log. Nothing is written after that until
    /// the next open.
    pub commit_skipped_slots: u64,
    /// Logs that commits are spread over: one; zero in memory.
    pub wal_shards: usize,
    /// How many of these are open for writing: none of a read-only database.
    pub wal_open_shards: usize,
    /// How many commits can wait for the log at once: [`usize::MAX`], as the queue has no limit but its
    /// callers, who wait. Zero in memory and read-only.
    pub wal_queue_capacity: usize,
    /// Commits that the WAL accepted: one record each. Zero in memory.
    pub wal_records_accepted: u64,
    /// Bytes of their batches, without the log's own framing. Zero in memory.
    pub wal_bytes_accepted: u64,
    /// Whether asynchronous calls have threads to hand blocking storage work to: not in memory, not
    /// under `RuntimeMode::Inline`.
    pub storage_uses_sync_adapter: bool,
    /// Whether reads from the disk are asynchronous in the operating system itself: under
    /// `RuntimeMode::PlatformIo`, where it lets a ring be used (`io_uring`). If not, threads do that work.
    pub storage_uses_platform_async_io: bool,
    /// Asynchronous calls' work in storage, where there are threads for it: all that was handed to
    /// them, and reads of tables that had what they needed at hand and went on where they were. So each
    /// asynchronous point read that asks a table moves it, and each asynchronous step of a scan over
    /// tables; reads of memtables alone do not.
    pub storage_sync_adapter_tasks: u64,
    /// How many tasks can wait for a thread at once: [`usize::MAX`], as the queue has no limit but its
    /// callers, who wait. Zero without such threads.
    pub storage_sync_adapter_queue_capacity: usize,
    /// How many tasks wait for a thread now.
    pub storage_sync_adapter_queued_tasks: usize,
    /// Tasks handed to threads: one for each asynchronous flush, compaction, maintenance call, creation
    /// of a bucket, persist, verification or close, and one for each block that an asynchronous read
    /// must read from a file that is not mapped.
    pub storage_sync_adapter_submitted_tasks: u64,
    /// Of these, tasks that were finished.
    pub storage_sync_adapter_completed_tasks: u64,
    /// Tasks that were refused because the queue was full. Zero: it never is.
    pub storage_sync_adapter_rejected_tasks: u64,
    /// Time spent in finished tasks, in microseconds, without waiting for a thread.
    pub storage_sync_adapter_total_runtime_micros: u64,
    /// Reads that the operating system carried out asynchronously: blocks that asynchronous calls needed and
    /// that were not in memory.
    pub storage_platform_async_io_tasks: u64,
    /// Under `RuntimeMode::PlatformIo`, tasks that went to threads all the same.
    pub storage_platform_backend_fallback_tasks: u64,
    /// Operations that an asynchronous backend carried out by a blocking call. Zero: there is no such
    /// backend.
    pub storage_platform_sync_fallback_tasks: u64,
    /// Operations and jobs carried out on the calling thread: those of `*_sync` calls, of background
    /// workers, and of all calls where there are no threads.
    pub storage_inline_tasks: u64,
    /// Count and time of each storage operation.
    pub storage_operations: StorageOperationStats,
    /// How often maintenance let other work go first. Zero: it runs on threads of its own, or in the
    /// call that asked for it.
    pub maintenance_cooperative_yields: u64,
    /// Maintenance calls that ended with `budget_exhausted`.
    pub maintenance_budget_exhaustions: u64,
    /// Tables and blob files that are open, those included that only readers and iterators still hold.
    pub open_tables: usize,
    /// Table blocks that reads found ready: decoded in the cache, or verified in a mapped file. Point
    /// reads count each block they search, iterators each block they enter, when they enter it.
    /// Compactions, conflict checks of commits and verification count in neither.
    pub block_cache_hits: u64,
    /// Table blocks that reads had to read, verify or decode first. A block is a miss once, and again
    /// only after the cache gave it up.
    pub block_cache_misses: u64,
    /// Indexes of tables that were wanted and in the block cache. Where table files are mapped, indexes and filters are
    /// used in the map, and count here and below in nothing. Whoever reads counts, compactions too; a read that had to wait
    /// for a block looks them up once more afterwards, and counts once more.
    pub index_cache_hits: u64,
    /// Indexes that had to be read first.
    pub index_cache_misses: u64,
    /// Partitions of filters that were asked and in the block cache.
    pub filter_cache_hits: u64,
    /// Partitions of filters that had to be read first.
    pub filter_cache_misses: u64,
    /// Bytes in the block cache, of all kinds.
    pub block_cache_bytes: u64,
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

/// What went into one level, over all buckets, since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelTraffic {
    /// The level's number.
    pub level: u32,
    /// Bytes of the tables that compactions into this level read, those of the level itself among them.
    pub read_bytes: u64,
    /// Bytes of the tables that flushes and compactions wrote into it.
    pub written_bytes: u64,
    /// Bytes of the tables that came into it without being rewritten.
    pub moved_bytes: u64,
}

/// Writes that were held up since the database was opened. Reads never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StallStats {
    /// Writes that were slowed by a pause. Shorter pauses are saved up, so this counts pauses of a
    /// millisecond and more.
    pub delays: u64,
    /// The time of these pauses, summed.
    pub delay_micros: u64,
    /// Writes that had to wait until a flush or compaction was done, or, without background workers, did
    /// one themselves.
    pub stops: u64,
    /// The time that these took, summed.
    pub stop_micros: u64,
    /// The longest of all of these.
    pub longest_micros: u64,
}

impl DbStats {
    /// Bytes that flushes and compactions wrote to tables for each byte that was committed, both since the
    /// database was opened; the log's own writes are not in it. `None` before the first commit.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        (self.wal_bytes_accepted > 0)
            .then(|| ratio(self.table_bytes_written(), self.wal_bytes_accepted))
    }

    /// The same in hundredths, rounded: to print floating point takes more code than all of this module.
    fn write_amplification_hundredths(&self) -> Option<u64> {
        let accepted = self.wal_bytes_accepted;
        let written = self.table_bytes_written().saturating_mul(100);
        written.saturating_add(accepted / 2).checked_div(accepted)
    }

    fn table_bytes_written(&self) -> u64 {
        let written = self.level_traffic.iter().map(|level| level.written_bytes);
        written.sum()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an amplification is told to a few digits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// How long one kind of public call took, since recording began. Nanoseconds, to two digits; what took over an hour counts as an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallLatency {
    /// `get` for reads of one key, `multi_get`, or `commit` for whatever writes.
    pub call: &'static str,
    /// How many there were.
    pub count: u64,
    /// What they took on average.
    pub mean_nanos: u64,
    /// Half of them took at most this.
    pub p50_nanos: u64,
    /// Nine of ten.
    pub p90_nanos: u64,
    /// All but one in a hundred.
    pub p99_nanos: u64,
    /// All but one in a thousand.
    pub p999_nanos: u64,
    /// The longest.
    pub longest_nanos: u64,
}

/// What one bucket holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketStats {
    /// Approximate bytes in its active memtable.
    pub memtable_bytes: u64,
    /// Its immutable memtables that wait for their flush.
    pub immutable_memtables: usize,
    /// The levels that hold tables of its, ascending.
    pub level_tables: Vec<LevelStats>,
    /// Tables in all levels.
    pub tables: usize,
    /// Bytes of these files.
    pub table_bytes: u64,
    /// Entries in them: every version of every key, tombstones of single keys among them, range
    /// tombstones not.
    pub table_entries: u64,
    /// Blob files that its tables refer to.
    pub blob_files: usize,
    /// Bytes of the live values in them.
    pub live_blob_bytes: u64,
    /// Those of its blob files that hold discardable bytes.
    pub stale_blob_files: usize,
    /// Discardable bytes in them.
    pub stale_blob_bytes: u64,
}

/// Steps of point reads, counted when a read is answered. What memtables answer takes none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadPathStats {
    /// Tables asked for a key: those whose key range holds it, newest first, until one knows it.
    pub point_table_probes: u64,
    /// Indexes of tables searched, one for each table that its filter did not rule out. An index is one
    /// partition here.
    pub point_index_partition_probes: u64,
    /// Blocks whose place and shape were looked at: as many as were searched.
    pub point_block_metadata_probes: u64,
    /// Data blocks searched, resident or not: more than one for a table only if the key's versions
    /// reach over several.
    pub point_data_block_reads: u64,
    /// Tables that their filter ruled out; the same as [`FilterStats::table_point_misses`].
    pub point_filter_misses: u64,
}

/// Answers of filters, counted: a hit says "maybe", a miss rules out, a false positive is a hit where
/// nothing was.
///
/// Only asked filters count: not those of tables written without one, with another prefix extractor,
/// or, for scans, with range tombstones, which are read in any case. Blocks have no filters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterStats {
    /// Key filters of tables, asked by point reads: maybe.
    pub table_point_hits: u64,
    /// Key filters of tables: ruled out.
    pub table_point_misses: u64,
    /// Key filters of tables: maybe, and the table had no version of the key that the read may see.
    pub table_point_false_positives: u64,
    /// Prefix filters of tables, asked when a scan is created whose keys all have one extracted prefix:
    /// maybe.
    pub table_prefix_hits: u64,
    /// Prefix filters of tables: ruled out, so that the scan leaves the table alone.
    pub table_prefix_misses: u64,
    /// Prefix filters of tables: maybe, and the scan, when it came to the table, found nothing with the
    /// prefix from its starting point on.
    pub table_prefix_false_positives: u64,
    /// Zero: blocks have no filters.
    pub block_point_hits: u64,
    /// Zero: blocks have no filters.
    pub block_point_misses: u64,
    /// Zero: blocks have no filters.
    pub block_point_false_positives: u64,
    /// Zero: blocks have no filters.
    pub block_prefix_hits: u64,
    /// Zero: blocks have no filters.
    pub block_prefix_misses: u64,
    /// Zero: blocks have no filters.
    pub block_prefix_false_positives: u64,
}

/// Count and time of one storage operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageOperationMetric {
    /// How often it was requested.
    pub requests: u64,
    /// Time that the host took, summed, in microseconds, without waiting for a thread.
    pub total_latency_micros: u64,
}

/// Count and time of each storage operation, as the host was asked for it. Reads of mapped files ask
/// the host for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageOperationStats {
    /// Opening a file.
    pub open_read: StorageOperationMetric,
    /// Asking a file's length.
    pub len: StorageOperationMetric,
    /// Reading at an offset of a file.
    pub read_exact_at: StorageOperationMetric,
    /// Zero: counted with the other reads.
    pub read_exact_at_owned: StorageOperationMetric,
    /// Zero: whole files are read by an opening, a length and a read.
    pub read_object_bytes: StorageOperationMetric,
    /// Creating a file to write to: a log segment, a table, a manifest.
    pub open_append: StorageOperationMetric,
    /// Writing to such a file.
    pub append: StorageOperationMetric,
    /// Making a file's bytes durable.
    pub persist: StorageOperationMetric,
    /// Zero: a log is never rewritten.
    pub rewrite_wal: StorageOperationMetric,
    /// Taking the writer's lock.
    pub acquire_writer_lease: StorageOperationMetric,
    /// Creating directories.
    pub create_directory_all: StorageOperationMetric,
    /// Listing the directory.
    pub list_directory_files: StorageOperationMetric,
    /// Making directory entries durable.
    pub sync_directory_after_renames: StorageOperationMetric,
    /// Zero: counted as an opening, a length and a read.
    pub read_current_manifest: StorageOperationMetric,
    /// Renaming a file to its formal name: a table, or what names the current manifest.
    pub publish_manifest: StorageOperationMetric,
    /// Zero: counted as creations and writes.
    pub write_object: StorageOperationMetric,
    /// Removing a file.
    pub delete_object: StorageOperationMetric,
    /// Zero: the directory is listed as a whole.
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
