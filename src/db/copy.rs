//! Copies of whole files, piece by piece, and checksums of them.

use trine_io::{File, Mode};

use crate::checksum::crc32c_append;
use crate::error::Result;
use crate::tree::throttle::Throttle;

/// How much is read and written at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Reads the first `bytes` bytes of `source` and, where there is a target, writes them there. Gives back their CRC-32C.
pub(crate) async fn copy(
    source: &File,
    target: Option<&File>,
    bytes: u64,
    throttle: Option<&Throttle<'_>>,
    mode: Mode,
) -> Result<u32> {
    let (mut at, mut crc) = (0, 0);
    while at < bytes {
        let piece = usize::try_from((bytes - at).min(PIECE_BYTES)).unwrap_or_default();
        if let Some(throttle) = throttle {
            throttle.pass(piece, mode).await?;
        }
        let read = source.read_once_at(mode, at, piece).await?;
        crc = crc32c_append(crc, &read);
        if let Some(target) = target {
            target.write_at(mode, at, read).await?;
            // The sync at the end finds little left then, and keeps commits waiting less.
            target.start_writeback(at, piece as u64);
        }
        at += piece as u64;
    }
    Ok(crc)
}
