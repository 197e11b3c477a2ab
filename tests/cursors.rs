//! Cursors lend the rows that iterators hand out: the same ones, in the same order.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common"]
mod common {
    pub(crate) mod damage;
    pub(crate) mod executor;
    pub(crate) mod way;
}

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::damage::damage_tables;
use common::way::{Way, block_on, call};
use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, Direction, DurabilityMode, Error, Iter,
    KeyRange, Result, RowCursor, Snapshot,
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

const WAYS: [Way; 2] = [Way::Sync, Way::Async];
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Reverse];

/// Values that make a block of few rows, in part compressible.
fn value(number: u16) -> Vec<u8> {
    let mut value = vec![0; 300 + usize::from(number % 700)];
    value[..2].copy_from_slice(&number.to_be_bytes());
    value
}

/// Rows in memtables and tables of several ages, some overwritten or deleted. Workers do nothing.
fn filled(way: Way, options: DbOptions) -> Db {
    let options = DbOptions {
        background_worker_count: 0,
        target_table_bytes: 100_000,
        durability: DurabilityMode::Buffered,
        ..options
    };
    let db = way.open(options).unwrap();
    for round in 0..4_u16 {
        for number in (round..600).step_by(usize::from(round) + 1) {
            db.put_sync(number.to_be_bytes(), value(number + round))
                .unwrap();
        }
        let start = (100 * round).to_be_bytes();
        db.delete_range_sync(KeyRange::half_open(start, (100 * round + 9).to_be_bytes()))
            .unwrap();
        db.delete_sync((50 * round).to_be_bytes()).unwrap();
        match round {
            0 => {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
            1 | 2 => db.flush_sync().unwrap(),
            _ => {}
        }
    }
    db
}

fn everywhere(rule: impl Fn(Way, &Db)) {
    for way in WAYS {
        rule(way, &filled(way, DbOptions::memory()));
        for compression in [CompressionProfile::None, CompressionProfile::Fast] {
            for block_cache_bytes in [0, 1 << 20] {
                let place = tempfile::tempdir().unwrap();
                let options = DbOptions {
                    block_cache_bytes,
                    ..DbOptions::new(place.path()).with_default_bucket_options(BucketOptions {
                        compression,
                        ..BucketOptions::default()
                    })
                };
                drop(filled(way, options.clone()));
                // Opened anew, nothing is resident.
                rule(way, &way.open(options).unwrap());
            }
        }
    }
}

fn lent(way: Way, cursor: &mut RowCursor) -> Rows {
    let mut rows = Vec::new();
    while call!(way, cursor, advance / advance_sync()).unwrap() {
        let (key, value) = cursor.row().unwrap();
        assert_eq!((key, value), (cursor.key(), cursor.value()));
        rows.push((key.to_vec(), value.to_vec()));
    }
    rows
}

fn handed_out(iter: Result<Iter>) -> Rows {
    Way::Sync.rows(iter.unwrap()).unwrap()
}

fn ranges() -> Vec<KeyRange> {
    vec![
        KeyRange::all(),
        KeyRange::from_bounds(70_u16.to_be_bytes()..320_u16.to_be_bytes()),
        KeyRange::from_bounds(70_u16.to_be_bytes()..=320_u16.to_be_bytes()),
        KeyRange::prefix([1]),
        KeyRange::half_open("b", "a"),
        KeyRange::from_bounds(599_u16.to_be_bytes()..),
    ]
}

#[test]
fn a_cursor_lends_the_rows_of_the_iterator() {
    everywhere(|way, db| {
        for range in ranges() {
            let mut forward = db.cursor(&range, Direction::Forward).unwrap();
            assert_eq!(lent(way, &mut forward), handed_out(db.range_sync(&range)));
            let mut reverse = db.cursor(&range, Direction::Reverse).unwrap();
            assert_eq!(
                lent(way, &mut reverse),
                handed_out(db.range_reverse_sync(&range))
            );
        }
    });
}

#[test]
fn a_cursor_of_a_snapshot_sees_its_moment() {
    everywhere(|way, db| {
        let bucket = db.bucket_sync("other").unwrap();
        bucket.put_sync("k", "old").unwrap();
        let snapshot = db.snapshot();
        let all = KeyRange::all();
        let before = handed_out(db.range_sync(&all));
        let mut now = db.cursor(&all, Direction::Forward).unwrap();
        db.delete_range_sync(KeyRange::all()).unwrap();
        bucket.put_sync("k", "new").unwrap();
        db.flush_sync().unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
        let mut cursor = db.cursor_at(&snapshot, &all, Direction::Forward).unwrap();
        assert_eq!(lent(way, &mut cursor), before);
        assert_eq!(lent(way, &mut now), before);
        let value_at = |snapshot: &Snapshot| {
            let mut cursor = bucket
                .cursor_at(snapshot, &all, Direction::Reverse)
                .unwrap();
            lent(way, &mut cursor).pop().unwrap().1
        };
        assert_eq!(value_at(&snapshot), b"old");
        assert_eq!(value_at(&db.snapshot()), b"new");
        let mut cursor = bucket.cursor(&all, Direction::Forward).unwrap();
        assert_eq!(lent(way, &mut cursor).pop().unwrap().1, b"new");
    });
}

#[test]
fn before_the_first_row_and_after_the_last_it_stands_on_none() {
    everywhere(|way, db| {
        for direction in DIRECTIONS {
            let mut cursor = db.cursor(&KeyRange::all(), direction).unwrap();
            assert_eq!(cursor.direction(), direction);
            assert!(cursor.row().is_none());
            assert!(cursor.key().is_empty() && cursor.value().is_empty());
            assert!(!lent(way, &mut cursor).is_empty());
            for _ in 0..3 {
                assert!(!call!(way, cursor, advance / advance_sync()).unwrap());
                assert!(cursor.row().is_none());
                assert!(cursor.key().is_empty() && cursor.value().is_empty());
            }
        }
    });
}

#[test]
fn a_cursor_outlives_every_handle_and_closing() {
    for way in WAYS {
        let place = tempfile::tempdir().unwrap();
        let db = filled(way, DbOptions::new(place.path()));
        let all = KeyRange::all();
        let expected = handed_out(db.range_sync(&all));
        let mut cursor = db.cursor(&all, Direction::Forward).unwrap();
        way.close(&db).unwrap();
        assert!(matches!(
            db.cursor(&all, Direction::Forward),
            Err(Error::Closed)
        ));
        drop(db);
        assert_eq!(lent(way, &mut cursor), expected);
    }
}

#[test]
fn a_dropped_move_loses_no_row() {
    everywhere(|_, db| {
        for direction in DIRECTIONS {
            let iter = match direction {
                Direction::Forward => db.range_sync(&KeyRange::all()),
                Direction::Reverse => db.range_reverse_sync(&KeyRange::all()),
            };
            let mut cursor = db.cursor(&KeyRange::all(), direction).unwrap();
            let mut rows = Vec::new();
            loop {
                // Polled once, then dropped if it was not ready.
                let polled = pin!(cursor.advance()).poll(&mut Context::from_waker(Waker::noop()));
                let on_row = match polled {
                    Poll::Ready(on_row) => on_row.unwrap(),
                    Poll::Pending => block_on(cursor.advance()).unwrap(),
                };
                match cursor.row() {
                    Some((key, value)) => rows.push((key.to_vec(), value.to_vec())),
                    None => break assert!(!on_row),
                }
            }
            assert_eq!(rows, handed_out(iter));
        }
    });
}

#[test]
fn a_damaged_block_ends_the_walk_with_an_error() {
    for way in WAYS {
        for compression in [CompressionProfile::None, CompressionProfile::Fast] {
            let place = tempfile::tempdir().unwrap();
            let options = DbOptions::new(place.path()).with_default_bucket_options(BucketOptions {
                compression,
                ..BucketOptions::default()
            });
            let db = filled(way, options.clone());
            db.flush_sync().unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
            drop(db);
            damage_tables(place.path());
            let db = way.open(options).unwrap();
            for direction in DIRECTIONS {
                let mut cursor = db.cursor(&KeyRange::all(), direction).unwrap();
                let error = loop {
                    match call!(way, cursor, advance / advance_sync()) {
                        Ok(true) => {}
                        Ok(false) => panic!("the damage was not seen"),
                        Err(error) => break error,
                    }
                };
                assert!(
                    matches!(
                        error,
                        Error::Corruption { .. } | Error::InvalidFormat { .. }
                    ),
                    "{error:?}"
                );
                for _ in 0..3 {
                    assert!(!call!(way, cursor, advance / advance_sync()).unwrap());
                    assert!(cursor.row().is_none());
                }
            }
        }
    }
}

#[test]
fn cursors_go_to_any_thread_and_print_no_rows() {
    fn shared<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    fn send<T: Send>(future: T) -> T {
        future
    }
    shared::<RowCursor>();
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    db.put_sync("secret", "secret").unwrap();
    let mut cursor = db.cursor(&KeyRange::all(), Direction::Forward).unwrap();
    assert!(block_on(send(cursor.advance())).unwrap());
    let text = format!("{cursor:?}");
    assert!(!text.contains("secret") && !text.contains("115, 101, 99"));
}
