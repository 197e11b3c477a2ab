//! Plain data: what a caller chooses, with units, defaults and validation.

mod bucket;
mod db;
mod write;

pub use crate::durability::DurabilityMode;
pub use bucket::{
    BlobLevelMergePolicy, BucketOptions, CompressionProfile, FilterPolicy, IndexSearchPolicy,
    PrefixFilterPolicy,
};
pub use db::{
    BlobGcRatio, DbOptions, FailOnCorruptionPolicy, FileReads, HostStorageBackend, StorageMode,
};
pub use write::WriteOptions;
