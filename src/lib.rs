//! An embedded, ordered, crash-safe key-value database.

#![deny(unsafe_code)]

pub mod error;
#[allow(dead_code, reason = "its caller comes with a later merge")]
pub mod options;
pub mod prefix;
pub mod runtime;
pub mod search;
pub mod stats;

mod checksum;
mod coding;
mod cursor;
#[allow(dead_code, reason = "its caller comes with a later merge")]
mod file_name;
mod internal_key;
mod key;
#[allow(
    dead_code,
    unused_imports,
    reason = "its caller comes with a later merge"
)]
mod manifest;
mod range_tombstone;
#[allow(
    dead_code,
    unused_imports,
    reason = "its caller comes with a later merge"
)]
mod record;
mod sequence;
#[allow(
    dead_code,
    unused_imports,
    reason = "its caller comes with a later merge"
)]
mod table;
#[allow(
    dead_code,
    unused_imports,
    reason = "its caller comes with a later merge"
)]
mod wal;

pub use error::{Error, Result};
pub use options::{
    BlobGcRatio, BlobLevelMergePolicy, BucketOptions, CompressionProfile, DbOptions,
    DurabilityMode, FailOnCorruptionPolicy, FilterPolicy, HostStorageBackend, IndexSearchPolicy,
    PrefixFilterPolicy, StorageMode, WriteOptions,
};
pub use prefix::PrefixExtractor;
pub use runtime::{CancellationToken, RuntimeCapabilities, RuntimeMode, RuntimeOptions};
pub use stats::DbStats;
