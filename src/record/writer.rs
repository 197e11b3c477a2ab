//! Frames records for a log file. Pure: bytes go to the caller's buffer, the caller writes the file.

use crate::checksum::{crc32c, crc32c_append};
use crate::error::Fault;
use crate::record::{
    ALIGNMENT, MARK_BYTES, MAX_RECORD_BYTES, RECORD_HEADER_BYTES, SEAL_AT, SECTOR_BYTES, Salt,
};

/// Appends framed records; knows where in the file the next byte goes.
#[derive(Clone, Debug)]
pub(crate) struct RecordWriter {
    salt: Salt,
    offset: u64,
}

impl RecordWriter {
    /// The next byte goes to `offset` of the file that `salt` names.
    pub(crate) fn new(salt: Salt, offset: u64) -> Self {
        Self { salt, offset }
    }

    /// Where the next byte goes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends one record, whose payload is `parts` one after the other, to `out`, which must end at
    /// this writer's offset; gives back the offset of its seal. A payload that is empty or too long is refused
    /// and nothing changes.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, parts: &[&[u8]]) -> Result<u64, Fault> {
        let claimed = parts.iter().map(|part| part.len() as u64).sum();
        let length = match u32::try_from(claimed) {
            Ok(length) if length > 0 && claimed <= MAX_RECORD_BYTES => length,
            _ => {
                return Err(Fault::Length {
                    claimed,
                    available: MAX_RECORD_BYTES,
                });
            }
        };
        let mut skipped = self.left_in_sector() % ALIGNMENT;
        if self.left_in_sector() < RECORD_HEADER_BYTES + skipped {
            skipped = self.left_in_sector();
        }
        if skipped > 0 {
            out.resize(out.len() + skipped, 0);
        }
        self.offset += skipped as u64;
        self.mark(out);
        let seal_at = self.offset + SEAL_AT as u64;
        let place = self.salt.place(self.offset);
        let payload_crc = parts
            .iter()
            .fold(crc32c(&[&place]), |crc, part| crc32c_append(crc, part));
        let header_crc = self.salt.header_crc(self.offset, length);
        for field in [length, header_crc, payload_crc] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        self.offset += RECORD_HEADER_BYTES as u64;
        for part in parts {
            self.put(out, part);
        }
        Ok(seal_at)
    }

    fn put(&mut self, out: &mut Vec<u8>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.mark(out);
            let (now, rest) = bytes.split_at(bytes.len().min(self.left_in_sector()));
            out.extend_from_slice(now);
            self.offset += now.len() as u64;
            bytes = rest;
        }
    }

    /// Starts a sector with its mark, if it is at a sector's start.
    fn mark(&mut self, out: &mut Vec<u8>) {
        if self.left_in_sector() == SECTOR_BYTES {
            out.extend_from_slice(&self.salt.mark());
            self.offset += MARK_BYTES as u64;
        }
    }

    fn left_in_sector(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "only the low nine bits matter"
        )]
        let low = self.offset as usize;
        SECTOR_BYTES - low % SECTOR_BYTES
    }
}
