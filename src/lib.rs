//! An embedded, ordered, crash-safe key-value database.

#![deny(unsafe_code)]

pub mod error;
pub mod options;
pub mod prefix;

mod block;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the tree that reads its statistics comes next")
)]
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
