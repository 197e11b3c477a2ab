//! Which rows a range names, in scans both ways and in range deletes.

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use trine_kv::{Db, DbOptions, KeyRange};

use crate::common::way::call;
use crate::fixture::{BOTH_WAYS, Place, all_keys, keys, put_all, sequence, wherever_rows_lie};

const ROWS: [&[u8]; 6] = [b"", b"a", b"b", b"ba", b"c", b"\xff\xff"];

fn bounds() -> Vec<Bound<Vec<u8>>> {
    let mut bounds = vec![Unbounded];
    for key in [
        &b""[..],
        b"a",
        b"aa",
        b"b",
        b"c",
        b"d",
        b"\xff\xff",
        b"\xff\xff\xff",
    ] {
        bounds.push(Included(key.to_vec()));
        bounds.push(Excluded(key.to_vec()));
    }
    bounds
}

fn ranges() -> impl Iterator<Item = KeyRange> {
    bounds().into_iter().flat_map(|start| {
        bounds().into_iter().map(move |end| KeyRange {
            start: start.clone(),
            end,
        })
    })
}

/// By the definition of the bounds, with no idea of order between the two.
fn inside(range: &KeyRange, key: &[u8]) -> bool {
    let after_start = match &range.start {
        Included(start) => key >= start.as_slice(),
        Excluded(start) => key > start.as_slice(),
        Unbounded => true,
    };
    let before_end = match &range.end {
        Included(end) => key <= end.as_slice(),
        Excluded(end) => key < end.as_slice(),
        Unbounded => true,
    };
    after_start && before_end
}

fn expected(wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    ROWS.iter()
        .filter(|key| wanted(key))
        .map(|key| key.to_vec())
        .collect()
}

#[test]
fn a_scan_holds_to_its_bounds_and_inverted_ranges_are_empty() {
    wherever_rows_lie(
        |db| put_all(db, &ROWS),
        |db| {
            for range in ranges() {
                let mut expected = expected(|key| inside(&range, key));
                assert_eq!(keys(db.range_sync(&range).unwrap()), expected, "{range:?}");
                expected.reverse();
                let reverse = keys(db.range_reverse_sync(&range).unwrap());
                assert_eq!(reverse, expected, "reverse {range:?}");
            }
        },
    );
}

#[test]
fn asynchronous_scans_give_the_same_rows() {
    let place = Place::new();
    let db = place.open();
    put_all(&db, &ROWS[..3]);
    db.flush_sync().unwrap();
    put_all(&db, &ROWS[3..]);
    let at = db.snapshot();
    let all = KeyRange::all();
    for way in BOTH_WAYS {
        let scans = [
            (call!(way, db, range / range_sync(&all)), false),
            (
                call!(way, db, range_reverse / range_reverse_sync(&all)),
                true,
            ),
            (call!(way, db, range_at / range_at_sync(&at, &all)), false),
            (
                call!(way, db, range_reverse_at / range_reverse_at_sync(&at, &all)),
                true,
            ),
            (call!(way, db, prefix / prefix_sync("")), false),
            (
                call!(way, db, prefix_reverse / prefix_reverse_sync("")),
                true,
            ),
            (call!(way, db, prefix_at / prefix_at_sync(&at, "")), false),
            (
                call!(way, db, prefix_reverse_at / prefix_reverse_at_sync(&at, "")),
                true,
            ),
        ];
        for (index, (scan, reverse)) in scans.into_iter().enumerate() {
            let rows = way.rows(scan.unwrap()).unwrap();
            let mut keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
            if reverse {
                keys.reverse();
            }
            assert_eq!(keys, ROWS, "{way:?}, scan {index}");
        }
    }
}

#[test]
fn a_range_delete_removes_what_a_scan_of_it_shows() {
    for range in ranges() {
        let db = Db::open_sync(DbOptions::memory()).unwrap();
        put_all(&db, &ROWS);
        db.delete_range_sync(range.clone()).unwrap();
        assert_eq!(
            all_keys(&db),
            expected(|key| !inside(&range, key)),
            "{range:?}"
        );
        assert_eq!(sequence(&db), 7);
    }
}

#[test]
fn a_range_delete_holds_across_flush_compaction_and_reopen() {
    for range in ranges().step_by(7) {
        let place = Place::new();
        let db = place.open();
        put_all(&db, &ROWS);
        db.flush_sync().unwrap();
        db.delete_range_sync(range.clone()).unwrap();
        let expected = expected(|key| !inside(&range, key));
        assert_eq!(all_keys(&db), expected, "{range:?}");
        db.flush_sync().unwrap();
        assert_eq!(all_keys(&db), expected, "flushed, {range:?}");
        db.compact_range_sync(KeyRange::all()).unwrap();
        assert_eq!(all_keys(&db), expected, "compacted, {range:?}");
        db.close_sync();
        assert_eq!(all_keys(&place.open()), expected, "reopened, {range:?}");
    }
}
