//! An embedded, ordered, crash-safe key-value database.
#![deny(unsafe_code)]
pub mod error;
pub mod options;
pub mod prefix;
pub mod runtime;
pub mod search;
pub mod stats;
mod block;
mod cache;
mod checksum;
mod coding;
mod compression;
mod counter;
mod cursor;
mod file_name;
mod filter;
mod hash;
mod internal_key;
mod key;
mod manifest;
mod range_tombstone;
mod record;
mod sequence;
mod sync;
mod table;
#[cfg(test)]
mod testing;
mod tree;
mod wal;
pub use error::{Error, Result};
pub use prefix::PrefixExtractor;
