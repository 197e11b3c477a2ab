//! The first 64 bytes of a log file. A manifest's are on disk before anything refers to it; a segment's reach the
//! disk with its first records, so that a first sector that is missing means the same as any other.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::checksum::crc32c;
use crate::coding::Reader;
use crate::error::Fault;
use crate::record::{LogKind, SECTOR_BYTES};
use crate::sequence::Sequence;

/// The size of a file header; the first record follows.
pub(crate) const FILE_HEADER_BYTES: usize = 64;
/// The version that this build writes, and the only one that it reads.
const FORMAT_VERSION: u32 = 1;
/// What the checksum at the end covers.
const COVERED_BYTES: usize = FILE_HEADER_BYTES.saturating_sub(4);

/// The flag that stands for [`FileHeader::settled`].
const SETTLED: u32 = 1;

/// Magic 8 | version u32 | flags u32 | number u64 | first sequence u64 | previous u64 | zeros 20 | crc32c u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: LogKind,
    /// The number in the file's name.
    pub(crate) number: u64,
    /// WAL: the sequence of the first commit in this or a later segment. Manifest: zero.
    pub(crate) first_sequence: Sequence,
    /// WAL: the segment that holds the last record before this one; zero if there is none. Manifest: zero.
    pub(crate) previous: u64,
    /// WAL: when this was written, everything in earlier segments was on disk. Manifest: false.
    pub(crate) settled: bool,
}

fn magic(kind: LogKind) -> [u8; 8] {
    match kind {
        LogKind::Wal => *b"trinewal",
        LogKind::Manifest => *b"trineman",
    }
}

impl FileHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FILE_HEADER_BYTES);
        out.extend_from_slice(&magic(self.kind));
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        let flags = if self.settled { SETTLED } else { 0 };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_sequence.get().to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.resize(COVERED_BYTES, 0);
        let crc = crc32c(&[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Whether the header, and what follows it in its sector, never reached the disk, or not in full: its checksum was
    /// to be written last, before any record.
    pub(crate) fn is_missing(kind: LogKind, file: &[u8]) -> bool {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
        let sector = file.get(..SECTOR_BYTES).unwrap_or(file);
        let (covered, sealed) = sector.split_at(COVERED_BYTES.min(sector.len()));
        let started = covered.get(..8).unwrap_or(covered);
        is_zero(sealed) && (is_zero(covered) || magic(kind).starts_with(started))
    }

    /// Reads the header of a file of `kind` whose name has `number`.
    ///
    /// The checksum comes first: a damaged field is reported as damage, not as what it seems to say.
    pub(crate) fn decode(kind: LogKind, number: u64, file: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(file);
        let covered = reader.take(COVERED_BYTES)?;
        let stored = reader.u32()?;
        let computed = crc32c(&[covered]);
        if stored != computed {
            return Err(Fault::Checksum { stored, computed });
        }
        let mut fields = Reader::new(covered);
        if fields.take(8)? != magic(kind) {
            return Err(Fault::Magic);
        }
        let version = fields.u32()?;
        if version != FORMAT_VERSION {
            return Err(Fault::Version(version));
        }
        let flags = fields.u32()?;
        if flags > SETTLED || kind == LogKind::Manifest && flags != 0 {
            return Err(Fault::Field("flags"));
        }
        if fields.u64()? != number {
            return Err(Fault::Field("file number: it is not the one in the name"));
        }
        let first_sequence = Sequence::new(fields.u64()?);
        let previous = fields.u64()?;
        if previous != 0 && (previous >= number || kind == LogKind::Manifest) {
            return Err(Fault::Field("previous segment"));
        }
        if fields.rest().iter().any(|&byte| byte != 0) {
            return Err(Fault::Field("reserved bytes"));
        }
        Ok(Self {
            kind,
            number,
            first_sequence,
            previous,
            settled: flags == SETTLED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader {
            kind: LogKind::Wal,
            number: 7,
            first_sequence: Sequence::new(42),
            previous: 6,
            settled: true,
        }
    }

    #[test]
    fn a_header_round_trips() {
        let bytes = header().encode();
        assert_eq!(bytes.len(), FILE_HEADER_BYTES);
        assert_eq!(FileHeader::decode(LogKind::Wal, 7, &bytes), Ok(header()));
    }

    #[test]
    fn a_header_of_another_kind_or_number_is_refused() {
        let bytes = header().encode();
        assert_eq!(
            FileHeader::decode(LogKind::Manifest, 7, &bytes),
            Err(Fault::Magic)
        );
        assert!(FileHeader::decode(LogKind::Wal, 8, &bytes).is_err());
    }

    #[test]
    fn any_changed_bit_of_a_header_is_a_checksum_fault() {
        let bytes = header().encode();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            if let Some(byte) = damaged.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert!(matches!(
                FileHeader::decode(LogKind::Wal, 7, &damaged),
                Err(Fault::Checksum { .. })
            ));
        }
    }

    #[test]
    fn a_later_format_version_is_named() {
        let mut bytes = header().encode();
        bytes.splice(8..12, 2u32.to_le_bytes());
        bytes.truncate(COVERED_BYTES);
        let crc = crc32c(&[&bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(
            FileHeader::decode(LogKind::Wal, 7, &bytes),
            Err(Fault::Version(2))
        );
    }

    #[test]
    fn a_cut_header_is_a_fault() {
        let bytes = header().encode();
        for length in 0..bytes.len() {
            assert!(matches!(
                FileHeader::decode(LogKind::Wal, 7, bytes.get(..length).unwrap_or_default()),
                Err(Fault::Length { .. })
            ));
        }
    }
}
