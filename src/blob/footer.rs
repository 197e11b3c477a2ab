//! The first and the last bytes of a blob file: what it is, and what it holds. docs/format.md, "Blob files".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::blob::BlobMeta;
use crate::block::frame::FRAME_BYTES;
use crate::checksum::crc32c;
use crate::coding::Reader;
use crate::error::Fault;

pub(crate) const FORMAT_VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 24;
pub(crate) const FOOTER_BYTES: usize = 48;

const HEADER_MAGIC: [u8; 8] = *b"TRINEBLB";
const FOOTER_MAGIC: [u8; 8] = *b"TRINEBFT";

pub(crate) fn encode_header(number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&HEADER_MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out
}

/// Fails unless `bytes` are the header of blob file `number` in a version that this build reads.
pub(crate) fn check_header(bytes: &[u8], number: u64) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    if reader.take(8)? != HEADER_MAGIC {
        return Err(Fault::Magic);
    }
    check_version(reader.u32()?)?;
    if reader.u32()? != 0 {
        return Err(Fault::Field("header"));
    }
    if reader.u64()? != number {
        return Err(Fault::Field("file number"));
    }
    reader.finish()
}

fn check_version(version: u32) -> Result<(), Fault> {
    if version == FORMAT_VERSION {
        Ok(())
    } else {
        Err(Fault::Version(version))
    }
}

pub(crate) fn encode_footer(meta: &BlobMeta) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    for field in [meta.values, meta.value_bytes, meta.bytes, meta.number] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&crc32c(&[&out]).to_le_bytes());
    out.extend_from_slice(&FOOTER_MAGIC);
    out
}

/// Fails unless `bytes`, the last [`FOOTER_BYTES`] of a file, describe the file that `meta` does.
pub(crate) fn check_footer(bytes: &[u8], meta: &BlobMeta) -> Result<(), Fault> {
    let mut reader = Reader::new(bytes);
    let covered = reader.take(FOOTER_BYTES.wrapping_sub(12))?;
    let stored = reader.u32()?;
    if reader.take(8)? != FOOTER_MAGIC {
        return Err(Fault::Magic);
    }
    reader.finish()?;
    let computed = crc32c(&[covered]);
    if stored != computed {
        return Err(Fault::Checksum { stored, computed });
    }
    let mut reader = Reader::new(covered);
    let found = BlobMeta {
        values: reader.u64()?,
        value_bytes: reader.u64()?,
        bytes: reader.u64()?,
        number: reader.u64()?,
    };
    check_version(reader.u32()?)?;
    if found != *meta {
        return Err(Fault::Field("footer"));
    }
    Ok(())
}

/// Whether a file can be what `meta` says: each record takes a frame at the least.
pub(crate) fn is_plausible(meta: &BlobMeta) -> bool {
    let fixed = (HEADER_BYTES as u64).saturating_add(FOOTER_BYTES as u64);
    let frames = meta.values.checked_mul(FRAME_BYTES as u64);
    frames
        .and_then(|frames| frames.checked_add(fixed))
        .is_some_and(|least| least <= meta.bytes)
}
