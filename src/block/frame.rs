//! How a block lies in a file: its stored bytes, then what is needed to check and decode them.
//!
//! ```text
//! stored bytes | raw_bytes u32 | codec u8 | crc32c u32
//! ```
//! The checksum covers everything before it, then the file's number and the block's offset, so that
//! bytes that were written elsewhere do not pass here. docs/format.md, "Blocks".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::checksum::crc32c;
use crate::compression::{self, Codec};
use crate::error::Fault;

/// Bytes after the stored ones.
pub(crate) const FRAME_BYTES: usize = 9;

/// The most that a compressed block may decode to; also the most that an entry may need.
pub(crate) const BLOCK_BYTES_MAX: u32 = 256 << 20;

/// Where a block lies. `length` counts its stored bytes without the frame's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockHandle {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl BlockHandle {
    /// Where the frame ends; `None` beyond what a file can hold.
    pub(crate) fn end(self) -> Option<u64> {
        self.offset
            .checked_add(u64::from(self.length))?
            .checked_add(FRAME_BYTES as u64)
    }

    /// Bytes of the whole frame.
    pub(crate) fn framed_bytes(self) -> Option<usize> {
        usize::try_from(self.length).ok()?.checked_add(FRAME_BYTES)
    }
}

/// A block whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) stored: &'a [u8],
    pub(crate) codec: Codec,
    /// Of the block itself, decoded.
    pub(crate) raw_bytes: u32,
}

impl<'a> Frame<'a> {
    /// Checks `framed`, the bytes of a whole frame that lies at `offset` of file `number`.
    pub(crate) fn open(framed: &'a [u8], number: u64, offset: u64) -> Result<Self, Fault> {
        let (covered, stored) = framed.split_last_chunk::<4>().ok_or(short(framed))?;
        let computed = frame_crc(covered, number, offset);
        let stored = u32::from_le_bytes(*stored);
        if stored != computed {
            return Err(Fault::Checksum { stored, computed });
        }
        Self::parse(framed)
    }

    /// Takes a frame apart whose checksum was found right before.
    pub(crate) fn parse(framed: &'a [u8]) -> Result<Self, Fault> {
        let covered = framed.split_last_chunk::<4>().map(|(covered, _)| covered);
        let (stored, &[a, b, c, d, tag]) = covered
            .and_then(<[u8]>::split_last_chunk::<5>)
            .ok_or(short(framed))?;
        let codec = Codec::from_tag(tag).ok_or(Fault::Tag(tag))?;
        let raw_bytes = u32::from_le_bytes([a, b, c, d]);
        if codec == Codec::None && u64::from(raw_bytes) != stored.len() as u64 {
            return Err(Fault::Field("raw length"));
        }
        Ok(Self {
            stored,
            codec,
            raw_bytes,
        })
    }

    /// The block's own bytes, decoded into memory of their own.
    pub(crate) fn decode(&self) -> Result<Vec<u8>, Fault> {
        compression::decompress(self.codec, self.stored, self.raw_bytes, BLOCK_BYTES_MAX)
    }

    /// Appends the block as it is stored to another file, `number`, where it will lie at `offset`.
    pub(crate) fn seal_again(&self, out: &mut Vec<u8>, number: u64, offset: u64) -> BlockHandle {
        let length = u32::try_from(self.stored.len()).unwrap_or(u32::MAX);
        let start = out.len();
        out.extend_from_slice(self.stored);
        seal_stored(out, start, self.raw_bytes, self.codec, number, offset);
        BlockHandle { offset, length }
    }
}

fn short(framed: &[u8]) -> Fault {
    Fault::Length {
        claimed: FRAME_BYTES as u64,
        available: framed.len() as u64,
    }
}

fn frame_crc(covered: &[u8], number: u64, offset: u64) -> u32 {
    crc32c(&[covered, &number.to_le_bytes(), &offset.to_le_bytes()])
}

/// Appends `raw` as a frame that will lie at `offset` of file `number`, compressed if that pays.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    raw: &[u8],
    codec: Codec,
    number: u64,
    offset: u64,
) -> BlockHandle {
    let raw_bytes = u32::try_from(raw.len());
    assert!(raw_bytes.is_ok(), "a block must be shorter than 4 GiB");
    let raw_bytes = raw_bytes.unwrap_or(u32::MAX);
    let start = out.len();
    let (length, codec) = if let Some((stored, codec)) = compression::compress(codec, raw) {
        out.extend_from_slice(&stored);
        (u32::try_from(stored.len()).unwrap_or(u32::MAX), codec)
    } else {
        out.extend_from_slice(raw);
        (raw_bytes, Codec::None)
    };
    seal_stored(out, start, raw_bytes, codec, number, offset);
    BlockHandle { offset, length }
}

/// Completes the frame whose stored bytes are what `out` holds from `start` on.
fn seal_stored(
    out: &mut Vec<u8>,
    start: usize,
    raw_bytes: u32,
    codec: Codec,
    number: u64,
    offset: u64,
) {
    out.extend_from_slice(&raw_bytes.to_le_bytes());
    out.push(codec as u8);
    let crc = frame_crc(out.get(start..).unwrap_or_default(), number, offset);
    out.extend_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    /// Also the worked example of docs/format.md, "Blocks".
    #[test]
    fn a_frame_is_its_bytes_length_codec_and_checksum() {
        let mut out = Vec::new();
        let handle = seal(&mut out, b"abc", Codec::Lz4, 7, 24);
        assert_eq!(
            handle,
            BlockHandle {
                offset: 24,
                length: 3
            }
        );
        assert_eq!(hex(&out), "61626303000000005bbdee59");
    }

    #[test]
    fn bytes_of_another_place_or_file_do_not_pass() {
        let mut out = Vec::new();
        seal(&mut out, &[b'a'; 100], Codec::Lz4, 7, 24);
        let frame = Frame::open(&out, 7, 24).unwrap();
        assert_eq!(frame.codec, Codec::Lz4);
        assert_eq!(frame.decode(), Ok(vec![b'a'; 100]));
        for (number, offset) in [(8, 24), (7, 25)] {
            assert!(matches!(
                Frame::open(&out, number, offset),
                Err(Fault::Checksum { .. })
            ));
        }
    }

    #[test]
    fn every_flip_and_truncation_is_a_fault() {
        let mut out = Vec::new();
        seal(&mut out, b"some bytes", Codec::None, 1, 2);
        for length in 0..out.len() {
            assert!(Frame::open(&out[..length], 1, 2).is_err());
            for bit in 0..8 {
                let mut damaged = out.clone();
                damaged[length] ^= 1 << bit;
                assert!(Frame::open(&damaged, 1, 2).is_err());
            }
        }
    }
}
