//! The split-block Bloom filter: one 32-byte line per query, one bit in each of its eight words.
//!
//! Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007), in the form and
//! with the salts of the Apache Parquet specification ("Bloom Filter"). Only the hash and the way a
//! line is chosen are said in [`crate::hash`].
//!
//! A filter is a whole number of lines and nothing else. None at all says present of everything.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use crate::hash::KeyHash;

/// Bytes of a line.
pub(crate) const LINE_BYTES: usize = 32;

/// Parquet's salts. They reach the disk: never change them.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// The bit of each word that `hash` sets.
fn masks(hash: KeyHash) -> [u32; 8] {
    SALTS.map(|salt| 1 << (hash.low().wrapping_mul(salt) >> 27))
}

/// Whether every bit of `hash` is set in `line`, which is its own.
#[inline]
pub(crate) fn line_may_contain(line: &[u8; LINE_BYTES], hash: KeyHash) -> bool {
    let (words, _) = line.as_chunks::<4>();
    // No early exit: a line is in one cache line, and a branch per word would cost more than it saves.
    words
        .iter()
        .zip(masks(hash))
        .fold(0, |missing, (word, mask)| {
            missing | (mask & !u32::from_le_bytes(*word))
        })
        == 0
}

/// Whether every bit of `hash` is set in its line of `filter`, which is in one piece.
#[cfg(test)]
pub(crate) fn may_contain(filter: &[u8], hash: KeyHash) -> bool {
    let (lines, _) = filter.as_chunks::<LINE_BYTES>();
    let line = lines.get(hash.line(u32::try_from(lines.len()).unwrap()) as usize);
    line.is_none_or(|line| line_may_contain(line, hash))
}

/// The bytes of a filter of `count` hashes.
pub(crate) fn bytes_for(count: usize, bits_per_key: u8) -> usize {
    let bits = count.saturating_mul(usize::from(bits_per_key));
    bits.div_ceil(LINE_BYTES * 8)
        .saturating_mul(LINE_BYTES)
        .max(LINE_BYTES)
}

/// The filter of `hashes`.
pub(crate) fn build(hashes: &[KeyHash], bits_per_key: u8) -> Vec<u8> {
    let mut filter = vec![0; bytes_for(hashes.len(), bits_per_key)];
    let (lines, _) = filter.as_chunks_mut::<LINE_BYTES>();
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    for hash in hashes {
        if let Some(line) = lines.get_mut(hash.line(count) as usize) {
            let (words, _) = line.as_chunks_mut::<4>();
            for (word, mask) in words.iter_mut().zip(masks(*hash)) {
                *word = (u32::from_le_bytes(*word) | mask).to_le_bytes();
            }
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    /// Also the worked example of docs/format.md, "Filters".
    #[test]
    fn one_key_sets_one_bit_in_each_word() {
        let filter = build(&[KeyHash::of(b"key")], 10);
        assert_eq!(
            hex(&filter),
            "0040000000002000000000200000010000008000000000010400000000002000"
        );
    }

    #[test]
    fn no_lines_exclude_nothing() {
        assert!(may_contain(&[], KeyHash::of(b"key")));
        assert!(!may_contain(&[0; 32], KeyHash::of(b"key")));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_was_put_in_is_never_absent_and_most_else_is(
            seed in any::<u64>(), count in 1usize..4000, bits in prop_oneof![Just(6u8), Just(10), Just(16)],
        ) {
            let hash = |i: usize, odd: u64| KeyHash::of(&[seed, i as u64, odd].map(u64::to_le_bytes).concat());
            let hashes: Vec<_> = (0..count).map(|i| hash(i, 0)).collect();
            let filter = build(&hashes, bits);
            prop_assert_eq!(filter.len(), bytes_for(count, bits));
            prop_assert!(hashes.iter().all(|hash| may_contain(&filter, *hash)));
            let wrong = (0..4000).filter(|i| may_contain(&filter, hash(*i, 1))).count();
            // Expected: about 8 %, 1.2 % and 0.1 %; the bounds leave room for chance.
            let limit = match bits { 6 => 640, 10 => 160, _ => 40 };
            prop_assert!(wrong < limit, "{} of 4000 at {} bits", wrong, bits);
        }
    }
}
