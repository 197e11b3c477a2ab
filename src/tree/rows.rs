//! Rows in memory, on their way into tables.
//!
//! [`Rows`] is a piece of them, in the order in which they came; [`Gathered`] is many pieces, which can be walked in the order of
//! keys. Nothing is copied or moved for sorting: what is sorted are sixteen bytes for each row, which say where it lies and how
//! its key begins, behind what all keys begin with.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "nothing here comes from disk")
)]

use std::cmp::Ordering;

use crate::prefetch;

/// Rows lie all over the memory when they are walked in order: the fronts of those so far ahead are asked for.
const AHEAD: usize = 16;

/// How much of a row is asked for.
const FRONT_BYTES: usize = 192;

/// Two lengths stand before each row.
const HEADER_BYTES: usize = 8;

/// Rows in the order in which they came, but that one with the key of the row before it takes its place.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of each row: the lengths of key and value, the key, the value.
    bytes: Vec<u8>,
    count: usize,
    /// Where the last row begins.
    last: Option<usize>,
    scattered: bool,
}

impl Rows {
    /// With room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes a row, unless the rows have grown to `bytes_max` and another key begins: then they are to be handed on. Rows begin
    /// below 4 GiB, as far as `bytes_max` does; and no key or value is as long as that (`check_row`).
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8], bytes_max: u32) -> bool {
        if let Some(last) = self.last {
            let order = self.at(last).0.cmp(key);
            if order == Ordering::Equal {
                self.bytes.truncate(last);
                self.count -= 1;
            } else if self.bytes.len() >= bytes_max as usize {
                return false;
            }
            self.scattered |= order == Ordering::Greater;
        }
        self.last = Some(self.bytes.len());
        self.count += 1;
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.bytes.extend_from_slice(&length.to_ne_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        true
    }

    /// What they take, and what sorting them will.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.count * size_of::<Ranked>()
    }

    /// Whether all keys are above `key`, and each above the one before it.
    pub(crate) fn ascend_from(&self, key: Option<&[u8]>) -> bool {
        !self.scattered && (self.is_empty() || key.is_none_or(|key| key < self.at(0).0))
    }

    /// Keys and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.starts().map(|start| self.at(start))
    }

    /// Where each row begins.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = next;
            if start == self.bytes.len() {
                return None;
            }
            let (key, value) = self.at(start);
            next = start + HEADER_BYTES + key.len() + value.len();
            Some(start)
        })
    }

    fn at(&self, start: usize) -> (&[u8], &[u8]) {
        let (key_bytes, rest) = self.bytes[start..].split_at(HEADER_BYTES / 2);
        let (value_bytes, rest) = rest.split_at(HEADER_BYTES / 2);
        let (key, rest) = rest.split_at(length(key_bytes));
        (key, &rest[..length(value_bytes)])
    }
}

fn length(bytes: &[u8]) -> usize {
    let bytes = bytes.try_into().unwrap_or_default();
    u32::from_ne_bytes(bytes) as usize
}

/// Rows that wait to be sorted.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pieces: Vec<Rows>,
    memory: usize,
}

/// Where a row lies, with the front of its key.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    front: u64,
    piece: u32,
    start: u32,
}

impl Gathered {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    pub(crate) fn add(&mut self, rows: Rows) {
        if !rows.is_empty() {
            self.memory += rows.memory();
            self.pieces.push(rows);
        }
    }

    fn row(&self, ranked: Ranked) -> (&[u8], &[u8]) {
        self.pieces[ranked.piece as usize].at(ranked.start as usize)
    }

    /// Bytes that all keys begin with.
    fn shared(&self) -> usize {
        let mut keys = self.pieces.iter().flat_map(Rows::iter).map(|(key, _)| key);
        let first = keys.next().unwrap_or_default();
        keys.fold(first.len(), |shared, key| {
            if key.starts_with(&first[..shared]) {
                return shared;
            }
            first
                .iter()
                .zip(key)
                .take_while(|(left, right)| left == right)
                .count()
        })
    }

    /// All rows by key, and those of one key as they came.
    fn ranked(&self) -> Vec<Ranked> {
        let shared = self.shared();
        let mut ranked = Vec::with_capacity(self.pieces.iter().map(|rows| rows.count).sum());
        for (piece, rows) in (0..).zip(&self.pieces) {
            ranked.extend(rows.starts().map(|start| Ranked {
                front: front(&rows.at(start).0[shared..]),
                piece,
                start: u32::try_from(start).unwrap_or(u32::MAX),
            }));
        }
        ranked.sort_unstable_by(|left, right| {
            left.front
                .cmp(&right.front)
                .then_with(|| self.row(*left).0.cmp(self.row(*right).0))
                .then_with(|| (left.piece, left.start).cmp(&(right.piece, right.start)))
        });
        ranked
    }

    /// The rows by key; of each key, the row that came last.
    pub(crate) fn sorted(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let ranked = self.ranked();
        (0..ranked.len()).filter_map(move |index| {
            if let Some(ahead) = ranked.get(index + AHEAD) {
                let bytes = &self.pieces[ahead.piece as usize].bytes;
                let start = bytes.as_ptr().wrapping_add(ahead.start as usize);
                prefetch::fetch_lines(start, FRONT_BYTES, usize::MAX);
            }
            let this = ranked[index];
            let is_last = ranked.get(index + 1).is_none_or(|later| {
                later.front != this.front || self.row(*later).0 != self.row(this).0
            });
            is_last.then(|| self.row(this))
        })
    }
}

/// The first eight bytes as a number: where two differ, their keys are in the same order.
fn front(key: &[u8]) -> u64 {
    let mut front = [0; 8];
    let length = key.len().min(8);
    front[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(front)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn of_each_key_the_row_that_came_last_stays_and_keys_ascend(
            rows in prop::collection::vec((prop::collection::vec(0..3_u8, 0..12), any::<u8>()), 0..200),
            bytes_max in 0..500_u32,
            beginning in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut model = BTreeMap::new();
            let mut gathered = Gathered::default();
            let mut piece = Rows::default();
            for (rest, value) in rows {
                let key = [beginning.as_slice(), &rest].concat();
                if !piece.add(&key, &[value], bytes_max) {
                    gathered.add(std::mem::take(&mut piece));
                    prop_assert!(piece.add(&key, &[value], bytes_max));
                }
                model.insert(key, vec![value]);
            }
            gathered.add(piece);
            let sorted: Vec<_> = gathered.sorted().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
            prop_assert_eq!(sorted, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_key_that_repeats_stays_in_one_piece() {
        let mut rows = Rows::default();
        assert!(rows.add(b"a", b"1", 0));
        assert!(rows.add(b"a", b"2", 0));
        assert!(!rows.add(b"b", b"3", 0));
        assert_eq!(rows.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"2"[..])]);
    }

    #[test]
    fn rows_ascend_or_do_not() {
        let mut rows = Rows::default();
        assert!(rows.ascend_from(Some(b"z")));
        rows.add(b"b", b"", u32::MAX);
        rows.add(b"c", b"", u32::MAX);
        assert!(rows.ascend_from(None) && rows.ascend_from(Some(b"a")));
        assert!(!rows.ascend_from(Some(b"b")));
        rows.add(b"b", b"", u32::MAX);
        assert!(!rows.ascend_from(None));
    }
}
