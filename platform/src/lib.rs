//! What a host gives the database: time, threads, wake-ups. No storage, no engine words.

#![deny(unsafe_code)]

pub mod block_on;
pub mod event;
pub mod thread;

pub use block_on::block_on;
