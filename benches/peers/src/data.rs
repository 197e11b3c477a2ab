//! Keys and values that every engine gets alike, made from numbers without a list of them.
//!
//! Keys are 16 bytes: an even number, big-endian, then filling, as `db_bench` has them. Odd numbers are
//! the keys that nobody wrote, right between those that are there. Values compress to about a half.

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of an ordinary value.
pub const VALUE_BYTES: usize = 100;
/// Bytes of a large value.
pub const LARGE_BYTES: usize = 64 << 10;
/// How many rows one prefix of [`PREFIX_BYTES`] has.
pub const PREFIX_ROWS: u64 = 128;
/// The number without its last byte.
pub const PREFIX_BYTES: usize = 7;

const POOL_BYTES: usize = 256 << 10;
/// Half of each piece repeats the other half.
const PIECE_BYTES: usize = 100;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// The finaliser of `SplitMix64`.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The key of row `index`.
pub fn key(index: u64) -> Key {
    numbered(2 * index)
}

/// A key between row `index` and the next one.
pub fn absent_key(index: u64) -> Key {
    numbered(2 * index + 1)
}

fn numbered(number: u64) -> Key {
    let mut key = [b'0'; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

/// What is summed over all values read, so that each of their cache lines is touched and checked.
pub fn touch(value: &[u8]) -> u64 {
    let mut sum = value.len() as u64;
    for line in value.chunks(64) {
        if let Some(word) = line.first_chunk::<8>() {
            sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    sum
}

/// An endless sequence of random rows.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// Evenly from `0..below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        let wide = u128::from(mix(self.0)) * u128::from(below);
        (wide >> 64) as u64
    }
}

/// The rows `0..rows` and what they hold.
pub struct Data {
    pub rows: u64,
    pub value_bytes: usize,
    half_bits: u32,
    pool: Vec<u8>,
}

impl Data {
    pub fn new(rows: u64, value_bytes: usize) -> Self {
        let mut pool = Vec::with_capacity(POOL_BYTES + value_bytes);
        let mut random = 0;
        while pool.len() < POOL_BYTES + value_bytes {
            let start = pool.len();
            while pool.len() < start + PIECE_BYTES / 2 {
                random += 1;
                pool.extend_from_slice(&mix(random).to_le_bytes());
            }
            pool.truncate(start + PIECE_BYTES / 2);
            pool.extend_from_within(start..);
        }
        // An even number of bits that holds every row.
        let half_bits = (64 - rows.max(2).leading_zeros()).div_ceil(2);
        Self {
            rows,
            value_bytes,
            half_bits,
            pool,
        }
    }

    /// Fills `value` with what row `index` holds.
    pub fn fill(&self, index: u64, value: &mut Vec<u8>) {
        let at = (mix(index) as usize) % POOL_BYTES;
        value.clear();
        value.extend_from_slice(&self.pool[at..at + self.value_bytes]);
        value[..8].copy_from_slice(&mix(index).to_le_bytes());
    }

    /// [`touch`] of the value of row `index`.
    pub fn touched(&self, index: u64, value: &mut Vec<u8>) -> u64 {
        self.fill(index, value);
        touch(value)
    }

    /// [`touched`](Self::touched), summed.
    pub fn touched_by(&self, rows: impl Iterator<Item = u64>) -> u64 {
        let mut value = Vec::new();
        rows.fold(0, |sum: u64, row| {
            sum.wrapping_add(self.touched(row, &mut value))
        })
    }

    /// A bijection of the rows: a Feistel network over the next power of four, walked until it is inside.
    pub fn permuted(&self, index: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let mut at = index;
        loop {
            let (mut left, mut right) = (at >> self.half_bits, at & mask);
            for round in 0..4 {
                (left, right) = (right, left ^ (mix(right ^ (round << 56)) & mask));
            }
            at = (left << self.half_bits) | right;
            if at < self.rows {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_up_once() {
        for rows in [1, 2, 5, 1000, 4096] {
            let data = Data::new(rows, VALUE_BYTES);
            let mut seen: Vec<_> = (0..rows).map(|index| data.permuted(index)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..rows), "{rows} rows");
        }
    }

    #[test]
    fn values_differ_and_fill_their_length() {
        let data = Data::new(10, VALUE_BYTES);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        data.fill(1, &mut a);
        data.fill(2, &mut b);
        assert_eq!((a.len(), b.len()), (VALUE_BYTES, VALUE_BYTES));
        assert_ne!(a, b);
    }

    #[test]
    fn absent_keys_lie_between_rows() {
        assert!(key(7) < absent_key(7) && absent_key(7) < key(8));
        assert_eq!(key(0)[..PREFIX_BYTES], key(PREFIX_ROWS - 1)[..PREFIX_BYTES]);
        assert_ne!(key(0)[..PREFIX_BYTES], key(PREFIX_ROWS)[..PREFIX_BYTES]);
    }
}
