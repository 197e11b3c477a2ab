//! An embedded, ordered, crash-safe key-value database.
//!
//! - Ordered keys and values of bytes, in a default bucket and in named ones with options of their own.
//! - Atomic batches over all buckets, snapshots, optimistic transactions, range deletes, scans both ways.
//! - A write-ahead log with group commit and four durability modes; recovery after any crash.
//! - An `async` interface that any executor can drive, and `*_sync` methods that need none.
//!
//! # Examples
//! ```
//! # fn main() -> trine_kv::Result<()> {
//! use trine_kv::{Db, DbOptions, KeyRange};
//!
//! let db = Db::open_sync(DbOptions::memory())?;
//! db.put_sync("fruit:apple", "red")?;
//! db.put_sync("fruit:banana", "yellow")?;
//! let snapshot = db.snapshot();
//! db.delete_range_sync(KeyRange::prefix("fruit:"))?;
//! assert_eq!(db.get_sync(b"fruit:apple")?, None);
//! assert_eq!(db.prefix_at_sync(&snapshot, "fruit:")?.count(), 2);
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

pub mod db;
pub mod error;
pub mod event;
pub mod options;
pub mod prefix;
pub mod runtime;
pub mod search;
pub mod stats;
pub mod types;

mod blob;
mod block;
mod cache;
mod checksum;
mod clock;
mod coding;
mod commit;
mod composite;
mod compression;
mod counter;
mod cursor;
mod direction;
mod durability;
mod epoch;
mod file_kind;
mod file_name;
mod filter;
#[cfg(any(inspect, test))]
mod frame_search;
#[cfg(all(any(fuzzing, test), not(loom)))]
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod hash_map;
#[cfg(any(inspect, test))]
pub mod inspect;
mod internal_key;
mod key;
mod manifest;
mod open_files;
mod operator;
mod prefetch;
mod range_tombstone;
mod read_counters;
mod record;
mod residency;
#[cfg(any(inspect, test))]
pub mod salvage;
mod sequence;
#[cfg(all(test, not(loom)))]
mod simulation;
mod slab;
mod sync;
mod table;
#[cfg(test)]
mod testing;
mod tree;
mod wal;

/// Databases as streams of bytes, to be moved elsewhere: [`Db::export`] and [`Db::import`].
pub mod archive {
    pub use crate::db::archive::{Export, Import};
}

/// Buckets and readers of them.
pub mod bucket {
    pub use crate::db::bucket::{Bucket, BucketName};
    pub use crate::db::reader::BucketReader;
}

/// What a read touches; what takes space, and why.
pub mod explain {
    pub use crate::db::explain::{
        BlockPlace, GetAnswer, GetExplanation, GetSource, GetStep, ValuePlace,
    };
    pub use crate::db::space::{BucketSpace, Garbage, NextCompaction, PinnedSequence, SpaceReport};
}

/// Iterators over rows.
pub mod iterator {
    pub use crate::db::iter::{Iter, LazyIter, LazyKeyValue, LazyValue};
    pub use crate::db::row_cursor::RowCursor;
    #[cfg(stream)]
    pub use crate::db::stream::{LazyRowStream, RowStream};
    pub use crate::direction::Direction;
}

/// What an open repaired.
pub mod recovery {
    pub use crate::db::report::{
        RECOVERY_REPORT_FILE_NAME, RecoveryReport, read_recovery_report, recovery_report_path,
    };
}

/// Snapshots.
pub mod snapshot {
    pub use crate::db::snapshot::Snapshot;
}

/// Optimistic transactions.
pub mod transaction {
    pub use crate::db::transact::TransactOptions;
    pub use crate::db::transaction::{Transaction, TransactionOptions};
}

/// Atomic batches of writes.
pub mod write_batch {
    pub use crate::commit::batch::{BatchOperation, WriteBatch};
}

pub use bucket::{Bucket, BucketName, BucketReader};
pub use clock::Clock;
pub use db::bulk_load::BulkLoadOptions;
pub use db::changes::{ChangeOperation, Changes, CommittedBatch};
pub use db::reader::{PointValue, ValueRef};
pub use db::{BackupId, BackupInfo, BackupOptions, BackupReport, Backups, PruneReport};
pub use db::{Db, IntoOpenOptions, MaintenanceBudget, MaintenanceOutcome, VerifyReport};
pub use error::{Error, Result};
pub use event::{Event, EventListener, Listener};
pub use iterator::{Direction, Iter, LazyIter, LazyKeyValue, LazyValue, RowCursor};
#[cfg(stream)]
pub use iterator::{LazyRowStream, RowStream};
pub use operator::{
    CompactionFilter, CompactionFilters, MergeOperator, MergeOperators, Merged, OperatorError,
    Verdict,
};
pub use options::{
    BlobGcRatio, BlobLevelMergePolicy, BucketOptions, CompressionProfile, DbOptions,
    DurabilityMode, FailOnCorruptionPolicy, FileReads, FilterPolicy, HostStorageBackend,
    IndexSearchPolicy, PrefixFilterPolicy, StorageMode, WriteOptions,
};
pub use prefix::PrefixExtractor;
pub use recovery::RecoveryReport;
pub use runtime::{CancellationToken, RuntimeCapabilities, RuntimeMode, RuntimeOptions};
pub use snapshot::Snapshot;
pub use stats::{BucketStats, DbStats};
pub use transaction::{TransactOptions, Transaction, TransactionOptions};
pub use types::{CommitInfo, KeyRange, KeyValue, Sequence, Value};
pub use write_batch::WriteBatch;

pub use trine_platform::block_on;

/// The sequence that a snapshot reads at.
pub type SnapshotSequence = Sequence;

/// The README's examples are compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct ReadmeExamples;

/// The examples of `docs/usage.md`, likewise.
#[cfg(doctest)]
#[doc = include_str!("../docs/usage.md")]
#[derive(Debug)]
pub struct UsageExamples;
