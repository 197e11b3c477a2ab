//! Entries in, one block out. Keeps nothing between blocks but its memory.

#![cfg_attr(
    not(test),
    expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "nothing here comes from disk"
    )
)]

use crate::block::hash_index::Candidate;
use crate::block::{GROUP_ENTRIES, INDEXED, SHARES, TRAILER_BYTES, WIDE_OFFSETS, hash_index, head};
use crate::coding::put_varint;
use crate::hash::KeyHash;
use crate::internal_key::Entry;

/// What an entry costs beyond its key and value, about: header, offset, head, buckets.
const OVERHEAD_BYTES: usize = 16;

/// Collects entries in the engine's order, then lays them out.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    /// Key and value of each entry, one after the other.
    data: Vec<u8>,
    entries: Vec<Collected>,
    sequence_min: u64,
    sequence_max: u64,
}

#[derive(Debug)]
struct Collected {
    key: usize,
    value: usize,
    end: usize,
    sequence: u64,
    tag: u8,
    hash: KeyHash,
    /// The first, thus newest, entry of its key in this block.
    newest: bool,
}

impl BlockBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About the bytes of the block as it stands.
    pub(crate) fn estimated_bytes(&self) -> usize {
        self.data.len() + self.entries.len() * OVERHEAD_BYTES + TRAILER_BYTES
    }

    /// About the bytes that `entry` would add.
    pub(crate) fn estimated_bytes_of(entry: &Entry<'_>) -> usize {
        entry.key.len() + entry.value.len() + OVERHEAD_BYTES
    }

    /// Whether the mark of `entry` would fit: sequences of one block span less than 2^62.
    pub(crate) fn can_hold(&self, entry: &Entry<'_>) -> bool {
        let sequence = entry.sequence.get();
        self.is_empty()
            || self.sequence_max.max(sequence) - self.sequence_min.min(sequence) < 1 << 62
    }

    /// Takes the next entry; `newest` says that it is the first of its key since the block was begun.
    pub(crate) fn add(&mut self, entry: &Entry<'_>, hash: KeyHash, newest: bool) {
        debug_assert!(self.can_hold(entry));
        let sequence = entry.sequence.get();
        if self.is_empty() {
            (self.sequence_min, self.sequence_max) = (sequence, sequence);
        }
        self.sequence_min = self.sequence_min.min(sequence);
        self.sequence_max = self.sequence_max.max(sequence);
        let key = self.data.len();
        self.data.extend_from_slice(entry.key);
        let value = self.data.len();
        self.data.extend_from_slice(entry.value);
        self.entries.push(Collected {
            key,
            value,
            end: self.data.len(),
            sequence,
            tag: entry.kind as u8,
            hash,
            newest,
        });
    }

    /// How much of its restart key each entry repeats, or `None` if sharing that would save less than an eighth.
    fn shared_lengths(&self) -> Option<Vec<usize>> {
        let key = |entry: &Collected| &self.data[entry.key..entry.value];
        let mut lengths = Vec::with_capacity(self.entries.len());
        for group in self.entries.chunks(GROUP_ENTRIES as usize) {
            let restart = key(&group[0]);
            lengths.push(0);
            lengths.extend(group[1..].iter().map(|entry| common(restart, key(entry))));
        }
        // The field that says how much is shared costs a byte of each entry.
        let saved = lengths
            .iter()
            .sum::<usize>()
            .saturating_sub(self.entries.len());
        (saved >= self.estimated_bytes().div_ceil(8)).then_some(lengths)
    }

    /// Bytes that all keys start with. They are sorted: what the outer two share, all do.
    fn common_prefix(&self) -> u16 {
        let key = |entry: &Collected| &self.data[entry.key..entry.value];
        match self.entries.as_slice() {
            [] => 0,
            [first, .., last] => u16::try_from(common(key(first), key(last))).unwrap_or(u16::MAX),
            [only] => u16::try_from(key(only).len()).unwrap_or(u16::MAX),
        }
    }

    /// Lays the block out and begins the next one.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        assert!(!self.is_empty(), "a block holds at least one entry");
        let base = self.sequence_min;
        let span = self.sequence_max - base;
        let width = (64 - (span << 2 | 3).leading_zeros()).div_ceil(8);
        let shared_lengths = self.shared_lengths();

        let mut out = Vec::with_capacity(self.estimated_bytes() + self.entries.len() * 4);
        let mut offsets = Vec::with_capacity(self.entries.len());
        for (ordinal, entry) in self.entries.iter().enumerate() {
            offsets.push(out.len());
            let mut shared = 0;
            if let Some(lengths) = &shared_lengths {
                shared = lengths[ordinal];
                put_varint(&mut out, shared as u64);
            }
            put_varint(&mut out, (entry.value - entry.key - shared) as u64);
            put_varint(&mut out, (entry.end - entry.value) as u64);
            let mark = (entry.sequence - base) << 2 | u64::from(entry.tag);
            out.extend_from_slice(&mark.to_le_bytes()[..width as usize]);
            out.extend_from_slice(&self.data[entry.key + shared..entry.end]);
        }

        let narrow = u16::try_from(out.len()).is_ok();
        for offset in &offsets {
            let offset = u32::try_from(*offset).unwrap_or(u32::MAX).to_le_bytes();
            out.extend_from_slice(if narrow { &offset[..2] } else { &offset });
        }
        let prefix_bytes = self.common_prefix();
        for entry in &self.entries {
            let key = &self.data[entry.key..entry.value];
            let head = head(&key[usize::from(prefix_bytes)..]);
            out.extend_from_slice(&head.to_le_bytes());
        }
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let indexed = count <= hash_index::INDEXED_ENTRIES_MAX;
        if indexed {
            let entries = self.entries.iter().zip(&offsets).zip(0..);
            let newest =
                entries
                    .filter(|((entry, _), _)| entry.newest)
                    .map(|((entry, offset), ordinal)| {
                        let offset = if narrow { *offset } else { 0 };
                        let offset = u16::try_from(offset).unwrap_or_default();
                        (entry.hash, Candidate { ordinal, offset })
                    });
            hash_index::build(&mut out, count, newest);
        }
        let mut flags = 0;
        for (flag, on) in [
            (SHARES, shared_lengths.is_some()),
            (WIDE_OFFSETS, !narrow),
            (INDEXED, indexed),
        ] {
            flags |= if on { flag } else { 0 };
        }
        out.extend_from_slice(&base.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        out.push(flags);
        out.push(width.to_le_bytes()[0]);
        out.extend_from_slice(&prefix_bytes.to_le_bytes());

        self.data.clear();
        self.entries.clear();
        out
    }
}

/// Bytes that both start with.
fn common(left: &[u8], right: &[u8]) -> usize {
    let words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    let whole = 8 * words.take_while(|(l, r)| l == r).count();
    let rest = left[whole..].iter().zip(&right[whole..]);
    whole + rest.take_while(|(l, r)| l == r).count()
}
