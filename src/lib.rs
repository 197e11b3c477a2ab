//! An embedded, ordered, crash-safe key-value database.

#![deny(unsafe_code)]

pub mod error;
pub mod options;
pub mod prefix;

mod block;
mod cache;
mod checksum;
mod coding;
mod compression;
mod counter;
mod cursor;
mod filter;
mod hash;
mod internal_key;
mod key;
mod range_tombstone;
mod sequence;
#[expect(
    dead_code,
    unused_imports,
    reason = "the tree that calls it comes next"
)]
mod table;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use prefix::PrefixExtractor;
