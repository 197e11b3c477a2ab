//! The first and the last bytes of a table: what it is, and where its parts are.
//!
//! The footer's length, and where its version, checksum and magic are, hold for every version, so
//! that damage is told from a version that this build does not know. docs/format.md, "Tables".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::block::frame::BlockHandle;
use crate::coding::Reader;
use crate::error::Fault;
use crate::file_kind::{FileKind, HEADER_BYTES};

pub(crate) const TABLE: FileKind = FileKind {
    header_magic: *b"TRINETBL",
    footer_magic: *b"TRINETFT",
    version: 2,
};
pub(crate) const FOOTER_BYTES: usize = 96;

/// Parts behind the data blocks start on multiples of this, so that a filter line is one cache line.
pub(crate) const SECTION_ALIGNMENT: u64 = 64;

/// The next multiple of [`SECTION_ALIGNMENT`].
pub(crate) fn aligned(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(SECTION_ALIGNMENT)
}

/// Where the parts behind the data blocks are. A zero handle: the table has no such part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    /// From the lines of its first partition to those of its last; so is `prefix_filter`.
    pub(crate) filter: BlockHandle,
    pub(crate) prefix_filter: BlockHandle,
    pub(crate) index: BlockHandle,
    pub(crate) tombstones: BlockHandle,
    pub(crate) properties: BlockHandle,
}

impl Footer {
    /// In file order.
    fn sections(&self) -> [BlockHandle; 5] {
        [
            self.filter,
            self.prefix_filter,
            self.index,
            self.tombstones,
            self.properties,
        ]
    }

    /// The footer of table `number` whose whole file is `bytes` long.
    pub(crate) fn encode(&self, number: u64, bytes: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        for handle in self.sections() {
            out.extend_from_slice(&handle.offset.to_le_bytes());
            out.extend_from_slice(&handle.length.to_le_bytes());
        }
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&TABLE.version.to_le_bytes());
        TABLE.seal(&mut out);
        out
    }

    /// Reads the last [`FOOTER_BYTES`] of a file that should be table `number`, `bytes` long. Whatever
    /// passes has every part inside the file, in order and without gaps beyond alignment.
    pub(crate) fn decode(encoded: &[u8], number: u64, bytes: u64) -> Result<Self, Fault> {
        let mut reader = Reader::new(TABLE.unseal(encoded, FOOTER_BYTES)?);
        let mut handles = [BlockHandle::default(); 5];
        for handle in &mut handles {
            handle.offset = reader.u64()?;
            handle.length = reader.u32()?;
        }
        let [filter, prefix_filter, index, tombstones, properties] = handles;
        let stored_bytes = reader.u64()?;
        let stored_number = reader.u64()?;
        let zero = reader.u32()?;
        TABLE.check_version(reader.u32()?)?;
        if stored_number != number {
            return Err(Fault::Field("file number"));
        }
        if stored_bytes != bytes {
            return Err(Fault::Length {
                claimed: stored_bytes,
                available: bytes,
            });
        }
        let footer = Self {
            filter,
            prefix_filter,
            index,
            tombstones,
            properties,
        };
        if zero == 0 && footer.is_plausible(bytes) {
            Ok(footer)
        } else {
            Err(Fault::Field("footer"))
        }
    }

    fn is_plausible(&self, bytes: u64) -> bool {
        let present = |handle: &BlockHandle| *handle != BlockHandle::default();
        if !present(&self.index) || !present(&self.properties) {
            return false;
        }
        let mut end = None;
        for handle in self.sections().iter().filter(|handle| present(handle)) {
            let starts_well = match end {
                // The data blocks' own end is only known to the index.
                None => {
                    handle.offset >= HEADER_BYTES as u64
                        && handle.offset.is_multiple_of(SECTION_ALIGNMENT)
                }
                Some(end) => aligned(end) == Some(handle.offset),
            };
            if !starts_well {
                return false;
            }
            match handle.end() {
                Some(handle_end) => end = Some(handle_end),
                None => return false,
            }
        }
        end.and_then(|end| end.checked_add(FOOTER_BYTES as u64)) == Some(bytes)
    }

    /// Where the data blocks end, but for alignment.
    pub(crate) fn data_end(&self) -> u64 {
        let sections = self.sections();
        let present = sections
            .iter()
            .find(|handle| **handle != BlockHandle::default());
        present.map_or(0, |handle| handle.offset)
    }

    /// Where the parts start that an open table has in memory however it is read, the last ones.
    pub(crate) fn kept_start(&self) -> u64 {
        let present = [self.tombstones, self.properties]
            .into_iter()
            .find(|handle| *handle != BlockHandle::default());
        present.map_or(0, |handle| handle.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    fn footer() -> (Footer, u64) {
        let footer = Footer {
            filter: BlockHandle {
                offset: 64,
                length: 32,
            },
            index: BlockHandle {
                offset: 128,
                length: 33,
            },
            properties: BlockHandle {
                offset: 192,
                length: 20,
            },
            ..Footer::default()
        };
        (footer, 192 + 20 + 9 + 96)
    }

    /// Also the worked example of docs/format.md, "Tables".
    #[test]
    fn header_and_footer_are_as_documented() {
        assert_eq!(
            hex(&TABLE.header(7)),
            "5452494e4554424c02000000000000000700000000000000"
        );
        let (footer, bytes) = footer();
        assert_eq!(
            hex(&footer.encode(7, bytes)),
            concat!(
                "400000000000000020000000", // filter: 32 bytes at 64
                "000000000000000000000000", // no prefix filter
                "800000000000000021000000", // fence index: 33 bytes at 128
                "000000000000000000000000", // no range tombstones
                "c00000000000000014000000", // properties: 20 bytes at 192
                "3d01000000000000",         // file length 317
                "0700000000000000",         // file number 7
                "00000000",
                "02000000", // version
                "25af6ddf",
                "5452494e45544654",
            )
        );
    }

    #[test]
    fn every_flip_of_header_and_footer_is_a_fault() {
        let (footer, bytes) = footer();
        let encoded = footer.encode(7, bytes);
        assert_eq!(Footer::decode(&encoded, 7, bytes), Ok(footer));
        for place in 0..encoded.len() {
            let mut damaged = encoded.clone();
            damaged[place] ^= 1;
            assert!(Footer::decode(&damaged, 7, bytes).is_err());
            assert!(Footer::decode(&encoded[..place], 7, bytes).is_err());
        }
        let header = TABLE.header(7);
        assert_eq!(TABLE.check_header(&header, 7), Ok(()));
        for place in 0..header.len() {
            let mut damaged = header.clone();
            damaged[place] ^= 1;
            assert!(TABLE.check_header(&damaged, 7).is_err());
        }
    }

    #[test]
    fn parts_out_of_place_are_refused_though_the_checksum_holds() {
        let (good, bytes) = footer();
        let changes: [fn(&mut Footer); 6] = [
            |footer| footer.filter.offset = 0,
            |footer| footer.filter.length = 60,
            |footer| footer.index.offset = u64::MAX - 63,
            |footer| footer.properties.length = 21,
            |footer| footer.index = BlockHandle::default(),
            |footer| footer.prefix_filter = footer.filter,
        ];
        for change in changes {
            let mut footer = good;
            change(&mut footer);
            assert_eq!(
                Footer::decode(&footer.encode(7, bytes), 7, bytes),
                Err(Fault::Field("footer"))
            );
        }
    }
}
