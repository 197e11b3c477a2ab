//! Maps and sets of names and numbers that live in memory only, by a fast keyed hash (`foldhash`).
//!
//! The key of the hash is drawn once for each process from the host's: names come from outside, and whoever chooses them
//! must not be able to choose where they collide. Nobody may rely on an order.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, SeedableRandomState};
use trine_platform::random::{Random, entropy_seed};

/// A map of names or numbers.
pub(crate) type Map<K, V> = HashMap<K, V, Keyed>;

/// A set of names or numbers.
pub(crate) type Set<T> = HashSet<T, Keyed>;

/// The hash of this process.
#[derive(Clone, Debug)]
pub(crate) struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Self {
        static KEY: OnceLock<(u64, SharedSeed)> = OnceLock::new();
        let (own, shared) = KEY.get_or_init(|| {
            let mut random = Random::new(entropy_seed());
            (random.next_u64(), SharedSeed::from_u64(random.next_u64()))
        });
        Self(SeedableRandomState::with_seed(*own, shared))
    }
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_finds_what_was_put_into_it_and_into_its_clone() {
        let mut map = Map::default();
        for number in 0..1_000u32 {
            map.insert(number.to_string(), number);
        }
        let copy = map.clone();
        for number in 0..1_000u32 {
            assert_eq!(copy.get(number.to_string().as_str()), Some(&number));
        }
        assert!(!copy.contains_key("1000"));
    }
}
