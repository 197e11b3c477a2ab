//! The history of an image's table, in two files of which one is in use.
//!
//! ```text
//! header:  magic 8 | generation u64 | crc32c u32
//! record:  crc32c u32 | payload length u16 | payload
//! payload: kind u8 | id u32 | name, or start u32 and count u32, or length u64, or nothing
//! ```
//!
//! - All integers are little-endian. A record's checksum covers its generation, its offset and its payload.
//! - The first record that does not check is the end: nothing behind it was ever durable.
//! - A journal that grew too long is written anew into the other file, which gets its header once everything else is
//!   durable; then the old one is emptied. So one has a header, or both have and the higher generation rules.
//! - An append that fails is taken back; if that fails too, nothing more is written.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, ErrorKind};

use crate::image::chunks::Extent;
use crate::image::medium::Medium;
use crate::image::table::{Record, Table};

const MAGIC: [u8; 8] = *b"TRNIMG\0\x01";
const HEADER_BYTES: u64 = 20;
const FRAME_BYTES: u64 = 6;
/// A journal is written anew when it is so long, and four times what it would be then.
const REWRITE_BYTES: u64 = 256 << 10;
/// Room is had in such steps, so that there is some for removing files when the host is full.
const ROOM_BYTES: u64 = 16 << 10;

/// The journal that is in use, and the file for the next.
#[derive(Debug)]
pub(crate) struct Journal {
    used: Medium,
    spare: Medium,
    generation: u64,
    /// Where the next record goes.
    tail: u64,
    /// How long the file is: at least `tail`.
    room: u64,
    /// How long it was when it was written anew.
    fresh: u64,
    is_dirty: bool,
    is_broken: bool,
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

fn checksum(generation: u64, offset: u64, payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&generation.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), payload)
}

fn header(generation: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(generation.to_le_bytes());
    let sum = crc32c::crc32c(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

/// The generation of a journal; `None` if it has no header.
fn generation(medium: &Medium) -> io::Result<Option<u64>> {
    if medium.len()? < HEADER_BYTES {
        return Ok(None);
    }
    let mut bytes = [0; 20];
    medium.read_at(&mut bytes, 0)?;
    Ok(u64_at(&bytes, 8).filter(|generation| header(*generation) == bytes))
}

fn encode(record: &Record, generation: u64, offset: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut payload = Vec::new();
    let (kind, id) = match record {
        Record::Name { id, .. } => (1, *id),
        Record::Extent { id, .. } => (2, *id),
        Record::Length { id, .. } => (3, *id),
        Record::Remove { id } => (4, *id),
    };
    payload.push(kind);
    payload.extend(id.to_le_bytes());
    match record {
        Record::Name { name, .. } => payload.extend(name.as_bytes()),
        Record::Extent { extent, .. } => {
            payload.extend(extent.start.to_le_bytes());
            payload.extend(extent.count.to_le_bytes());
        }
        Record::Length { length, .. } => payload.extend(length.to_le_bytes()),
        Record::Remove { .. } => {}
    }
    let length = u16::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    out.extend(checksum(generation, offset, &payload).to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(payload);
    Ok(())
}

fn decode(payload: &[u8]) -> Option<Record> {
    let (kind, id) = (*payload.first()?, u32_at(payload, 1)?);
    let rest = payload.get(5..)?;
    Some(match (kind, rest.len()) {
        (1, _) => Record::Name {
            id,
            name: std::str::from_utf8(rest).ok()?.to_owned(),
        },
        (2, 8) => Record::Extent {
            id,
            extent: Extent {
                start: u32_at(rest, 0)?,
                count: u32_at(rest, 4)?,
            },
        },
        (3, 8) => Record::Length {
            id,
            length: u64_at(rest, 0)?,
        },
        (4, 0) => Record::Remove { id },
        _ => return None,
    })
}

/// The payload of the record at `offset`, and where the next would be.
fn checked(bytes: &[u8], generation: u64, offset: u64) -> Option<(&[u8], u64)> {
    let record = bytes.get(usize::try_from(offset).ok()?..)?;
    let length = u16::from_le_bytes(array(record, 4)?);
    let payload = record.get(6..)?.get(..usize::from(length))?;
    let is_whole = u32_at(record, 0)? == checksum(generation, offset, payload);
    let next = offset
        .checked_add(FRAME_BYTES)?
        .checked_add(length.into())?;
    (is_whole && !payload.is_empty()).then_some((payload, next))
}

impl Journal {
    /// Reads what is there; starts a new one if `is_new` and there is nothing.
    pub(crate) fn open(first: Medium, second: Medium, is_new: bool) -> io::Result<(Self, Table)> {
        let (found, beside) = (generation(&first)?, generation(&second)?);
        let (used, spare) = if found >= beside {
            (first, second)
        } else {
            (second, first)
        };
        let mut journal = Self {
            used,
            spare,
            generation: found.max(beside).unwrap_or(0),
            tail: HEADER_BYTES,
            room: HEADER_BYTES,
            fresh: HEADER_BYTES,
            is_dirty: false,
            is_broken: false,
        };
        let mut table = Table::default();
        if journal.generation == 0 {
            if !is_new {
                return Err(damaged("the image's journal has no header"));
            }
            journal.rewrite(&table)?;
        } else {
            journal.replay(&mut table)?;
        }
        Ok((journal, table))
    }

    fn replay(&mut self, table: &mut Table) -> io::Result<()> {
        let length = usize::try_from(self.used.len()?).map_err(|_| ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length)
            .map_err(|_| ErrorKind::OutOfMemory)?;
        bytes.resize(length, 0);
        self.used.read_at(&mut bytes, 0)?;
        while let Some((payload, next)) = checked(&bytes, self.generation, self.tail) {
            let record = decode(payload).ok_or_else(|| damaged("unknown record in the journal"))?;
            table.apply(record)?;
            self.tail = next;
        }
        // Nothing that was written before the crash and is no part of the history may look like one later.
        self.used.set_len(self.tail)?;
        (self.room, self.fresh) = (self.tail, self.tail);
        Ok(())
    }

    /// Adds changes, all or, after a crash, the first of them.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if self.is_broken {
            return Err(io::Error::other("the image's journal failed before"));
        }
        let mut bytes = Vec::new();
        for record in records {
            let offset = self.tail.saturating_add(bytes.len() as u64);
            encode(record, self.generation, offset, &mut bytes)?;
        }
        let end = self.tail.saturating_add(bytes.len() as u64);
        let room = end.saturating_add(ROOM_BYTES);
        if end > self.room && self.used.set_len(room).is_ok() {
            self.room = room;
        }
        if let Err(error) = self.used.write_at(&bytes, self.tail) {
            let taken_back = self.used.set_len(self.tail);
            self.is_broken = taken_back.is_err();
            self.room = self.tail;
            return Err(error);
        }
        self.tail = end;
        self.room = self.room.max(end);
        self.is_dirty = true;
        Ok(())
    }

    /// Makes what was appended durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            // What a failed sync lost stays lost, whatever a second one says.
            self.used.sync().inspect_err(|_| self.is_broken = true)?;
            self.is_dirty = false;
        }
        Ok(())
    }

    pub(crate) fn is_too_long(&self) -> bool {
        self.tail > REWRITE_BYTES && self.tail > self.fresh.saturating_mul(4)
    }

    /// Writes the whole table anew, durably. After a failure the journal is as it was.
    pub(crate) fn rewrite(&mut self, table: &Table) -> io::Result<()> {
        let generation = self.generation.saturating_add(1);
        let mut bytes = Vec::new();
        for record in table.records() {
            let offset = HEADER_BYTES.saturating_add(bytes.len() as u64);
            encode(&record, generation, offset, &mut bytes)?;
        }
        self.spare.set_len(0)?;
        if !bytes.is_empty() {
            self.spare.write_at(&bytes, HEADER_BYTES)?;
            self.spare.sync()?;
        }
        self.spare.write_at(&header(generation), 0)?;
        self.spare.sync()?;
        std::mem::swap(&mut self.used, &mut self.spare);
        self.generation = generation;
        self.tail = HEADER_BYTES.saturating_add(bytes.len() as u64);
        (self.room, self.fresh) = (self.tail, self.tail);
        (self.is_dirty, self.is_broken) = (false, false);
        // Else damage to the new header would bring the old history back.
        self.spare.set_len(0)
    }
}
