//! A small seeded generator, and a seed from the host. Not for secrets.
//!
//! `SplitMix64`: G. L. Steele, D. Lea, C. H. Flood, "Fast Splittable Pseudorandom Number Generators",
//! OOPSLA 2014, with the constants of S. Vigna's reference (public domain, 2015). One word of state,
//! period 2^64, the same numbers on every host for ever: a printed seed replays a test.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A stream of numbers fixed by its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`, all equally likely; 0 if `bound` is 0.
    ///
    /// By multiplication with rejection: D. Lemire, "Fast Random Integer Generation in an Interval", 2019.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves of a 128-bit product"
    )]
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        // Low halves under this belong to the numbers that one 64-bit word would favour.
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let product = self.next_u64() as u128 * bound as u128;
            if product as u64 >= unfair {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A seed that differs from run to run, as far as the host has entropy or a clock.
pub fn entropy_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(crate::clock::wall_millis());
    hasher.write_u64(crate::clock::now().nanos());
    // The hasher's own keys are the same in every run there.
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    hasher.write_u64(crate::web::random());
    hasher.finish()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        // First outputs of the reference generator for seed 1234567.
        let mut random = Random::new(1_234_567);
        let numbers: Vec<_> = (0..5).map(|_| random.next_u64()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn bounded_numbers_reach_every_value_and_no_other() {
        let mut random = Random::new(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[usize::try_from(random.below(7)).unwrap()] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn fill_is_the_stream_in_little_endian() {
        let mut bytes = [0; 11];
        Random::new(3).fill(&mut bytes);
        let mut random = Random::new(3);
        assert_eq!(bytes[..8], random.next_u64().to_le_bytes());
        assert_eq!(bytes[8..], random.next_u64().to_le_bytes()[..3]);
    }

    #[test]
    fn two_entropy_seeds_differ() {
        assert_ne!(entropy_seed(), entropy_seed());
    }
}
