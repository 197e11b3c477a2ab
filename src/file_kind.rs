//! What the sealed files have in common: their first bytes, and how their last ones are sealed. Tables and blob files.
//!
//! - The header says what a file is, in which version, and which number it has; it never depends on the contents.
//! - A footer's last 12 bytes are a checksum of those before and a magic, in every version, so that damage is
//!   told from a version that this build does not know. docs/format.md.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::checksum::crc32c;
use crate::coding::Reader;
use crate::error::Fault;

pub(crate) const HEADER_BYTES: usize = 24;
/// The checksum and the magic.
const SEAL_BYTES: usize = 12;

/// A kind of sealed file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKind {
    pub(crate) header_magic: [u8; 8],
    pub(crate) footer_magic: [u8; 8],
    /// The only one that this build reads and writes.
    pub(crate) version: u32,
}

impl FileKind {
    /// The header of file `number`.
    pub(crate) fn header(&self, number: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&self.header_magic);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_le_bytes());
        out
    }

    /// Fails unless `bytes` are the header of file `number` in the version that this build reads.
    pub(crate) fn check_header(&self, bytes: &[u8], number: u64) -> Result<(), Fault> {
        let mut reader = Reader::new(bytes);
        if reader.take(8)? != self.header_magic {
            return Err(Fault::Magic);
        }
        self.check_version(reader.u32()?)?;
        if reader.u32()? != 0 {
            return Err(Fault::Field("header"));
        }
        if reader.u64()? != number {
            return Err(Fault::Field("file number"));
        }
        reader.finish()
    }

    /// Fails unless it is the version that this build reads.
    pub(crate) fn check_version(&self, version: u32) -> Result<(), Fault> {
        if version == self.version {
            Ok(())
        } else {
            Err(Fault::Version(version))
        }
    }

    /// Ends a footer, all of which but the seal is in `out`.
    pub(crate) fn seal(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&crc32c(&[out]).to_le_bytes());
        out.extend_from_slice(&self.footer_magic);
    }

    /// What the seal of `footer` covers, if it holds; `bytes` is how long a footer of this kind is.
    pub(crate) fn unseal<'f>(&self, footer: &'f [u8], bytes: usize) -> Result<&'f [u8], Fault> {
        let mut reader = Reader::new(footer);
        let covered = reader.take(bytes.saturating_sub(SEAL_BYTES))?;
        let stored = reader.u32()?;
        if reader.take(8)? != self.footer_magic {
            return Err(Fault::Magic);
        }
        reader.finish()?;
        let computed = crc32c(&[covered]);
        if stored == computed {
            Ok(covered)
        } else {
            Err(Fault::Checksum { stored, computed })
        }
    }
}
