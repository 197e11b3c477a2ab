//! What range deletes hide is neither handed out nor read: scans seek over it, wherever newer rows lie in between.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use trine_kv::{BucketOptions, Db, DbOptions, Direction, DurabilityMode, KeyRange};

const ROWS: u16 = 600;

/// Blocks of a few rows, tables of a few blocks.
fn open(place: &Path) -> Db {
    Db::open_sync(DbOptions {
        background_worker_count: 0,
        target_table_bytes: 4 << 10,
        default_bucket_options: BucketOptions {
            block_bytes: 256,
            ..BucketOptions::default()
        },
        ..DbOptions::new(place).with_durability(DurabilityMode::Buffered)
    })
    .unwrap()
}

/// All rows in tables of a sorted level.
fn filled(place: &Path) -> Db {
    let db = open(place);
    for number in 0..ROWS {
        db.put_sync(key(number), b"old").unwrap();
    }
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    db
}

fn key(number: u16) -> [u8; 2] {
    number.to_be_bytes()
}

fn scan(db: &Db, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut cursor = db.cursor(range, direction).unwrap();
    let mut rows = Vec::new();
    while cursor.advance_sync().unwrap() {
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
    }
    rows
}

#[derive(Clone, Debug)]
enum Change {
    Put(u16),
    /// Without an end, if that lies beyond all rows.
    DeleteRange(u16, u16),
    Flush,
    Compact(u16, u16),
}

fn change() -> impl Strategy<Value = Change> {
    let number = || 0..ROWS;
    prop_oneof![
        4 => number().prop_map(Change::Put),
        3 => (number(), 0..300_u16).prop_map(|(start, length)| Change::DeleteRange(start, start + length)),
        1 => Just(Change::Flush),
        1 => (number(), number()).prop_map(|(a, b)| Change::Compact(a.min(b), a.max(b))),
    ]
}

fn range(start: u16, end: u16) -> KeyRange {
    if end < ROWS {
        KeyRange::half_open(key(start), key(end))
    } else {
        KeyRange::from_bounds(key(start)..)
    }
}

#[test]
fn scans_both_ways_hand_out_what_is_not_deleted() {
    proptest!(ProptestConfig::with_cases(12), |(changes in proptest::collection::vec(change(), 1..20), starts in 0..ROWS)| {
        let place = tempfile::tempdir().unwrap();
        let db = filled(place.path());
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = scan(&db, &KeyRange::all(), Direction::Forward).into_iter().collect();
        prop_assert_eq!(rows.len(), usize::from(ROWS));
        for change in changes {
            let before = db.snapshot();
            let was: Vec<_> = rows.clone().into_iter().collect();
            match change {
                Change::Put(number) => {
                    db.put_sync(key(number), b"new").unwrap();
                    rows.insert(key(number).to_vec(), b"new".to_vec());
                }
                Change::DeleteRange(start, end) => {
                    let range = range(start, end);
                    db.delete_range_sync(range.clone()).unwrap();
                    rows.retain(|key, _| !range.contains(key));
                }
                Change::Flush => db.flush_sync().unwrap(),
                Change::Compact(start, end) => db.compact_range_sync(range(start, end)).unwrap(),
            }
            let old = db.range_at_sync(&before, &KeyRange::all()).unwrap().map(|row| row.unwrap());
            let old: Vec<_> = old.map(|row| (row.key, row.value)).collect();
            prop_assert_eq!(old, was);
            let mut expected: Vec<_> = rows.clone().into_iter().collect();
            prop_assert_eq!(&scan(&db, &KeyRange::all(), Direction::Forward), &expected);
            let part = KeyRange::from_bounds(key(starts)..);
            expected.retain(|(found, _)| found.as_slice() >= key(starts).as_slice());
            expected.reverse();
            prop_assert_eq!(scan(&db, &part, Direction::Reverse), expected);
        }
    });
}

#[test]
fn blocks_whose_rows_are_all_hidden_are_not_read() {
    for flushed in [false, true] {
        for direction in [Direction::Forward, Direction::Reverse] {
            let place = tempfile::tempdir().unwrap();
            let db = filled(place.path());
            let blocks = |db: &Db| {
                let stats = db.stats();
                stats.block_cache_hits + stats.block_cache_misses
            };
            let rows = scan(&db, &KeyRange::all(), direction);
            let all = blocks(&db);
            db.delete_range_sync(range(50, 550)).unwrap();
            if flushed {
                db.flush_sync().unwrap();
            }
            let before = blocks(&db);
            let left = scan(&db, &KeyRange::all(), direction);
            assert_eq!((rows.len(), left.len()), (600, 100));
            let read = blocks(&db) - before;
            assert!(read * 3 < all, "{read} of {all} blocks, {direction:?}");
        }
    }
}
