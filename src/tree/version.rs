//! The immutable set of tables of one tree.
//!
//! - Level 0 holds flushed memtables, newest first; their keys may overlap.
//! - Each deeper level is sorted by key and its tables do not overlap: no key is in two of them.
//! - A version holds the blob files that its tables refer to: whoever holds it can read all values.
//! - Everything in a level is older, key by key, than everything in the levels above it.

use std::sync::Arc;

use crate::blob::{BlobFile, BlobIndex, BlobValue};
use crate::error::Result;
use crate::file_name::blob_name;
use crate::hash_map::Set;
use crate::open_files::missing_file;
use crate::table::Table;
use trine_platform::sorted::{SortedMap, sort_few};

/// The deepest level that exists.
pub(crate) const LEVELS_MAX: usize = 7;

/// A set of tables, by level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    levels: [Vec<Arc<Table>>; LEVELS_MAX],
    /// What the tables refer to, by number.
    blobs: Vec<BlobShare>,
}

/// A blob file, and what of it is live.
#[derive(Clone, Debug)]
pub(crate) struct BlobShare {
    pub(crate) file: Arc<BlobFile>,
    /// Bytes of the values that tables refer to.
    pub(crate) live_bytes: u64,
}

impl BlobShare {
    /// Bytes of the values that no table refers to.
    pub(crate) fn stale_bytes(&self) -> u64 {
        let all = self.file.meta().value_bytes;
        all.saturating_sub(self.live_bytes)
    }
}

/// How a version changes. Applied as a whole.
#[derive(Debug, Default)]
pub(crate) struct VersionChange {
    pub(crate) removed: Vec<u64>,
    pub(crate) added: Vec<(usize, Arc<Table>)>,
    /// Those that came with the tables; blob files go when no table refers to them.
    pub(crate) blobs: Vec<Arc<BlobFile>>,
}

impl Version {
    /// The version after `change`.
    pub(crate) fn apply(&self, change: &VersionChange) -> Self {
        let mut next = self.clone();
        for tables in &mut next.levels {
            tables.retain(|table| !change.removed.contains(&table.meta().number));
        }
        for (level, table) in &change.added {
            next.levels[*level].push(Arc::clone(table));
        }
        sort_few(&mut next.levels[0], |left, right| {
            right
                .meta()
                .largest_sequence
                .cmp(&left.meta().largest_sequence)
        });
        for tables in &mut next.levels[1..] {
            sort_few(tables, |left, right| {
                left.meta().smallest.cmp(&right.meta().smallest)
            });
            debug_assert!(
                tables
                    .windows(2)
                    .all(|pair| pair[0].meta().ends_before(&pair[1].meta().smallest)),
                "tables of a sorted level overlap"
            );
        }
        if !(next.blobs.is_empty() && change.blobs.is_empty()) {
            next.blobs = next.shares(&change.blobs);
        }
        next
    }

    /// The blob files, those here and those that `came`, that the tables refer to.
    fn shares(&self, came: &[Arc<BlobFile>]) -> Vec<BlobShare> {
        let mut live: SortedMap<u64, u64> = SortedMap::new();
        for used in self.tables().flat_map(|table| table.meta().blobs.iter()) {
            let bytes = live.get_or_default(used.file);
            *bytes = bytes.saturating_add(used.value_bytes);
        }
        let files = self.blobs.iter().map(|share| &share.file).chain(came);
        let mut shares: Vec<_> = files
            .filter_map(|file| {
                let live_bytes = *live.get(&file.meta().number)?;
                let file = Arc::clone(file);
                Some(BlobShare { file, live_bytes })
            })
            .collect();
        sort_few(&mut shares, |left, right| {
            left.file.meta().number.cmp(&right.file.meta().number)
        });
        shares
    }

    /// The blob files of this version that `next` does without.
    pub(crate) fn blobs_not_in(&self, next: &Self) -> Vec<Arc<BlobFile>> {
        let files = self.blobs.iter().map(|share| &share.file);
        files
            .filter(|file| next.share(file.meta().number).is_none())
            .map(Arc::clone)
            .collect()
    }

    pub(crate) fn blobs(&self) -> &[BlobShare] {
        &self.blobs
    }

    /// The blob file of this number.
    pub(crate) fn share(&self, number: u64) -> Option<&BlobShare> {
        let at = self
            .blobs
            .binary_search_by_key(&number, |share| share.file.meta().number);
        self.blobs.get(at.ok()?)
    }

    /// The value that an entry of a table refers to.
    pub(crate) fn blob(&self, index: BlobIndex) -> Result<BlobValue> {
        match self.share(index.file) {
            Some(share) => Ok(BlobValue::new(Arc::clone(&share.file), index)),
            None => Err(missing_file(&blob_name(index.file))),
        }
    }

    /// The version that holds what was read from disk; `None` if that breaks a rule of this type.
    pub(crate) fn checked(change: &VersionChange) -> Option<Self> {
        if change.added.iter().any(|(level, _)| *level >= LEVELS_MAX) {
            return None;
        }
        let mut sorted: Vec<_> = change
            .added
            .iter()
            .filter(|(level, _)| *level > 0)
            .collect();
        sort_few(&mut sorted, |(left, first), (right, second)| {
            let keys = first.meta().smallest.cmp(&second.meta().smallest);
            left.cmp(right).then(keys)
        });
        let disjoint = sorted.windows(2).all(|pair| {
            pair[0].0 != pair[1].0 || pair[0].1.meta().ends_before(&pair[1].1.meta().smallest)
        });
        let version = disjoint.then(|| Self::default().apply(change))?;
        let complete = version
            .tables()
            .flat_map(|table| table.meta().blobs.iter())
            .all(|used| version.share(used.file).is_some());
        complete.then_some(version)
    }

    /// With fresh handles of those files that are open and that `numbers` names.
    pub(crate) fn closing(&self, numbers: &Set<u64>) -> Self {
        let mut next = self.clone();
        for table in next.levels.iter_mut().flatten() {
            if table.is_open() && numbers.contains(&table.meta().number) {
                *table = table.fresh();
            }
        }
        for BlobShare { file, .. } in &mut next.blobs {
            if file.handle().is_open() && numbers.contains(&file.meta().number) {
                *file = file.fresh();
            }
        }
        next
    }

    /// Without the tables that `excluded` names.
    pub(crate) fn without(&self, excluded: impl Fn(&Table) -> bool) -> Self {
        let mut rest = self.clone();
        for tables in &mut rest.levels {
            tables.retain(|table| !excluded(table));
        }
        rest
    }

    pub(crate) fn level(&self, level: usize) -> &[Arc<Table>] {
        &self.levels[level]
    }

    /// One more than the deepest level that has tables.
    pub(crate) fn depth(&self) -> usize {
        self.levels
            .iter()
            .rposition(|tables| !tables.is_empty())
            .map_or(0, |level| level + 1)
    }

    pub(crate) fn levels(&self) -> impl Iterator<Item = (usize, &[Arc<Table>])> {
        self.levels.iter().map(Vec::as_slice).enumerate()
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.levels.iter().flatten()
    }

    /// The table of this number in `level`.
    pub(crate) fn table(&self, level: usize, number: u64) -> Option<&Arc<Table>> {
        let tables = self.levels.get(level)?;
        tables.iter().find(|table| table.meta().number == number)
    }

    /// The tables that may hold `key`, those with newer entries first.
    #[inline]
    pub(crate) fn tables_over(&self, key: &[u8]) -> impl Iterator<Item = &Arc<Table>> {
        let newest = self.level(0).iter();
        let newest = newest.filter(move |table| table.meta().spans(key));
        newest.chain((1..self.depth()).filter_map(move |level| self.find(level, key)))
    }

    /// The one table of a sorted level that may hold `key`.
    pub(crate) fn find<'a>(&'a self, level: usize, key: &[u8]) -> Option<&'a Arc<Table>> {
        let tables = &self.levels[level];
        let at = tables.partition_point(|table| table.meta().ends_before(key));
        tables
            .get(at)
            .filter(|table| table.meta().smallest.as_slice() <= key)
    }
}
