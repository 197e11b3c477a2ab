//! Isolation, by the names of the anomalies (Berenson et al., "A critique of ANSI SQL isolation
//! levels", SIGMOD 1995; Adya, "Weak consistency", 1999): which ones can happen here, and which not.
//!
//! - `anomalies`: each one step by step, on one thread, wherever the rows lie.
//! - `conflicts`: what a recorded read conflicts with, wherever the other write lies.
//! - `serial`: random interleavings against a model that knows every commit.
//! - `contention`: the same promises under threads.
//! - `cycles`: histories under threads, searched for cycles.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "../common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod random;
    pub(crate) mod way;
}

mod anomalies;
mod conflicts;
mod contention;
mod cycles;
mod scene;
mod serial;
