//! When the values of a blob file are worth moving to a new one. Pure.
//!
//! A value moves when a compaction writes the entry that refers to it, and only then, so that a move is
//! part of an edit like any other. A file whose last value has moved or gone is obsolete.

use crate::options::{BlobGcRatio, BlobLevelMergePolicy};
use trine_platform::sorted::SortedSet;

/// Under `Auto`, a file of which at least one part in this many is stale is not kept.
const STALE_DIVISOR: u64 = 5;

/// Under `Auto`, files shorter than this are merged when they meet. One that is longer is left where it is until
/// enough of it is stale, so that few values are ever written more than twice.
const SMALL_FILE_BYTES: u64 = 16 << 20;

/// The options about blob files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobPolicy {
    pub(crate) merge: BlobLevelMergePolicy,
    /// `None`: files are not rewritten for their garbage alone.
    pub(crate) gc: Option<BlobGc>,
}

/// When garbage makes a file due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlobGc {
    pub(crate) ratio: BlobGcRatio,
    pub(crate) min_file_bytes: u64,
}

/// How much of a file is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Liveness {
    pub(crate) file: u64,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// Of all values in it.
    pub(crate) value_bytes: u64,
    /// Of those that tables outside the compaction refer to.
    pub(crate) elsewhere_bytes: u64,
    /// Of those that the compaction keeps.
    pub(crate) kept_bytes: u64,
}

impl Liveness {
    pub(crate) fn stale_bytes(&self) -> u64 {
        self.value_bytes
            .saturating_sub(self.elsewhere_bytes)
            .saturating_sub(self.kept_bytes)
    }

    fn is_small(&self) -> bool {
        self.file_bytes < SMALL_FILE_BYTES
    }
}

impl BlobGc {
    /// Whether its garbage alone is reason enough to rewrite the file.
    pub(crate) fn is_due(&self, file: &Liveness) -> bool {
        let stale = u128::from(file.stale_bytes()) * 1_000_000;
        let needed = u128::from(file.value_bytes) * u128::from(self.ratio.millionths());
        file.file_bytes >= self.min_file_bytes && stale > 0 && stale >= needed
    }
}

impl BlobPolicy {
    /// Whether a compaction never moves values, whatever it meets.
    pub(crate) fn moves_nothing(&self) -> bool {
        self.merge == BlobLevelMergePolicy::Disabled && self.gc.is_none()
    }

    /// Of the files that the inputs of a compaction refer to, those whose values it moves.
    pub(crate) fn moved(&self, files: &[Liveness]) -> SortedSet<u64> {
        let small = files
            .iter()
            .filter(|file| file.is_small() && file.kept_bytes > 0);
        let several_small = small.count() > 1;
        let is_moved = |file: &&Liveness| {
            let stale = file.stale_bytes();
            let merged = match self.merge {
                BlobLevelMergePolicy::Disabled => false,
                BlobLevelMergePolicy::Always => true,
                BlobLevelMergePolicy::Auto if file.is_small() => stale > 0 || several_small,
                BlobLevelMergePolicy::Auto => stale >= file.value_bytes.div_ceil(STALE_DIVISOR),
            };
            merged || self.gc.is_some_and(|gc| gc.is_due(file))
        };
        files
            .iter()
            .filter(is_moved)
            .map(|file| file.file)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file of so many MiB, of which a compaction keeps some and other tables need some.
    fn file(number: u64, mib: u64, elsewhere: u64, kept: u64) -> Liveness {
        Liveness {
            file: number,
            file_bytes: mib * MIB,
            value_bytes: mib * MIB,
            elsewhere_bytes: elsewhere * MIB,
            kept_bytes: kept * MIB,
        }
    }

    fn moved(policy: BlobPolicy, files: &[Liveness]) -> Vec<u64> {
        policy.moved(files).iter().copied().collect()
    }

    fn merging(merge: BlobLevelMergePolicy) -> BlobPolicy {
        BlobPolicy { merge, gc: None }
    }

    #[test]
    fn disabled_moves_nothing_and_always_everything() {
        let files = [file(1, 1, 0, 1), file(2, 100, 0, 1)];
        assert!(moved(merging(BlobLevelMergePolicy::Disabled), &files).is_empty());
        assert_eq!(moved(merging(BlobLevelMergePolicy::Always), &files), [1, 2]);
    }

    #[test]
    fn auto_merges_small_files_that_meet() {
        let auto = merging(BlobLevelMergePolicy::Auto);
        assert_eq!(moved(auto, &[file(1, 1, 0, 1), file(2, 2, 0, 2)]), [1, 2]);
        assert!(moved(auto, &[file(1, 1, 0, 1), file(2, 100, 0, 100)]).is_empty());
        assert_eq!(moved(auto, &[file(1, 3, 0, 2)]), [1]);
    }

    #[test]
    fn auto_leaves_large_files_until_a_fifth_is_stale() {
        let auto = merging(BlobLevelMergePolicy::Auto);
        assert!(moved(auto, &[file(1, 100, 0, 81), file(2, 100, 60, 21)]).is_empty());
        assert_eq!(
            moved(auto, &[file(1, 100, 0, 80), file(2, 100, 60, 20)]),
            [1, 2]
        );
    }

    #[test]
    fn garbage_is_collected_from_the_ratio_and_the_length_on() {
        let policy = BlobPolicy {
            merge: BlobLevelMergePolicy::Disabled,
            gc: Some(BlobGc {
                ratio: BlobGcRatio::HALF,
                min_file_bytes: 10 * MIB,
            }),
        };
        assert!(moved(policy, &[file(1, 9, 0, 1), file(2, 10, 3, 3)]).is_empty());
        assert_eq!(
            moved(policy, &[file(1, 10, 3, 2), file(2, 20, 0, 0)]),
            [1, 2]
        );
        assert!(!policy.moves_nothing());
    }
}
