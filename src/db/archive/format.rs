//! The bytes of an archive: a database as one stream of checksummed pieces. docs/format.md.
//!
//! - A piece's checksum covers where in the archive it lies: none can be lost, repeated or moved unnoticed, and an
//!   archive that was cut off has no end piece.
//! - The decoder takes bytes in portions of any size, and holds one piece at most.
//! - Which pieces may follow which is the importer's affair.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::checksum::crc32c;
use crate::coding::Reader;
use crate::error::{Corruption, Fault};

const MAGIC: [u8; 8] = *b"TRINEARC";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Checksum, length, kind.
const HEAD_BYTES: usize = 9;
/// The most that a piece carries.
pub(super) const PIECE_BYTES_MAX: usize = 1 << 20;

/// What a piece is, by the byte that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing follows.
    End = 0,
    /// The name of the file whose bytes follow.
    File = 1,
    /// The next bytes of that file.
    Bytes = 2,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) bytes: Vec<u8>,
}

fn checksum(rest: &[u8], bytes: &[u8], position: u64) -> u32 {
    crc32c(&[rest, bytes, &position.to_le_bytes()])
}

/// Writes an archive, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    position: u64,
}

impl Encoder {
    fn note(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.position = self.position.saturating_add(bytes.len() as u64);
        bytes
    }

    /// The archive's first bytes, if nothing was written yet.
    pub(super) fn header(&mut self) -> Option<Vec<u8>> {
        if self.position > 0 {
            return None;
        }
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        Some(self.note(out))
    }

    /// The next piece. `bytes` are at most [`PIECE_BYTES_MAX`].
    pub(super) fn piece(&mut self, kind: Kind, bytes: &[u8]) -> Vec<u8> {
        debug_assert!(bytes.len() <= PIECE_BYTES_MAX);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let [a, b, c, d] = length;
        let rest = [a, b, c, d, kind as u8];
        let mut out = checksum(&rest, bytes, self.position).to_le_bytes().to_vec();
        out.extend_from_slice(&rest);
        out.extend_from_slice(bytes);
        self.note(out)
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    Head,
    Body { length: usize },
    Nothing,
}

/// Reads an archive from portions of it.
#[derive(Debug)]
pub(super) struct Decoder {
    part: Part,
    /// The front of what comes next.
    waiting: Vec<u8>,
    /// Where that lies in the archive.
    position: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            part: Part::Header,
            waiting: Vec::new(),
            position: 0,
        }
    }
}

impl Decoder {
    /// `fault`, here.
    pub(super) fn corruption(&self, fault: Fault) -> Corruption {
        fault.at("archive", self.position)
    }

    /// Whether the end piece was read.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.part, Part::Nothing)
    }

    /// The next piece, for which bytes are taken off `portion`; `None` if it needs another portion.
    pub(super) fn next(&mut self, portion: &mut &[u8]) -> Result<Option<Piece>, Corruption> {
        loop {
            let wanted = match self.part {
                Part::Header => HEADER_BYTES,
                Part::Head => HEAD_BYTES,
                Part::Body { length } => HEAD_BYTES.saturating_add(length),
                Part::Nothing if portion.is_empty() => return Ok(None),
                Part::Nothing => return Err(self.corruption(Fault::Field("end"))),
            };
            let missing = wanted.saturating_sub(self.waiting.len());
            let (taken, rest) = portion.split_at_checked(missing).unwrap_or((portion, &[]));
            self.waiting.extend_from_slice(taken);
            *portion = rest;
            if self.waiting.len() < wanted {
                return Ok(None);
            }
            let decoded = self.decode().map_err(|fault| self.corruption(fault))?;
            if !matches!(self.part, Part::Body { .. }) {
                self.position = self.position.saturating_add(wanted as u64);
                self.waiting.clear();
            }
            if decoded.is_some() {
                return Ok(decoded);
            }
        }
    }

    /// Makes what is waiting into a piece, or learns from it what comes next.
    fn decode(&mut self) -> Result<Option<Piece>, Fault> {
        let mut reader = Reader::new(&self.waiting);
        if let Part::Header = self.part {
            if reader.take(8)? != MAGIC {
                return Err(Fault::Magic);
            }
            match reader.u32()? {
                VERSION => {}
                other => return Err(Fault::Version(other)),
            }
            if reader.u32()? != 0 {
                return Err(Fault::Field("header"));
            }
            self.part = Part::Head;
            return Ok(None);
        }
        let stored = reader.u32()?;
        let rest = reader.take(5)?;
        let mut fields = Reader::new(rest);
        let length = fields.u32()?;
        let kind = fields.u8()?;
        if let Part::Head = self.part {
            self.part = match usize::try_from(length) {
                Ok(length) if length <= PIECE_BYTES_MAX => Part::Body { length },
                _ => {
                    return Err(Fault::Length {
                        claimed: length.into(),
                        available: PIECE_BYTES_MAX as u64,
                    });
                }
            };
            return Ok(None);
        }
        let bytes = reader.rest();
        let computed = checksum(rest, bytes, self.position);
        if stored != computed {
            return Err(Fault::Checksum { stored, computed });
        }
        let kind = match kind {
            0 => Kind::End,
            1 => Kind::File,
            2 => Kind::Bytes,
            other => return Err(Fault::Tag(other)),
        };
        self.part = match kind {
            Kind::End => Part::Nothing,
            Kind::File | Kind::Bytes => Part::Head,
        };
        Ok(Some(Piece {
            kind,
            bytes: bytes.to_vec(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    fn small() -> Vec<u8> {
        let mut encoder = Encoder::default();
        let mut archive = encoder.header().unwrap();
        assert_eq!(encoder.header(), None);
        for (kind, bytes) in [
            (Kind::File, &b"a"[..]),
            (Kind::Bytes, b"xyz"),
            (Kind::End, b""),
        ] {
            archive.extend(encoder.piece(kind, bytes));
        }
        archive
    }

    fn decode(archive: &[u8], portion_bytes: usize) -> Result<Vec<Piece>, Corruption> {
        let mut decoder = Decoder::default();
        let mut pieces = Vec::new();
        for mut portion in archive.chunks(portion_bytes) {
            while let Some(piece) = decoder.next(&mut portion)? {
                pieces.push(piece);
            }
        }
        if decoder.is_done() {
            Ok(pieces)
        } else {
            Err(decoder.corruption(Fault::Field("end")))
        }
    }

    #[test]
    fn the_example_of_the_format() {
        let hex = hex(&small());
        let example = concat!(
            "5452494e45415243",
            "01000000",
            "00000000",
            "ddd8a7a2",
            "01000000",
            "01",
            "61",
        );
        assert!(hex.starts_with(example), "{hex}");
    }

    #[test]
    fn portions_of_any_size_give_the_same_pieces() {
        let archive = small();
        let whole = decode(&archive, archive.len()).unwrap();
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[1].bytes, b"xyz");
        for bytes in 1..archive.len() {
            assert_eq!(decode(&archive, bytes).unwrap(), whole);
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_or_goes_on_is_refused() {
        let mut archive = small();
        for length in 0..archive.len() {
            assert!(decode(&archive[..length], 7).is_err(), "{length}");
        }
        archive.push(0);
        assert!(decode(&archive, 7).is_err());
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let archive = small();
        for at in 0..archive.len() * 8 {
            let mut damaged = archive.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode(&damaged, 1000).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_piece_elsewhere_is_noticed() {
        let mut encoder = Encoder::default();
        let header = encoder.header().unwrap();
        let first = encoder.piece(Kind::File, b"a");
        let second = encoder.piece(Kind::File, b"b");
        let end = encoder.piece(Kind::End, b"");
        for parts in [
            [&header, &second, &first, &end],
            [&header, &first, &first, &end],
        ] {
            let fault = decode(&parts.map(Vec::as_slice).concat(), 1000).unwrap_err();
            assert!(matches!(fault.fault, Fault::Checksum { .. }));
        }
        assert!(decode(&[header, first, end].concat(), 1000).is_err());
    }
}
