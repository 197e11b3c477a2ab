//! The random histories of `tests/model/main.rs` on browser storage, whose opening is the only thing that waits.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

use std::path::Path;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use trine_kv::{BlobGcRatio, BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

mod common {
    #[path = "../../../../tests/common/executor.rs"]
    pub(crate) mod executor;
    pub(crate) mod place;
    #[path = "../../../../tests/common/way.rs"]
    pub(crate) mod way;
}
#[path = "../../../tests/model/history.rs"]
mod history;
#[path = "../../../tests/model/run.rs"]
mod run;

use common::place;
use common::way::Way;
use history::{Operation, histories};
use run::{Append, Run, Setting, Time};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

const CASES: usize = 6;

fn setting(name: &'static str, write_buffer_bytes: usize) -> Setting {
    Setting {
        name,
        options: DbOptions {
            write_buffer_bytes,
            durability: DurabilityMode::Buffered,
            ..DbOptions::browser_persistent().with_merge_operator(Append::NAME, Append)
        },
        bucket_options: BucketOptions {
            block_bytes: 64,
            ..BucketOptions::default().with_merge_operator(Append::NAME)
        },
        persistent: true,
        time: Time::default(),
    }
}

async fn agrees_with_the_model(setting: Setting) {
    // A new one each time, so that runs add up; printed, so that one can be repeated.
    let seed = (js_sys::Math::random() * 9e15) as u64;
    console_log!("{}, seed {seed}", setting.name);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Default::default(), random);
    for _ in 0..CASES {
        place::clear().await;
        let history = histories().new_tree(&mut runner).unwrap().current();
        let options = || setting.at(Path::new(""));
        let db = Db::open(options()).await.unwrap();
        let mut run = Run::new(&setting, Path::new(""), db).unwrap();
        for (cooperative, operation) in history.into_iter().chain([(true, Operation::Reopen)]) {
            run.way = if cooperative { Way::Async } else { Way::Sync };
            if let Operation::Reopen = operation {
                run.leave().unwrap();
                run.enter(Db::open(options()).await.unwrap()).unwrap();
            } else {
                run.step(operation).unwrap();
            }
        }
        run.check_all().unwrap();
        run.leave().unwrap();
    }
}

#[wasm_bindgen_test]
async fn flushes_now_and_then() {
    agrees_with_the_model(setting("write buffer of 2000 bytes", 2000)).await;
}

#[wasm_bindgen_test]
async fn tiny_tables_and_many_levels() {
    let mut setting = setting("tiny tables and many levels", 200);
    setting.options.target_table_bytes = 300;
    setting.options.level_size_multiplier = 2;
    setting.options.max_l0_files = 2;
    setting.options.max_immutable_memtables = 1;
    setting.bucket_options.compression = CompressionProfile::Fast;
    agrees_with_the_model(setting).await;
}

#[wasm_bindgen_test]
async fn most_values_in_blob_files() {
    let mut setting = setting("large values", 400);
    setting.bucket_options.blob_threshold_bytes = 10;
    setting.options.blob_gc_min_file_bytes = 1;
    setting.options.blob_gc_discardable_ratio = BlobGcRatio::from_millionths(200_000);
    agrees_with_the_model(setting).await;
}
