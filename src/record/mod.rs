//! The framing that the WAL and the manifest share, and the rule that tells a torn tail from corruption.
//!
//! A log file is a [`FileHeader`] and then records, appended and never rewritten. Seen from the disk
//! it is a row of 512-byte *sectors*, which reach it whole or not at all, in any order until a sync.
//!
//! - The first sector starts with the file header. Every other sector that anything was written to
//!   starts with the file's [`mark`](Salt::mark): two equal halves that say whose sector it is. It is no
//!   part of any record's content.
//! - A record is a header of 12 bytes { content length u32 | header crc u32 | payload crc u32 } and
//!   its payload, which runs on through as many sectors as it needs. A header starts at a multiple of four and
//!   never crosses a sector's end: where there is no room, zeros follow up to where the next record starts.
//! - Both checksums cover the kind and number of the file and the header's offset in it, so bytes of
//!   another file, of an earlier life of this one, or at another place never parse. A payload has at
//!   least one byte, so zeros never parse.
//! - A header's crc always holds two bytes that are not zero. It is the record's *seal*: who writes without the
//!   help of the operating system (`wal`) writes the first record's last of all.
//!
//! A sector is *blank* if it is all zeros, or if it starts with the mark of another file: then it was left by
//! an earlier life of a recycled one. From this follows what no power loss can counterfeit: **the part of a record
//! in any sector it touches holds at least two bytes that no blank sector has** (a header, or a mark). So a
//! sector that never arrived reads as blank, and one changed byte can never read as a sector that never arrived.
//!
//! # The torn-tail rule
//!
//! Reading stops at the first offset where no valid record starts:
//!
//! 1. Zeros to the end of the sector and nothing but blank sectors after it: a clean end (a tail filled ahead).
//! 2. The file ends inside the header, or inside the payload that a valid header claims: torn (cut).
//! 3. The record has no seal, or a sector of it is missing: from its header to the sector's end there are only
//!    zeros, or a whole later sector is blank. Torn, *unless* a valid record further on proves that
//!    this place had been synced (a WAL `SyncMark`; in a manifest every later record), or a later
//!    WAL segment was written to. With such proof it is corruption. Valid records without it were
//!    unsynced too, written out of order before the power went: they are dropped with the torn one,
//!    so that recovery yields a prefix.
//! 4. Anything else is corruption, the last record included: a checksum that does not match while
//!    all the record's sectors are there, a byte in what must be zero, a sector without its mark.
//!
//! `docs/decisions/0001-torn-tail.md` and `docs/decisions/0005-recycled-segments.md` have the reasons. The rule
//! needs lost sectors to read as blank: a file must be new, or zeroed and synced, or have been a log before.

mod header;
mod poison;
mod reader;
#[cfg(any(inspect, test))]
mod walk;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use header::{FILE_HEADER_BYTES, FileHeader};
pub(crate) use poison::Poison;
pub(crate) use reader::{End, Next, RecordReader, Torn};
#[cfg(any(inspect, test))]
pub(crate) use walk::{Walked, walk};
pub(crate) use writer::RecordWriter;

use crate::checksum::crc32c;
use crate::error::{Corruption, Error, Fault};

/// What reaches the disk whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;
/// How much of every sector but a file's first is its mark.
pub(crate) const MARK_BYTES: usize = 4;
/// How many lives later a mark comes back. A file that held an older life must not become a log again.
pub(crate) const LIVES: u64 = 0xffff;
/// Where headers start.
const ALIGNMENT: usize = 4;
/// What is always set in a header's crc, so that no changed byte makes it zero.
const SEAL_BITS: u32 = 0x0100_0001;
/// Where in a header its crc stands.
const SEAL_AT: usize = 4;
/// A record's header.
pub(crate) const RECORD_HEADER_BYTES: usize = 12;
/// The longest payload.
pub(crate) const MAX_RECORD_BYTES: u64 = (1 << 30) - 1;

/// Which file a record belongs to; part of every checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt {
    kind: LogKind,
    number: u64,
}

/// The kinds of log files. The numbers reach the disk, in checksums: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LogKind {
    Wal = 1,
    Manifest = 2,
}

impl Salt {
    pub(crate) fn new(kind: LogKind, number: u64) -> Self {
        Self { kind, number }
    }

    /// What both checksums of the record at `offset` start with.
    fn place(self, offset: u64) -> [u8; 17] {
        let mut place = [self.kind as u8; 17];
        let (_, rest) = place.split_at_mut(1);
        let (number, at) = rest.split_at_mut(8);
        number.copy_from_slice(&self.number.to_le_bytes());
        at.copy_from_slice(&offset.to_le_bytes());
        place
    }

    fn header_crc(self, offset: u64, length: u32) -> u32 {
        crc32c(&[&self.place(offset), &length.to_le_bytes()]) | SEAL_BITS
    }

    /// How every sector but the first begins once this file wrote to it: the same number twice, neither zero
    /// nor that of another file whose number is less than [`LIVES`] away.
    pub(crate) fn mark(self) -> [u8; MARK_BYTES] {
        let life = (self.number % LIVES) as u16 + 1;
        let [low, high] = life.to_le_bytes();
        [low, high, low, high]
    }
}

/// Damage in a log is always `Corruption`, whichever check found it; only an unknown version is not.
pub(crate) fn log_error(damage: Corruption) -> Error {
    match damage.fault {
        Fault::Version(_) => damage.into(),
        _ => Error::Corruption {
            message: damage.to_string(),
        },
    }
}
