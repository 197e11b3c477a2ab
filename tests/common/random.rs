//! Randomness of the tests: one printed seed, so that every failure replays.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The seed of this run: `TRINE_TEST_SEED` where it is set, else a fresh one. Printed either way.
pub(crate) fn seed(test: &str) -> u64 {
    let seed = match std::env::var("TRINE_TEST_SEED") {
        Ok(text) => text.parse().expect("TRINE_TEST_SEED is a decimal u64"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    eprintln!("{test}: replay with TRINE_TEST_SEED={seed}");
    seed
}

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014): small, and any seed is a good one.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
