//! What a host gives the database: time, randomness, threads, wake-ups, positional file access and a
//! directory lock. No storage interface, no engine words.
//!
//! | primitive | unix | windows | wasi | elsewhere (browser) |
//! |---|---|---|---|---|
//! | [`clock`] | monotonic and wall clock | same | same | the browser's, rounded |
//! | [`random`] | seeded by the host | same | same | same |
//! | [`thread`] | yes | yes | none, spawning fails | none, spawning fails |
//! | [`timer`] | yes | yes | does not wait | does not wait |
//! | [`block_on`](mod@block_on), [`event`], [`baton`] | yes | yes | yes, if nothing pends | yes, if nothing pends |
//! | [`target`] positional I/O | `pread`, `pwrite` | `seek_read`, `seek_write` | `pread`, `pwrite` | `Unsupported` |
//! | [`page_cache`] | Linux: what is in memory, and reads that leave no trace; else nothing is known | as there | as there | as there |
//! | [`target`] directory sync | `fsync` | the file system's own journal | where the host can | `Unsupported` |
//! | [`lock`] | `flock`, dies with the process | share mode and lock, die with the process | this process only | `Unsupported` |
//!
//! [`sorted`] belongs to no host: arrays in order, whose code is small.
//!
//! Nothing else in the workspace asks which operating system it runs on. The lowest of three crates:
//! anyone may call it.

#![deny(unsafe_code)]

pub mod baton;
pub mod bell;
pub mod block_on;
pub mod clock;
pub mod event;
pub mod lock;
pub mod pace;
pub mod page_cache;
pub mod random;
pub mod sorted;
pub mod space;
mod sync;
pub mod target;
pub mod thread;
pub mod timer;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod web;

pub use baton::{Baton, Holder};
pub use block_on::block_on;
pub use lock::{DirectoryLock, LockError};
