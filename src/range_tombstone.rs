//! Range tombstones, fragmented: sorted, non-overlapping spans, each with the sequences that cover it.
//!
//! - A tombstone `[start, end)` at sequence S hides entries with a sequence strictly below S. At S
//!   itself a point entry wins: it came later in the same batch (an earlier one was dropped when applied).
//! - Fragments touch but never overlap, so the tombstones over a key are found by one binary search.
//! - An empty end means that the range has no end (`[start, "")` would otherwise hold nothing). Only the
//!   last fragment can be so.

use trine_platform::sorted::{SortedMap, sort_few};

use crate::sequence::Sequence;

/// One deletion of `[start, end)`; an empty end is no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeTombstone {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) sequence: Sequence,
}

/// A span and the tombstones over it, newest first, without repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
    pub(crate) sequences: Vec<Sequence>,
}

/// Fragments in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragments(Vec<Fragment>);

impl Fragments {
    /// Fragments whatever is given, in any order. Empty and inverted ranges hide nothing.
    pub(crate) fn build(tombstones: impl IntoIterator<Item = RangeTombstone>) -> Self {
        // At each boundary: which sequences begin and end to cover.
        let mut edges: Vec<(Vec<u8>, Sequence, bool)> = Vec::new();
        for tombstone in tombstones {
            let endless = tombstone.end.is_empty();
            if !endless && tombstone.start >= tombstone.end {
                continue;
            }
            edges.push((tombstone.start, tombstone.sequence, true));
            if !endless {
                edges.push((tombstone.end, tombstone.sequence, false));
            }
        }
        sort_few(&mut edges, |left, right| left.0.cmp(&right.0));
        let mut fragments = Vec::new();
        let mut active: SortedMap<Sequence, usize> = SortedMap::new();
        let mut edges = edges.chunk_by(|left, right| left.0 == right.0).peekable();
        while let Some(changes) = edges.next() {
            for (_, sequence, begins) in changes {
                let count = active.get_or_default(*sequence);
                // Ends may come before begins at one boundary, so the count may pass through zero.
                *count = if *begins {
                    count.wrapping_add(1)
                } else {
                    count.wrapping_sub(1)
                };
            }
            active.retain(|_, count| *count != 0);
            if !active.is_empty() {
                let boundary = |edges: &[(Vec<u8>, _, _)]| edges.first().map(|edge| edge.0.clone());
                let end = edges.peek().and_then(|next| boundary(next));
                let sequences = active.keys().rev().copied().collect();
                fragments.push(Fragment {
                    start: boundary(changes).unwrap_or_default(),
                    end: end.unwrap_or_default(),
                    sequences,
                });
            }
        }
        Self(fragments)
    }

    /// Takes fragments that a decoder has checked to be sorted and disjoint.
    pub(crate) fn from_sorted(fragments: Vec<Fragment>) -> Self {
        Self(fragments)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Fragment] {
        &self.0
    }

    /// The newest tombstone not above `at` that covers `key`.
    #[inline]
    pub(crate) fn covering(&self, key: &[u8], at: Sequence) -> Option<Sequence> {
        // Most tables have none.
        if self.is_empty() {
            return None;
        }
        let fragment = self.find(key)?;
        let first = fragment
            .sequences
            .partition_point(|sequence| *sequence > at);
        fragment.sequences.get(first).copied()
    }

    /// The oldest tombstone above `sequence` that covers `key`.
    pub(crate) fn oldest_above(&self, key: &[u8], sequence: Sequence) -> Option<Sequence> {
        let covering = &self.find(key)?.sequences;
        let above = covering.partition_point(|candidate| *candidate > sequence);
        covering.get(above.checked_sub(1)?).copied()
    }

    /// Whether fragments whose sequences `suffice` cover all of `[start, end)`; an empty end is no end.
    pub(crate) fn covers(
        &self,
        start: &[u8],
        end: &[u8],
        suffice: impl Fn(&[Sequence]) -> bool,
    ) -> bool {
        let first = self.0.partition_point(|fragment| {
            !fragment.end.is_empty() && fragment.end.as_slice() <= start
        });
        let mut reached = start;
        for fragment in &self.0[first..] {
            if fragment.start.as_slice() > reached || !suffice(&fragment.sequences) {
                return false;
            }
            if fragment.end.is_empty() || (!end.is_empty() && fragment.end.as_slice() >= end) {
                return true;
            }
            reached = &fragment.end;
        }
        false
    }

    /// The parts of the fragments that lie in `[start, end)`; `None` for an end means no end.
    pub(crate) fn clip(&self, start: &[u8], end: Option<&[u8]>) -> Self {
        let clipped = self.0.iter().filter_map(|fragment| {
            let from = fragment.start.as_slice().max(start);
            let to = match (end, fragment.end.as_slice()) {
                (None, own) => own,
                (Some(end), []) => end,
                (Some(end), own) => end.min(own),
            };
            (to.is_empty() || from < to).then(|| Fragment {
                start: from.to_vec(),
                end: to.to_vec(),
                sequences: fragment.sequences.clone(),
            })
        });
        Self(clipped.collect())
    }

    /// What is covered, as ranges with gaps between them; `None` for an end means no end.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let adjacent = |left: &Fragment, right: &Fragment| left.end == right.start;
        self.0.chunk_by(adjacent).filter_map(|span| {
            let (first, last) = (span.first()?, span.last()?);
            let end = (!last.end.is_empty()).then_some(last.end.as_slice());
            Some((first.start.as_slice(), end))
        })
    }

    /// The newest sequence of all.
    pub(crate) fn newest(&self) -> Option<Sequence> {
        let newest = |fragment: &Fragment| fragment.sequences.first().copied();
        self.0.iter().filter_map(newest).max()
    }

    /// The fragment over `key`.
    fn find(&self, key: &[u8]) -> Option<&Fragment> {
        let after = self
            .0
            .partition_point(|fragment| fragment.start.as_slice() <= key);
        let fragment = self.0.get(after.checked_sub(1)?)?;
        (fragment.end.is_empty() || key < fragment.end.as_slice()).then_some(fragment)
    }

    /// Every fragment as one tombstone per sequence, to be fragmented again together with others.
    pub(crate) fn tombstones(&self) -> impl Iterator<Item = RangeTombstone> + '_ {
        self.0.iter().flat_map(|fragment| {
            fragment.sequences.iter().map(|sequence| RangeTombstone {
                start: fragment.start.clone(),
                end: fragment.end.clone(),
                sequence: *sequence,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tombstone(start: u8, end: u8, sequence: u64) -> RangeTombstone {
        RangeTombstone {
            start: vec![start],
            end: vec![end],
            sequence: Sequence::new(sequence),
        }
    }

    #[test]
    fn adjacent_and_inverted_ranges_do_not_cover_each_other() {
        let fragments =
            Fragments::build([tombstone(1, 3, 5), tombstone(3, 4, 6), tombstone(9, 7, 7)]);
        let at = Sequence::new(9);
        assert_eq!(fragments.covering(&[0], at), None);
        assert_eq!(fragments.covering(&[1], at), Some(Sequence::new(5)));
        assert_eq!(fragments.covering(&[3], at), Some(Sequence::new(6)));
        assert_eq!(fragments.covering(&[4], at), None);
        assert_eq!(fragments.covering(&[8], at), None);
        assert_eq!(fragments.covering(&[3], Sequence::new(5)), None);
    }

    proptest! {
        #[test]
        fn fragments_answer_as_the_list_they_were_built_from(
            ranges in proptest::collection::vec((0u8..24, 0u8..24, 1u64..12), 0..24),
            endless in proptest::option::of((0u8..24, 1u64..12)),
            key in 0u8..24, at in 0u64..14,
        ) {
            let mut list: Vec<_> = ranges.iter().map(|&(start, end, sequence)| tombstone(start, end, sequence)).collect();
            if let Some((start, sequence)) = endless {
                list.push(RangeTombstone { end: Vec::new(), ..tombstone(start, 0, sequence) });
            }
            let fragments = Fragments::build(list.clone());
            let covering = || list.iter()
                .filter(|t| t.start.as_slice() <= &[key][..] && (t.end.is_empty() || &[key][..] < t.end.as_slice()))
                .map(|t| t.sequence);
            let at = Sequence::new(at);
            let newest = covering().filter(|sequence| *sequence <= at).max();
            prop_assert_eq!(fragments.covering(&[key], at), newest);
            prop_assert_eq!(fragments.oldest_above(&[key], at), covering().filter(|sequence| *sequence > at).min());
            let clipped = fragments.clip(&[8], Some(&[16]));
            prop_assert_eq!(clipped.covering(&[key], at), newest.filter(|_| (8..16).contains(&key)));
            prop_assert_eq!(&Fragments::build(fragments.tombstones()), &fragments);
            let spanned = fragments.spans().any(|(start, end)| start <= &[key][..] && end.is_none_or(|end| &[key][..] < end));
            prop_assert_eq!(spanned, covering().next().is_some());
            prop_assert_eq!(fragments.newest(), fragments.tombstones().map(|tombstone| tombstone.sequence).max());
            prop_assert!(fragments.as_slice().windows(2).all(|pair| !pair[0].end.is_empty() && pair[0].end <= pair[1].start));
        }
    }
}
