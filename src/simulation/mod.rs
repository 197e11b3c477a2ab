//! The whole engine on a simulated host (`trine_io::simulation`): power losses, failures and interleavings.
//!
//! - `history`: what was asked and answered, and which states may be found after what happened.
//! - `rows`: what writes come to.
//! - `beside`: backups, feeds of changes and readers of a run.
//! - `workload`: a run in progress. `workloads`: small runs that visit each thing that changes a directory, and random ones.
//! - `crash_points`: every place where a run, or a recovery, may be cut off, and what may be left there.
//! - `seeds`: random calls under random failures and crashes.
//! - `totals`: running seeds, and what they did in all.
//! - `failures`: every operation failing, once and for good; what goes on and what recovers.
//! - `foreground`: what commits do not wait for.
//! - `interleavings`: futures on one thread, in an order chosen by the seed.
//!
//! One thread, no workers, and a clock that stands still until it is told to go on: what is seen depends on the code and the seed alone.

mod beside;
mod crash_points;
mod failures;
mod foreground;
mod history;
mod interleavings;
mod rows;
mod seeds;
mod totals;
mod workload;
mod workloads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trine_io::Mode;
use trine_io::simulation::{Disk, Simulation, Step};
use trine_platform::block_on;

use crate::clock::Clock;
use crate::commit::batch::DEFAULT_BUCKET;
use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::open::on_storage;
use crate::error::Result;
use crate::operator::Merged;
use crate::options::{BlobLevelMergePolicy, BucketOptions, DbOptions, DurabilityMode};
use crate::runtime::RuntimeOptions;

/// Where the database is on the simulated host, and where its checkpoints and its backups are made.
const HERE: &str = "database";
const COPY: &str = "checkpoint";
const BACKUPS: &str = "backups";

/// A bucket in which no merge moves large values: they stay until their files are collected.
const UNMOVED: &str = "unmoved";

/// A bucket with a [filter](rows::filter).
const FILTERED: &str = "filtered";

/// What time it is, in milliseconds. Clones share it.
#[derive(Clone, Default)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    /// The same, by this time.
    fn of(&self, options: DbOptions) -> DbOptions {
        let time = self.clone();
        options.with_clock(Clock::new(move || time.now()))
    }
}

/// The bucket of this name, made where it is missing.
fn bucket(db: &Db, name: &str) -> Result<Bucket> {
    match name {
        DEFAULT_BUCKET => db.default_bucket_sync(),
        UNMOVED => db.bucket_with_options_sync(
            name,
            BucketOptions {
                blob_level_merge_policy: BlobLevelMergePolicy::Disabled,
                ..options().default_bucket_options
            },
        ),
        FILTERED => db.bucket_with_options_sync(name, options().default_bucket_options),
        name => db.bucket_sync(name),
    }
}

/// Options that make everything small, so that little data has every form. Time stands still.
fn options() -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        runtime: RuntimeOptions::inline(),
        write_buffer_bytes: 200,
        max_immutable_memtables: 2,
        max_l0_files: 2,
        target_table_bytes: 300,
        block_cache_bytes: 4096,
        blob_gc_min_file_bytes: 1,
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 200,
            ..BucketOptions::default().with_merge_operator("append")
        },
        durability: DurabilityMode::Buffered,
        ..Time::default().of(DbOptions::new("simulated")
            .with_merge_operator("append", append)
            .with_compaction_filter(FILTERED, rows::filter))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is an operator")]
fn append(_: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
    Ok(Some(
        [existing.unwrap_or_default(), &operands.concat()].concat(),
    ))
}

/// A directory for the database, and nothing else.
fn empty_disk() -> Disk {
    let mut disk = Disk::default();
    disk.apply(&Step::MakeDirectory { path: HERE.into() });
    disk
}

fn open_with(options: DbOptions, simulation: &Simulation, path: &str) -> Result<Db> {
    let storage = simulation.storage(path);
    block_on(on_storage(options, storage, Mode::Blocking))
}
