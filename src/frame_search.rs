//! Frames found without an index: by their checksums, which cover their places.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use trine_io::{File, Mode};

use crate::block::frame::{BlockHandle, FRAME_BYTES, Frame};
use crate::checksum::crc32c_append;
use crate::compression::Codec;
use crate::error::Result;

/// What is read at a time, at first: most frames end in it.
const PIECE_BYTES: u64 = 128 << 10;
/// How far behind damage the next frame may begin, and how long it may be.
const GAP_BYTES_MAX: usize = 1 << 20;
/// Codec and checksum, with which a frame ends.
const CODEC_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 4;

/// Looks for frames in a file.
#[derive(Debug)]
pub(crate) struct FrameSearch<'f> {
    file: &'f File,
    number: u64,
    /// Nothing is looked for behind it.
    limit: u64,
}

impl<'f> FrameSearch<'f> {
    pub(crate) fn new(file: &'f File, number: u64, limit: u64) -> Self {
        Self {
            file,
            number,
            limit,
        }
    }

    /// The frame that begins at `start`: the shortest whose checksum holds.
    ///
    /// # Cost
    /// One pass over what lies before its end; over all of the file, if there is none.
    pub(crate) async fn frame_at(&self, start: u64, mode: Mode) -> Result<Option<BlockHandle>> {
        let mut wanted = PIECE_BYTES;
        loop {
            let available = self.limit.saturating_sub(start);
            let bytes = self.read(start, available.min(wanted), mode).await?;
            let found = self.first_end(&bytes, start);
            if found.is_some() || wanted >= available {
                return Ok(found);
            }
            wanted = wanted.saturating_mul(8);
        }
    }

    /// The first frame that begins somewhere behind `lost`.
    pub(crate) async fn first_frame_after(
        &self,
        lost: u64,
        mode: Mode,
    ) -> Result<Option<BlockHandle>> {
        let available = self.limit.saturating_sub(lost);
        let bytes = self
            .read(lost, available.min(GAP_BYTES_MAX as u64), mode)
            .await?;
        // By ends: few places look like the end of a frame, and of each the beginning is searched.
        for end in FRAME_BYTES..=bytes.len() {
            let Some(framed) = bytes.get(..end) else {
                break;
            };
            if !looks_like_an_end(framed) {
                continue;
            }
            for from in 1..end.saturating_sub(FRAME_BYTES) {
                let offset = lost.saturating_add(from as u64);
                let candidate = framed.get(from..).unwrap_or_default();
                if Frame::open(candidate, self.number, offset).is_ok() {
                    return Ok(handle(offset, candidate.len()));
                }
            }
        }
        Ok(None)
    }

    async fn read(&self, start: u64, length: u64, mode: Mode) -> Result<Vec<u8>> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(self.file.read_once_at(mode, start, length).await?)
    }

    /// The frame that begins with `bytes`, which lie at `offset`.
    fn first_end(&self, bytes: &[u8], offset: u64) -> Option<BlockHandle> {
        let place = [self.number.to_le_bytes(), offset.to_le_bytes()].concat();
        let (mut covered_crc, mut covered) = (0, 0);
        for end in FRAME_BYTES..=bytes.len() {
            let framed = bytes.get(..end)?;
            if !looks_like_an_end(framed) {
                continue;
            }
            let (body, stored) = framed.split_last_chunk::<CHECKSUM_BYTES>()?;
            covered_crc = crc32c_append(covered_crc, body.get(covered..)?);
            covered = body.len();
            if crc32c_append(covered_crc, &place) == u32::from_le_bytes(*stored)
                && Frame::parse(framed).is_ok()
            {
                return handle(offset, end);
            }
        }
        None
    }
}

fn handle(offset: u64, framed: usize) -> Option<BlockHandle> {
    let length = u32::try_from(framed.checked_sub(FRAME_BYTES)?).ok()?;
    Some(BlockHandle { offset, length })
}

/// Whether a frame may end here, by its codec and the length that it claims.
fn looks_like_an_end(framed: &[u8]) -> bool {
    let body = framed
        .split_last_chunk::<CHECKSUM_BYTES>()
        .map(|(body, _)| body);
    let Some((stored, [a, b, c, d, tag])) = body.and_then(<[u8]>::split_last_chunk::<CODEC_BYTES>)
    else {
        return false;
    };
    let raw = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
    match Codec::from_tag(*tag) {
        // The beginning may not be here yet, so the bytes may be too many, not too few.
        Some(Codec::None) => raw > 0 && raw <= stored.len(),
        Some(_) => raw > 0 && raw.div_ceil(255) <= stored.len(),
        None => false,
    }
}
