//! An embedded, ordered, crash-safe key-value database.

#![deny(unsafe_code)]

pub mod error;
pub mod options;
pub mod prefix;

#[expect(dead_code, reason = "the tables that call it come next")]
mod block;
mod checksum;
mod coding;
mod compression;
mod cursor;
#[expect(dead_code, reason = "the tables that call it come next")]
mod filter;
mod hash;
mod internal_key;
mod key;
mod range_tombstone;
mod sequence;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use prefix::PrefixExtractor;
