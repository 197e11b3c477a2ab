//! The whole engine on a simulated host (`trine_io::simulation`): power losses, failures and interleavings.
//!
//! - `history`: what was asked and answered, and which states may be found after what happened.
//! - `beside`: backups, feeds of changes and readers of a run.
//! - `workload`: small runs that visit each thing that changes a directory.
//! - `crash_points`: every place where a run, or a recovery, may be cut off, and what may be left there.
//! - `seeds`: random calls under random failures and crashes.
//! - `totals`: running seeds, and what they did in all.
//! - `failures`: every operation failing, once and for good; what goes on and what recovers.
//! - `foreground`: what commits do not wait for.
//! - `interleavings`: futures on one thread, in an order chosen by the seed.
//!
//! One thread, no workers, no clock: what is seen depends on the code and the seed alone.

mod beside;
mod crash_points;
mod failures;
mod foreground;
mod history;
mod interleavings;
mod seeds;
mod totals;
mod workload;

use trine_io::Mode;
use trine_io::simulation::{Disk, Simulation, Step};
use trine_platform::block_on;

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
        name => db.bucket_sync(name),
    }
}

/// Options that make everything small, so that little data has every form.
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
        ..DbOptions::new("simulated").with_merge_operator("append", append)
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

fn open(simulation: &Simulation) -> Result<Db> {
    open_with(options(), simulation, HERE)
}

fn open_with(options: DbOptions, simulation: &Simulation, path: &str) -> Result<Db> {
    let storage = simulation.storage(path);
    block_on(on_storage(options, storage, Mode::Blocking))
}
