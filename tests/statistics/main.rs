//! What `Db::stats` and `Bucket::stats` count, one test for each rule; a module for each subject.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "../common"]
mod common {
    pub(crate) mod executor;
}

mod blocks;
mod buckets;
mod display;
mod filters;
mod opened;
mod point_reads;
mod state;
mod storage;
