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
    End, FILE_HEADER_BYTES, FileHeader, LogKind, Next, RecordReader, Salt, Torn, log_error,
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
    /// The last segment that anything was written to.
    pub(crate) tail: Option<Tail>,
    /// How many bytes follow the tail's valid length, if it is torn.
    pub(crate) dropped_bytes: u64,
}

/// The last segment that anything was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) number: u64,
    /// The end of its last valid record.
    pub(crate) length: u64,
    pub(crate) torn: Option<Torn>,
    /// Bytes below are on disk: a sync mark says so.
    pub(crate) proven: u64,
}

/// One payload, decoded.
enum Payload<'a> {
    Commit(Sequence, &'a [u8]),
    SyncMark(u64),
}

fn decode(payload: &[u8]) -> std::result::Result<Payload<'_>, Fault> {
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

fn proof(_: u64, payload: &[u8]) -> u64 {
    match decode(payload) {
        Ok(Payload::SyncMark(through)) => through,
        _ => 0,
    }
}

/// What is known while segments are read one after the other.
struct Progress {
    /// The next commit's sequence; `None` before the first header.
    expected: Option<Sequence>,
    commits: u64,
    tail: Option<Tail>,
    /// In the segment that is being read, bytes below are on disk.
    proven: u64,
    dropped_bytes: u64,
}

/// Gives every commit of the segments `numbers` to `visitor`, in order.
///
/// # Errors
/// `Corruption` naming file and offset: a segment is missing, damaged, not the one its name says,
/// or torn though a later one was written to; a sequence is skipped or repeated.
/// `UnsupportedFormat` for a later format version. `Io`. Whatever `visitor` returns.
pub(crate) async fn replay(
    storage: &Storage,
    numbers: RangeInclusive<u64>,
    mode: Mode,
    mut visitor: impl FnMut(Sequence, &[u8]) -> Result<()>,
) -> Result<Replayed> {
    let mut progress = Progress {
        expected: None,
        commits: 0,
        tail: None,
        proven: 0,
        dropped_bytes: 0,
    };
    for number in numbers {
        let name = segment_name(number);
        let file = match storage.read_file(mode, &name, MAX_SEGMENT_BYTES).await {
            Ok(file) => file,
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
        progress.segment(number, &name, &file, &mut visitor)?;
    }
    let expected = progress.expected.map_or(1, Sequence::get);
    Ok(Replayed {
        last_sequence: Sequence::new(expected.saturating_sub(1)),
        commits: progress.commits,
        tail: progress.tail,
        dropped_bytes: progress.dropped_bytes,
    })
}

impl Progress {
    fn segment(
        &mut self,
        number: u64,
        name: &str,
        file: &[u8],
        visitor: &mut impl FnMut(Sequence, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let fail = |fault: Fault, offset| log_error(fault.at(name, offset));
        let header =
            FileHeader::decode(LogKind::Wal, number, file).map_err(|fault| fail(fault, 0))?;
        if header.first_sequence == Sequence::ZERO {
            return Err(fail(Fault::Field("first sequence"), 0));
        }
        if self.commits == 0 {
            // Before the first commit the lowest header counts: a segment may have been created
            // for a sequence further on than what survived of the segment before it.
            let lowest = self.expected.unwrap_or(header.first_sequence);
            self.expected = Some(lowest.min(header.first_sequence));
        }
        let salt = Salt::new(LogKind::Wal, number);
        let mut reader = RecordReader::new(file, salt, FILE_HEADER_BYTES, proof);
        let mut used = false;
        self.proven = FILE_HEADER_BYTES as u64;
        loop {
            let next = reader.next().map_err(|(at, fault)| fail(fault, at))?;
            if !used && next != Next::End(End::Clean) {
                used = true;
                self.refuse_torn_tail()?;
            }
            match next {
                Next::Record { offset, payload } => {
                    self.record(offset, payload, visitor, &fail)?;
                }
                Next::End(end) => {
                    if used {
                        let length = reader.offset();
                        let (torn, dropped) = match end {
                            End::Clean => (None, 0),
                            End::Torn(why) => {
                                (Some(why), (file.len() as u64).saturating_sub(length))
                            }
                        };
                        self.dropped_bytes = dropped;
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

    /// Something follows in a later segment: what was written before had been synced in full.
    fn refuse_torn_tail(&self) -> Result<()> {
        match self.tail {
            Some(Tail {
                number,
                length,
                torn: Some(_),
                ..
            }) => Err(log_error(
                Fault::Field("record: its bytes are gone though a later segment was written to")
                    .at(&segment_name(number), length),
            )),
            _ => Ok(()),
        }
    }

    fn record(
        &mut self,
        offset: u64,
        payload: &[u8],
        visitor: &mut impl FnMut(Sequence, &[u8]) -> Result<()>,
        fail: &impl Fn(Fault, u64) -> Error,
    ) -> Result<()> {
        match decode(payload).map_err(|fault| fail(fault, offset))? {
            Payload::Commit(sequence, batch) => {
                if self.expected != Some(sequence) {
                    return Err(fail(Fault::Order, offset));
                }
                visitor(sequence, batch)?;
                self.commits = self.commits.saturating_add(1);
                self.expected = sequence.next();
            }
            Payload::SyncMark(through) => {
                if through > offset {
                    return Err(fail(Fault::Field("sync mark"), offset));
                }
                self.proven = self.proven.max(through);
            }
        }
        Ok(())
    }
}

/// Makes the tail that a replay found safe to build on: cuts off what is torn, and makes the rest durable. To
/// sync it would prove nothing: where its writer's sync failed, the operating system shows bytes that are not
/// on disk and takes them for written. So what no mark proves is written again. To be called before a new
/// segment is written to, because a record there says that all before it is on disk.
///
/// # Errors
/// `Io`; the next open replays and cuts again.
pub(crate) async fn cut_tail(storage: &Storage, replayed: &Replayed, mode: Mode) -> Result<()> {
    let Some(tail) = replayed.tail else {
        return Ok(());
    };
    let file = storage.open_write(mode, &segment_name(tail.number)).await?;
    if tail.torn.is_some() {
        file.set_len(mode, tail.length).await?;
    }
    let unproven = usize::try_from(tail.length.saturating_sub(tail.proven)).unwrap_or(usize::MAX);
    let bytes = file.read_at(mode, tail.proven, unproven).await?;
    file.write_at(mode, tail.proven, bytes).await?;
    file.sync_all(mode).await?;
    Ok(())
}
