//! Maps and sets for the few: sorted arrays with the interface of the standard library's trees, and a sort for them.
//!
//! - A tree of the standard library is compiled once for each type in it, some 6 KiB each; one of these takes a tenth. Modules for
//!   browsers are loaded over networks, which is where that counts.
//! - Finding takes a binary search. Adding at the end costs what it costs a `Vec`, which is where ascending numbers go; anywhere
//!   else, and when something is removed, what lies behind it is moved. So: thousands of entries, and small ones (box the others),
//!   never as many as there are keys in a database or in a transaction.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::{Bound, Range, RangeBounds};

/// A map in ascending order of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

/// A set in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedSet<K>(SortedMap<K, ()>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

fn key<K, V>(entry: &(K, V)) -> &K {
    &entry.0
}

fn value<K, V>(entry: &(K, V)) -> &V {
    &entry.1
}

fn both<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}

impl<K, V> SortedMap<K, V> {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys and values, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.0.iter().map(both)
    }

    /// Keys and values to be changed, ascending.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Keys, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.iter().map(key)
    }

    /// Values, by ascending keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + ExactSizeIterator + Clone {
        self.0.iter().map(value)
    }

    /// Values to be changed, by ascending keys.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// What became of the values, by ascending keys.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> + ExactSizeIterator {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// The least key and its value.
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.0.first().map(both)
    }

    /// The greatest key and its value.
    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.0.last().map(both)
    }

    /// Keeps what `keeps` says.
    pub fn retain(&mut self, mut keeps: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keeps(key, value));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// Where the key is, or would be.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0
            .binary_search_by(|(candidate, _)| candidate.borrow().cmp(key))
    }

    fn place_of_new(&self, key: &K) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if last >= key => self.place(key),
            _ => Err(self.0.len()),
        }
    }

    /// Whether the key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// The value of the key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(self.place(key).ok()?).map(value)
    }

    /// The value of the key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Sets the value of the key; gives the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place_of_new(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    /// The value of the key, which `make` gives if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let place = match self.place_of_new(&key) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (key, make()));
                place
            }
        };
        &mut self.0[place].1
    }

    /// Removes the key; gives its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key).ok()?;
        Some(self.0.remove(place).1)
    }

    /// The places of a range. Empty, too, where it is inverted.
    fn places(&self, range: &impl RangeBounds<K>) -> Range<usize> {
        let below = |key: &K, with: bool| {
            self.0
                .partition_point(|(candidate, _)| candidate < key || (with && candidate == key))
        };
        let start = match range.start_bound() {
            Bound::Unbounded => 0,
            Bound::Included(key) => below(key, false),
            Bound::Excluded(key) => below(key, true),
        };
        let end = match range.end_bound() {
            Bound::Unbounded => self.0.len(),
            Bound::Included(key) => below(key, true),
            Bound::Excluded(key) => below(key, false),
        };
        start..end.max(start)
    }

    /// Keys of the range and their values, ascending.
    pub fn range(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.0[self.places(&range)].iter().map(both)
    }
}

impl<K: Ord, V: Default> SortedMap<K, V> {
    /// The value of the key, which is made if there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V {
        self.get_or_insert_with(key, V::default)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Ord, V> Extend<(K, V)> for SortedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K, V> IntoIterator for SortedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K> SortedSet<K> {
    /// An empty set.
    pub const fn new() -> Self {
        Self(SortedMap::new())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator + Clone {
        self.0.keys()
    }

    /// The least.
    pub fn first(&self) -> Option<&K> {
        self.0.first_key_value().map(|(key, ())| key)
    }

    /// The greatest.
    pub fn last(&self) -> Option<&K> {
        self.0.last_key_value().map(|(key, ())| key)
    }
}

impl<K: Ord> SortedSet<K> {
    /// Whether it is there.
    pub fn contains<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Adds it; says whether it was missing.
    pub fn insert(&mut self, key: K) -> bool {
        self.0.insert(key, ()).is_none()
    }

    /// Removes it; says whether it was there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.remove(key).is_some()
    }

    /// Takes out the greatest.
    pub fn pop_last(&mut self) -> Option<K> {
        self.0.0.pop().map(|(key, ())| key)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Those in the range, ascending.
    pub fn range(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = &K> + ExactSizeIterator {
        self.0.range(range).map(|(key, ())| key)
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key, ())).collect())
    }
}

impl<K: Ord> Extend<K> for SortedSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        self.0.extend(keys.into_iter().map(|key| (key, ())));
    }
}

impl<'a, K> IntoIterator for &'a SortedSet<K> {
    type Item = &'a K;
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (K, ())>, fn(&(K, ())) -> &K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.0.iter().map(key)
    }
}

/// Sorts by `order`; equal items keep theirs. One sort for items of all types, so it costs a call for each comparison.
pub fn sort_few<T>(items: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..items.len()).collect();
    sort_places(&mut places, &|left, right| {
        order(&items[left], &items[right])
    });
    // Each item is swapped to its place, from wherever the swaps before have brought it.
    for place in 0..places.len() {
        let mut from = places[place];
        while from < place {
            from = places[from];
        }
        items.swap(place, from);
    }
}

fn sort_places(places: &mut [usize], order: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|left, right| order(*left, *right));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::random::Random;

    #[test]
    fn a_sorted_map_does_what_a_tree_does() {
        let mut random = Random::new(7);
        let (mut map, mut tree) = (SortedMap::new(), BTreeMap::new());
        for step in 0..2000_u64 {
            let key = random.next_u64() % 50;
            match random.next_u64() % 5 {
                0 => assert_eq!(map.insert(key, step), tree.insert(key, step)),
                1 => assert_eq!(map.remove(&key), tree.remove(&key)),
                2 => {
                    *map.get_or_default(key) += step;
                    *tree.entry(key).or_default() += step;
                }
                3 => {
                    let end = key + random.next_u64() % 20;
                    assert!(map.range(key..end).eq(tree.range(key..end)));
                    assert!(map.range(..=key).rev().eq(tree.range(..=key).rev()));
                    let above = (Bound::Excluded(key), Bound::Unbounded);
                    assert!(map.range(above).eq(tree.range(above)));
                }
                _ => {
                    map.retain(|key, value| (*key + *value) % 7 > 0);
                    tree.retain(|key, value| (*key + *value) % 7 > 0);
                }
            }
            assert!(map.iter().eq(tree.iter()));
            assert_eq!(map.get(&key), tree.get(&key));
            assert_eq!(map.first_key_value(), tree.first_key_value());
            assert_eq!(map.last_key_value(), tree.last_key_value());
        }
    }

    #[test]
    fn sorting_is_stable() {
        let mut random = Random::new(3);
        for length in 0..60 {
            let items: Vec<_> = (0..length).map(|at| (random.next_u64() % 9, at)).collect();
            let (mut few, mut all) = (items.clone(), items);
            sort_few(&mut few, |left, right| left.0.cmp(&right.0));
            all.sort_by_key(|item| item.0);
            assert_eq!(few, all);
        }
    }
}
