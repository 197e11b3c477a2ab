//! The form that a tree should have: how many sorted levels, and how large each may be.
//!
//! Targets are computed from the data downwards up: the last level holds what there is, each level
//! above a `multiplier`-th of the one below (Dong and others, "Optimizing Space Amplification in
//! RocksDB", CIDR 2017, section 3.2, dynamic level sizes). So what is superseded and not yet merged
//! is about a ninth of the data at a multiplier of ten, whatever the size of the database.
//!
//! There are as few levels as that allows: a second one is opened only when the first has outgrown
//! [`BASE_FACTOR`] full level zeros. `docs/decisions/0010-levels.md` has the figures.

use crate::options::DbOptions;
use crate::tree::version::LEVELS_MAX;

/// One sorted level is enough up to this many times a full level 0. A merge of level 0 rewrites all
/// of that level; beyond this, merging through one level more writes less.
const BASE_FACTOR: u64 = 4;

/// A part of a merge takes about so many tables. What a table of a sorted level meets below is as much.
const PART_TABLES: u64 = 10;

/// What the options say of the form of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// With more tables than this, level 0 is merged.
    pub(crate) l0_tables_max: usize,
    /// How many times larger a level is than the one above.
    pub(crate) multiplier: u64,
    /// The level below level 0 may grow to this before one more is opened.
    pub(crate) base_bytes_max: u64,
    /// A new table begins where one has grown to this.
    pub(crate) table_bytes: u64,
    /// A merge of level 0 is done in parts of about this, as far as there are tables below to part it.
    pub(crate) part_bytes: u64,
}

impl Shape {
    pub(crate) fn of(options: &DbOptions) -> Self {
        let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        let level_0 = bytes(options.write_buffer_bytes).saturating_mul(bytes(options.max_l0_files));
        let table_bytes = bytes(options.target_table_bytes);
        Self {
            l0_tables_max: options.max_l0_files,
            multiplier: bytes(options.level_size_multiplier),
            base_bytes_max: level_0.saturating_mul(BASE_FACTOR).max(table_bytes),
            table_bytes,
            part_bytes: table_bytes.saturating_mul(PART_TABLES),
        }
    }
}

/// Which sorted levels are in use, and what each should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Where level 0 is merged to. Sorted levels above it should be empty.
    pub(crate) base: usize,
    /// The deepest level.
    pub(crate) last: usize,
    bytes: [u64; LEVELS_MAX],
}

impl Targets {
    /// For a tree whose levels hold so many bytes.
    pub(crate) fn of(shape: &Shape, sizes: &[u64; LEVELS_MAX]) -> Self {
        let depth = (1..LEVELS_MAX)
            .rfind(|level| sizes[*level] > 0)
            .unwrap_or(1);
        let total: u64 = sizes[1..].iter().sum();
        // How many levels it takes until the uppermost is small enough to be merged as a whole.
        let mut needed = 1;
        let mut uppermost = total;
        while uppermost > shape.base_bytes_max && needed < LEVELS_MAX - 1 {
            uppermost /= shape.multiplier;
            needed += 1;
        }
        let last = depth.max(needed);
        let base = last + 1 - needed;
        let mut bytes = [0; LEVELS_MAX];
        bytes[last] = u64::MAX;
        let mut target = total;
        for level in (base..last).rev() {
            target /= shape.multiplier;
            bytes[level] = target.max(1);
        }
        Self { base, last, bytes }
    }

    /// What `level` should hold at the most; zero above the base.
    pub(crate) fn bytes(&self, level: usize) -> u64 {
        self.bytes[level]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHAPE: Shape = Shape {
        l0_tables_max: 4,
        multiplier: 10,
        base_bytes_max: 1000,
        table_bytes: 100,
        part_bytes: 1000,
    };

    fn targets(sizes: [u64; LEVELS_MAX]) -> Targets {
        Targets::of(&SHAPE, &sizes)
    }

    #[test]
    fn a_small_tree_has_one_sorted_level() {
        for sizes in [[0; 7], [9000, 0, 0, 0, 0, 0, 0], [0, 1000, 0, 0, 0, 0, 0]] {
            let targets = targets(sizes);
            assert_eq!((targets.base, targets.last), (1, 1));
            assert_eq!(targets.bytes(1), u64::MAX);
        }
    }

    #[test]
    fn a_level_that_outgrows_the_base_opens_one_below() {
        let targets = targets([0, 2000, 0, 0, 0, 0, 0]);
        assert_eq!((targets.base, targets.last), (1, 2));
        assert_eq!(targets.bytes(1), 200);
    }

    #[test]
    fn a_tree_that_has_shrunk_leaves_its_upper_levels() {
        let targets = targets([0, 10, 50, 500, 0, 0, 0]);
        assert_eq!((targets.base, targets.last), (3, 3));
        assert_eq!((targets.bytes(1), targets.bytes(2)), (0, 0));
    }

    proptest! {
        #[test]
        fn each_level_is_to_hold_a_tenth_of_the_one_below(sizes in prop::array::uniform7(0..10_000_000_u64)) {
            let targets = targets(sizes);
            prop_assert!(1 <= targets.base && targets.base <= targets.last && targets.last < LEVELS_MAX);
            let total: u64 = sizes[1..].iter().sum();
            let mut above = 0;
            for level in targets.base..targets.last {
                prop_assert!(targets.bytes(level) >= above);
                prop_assert!(targets.bytes(level) <= total.div_ceil(10).max(1));
                above = targets.bytes(level);
            }
            // All that is above the last level is little beside it.
            let upper: u64 = (targets.base..targets.last).map(|level| targets.bytes(level)).sum();
            prop_assert!(upper <= total / 9 + 7);
        }
    }
}
