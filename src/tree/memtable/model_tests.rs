//! The memtable against a `BTreeMap` ordered as the engine orders.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Memtable, MemtableCursor};
use crate::cursor::Cursor;
use crate::internal_key::{Entry, Kind};
use crate::range_tombstone::{Fragments, RangeTombstone};
use crate::sequence::Sequence;

type At = (Vec<u8>, Reverse<Sequence>);
type Model = BTreeMap<At, (Kind, Vec<u8>)>;

/// Key, sequence, and the value unless it is a tombstone.
type Insert = (Vec<u8>, u64, Option<Vec<u8>>);

/// Owned, so that model and memtable compare.
type Row = (Vec<u8>, Sequence, Kind, Vec<u8>);

fn row(entry: Entry<'_>) -> Row {
    (
        entry.key.to_vec(),
        entry.sequence,
        entry.kind,
        entry.value.to_vec(),
    )
}

fn model_row(((key, Reverse(sequence)), (kind, value)): (&At, &(Kind, Vec<u8>))) -> Row {
    (key.clone(), *sequence, *kind, value.clone())
}

fn standing(cursor: &MemtableCursor) -> Option<Row> {
    cursor.entry().map(row)
}

fn filled(entries: &[Insert]) -> (Arc<Memtable>, Model) {
    let memtable = Arc::new(Memtable::new());
    let mut model = Model::new();
    let mut writer = memtable.writer();
    for (key, sequence, value) in entries {
        let sequence = Sequence::new(*sequence);
        let (kind, value) = match value {
            Some(value) => (Kind::Value, value.clone()),
            None => (Kind::Tombstone, Vec::new()),
        };
        writer.insert(key, sequence, kind, &value);
        model.insert((key.clone(), Reverse(sequence)), (kind, value));
    }
    drop(writer);
    (memtable, model)
}

fn check_walks(memtable: &Arc<Memtable>, model: &Model) {
    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    assert!(cursor.entry().is_none());
    cursor.seek_first().unwrap();
    for expected in model.iter().map(model_row) {
        assert_eq!(standing(&cursor), Some(expected));
        cursor.next().unwrap();
    }
    assert!(cursor.entry().is_none());
    cursor.seek_last().unwrap();
    for expected in model.iter().rev().map(model_row) {
        assert_eq!(standing(&cursor), Some(expected));
        cursor.previous().unwrap();
    }
    assert!(cursor.entry().is_none());
}

fn check_position(memtable: &Arc<Memtable>, model: &Model, key: &[u8], sequence: u64) {
    let sequence = Sequence::new(sequence);
    let position = (key.to_vec(), Reverse(sequence));
    let mut after = model.range(position.clone()..).map(model_row);
    let mut before = model.range(..position).rev().map(model_row);

    let newest = after.clone().next().filter(|row| row.0 == key);
    assert_eq!(memtable.get(key, sequence).map(row), newest);

    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    cursor.seek(key, sequence).unwrap();
    for _ in 0..40 {
        let expected = after.next();
        assert_eq!(standing(&cursor), expected);
        if expected.is_none() {
            break;
        }
        cursor.next().unwrap();
    }
    cursor.seek_before(key, sequence).unwrap();
    for _ in 0..40 {
        let expected = before.next();
        assert_eq!(standing(&cursor), expected);
        if expected.is_none() {
            break;
        }
        cursor.previous().unwrap();
    }
    // Turning round on any entry leads back to it.
    cursor.seek(key, sequence).unwrap();
    if let Some(first) = standing(&cursor) {
        cursor.previous().unwrap();
        if cursor.entry().is_some() {
            cursor.next().unwrap();
            assert_eq!(standing(&cursor), Some(first));
        }
    }
}

/// Few and many different keys; short ones that are prefixes of others; long shared beginnings, zero
/// bytes included, which padding must not confuse.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(0u8..3, 0..4),
        vec(any::<u8>(), 0..20),
        (0u32..400).prop_map(|number| format!("user:{number:08}").into_bytes()),
        (0u32..400).prop_map(|number| format!("user:{number}").into_bytes()),
        (0usize..30, vec(0u8..2, 0..3)).prop_map(|(zeros, end)| [vec![0; zeros], end].concat()),
    ]
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::weighted(0.8, vec(any::<u8>(), 0..12))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn answers_as_an_ordered_map(
        entries in vec((key(), 0u64..20, value()), 0..1200),
        positions in vec((key(), 0u64..21), 20),
    ) {
        let (memtable, model) = filled(&entries);
        prop_assert_eq!(memtable.entries(), model.len() as u64);
        prop_assert_eq!(memtable.is_empty(), model.is_empty());
        check_walks(&memtable, &model);
        for (key, sequence) in &positions {
            check_position(&memtable, &model, key, *sequence);
            check_position(&memtable, &model, key, u64::MAX);
        }
        for (key, sequence, _) in entries.iter().take(60) {
            check_position(&memtable, &model, key, *sequence);
            check_position(&memtable, &model, key, sequence + 1);
        }
    }

    #[test]
    fn staged_entries_answer_as_inserted_ones(
        steps in vec((key(), 0u64..20, value(), 0..40), 0..1200),
        positions in vec((key(), 0u64..21), 20),
    ) {
        let entries: Vec<Insert> = steps
            .iter()
            .map(|(key, sequence, value, _)| (key.clone(), *sequence, value.clone()))
            .collect();
        let (_, model) = filled(&entries);
        let memtable = Arc::new(Memtable::new());
        let mut writer = memtable.writer();
        for ((key, sequence, value), (.., insert)) in entries.iter().zip(&steps) {
            let sequence = Sequence::new(*sequence);
            let kind = if value.is_some() { Kind::Value } else { Kind::Tombstone };
            writer.stage(key, sequence, kind, value.as_deref().unwrap_or_default());
            if *insert == 0 {
                writer.insert_staged();
            }
        }
        writer.insert_staged();
        drop(writer);
        prop_assert_eq!(memtable.entries(), model.len() as u64);
        check_walks(&memtable, &model);
        for (key, sequence) in &positions {
            check_position(&memtable, &model, key, *sequence);
        }
    }

    #[test]
    fn keys_of_one_form_answer_in_any_order_of_arrival(
        numbers in vec(0u32..100_000, 1..3000),
        direction in 0..3,
        versions in 1u64..4,
    ) {
        let mut numbers = numbers;
        match direction {
            0 => numbers.sort_unstable(),
            1 => numbers.sort_unstable_by_key(|number| Reverse(*number)),
            _ => {}
        }
        let entries: Vec<_> = numbers
            .iter()
            .zip(0u64..)
            .flat_map(|(number, index)| {
                let key = format!("tenant/7/user/{number:06}").into_bytes();
                (0..versions).map(move |version| (key.clone(), index * versions + version, Some(vec![7])))
            })
            .collect();
        let (memtable, model) = filled(&entries);
        check_walks(&memtable, &model);
        for (key, sequence, _) in entries.iter().step_by(37) {
            check_position(&memtable, &model, key, *sequence);
            check_position(&memtable, &model, &key[..key.len() - 1], *sequence);
        }
    }

    #[test]
    fn many_versions_of_one_key_are_told_apart(
        mut sequences in vec(0u64..5000, 1..600),
        sorted in any::<bool>(),
        key in key(),
        at in vec(0u64..5001, 40),
    ) {
        if sorted {
            sequences.sort_unstable();
        }
        let entries: Vec<_> = sequences.iter().map(|s| (key.clone(), *s, Some(s.to_le_bytes().to_vec()))).collect();
        let (memtable, model) = filled(&entries);
        check_walks(&memtable, &model);
        for at in at {
            check_position(&memtable, &model, &key, at);
        }
    }

    #[test]
    fn range_tombstones_answer_as_their_list(
        operations in vec((vec(0u8..8, 0..3), vec(0u8..8, 0..3), vec(0u8..8, 0..3), any::<bool>()), 1..60),
    ) {
        let memtable = Memtable::new();
        let mut list = Vec::new();
        for ((start, end, key, look), sequence) in operations.into_iter().zip(1..) {
            let tombstone = RangeTombstone { start, end, sequence: Sequence::new(sequence) };
            memtable.insert_range_tombstone(&tombstone.start, &tombstone.end, tombstone.sequence);
            list.push(tombstone);
            if look {
                for at in [sequence, sequence / 2] {
                    let at = Sequence::new(at);
                    let expected = Fragments::build(list.clone()).covering(&key, at);
                    prop_assert_eq!(memtable.covering_tombstone(&key, at), expected);
                }
                prop_assert_eq!(&*memtable.tombstones(), &Fragments::build(list.clone()));
            }
        }
    }
}

#[test]
fn an_empty_memtable_answers_nothing_and_holds_no_memory() {
    let memtable = Arc::new(Memtable::new());
    assert!(memtable.is_empty());
    assert_eq!((memtable.bytes(), memtable.entries()), (0, 0));
    check_walks(&memtable, &Model::new());
    check_position(&memtable, &Model::new(), b"", 0);
    assert_eq!(
        memtable.covering_tombstone(b"", Sequence::new(u64::MAX)),
        None
    );
    assert!(memtable.tombstones().is_empty());
}

#[test]
fn a_range_tombstone_alone_is_not_empty() {
    let memtable = Memtable::new();
    memtable.insert_range_tombstone(b"a", b"b", Sequence::new(3));
    assert!(!memtable.is_empty());
    assert!(memtable.bytes() > 0);
    assert_eq!(memtable.entries(), 0);
}

#[test]
fn unchanged_tombstones_are_fragmented_once() {
    let memtable = Memtable::new();
    memtable.insert_range_tombstone(b"a", b"c", Sequence::new(3));
    let first = memtable.tombstones();
    assert!(Arc::ptr_eq(&first, &memtable.tombstones()));
    memtable.insert_range_tombstone(b"b", b"d", Sequence::new(4));
    assert!(!Arc::ptr_eq(&first, &memtable.tombstones()));
}

#[test]
fn the_last_operation_on_a_key_of_a_batch_wins() {
    let memtable = Memtable::new();
    let at = Sequence::new(5);
    memtable.insert(b"k", at, Kind::Value, b"first");
    memtable.insert(b"k", at, Kind::Tombstone, b"");
    assert_eq!(
        memtable.get(b"k", at).map(|e| e.kind),
        Some(Kind::Tombstone)
    );
    memtable.insert(b"k", at, Kind::Value, b"last");
    assert_eq!(memtable.get(b"k", at).unwrap().value, b"last");
    assert_eq!(memtable.entries(), 1);
}

#[test]
fn big_keys_and_values_are_kept_whole() {
    let memtable = Memtable::new();
    let key = vec![7u8; 16 << 20];
    let value = vec![8u8; 64 << 20];
    let at = Sequence::new(1);
    memtable.insert(&key, at, Kind::Value, &value);
    memtable.insert(&key[1..], at, Kind::Value, b"shorter");
    assert!(memtable.get(&key, at).unwrap().value == value);
    assert_eq!(memtable.get(&key[1..], at).unwrap().value, b"shorter");
    assert!(memtable.bytes() >= key.len() + value.len());
}

#[test]
fn an_ascending_load_fills_its_leaves() {
    let bytes = |numbers: &mut dyn Iterator<Item = u64>| {
        let memtable = Memtable::new();
        for number in numbers {
            memtable.insert(
                &number.to_be_bytes(),
                Sequence::new(number),
                Kind::Value,
                b"",
            );
        }
        memtable.bytes()
    };
    let ascending = bytes(&mut (0..5000));
    let descending = bytes(&mut (0..5000).rev());
    let scattered = bytes(&mut (0..5000).map(|number| number * 2_971 % 5000));
    // 24 bytes of entry and a fourteenth of a leaf and its place in the parent.
    assert!(ascending < 5000 * (24 + 22), "{ascending}");
    assert!(descending < 5000 * (24 + 30), "{descending}");
    assert!(scattered > ascending * 3 / 2);
}
