//! Iterators own what they read, know their direction, and stay at their end.

use trine_kv::iterator::Direction;
use trine_kv::{Bucket, Iter, KeyRange, KeyValue};

use crate::common::way::block_on;
use crate::fixture::{everywhere, keys, put_all};

#[test]
fn the_default_direction_is_forward() {
    assert_eq!(Direction::default(), Direction::Forward);
}

#[test]
fn an_iterator_of_given_rows_keeps_their_order() {
    let rows = || vec![KeyValue::new("b", "1"), KeyValue::new("a", "2")];
    let forward = Iter::from_items(rows(), Direction::Forward);
    assert_eq!(forward.direction(), Direction::Forward);
    assert_eq!(keys(forward), [b"b", b"a"]);
    let reverse = Iter::from_items(rows(), Direction::Reverse);
    assert_eq!(reverse.direction(), Direction::Reverse);
    assert_eq!(keys(reverse), [b"a", b"b"]);
}

#[test]
fn an_empty_iterator_is_empty_both_ways() {
    for direction in [Direction::Forward, Direction::Reverse] {
        let mut iter = Iter::empty(direction);
        assert_eq!(iter.direction(), direction);
        assert!(iter.next_sync().is_none());
        assert!(block_on(iter.next()).unwrap().is_none());
        assert_eq!(Bucket::empty_iter(direction).count(), 0);
    }
}

#[test]
fn scans_know_their_direction() {
    everywhere(|db| {
        let all = KeyRange::all();
        assert_eq!(db.range_sync(&all).unwrap().direction(), Direction::Forward);
        assert_eq!(
            db.range_reverse_sync(&all).unwrap().direction(),
            Direction::Reverse
        );
        assert_eq!(
            db.prefix_reverse_sync("x").unwrap().direction(),
            Direction::Reverse
        );
    });
}

#[test]
fn all_three_ways_to_step_share_one_position() {
    everywhere(|db| {
        put_all(db, &[b"a", b"b", b"c", b"d"]);
        db.flush_sync().unwrap();
        let mut iter = db.range_sync(&KeyRange::all()).unwrap();
        assert_eq!(block_on(iter.next()).unwrap().unwrap().key, b"a");
        assert_eq!(iter.next_sync().unwrap().unwrap().key, b"b");
        assert_eq!(Iterator::next(&mut iter).unwrap().unwrap().key, b"c");
        assert_eq!(keys(iter), [b"d"]);
    });
}

#[test]
fn a_clone_goes_on_from_the_same_place_by_itself() {
    everywhere(|db| {
        put_all(db, &[b"a", b"b", b"c"]);
        db.flush_sync().unwrap();
        let mut iter = db.range_sync(&KeyRange::all()).unwrap();
        iter.next_sync();
        let clone = iter.clone();
        assert_eq!(keys(iter), [b"b", b"c"]);
        assert_eq!(keys(clone), [b"b", b"c"]);
    });
}

#[test]
fn an_iterator_outlives_every_handle() {
    let iter = {
        let db = trine_kv::Db::open_sync(trine_kv::DbOptions::memory()).unwrap();
        put_all(&db, &[b"a", b"b"]);
        db.range_sync(&KeyRange::all()).unwrap()
    };
    assert_eq!(keys(iter), [b"a", b"b"]);
}
