//! Which blob files hold too much garbage, and which a merge of tables brings together. Pure.
//!
//! - A value moves when a compaction writes the entry that refers to it, and only then, so that a move is
//!   part of an edit like any other. A file whose last value has moved or gone is obsolete.
//! - Where nothing else is asked for, garbage is looked at as a whole: as long as there is not too much of it nothing
//!   moves, and then the stalest files go first. They give most for what has to be written again, and of the others more dies meanwhile.

use crate::options::{BlobGcRatio, BlobLevelMergePolicy};
use trine_platform::sorted::{SortedSet, sort_few};

/// Under `Auto`, this part of all values in blob files may be garbage when nobody writes: a fifth beside those that live.
const AT_REST: BlobGcRatio = BlobGcRatio::from_millionths(1_000_000 / 6);

/// Under `Auto`, less garbage than this is left alone.
const GARBAGE_BYTES_MIN: u64 = 4 << 20;

/// Under `Auto`, files shorter than this are merged when they meet.
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
    /// Of those that tables refer to.
    pub(crate) live_bytes: u64,
}

impl Liveness {
    pub(crate) fn stale_bytes(&self) -> u64 {
        self.value_bytes.saturating_sub(self.live_bytes)
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

    /// Whether files that are [`due`](Self::due) wait until there is too much garbage in all, or nobody writes.
    pub(crate) fn waits(&self) -> bool {
        self.merge == BlobLevelMergePolicy::Auto
    }

    /// The files whose own garbage makes them due.
    pub(crate) fn due(&self, files: &[Liveness]) -> SortedSet<u64> {
        let is_due = |file: &&Liveness| self.gc.is_some_and(|gc| gc.is_due(file));
        numbers(files.iter().filter(is_due))
    }

    /// The files that have to go if a tree that is written to all the time is to hold no more than its share of garbage.
    pub(crate) fn pressing(&self, files: &[Liveness]) -> SortedSet<u64> {
        match self.merge {
            // The more of it there may be, the less is moved for it.
            BlobLevelMergePolicy::Auto => {
                stalest(files, self.gc.map_or(BlobGcRatio::HALF, |gc| gc.ratio))
            }
            BlobLevelMergePolicy::Disabled | BlobLevelMergePolicy::Always => SortedSet::new(),
        }
    }

    /// The same for a tree to which nobody writes.
    pub(crate) fn crowding(&self, files: &[Liveness]) -> SortedSet<u64> {
        match self.merge {
            BlobLevelMergePolicy::Auto => stalest(files, AT_REST),
            BlobLevelMergePolicy::Disabled | BlobLevelMergePolicy::Always => SortedSet::new(),
        }
    }

    /// Of the files that the inputs of a merge refer to, those whose values it moves whether they hold garbage or not.
    pub(crate) fn merged(&self, files: &[Liveness]) -> SortedSet<u64> {
        let small = || files.iter().filter(|file| file.is_small());
        match self.merge {
            BlobLevelMergePolicy::Auto if small().count() > 1 => numbers(small()),
            BlobLevelMergePolicy::Auto | BlobLevelMergePolicy::Disabled => SortedSet::new(),
            BlobLevelMergePolicy::Always => numbers(files.iter()),
        }
    }

    /// The files whose garbage somebody who wants a range compacted wants gone, besides those that are too stale.
    pub(crate) fn untidy(&self, files: &[Liveness]) -> SortedSet<u64> {
        let is_untidy = |file: &&Liveness| match self.merge {
            BlobLevelMergePolicy::Disabled => false,
            BlobLevelMergePolicy::Auto => file.is_small(),
            BlobLevelMergePolicy::Always => true,
        };
        let stale = files.iter().filter(|file| file.stale_bytes() > 0);
        numbers(stale.filter(is_untidy))
    }
}

fn numbers<'a>(files: impl Iterator<Item = &'a Liveness>) -> SortedSet<u64> {
    files.map(|file| file.file).collect()
}

/// The stalest files, as many as have to go so that no more than a share of what is left is garbage.
fn stalest(files: &[Liveness], allowed: BlobGcRatio) -> SortedSet<u64> {
    let mut all: u64 = files.iter().map(|file| file.value_bytes).sum();
    let mut garbage: u64 = files.iter().map(Liveness::stale_bytes).sum();
    let mut stalest: Vec<_> = files.iter().filter(|file| file.stale_bytes() > 0).collect();
    sort_few(&mut stalest, |left, right| {
        let share = |of: &Liveness, other: &Liveness| {
            u128::from(of.stale_bytes()) * u128::from(other.value_bytes)
        };
        let shares = share(right, left).cmp(&share(left, right));
        shares.then(left.file.cmp(&right.file))
    });
    let mut chosen = SortedSet::new();
    for file in stalest {
        let share = u128::from(garbage) * 1_000_000;
        let is_too_much = share > u128::from(all) * u128::from(allowed.millionths());
        if garbage < GARBAGE_BYTES_MIN || !is_too_much {
            break;
        }
        chosen.insert(file.file);
        all = all.saturating_sub(file.stale_bytes());
        garbage = garbage.saturating_sub(file.stale_bytes());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A file of so many MiB, of which so many are live.
    fn file(number: u64, mib: u64, live: u64) -> Liveness {
        Liveness {
            file: number,
            file_bytes: mib * MIB,
            value_bytes: mib * MIB,
            live_bytes: live * MIB,
        }
    }

    fn list(files: &SortedSet<u64>) -> Vec<u64> {
        files.iter().copied().collect()
    }

    fn merging(merge: BlobLevelMergePolicy) -> BlobPolicy {
        BlobPolicy { merge, gc: None }
    }

    const AUTO: BlobPolicy = BlobPolicy {
        merge: BlobLevelMergePolicy::Auto,
        gc: None,
    };

    #[test]
    fn disabled_moves_nothing_and_always_everything() {
        let files = [file(1, 1, 1), file(2, 100, 1), file(3, 100, 100)];
        let disabled = merging(BlobLevelMergePolicy::Disabled);
        assert!(disabled.moves_nothing());
        assert!(disabled.merged(&files).is_empty());
        assert!(disabled.crowding(&files).is_empty());
        assert!(disabled.untidy(&files).is_empty());
        let always = merging(BlobLevelMergePolicy::Always);
        assert_eq!(list(&always.merged(&files)), [1, 2, 3]);
        assert_eq!(list(&always.untidy(&files)), [2]);
        assert!(always.pressing(&files).is_empty());
    }

    #[test]
    fn auto_merges_small_files_that_meet() {
        let merged = |files: &[Liveness]| list(&AUTO.merged(files));
        assert_eq!(
            merged(&[file(1, 1, 1), file(2, 2, 2), file(3, 16, 16)]),
            [1, 2]
        );
        assert!(merged(&[file(1, 1, 1), file(2, 100, 20)]).is_empty());
        let files = [file(1, 3, 2), file(2, 3, 3), file(3, 16, 1)];
        assert_eq!(list(&AUTO.untidy(&files)), [1]);
    }

    #[test]
    fn auto_leaves_files_until_there_is_too_much_garbage_in_all() {
        let crowding = |files: &[Liveness]| list(&AUTO.crowding(files));
        assert!(crowding(&[file(1, 29, 10), file(2, 90, 90)]).is_empty());
        assert_eq!(crowding(&[file(1, 31, 10), file(2, 90, 90)]), [1]);
        assert!(
            crowding(&[file(1, 3, 0), file(2, 1, 1)]).is_empty(),
            "little"
        );
        assert_eq!(crowding(&[file(1, 4, 0), file(2, 1, 1)]), [1]);
    }

    #[test]
    fn the_stalest_files_go_first_and_no_more_than_it_takes() {
        let files = [
            file(1, 100, 90),
            file(2, 100, 20),
            file(3, 200, 60),
            file(4, 20, 0),
        ];
        assert_eq!(list(&AUTO.crowding(&files)), [2, 3, 4]);
        assert_eq!(list(&AUTO.pressing(&files)), [2, 4]);
        let strict = BlobPolicy {
            gc: Some(BlobGc {
                ratio: BlobGcRatio::from_millionths(1),
                min_file_bytes: u64::MAX,
            }),
            ..AUTO
        };
        assert_eq!(list(&strict.pressing(&files)), [1, 2, 3, 4]);
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
        assert!(policy.due(&[file(1, 9, 1), file(2, 10, 6)]).is_empty());
        let files = [file(1, 10, 5), file(2, 20, 0)];
        assert_eq!(list(&policy.due(&files)), [1, 2]);
        assert!(!policy.moves_nothing());
    }
}
