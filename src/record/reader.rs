//! Walks the records of a log file and decides how it ends, by the rule in [`crate::record`]. Pure.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::checksum::crc32c;
use crate::coding::Reader;
use crate::error::Fault;
use crate::record::{
    ALIGNMENT, MARK_BYTES, MAX_RECORD_BYTES, RECORD_HEADER_BYTES, SECTOR_BYTES, Salt,
};

/// How far the file was known to be synced when the record at this offset, with this payload, was
/// written: every byte below had reached the disk. Zero if the record says nothing of it.
pub(crate) type Proof = fn(offset: u64, payload: &[u8]) -> u64;

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing of this file follows.
    Clean,
    /// What follows was never promised to anyone; cut the file at `RecordReader::offset`.
    Torn(Torn),
}

/// What a torn tail looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Torn {
    /// The file ends inside a record.
    Cut,
    /// A sector of a record never reached the disk.
    LostSector,
    /// A record has no seal: whoever wrote it died in the middle.
    Unsealed,
}

/// One step of a reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'r> {
    Record { offset: u64, payload: &'r [u8] },
    End(End),
}

/// Reads a whole log file, record by record.
#[derive(Debug)]
pub(crate) struct RecordReader<'a> {
    /// What of the file was read, from `base` on: all of it, or all but zeros at its end, from the start of a sector on.
    file: &'a [u8],
    base: usize,
    /// Where the file ends, or the piece of it that there is.
    end: usize,
    salt: Salt,
    proof: Proof,
    offset: usize,
    payload: Vec<u8>,
}

/// A record whose header is valid.
struct Claim {
    header_at: usize,
    payload_crc: u32,
    length: usize,
}

/// What stands where a header may be.
enum Header {
    Claims(Claim),
    Unsealed,
    /// The file ends inside it.
    Cut,
}

/// What became of a claimed payload.
enum Payload {
    /// It is valid, and the record ends here.
    Valid { end: usize },
    /// The file ends before it does.
    Cut,
    /// One of its sectors is missing; it was to end here.
    LostSector { end: usize },
    /// All its sectors are there and it is not what was written; it was to end here.
    Damaged { end: usize, fault: Fault },
}

static ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| chunk == &[0; 64]) && rest.iter().all(|&byte| byte == 0)
}

fn sector_start(at: usize) -> usize {
    at.saturating_sub(at % SECTOR_BYTES)
}

/// Where a header may start, from `at` on.
fn aligned(at: usize) -> usize {
    at.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX)
}

/// Where the part of a record that starts behind `at` begins in its sector: here, aligned, or at the next
/// sector if a header has no room.
fn record_start(at: usize) -> usize {
    let end = sector_end(at);
    let start = aligned(at);
    if end.saturating_sub(start) < RECORD_HEADER_BYTES {
        end
    } else {
        start
    }
}

/// The end of the sector that `at` lies in.
fn sector_end(at: usize) -> usize {
    sector_start(at).saturating_add(SECTOR_BYTES)
}

impl<'a> RecordReader<'a> {
    /// `file` is the whole file; the first record starts at `offset`.
    pub(crate) fn new(file: &'a [u8], salt: Salt, offset: usize, proof: Proof) -> Self {
        Self {
            file,
            base: 0,
            end: file.len(),
            salt,
            proof,
            offset,
            payload: Vec::new(),
        }
    }

    /// The file goes on with zeros up to `length`; what was given of it ends with a sector.
    pub(crate) fn with_zeros_up_to(mut self, length: usize) -> Self {
        debug_assert!(length <= self.file.len() || self.file.len().is_multiple_of(SECTOR_BYTES));
        self.end = length.max(self.file.len());
        self
    }

    /// `piece` is what of the file starts at `base`, where a sector does; the next record starts at `offset` of the file.
    /// A record or a tail that the piece cuts is [`Torn::Cut`].
    pub(crate) fn of_piece(
        piece: &'a [u8],
        base: usize,
        salt: Salt,
        offset: usize,
        proof: Proof,
    ) -> Self {
        Self {
            base,
            end: base.saturating_add(piece.len()),
            ..Self::new(piece, salt, offset, proof)
        }
    }

    /// The end of the last record it yielded: the file's valid length.
    pub(crate) fn offset(&self) -> u64 {
        self.offset as u64
    }

    /// The next record or the end; for corruption, where it is and what.
    /// After an end or an error the reader stays where it is.
    pub(crate) fn next(&mut self) -> Result<Next<'_>, (u64, Fault)> {
        let start = self.offset;
        if self.is_blank_from(start) {
            return Ok(Next::End(End::Clean));
        }
        let part = record_start(start);
        if !is_zero(self.slice(start, part)) {
            return Err((start as u64, Fault::Field("padding: it is not zero")));
        }
        let end = sector_end(part);
        let header_at = if part == sector_start(part) {
            if self.is_blank(part) {
                return self.torn(Torn::LostSector, part, end).map(Next::End);
            }
            self.check_mark(part)?;
            part.saturating_add(MARK_BYTES)
        } else if is_zero(self.slice(part, end)) {
            return self.torn(Torn::LostSector, part, end).map(Next::End);
        } else {
            part
        };
        let claim = match self.header(header_at)? {
            Header::Claims(claim) => claim,
            Header::Unsealed => {
                let resume = header_at.saturating_add(RECORD_HEADER_BYTES);
                return self.torn(Torn::Unsealed, header_at, resume).map(Next::End);
            }
            Header::Cut => return Ok(Next::End(End::Torn(Torn::Cut))),
        };
        match self.read_payload(&claim)? {
            Payload::Valid { end } => {
                self.offset = end;
                Ok(Next::Record {
                    offset: header_at as u64,
                    payload: &self.payload,
                })
            }
            Payload::Cut => Ok(Next::End(End::Torn(Torn::Cut))),
            Payload::LostSector { end } => {
                self.torn(Torn::LostSector, header_at, end).map(Next::End)
            }
            Payload::Damaged { fault, .. } => Err((header_at as u64, fault)),
        }
    }

    /// What the record at `header_at`, the last that it yielded, refers to never reached the disk. So the file ends at `start`,
    /// where the record before ended, as if one of the record's sectors were missing.
    pub(crate) fn give_up(&mut self, start: u64, header_at: u64) -> Result<End, (u64, Fault)> {
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let resume = std::mem::replace(&mut self.offset, place(start));
        self.torn(Torn::LostSector, place(header_at), resume)
    }

    /// How the file ends if its header is missing: with it all is torn, unless something proves that it had been synced.
    pub(crate) fn without_header(&mut self) -> Result<End, (u64, Fault)> {
        if self.is_blank_from(0) {
            return Ok(End::Clean);
        }
        self.torn(Torn::LostSector, 0, SECTOR_BYTES)
    }

    /// Goes on behind the damage at `from`, with the next valid record, whatever lies in between; `false` if there is none.
    #[cfg(any(inspect, test))]
    pub(crate) fn resume(&mut self, from: u64) -> bool {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let mut at = aligned(from.saturating_add(1));
        while at < self.file.len() {
            let end = sector_end(at);
            if at == sector_start(at) {
                if self.is_blank(at) {
                    at = end;
                    continue;
                }
                // Its mark may be what is damaged.
                at = at.saturating_add(MARK_BYTES);
            }
            let Some(claim) = self.find_header(at, end) else {
                at = end;
                continue;
            };
            if let Ok(Payload::Valid { .. }) = self.read_payload(&claim) {
                self.offset = claim.header_at;
                return true;
            }
            at = claim.header_at.saturating_add(ALIGNMENT);
        }
        false
    }

    /// Whether there is a valid record anywhere, however damaged the rest, that proves something to have been synced; or
    /// anything that no power loss leaves behind.
    pub(crate) fn proves_anything(mut self) -> bool {
        self.torn(Torn::LostSector, 0, self.offset).is_err()
    }

    /// The bytes from `start` to `end`, which lie in one sector, or to the end of the file.
    fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        let end = end.min(self.end);
        let (start, end) = (
            start.saturating_sub(self.base),
            end.saturating_sub(self.base),
        );
        if start < self.file.len() {
            self.file.get(start..end.min(self.file.len()))
        } else {
            ZEROS.get(..end.saturating_sub(start))
        }
        .unwrap_or_default()
    }

    /// Whether the sector that starts at `sector` holds nothing of this file.
    fn is_blank(&self, sector: usize) -> bool {
        let bytes = self.slice(sector, sector_end(sector));
        match bytes.first_chunk::<MARK_BYTES>() {
            Some([a, b, c, d]) if [a, b] == [c, d] && [*a, *b] != [0, 0] => {
                [*a, *b, *c, *d] != self.salt.mark()
            }
            _ => is_zero(bytes),
        }
    }

    /// Whether nothing of this file lies from `start` on.
    fn is_blank_from(&self, start: usize) -> bool {
        let first = if start == sector_start(start) {
            start
        } else {
            sector_end(start)
        };
        is_zero(self.slice(start, first))
            && (first..self.end)
                .step_by(SECTOR_BYTES)
                .all(|sector| self.is_blank(sector))
    }

    /// Checks a sector's mark, as much of it as the file has.
    fn check_mark(&self, sector: usize) -> Result<(), (u64, Fault)> {
        let found = self.slice(sector, sector.saturating_add(MARK_BYTES));
        if self.salt.mark().starts_with(found) {
            Ok(())
        } else {
            Err((sector as u64, Fault::Field("sector mark")))
        }
    }

    /// Reads and checks the header at `header_at`.
    fn header(&self, header_at: usize) -> Result<Header, (u64, Fault)> {
        let fail = |fault| (header_at as u64, fault);
        let mut reader =
            Reader::new(self.slice(header_at, header_at.saturating_add(RECORD_HEADER_BYTES)));
        let (Ok(length), Ok(stored), Ok(payload_crc)) = (reader.u32(), reader.u32(), reader.u32())
        else {
            return Ok(Header::Cut);
        };
        if stored == 0 {
            return Ok(Header::Unsealed);
        }
        let computed = self.salt.header_crc(header_at as u64, length);
        if stored != computed {
            return Err(fail(Fault::Checksum { stored, computed }));
        }
        match usize::try_from(length) {
            Ok(bytes) if length > 0 && u64::from(length) <= MAX_RECORD_BYTES => {
                Ok(Header::Claims(Claim {
                    header_at,
                    payload_crc,
                    length: bytes,
                }))
            }
            _ => Err(fail(Fault::Length {
                claimed: u64::from(length),
                available: MAX_RECORD_BYTES,
            })),
        }
    }

    /// Gathers a claimed payload from its sectors into `self.payload` and checks it.
    fn read_payload(&mut self, claim: &Claim) -> Result<Payload, (u64, Fault)> {
        // No more than the file holds, whatever the header claims.
        self.payload.clear();
        self.payload.reserve(claim.length.min(self.end));
        let mut at = claim.header_at.saturating_add(RECORD_HEADER_BYTES);
        let mut lost = false;
        let mut wanted = claim.length;
        while wanted > 0 {
            if at >= self.end {
                return Ok(Payload::Cut);
            }
            if at == sector_start(at) {
                if self.is_blank(at) {
                    lost = true;
                } else {
                    self.check_mark(at)?;
                }
                at = at.saturating_add(MARK_BYTES);
            }
            let end = sector_end(at).min(at.saturating_add(wanted));
            let piece = self.slice(at, end);
            if piece.len() < end.saturating_sub(at) {
                return Ok(Payload::Cut);
            }
            self.payload.extend_from_slice(piece);
            wanted = wanted.saturating_sub(piece.len());
            at = end;
        }
        if lost {
            return Ok(Payload::LostSector { end: at });
        }
        let computed = crc32c(&[&self.salt.place(claim.header_at as u64), &self.payload]);
        if computed != claim.payload_crc {
            let stored = claim.payload_crc;
            let fault = Fault::Checksum { stored, computed };
            return Ok(Payload::Damaged { end: at, fault });
        }
        Ok(Payload::Valid { end: at })
    }

    /// The record at `damage` lacks its seal or a sector: torn, unless something from `resume` on
    /// proves that it had been synced, or is nothing that a power loss leaves behind.
    fn torn(&mut self, why: Torn, damage: usize, resume: usize) -> Result<End, (u64, Fault)> {
        let mut at = resume;
        while at < self.end {
            let end = sector_end(at);
            if at == sector_start(at) {
                if self.is_blank(at) {
                    at = end;
                    continue;
                }
                self.check_mark(at)?;
                at = at.saturating_add(MARK_BYTES);
            }
            let Some(claim) = self.find_header(at, end) else {
                at = end;
                continue;
            };
            // A header alone makes no record, but it does say where to look next: so this scan
            // reads each byte about twice, whatever values hold bytes that look like headers.
            at = match self.read_payload(&claim)? {
                Payload::Valid { end } => {
                    if (self.proof)(claim.header_at as u64, &self.payload) > damage as u64 {
                        return Err((
                            damage as u64,
                            Fault::Field("record: bytes that had been synced are gone"),
                        ));
                    }
                    end
                }
                Payload::LostSector { end } | Payload::Damaged { end, .. } => end,
                Payload::Cut => break,
            };
        }
        Ok(End::Torn(why))
    }

    /// The first valid header between `from` and `end`, the end of that sector.
    fn find_header(&self, from: usize, end: usize) -> Option<Claim> {
        (aligned(from)..end.saturating_sub(RECORD_HEADER_BYTES.saturating_sub(1)))
            .step_by(ALIGNMENT)
            .find_map(|header_at| match self.header(header_at) {
                Ok(Header::Claims(claim)) => Some(claim),
                _ => None,
            })
    }
}
