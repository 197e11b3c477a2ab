//! Reads a segment while it is written: commits in order, behind the newest visible one.
//!
//! - A visible commit is in the log in full. Nothing behind it is looked at before it is visible, too.
//! - Nothing here keeps the segment: it may be removed, or become another one, while it is read. What is read then does not
//!   parse or is what it was, since every checksum has the segment's number in it. Whoever asks finds out by the log's floor.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::ErrorKind;

use trine_io::{File, Mode, Storage};

use crate::error::{Fault, Result};
use crate::record::{
    End, FILE_HEADER_BYTES, FileHeader, LogKind, Next, RecordReader, SECTOR_BYTES, Salt, Torn,
    log_error,
};
use crate::sequence::Sequence;
use crate::wal::replay::{Payload, decode, proof};
use crate::wal::segment_name;

/// How much is read at once, unless a record is longer.
const PIECE_BYTES: u64 = 256 << 10;
const TIP_BYTES: u64 = 4 << 10;

const SECTOR: u64 = SECTOR_BYTES as u64;

/// What follows a record begins within so many bytes.
const HEADER_BYTES_MAX: u64 = 2 * SECTOR;

/// The sequence that the header of a segment names; `None` if nothing was written to it, or it is not there.
///
/// # Errors
/// `Corruption`, `Io`.
pub(crate) async fn first_sequence(
    storage: &Storage,
    number: u64,
    mode: Mode,
) -> Result<Option<Sequence>> {
    let name = segment_name(number);
    let file = match storage.open(mode, &name).await {
        Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let length = file.len(mode).await?.min(SECTOR_BYTES as u64);
    let length = usize::try_from(length).unwrap_or(SECTOR_BYTES);
    let sector = file.read_at(mode, 0, length).await?;
    if FileHeader::is_missing(LogKind::Wal, &sector) {
        return Ok(None);
    }
    let header = FileHeader::decode(LogKind::Wal, number, &sector)
        .map_err(|fault| log_error(fault.at(&name, 0)))?;
    Ok(Some(header.first_sequence))
}

/// From which segment on the log is kept, if `needed` is the first that memtables need: so that the segments in between, of
/// those from `floor` on, hold at least so many `bytes`, if they do at all.
///
/// # Errors
/// `Io`.
pub(crate) async fn kept_from(
    storage: &Storage,
    floor: u64,
    needed: u64,
    bytes: u64,
    mode: Mode,
) -> Result<u64> {
    let mut kept = needed;
    let mut left = bytes;
    while kept > floor && left > 0 {
        let before = kept.saturating_sub(1);
        let length = match storage.open(mode, &segment_name(before)).await {
            Ok(file) => file.len(mode).await?,
            Err(error) if error.source.kind() == ErrorKind::NotFound => 0,
            Err(error) => return Err(error.into()),
        };
        left = left.saturating_sub(length);
        kept = before;
    }
    Ok(kept)
}

/// A segment that is being read.
#[derive(Debug)]
pub(crate) struct SegmentTail {
    number: u64,
    file: File,
    /// Where the next record starts.
    offset: u64,
    /// What was read of the file, from the start of some sector on.
    piece: Vec<u8>,
    start: u64,
    /// Whether it was all that the file had.
    is_rest: bool,
    /// What was visible before it was read.
    through: Sequence,
}

impl SegmentTail {
    /// Before the first record of segment `number`.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn open(storage: &Storage, number: u64, mode: Mode) -> Result<Self> {
        Ok(Self {
            number,
            file: storage.open(mode, &segment_name(number)).await?,
            offset: FILE_HEADER_BYTES as u64,
            piece: Vec::new(),
            start: 0,
            is_rest: false,
            through: Sequence::ZERO,
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next commit, if this segment has one; not after `wanted`, up to which all were visible before `visible` was read.
    ///
    /// # Errors
    /// `Corruption`, `Io`; it can be asked again.
    pub(crate) async fn next(
        &mut self,
        wanted: Sequence,
        visible: Sequence,
        mode: Mode,
    ) -> Result<Option<(Sequence, Vec<u8>)>> {
        if self.through < wanted {
            // Who keeps up wants little at a time.
            let bytes = if visible > wanted {
                PIECE_BYTES
            } else {
                TIP_BYTES
            };
            self.read(bytes, visible, mode).await?;
        }
        loop {
            match self.step()? {
                Step::Commit(sequence, batch) => return Ok(Some((sequence, batch))),
                Step::Mark => {}
                Step::Short => {
                    let longer = (self.piece.len() as u64).saturating_mul(2);
                    self.read(longer.max(PIECE_BYTES), visible, mode).await?;
                }
                Step::End => return Ok(None),
            }
        }
    }

    async fn read(&mut self, bytes: u64, visible: Sequence, mode: Mode) -> Result<()> {
        self.start = self.offset.saturating_sub(self.offset % SECTOR);
        let left = self.file.len(mode).await?.saturating_sub(self.start);
        let bytes = usize::try_from(left.min(bytes)).unwrap_or(usize::MAX);
        self.piece = self.file.read_at(mode, self.start, bytes).await?;
        self.is_rest = left == bytes as u64;
        self.through = visible;
        Ok(())
    }

    /// Goes over one record of what was read.
    fn step(&mut self) -> Result<Step> {
        let fail = |at, fault: Fault| log_error(fault.at(self.file.name(), at));
        let salt = Salt::new(LogKind::Wal, self.number);
        let mut reader = RecordReader::of_piece(
            &self.piece,
            place(self.start),
            salt,
            place(self.offset),
            proof,
        );
        let step = match reader.next() {
            Ok(Next::Record { offset, payload }) => {
                match decode(payload).map_err(|fault| fail(offset, fault))? {
                    Payload::Commit(sequence, batch) => Step::Commit(sequence, batch.to_vec()),
                    Payload::SyncMark(_) => Step::Mark,
                }
            }
            Ok(Next::End(end)) => {
                let read = self.start.saturating_add(self.piece.len() as u64);
                // Where a header would be was not read, or not all of the record.
                let is_short = read.saturating_sub(self.offset) < HEADER_BYTES_MAX;
                if !self.is_rest && (is_short || end == End::Torn(Torn::Cut)) {
                    return Ok(Step::Short);
                }
                return Ok(Step::End);
            }
            Err((at, fault)) => return Err(fail(at, fault)),
        };
        self.offset = reader.offset();
        Ok(step)
    }
}

/// Segments are far shorter than memory is large.
fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

enum Step {
    Commit(Sequence, Vec<u8>),
    Mark,
    /// What was read ends too early to tell.
    Short,
    End,
}
