//! The write-ahead log: commits in sequence order, in a row of segment files numbered without gaps.
//!
//! - A segment is a [`crate::record::FileHeader`] and records; each payload is a kind byte and then
//!   `1` a commit { sequence u64, batch } or `2` a sync mark { synced through u64 }.
//! - Sequences are dense from the first segment's header on, across records and segments.
//! - The log goes over to its next segment without a sync. That the one before is on disk in full is said by the
//!   next one's header (it is *settled*), by any sync mark in it, or by any later segment that was written to: nothing
//!   is written to a segment before the last but one is on disk.
//! - A segment is written by one process life only. After a replay the log goes on in a new segment:
//!   whatever the last life left behind its last valid record is cut off and never written over,
//!   and no offset is ever used by two lives.
//! - Files of segments are made ready off the commit path ([`Prepared`]): with space reserved, or filled with zeros if
//!   commits are synced, or taken from a segment that nobody needs any more, whose old records never parse in the new one.

mod file;
mod log;
mod prepare;
mod replay;
mod tail;
mod writer;

#[cfg(test)]
mod segment_tests;
#[cfg(test)]
mod tests;

pub(crate) use file::SegmentFile;
pub(crate) use log::{LeftSegment, LogWriter, Reached};
pub(crate) use prepare::{Prepared, Retired, Space};
#[cfg(any(inspect, test))]
pub(crate) use replay::{Payload, decode};
pub(crate) use replay::{Replayed, cut_tail, replay};
pub(crate) use tail::{SegmentTail, first_sequence, kept_from};
pub(crate) use writer::{SegmentWriter, Start};

use crate::file_name::wal_name;

/// The longest segment that is read or written.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 4 << 30;

/// Payload kinds. They reach the disk: never renumber.
const COMMIT: u8 = 1;
const SYNC_MARK: u8 = 2;

/// The file name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    wal_name(number)
}
