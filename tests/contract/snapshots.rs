//! A snapshot shows one moment for as long as it lives.

use trine_kv::{Db, DbOptions, KeyRange, Sequence, Snapshot};

use crate::fixture::{Place, everywhere, keys, sequence};

#[test]
fn snapshots_of_every_commit_show_every_state() {
    everywhere(|db| {
        let mut snapshots = vec![db.snapshot()];
        for index in 0..20_u8 {
            db.put_sync([index], "").unwrap();
            snapshots.push(db.snapshot());
            if index % 7 == 6 {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
        }
        for (count, snapshot) in snapshots.iter().enumerate() {
            assert_eq!(snapshot.read_sequence().get(), count as u64);
            let rows = db.range_at_sync(snapshot, &KeyRange::all()).unwrap();
            assert_eq!(keys(rows).len(), count);
        }
    });
}

#[test]
fn a_snapshot_covers_every_bucket() {
    everywhere(|db| {
        let other = db.bucket_sync("other").unwrap();
        other.put_sync("key", "old").unwrap();
        let snapshot = db.snapshot();
        other.put_sync("key", "new").unwrap();
        assert_eq!(
            snapshot.get_sync(&other, b"key").unwrap(),
            Some(b"old".to_vec())
        );
        assert_eq!(
            other.get_at_sync(&snapshot, b"key").unwrap(),
            Some(b"old".to_vec())
        );
    });
}

#[test]
fn the_last_clone_keeps_the_pin() {
    let place = Place::new();
    let db = place.open();
    db.put_sync("key", "old").unwrap();
    let snapshot = db.snapshot();
    let clone = snapshot.clone();
    assert_eq!(clone, snapshot);
    drop(snapshot);
    db.put_sync("key", "new").unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(
        db.get_at_sync(&clone, b"key").unwrap(),
        Some(b"old".to_vec())
    );
}

#[test]
fn active_snapshots_are_counted() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    let one = db.snapshot();
    let two = one.clone();
    assert_eq!(db.stats().active_snapshots, 2);
    let untracked = Snapshot::new(Sequence::ZERO);
    assert_eq!(db.stats().active_snapshots, 2);
    drop((one, two, untracked));
    assert_eq!(db.stats().active_snapshots, 0);
}

#[test]
fn an_untracked_snapshot_of_the_future_sees_what_comes() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    let future = Snapshot::new(Sequence::new(5));
    assert_eq!(future.read_sequence().get(), 5);
    assert_eq!(db.get_at_sync(&future, b"key").unwrap(), None);
    db.put_sync("key", "value").unwrap();
    assert_eq!(
        db.get_at_sync(&future, b"key").unwrap(),
        Some(b"value".to_vec())
    );
    assert_eq!(sequence(&db), 1);
}
