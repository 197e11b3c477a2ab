//! Every interleaving of a writer and a reader on tiny nodes, up to a bound on preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release loom_`. Nodes hold three slots, so a handful of entries makes
//! two levels, and one insert may split a leaf, its parent and the root.

use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::{Memtable, MemtableCursor};
use crate::cursor::Cursor;
use crate::internal_key::Kind;
use crate::sequence::Sequence;

/// What a writer shares with readers: the last sequence that is wholly inserted.
struct Shared {
    memtable: Arc<Memtable>,
    visible: AtomicU64,
}

/// Keys below 1000 share their first ten bytes, so that splits also narrow prefixes; those above do not.
fn key(number: u64) -> Vec<u8> {
    let first: &[u8] = if number < 1000 {
        b"commonpart"
    } else {
        b"other"
    };
    [first, &number.to_be_bytes()].concat()
}

/// Runs `read` while `inserts` are made, each published as it is done, over a memtable that has `before`.
/// Entry i of both lists together has sequence i + 1.
fn explore(
    before: &'static [u64],
    inserts: &'static [u64],
    read: impl Fn(&Arc<Memtable>, &dyn Fn() -> u64) + Copy + Send + Sync + 'static,
) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.max_branches = 100_000;
    model.check(move || {
        let memtable = Arc::new(Memtable::new());
        for (number, sequence) in before.iter().zip(1..) {
            memtable.insert(&key(*number), Sequence::new(sequence), Kind::Value, b"");
        }
        let shared = Arc::new(Shared {
            memtable,
            visible: AtomicU64::new(before.len() as u64),
        });
        let writer = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for (number, sequence) in inserts.iter().zip(before.len() as u64 + 1..) {
                    let key = key(*number);
                    shared
                        .memtable
                        .insert(&key, Sequence::new(sequence), Kind::Value, b"");
                    shared.visible.store(sequence, Ordering::Release);
                }
            }
        });
        read(&shared.memtable, &|| shared.visible.load(Ordering::Acquire));
        writer.join().unwrap();
    });
}

/// The reader must find exactly what was visible when it began, in order.
fn expect_walk(found: &[(Vec<u8>, u64)], numbers: &[u64], visible: u64) {
    let mut expected: Vec<_> = numbers
        .iter()
        .zip(1..=visible)
        .map(|(number, sequence)| (key(*number), sequence))
        .collect();
    expected.sort();
    assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let found: Vec<_> = found
        .iter()
        .filter(|(_, sequence)| *sequence <= visible)
        .cloned()
        .collect();
    assert_eq!(found, expected);
}

fn standing(cursor: &MemtableCursor) -> Option<(Vec<u8>, u64)> {
    cursor
        .entry()
        .map(|entry| (entry.key.to_vec(), entry.sequence.get()))
}

fn forward(memtable: &Arc<Memtable>) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    cursor.seek_first().unwrap();
    let mut found = Vec::new();
    while let Some(entry) = standing(&cursor) {
        found.push(entry);
        cursor.next().unwrap();
    }
    found
}

fn backward(memtable: &Arc<Memtable>) -> Vec<(Vec<u8>, u64)> {
    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    cursor.seek_last().unwrap();
    let mut found = Vec::new();
    while let Some(entry) = standing(&cursor) {
        found.push(entry);
        cursor.previous().unwrap();
    }
    found.reverse();
    found
}

/// Seven entries in three leaves below a full root; 35 splits a leaf and the root.
const TWO_LEVELS: &[u64] = &[10, 20, 30, 40, 50, 60, 70];

/// Two leaves; the second is full, and not by an ascending load: the next insert there replaces it.
const FULL_LEAF: &[u64] = &[10, 1030, 20, 25, 28];

/// Scattered over several levels. Inserting 450 replaces a leaf and the inner node above it, whose parent has room.
const SCATTERED: &[u64] = &[
    400, 1100, 100, 700, 1050, 200, 600, 900, 300, 500, 1000, 800, 150, 850,
];

#[test]
fn loom_a_replaced_leaf_and_reads_of_what_its_right_part_took() {
    explore(FULL_LEAF, &[26], |memtable, visible| {
        let at = Sequence::new(visible());
        assert!(memtable.get(&key(1030), at).is_some());
        assert!(memtable.get(&key(28), at).is_some());
    });
    explore(FULL_LEAF, &[29, 27], |memtable, visible| {
        let at = Sequence::new(visible());
        assert!(memtable.get(&key(1030), at).is_some());
        let mut cursor = MemtableCursor::new(Arc::clone(memtable));
        cursor.seek_before(&key(1031), at).unwrap();
        assert_eq!(standing(&cursor), Some((key(1030), 2)));
        cursor.seek_last().unwrap();
        assert_eq!(standing(&cursor), Some((key(1030), 2)));
    });
}

#[test]
fn loom_replaced_inner_nodes_and_reads_of_all() {
    explore(SCATTERED, &[450], |memtable, visible| {
        let at = Sequence::new(visible());
        for (number, sequence) in SCATTERED.iter().zip(1..) {
            let found = memtable.get(&key(*number), at);
            assert_eq!(found.map(|entry| entry.sequence.get()), Some(sequence));
        }
    });
    explore(SCATTERED, &[450], |memtable, visible| {
        let at = Sequence::new(visible());
        let mut cursor = MemtableCursor::new(Arc::clone(memtable));
        for number in [300, 400, 500, 600, 700, 800, 900] {
            cursor.seek_before(&key(number + 1), at).unwrap();
            assert_eq!(standing(&cursor).unwrap().0, key(number));
        }
        cursor.seek_last().unwrap();
        assert_eq!(standing(&cursor), Some((key(1100), 2)));
    });
}

#[test]
fn loom_an_insert_and_a_get() {
    explore(&[10, 30], &[20], |memtable, visible| {
        let visible = Sequence::new(visible());
        for number in [10, 30] {
            assert!(memtable.get(&key(number), visible).is_some());
        }
        let found = memtable.get(&key(20), visible).is_some();
        assert_eq!(found, visible.get() == 3);
    });
}

#[test]
fn loom_a_first_insert_and_a_get() {
    explore(&[], &[20], |memtable, visible| {
        let visible = visible();
        let found = memtable.get(&key(20), Sequence::new(visible)).is_some();
        assert_eq!(found, visible == 1);
    });
}

#[test]
fn loom_a_split_of_the_root_leaf_and_a_get() {
    explore(&[10, 30, 20], &[25, 26], |memtable, visible| {
        let visible = visible();
        for (number, sequence) in [30, 20, 25, 26].into_iter().zip(2..) {
            let found = memtable.get(&key(number), Sequence::new(visible)).is_some();
            assert_eq!(found, sequence <= visible);
        }
    });
}

#[test]
fn loom_a_split_on_two_levels_and_a_get() {
    explore(TWO_LEVELS, &[35, 36, 37], |memtable, visible| {
        let visible = visible();
        for (number, sequence) in [40, 50, 60, 70, 35, 36, 37].into_iter().zip(4..) {
            let found = memtable.get(&key(number), Sequence::new(visible)).is_some();
            assert_eq!(found, sequence <= visible);
        }
    });
}

#[test]
fn loom_an_ascending_load_and_a_get() {
    explore(
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[9, 10, 11],
        |memtable, visible| {
            let visible = visible();
            for number in 6..=11 {
                let found = memtable.get(&key(number), Sequence::new(visible)).is_some();
                assert_eq!(found, number <= visible);
            }
        },
    );
}

#[test]
fn loom_splits_and_a_walk_forward() {
    explore(&[10, 20, 30, 40, 50], &[35, 45, 25], |memtable, visible| {
        let visible = visible();
        let found = forward(memtable);
        expect_walk(&found, &[10, 20, 30, 40, 50, 35, 45, 25], visible);
    });
}

#[test]
fn loom_splits_and_a_walk_backward() {
    explore(&[10, 20, 30, 40, 50], &[35, 45, 25], |memtable, visible| {
        let visible = visible();
        let found = backward(memtable);
        expect_walk(&found, &[10, 20, 30, 40, 50, 35, 45, 25], visible);
    });
}

#[test]
fn loom_an_ascending_load_and_walks() {
    explore(&[1, 2, 3, 4, 5], &[6, 7], |memtable, visible| {
        let seen = visible();
        expect_walk(&forward(memtable), &[1, 2, 3, 4, 5, 6, 7], seen);
        let seen = visible();
        expect_walk(&backward(memtable), &[1, 2, 3, 4, 5, 6, 7], seen);
    });
}

#[test]
fn loom_a_descending_load_and_walks() {
    explore(&[9, 8, 7, 6, 5], &[4, 3], |memtable, visible| {
        let seen = visible();
        expect_walk(&backward(memtable), &[9, 8, 7, 6, 5, 4, 3], seen);
        let seen = visible();
        expect_walk(&forward(memtable), &[9, 8, 7, 6, 5, 4, 3], seen);
    });
}

#[test]
fn loom_splits_and_seeks_between_entries() {
    explore(&[10, 20, 30, 40, 50], &[35, 36, 37], |memtable, visible| {
        let visible = visible();
        let mut cursor = MemtableCursor::new(Arc::clone(memtable));
        let old = |cursor: &MemtableCursor| {
            standing(cursor).is_none_or(|(_, sequence)| sequence <= visible)
        };
        cursor.seek(&key(31), Sequence::new(visible)).unwrap();
        while !old(&cursor) {
            cursor.next().unwrap();
        }
        let expected = if visible > 5 { 35 } else { 40 };
        assert_eq!(standing(&cursor).unwrap().0, key(expected));
        cursor
            .seek_before(&key(39), Sequence::new(visible))
            .unwrap();
        while !old(&cursor) {
            cursor.previous().unwrap();
        }
        let expected = [30, 35, 36, 37][usize::try_from(visible).unwrap() - 5];
        assert!(standing(&cursor).unwrap().0 >= key(expected));
    });
}

#[test]
fn loom_a_replaced_entry_and_a_get() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memtable = Arc::new(Memtable::new());
        memtable.insert(b"k", Sequence::new(1), Kind::Value, b"old");
        let writer = thread::spawn({
            let memtable = Arc::clone(&memtable);
            move || {
                memtable.insert(b"k", Sequence::new(2), Kind::Value, b"first");
                memtable.insert(b"k", Sequence::new(2), Kind::Value, b"last");
            }
        });
        assert_eq!(memtable.get(b"k", Sequence::new(1)).unwrap().value, b"old");
        let newest = memtable.get(b"k", Sequence::new(2)).unwrap();
        assert!([&b"old"[..], b"first", b"last"].contains(&newest.value));
        writer.join().unwrap();
        assert_eq!(memtable.get(b"k", Sequence::new(2)).unwrap().value, b"last");
    });
}

#[test]
fn loom_range_tombstones_and_lookups() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let memtable = Arc::new(Memtable::new());
        memtable.insert_range_tombstone(b"a", b"m", Sequence::new(1));
        let writer = thread::spawn({
            let memtable = Arc::clone(&memtable);
            move || {
                memtable.insert_range_tombstone(b"b", b"c", Sequence::new(2));
                memtable.insert_range_tombstone(b"b", b"z", Sequence::new(3));
            }
        });
        let first = Sequence::new(1);
        assert_eq!(memtable.covering_tombstone(b"b", first), Some(first));
        assert!(!memtable.tombstones().is_empty());
        writer.join().unwrap();
        let last = Sequence::new(3);
        assert_eq!(memtable.covering_tombstone(b"b", last), Some(last));
    });
}
