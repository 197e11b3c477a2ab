//! Random histories against a map: whatever the options, flushes, compactions and reopens in
//! between, every read answers as a sorted map with copies for snapshots would.
//!
//! The seed is printed first; `TRINE_TEST_SEED=<seed> cargo test --test model` replays a run, and a
//! failure prints the shortest history that proptest found. `TRINE_MODEL_CASES` makes runs longer.

use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use trine_kv::{
    BlobGcRatio, BlobLevelMergePolicy, BucketOptions, CompressionProfile, DbOptions, DurabilityMode,
};

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod place;
    pub(crate) mod random;
    pub(crate) mod way;
}
mod history;
mod run;

use common::place;
use common::random::{Random, seed};
use common::way::Way;
use history::{NATIVE, Operation, histories};
use run::{Append, Run, Setting, Time, failed};

const CASES: u32 = 16;

fn agrees_with_the_model(setting: &Setting) {
    let seed = seed(&format!("model, {}", setting.name));
    let mut random = Random(seed);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    let cases = std::env::var("TRINE_MODEL_CASES").map_or(CASES, |text| {
        text.parse().expect("TRINE_MODEL_CASES is a number")
    });
    let config = Config {
        cases,
        max_shrink_iters: 4096,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = runner.run(&histories(), |history| {
        let directory = place::directory();
        let db = Way::Sync.open(setting.at(directory.path()));
        let run = Run::new(setting, directory.path(), db.map_err(failed)?);
        let mut run = run.map_err(failed)?;
        for (cooperative, operation) in history {
            run.way = if cooperative { Way::Async } else { Way::Sync };
            run.step(operation)?;
        }
        run.check_all()?;
        run.step(Operation::Reopen)?;
        run.check_all()
    });
    if let Err(failure) = outcome {
        panic!("{}, TRINE_TEST_SEED={seed}: {failure}", setting.name);
    }
}

fn memory() -> Setting {
    Setting {
        name: "memory",
        options: DbOptions::memory().with_merge_operator(Append::NAME, Append),
        bucket_options: BucketOptions::default().with_merge_operator(Append::NAME),
        persistent: false,
        time: Time::default(),
    }
}

fn persistent(name: &'static str, write_buffer_bytes: usize, workers: usize) -> Setting {
    Setting {
        name,
        options: DbOptions {
            write_buffer_bytes,
            background_worker_count: if NATIVE { workers } else { 0 },
            durability: DurabilityMode::Buffered,
            ..place::options(Path::new("set by each case"))
                .with_merge_operator(Append::NAME, Append)
        },
        bucket_options: BucketOptions::default().with_merge_operator(Append::NAME),
        persistent: true,
        time: Time::default(),
    }
}

impl Setting {
    fn blocks(mut self, block_bytes: usize, compression: CompressionProfile) -> Self {
        self.bucket_options.block_bytes = block_bytes;
        self.bucket_options.compression = compression;
        self
    }
}

/// Most values go to blob files, most of which are garbage soon.
fn large_values(
    name: &'static str,
    policy: BlobLevelMergePolicy,
    compression: CompressionProfile,
    workers: usize,
) -> Setting {
    let mut setting = persistent(name, 400, workers).blocks(64, compression);
    setting.bucket_options.blob_threshold_bytes = 10;
    setting.bucket_options.blob_level_merge_policy = policy;
    setting.options.blob_gc_min_file_bytes = 1;
    setting.options.blob_gc_discardable_ratio = BlobGcRatio::from_millionths(200_000);
    setting.options.target_table_bytes = 400;
    setting.options.max_l0_files = 2;
    setting
}

#[test]
fn large_values_that_stay_until_they_are_garbage() {
    agrees_with_the_model(&large_values(
        "large values, no level merge",
        BlobLevelMergePolicy::Disabled,
        CompressionProfile::Fast,
        1,
    ));
}

#[test]
fn large_values_that_move_when_it_pays() {
    agrees_with_the_model(&large_values(
        "large values, automatic level merge",
        BlobLevelMergePolicy::Auto,
        CompressionProfile::None,
        0,
    ));
}

#[test]
fn large_values_that_always_move() {
    agrees_with_the_model(&large_values(
        "large values, level merge always",
        BlobLevelMergePolicy::Always,
        CompressionProfile::Fast,
        1,
    ));
}

#[test]
fn memory_mode() {
    agrees_with_the_model(&memory());
}

#[test]
fn default_options() {
    agrees_with_the_model(&persistent("default options", 64 << 20, 1));
}

#[test]
fn no_workers() {
    agrees_with_the_model(&persistent("no workers", 64 << 20, 0));
}

#[test]
fn every_write_freezes_a_memtable() {
    agrees_with_the_model(&persistent("write buffer of one byte", 1, 0));
}

#[test]
fn tiny_write_buffer_with_a_worker_and_one_entry_per_block() {
    let setting = persistent("tiny write buffer, one entry per block", 300, 1);
    agrees_with_the_model(&setting.blocks(1, CompressionProfile::Fast));
}

#[test]
fn tiny_write_buffer_without_workers_and_small_plain_blocks() {
    let setting = persistent("tiny write buffer, small plain blocks", 300, 0);
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::None));
}

#[test]
fn small_blocks_compressed() {
    let setting = persistent("small blocks, compressed", 2000, 1);
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::Fast));
}

#[cfg(all(feature = "zstd", not(target_family = "wasm")))]
#[test]
fn small_blocks_compressed_with_zstd() {
    let setting = persistent("small blocks, compressed with zstd", 2000, 1);
    agrees_with_the_model(&setting.blocks(300, CompressionProfile::Zstd));
}

#[test]
fn large_plain_blocks_without_a_cache() {
    let mut setting = persistent("large plain blocks, no cache", 2000, 1);
    setting.options.block_cache_bytes = 0;
    agrees_with_the_model(&setting.blocks(16 << 10, CompressionProfile::None));
}

#[test]
fn tiny_tables_and_many_levels() {
    let mut setting = persistent("tiny tables and many levels", 200, 1);
    setting.options.target_table_bytes = 300;
    setting.options.level_size_multiplier = 2;
    setting.options.max_l0_files = 2;
    setting.options.max_immutable_memtables = 1;
    agrees_with_the_model(&setting.blocks(64, CompressionProfile::None));
}
