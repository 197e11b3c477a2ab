//! The first and the last bytes of a blob file: what it is, and what it holds. docs/format.md, "Blob files".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::blob::BlobMeta;
use crate::block::frame::FRAME_BYTES;
use crate::coding::Reader;
use crate::error::Fault;
use crate::file_kind::{FileKind, HEADER_BYTES};

pub(crate) const BLOB_FILE: FileKind = FileKind {
    header_magic: *b"TRINEBLB",
    footer_magic: *b"TRINEBFT",
    version: 1,
};
pub(crate) const FOOTER_BYTES: usize = 48;

pub(crate) fn encode_footer(meta: &BlobMeta) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    for field in [meta.values, meta.value_bytes, meta.bytes, meta.number] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&BLOB_FILE.version.to_le_bytes());
    BLOB_FILE.seal(&mut out);
    out
}

/// Fails unless `bytes`, the last [`FOOTER_BYTES`] of a file, describe the file that `meta` does.
pub(crate) fn check_footer(bytes: &[u8], meta: &BlobMeta) -> Result<(), Fault> {
    let mut reader = Reader::new(BLOB_FILE.unseal(bytes, FOOTER_BYTES)?);
    let found = BlobMeta {
        values: reader.u64()?,
        value_bytes: reader.u64()?,
        bytes: reader.u64()?,
        number: reader.u64()?,
    };
    BLOB_FILE.check_version(reader.u32()?)?;
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
