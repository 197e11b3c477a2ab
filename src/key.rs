//! Ranges of user keys.

use std::ops::{Bound, RangeBounds};

/// A range of keys in byte order (shorter first on a tie). An empty or inverted range holds nothing.
///
/// # Examples
/// ```
/// use trine_kv::KeyRange;
/// let range = KeyRange::half_open("a", "c");
/// assert!(range.contains(b"b"));
/// assert!(!range.contains(b"c"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Where it starts.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
        }
    }

    /// `[start, end)`.
    ///
    /// # Examples
    /// ```
    /// use trine_kv::KeyRange;
    /// // Big-endian numbers are in byte order.
    /// let range = KeyRange::half_open(10_u32.to_be_bytes(), 20_u32.to_be_bytes());
    /// assert!(range.contains(&10_u32.to_be_bytes()) && !range.contains(&20_u32.to_be_bytes()));
    /// ```
    #[must_use]
    pub fn half_open(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self {
            start: Bound::Included(start.into()),
            end: Bound::Excluded(end.into()),
        }
    }

    /// Every key that starts with `prefix`; the empty prefix means every key.
    ///
    /// # Examples
    /// ```
    /// use trine_kv::KeyRange;
    /// let users = KeyRange::prefix("user:");
    /// assert!(users.contains(b"user:") && users.contains(b"user:\xff\xff"));
    /// assert!(!users.contains(b"user") && !users.contains(b"user;"));
    /// // Bytes that cannot be counted up carry over, or leave the range without an end.
    /// assert_eq!(KeyRange::prefix([1, 0xff]), KeyRange::half_open([1, 0xff], [2]));
    /// assert!(KeyRange::prefix([0xff]).contains(&[0xff; 9]));
    /// ```
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start).map_or(Bound::Unbounded, Bound::Excluded);
        Self {
            start: Bound::Included(start),
            end,
        }
    }

    /// The same bounds as any range of byte strings, such as `"a".."m"` or `vec![1]..=vec![9]`.
    ///
    /// # Examples
    /// ```
    /// use std::ops::Bound;
    /// use trine_kv::KeyRange;
    /// assert_eq!(KeyRange::from_bounds("a".."m"), KeyRange::half_open("a", "m"));
    /// assert!(KeyRange::from_bounds(vec![1]..=vec![9]).contains(&[9]));
    /// assert!(KeyRange::from_bounds(7_u64.to_be_bytes()..).contains(&8_u64.to_be_bytes()));
    /// // Where a bound does not show the type of its key, name it.
    /// let after = KeyRange::from_bounds::<&str>((Bound::Excluded("a"), Bound::Unbounded));
    /// assert!(!after.contains(b"a") && after.contains(b"a\0"));
    /// ```
    #[must_use]
    pub fn from_bounds<K: AsRef<[u8]>>(range: impl RangeBounds<K>) -> Self {
        let own = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
        Self {
            start: own(range.start_bound()),
            end: own(range.end_bound()),
        }
    }

    /// Whether `key` lies inside.
    ///
    /// # Examples
    /// ```
    /// use trine_kv::KeyRange;
    /// assert!(KeyRange::all().contains(b""));
    /// assert!(!KeyRange::half_open("b", "a").contains(b"a"));
    /// ```
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        !self.ends_before(key) && !self.starts_after(key)
    }

    /// Whether no key can lie inside.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Excluded(start), Bound::Excluded(end)) => {
                // Between a key and its immediate successor (the key with a zero byte) lies nothing.
                start >= end
                    || end
                        .split_last()
                        .is_some_and(|(last, rest)| *last == 0 && rest == start.as_slice())
            }
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start >= end,
        }
    }

    /// The whole range lies above `key`.
    pub(crate) fn starts_after(&self, key: &[u8]) -> bool {
        match &self.start {
            // To compare with nothing is slow where nothing has no address: `memcmp` loads through a mask, and what
            // is not mapped takes the processor a detour (40 ns a row of a scan backwards).
            Bound::Included(start) => !start.is_empty() && key < start.as_slice(),
            Bound::Excluded(start) => key <= start.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// The whole range lies below `key`.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => key > end.as_slice(),
            Bound::Excluded(end) => key >= end.as_slice(),
            Bound::Unbounded => false,
        }
    }

    /// The same keys as `[start, end)`; `None` for the end means unbounded.
    pub(crate) fn to_half_open(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let start = match &self.start {
            Bound::Included(start) => start.clone(),
            Bound::Excluded(start) => successor(start),
            Bound::Unbounded => Vec::new(),
        };
        let end = match &self.end {
            Bound::Included(end) => Some(successor(end)),
            Bound::Excluded(end) => Some(end.clone()),
            Bound::Unbounded => None,
        };
        (start, end)
    }
}

impl Default for KeyRange {
    fn default() -> Self {
        Self::all()
    }
}

/// Whether some key lies both in `range` and in `[start, end)`; an empty end is no end.
pub(crate) fn overlap(range: &KeyRange, start: &[u8], end: &[u8]) -> bool {
    if range.is_empty() {
        return false;
    }
    let (from, to) = range.to_half_open();
    let begins = end.is_empty() || from.as_slice() < end;
    begins && to.is_none_or(|to| start < to.as_slice())
}

/// The smallest key above `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The smallest key above everything that starts with `prefix`; `None` if there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        let key = proptest::collection::vec(0u8..3, 0..3);
        prop_oneof![
            Just(Bound::Unbounded),
            key.clone().prop_map(Bound::Included),
            key.prop_map(Bound::Excluded)
        ]
    }

    proptest! {
        #[test]
        fn an_empty_range_contains_nothing_and_half_open_means_the_same(
            start in bound(), end in bound(), key in proptest::collection::vec(0u8..3, 0..4),
        ) {
            let range = KeyRange { start, end };
            let (from, to) = range.to_half_open();
            let inside = from <= key && to.as_ref().is_none_or(|to| key < *to);
            prop_assert_eq!(range.contains(&key), inside);
            prop_assert!(!(range.is_empty() && inside));
        }
    }

    #[test]
    fn a_prefix_of_high_bytes_has_no_end() {
        assert_eq!(KeyRange::prefix([0xff, 0xff]).end, Bound::Unbounded);
        assert_eq!(KeyRange::prefix([1, 0xff]).end, Bound::Excluded(vec![2]));
        assert_eq!(KeyRange::prefix([]).end, Bound::Unbounded);
        assert!(KeyRange::prefix("ab").contains(b"ab\xff"));
    }
}
