//! A set of keys, kept as ranges that neither overlap nor touch.
//!
//! Ranges are merged as they come, so that a question costs one search however many were added, and
//! adding the same range again costs no memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::key::KeyRange;

/// Starts and ends of `[start, end)`; without an end, all keys from the start on.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl RangeSet {
    /// Adds the keys of `range`.
    pub(crate) fn insert(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = range.to_half_open();
        if let Some((left, left_end)) = self.last_from(Bound::Included(&start))
            && left_end.is_none_or(|left_end| left_end >= start.as_slice())
        {
            start = left.to_vec();
        }
        let last = end.clone().map_or(Bound::Unbounded, Bound::Included);
        let reached = (Bound::Included(start.clone()), last);
        for (_, other) in self.0.extract_if(reached, |_, _| true) {
            end = end.zip(other).map(|(end, other)| end.max(other));
        }
        self.0.insert(start, end);
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.last_from(Bound::Included(key))
            .is_some_and(|(_, end)| end.is_none_or(|end| key < end))
    }

    /// Whether a key of `[start, end)`, which is not empty, is in the set; an empty end is no end.
    pub(crate) fn meets(&self, start: &[u8], end: &[u8]) -> bool {
        let below = if end.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(end)
        };
        // The last range that starts below the end also ends last.
        self.last_from(below)
            .is_some_and(|(_, last)| last.is_none_or(|last| start < last))
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KeyRange> {
        self.0.iter().map(|(start, end)| KeyRange {
            start: Bound::Included(start.clone()),
            end: end.clone().map_or(Bound::Unbounded, Bound::Excluded),
        })
    }

    /// The last range whose start is within the bound.
    fn last_from(&self, bound: Bound<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let (start, end) = self
            .0
            .range::<[u8], _>((Bound::Unbounded, bound))
            .next_back()?;
        Some((start, end.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::overlap;
    use proptest::prelude::*;

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        let key = proptest::collection::vec(0u8..4, 0..3);
        prop_oneof![
            1 => Just(Bound::Unbounded),
            8 => key.clone().prop_map(Bound::Included),
            8 => key.prop_map(Bound::Excluded)
        ]
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end })
    }

    proptest! {
        #[test]
        fn a_set_answers_as_the_list_of_its_ranges(
            added in proptest::collection::vec(range(), 0..8),
            key in proptest::collection::vec(0u8..4, 0..4),
            asked in range(),
        ) {
            let mut set = RangeSet::default();
            for range in &added {
                set.insert(range);
            }
            prop_assert_eq!(set.contains(&key), added.iter().any(|range| range.contains(&key)));
            if !asked.is_empty() {
                let (start, end) = asked.to_half_open();
                let end = end.unwrap_or_default();
                let expected = added.iter().any(|range| overlap(range, &start, &end));
                prop_assert_eq!(set.meets(&start, &end), expected);
            }
            let ranges: Vec<_> = set.iter().map(|range| range.to_half_open()).collect();
            prop_assert!(ranges.is_sorted_by(|(_, end), (start, _)| end.as_ref().is_some_and(|end| end < start)));
        }
    }
}
