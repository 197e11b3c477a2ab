//! What a table counts about itself. docs/format.md, "Tables".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::blob::{BlobIndex, BlobUses};
use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::Fault;
use crate::filter::prefix::{decode_extractor, encode_extractor};
use crate::internal_key::{Entry, Kind};
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::{Freeable, TableMeta};

/// The properties of a table, counted while it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties {
    /// Point entries, tombstones among them.
    pub(crate) entries: u64,
    pub(crate) point_tombstones: u64,
    /// One for each sequence of each fragment.
    pub(crate) range_tombstones: u64,
    /// Bytes of user keys and of values, over all point entries.
    pub(crate) key_bytes: u64,
    pub(crate) value_bytes: u64,
    pub(crate) blocks: u32,
    /// Bytes of the data blocks before compression, and as stored, without their frames.
    pub(crate) raw_data_bytes: u64,
    pub(crate) stored_data_bytes: u64,
    pub(crate) smallest_sequence: Sequence,
    pub(crate) largest_sequence: Sequence,
    /// As in [`TableMeta`].
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    pub(crate) largest_exclusive: bool,
    /// What the prefix filter was built with; `Disabled` where there is none.
    pub(crate) extractor: PrefixExtractor,
    /// The values that lie in blob files.
    pub(crate) blobs: BlobUses,
    /// In bytes of keys and values.
    pub(crate) superseded: Freeable,
    /// As in [`TableMeta`].
    pub(crate) covered: Freeable,
}

impl Properties {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in [
            self.entries,
            self.point_tombstones,
            self.range_tombstones,
            self.key_bytes,
            self.value_bytes,
            u64::from(self.blocks),
            self.raw_data_bytes,
            self.stored_data_bytes,
            self.smallest_sequence.get(),
            self.largest_sequence.get(),
        ] {
            put_varint(&mut out, number);
        }
        put_bytes(&mut out, &self.smallest);
        put_bytes(&mut out, &self.largest);
        out.push(u8::from(self.largest_exclusive));
        encode_extractor(&self.extractor, &mut out);
        self.blobs.encode(&mut out);
        self.superseded.encode(&mut out);
        self.covered.encode(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let properties = Self {
            entries: reader.varint()?,
            point_tombstones: reader.varint()?,
            range_tombstones: reader.varint()?,
            key_bytes: reader.varint()?,
            value_bytes: reader.varint()?,
            blocks: u32::try_from(reader.varint()?).map_err(|_| Fault::Field("block count"))?,
            raw_data_bytes: reader.varint()?,
            stored_data_bytes: reader.varint()?,
            smallest_sequence: Sequence::new(reader.varint()?),
            largest_sequence: Sequence::new(reader.varint()?),
            smallest: reader.bytes()?.to_vec(),
            largest: reader.bytes()?.to_vec(),
            largest_exclusive: match reader.u8()? {
                0 => false,
                1 => true,
                tag => return Err(Fault::Tag(tag)),
            },
            extractor: decode_extractor(&mut reader)?,
            blobs: BlobUses::decode(&mut reader)?,
            superseded: Freeable::decode(&mut reader)?,
            covered: Freeable::decode(&mut reader)?,
        };
        reader.finish()?;
        Ok(properties)
    }

    /// Counts the next entry in order.
    pub(crate) fn count(&mut self, entry: &Entry<'_>) {
        if self.entries == 0 {
            self.smallest = entry.key.to_vec();
            self.smallest_sequence = entry.sequence;
            self.largest_sequence = entry.sequence;
        }
        let is_tombstone = u64::from(entry.kind == Kind::Tombstone);
        for (total, amount) in [
            (&mut self.entries, 1),
            (&mut self.point_tombstones, is_tombstone),
            (&mut self.key_bytes, entry.key.len() as u64),
            (&mut self.value_bytes, entry.value.len() as u64),
        ] {
            *total = total.wrapping_add(amount);
        }
        self.smallest_sequence = self.smallest_sequence.min(entry.sequence);
        self.largest_sequence = self.largest_sequence.max(entry.sequence);
    }

    /// Counts where the value of an entry lies.
    pub(crate) fn count_blob(&mut self, index: &BlobIndex) {
        self.blobs.count(index);
    }

    /// Counts a data block.
    pub(crate) fn count_block(&mut self, raw_bytes: usize, stored_bytes: u32) {
        self.blocks = self.blocks.wrapping_add(1);
        self.raw_data_bytes = self.raw_data_bytes.wrapping_add(raw_bytes as u64);
        self.stored_data_bytes = self.stored_data_bytes.wrapping_add(u64::from(stored_bytes));
    }

    /// Ends the counting, once all entries are: bounds what the last one and the range tombstones bound.
    pub(crate) fn bound(&mut self, last_key: Vec<u8>, tombstones: &Fragments) {
        self.largest = last_key;
        let fragments = tombstones.as_slice();
        let (Some(first), Some(last)) = (fragments.first(), fragments.last()) else {
            return;
        };
        let no_entries = self.entries == 0;
        if no_entries || first.start < self.smallest {
            self.smallest.clone_from(&first.start);
        }
        // An entry at the very end of a tombstone is a bound that includes it: the wider one.
        // An empty end is no end: it is above every key.
        if no_entries || last.end.is_empty() || last.end > self.largest {
            self.largest.clone_from(&last.end);
            self.largest_exclusive = true;
        }
        let sequences = || fragments.iter().flat_map(|fragment| &fragment.sequences);
        self.range_tombstones = sequences().count() as u64;
        if let (Some(least), Some(most)) = (sequences().min(), sequences().max()) {
            if no_entries {
                (self.smallest_sequence, self.largest_sequence) = (*least, *most);
            }
            self.smallest_sequence = self.smallest_sequence.min(*least);
            self.largest_sequence = self.largest_sequence.max(*most);
        }
    }

    /// The part of a file of `bytes` that so many bytes of keys and values take.
    fn share_of(&self, bytes: u64, part: u64) -> u64 {
        let all = u128::from(self.key_bytes).saturating_add(u128::from(self.value_bytes));
        let share = u128::from(bytes).saturating_mul(u128::from(part));
        let share = share.checked_div(all).unwrap_or_default();
        u64::try_from(share).unwrap_or(u64::MAX).min(bytes)
    }

    /// The commit that all of the table belongs to, if it was loaded.
    pub(crate) fn loaded_at(&self, recorded: &TableMeta) -> Sequence {
        if self.largest_sequence == Sequence::ZERO {
            recorded.largest_sequence
        } else {
            Sequence::ZERO
        }
    }

    /// What `recorded`, the manifest's word of the table, must be.
    pub(crate) fn meta_at(&self, recorded: &TableMeta) -> TableMeta {
        let meta = self.meta(recorded.number, recorded.bytes);
        let loaded_at = self.loaded_at(recorded);
        TableMeta {
            smallest_sequence: meta.smallest_sequence.max(loaded_at),
            largest_sequence: meta.largest_sequence.max(loaded_at),
            ..meta
        }
    }

    /// What the manifest records of the table with these properties.
    pub(crate) fn meta(&self, number: u64, bytes: u64) -> TableMeta {
        TableMeta {
            number,
            bytes,
            entries: self.entries,
            tombstones: self.point_tombstones.saturating_add(self.range_tombstones),
            range_tombstones: self.range_tombstones,
            smallest: self.smallest.clone(),
            largest: self.largest.clone(),
            largest_exclusive: self.largest_exclusive,
            smallest_sequence: self.smallest_sequence,
            largest_sequence: self.largest_sequence,
            blobs: self.blobs.clone(),
            superseded: Freeable {
                bytes: self.share_of(bytes, self.superseded.bytes),
                ..self.superseded
            },
            covered: self.covered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_round_trip_and_no_shorter_or_longer_bytes_pass() {
        let properties = Properties {
            entries: 300,
            point_tombstones: 2,
            range_tombstones: 1,
            key_bytes: u64::MAX,
            blocks: u32::MAX,
            largest_sequence: Sequence::new(9),
            smallest: b"a".to_vec(),
            largest: b"z".to_vec(),
            largest_exclusive: true,
            extractor: PrefixExtractor::FixedLen(4),
            superseded: Freeable {
                bytes: 5,
                until: Sequence::new(8),
            },
            covered: Freeable {
                bytes: 70,
                until: Sequence::new(9),
            },
            ..Properties::default()
        };
        let bytes = properties.encode();
        assert_eq!(Properties::decode(&bytes), Ok(properties));
        for length in 0..bytes.len() {
            assert!(Properties::decode(&bytes[..length]).is_err());
        }
        assert!(Properties::decode(&[bytes, vec![0]].concat()).is_err());
    }
}
