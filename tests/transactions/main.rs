//! Transactions: what they read, what conflicts with it, what commits, and what is tried again.
//!
//! Every rule runs in both ways of calling, in memory and on a persistent database.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}

mod conflicts;
mod fixture;
mod life;
mod staged;
mod transact;
mod update;
