//! What to compact: a pure function of a version and of what the caller asks for.
//!
//! The tree has two levels that hold tables: level 0 as flushed, and level 1, one sorted run. All of
//! level 0 merges into level 1 together with the tables there that it overlaps.

use std::sync::Arc;

use crate::key::KeyRange;
use crate::table::Table;
use crate::tree::version::Version;

/// The sorted level.
pub(crate) const SORTED_LEVEL: usize = 1;

/// A chosen compaction.
#[derive(Debug)]
pub(crate) struct Compaction {
    /// With their levels.
    pub(crate) inputs: Vec<(usize, Arc<Table>)>,
    pub(crate) output_level: usize,
}

impl Compaction {
    /// A single table of level 0 that overlaps nothing moves down as it is.
    pub(crate) fn trivial_move(&self) -> Option<&Arc<Table>> {
        match self.inputs.as_slice() {
            [(0, table)] => Some(table),
            _ => None,
        }
    }
}

/// All of level 0, if it holds more than `l0_files_max` tables.
pub(crate) fn pick(version: &Version, l0_files_max: usize) -> Option<Compaction> {
    if version.level(0).len() > l0_files_max {
        from_level_0(version)
    } else {
        None
    }
}

/// All of level 0, if a table there overlaps `range`.
pub(crate) fn pick_range(version: &Version, range: &KeyRange) -> Option<Compaction> {
    let meets = version
        .level(0)
        .iter()
        .any(|table| table.meta().overlaps(range));
    if meets { from_level_0(version) } else { None }
}

fn from_level_0(version: &Version) -> Option<Compaction> {
    let upper = version.level(0);
    if upper.is_empty() {
        return None;
    }
    // The hull of level 0, not its tables one by one: an output may span the gaps between them.
    let meets = |lower: &Table| {
        upper
            .iter()
            .any(|table| !table.meta().ends_before(&lower.meta().smallest))
            && upper
                .iter()
                .any(|table| !lower.meta().ends_before(&table.meta().smallest))
    };
    let lower = version
        .level(SORTED_LEVEL)
        .iter()
        .filter(|table| meets(table));
    let inputs = upper
        .iter()
        .map(|table| (0, Arc::clone(table)))
        .chain(lower.map(|table| (SORTED_LEVEL, Arc::clone(table))))
        .collect();
    Some(Compaction {
        inputs,
        output_level: SORTED_LEVEL,
    })
}
