//! The immutable set of tables of one tree.
//!
//! - Level 0 holds flushed memtables, newest first; their keys may overlap.
//! - Each deeper level is sorted by key and its tables do not overlap: no key is in two of them.
//! - Everything in a level is older, key by key, than everything in the levels above it.

use std::sync::Arc;

use crate::table::Table;

/// The deepest level that exists.
pub(crate) const LEVELS_MAX: usize = 7;

/// A set of tables, by level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    levels: [Vec<Arc<Table>>; LEVELS_MAX],
}

/// How a version changes. Applied as a whole.
#[derive(Debug, Default)]
pub(crate) struct VersionChange {
    pub(crate) removed: Vec<u64>,
    pub(crate) added: Vec<(usize, Arc<Table>)>,
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
        next.levels[0].sort_by_key(|table| std::cmp::Reverse(table.meta().largest_sequence));
        for tables in &mut next.levels[1..] {
            tables.sort_by(|left, right| left.meta().smallest.cmp(&right.meta().smallest));
            debug_assert!(
                tables
                    .windows(2)
                    .all(|pair| pair[0].meta().ends_before(&pair[1].meta().smallest)),
                "tables of a sorted level overlap"
            );
        }
        next
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
        sorted.sort_by_key(|(level, table)| (*level, &table.meta().smallest));
        let disjoint = sorted.windows(2).all(|pair| {
            pair[0].0 != pair[1].0 || pair[0].1.meta().ends_before(&pair[1].1.meta().smallest)
        });
        disjoint.then(|| Self::default().apply(change))
    }

    /// With fresh handles of those tables that `closed` names.
    pub(crate) fn closing(&self, closed: impl Fn(&Table) -> bool) -> Self {
        let mut next = self.clone();
        for table in next.levels.iter_mut().flatten() {
            if closed(table) {
                *table = table.fresh();
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

    /// The one table of a sorted level that may hold `key`.
    pub(crate) fn find<'a>(&'a self, level: usize, key: &[u8]) -> Option<&'a Arc<Table>> {
        let tables = &self.levels[level];
        let at = tables.partition_point(|table| table.meta().ends_before(key));
        tables
            .get(at)
            .filter(|table| table.meta().smallest.as_slice() <= key)
    }
}
