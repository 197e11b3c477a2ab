//! The public contract, one test for each rule; a module for each subject.
//!
//! Rules with a synchronous and an asynchronous side are described once and run both ways.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the directory behind the engine's back and start threads"
)]

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}

mod administration;
mod archives;
mod batches;
mod beyond;
mod buckets;
mod closing;
mod durability;
mod errors;
mod fixture;
mod futures;
mod iterators;
mod keys;
mod locking;
mod maintenance;
mod open;
mod options;
mod order;
mod ranges;
mod read_only;
mod snapshots;
mod threads;
mod types;
