//! `update`: a value replaced by what a closure makes of it, again after a conflict.

use std::thread;

use trine_kv::{DbOptions, Error, KeyRange, TransactOptions};

use crate::common::way::{Way, block_on, call};
use crate::fixture::{OTHER, conflicts, everywhere, fresh};

fn one_more(old: Option<&[u8]>) -> Vec<u8> {
    let old = old.map_or(0, |old| u64::from_le_bytes(old.try_into().unwrap()));
    (old + 1).to_le_bytes().to_vec()
}

#[test]
fn an_update_gives_back_what_the_key_has_become() {
    everywhere(|way, db| {
        let bucket = db.bucket_sync(OTHER).unwrap();
        let appended = |old: Option<&[u8]>| Some([old.unwrap_or(b"-"), b"+"].concat());
        for expected in ["-+", "-++"] {
            let new = call!(way, bucket, update / update_sync(b"k", appended)).unwrap();
            assert_eq!(new.as_deref(), Some(expected.as_bytes()));
            assert_eq!(bucket.get_sync(b"k").unwrap(), new);
        }
        assert_eq!(db.get_sync(b"k").unwrap(), None);
        let gone = call!(
            way,
            db,
            update
                / update_sync(b"d", |old| {
                    assert_eq!(old, Some(&b"old"[..]));
                    None
                })
        );
        assert_eq!(gone.unwrap(), None);
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 2);
    });
}

#[test]
fn a_missing_key_that_stays_missing_is_no_commit() {
    everywhere(|way, db| {
        let before = db.last_committed_sequence();
        let nothing = call!(way, db, update / update_sync(b"x", |_| None)).unwrap();
        assert_eq!((nothing, db.last_committed_sequence()), (None, before));
    });
}

#[test]
fn attempts_of_an_update_are_bounded_and_nothing_is_applied() {
    everywhere(|way, db| {
        for (attempts, expected) in [(1, 1), (3, 3)] {
            let mut runs = 0;
            let options = TransactOptions::default().with_attempts_max(attempts);
            let result = call!(
                way,
                db,
                update_with_options
                    / update_with_options_sync(b"d", options, |_: Option<&[u8]>| {
                        runs += 1;
                        db.put_sync("d", "theirs").unwrap();
                        Some(b"mine".to_vec())
                    })
            );
            conflicts(result, "point read conflict");
            assert_eq!(runs, expected);
            assert_eq!(db.get_sync(b"d").unwrap().as_deref(), Some(&b"theirs"[..]));
        }
    });
}

#[test]
fn updates_of_several_threads_lose_none() {
    const EACH: u64 = 50;
    for way in [Way::Sync, Way::Async] {
        let place = tempfile::tempdir().unwrap();
        let db = fresh(
            way,
            DbOptions::new(place.path()).with_durability(trine_kv::DurabilityMode::Buffered),
        );
        let options = TransactOptions::default().with_attempts_max(usize::MAX);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        call!(
                            way,
                            db,
                            update_with_options
                                / update_with_options_sync(
                                    b"counter",
                                    options,
                                    |old: Option<&[u8]>| Some(one_more(old))
                                )
                        )
                        .unwrap();
                    }
                });
            }
        });
        let counted = db.get_sync(b"counter").unwrap().unwrap();
        assert_eq!(counted, (4 * EACH).to_le_bytes());
    }
}

#[test]
fn an_update_is_refused_where_writes_are() {
    let place = tempfile::tempdir().unwrap();
    drop(fresh(Way::Sync, DbOptions::new(place.path())));
    let reader = Way::Sync
        .open(DbOptions::persistent_read_only(place.path()))
        .unwrap();
    let refused = reader.update_sync(b"d", |_| panic!("it is not asked"));
    assert!(matches!(refused, Err(Error::ReadOnly)));
    reader.close_sync();
    let closed = block_on(reader.update(b"d", |_| panic!("it is not asked")));
    assert!(matches!(closed, Err(Error::Closed)));
}
