//! Sorted entries in, the bytes of a table out, front to back. Never writes them itself.
//!
//! What is produced waits in memory until it is taken; the caller writes it behind what it took before.

use crate::blob::BlobIndex;
use crate::block::builder::BlockBuilder;
use crate::block::frame::{self, BLOCK_BYTES_MAX, BlockHandle};
use crate::compression::Codec;
use crate::filter::bloom;
use crate::filter::prefix::PrefixFilterBuilder;
use crate::hash::KeyHash;
use crate::internal_key::{Entry, Kind, compare};
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::filter::PARTITION_BYTES;
use crate::table::footer::{FOOTER_BYTES, Footer, SECTION_ALIGNMENT, TABLE};
use crate::table::index::{IndexBuilder, separator};
use crate::table::properties::Properties;
use crate::table::tombstones;
use crate::table::{Freeable, TableMeta};

/// Larger targets are taken as this: a block is read and decoded whole.
const BLOCK_TARGET_BYTES_MAX: usize = 16 << 20;

/// Filters and the index are frames of their own; past this a table is full, far below what a frame holds.
const SECTION_BYTES_MAX: usize = 1 << 30;

/// How a table is written. What a reader needs to know of it is in the table.
#[derive(Clone, Debug)]
pub(crate) struct TableOptions {
    pub(crate) compression: Codec,
    /// Target of a data block before compression.
    pub(crate) block_bytes: usize,
    /// `None`: no filter.
    pub(crate) filter_bits_per_key: Option<u8>,
    /// The extractor and its filter's bits per prefix; `None`: no prefix filter.
    pub(crate) prefix: Option<(PrefixExtractor, u8)>,
}

/// Builds one table.
#[derive(Debug)]
pub(crate) struct TableWriter {
    number: u64,
    compression: Codec,
    block_bytes: usize,
    filter_bits_per_key: Option<u8>,
    /// Produced, not yet taken; and how much was taken.
    pending: Vec<u8>,
    taken: u64,
    block: BlockBuilder,
    index: IndexBuilder,
    hashes: Vec<KeyHash>,
    prefixes: Option<PrefixFilterBuilder>,
    tombstones: Fragments,
    properties: Properties,
    /// Of the last entry added, once there is one.
    last_key: Vec<u8>,
    last_sequence: Sequence,
    last_bytes: u64,
    last_hash: KeyHash,
}

impl TableWriter {
    /// A writer of the table that will be file `number`.
    pub(crate) fn new(number: u64, options: TableOptions) -> Self {
        let prefix = options
            .prefix
            .filter(|(extractor, _)| extractor.is_enabled());
        Self {
            number,
            compression: options.compression,
            block_bytes: options.block_bytes.min(BLOCK_TARGET_BYTES_MAX),
            filter_bits_per_key: options.filter_bits_per_key,
            pending: TABLE.header(number),
            taken: 0,
            block: BlockBuilder::default(),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            prefixes: prefix.map(|(extractor, bits)| PrefixFilterBuilder::new(extractor, bits)),
            tombstones: Fragments::default(),
            properties: Properties::default(),
            last_key: Vec::new(),
            last_sequence: Sequence::ZERO,
            last_bytes: 0,
            last_hash: KeyHash::of(&[]),
        }
    }

    /// Takes the next entry, whose value lies in a blob file, as `add` does.
    pub(crate) fn add_blob(&mut self, key: &[u8], sequence: Sequence, index: &BlobIndex) {
        let mut value = Vec::new();
        index.encode(&mut value);
        self.add(Entry {
            key,
            sequence,
            kind: Kind::Blob,
            value: &value,
        });
        self.properties.count_blob(index);
    }

    /// Takes the next entry, strictly after the one before in the engine's order. A tombstone's value is not kept.
    pub(crate) fn add(&mut self, entry: Entry<'_>) {
        let mut entry = entry;
        if entry.kind == Kind::Tombstone {
            entry.value = &[];
        }
        let room = BLOCK_BYTES_MAX as usize - (1 << 10);
        assert!(
            entry.key.len() < room && entry.value.len() < room - entry.key.len(),
            "an entry must fit a block"
        );
        let mut same_key = false;
        if self.properties.entries > 0 {
            let last = (self.last_key.as_slice(), self.last_sequence);
            assert!(
                compare(last, (entry.key, entry.sequence)).is_lt(),
                "entries must be added in order"
            );
            same_key = self.last_key == entry.key;
        }
        let target = self.block.estimated_bytes() + BlockBuilder::estimated_bytes_of(&entry);
        if !self.block.is_empty() && (target > self.block_bytes || !self.block.can_hold(&entry)) {
            let separator = separator(&self.last_key, entry.key);
            self.close_block(&separator);
        }

        if !same_key {
            self.begin_key(entry.key);
        }
        let newest = !same_key || self.block.is_empty();
        self.block.add(&entry, self.last_hash, newest);
        self.last_sequence = entry.sequence;
        self.last_bytes = (entry.key.len() + entry.value.len()) as u64;
        self.properties.count(&entry);
    }

    fn begin_key(&mut self, key: &[u8]) {
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.last_hash = KeyHash::of(key);
        if self.filter_bits_per_key.is_some() {
            self.hashes.push(self.last_hash);
        }
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.add(key);
        }
    }

    /// The entry added last is there only for who reads before `until`.
    pub(crate) fn mark_superseded(&mut self, until: Sequence) {
        self.properties.superseded.add(self.last_bytes, until);
    }

    /// Takes the table's range tombstones, and what they hide in older tables; at most once.
    pub(crate) fn add_tombstones(&mut self, fragments: Fragments, covered: Freeable) {
        assert!(
            self.tombstones.is_empty(),
            "range tombstones must be added once"
        );
        self.tombstones = fragments;
        self.properties.covered = covered;
    }

    /// The key of the last entry.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        (self.properties.entries > 0).then_some(&self.last_key)
    }

    /// Whether nothing was added. An empty table cannot be finished.
    pub(crate) fn is_empty(&self) -> bool {
        self.properties.entries == 0 && self.tombstones.is_empty()
    }

    /// Whether a part nears what the format holds: the caller must finish this table and begin another.
    /// Hundreds of millions of keys; reached only where tables have no other limit.
    pub(crate) fn is_full(&self) -> bool {
        self.index.bytes() > SECTION_BYTES_MAX || self.filter_bytes() > SECTION_BYTES_MAX
    }

    /// About the length of the finished file.
    pub(crate) fn estimated_bytes(&self) -> u64 {
        let block = if self.block.is_empty() {
            0
        } else {
            self.block.estimated_bytes()
        };
        let tombstones: usize = self
            .tombstones
            .as_slice()
            .iter()
            .map(|fragment| {
                fragment.start.len() + fragment.end.len() + 8 * fragment.sequences.len()
            })
            .sum();
        let prefixes = self.prefixes.as_ref().map_or(0, PrefixFilterBuilder::bytes);
        let sections = block + self.filter_bytes() + prefixes + tombstones + self.index.bytes();
        self.offset() + sections as u64 + 5 * SECTION_ALIGNMENT + FOOTER_BYTES as u64
    }

    fn filter_bytes(&self) -> usize {
        self.filter_bits_per_key
            .map_or(0, |bits| bloom::bytes_for(self.hashes.len(), bits))
    }

    /// Bytes produced and not yet taken.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Takes what was produced; it belongs behind what was taken before.
    pub(crate) fn take_pending(&mut self) -> Vec<u8> {
        self.taken += self.pending.len() as u64;
        std::mem::take(&mut self.pending)
    }

    /// Where the next byte will lie in the file.
    fn offset(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    fn close_block(&mut self, separator: &[u8]) {
        let raw = self.block.finish();
        let handle = self.seal(&raw, self.compression);
        self.index.add(separator, handle);
        self.properties.count_block(raw.len(), handle.length);
    }

    fn seal(&mut self, raw: &[u8], codec: Codec) -> BlockHandle {
        let offset = self.offset();
        frame::seal(&mut self.pending, raw, codec, self.number, offset)
    }

    fn seal_section(&mut self, raw: &[u8]) -> BlockHandle {
        let padding = self.offset().next_multiple_of(SECTION_ALIGNMENT) - self.offset();
        self.pending.extend(std::iter::repeat_n(
            0,
            usize::try_from(padding).unwrap_or_default(),
        ));
        self.seal(raw, Codec::None)
    }

    /// A filter, partition by partition.
    fn seal_filter(&mut self, lines: &[u8]) -> BlockHandle {
        let mut partitions = lines.chunks(PARTITION_BYTES);
        let mut filter = self.seal_section(partitions.next().unwrap_or_default());
        for partition in partitions {
            let last = self.seal_section(partition);
            let length = last.offset - filter.offset + u64::from(last.length);
            // `is_full` keeps it far below.
            filter.length = u32::try_from(length).unwrap_or(u32::MAX);
        }
        filter
    }

    /// The last bytes, and what the manifest records of the whole.
    pub(crate) fn finish(mut self) -> (Vec<u8>, TableMeta) {
        assert!(!self.is_empty(), "a table holds something");
        let last_key = std::mem::take(&mut self.last_key);
        if !self.block.is_empty() {
            self.close_block(&last_key);
        }
        self.properties.bound(last_key, &self.tombstones);

        let mut footer = Footer::default();
        if let Some(bits) = self.filter_bits_per_key
            && self.properties.entries > 0
        {
            let filter = bloom::build(&std::mem::take(&mut self.hashes), bits);
            footer.filter = self.seal_filter(&filter);
        }
        if let Some(prefixes) = self.prefixes.take()
            && self.properties.entries > 0
        {
            let (filter, extractor) = prefixes.finish();
            self.properties.extractor = extractor;
            footer.prefix_filter = self.seal_filter(&filter);
        }
        let index = std::mem::take(&mut self.index).finish();
        footer.index = self.seal_section(&index);
        if !self.tombstones.is_empty() {
            let encoded = tombstones::encode(&self.tombstones);
            footer.tombstones = self.seal_section(&encoded);
        }
        let properties = self.properties.encode();
        footer.properties = self.seal_section(&properties);

        let bytes = self.offset() + FOOTER_BYTES as u64;
        let encoded = footer.encode(self.number, bytes);
        self.pending.extend_from_slice(&encoded);
        (self.pending, self.properties.meta(self.number, bytes))
    }
}
