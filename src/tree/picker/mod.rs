//! What to compact next: a pure function of what is known of the tables of one tree without opening
//! them, of the form that the tree should have, and of what other compactions have claimed.
//!
//! In the order of urgency:
//! 1. Level 0 when it holds too many tables, and sorted levels that hold too much for their place, the
//!    most overdue first. What waits for another compaction keeps its levels from less urgent ones.
//! 2. Range tombstones that hide much, wherever they are; tables that are mostly deletions, or whose deletions
//!    have nothing left to delete; tables with much that was kept for snapshots that are gone.
//! 3. Tables whose values lie in blob files that hold too much garbage. Each such job takes all values of its tables out of these
//!    files, and what it writes holds no garbage.
//!
//! Every choice makes the tree better by a measure that nothing else worsens (tables move down, or
//! garbage goes), so picking and compacting by turns ends.

mod level_zero;
mod part;
mod shape;

pub(crate) use part::{Part, Unfinished};
pub(crate) use shape::{Shape, Targets};

use std::sync::Arc;

use crate::key::KeyRange;
use crate::sequence::Sequence;
use crate::table::TableMeta;
use crate::tree::claims::Claimed;
use crate::tree::span::Span;
use crate::tree::version::{LEVELS_MAX, Version};
use trine_platform::sorted::{SortedSet, sort_few};

/// What is of no use goes when it is at least this part of what has to be merged for it: so freeing a byte
/// costs at most so many, and no more than a quarter of a tree at rest is garbage of one kind.
const GARBAGE_DIVISOR: u64 = 4;

/// A table of an upper level moves down when at least this part of its entries deletes.
const DELETIONS_DIVISOR: u64 = 2;

/// A chosen compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compaction {
    /// Levels and numbers.
    pub(crate) inputs: Vec<(usize, u64)>,
    pub(crate) output_level: usize,
    /// The inputs overlap nothing where they go: they change their level and are not rewritten.
    pub(crate) moves: bool,
    /// What of the inputs is merged. If it has an end, those of level 0 stay where they are.
    pub(crate) part: Part,
    /// Of all inputs, within the part.
    pub(crate) span: Span,
    /// Where older data may be than that of the inputs; ascending, apart from each other.
    pub(crate) beneath: Vec<Span>,
    /// The tables of the level below the output that the inputs overlap, ascending.
    pub(crate) neighbours: Vec<Neighbour>,
    /// Values of the inputs that lie in these blob files go to new ones.
    pub(crate) collects: Arc<SortedSet<u64>>,
}

impl Compaction {
    /// Whether the inputs that lie in `level` are gone after it.
    pub(crate) fn takes(&self, level: usize) -> bool {
        level > 0 || self.part.until.is_none()
    }
}

/// A table of the level below an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) start: Vec<u8>,
    pub(crate) bytes: u64,
}

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    Job(Compaction),
    /// Something, once another compaction is through.
    Blocked,
    Nothing,
}

/// What a compaction is for.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// As `Shape`, with as much garbage in blob files as there may be while others write: the longer it waits, the less of what is
    /// beside it has to be moved.
    Busy,
    /// A tree in its proper form.
    Shape,
    /// Besides, no level 0 that holds much that is superseded. For when nobody writes.
    Rest,
    /// All of a range, as far as it was there when the sequence was the newest, in the deepest level.
    Range(KeyRange, Sequence),
}

/// What is known of one tree.
#[derive(Debug)]
pub(crate) struct Picker<'a> {
    /// Level 0 newest first, the others ascending.
    levels: [Vec<&'a TableMeta>; LEVELS_MAX],
    shape: Shape,
    targets: Targets,
    claimed: Claimed<'a>,
    /// The oldest sequence that somebody reads at, if it is not the newest.
    oldest_pin: Option<Sequence>,
    stale: StaleFiles,
    unfinished: Unfinished,
    /// The oldest commit that is not in a table.
    first_unflushed: Option<Sequence>,
}

/// The blob files that hold too much garbage, by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct StaleFiles {
    /// For a tree to which others write.
    pub(crate) busy: Arc<SortedSet<u64>>,
    /// For a tree in its proper form.
    pub(crate) shape: Arc<SortedSet<u64>>,
    /// For a range that somebody wants compacted.
    pub(crate) range: Arc<SortedSet<u64>>,
}

fn bytes_of(tables: &[&TableMeta]) -> u64 {
    tables.iter().map(|table| table.bytes).sum()
}

/// Whether freeing so many bytes is worth a merge of so many.
fn pays(freed: u64, merged: u64) -> bool {
    freed > 0 && freed >= merged.div_ceil(GARBAGE_DIVISOR)
}

/// How many times `whole` goes into `part`, in thousandths, rounded up.
fn permille(part: u64, whole: u64) -> u64 {
    let ratio = (u128::from(part) * 1000).div_ceil(u128::from(whole.max(1)));
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

impl<'a> Picker<'a> {
    pub(crate) fn new(
        version: &'a Version,
        shape: Shape,
        claimed: Claimed<'a>,
        oldest_pin: Option<Sequence>,
    ) -> Self {
        let tables = |level| version.level(level).iter().map(|table| table.meta());
        Self::of(
            std::array::from_fn(|level| tables(level).collect()),
            shape,
            claimed,
            oldest_pin,
        )
    }

    fn of(
        levels: [Vec<&'a TableMeta>; LEVELS_MAX],
        shape: Shape,
        claimed: Claimed<'a>,
        oldest_pin: Option<Sequence>,
    ) -> Self {
        let sizes = std::array::from_fn(|level: usize| bytes_of(&levels[level]));
        Self {
            targets: Targets::of(&shape, &sizes),
            levels,
            shape,
            claimed,
            oldest_pin,
            stale: StaleFiles::default(),
            unfinished: Unfinished::default(),
            first_unflushed: None,
        }
    }

    /// The same, while memtables hold commits from this one on.
    pub(crate) fn with_first_unflushed(self, first_unflushed: Option<Sequence>) -> Self {
        Self {
            first_unflushed,
            ..self
        }
    }

    /// The same, where these merges are to be gone on with.
    pub(crate) fn with_unfinished(self, unfinished: Unfinished) -> Self {
        Self { unfinished, ..self }
    }

    /// The same, for a tree of which these blob files are stale.
    pub(crate) fn with_stale(self, stale: StaleFiles) -> Self {
        Self { stale, ..self }
    }

    pub(crate) fn pick(&self, goal: &Goal) -> Pick {
        let stale = match goal {
            Goal::Busy => &self.stale.busy,
            Goal::Shape | Goal::Rest => &self.stale.shape,
            Goal::Range(..) => &self.stale.range,
        };
        let pick = match goal {
            Goal::Busy | Goal::Shape => self.for_shape(stale),
            Goal::Rest => self.for_shape(stale).or_else(|| self.for_rest()),
            Goal::Range(range, through) => self.for_range(range, *through, stale),
        };
        // Whatever it is for: what it was picked for is what it does.
        match pick {
            Pick::Job(compaction) => Pick::Job(Compaction {
                collects: Arc::clone(stale),
                ..compaction
            }),
            other => other,
        }
    }

    /// How many bytes must be merged until the tree has its form.
    pub(crate) fn debt_bytes(&self) -> u64 {
        let level_0 = &self.levels[0];
        let mut debt = 0_u64;
        if level_0.len() > self.shape.l0_tables_max {
            let base = bytes_of(&self.levels[self.targets.base]);
            debt = bytes_of(level_0).saturating_add(base);
        }
        for level in 1..self.targets.last {
            let over = bytes_of(&self.levels[level]).saturating_sub(self.targets.bytes(level));
            // What is moved down meets about a multiplier's worth of what is there.
            debt =
                debt.saturating_add(over.saturating_mul(self.shape.multiplier.saturating_add(1)));
        }
        debt
    }

    fn for_shape(&self, stale: &SortedSet<u64>) -> Pick {
        let mut due: Vec<(u64, usize)> = (0..self.targets.last)
            .map(|level| (self.score(level), level))
            .filter(|(score, _)| *score > 1000)
            .collect();
        sort_few(&mut due, |left, right| {
            right.0.cmp(&left.0).then(left.1.cmp(&right.1))
        });
        let mut kept: Vec<usize> = Vec::new();
        for (_, level) in due {
            let below = if level == 0 {
                self.targets.base
            } else {
                level + 1
            };
            if kept.contains(&level) || kept.contains(&below) {
                continue;
            }
            let pick = if level == 0 {
                self.level_zero(|_| true)
                    .or_else(|| self.merge_within_level_zero())
            } else {
                self.down(level, |_| true)
            };
            match pick {
                Pick::Job(_) => return pick,
                Pick::Blocked => kept.extend([level, below]),
                Pick::Nothing => {}
            }
        }
        if kept.is_empty() {
            self.level_zero(|table| self.unfinished.has(table))
                .or_else(|| self.ranges_to_free())
                .or_else(|| self.garbage())
                .or_else(|| self.superseded_versions())
                .or_else(|| self.stale_values(stale, |_| true))
        } else {
            Pick::Blocked
        }
    }

    /// How overdue a level is: above a thousand, it must be worked on.
    fn score(&self, level: usize) -> u64 {
        let free = || {
            self.levels[level]
                .iter()
                .filter(|table| self.is_free(table))
        };
        if level == 0 {
            let (tables, max) = (free().count(), self.shape.l0_tables_max);
            let score = permille(tables as u64, max as u64);
            return if self.may_hide_garbage() {
                score.max(1001)
            } else {
                score
            };
        }
        let bytes: u64 = free().map(|table| table.bytes).sum();
        match self.targets.bytes(level) {
            0 if bytes > 0 => u64::MAX,
            target => permille(bytes, target),
        }
    }

    /// One table of a sorted level, with what it overlaps in the next: the one that costs least for
    /// what it brings down.
    fn down(&self, level: usize, wanted: impl Fn(&TableMeta) -> bool) -> Pick {
        let mut best: Option<(u64, Compaction)> = None;
        let mut blocked = false;
        for table in self.levels[level].iter().filter(|table| wanted(table)) {
            let lower = self.overlapping(level + 1, &Span::of(table));
            let cost = permille(bytes_of(lower), table.bytes);
            if best.as_ref().is_some_and(|(least, _)| *least <= cost) {
                continue;
            }
            let compaction = self.merge(&[(level, &[*table]), (level + 1, lower)], level + 1);
            if self.claimed.meets(&compaction) {
                blocked = true;
            } else {
                best = Some((cost, compaction));
            }
        }
        match best {
            Some((_, compaction)) => Pick::Job(compaction),
            None if blocked => Pick::Blocked,
            None => Pick::Nothing,
        }
    }

    /// A table that is mostly deletions moves down to what it deletes; in the last place, where there
    /// is nothing, it is rewritten without them.
    fn garbage(&self) -> Pick {
        let mut blocked = false;
        for level in 1..=self.targets.last {
            let tables = self.levels[level].iter();
            for table in tables.filter(|table| table.tombstones > 0) {
                let useless = self.useless(level, table);
                let deletes = table.tombstones >= table.entries.div_ceil(DELETIONS_DIVISOR);
                let pick = if pays(useless, table.entries) {
                    self.rewrite(level, table)
                } else if (deletes || self.frees_below(level, table))
                    && !self.is_last_place(level, table)
                {
                    self.down(level, |other| other.number == table.number)
                } else {
                    Pick::Nothing
                };
                match pick {
                    Pick::Job(_) => return pick,
                    Pick::Blocked => blocked = true,
                    Pick::Nothing => {}
                }
            }
        }
        if blocked {
            Pick::Blocked
        } else {
            Pick::Nothing
        }
    }

    /// A table that was written while somebody read older versions, which nobody does any more.
    fn superseded_versions(&self) -> Pick {
        let mut pick = Pick::Nothing;
        for (level, tables) in self.levels.iter().enumerate() {
            for table in tables {
                if pays(self.superseded(table), table.bytes) {
                    pick = pick.or_else(|| self.rewrite(level, table));
                }
            }
        }
        pick
    }

    /// The least sequence that somebody reads below, so that something is not picked for now.
    pub(crate) fn awaited(&self) -> Option<Sequence> {
        let pin = self.oldest_pin?;
        let tables = self.levels.iter().flatten();
        let awaited = tables.flat_map(|table| {
            let tombstones =
                pays(table.tombstones, table.entries).then_some(table.largest_sequence);
            let superseded =
                pays(table.superseded.bytes, table.bytes).then_some(table.superseded.until);
            let covered = (table.covered.bytes > 0).then_some(table.covered.until);
            [tombstones, superseded, covered]
        });
        awaited.flatten().filter(|until| *until > pin).min()
    }

    fn for_range(&self, range: &KeyRange, through: Sequence, stale: &SortedSet<u64>) -> Pick {
        let within = |table: &TableMeta| table.overlaps(range);
        let old = |table: &TableMeta| within(table) && table.smallest_sequence <= through;
        let last = (1..LEVELS_MAX)
            .rfind(|level| !self.levels[*level].is_empty())
            .unwrap_or(1);
        let mut pick = self.level_zero(|table| within(table) && table.largest_sequence <= through);
        for level in 1..last {
            pick = pick.or_else(|| self.down(level, old));
        }
        let spent = |table: &&&TableMeta| {
            old(table) && (self.useless(last, table) > 0 || self.superseded(table) > 0)
        };
        pick.or_else(|| match self.levels[last].iter().find(spent) {
            Some(table) => self.rewrite(last, table),
            None => Pick::Nothing,
        })
        .or_else(|| self.stale_values(stale, old))
    }

    /// A table that refers to one of these blob files, rewritten where it is: its values leave the file.
    fn stale_values(&self, files: &SortedSet<u64>, wanted: impl Fn(&TableMeta) -> bool) -> Pick {
        if files.is_empty() {
            return Pick::Nothing;
        }
        let mut pick = Pick::Nothing;
        for (level, tables) in self.levels.iter().enumerate() {
            for table in tables.iter().filter(|table| wanted(table)) {
                if table.blobs.iter().any(|used| files.contains(&used.file)) {
                    pick = pick.or_else(|| self.rewrite(level, table));
                }
            }
        }
        pick
    }

    /// One table alone, in its place.
    fn rewrite(&self, level: usize, table: &TableMeta) -> Pick {
        let mut compaction = self.merge(&[(level, &[table])], level);
        compaction.moves = false;
        if self.claimed.meets(&compaction) {
            Pick::Blocked
        } else {
            Pick::Job(compaction)
        }
    }

    /// The compaction of these tables, at least one; a move, if that is enough.
    fn merge(&self, inputs: &[(usize, &[&TableMeta])], output_level: usize) -> Compaction {
        self.merge_part(inputs, output_level, Part::default())
    }

    /// The same, of a part of what they hold.
    fn merge_part(
        &self,
        inputs: &[(usize, &[&TableMeta])],
        output_level: usize,
        part: Part,
    ) -> Compaction {
        let tables = || {
            inputs
                .iter()
                .flat_map(|(level, tables)| tables.iter().map(|table| (*level, *table)))
        };
        let span = Span::hull(tables().map(|(_, table)| table))
            .and_then(|hull| hull.part(&part.from, part.until.as_deref()))
            .unwrap_or_else(|| unreachable!("a compaction has inputs, and a part of them keys"));
        let neighbours = if output_level > 0 && output_level + 1 < LEVELS_MAX {
            self.overlapping(output_level + 1, &span)
        } else {
            &[]
        };
        let neighbours = neighbours.iter().map(|table| Neighbour {
            start: table.smallest.clone(),
            bytes: table.bytes,
        });
        let moves = part == Part::default()
            && tables().count() == 1
            && tables().all(|(level, table)| {
                level != output_level && self.useless(output_level, table) == 0
            });
        Compaction {
            inputs: tables()
                .map(|(level, table)| (level, table.number))
                .collect(),
            output_level,
            moves,
            part,
            beneath: self.beneath(output_level, &span),
            neighbours: neighbours.collect(),
            collects: Arc::default(),
            span,
        }
    }

    /// Where the levels below `level` may hold something in `span`. Nothing is in level 0 that is older:
    /// what overlaps there is merged together.
    fn beneath(&self, level: usize, span: &Span) -> Vec<Span> {
        let mut tables: Vec<_> = (level + 1..LEVELS_MAX)
            .flat_map(|below| self.overlapping(below, span))
            .collect();
        sort_few(&mut tables, |left, right| {
            left.smallest.cmp(&right.smallest)
        });
        let mut spans: Vec<Span> = Vec::new();
        for table in tables {
            let next = Span::of(table);
            match spans.pop_if(|last| last.meets(&next)) {
                Some(last) => spans.push(last.join(next)),
                None => spans.push(next),
            }
        }
        spans
    }

    /// The tables of a sorted level that overlap `span`.
    fn overlapping(&self, level: usize, span: &Span) -> &[&'a TableMeta] {
        let tables = &self.levels[level];
        let first = tables.partition_point(|table| table.ends_before(span.start()));
        let end = tables.partition_point(|table| !span.ends_before(&table.smallest));
        &tables[first..end.max(first)]
    }

    fn is_free(&self, table: &TableMeta) -> bool {
        !self.claimed.has_table(table.number)
    }

    /// Whether nothing older than the table can be anywhere, if it lies in `level`.
    fn is_last_place(&self, level: usize, table: &TableMeta) -> bool {
        let span = Span::of(table);
        (level + 1..LEVELS_MAX).all(|below| self.overlapping(below, &span).is_empty())
    }

    /// How much a rewriting would drop of what was kept for snapshots.
    fn superseded(&self, table: &TableMeta) -> u64 {
        table.superseded.free_bytes(self.oldest_pin)
    }

    /// How much of what lies below could go by the table's range tombstones.
    fn covered(&self, table: &TableMeta) -> u64 {
        table.covered.free_bytes(self.oldest_pin)
    }

    /// Whether the table's range tombstones hide enough below to be merged with it.
    fn frees_below(&self, level: usize, table: &TableMeta) -> bool {
        let lower = || bytes_of(self.overlapping(level + 1, &Span::of(table)));
        let covered = self.covered(table);
        covered > 0 && pays(covered, table.bytes.saturating_add(lower()))
    }

    /// How many of the table's entries a rewriting would drop if it lay in `level`: all of these, so
    /// that it is not picked again.
    fn useless(&self, level: usize, table: &TableMeta) -> u64 {
        let is_read = self
            .oldest_pin
            .is_some_and(|pin| pin < table.largest_sequence);
        if is_read || !self.is_last_place(level, table) {
            0
        } else {
            table.tombstones
        }
    }
}

impl Pick {
    /// Itself, unless it is `Nothing`.
    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Job(_) => self,
            Self::Blocked => match other() {
                job @ Self::Job(_) => job,
                _ => Self::Blocked,
            },
            Self::Nothing => other(),
        }
    }
}

#[cfg(test)]
mod garbage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod value_tests;
