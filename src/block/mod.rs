//! Sorted entries in one block, used in place.
//!
//! ```text
//! entries | offsets | heads | hash index | base u64 | count u32 | flags u8 | width u8 | prefix_bytes u16
//! entry   = [shared varint] | unshared varint | value_bytes varint | mark | key suffix | value
//! mark    = (sequence - base) * 4 + kind, in `width` bytes
//! head    = two bytes of the key, behind the prefix that all keys of the block have
//! ```
//! - Entries are in the engine's order, one after the other, and there is at least one.
//! - Sixteen entries make a group. Its first, the restart point, holds its full key; the others share
//!   a prefix with *it*, so that an entry decodes from its own offset and its restart point alone.
//! - Blocks that would save less than an eighth by sharing do not: their entries hold full keys, have no
//!   `shared` field, and a point read touches a single one.
//! - A seek searches the heads, which lie in a few cache lines, and looks only at entries whose head is the key's.
//!   A point read goes through the hash index.
//! - What is wrong is a [`Fault`] at the access that meets it. Parsing looks at the trailer only.
//!
//! docs/format.md, "Blocks".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub(crate) mod builder;
pub(crate) mod frame;
pub(crate) mod hash_index;
pub(crate) mod iter;
pub(crate) mod rows;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::coding::Reader;
use crate::error::Fault;
use crate::hash::KeyHash;
use crate::internal_key::Kind;
use crate::prefetch::{fetch, fetch_lines};
use crate::sequence::Sequence;

/// Entries of a group.
pub(crate) const GROUP_ENTRIES: u32 = 16;

/// Bytes of the fixed part at a block's end.
pub(crate) const TRAILER_BYTES: usize = 16;

/// Bytes of a head.
const HEAD_BYTES: usize = 2;

// Flags of the trailer. They reach the disk: never renumber.
const SHARES: u8 = 1;
const WIDE_OFFSETS: u8 = 2;
const INDEXED: u8 = 4;

/// The fixed part at a block's end, as its two words. Never both zero, since `count` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) base: u64,
    pub(crate) shape: u64,
}

/// Where the parts of a block are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    base: u64,
    count: u32,
    entries_end: usize,
    /// Where the heads and the hash index start; the latter ends where the trailer starts.
    heads: usize,
    buckets: usize,
    trailer: usize,
    prefix_bytes: u16,
    width: u8,
    shares: bool,
    wide: bool,
}

/// What tells which lines of a block a search reads first, without a look at the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    heads: u32,
    count: u32,
}

/// More lines of offsets and heads are not asked for at once.
const FORESEEN_LINES: usize = 16;

impl Layout {
    pub(crate) fn outline(&self) -> Outline {
        Outline {
            heads: u32::try_from(self.heads).unwrap_or(u32::MAX),
            count: self.count,
        }
    }
}

impl Outline {
    pub(crate) fn to_word(self) -> u64 {
        u64::from(self.heads) << 32 | u64::from(self.count)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    #[inline]
    pub(crate) fn of_word(word: u64) -> Self {
        Self {
            heads: (word >> 32) as u32,
            count: word as u32,
        }
    }

    /// Asks for the bucket that a point read of the block at `start` begins with. Good for blocks that have
    /// a hash index; of others another line is asked for in vain.
    #[inline]
    pub(crate) fn fetch_bucket(self, start: *const u8, hash: KeyHash) {
        let heads = (self.count as usize).wrapping_mul(HEAD_BYTES);
        let bucket = hash.bucket(hash_index::buckets_for(self.count)) as usize;
        let bucket = bucket.wrapping_mul(hash_index::BUCKET_BYTES);
        let place = (self.heads as usize)
            .wrapping_add(heads)
            .wrapping_add(bucket);
        fetch(start.wrapping_add(place));
    }

    /// Asks for what a seek in the block at `start` reads before it compares keys: the prefix, the heads,
    /// and the offsets, if they are narrow.
    #[inline]
    pub(crate) fn fetch_heads(self, start: *const u8) {
        fetch(start);
        let bytes = (self.count as usize).wrapping_mul(2 + HEAD_BYTES);
        let offsets = (self.heads as usize).wrapping_sub((self.count as usize).wrapping_mul(2));
        fetch_lines(start.wrapping_add(offsets), bytes, FORESEEN_LINES);
    }
}

impl Trailer {
    /// Reads the trailer of a whole block.
    pub(crate) fn of(block: &[u8]) -> Result<Self, Fault> {
        match block.split_last_chunk::<TRAILER_BYTES>() {
            Some((_, bytes)) => {
                let [base, shape] = bytes.as_chunks::<8>().0 else {
                    return Err(Fault::Field("block trailer"));
                };
                Ok(Self {
                    base: u64::from_le_bytes(*base),
                    shape: u64::from_le_bytes(*shape),
                })
            }
            None => Err(Fault::Length {
                claimed: TRAILER_BYTES as u64,
                available: block.len() as u64,
            }),
        }
    }

    /// The trailer of a block whose sequences count from this one on.
    #[must_use]
    pub(crate) fn loaded_at(self, sequence: Sequence) -> Self {
        Self {
            base: self.base.wrapping_add(sequence.get()),
            ..self
        }
    }

    /// Where the parts of the block of `length` bytes with this trailer are.
    #[inline]
    pub(crate) fn layout(self, length: usize) -> Result<Layout, Fault> {
        let [c0, c1, c2, c3, flags, width, p0, p1] = self.shape.to_le_bytes();
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        let indexed = flags & INDEXED != 0;
        if count == 0
            || flags & !(SHARES | WIDE_OFFSETS | INDEXED) != 0
            || !(1..=8).contains(&width)
            || indexed && count > hash_index::INDEXED_ENTRIES_MAX
        {
            return Err(Fault::Field("block trailer"));
        }
        let wide = flags & WIDE_OFFSETS != 0;
        let entries = count as usize;
        let buckets = if indexed {
            hash_index::buckets_for(count) as usize
        } else {
            0
        };
        let parts = || {
            let trailer = length.checked_sub(TRAILER_BYTES)?;
            let buckets = trailer.checked_sub(buckets.checked_mul(hash_index::BUCKET_BYTES)?)?;
            let heads = buckets.checked_sub(entries.checked_mul(HEAD_BYTES)?)?;
            let offsets = heads.checked_sub(entries.checked_mul(if wide { 4 } else { 2 })?)?;
            Some((offsets, heads, buckets, trailer))
        };
        let (entries_end, heads, buckets, trailer) = parts().ok_or(Fault::Length {
            claimed: u64::from(count),
            available: length as u64,
        })?;
        Ok(Layout {
            base: self.base,
            count,
            entries_end,
            heads,
            buckets,
            trailer,
            prefix_bytes: u16::from_le_bytes([p0, p1]),
            width,
            shares: flags & SHARES != 0,
            wide,
        })
    }
}

/// A decoded entry, as places in its block: the key's suffix at `key`, the value right behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryAt {
    pub(crate) sequence: Sequence,
    pub(crate) kind: Kind,
    shared: usize,
    key: usize,
    value: usize,
    end: usize,
}

/// What a block says of a key at a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Its newest version not above the sequence.
    Found(EntryAt),
    /// It has none here, and none in the next block.
    Absent,
    /// All that the block holds from the key on is newer: if versions continue, they do so in the next block.
    Newer,
}

/// A block in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRef<'a> {
    bytes: &'a [u8],
    layout: Layout,
}

/// Reading blocks.
#[derive(Debug)]
pub(crate) enum Block {}

impl Block {
    /// Finds the parts of a block by its trailer.
    pub(crate) fn parse(bytes: &[u8]) -> Result<BlockRef<'_>, Fault> {
        Ok(BlockRef {
            bytes,
            layout: Trailer::of(bytes)?.layout(bytes.len())?,
        })
    }
}

fn outside() -> Fault {
    Fault::Field("block entry")
}

/// The varint at `at`, which moves behind it.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Result<usize, Fault> {
    // Short keys and values, nearly all of them, need one byte or two.
    let rest = bytes.get(*at..).unwrap_or_default();
    match rest {
        [low @ 0..0x80, ..] => {
            *at = at.wrapping_add(1);
            Ok(usize::from(*low))
        }
        [low, high @ 1..0x80, ..] => {
            *at = at.wrapping_add(2);
            Ok(usize::from(low & 0x7f) | usize::from(*high) << 7)
        }
        _ => {
            let mut reader = Reader::new(rest);
            let value = reader.varint_usize()?;
            *at = bytes.len().saturating_sub(reader.rest().len());
            Ok(value)
        }
    }
}

impl<'a> BlockRef<'a> {
    /// A block whose layout was found before.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], layout: Layout) -> Self {
        Self { bytes, layout }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// How many entries it holds; at least one.
    pub(crate) fn count(&self) -> u32 {
        self.layout.count
    }

    /// Decodes the entry with this ordinal.
    #[expect(clippy::inline_always, reason = "as `decode`")]
    #[inline(always)]
    pub(crate) fn entry(&self, ordinal: u32) -> Result<EntryAt, Fault> {
        self.decode(self.offset(ordinal)?)
    }

    #[inline]
    fn offset(&self, ordinal: u32) -> Result<usize, Fault> {
        let offsets = self
            .bytes
            .get(self.layout.entries_end..self.layout.heads)
            .unwrap_or_default();
        let ordinal = ordinal as usize;
        if self.layout.wide {
            let (offsets, _) = offsets.as_chunks::<4>();
            let offset = offsets.get(ordinal).ok_or_else(outside)?;
            Ok(u32::from_le_bytes(*offset) as usize)
        } else {
            let (offsets, _) = offsets.as_chunks::<2>();
            let offset = offsets.get(ordinal).ok_or_else(outside)?;
            Ok(usize::from(u16::from_le_bytes(*offset)))
        }
    }

    /// Decodes the entry that starts at `offset`.
    #[expect(
        clippy::inline_always,
        reason = "returned through memory, the parts of an entry cost more than decoding them"
    )]
    #[inline(always)]
    fn decode(&self, offset: usize) -> Result<EntryAt, Fault> {
        let mut at = offset;
        let shared = if self.layout.shares {
            varint(self.bytes, &mut at)?
        } else {
            0
        };
        let unshared = varint(self.bytes, &mut at)?;
        let value_bytes = varint(self.bytes, &mut at)?;
        // Eight bytes can always be read: the trailer lies behind the entries.
        let mark = self
            .bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<8>())
            .ok_or_else(outside)?;
        let unused_bits = 64u8.wrapping_sub(self.layout.width.wrapping_mul(8));
        let mark = u64::from_le_bytes(*mark) & (u64::MAX >> (unused_bits & 63));
        let [low, ..] = mark.to_le_bytes();
        let kind = Kind::from_tag(low & 3).ok_or_else(outside)?;
        let sequence = self
            .layout
            .base
            .checked_add(mark >> 2)
            .ok_or_else(outside)?;
        let key = at.wrapping_add(usize::from(self.layout.width));
        let value = key.checked_add(unshared).ok_or_else(outside)?;
        let end = value.checked_add(value_bytes).ok_or_else(outside)?;
        if end > self.layout.entries_end {
            return Err(outside());
        }
        Ok(EntryAt {
            sequence: Sequence::new(sequence),
            kind,
            shared,
            key,
            value,
            end,
        })
    }

    /// What the entry holds of its key: all of it, unless it shares a prefix.
    #[inline]
    pub(crate) fn suffix(&self, entry: &EntryAt) -> &'a [u8] {
        self.bytes.get(entry.key..entry.value).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn value(&self, entry: &EntryAt) -> &'a [u8] {
        self.bytes.get(entry.value..entry.end).unwrap_or_default()
    }

    /// The key of the restart point of the group that `ordinal` is in.
    fn restart_key(&self, ordinal: u32) -> Result<&'a [u8], Fault> {
        let restart = self.entry(ordinal & !(GROUP_ENTRIES.wrapping_sub(1)))?;
        if restart.shared != 0 {
            return Err(Fault::Field("restart point"));
        }
        Ok(self.suffix(&restart))
    }

    /// What the entry shares of its group's restart key.
    fn shared_part(&self, ordinal: u32, entry: &EntryAt) -> Result<&'a [u8], Fault> {
        if entry.shared == 0 {
            return Ok(&[]);
        }
        self.restart_key(ordinal)?
            .get(..entry.shared)
            .ok_or_else(outside)
    }

    /// Compares the key `shared` + suffix of `entry` with `key`.
    #[inline]
    fn compare_key(&self, shared: &[u8], entry: &EntryAt, key: &[u8]) -> Ordering {
        if shared.is_empty() {
            return self.suffix(entry).cmp(key);
        }
        match key.split_at_checked(shared.len()) {
            Some((head, rest)) => shared.cmp(head).then_with(|| self.suffix(entry).cmp(rest)),
            // A key that is a prefix of what is shared sorts before it.
            None => shared.cmp(key),
        }
    }

    /// Whether `entry` is of `key`.
    #[inline]
    fn has_key(&self, ordinal: u32, entry: &EntryAt, key: &[u8]) -> Result<bool, Fault> {
        if entry.shared == 0 {
            return Ok(self.suffix(entry) == key);
        }
        let shared = self.shared_part(ordinal, entry)?;
        Ok(key.strip_prefix(shared) == Some(self.suffix(entry)))
    }

    /// The newest entry of `key` and its ordinal. Blocks without an index do not know.
    #[expect(clippy::inline_always, reason = "as `decode`")]
    #[inline(always)]
    fn newest(&self, key: &[u8], hash: KeyHash) -> Result<Option<(u32, EntryAt)>, Fault> {
        let (buckets, _) = self
            .bytes
            .get(self.layout.buckets..self.layout.trailer)
            .unwrap_or_default()
            .as_chunks();
        for candidate in hash_index::candidates(buckets, self.layout.count, hash) {
            let ordinal = candidate.ordinal;
            let entry = if self.layout.wide {
                self.entry(ordinal)?
            } else {
                self.decode(usize::from(candidate.offset))?
            };
            if self.has_key(ordinal, &entry, key)? {
                return Ok(Some((ordinal, entry)));
            }
        }
        Ok(None)
    }

    fn is_indexed(&self) -> bool {
        self.layout.buckets != self.layout.trailer
    }

    /// The newest version of `key` not above `sequence`.
    #[inline]
    pub(crate) fn get(
        &self,
        key: &[u8],
        hash: KeyHash,
        sequence: Sequence,
    ) -> Result<Answer, Fault> {
        if self.is_indexed() {
            match self.newest(key, hash)? {
                None => return Ok(Answer::Absent),
                Some((_, entry)) if entry.sequence <= sequence => return Ok(Answer::Found(entry)),
                Some(_) => {}
            }
        }
        let ordinal = self.lower_bound(key, sequence)?;
        if ordinal == self.layout.count {
            return Ok(Answer::Newer);
        }
        let entry = self.entry(ordinal)?;
        Ok(if self.has_key(ordinal, &entry, key)? {
            Answer::Found(entry)
        } else {
            Answer::Absent
        })
    }

    /// The ordinal of the first entry at or after `(key, sequence)`; `count` if there is none.
    pub(crate) fn lower_bound(&self, key: &[u8], sequence: Sequence) -> Result<u32, Fault> {
        // The first entry lies at the start, and is a restart point: its key is whole.
        let first = self.decode(0)?;
        let prefix = self
            .suffix(&first)
            .get(..usize::from(self.layout.prefix_bytes))
            .ok_or_else(outside)?;
        let Some(rest) = key.strip_prefix(prefix) else {
            return Ok(if key < prefix { 0 } else { self.layout.count });
        };
        let target = head(rest);
        let (heads, _) = self
            .bytes
            .get(self.layout.heads..self.layout.buckets)
            .unwrap_or_default()
            .as_chunks::<HEAD_BYTES>();
        let low = heads.partition_point(|head| u16::from_le_bytes(*head) < target);
        let equal = heads.get(low..).unwrap_or_default();
        let equal = if equal.first() == Some(&target.to_le_bytes()) {
            equal.partition_point(|head| u16::from_le_bytes(*head) == target)
        } else {
            0
        };
        let low = u32::try_from(low).map_err(|_| outside())?;
        let high = low.saturating_add(u32::try_from(equal).map_err(|_| outside())?);
        partition_point(low, high, |ordinal| {
            let entry = self.entry(ordinal)?;
            let shared = self.shared_part(ordinal, &entry)?;
            Ok(self
                .compare_key(shared, &entry, key)
                .then_with(|| sequence.cmp(&entry.sequence))
                .is_lt())
        })
    }
}

/// The first two bytes as a number that orders as they do.
fn head(rest: &[u8]) -> u16 {
    match rest {
        [first, second, ..] => u16::from_be_bytes([*first, *second]),
        [first] => u16::from_be_bytes([*first, 0]),
        [] => 0,
    }
}

/// The first of `low..high` that is not before, given that all before come first; `high` if none is.
fn partition_point(
    mut low: u32,
    mut high: u32,
    mut is_before: impl FnMut(u32) -> Result<bool, Fault>,
) -> Result<u32, Fault> {
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle)? {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}
