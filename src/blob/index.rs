//! Where a value lies, and how much of a file is used: what tables and the manifest say of blob files.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::block::frame::BlockHandle;
use crate::coding::{Reader, put_varint};
use crate::error::Fault;
use trine_platform::sorted::SortedMap;

/// A value in a blob file: what a table holds instead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobIndex {
    /// The file's number.
    pub(crate) file: u64,
    /// Of the record in its file.
    pub(crate) ordinal: u64,
    pub(crate) record: BlockHandle,
    /// Length of the value itself.
    pub(crate) value_bytes: u32,
}

impl BlobIndex {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for field in [
            self.file,
            self.ordinal,
            self.record.offset,
            u64::from(self.record.length),
            u64::from(self.value_bytes),
        ] {
            put_varint(out, field);
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let length = |value: u64| u32::try_from(value).map_err(|_| Fault::Field("blob index"));
        let index = Self {
            file: reader.varint()?,
            ordinal: reader.varint()?,
            record: BlockHandle {
                offset: reader.varint()?,
                length: length(reader.varint()?)?,
            },
            value_bytes: length(reader.varint()?)?,
        };
        reader.finish()?;
        Ok(index)
    }
}

/// A blob file in a few words: the manifest records it, and opening compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobMeta {
    /// The file's number, never reused.
    pub(crate) number: u64,
    /// The file's length.
    pub(crate) bytes: u64,
    pub(crate) values: u64,
    /// Of the values themselves, before compression.
    pub(crate) value_bytes: u64,
}

/// What a table uses of one blob file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobUse {
    pub(crate) file: u64,
    pub(crate) values: u64,
    pub(crate) value_bytes: u64,
}

/// What a table uses of all blob files, by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlobUses(SortedMap<u64, BlobUse>);

impl BlobUses {
    pub(crate) fn count(&mut self, index: &BlobIndex) {
        let used = self.0.get_or_insert_with(index.file, || BlobUse {
            file: index.file,
            values: 0,
            value_bytes: 0,
        });
        used.values = used.values.saturating_add(1);
        used.value_bytes = used
            .value_bytes
            .saturating_add(u64::from(index.value_bytes));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &BlobUse> {
        self.0.values()
    }

    /// A count, then each use; files ascend.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for used in self.iter() {
            for field in [used.file, used.values, used.value_bytes] {
                put_varint(out, field);
            }
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        // Not reserved by: a count that the bytes cannot hold fails at the first missing use.
        let count = reader.varint()?;
        let mut uses = SortedMap::new();
        for _ in 0..count {
            let used = BlobUse {
                file: reader.varint()?,
                values: reader.varint()?,
                value_bytes: reader.varint()?,
            };
            let ascends = uses
                .last_key_value()
                .is_none_or(|(last, _)| *last < used.file);
            if !ascends || used.values == 0 {
                return Err(Fault::Field("blob use"));
            }
            uses.insert(used.file, used);
        }
        Ok(Self(uses))
    }
}
