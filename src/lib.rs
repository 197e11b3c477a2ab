//! An embedded, ordered, crash-safe key-value database.

#![deny(unsafe_code)]

pub mod error;
pub mod options;

mod checksum;
mod coding;
mod cursor;
mod internal_key;
mod key;
mod range_tombstone;
mod sequence;
mod sync;
#[allow(
    dead_code,
    unused_imports,
    reason = "the engine that calls it comes next"
)]
mod tree;

pub use error::{Error, Result};
