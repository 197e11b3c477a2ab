//! Maintenance of every kind beside writers, readers and whoever holds what he was lent: each answer is exactly what a
//! model says of its sequence number.
//!
//! The operations of each thread follow from one printed seed, which `TRINE_TEST_SEED` sets; how the threads meet is left to
//! the machine. What there is in the end follows from the seed alone, under all options. `TRINE_MODEL_OPERATIONS` makes
//! runs longer (commits of each writer).
#![cfg(not(target_family = "wasm"))]

use std::path::Path;
use std::thread;

use trine_kv::{
    BlobGcRatio, BlobLevelMergePolicy, BucketOptions, CompressionProfile, Db, DbOptions,
    DurabilityMode, FileReads, PrefixExtractor, RuntimeOptions,
};

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod random;
    pub(crate) mod way;
}
mod history;
mod maintenance;
mod readers;
mod writers;

use common::random::{Random, seed};
use history::{Alarm, History, WRITERS, rows};
use maintenance::{Maintenance, holds, is_as_at, open_buckets};
use readers::Reader;
use writers::{Writer, outcome};

/// Commits of each writer in the default suite.
const OPERATIONS: u64 = 250;

fn options(compression: CompressionProfile, policy: BlobLevelMergePolicy) -> DbOptions {
    let bucket = BucketOptions {
        compression,
        block_bytes: 200,
        blob_threshold_bytes: 1000,
        blob_level_merge_policy: policy,
        ..BucketOptions::default()
    };
    DbOptions {
        durability: DurabilityMode::Buffered,
        write_buffer_bytes: 3000,
        max_immutable_memtables: 2,
        target_table_bytes: 1500,
        level_size_multiplier: 2,
        max_l0_files: 2,
        blob_gc_min_file_bytes: 1,
        blob_gc_discardable_ratio: BlobGcRatio::from_millionths(300_000),
        ..DbOptions::new("set by each run").with_default_bucket_options(bucket)
    }
}

/// Runs everything at once, then opens the directory again and compares everything.
fn agrees_with_the_model(name: &str, mut options: DbOptions) {
    let seed = seed(&format!("concurrent model, {name}"));
    let operations = std::env::var("TRINE_MODEL_OPERATIONS").map_or(OPERATIONS, |text| {
        text.parse().expect("TRINE_MODEL_OPERATIONS is a number")
    });
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("database");
    options.storage_mode = DbOptions::new(&path).storage_mode;
    let history = History::new();
    let db = Db::open_sync(options.clone()).expect("a database");
    all_at_once(&db, &options, &history, seed, operations, directory.path());
    println!("{name}: {} commits\n{}", history.complete(), db.stats());
    db.close_sync();
    drop(db);

    let db = Db::open_sync(options.clone()).expect("it opens again");
    let buckets = open_buckets(&db, &options);
    assert_eq!(db.last_committed_sequence().get(), history.complete());
    is_as_at(&db, &buckets, &history, history.complete());
    for (bucket, state) in buckets.iter().zip(outcome(seed, operations)) {
        holds(bucket, rows(&state));
    }
    db.flush_sync().expect("a flush");
    db.compact_range_sync(trine_kv::KeyRange::all())
        .expect("a merge");
    is_as_at(&db, &buckets, &history, history.complete());
    db.close_sync();
    drop((db, buckets));

    let db = Db::open_sync(options).expect("it opens again");
    let stats = db.stats();
    db.close_sync();
    has_no_strays(&path, stats.total_tables, stats.live_blob_files);
}

fn all_at_once(
    db: &Db,
    options: &DbOptions,
    history: &History,
    seed: u64,
    operations: u64,
    directory: &Path,
) {
    let buckets = &open_buckets(db, options)[..];
    let reader = Reader {
        db,
        buckets,
        history,
    };
    let maintenance = &Maintenance {
        db,
        history,
        options,
    };
    let copy = directory.join("checkpoint");
    let mut seeds = Random(seed);
    let mut threads: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    for number in 0..WRITERS {
        let writer = Writer {
            db,
            buckets,
            history,
            number,
        };
        threads.push(Box::new(move || writer.run(seed, operations)));
    }
    // Who holds for how many commits what he was lent.
    for commits in [30, 200] {
        let (own, other) = (seeds.next(), seeds.next());
        threads.push(Box::new(move || reader.hold(own, commits)));
        threads.push(Box::new(move || reader.run(other)));
    }
    for _ in 0..2 {
        let own = seeds.next();
        threads.push(Box::new(move || maintenance.run(own)));
    }
    let (own, other) = (seeds.next(), seeds.next());
    threads.push(Box::new(move || maintenance.checkpoints(own, &copy)));
    threads.push(Box::new(move || maintenance.passing_buckets(other)));
    thread::scope(|scope| {
        for work in threads {
            scope.spawn(move || {
                let _alarm = Alarm(history);
                work();
            });
        }
    });
}

/// The directory holds the files of the open tables and blob files and nothing that is half made.
fn has_no_strays(path: &Path, tables: usize, blobs: usize) {
    let names: Vec<_> = std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string())
        .map(|name| name.expect("a name"))
        .collect();
    let count = |start| names.iter().filter(|name| name.starts_with(start)).count();
    let (wal, manifests) = (count("wal-"), count("MANIFEST-"));
    assert_eq!(
        (count("table-"), count("blob-"), manifests, count("CURRENT")),
        (tables, blobs, 1, 1),
        "{names:?}"
    );
    assert_eq!(tables + blobs + wal + 2, names.len(), "{names:?}");
}

#[test]
fn plain_blocks_and_blob_files_that_stay_until_they_are_garbage() {
    agrees_with_the_model(
        "plain, no level merge",
        options(CompressionProfile::None, BlobLevelMergePolicy::Disabled),
    );
}

#[test]
fn compressed_blocks_copied_with_few_tables_open() {
    agrees_with_the_model(
        "copied, automatic level merge",
        DbOptions {
            file_reads: FileReads::Copied,
            max_open_tables: 3,
            block_cache_bytes: 4000,
            background_worker_count: 2,
            ..options(CompressionProfile::Fast, BlobLevelMergePolicy::Auto)
        },
    );
}

#[test]
fn blob_files_that_always_move_without_workers() {
    let codec = if cfg!(feature = "zstd") {
        CompressionProfile::Zstd
    } else {
        CompressionProfile::Fast
    };
    agrees_with_the_model(
        "zstd, level merge always",
        DbOptions {
            max_open_tables: 2,
            background_worker_count: 0,
            ..options(codec, BlobLevelMergePolicy::Always)
        },
    );
}

#[test]
fn reads_by_the_platform_with_prefix_filters() {
    let mut options = options(CompressionProfile::Fast, BlobLevelMergePolicy::Disabled);
    options.default_bucket_options.prefix_extractor = PrefixExtractor::FixedLen(1);
    options.runtime = RuntimeOptions::platform_io();
    options.file_reads = FileReads::Copied;
    options.block_cache_bytes = 0;
    agrees_with_the_model("platform reads, no level merge", options);
}
