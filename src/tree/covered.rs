//! How much older data the range tombstones of a table under construction hide: an estimate, from the
//! bounds of the older tables and, where a bound cuts one, from its index.

use std::sync::Arc;

use trine_io::Mode;

use crate::range_tombstone::Fragments;
use crate::table::{Freeable, Table};
use crate::tree::version::{LEVELS_MAX, Version};

/// The tables of a version that hold nothing newer than what is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Older {
    version: Arc<Version>,
    /// Tables of level 0.
    level_0: Vec<Arc<Table>>,
    /// The first sorted level.
    from: usize,
}

impl Older {
    /// All of these, for a memtable that is being flushed.
    pub(crate) fn all(version: &Arc<Version>) -> Self {
        Self {
            level_0: version.level(0).to_vec(),
            version: Arc::clone(version),
            from: 1,
        }
    }

    /// What lies beneath the output of a compaction whose inputs are `merged`.
    pub(crate) fn beneath(
        version: &Arc<Version>,
        output_level: usize,
        merged: &[(usize, Arc<Table>)],
    ) -> Self {
        let level_0 = version.level(0).iter();
        let oldest = merged.iter().map(|(_, table)| table.meta());
        let oldest = oldest.map(|meta| meta.smallest_sequence).min();
        let is_older = |table: &&Arc<Table>| {
            output_level == 0 && oldest.is_some_and(|oldest| table.meta().largest_sequence < oldest)
        };
        Self {
            level_0: level_0.filter(is_older).map(Arc::clone).collect(),
            version: Arc::clone(version),
            from: output_level + 1,
        }
    }

    /// What of it lies under `tombstones`.
    pub(crate) async fn covered(&self, tombstones: &Fragments, mode: Mode) -> Freeable {
        let mut covered = Freeable::default();
        for (start, end) in tombstones.spans() {
            let mut bytes = 0_u64;
            for table in &self.level_0 {
                bytes = bytes.saturating_add(table.bytes_within(start, end, mode).await);
            }
            for level in self.from..LEVELS_MAX {
                let tables = self.version.level(level);
                let first = tables.partition_point(|table| table.meta().ends_before(start));
                for table in &tables[first..] {
                    if end.is_some_and(|end| table.meta().smallest.as_slice() >= end) {
                        break;
                    }
                    bytes = bytes.saturating_add(table.bytes_within(start, end, mode).await);
                }
            }
            covered.bytes = covered.bytes.saturating_add(bytes);
        }
        covered.until = tombstones.newest().unwrap_or_default();
        covered
    }
}
