//! Level 0: tables that may overlap each other, the newest first.
//!
//! Tables that overlap, directly or through others, make a *group*. Groups share no key, so each is a
//! job of its own, or several, one for each part; and one that is a single table over empty space only changes its level.

use trine_platform::sorted::sort_few;

use crate::table::TableMeta;
use crate::tree::picker::{Compaction, Part, Pick, Picker, bytes_of, pays};
use crate::tree::span::Span;

/// At rest level 0 may hold this part of what is below.
const REST_DIVISOR: u64 = 10;

/// Less than this in level 0 is left alone at rest: a small database would be rewritten for nothing.
const REST_BYTES: u64 = 4 << 20;

/// Level 0 may refer to this part of all values in blob files: what it supersedes is known to nobody before it is merged.
const VALUES_DIVISOR: u64 = 16;

/// Fewer bytes of values in level 0 are no reason to merge it.
const VALUES_BYTES_MIN: u64 = 4 << 20;

/// Tables are merged for the sake of values that are so many times as long.
const VALUES_FACTOR: u64 = 8;

/// Fewer tables than this are not merged within level 0.
const WITHIN_TABLES: usize = 4;

impl<'a> Picker<'a> {
    /// A group of level 0 that has a wanted table in it, or all single wanted tables that can be moved.
    pub(super) fn level_zero(&self, wanted: impl Fn(&TableMeta) -> bool) -> Pick {
        self.group_of_level_zero(|group, _| group.iter().any(|table| wanted(table)))
    }

    /// The same, for groups that are `wanted` with what they overlap below.
    fn group_of_level_zero(
        &self,
        wanted: impl Fn(&[&'a TableMeta], &[&'a TableMeta]) -> bool,
    ) -> Pick {
        let to = (1..self.targets.base)
            .find(|level| !self.levels[*level].is_empty())
            .unwrap_or(self.targets.base);
        let mut moves: Option<Compaction> = None;
        let mut best: Option<(u64, Compaction)> = None;
        let mut blocked = false;
        for group in self.groups() {
            let Some(hull) = Span::hull(group.iter().copied()) else {
                continue;
            };
            if !wanted(&group, self.overlapping(to, &hull)) {
                continue;
            }
            let (group, from) = self.unfinished.rest_of(group);
            let Some(hull) = Span::hull(group.iter().copied()) else {
                continue;
            };
            let bytes = bytes_of(&group);
            let lower = self.overlapping(to, &hull);
            let left = lower.partition_point(|table| table.ends_before(&from));
            let part = Part::next(
                from,
                bytes,
                &lower[left..],
                bytes_of(lower),
                self.shape.part_bytes,
            );
            let lower = lower.iter().copied().filter(|table| part.meets(table));
            let lower: Vec<_> = lower.collect();
            let compaction = self.merge_part(&[(0, &group), (to, &lower)], to, part);
            if self.claimed.meets(&compaction) {
                blocked = true;
            } else if compaction.moves {
                // Together they are one edit, unless another compaction is between them.
                moves = Some(match moves {
                    Some(others) => {
                        let all = others.clone().and(compaction);
                        if self.claimed.meets(&all) {
                            others
                        } else {
                            all
                        }
                    }
                    None => compaction,
                });
            } else if best.as_ref().is_none_or(|(most, _)| *most < bytes) {
                best = Some((bytes, compaction));
            }
        }
        match moves.or(best.map(|(_, compaction)| compaction)) {
            Some(compaction) => Pick::Job(compaction),
            None if blocked => Pick::Blocked,
            None => Pick::Nothing,
        }
    }

    /// A group whose range tombstones hide enough, even if level 0 is not full.
    pub(super) fn ranges_to_free(&self) -> Pick {
        self.group_of_level_zero(|group, lower| {
            let covered = group.iter().map(|table| self.covered(table)).sum();
            pays(covered, bytes_of(group).saturating_add(bytes_of(lower)))
        })
    }

    /// Whether level 0 may supersede many values in blob files, and merging it is little work beside them.
    pub(super) fn may_hide_garbage(&self) -> bool {
        let values =
            |table: &&TableMeta| -> u64 { table.blobs.iter().map(|used| used.value_bytes).sum() };
        let free = self.levels[0].iter().filter(|table| self.is_free(table));
        let above: u64 = free.map(values).sum();
        if above < VALUES_BYTES_MIN {
            return false;
        }
        let below: u64 = self.levels[1..].iter().flatten().map(values).sum();
        let tables: u64 = self.levels.iter().map(|tables| bytes_of(tables)).sum();
        above >= below.saturating_add(above) / VALUES_DIVISOR && tables <= above / VALUES_FACTOR
    }

    /// For rest: level 0, if it is a burden beside what is below and holds something that overlaps.
    pub(super) fn for_rest(&self) -> Pick {
        let level_0 = bytes_of(&self.levels[0]);
        let below: u64 = self.levels[1..].iter().map(|tables| bytes_of(tables)).sum();
        if level_0 < REST_BYTES || level_0 <= below / REST_DIVISOR {
            return Pick::Nothing;
        }
        match self.level_zero(|_| true) {
            Pick::Job(compaction) if compaction.moves => Pick::Nothing,
            pick => pick,
        }
    }

    /// While what is older is on its way down: the newest tables of level 0 to one, so that reads ask
    /// fewer. Each next older one is taken only if it is not larger than all before it together, so no
    /// entry is rewritten more often than the logarithm of the tables.
    ///
    /// What a load brought above commits in memtables is left out: these come to lie beneath it, by their sequences, when they are
    /// flushed, and older data must not have been merged into it.
    pub(super) fn merge_within_level_zero(&self) -> Pick {
        let mut run: Vec<&TableMeta> = Vec::new();
        let is_above = |table: &TableMeta| {
            let first = self.first_unflushed;
            first.is_some_and(|first| first <= table.largest_sequence)
        };
        for table in self.levels[0].iter().skip_while(|table| is_above(table)) {
            if !self.is_free(table) || (run.len() >= 2 && table.bytes > bytes_of(&run)) {
                break;
            }
            run.push(table);
        }
        if run.len() < WITHIN_TABLES.max(self.shape.l0_tables_max / 2) {
            return Pick::Nothing;
        }
        let mut compaction = self.merge(&[(0, &run)], 0);
        compaction.moves = false;
        if self.claimed.meets(&compaction) {
            return Pick::Blocked;
        }
        Pick::Job(compaction)
    }

    /// The groups, ascending; each newest first.
    fn groups(&self) -> Vec<Vec<&'a TableMeta>> {
        let mut tables: Vec<(usize, &'a TableMeta)> =
            self.levels[0].iter().copied().enumerate().collect();
        sort_few(&mut tables, |(_, left), (_, right)| {
            left.smallest.cmp(&right.smallest)
        });
        let mut groups: Vec<(Span, Vec<(usize, &'a TableMeta)>)> = Vec::new();
        for (age, table) in tables {
            let span = Span::of(table);
            match groups.pop_if(|(hull, _)| hull.meets(&span)) {
                Some((hull, mut group)) => {
                    group.push((age, table));
                    groups.push((hull.join(span), group));
                }
                None => groups.push((span, vec![(age, table)])),
            }
        }
        let by_age = |(_, mut group): (Span, Vec<(usize, &'a TableMeta)>)| {
            sort_few(&mut group, |(left, _), (right, _)| left.cmp(right));
            group.into_iter().map(|(_, table)| table).collect()
        };
        groups.into_iter().map(by_age).collect()
    }
}

impl Compaction {
    /// Two moves as one. The tables between them stay where they are.
    fn and(mut self, other: Self) -> Self {
        self.inputs.extend(other.inputs);
        self.span = self.span.join(other.span);
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::sequence::Sequence;
    use crate::tree::claims::Claims;
    use crate::tree::picker::tests::{BUCKET, SHAPE, table};
    use crate::tree::picker::{Compaction, Pick, Picker};

    fn within(first_unflushed: Option<u64>) -> Compaction {
        // Tables 9 and 8 were loaded; so their sequences are.
        let tables: Vec<_> = (2..10).rev().map(|it| table(it, [1, 9], 8)).collect();
        let levels = std::array::from_fn(|level| match level {
            0 => tables.iter().collect(),
            _ => Vec::new(),
        });
        Claims::default().read(BUCKET, |claimed| {
            let picker = Picker::of(levels, SHAPE, claimed, None)
                .with_first_unflushed(first_unflushed.map(Sequence::new));
            match picker.merge_within_level_zero() {
                Pick::Job(compaction) => compaction,
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn what_was_loaded_above_commits_in_memtables_is_not_merged_with_what_is_older() {
        let newest = |compaction: Compaction| compaction.inputs[0].1;
        assert_eq!(newest(within(None)), 9);
        assert_eq!(newest(within(Some(10))), 9);
        assert_eq!(newest(within(Some(8))), 7);
    }
}
