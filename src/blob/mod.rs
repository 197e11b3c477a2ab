//! The immutable file of large values that tables only refer to.
//!
//! ```text
//! header | record | record | .. | footer        record = a frame of `block::frame`
//! ```
//! - A file is written front to back once, and never changes. It belongs to one bucket. A flush or a compaction writes it, or commits do
//!   ([`GrowingFile`]) and a flush completes it.
//! - Records have no keys: the one way to a value is a [`BlobIndex`] in a table, or in a memtable and the log. A record's checksum covers the file's number
//!   and the record's place too, so a reference that leads elsewhere does not pass.
//! - Every version of every key has its own record: how much of a file is live is the sum of what the
//!   tables of a version refer to ([`BlobUse`]). Nothing else is counted, so nothing can drift.
//! - Mapped and stored as it is, a value is lent from the map; its checksum is verified once.
//!
//! docs/format.md, "Blob files".

mod footer;
mod growing;
mod index;
mod liveness;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

#[cfg(any(inspect, test))]
pub(crate) use footer::{BLOB_FILE, FOOTER_BYTES as BLOB_FOOTER_BYTES};
pub(crate) use growing::{GrowingFile, ValueState};
pub(crate) use index::{BlobIndex, BlobMeta, BlobUses};
pub(crate) use liveness::{BlobGc, BlobPolicy, Liveness};
pub(crate) use reader::{BlobBytes, BlobFile, BlobValue};
pub(crate) use writer::BlobWriter;
