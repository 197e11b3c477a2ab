//! The rows of one range at one sequence, over everything a view names.
//!
//! A scan pins its view: memtables and tables stay readable for as long as it lives, whatever is
//! flushed, compacted or closed meanwhile.

use std::ops::Bound;
use std::sync::Arc;

use crate::cursor::{Halt, Moved};
use crate::direction::Direction;
use crate::error::Result;
use crate::key::{KeyRange, successor};
use crate::prefix::PrefixExtractor;
use crate::sequence::Sequence;
use crate::table::{Missing, Table, TableCursor};
use crate::tree::level::LevelCursor;
use crate::tree::memtable::MemtableCursor;
use crate::tree::merge::{Merge, Source};
use crate::tree::view::View;
use crate::tree::visibility::{Tombstones, Visible};

use trine_io::Mode;

/// Which rows, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct ScanPlan {
    pub(crate) range: KeyRange,
    pub(crate) direction: Direction,
    pub(crate) sequence: Sequence,
    /// Set if every key of the range starts with this: filters may then rule tables out.
    pub(crate) prefix: Option<(PrefixExtractor, Vec<u8>)>,
}

/// A running scan.
#[derive(Debug)]
pub(crate) struct Scan {
    view: View,
    plan: ScanPlan,
    /// Where the first move starts: the first key (forward), the key after the last (reverse).
    from: Option<Vec<u8>>,
    rows: Visible,
    done: bool,
}

impl Scan {
    pub(crate) fn new(view: View, plan: ScanPlan) -> Self {
        let (sources, tombstones) = sources(&view, &plan);
        let from = match plan.direction {
            Direction::Forward => match &plan.range.start {
                Bound::Included(start) => Some(start.clone()),
                Bound::Excluded(start) => Some(successor(start)),
                Bound::Unbounded => None,
            },
            Direction::Reverse => match &plan.range.end {
                Bound::Included(end) => Some(successor(end)),
                Bound::Excluded(end) => Some(end.clone()),
                Bound::Unbounded => None,
            },
        };
        let done = plan.range.is_empty();
        let merge = Merge::new(sources, plan.direction);
        let rows = Visible::new(merge, plan.direction, plan.sequence, tombstones);
        Self {
            view,
            plan,
            from,
            rows,
            done,
        }
    }

    pub(crate) fn direction(&self) -> Direction {
        self.plan.direction
    }

    /// On to the next row; `row` then lends it.
    pub(crate) async fn advance(&mut self, mode: Mode) -> Result<bool> {
        loop {
            match self.step() {
                Ok(()) => return Ok(!self.done),
                Err(Halt::Needs(missing)) => {
                    let block = missing.load(mode).await?;
                    self.rows.supply(&block);
                }
                Err(Halt::Failed(error)) => {
                    self.done = true;
                    return Err(error);
                }
            }
        }
    }

    /// The row it stands on.
    pub(crate) fn row(&self) -> Option<(&[u8], &[u8])> {
        if self.done { None } else { self.rows.row() }
    }

    /// A scan of the same view that goes on behind the row this one stands on.
    pub(crate) fn fork(&self) -> Self {
        let mut plan = self.plan.clone();
        let bound = match self.row() {
            Some((key, _)) => Some(Bound::Excluded(key.to_vec())),
            None => self.rows.resume(),
        };
        if let Some(bound) = bound {
            match plan.direction {
                Direction::Forward => plan.range.start = bound,
                Direction::Reverse => plan.range.end = bound,
            }
        }
        let mut fork = Self::new(self.view.clone(), plan);
        fork.done |= self.done;
        fork
    }

    fn step(&mut self) -> Moved<Missing> {
        if self.done {
            return Ok(());
        }
        self.rows.step(self.from.as_deref())?;
        self.done = match self.rows.row() {
            None => true,
            Some((key, _)) => match self.plan.direction {
                Direction::Forward => self.plan.range.ends_before(key),
                Direction::Reverse => self.plan.range.starts_after(key),
            },
        };
        Ok(())
    }
}

/// Whether the table may hold rows or tombstones of the plan.
fn concerns(plan: &ScanPlan, table: &Table) -> bool {
    table.meta().overlaps(&plan.range)
        && (!table.tombstones().is_empty()
            || plan
                .prefix
                .as_ref()
                .is_none_or(|(extractor, prefix)| table.may_contain_prefix(extractor, prefix)))
}

fn sources(view: &View, plan: &ScanPlan) -> (Vec<Source>, Vec<Tombstones>) {
    let mut sources = Vec::new();
    let mut tombstones = Vec::new();
    if plan.range.is_empty() {
        return (sources, tombstones);
    }
    for buffer in view.buffers() {
        let memtable = buffer.memtable();
        if memtable.is_empty() {
            continue;
        }
        sources.push(Source::Memtable(MemtableCursor::new(Arc::clone(memtable))));
        let fragments = memtable.tombstones();
        if !fragments.is_empty() {
            tombstones.push(Tombstones::Memtable(fragments));
        }
    }
    for (level, tables) in view.version.levels() {
        let tables: Vec<_> = tables
            .iter()
            .filter(|table| concerns(plan, table))
            .map(Arc::clone)
            .collect();
        tombstones.extend(
            tables
                .iter()
                .filter(|table| !table.tombstones().is_empty())
                .map(Arc::clone)
                .map(Tombstones::Table),
        );
        match (level, tables.len()) {
            (_, 0) => {}
            (0, _) | (_, 1) => {
                sources.extend(tables.into_iter().map(TableCursor::new).map(Source::Table));
            }
            _ => sources.push(Source::Level(LevelCursor::new(tables))),
        }
    }
    (sources, tombstones)
}

/// Whether a commit above `above` touched the range: an entry of any kind, or a range tombstone.
pub(crate) async fn newest_change_in(
    view: View,
    range: &KeyRange,
    above: Sequence,
    mode: Mode,
) -> Result<bool> {
    let plan = ScanPlan {
        range: range.clone(),
        direction: Direction::Forward,
        sequence: Sequence::new(u64::MAX),
        prefix: None,
    };
    let recent = View {
        active: Arc::clone(&view.active),
        immutables: view
            .immutables
            .iter()
            .filter(|buffer| buffer.last_sequence() > above)
            .map(Arc::clone)
            .collect(),
        version: Arc::new(
            view.version
                .without(|table| table.meta().largest_sequence <= above),
        ),
    };
    let (sources, tombstones) = sources(&recent, &plan);
    if tombstones.iter().any(|source| source.meets(range, above)) {
        return Ok(true);
    }
    let (from, _) = range.to_half_open();
    let mut merge = Merge::new(sources, Direction::Forward);
    let mut started = false;
    loop {
        let moved = if started {
            merge.step()
        } else {
            merge.start(Some((&from, Sequence::new(u64::MAX))))
        };
        match moved {
            Ok(()) => started = true,
            Err(Halt::Needs(missing)) => {
                merge.supply(&missing.load(mode).await?);
                continue;
            }
            Err(Halt::Failed(error)) => return Err(error),
        }
        match merge.entry() {
            Some(entry) if range.ends_before(entry.key) => return Ok(false),
            Some(entry) if entry.sequence > above => return Ok(true),
            Some(_) => {}
            None => return Ok(false),
        }
    }
}
