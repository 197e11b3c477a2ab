//! What the range tombstones of all sources hide from one scan.
//!
//! Keys come in order, so nearly every one lies where the key before it did: in the same fragment, or in the
//! same gap. That is asked first; only else is a source searched.

use std::sync::Arc;

use trine_io::Mode;

use crate::cursor::{Halt, Moved};
use crate::direction::Direction;
use crate::error::Result;
use crate::internal_key::Entry;
use crate::key::{KeyRange, overlap};
use crate::range_tombstone::{Fragment, Fragments};
use crate::sequence::Sequence;
use crate::table::{Missing, OpenTable, Table};

/// So many entries are hidden one after the other before what comes next is sought instead: a seek costs about as
/// much as that many steps.
const HIDDEN_MAX: u32 = 16;

/// Range tombstones of one source.
#[derive(Debug)]
pub(crate) enum Tombstones {
    Memtable(Arc<Fragments>),
    Table(Arc<Table>),
}

impl Tombstones {
    /// None, if the table is not open.
    fn fragments(&self) -> &[Fragment] {
        let fragments = match self {
            Self::Memtable(fragments) => Some(&**fragments),
            Self::Table(table) => table.opened().map(OpenTable::tombstones),
        };
        fragments.map(Fragments::as_slice).unwrap_or_default()
    }

    /// Whether they can be read.
    fn check_open(&self) -> Moved<Missing> {
        match self {
            Self::Table(table) => table.read().map(drop).map_err(Halt::Needs),
            Self::Memtable(_) => Ok(()),
        }
    }

    /// Makes them readable.
    pub(crate) async fn open(&self, mode: Mode) -> Result<()> {
        match self {
            Self::Table(table) => table.open(mode).await.map(drop),
            Self::Memtable(_) => Ok(()),
        }
    }

    /// Whether a tombstone above `above` deletes from `range`. They must be readable.
    pub(crate) fn meets(&self, range: &KeyRange, above: Sequence) -> bool {
        self.fragments().iter().any(|fragment| {
            fragment
                .sequences
                .first()
                .is_some_and(|newest| *newest > above)
                && overlap(range, &fragment.start, &fragment.end)
        })
    }
}

/// The range tombstones that a scan at one sequence sees.
#[derive(Debug)]
pub(crate) struct Hiding {
    /// Of those sources that have any: with each, which fragment is the first that does not end before the key
    /// that was asked last.
    sources: Vec<(Tombstones, usize)>,
    at: Sequence,
    /// Entries hidden since the last that was not.
    hidden: u32,
}

/// A part of the keys in which everything below a sequence is hidden.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    /// Where it ends, in the direction of the scan: the key that follows it, or its first key if the scan goes in
    /// reverse. `None`: it has no end.
    pub(crate) end: Option<Vec<u8>>,
    pub(crate) below: Sequence,
}

impl Hiding {
    pub(crate) fn new(sources: Vec<Tombstones>, at: Sequence) -> Self {
        Self {
            sources: sources.into_iter().map(|source| (source, 0)).collect(),
            at,
            hidden: 0,
        }
    }

    pub(crate) fn check_open(&self) -> Moved<Missing> {
        let mut sources = self.sources.iter();
        sources.try_for_each(|(source, _)| source.check_open())
    }

    /// Whether `entry` is hidden.
    #[inline]
    pub(crate) fn hides(&mut self, entry: &Entry<'_>) -> bool {
        if self.sources.is_empty() {
            return false;
        }
        let at = self.at;
        let hides = self.sources.iter_mut().any(|(source, place)| {
            let covering = covering(source.fragments(), place, entry.key, at);
            covering.is_some_and(|(_, covering)| covering > entry.sequence)
        });
        self.hidden = if hides {
            self.hidden.saturating_add(1)
        } else {
            0
        };
        hides
    }

    /// Whether so much was hidden that it is worth while to ask what is `ahead`.
    #[inline]
    pub(crate) fn hides_much(&self) -> bool {
        self.hidden >= HIDDEN_MAX
    }

    /// The part that hides most of what comes next, from `key` on.
    pub(crate) fn ahead(&mut self, key: &[u8], direction: Direction) -> Option<Hidden> {
        self.hidden = 0;
        let at = self.at;
        let over = self.sources.iter_mut().filter_map(|(source, place)| {
            let (fragment, below) = covering(source.fragments(), place, key, at)?;
            let end = match direction {
                Direction::Forward => (!fragment.end.is_empty()).then_some(&fragment.end),
                Direction::Reverse => Some(&fragment.start),
            };
            let end = end.cloned();
            Some(Hidden { end, below })
        });
        over.max_by_key(|hidden| hidden.below)
    }
}

/// The fragment over `key`, and its newest sequence not above `at`. `place` is where the last key was.
#[inline]
fn covering<'f>(
    fragments: &'f [Fragment],
    place: &mut usize,
    key: &[u8],
    at: Sequence,
) -> Option<(&'f Fragment, Sequence)> {
    let ends_before = |fragment: &Fragment| {
        let end = fragment.end.as_slice();
        !end.is_empty() && end <= key
    };
    let is_here = !fragments.get(*place).is_some_and(ends_before)
        && place
            .checked_sub(1)
            .is_none_or(|before| fragments.get(before).is_some_and(ends_before));
    if !is_here {
        *place = fragments.partition_point(ends_before);
    }
    let fragment = fragments.get(*place)?;
    if fragment.start.as_slice() > key {
        return None;
    }
    let first = fragment
        .sequences
        .partition_point(|sequence| *sequence > at);
    Some((fragment, *fragment.sequences.get(first)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::range_tombstone::RangeTombstone;

    proptest! {
        #[test]
        fn wherever_the_last_key_was_the_answer_is_that_of_a_search(
            tombstones in proptest::collection::vec((0u8..40, 0u8..40, 1u64..9), 0..12),
            keys in proptest::collection::vec(0u8..42, 1..40), at in 0u64..10,
        ) {
            let tombstones = tombstones.into_iter().map(|(start, end, sequence)| RangeTombstone {
                start: vec![start],
                // Zero: no end.
                end: if end == 0 { Vec::new() } else { vec![end] },
                sequence: Sequence::new(sequence),
            });
            let fragments = Fragments::build(tombstones);
            let at = Sequence::new(at);
            let mut place = 0;
            for key in keys {
                let found = covering(fragments.as_slice(), &mut place, &[key], at);
                prop_assert_eq!(found.map(|(_, sequence)| sequence), fragments.covering(&[key], at));
            }
        }
    }
}
