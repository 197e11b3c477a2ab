//! Rows taken from both ends of one scan: each row once, in order, until the ends meet.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common"]
mod common {
    pub(crate) mod executor;
}

use std::collections::VecDeque;

use common::executor::block_on;
use proptest::prelude::*;
use trine_kv::{Db, DbOptions, DurabilityMode, Iter, KeyRange, KeyValue};

/// Rows in a compacted table, in level 0, and in the memtable, some of them deleted.
fn filled(db: &Db) {
    for (round, step) in [3_usize, 2, 5].into_iter().enumerate() {
        for number in (0..40_u8).step_by(step) {
            db.put_sync([number], [u8::try_from(round).unwrap()])
                .unwrap();
        }
        db.delete_sync([u8::try_from(round * 7).unwrap()]).unwrap();
        match round {
            0 => {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
            1 => db.flush_sync().unwrap(),
            _ => {}
        }
    }
    db.delete_range_sync(KeyRange::half_open([20], [24]))
        .unwrap();
}

fn take(rows: &mut Iter, back: bool, cooperative: bool) -> Option<KeyValue> {
    match (cooperative, back) {
        (false, false) => rows.next_sync().transpose().unwrap(),
        (false, true) => rows.next_back_sync().transpose().unwrap(),
        (true, false) => block_on(rows.next()).unwrap(),
        (true, true) => block_on(rows.next_back()).unwrap(),
    }
}

#[test]
fn each_row_comes_once_from_whichever_end() {
    let directory = tempfile::tempdir().unwrap();
    let options = DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(directory.path()).with_durability(DurabilityMode::Buffered)
    };
    let db = Db::open_sync(options).unwrap();
    filled(&db);
    let steps = proptest::collection::vec(any::<bool>(), 0..50);
    let plan = (any::<[u8; 2]>(), any::<[bool; 2]>(), steps, 0..50_usize);
    proptest!(ProptestConfig::with_cases(200), |((bounds, [reverse, cooperative], steps, split) in plan)| {
        let range = KeyRange::half_open([bounds[0] % 45], [bounds[1] % 45]);
        let scan = || {
            let rows = if reverse { db.range_reverse_sync(&range) } else { db.range_sync(&range) };
            rows.unwrap()
        };
        let mut expected: VecDeque<_> = scan().map(Result::unwrap).collect();
        let mut rows = scan();
        for (count, &back) in steps.iter().enumerate() {
            if count == split {
                // A clone has both ends where they were.
                rows = rows.clone();
            }
            let next = if back { expected.pop_back() } else { expected.pop_front() };
            prop_assert_eq!(take(&mut rows, back, cooperative), next);
        }
        let rest: Vec<_> = rows.map(Result::unwrap).collect();
        prop_assert_eq!(rest, Vec::from(expected));
    });
}

#[test]
fn a_clone_gives_nothing_from_the_back_that_the_front_gave_before() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    for key in ["a", "b"] {
        db.put_sync(key, key).unwrap();
    }
    let mut rows = db.range_sync(&KeyRange::all()).unwrap();
    assert_eq!(rows.next_back_sync().unwrap().unwrap().key, b"b");
    assert_eq!(rows.next_sync().unwrap().unwrap().key, b"a");
    assert!(rows.clone().next_back_sync().is_none());
}

#[test]
fn adaptors_that_need_both_ends_work() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    for key in ["a", "b", "c", "d"] {
        db.put_sync(key, key).unwrap();
    }
    let key = |row: trine_kv::Result<KeyValue>| row.unwrap().key;
    let all = KeyRange::all();
    let backwards: Vec<_> = db.range_sync(&all).unwrap().rev().map(key).collect();
    assert_eq!(backwards, [b"d", b"c", b"b", b"a"]);
    let mut lazy = db.range_lazy_reverse_sync(&all).unwrap();
    assert_eq!(lazy.next_back_sync().unwrap().unwrap().key, b"a");
    assert_eq!(block_on(lazy.next_back()).unwrap().unwrap().key, b"b");
    assert_eq!(lazy.next_sync().unwrap().unwrap().key, b"d");
    assert_eq!(lazy.count(), 1);
    let given = vec![KeyValue::new("x", ""), KeyValue::new("y", "")];
    let mut given = Iter::from_items(given, trine_kv::Direction::Forward);
    assert_eq!(key(given.next_back_sync().unwrap()), b"y");
    assert_eq!(key(given.next_sync().unwrap()), b"x");
    assert!(given.next_back_sync().is_none());
}
