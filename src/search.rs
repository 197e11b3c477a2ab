//! Binary searches in sorted slices. With duplicates the answer is the first, for `seek_le` the last.

/// The first index whose item is at or after `target`.
///
/// ```
/// use trine_kv::search::seek_ge;
///
/// assert_eq!(seek_ge(&[1, 3, 5, 7], &4), Some(2));
/// assert_eq!(seek_ge(&[1, 3, 5, 7], &8), None);
/// ```
#[must_use]
pub fn seek_ge<T: Ord>(items: &[T], target: &T) -> Option<usize> {
    within(items, items.partition_point(|item| item < target))
}

/// The first index whose item is after `target`.
#[must_use]
pub fn seek_gt<T: Ord>(items: &[T], target: &T) -> Option<usize> {
    within(items, items.partition_point(|item| item <= target))
}

/// The last index whose item is at or before `target`.
#[must_use]
pub fn seek_le<T: Ord>(items: &[T], target: &T) -> Option<usize> {
    items.partition_point(|item| item <= target).checked_sub(1)
}

/// The first index from `current` on whose item is at or after `target`; `None` where `current` is
/// past the end.
///
/// # Cost
/// Logarithmic in the distance moved, not in the slice's length.
#[must_use]
pub fn advance_to<T: Ord>(items: &[T], current: usize, target: &T) -> Option<usize> {
    let rest = items.get(current..)?;
    let mut step = 1;
    while rest.get(step - 1).is_some_and(|item| item < target) {
        step *= 2;
    }
    // Everything below half the last step is before the target.
    let from = step / 2;
    let window = &rest[from.min(rest.len())..step.min(rest.len())];
    let found = from + window.partition_point(|item| item < target);
    within(items, current + found)
}

fn within<T>(items: &[T], index: usize) -> Option<usize> {
    (index < items.len()).then_some(index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documented_answers() {
        let items = [1, 3, 5, 7];
        assert_eq!(
            [3, 4, 8].map(|t| seek_ge(&items, &t)),
            [Some(1), Some(2), None]
        );
        assert_eq!([3, 7].map(|t| seek_gt(&items, &t)), [Some(2), None]);
        assert_eq!(
            [3, 4, 0].map(|t| seek_le(&items, &t)),
            [Some(1), Some(1), None]
        );
        assert_eq!(advance_to(&items, 1, &3), Some(1));
        assert_eq!(advance_to(&items, 0, &6), Some(3));
        assert_eq!(advance_to(&items, 3, &1), Some(3));
        assert_eq!(advance_to(&items, 4, &1), None);
        assert_eq!(advance_to(&items, usize::MAX, &1), None);
        assert_eq!(seek_ge(&[], &1), None);
    }

    proptest! {
        #[test]
        fn searches_answer_as_a_walk_does(
            mut items in prop::collection::vec(0u8..20, 0..40),
            target in 0u8..22,
            current in 0usize..45,
        ) {
            items.sort_unstable();
            prop_assert_eq!(seek_ge(&items, &target), items.iter().position(|item| *item >= target));
            prop_assert_eq!(seek_gt(&items, &target), items.iter().position(|item| *item > target));
            prop_assert_eq!(seek_le(&items, &target), items.iter().rposition(|item| *item <= target));
            let expected = (current..items.len()).find(|&index| items[index] >= target);
            prop_assert_eq!(advance_to(&items, current, &target), expected);
        }
    }
}
