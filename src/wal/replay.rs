//! Reads segments back after a crash: every commit in order, and where the log really ends.
//!
//! Nothing is changed by [`replay`]; [`cut_tail`] then makes what was found fit to be relied on.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::ErrorKind;
use std::ops::RangeInclusive;

use trine_io::{Mode, Storage};

use crate::coding::Reader;
use crate::error::{Error, Fault, Result};
use crate::record::{
    End, FILE_HEADER_BYTES, FileHeader, LogKind, Next, RecordReader, SECTOR_BYTES, Salt, Torn,
    log_error,
};
use crate::sequence::Sequence;
use crate::wal::{COMMIT, MAX_SEGMENT_BYTES, SYNC_MARK, segment_name};

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The last commit's sequence; without commits, the one before the first that was expected.
    pub(crate) last_sequence: Sequence,
    /// How many commits were read.
    pub(crate) commits: u64,
    /// The segment that holds the last record.
    pub(crate) last_used: Option<u64>,
    /// Where the log ends.
    pub(crate) tail: Option<Tail>,
    /// Segments behind the tail whose content goes with what the tail lost.
    pub(crate) dropped: Vec<u64>,
    /// Segments whose content may be in the operating system's cache only.
    unsynced: Vec<u64>,
    /// Segments without records, which may have been emptied in the operating system's cache only.
    unused: Vec<u64>,
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) number: u64,
    /// The end of its last valid record.
    pub(crate) length: u64,
    /// Why the log ends there, if something of it was lost.
    pub(crate) torn: Option<Torn>,
    /// Bytes below are on disk: a sync mark says so.
    pub(crate) proven: u64,
}

/// One payload, decoded.
pub(crate) enum Payload<'a> {
    Commit(Sequence, &'a [u8]),
    SyncMark(u64),
}

pub(crate) fn decode(payload: &[u8]) -> std::result::Result<Payload<'_>, Fault> {
    let mut reader = Reader::new(payload);
    match reader.u8()? {
        COMMIT => Ok(Payload::Commit(Sequence::new(reader.u64()?), reader.rest())),
        SYNC_MARK => {
            let through = reader.u64()?;
            reader.finish()?;
            Ok(Payload::SyncMark(through))
        }
        tag => Err(Fault::Tag(tag)),
    }
}

/// What a sync mark says of its own segment.
pub(super) fn proof(_: u64, payload: &[u8]) -> u64 {
    match decode(payload) {
        Ok(Payload::SyncMark(through)) => through,
        _ => 0,
    }
}

/// What a sync mark says of the segments before its own: all of them are on disk.
fn proof_of_earlier(_: u64, payload: &[u8]) -> u64 {
    match decode(payload) {
        Ok(Payload::SyncMark(_)) => u64::MAX,
        _ => 0,
    }
}

/// What is known while segments are read one after the other.
struct Progress {
    first_number: u64,
    /// The next commit's sequence; `None` before the first header.
    expected: Option<Sequence>,
    commits: u64,
    /// The segments that records were read from.
    used: Vec<u64>,
    unused: Vec<u64>,
    tail: Option<Tail>,
    /// In the segment that is being read, bytes below are on disk.
    proven: u64,
    dropped: Vec<u64>,
}

/// Gives every commit of the segments `numbers` to `visitor`, in order. The visitor says whether all that the commit refers to
/// is there; if not, the log ends before it, as before one of which a sector is missing.
///
/// # Errors
/// `Corruption` naming file and offset: a segment is missing, damaged, not the one its name says,
/// or torn though something later proves that it had been on disk; a sequence is skipped or repeated.
/// `UnsupportedFormat` for a later format version. `Io`. Whatever `visitor` returns.
pub(crate) async fn replay(
    storage: &Storage,
    numbers: RangeInclusive<u64>,
    mode: Mode,
    mut visitor: impl FnMut(Sequence, &[u8]) -> Result<bool>,
) -> Result<Replayed> {
    let mut progress = Progress {
        first_number: *numbers.start(),
        expected: None,
        commits: 0,
        used: Vec::new(),
        unused: Vec::new(),
        tail: None,
        proven: 0,
        dropped: Vec::new(),
    };
    for number in numbers {
        let name = segment_name(number);
        let read = storage.read_written(mode, &name, MAX_SEGMENT_BYTES).await;
        let (mut file, length) = match read {
            Ok(read) => read,
            Err(error) => {
                return Err(match error.source.kind() {
                    ErrorKind::NotFound => Error::Corruption {
                        message: format!("WAL segment {name} is missing"),
                    },
                    ErrorKind::InvalidData => Error::Corruption {
                        message: error.to_string(),
                    },
                    _ => error.into(),
                });
            }
        };
        let sectors = file.len().next_multiple_of(SECTOR_BYTES);
        file.resize(sectors.min(length), 0);
        progress.segment(number, &name, (&file, length), &mut visitor)?;
    }
    let expected = progress.expected.map_or(1, Sequence::get);
    let unsynced = progress.used.len().saturating_sub(2);
    Ok(Replayed {
        last_sequence: Sequence::new(expected.saturating_sub(1)),
        commits: progress.commits,
        last_used: progress.used.last().copied(),
        tail: progress.tail,
        dropped: progress.dropped,
        unsynced: progress.used.split_off(unsynced),
        unused: progress.unused,
    })
}

/// One segment's file, with what its header says; none if that never reached the disk.
struct Segment<'a> {
    number: u64,
    name: &'a str,
    header: Option<FileHeader>,
    file: &'a [u8],
    /// The file's length: behind what is given of it there are zeros.
    length: usize,
}

impl<'a> Segment<'a> {
    fn read(number: u64, name: &'a str, (file, length): (&'a [u8], usize)) -> Result<Self> {
        let header = if FileHeader::is_missing(LogKind::Wal, file) {
            None
        } else {
            let header = FileHeader::decode(LogKind::Wal, number, file);
            Some(header.map_err(|fault| log_error(fault.at(name, 0)))?)
        };
        Ok(Self {
            number,
            name,
            header,
            file,
            length,
        })
    }

    fn reader(&self, proof: fn(u64, &[u8]) -> u64) -> RecordReader<'a> {
        let salt = Salt::new(LogKind::Wal, self.number);
        let start = self.header.map_or(0, |_| FILE_HEADER_BYTES);
        RecordReader::new(self.file, salt, start, proof).with_zeros_up_to(self.length)
    }

    /// Whether nothing was written to it but, perhaps, its header.
    fn is_unused(&self) -> bool {
        self.reader(proof).next() == Ok(Next::End(End::Clean))
    }

    fn fail(&self, fault: Fault, offset: u64) -> Error {
        log_error(fault.at(self.name, offset))
    }

    /// Whether it says that every segment before it had been on disk.
    fn proves_earlier(&self) -> bool {
        self.header.is_some_and(|header| header.settled)
            || self.reader(proof_of_earlier).proves_anything()
    }

    /// The first commit's sequence, if it has one.
    fn first_commit(&self) -> Result<Option<Sequence>> {
        let mut reader = self.reader(proof);
        loop {
            match reader.next() {
                Ok(Next::Record { offset, payload }) => {
                    let payload = decode(payload).map_err(|fault| self.fail(fault, offset))?;
                    if let Payload::Commit(sequence, _) = payload {
                        return Ok(Some(sequence));
                    }
                }
                Ok(Next::End(_)) => return Ok(None),
                Err((at, fault)) => return Err(self.fail(fault, at)),
            }
        }
    }
}

impl Progress {
    fn segment(
        &mut self,
        number: u64,
        name: &str,
        file: (&[u8], usize),
        visitor: &mut impl FnMut(Sequence, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let segment = Segment::read(number, name, file)?;
        if let Some(tail) = self.tail.filter(|tail| tail.torn.is_some()) {
            return self.refuse_or_drop(&segment, tail);
        }
        let Some(header) = segment.header else {
            return self.without_header(&segment);
        };
        if header.first_sequence == Sequence::ZERO {
            return Err(segment.fail(Fault::Field("first sequence"), 0));
        }
        let follows =
            header.previous < self.first_number || self.used.last() == Some(&header.previous);
        if follows && self.commits == 0 {
            // Before the first commit the lowest header counts: a segment may have been created
            // for a sequence further on than what survived of the segment before it.
            let lowest = self.expected.unwrap_or(header.first_sequence);
            self.expected = Some(lowest.min(header.first_sequence));
        }
        let first = segment.first_commit()?;
        if follows && first.is_none_or(|first| self.expected == Some(first)) {
            return self.records(&segment, visitor);
        }
        if segment.proves_earlier() {
            return Err(segment.fail(Fault::Order, FILE_HEADER_BYTES as u64));
        }
        // What was to come before never reached the disk, from a record's end on.
        let (end, length) = match self.tail {
            Some(tail) => (tail.number, tail.length),
            None => (header.previous, 0),
        };
        self.tail = Some(Tail {
            number: end,
            length,
            torn: Some(Torn::LostSector),
            // Known to end there, and no more.
            proven: 0,
        });
        self.dropped.push(number);
        Ok(())
    }

    /// The header reaches the disk with the first records, if there are any.
    fn without_header(&mut self, segment: &Segment<'_>) -> Result<()> {
        let end = segment
            .reader(proof)
            .without_header()
            .map_err(|(at, fault)| segment.fail(fault, at))?;
        if let End::Torn(torn) = end {
            self.tail = Some(Tail {
                number: segment.number,
                length: 0,
                torn: Some(torn),
                proven: 0,
            });
        } else {
            self.unused.push(segment.number);
        }
        Ok(())
    }

    /// `segment` lies behind a torn one: either it proves that what is gone had been on disk, or it goes, too.
    fn refuse_or_drop(&mut self, segment: &Segment<'_>, torn: Tail) -> Result<()> {
        let is_next = segment.number == torn.number.saturating_add(1);
        if segment.proves_earlier() || !is_next && !segment.is_unused() {
            let fault =
                "record: its bytes are gone though a later segment says that they were on disk";
            return Err(log_error(
                Fault::Field(fault).at(&segment_name(torn.number), torn.length),
            ));
        }
        self.dropped.push(segment.number);
        Ok(())
    }

    fn records(
        &mut self,
        segment: &Segment<'_>,
        visitor: &mut impl FnMut(Sequence, &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let number = segment.number;
        let mut reader = segment.reader(proof);
        let mut is_used = false;
        self.proven = 0;
        loop {
            let start = reader.offset();
            let next = match reader.next() {
                Ok(Next::Record { offset, payload }) => {
                    if self.record(offset, payload, visitor, segment)? {
                        is_used = true;
                        continue;
                    }
                    reader.give_up(start, offset).map(Next::End)
                }
                end => end,
            };
            match next.map_err(|(at, fault)| segment.fail(fault, at))? {
                Next::Record { .. } => {}
                Next::End(end) => {
                    if is_used {
                        self.used.push(number);
                    } else {
                        self.unused.push(number);
                    }
                    let torn = match end {
                        End::Clean => None,
                        End::Torn(why) => Some(why),
                    };
                    if is_used || torn.is_some() {
                        let length = reader.offset();
                        self.tail = Some(Tail {
                            number,
                            length,
                            torn,
                            proven: self.proven,
                        });
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Whether the record counts.
    fn record(
        &mut self,
        offset: u64,
        payload: &[u8],
        visitor: &mut impl FnMut(Sequence, &[u8]) -> Result<bool>,
        segment: &Segment<'_>,
    ) -> Result<bool> {
        match decode(payload).map_err(|fault| segment.fail(fault, offset))? {
            Payload::Commit(sequence, batch) => {
                if self.expected != Some(sequence) {
                    return Err(segment.fail(Fault::Order, offset));
                }
                if !visitor(sequence, batch)? {
                    return Ok(false);
                }
                self.commits = self.commits.saturating_add(1);
                self.expected = sequence.next();
            }
            Payload::SyncMark(through) => {
                if through > offset {
                    return Err(segment.fail(Fault::Field("sync mark"), offset));
                }
                self.proven = self.proven.max(through);
            }
        }
        Ok(true)
    }
}

/// Makes the end that a replay found safe to build on: cuts off what is torn or unused, empties the segments that
/// go with it, and makes the rest durable. To sync it would prove nothing: where its writer's sync failed, the
/// operating system shows bytes, and lengths, that are not on disk and takes them for written. So what no mark proves
/// is written again, and a length is set again though it seems to be right. To be called before a new segment is
/// written to, because that says that all before it is on disk.
///
/// # Errors
/// `Io`; the next open replays and cuts again.
pub(crate) async fn cut_tail(storage: &Storage, replayed: &Replayed, mode: Mode) -> Result<()> {
    // The last one first: until the torn one is cut, it explains what is behind it.
    for number in replayed.dropped.iter().rev() {
        settle(storage, *number, 0, Some(0), mode).await?;
    }
    let tail = replayed.tail;
    for number in &replayed.unused {
        let file = storage.open_write(mode, &segment_name(*number)).await?;
        file.set_len(mode, file.len(mode).await?).await?;
        file.sync_all(mode).await?;
    }
    for number in &replayed.unsynced {
        if tail.is_none_or(|tail| tail.number != *number) {
            settle(storage, *number, 0, None, mode).await?;
        }
    }
    match tail {
        Some(tail) => settle(storage, tail.number, tail.proven, Some(tail.length), mode).await,
        None => Ok(()),
    }
}

/// Cuts a segment to `length`, if one is given, and makes all of it durable, of which only what lies below `proven` is
/// known to be.
async fn settle(
    storage: &Storage,
    number: u64,
    proven: u64,
    length: Option<u64>,
    mode: Mode,
) -> Result<()> {
    let file = storage.open_write(mode, &segment_name(number)).await?;
    let end = file.len(mode).await?.min(length.unwrap_or(u64::MAX));
    file.set_len(mode, end).await?;
    file.write_again(mode, proven, end).await?;
    file.sync_all(mode).await?;
    Ok(())
}
