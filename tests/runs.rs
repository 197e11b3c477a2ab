//! Scans find rows of a block many at a time. Nobody can tell: at each moment they yield the rows of that moment,
//! in either direction, from both ends, and so do their clones.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use trine_kv::{Db, DbOptions, Direction, DurabilityMode, Iter, KeyRange, KeyValue, Snapshot};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    /// So many rows from this one on, with this distance between them.
    Put(u16, u16, u16),
    Delete(u16, u16, u16),
    DeleteRange(u16, u16),
    Flush,
    Compact,
    Remember,
}

/// Many entries of one block, whose keys share parts or do not.
fn key(shares: bool, number: u16) -> Vec<u8> {
    let number = number % 500;
    if shares {
        return format!("a/rather/long/path/to/{number:05}").into_bytes();
    }
    number.to_be_bytes().to_vec()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = || (0..500_u16, 1..200_u16, 1..9_u16);
    let step = prop_oneof![
        4 => rows().prop_map(|(from, count, by)| Step::Put(from, count, by)),
        2 => rows().prop_map(|(from, count, by)| Step::Delete(from, count, by)),
        1 => (0..500_u16, 0..100_u16).prop_map(|(from, count)| Step::DeleteRange(from, count)),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        3 => Just(Step::Remember),
    ];
    proptest::collection::vec(step, 1..20)
}

struct Moment {
    snapshot: Snapshot,
    rows: Model,
}

/// The moments remembered on the way, and the last.
fn replay(db: &Db, shares: bool, steps: &[Step]) -> Vec<Moment> {
    let mut rows = Model::new();
    let mut moments = Vec::new();
    let numbers = |from: u16, count: u16, by: u16| (0..count).map(move |i| from + i * by);
    for (turn, step) in steps.iter().enumerate() {
        match *step {
            Step::Put(from, count, by) => {
                for number in numbers(from, count, by) {
                    let value = format!("{turn} of {number}").into_bytes();
                    db.put_sync(key(shares, number), value.as_slice()).unwrap();
                    rows.insert(key(shares, number), value);
                }
            }
            Step::Delete(from, count, by) => {
                for number in numbers(from, count, by) {
                    db.delete_sync(key(shares, number)).unwrap();
                    rows.remove(&key(shares, number));
                }
            }
            Step::DeleteRange(from, count) => {
                let end = (from + count).min(499);
                let (start, end) = (key(shares, from), key(shares, end));
                rows.retain(|key, _| *key < start || *key >= end);
                if start < end {
                    db.delete_range_sync(KeyRange::half_open(start, end))
                        .unwrap();
                }
            }
            Step::Flush => db.flush_sync().unwrap(),
            Step::Compact => {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
            Step::Remember => moments.push(Moment {
                snapshot: db.snapshot(),
                rows: rows.clone(),
            }),
        }
    }
    moments.push(Moment {
        snapshot: db.snapshot(),
        rows,
    });
    moments
}

fn pairs(rows: impl Iterator<Item = KeyValue>) -> Vec<(Vec<u8>, Vec<u8>)> {
    rows.map(|row| (row.key, row.value)).collect()
}

fn check(db: &Db, moment: &Moment, range: &KeyRange, turns: &[bool]) {
    let expected: Vec<_> = moment
        .rows
        .range::<Vec<u8>, _>((range.start.as_ref(), range.end.as_ref()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut forward = db
        .cursor_at(&moment.snapshot, range, Direction::Forward)
        .unwrap();
    let mut lent = Vec::new();
    while forward.advance_sync().unwrap() {
        lent.push((forward.key().to_vec(), forward.value().to_vec()));
    }
    assert_eq!(lent, expected);
    let mut reverse = db
        .cursor_at(&moment.snapshot, range, Direction::Reverse)
        .unwrap();
    let mut lent = Vec::new();
    while reverse.advance_sync().unwrap() {
        lent.push((reverse.key().to_vec(), reverse.value().to_vec()));
    }
    lent.reverse();
    assert_eq!(lent, expected);

    // From both ends in turns; every now and then a clone takes over.
    let mut iter: Iter = db.range_at_sync(&moment.snapshot, range).unwrap();
    let (mut front, mut back) = (Vec::new(), Vec::new());
    for (turn, at_front) in turns.iter().cycle().enumerate() {
        if turn % 37 == 36 {
            iter = iter.clone();
        }
        let (row, side) = if *at_front {
            (iter.next_sync(), &mut front)
        } else {
            (iter.next_back_sync(), &mut back)
        };
        match row {
            Some(row) => side.push(row.unwrap()),
            None => break,
        }
    }
    back.reverse();
    assert_eq!(pairs(front.into_iter().chain(back)), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_scan_yields_the_rows_of_its_moment(
        shares in any::<bool>(),
        steps in steps(),
        bounds in (0..500_u16, 0..500_u16),
        turns in proptest::collection::vec(any::<bool>(), 1..40),
    ) {
        // On disk: a database in memory has no tables.
        let place = tempfile::tempdir().unwrap();
        let db = Db::open_sync(DbOptions {
            background_worker_count: 0,
            durability: DurabilityMode::Buffered,
            ..DbOptions::new(place.path())
        }).unwrap();
        let (start, end) = (key(shares, bounds.0.min(bounds.1)), key(shares, bounds.0.max(bounds.1)));
        for moment in replay(&db, shares, &steps) {
            check(&db, &moment, &KeyRange::all(), &turns);
            let range = KeyRange { start: Bound::Included(start.clone()), end: Bound::Excluded(end.clone()) };
            check(&db, &moment, &range, &turns);
            let range = KeyRange { start: Bound::Excluded(start.clone()), end: Bound::Included(end.clone()) };
            if start < end {
                check(&db, &moment, &range, &turns);
            }
        }
    }
}
