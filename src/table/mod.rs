//! The immutable sorted file: entries of one tree, newest version of a key first.
//!
//! ```text
//! header | data blocks | filter | prefix filter | fence index | range tombstones | properties | footer
//! ```
//! - Each part between header and footer is a frame of [`crate::block::frame`]. Those behind the data
//!   blocks start on 64-byte boundaries and are stored uncompressed, to be used in place.
//! - A table is written front to back once, and never changes.
//! - Versions of one key may go on in the next block; nothing else of a key is ever elsewhere.
//! - Mapped, filters and index are used in the map. Else an open table has neither in memory: the index, and the
//!   one partition of a filter that a lookup asks, are in the block cache, like blocks, or [`Missing`].
//! - Reading is a step over what is resident. Only [`Table::open`], [`Table::open_in`], [`Table::verify`] and
//!   [`Missing::load`] touch the file.
//!
//! docs/format.md, "Tables".

#[cfg(any(inspect, test))]
mod anatomy;
mod cursor;
mod filter;
mod footer;
#[cfg(all(any(fuzzing, test), not(loom)))]
pub(crate) mod fuzzing;
mod handle;
mod held;
mod index;
mod lookup;
mod meta;
mod missing;
mod parts;
mod properties;
mod reader;
mod run;
#[cfg(test)]
mod tests;
mod tombstones;
mod verify;
mod writer;

pub(crate) use crate::block::rows::Pick;
#[cfg(any(inspect, test))]
pub(crate) use anatomy::{Anatomy, DataBlock, PartKind};
pub(crate) use cursor::{Counting, TableCursor};
#[cfg(any(inspect, test))]
pub(crate) use footer::{FOOTER_BYTES, TABLE};
pub(crate) use handle::Table;
pub(crate) use lookup::{Found, Lent};
pub(crate) use meta::{Freeable, TableMeta};
pub(crate) use missing::{Loaded, Missing};
pub(crate) use reader::OpenTable;
pub(crate) use run::Run;
pub(crate) use writer::{TableOptions, TableWriter};
