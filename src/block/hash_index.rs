//! From the hash of a user key to its newest entry in the block.
//!
//! - Buckets are two `u16`, mark and offset, probed linearly, at most three fifths full.
//! - A mark's low bits hold the entry's ordinal, as many as the block's entry count needs; the bits above
//!   hold the low bits of the hash's tag. Most wrong candidates differ in the tag and cost no look at an entry.
//! - A mark of all ones is an empty bucket: an ordinal is below the count, so it never has all its bits set.
//! - The offset repeats that of the offsets array: a lookup misses the cache once less. Zero in blocks whose
//!   offsets are wide.
//!
//! docs/format.md, "Blocks".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::hash::KeyHash;

/// Blocks with more entries have no index: ordinals would leave too few values for "empty".
pub(crate) const INDEXED_ENTRIES_MAX: u32 = 65_000;

const EMPTY: u16 = u16::MAX;

/// Bytes of a bucket.
pub(crate) const BUCKET_BYTES: usize = 4;

/// An entry that may be the one looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) ordinal: u32,
    pub(crate) offset: u16,
}

/// Buckets of a block with so many entries, at most [`INDEXED_ENTRIES_MAX`].
pub(crate) fn buckets_for(count: u32) -> u32 {
    count.saturating_mul(5).div_ceil(3).saturating_add(1)
}

/// Bits of a bucket that hold an ordinal below `count`.
fn ordinal_bits(count: u32) -> u32 {
    u32::BITS.saturating_sub(count.leading_zeros())
}

/// What a mark holds above the ordinal.
fn tag(hash: KeyHash, bits: u32) -> u32 {
    hash.tag() & 0xffffu32.unbounded_shr(bits)
}

/// The entries that may be of `hash`'s key, in the order to be tried.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    buckets: &'a [[u8; BUCKET_BYTES]],
    bucket: usize,
    untried: usize,
    bits: u32,
    tag: u32,
}

/// Looks `hash` up in the index of a block of `count` entries.
pub(crate) fn candidates(
    buckets: &[[u8; BUCKET_BYTES]],
    count: u32,
    hash: KeyHash,
) -> Candidates<'_> {
    let bits = ordinal_bits(count);
    let total = u32::try_from(buckets.len()).unwrap_or(u32::MAX);
    Candidates {
        buckets,
        bucket: hash.bucket(total) as usize,
        untried: buckets.len(),
        bits,
        tag: tag(hash, bits),
    }
}

impl Iterator for Candidates<'_> {
    type Item = Candidate;

    #[inline]
    fn next(&mut self) -> Option<Candidate> {
        loop {
            self.untried = self.untried.checked_sub(1)?;
            let [m0, m1, o0, o1] = *self.buckets.get(self.bucket)?;
            let mark = u16::from_le_bytes([m0, m1]);
            if mark == EMPTY {
                self.untried = 0;
                return None;
            }
            self.bucket = self.bucket.wrapping_add(1);
            if self.bucket == self.buckets.len() {
                self.bucket = 0;
            }
            let mark = u32::from(mark);
            if mark.unbounded_shr(self.bits) == self.tag {
                return Some(Candidate {
                    ordinal: mark & !u32::MAX.unbounded_shl(self.bits),
                    offset: u16::from_le_bytes([o0, o1]),
                });
            }
        }
    }
}

/// Appends the index of a block of `count` entries, given the newest entry of each key.
pub(crate) fn build(
    out: &mut Vec<u8>,
    count: u32,
    newest: impl Iterator<Item = (KeyHash, Candidate)>,
) {
    let bits = ordinal_bits(count);
    let total = buckets_for(count);
    let start = out.len();
    out.resize(
        start.saturating_add((total as usize).saturating_mul(BUCKET_BYTES)),
        0xff,
    );
    let (buckets, _) = out
        .get_mut(start..)
        .unwrap_or_default()
        .as_chunks_mut::<BUCKET_BYTES>();
    for (hash, entry) in newest {
        let mark = tag(hash, bits).unbounded_shl(bits) | entry.ordinal;
        let mark = u16::try_from(mark).unwrap_or(EMPTY);
        let (before, from) = buckets
            .split_at_mut_checked(hash.bucket(total) as usize)
            .unwrap_or_default();
        if let Some(bucket) = from
            .iter_mut()
            .chain(before)
            .find(|bucket| bucket.starts_with(&EMPTY.to_le_bytes()))
        {
            let ([m0, m1], [o0, o1]) = (mark.to_le_bytes(), entry.offset.to_le_bytes());
            *bucket = [m0, m1, o0, o1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(i: u32) -> KeyHash {
        KeyHash::of(&i.to_le_bytes())
    }

    fn index(count: u32) -> Vec<u8> {
        let mut out = Vec::new();
        build(&mut out, count, (0..count).map(|i| (hash(i), candidate(i))));
        out
    }

    fn candidate(ordinal: u32) -> Candidate {
        Candidate {
            ordinal,
            offset: u16::try_from(ordinal).unwrap(),
        }
    }

    #[test]
    fn every_key_is_among_its_own_candidates() {
        for count in [1, 2, 3, 7, 8, 127, 128, 255, 256, 1000, 65_000] {
            let bytes = index(count);
            let (buckets, _) = bytes.as_chunks();
            assert_eq!(buckets.len(), buckets_for(count) as usize);
            for i in 0..count {
                assert!(
                    candidates(buckets, count, hash(i)).any(|found| found == candidate(i)),
                    "{i} of {count}"
                );
            }
        }
    }

    #[test]
    fn tags_leave_few_candidates_for_absent_keys() {
        let bytes = index(136);
        let (buckets, _) = bytes.as_chunks();
        let wrong: usize = (1000..2000)
            .map(|i| candidates(buckets, 136, hash(i)).count())
            .sum();
        assert!(wrong < 40, "{wrong} entries would be looked at for nothing");
    }

    #[test]
    fn a_full_or_missing_index_ends() {
        assert_eq!(candidates(&[], 5, hash(1)).count(), 0);
        assert!(candidates(&[[0; 4]; 4], 5, hash(1)).count() <= 4);
    }
}
