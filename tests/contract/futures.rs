//! Futures are `Send`, lazy, need no runtime; dropping one is safe at any point.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use trine_kv::{Db, DbOptions, DurabilityMode, KeyRange, WriteBatch, WriteOptions};

use crate::common::way::block_on;
use crate::fixture::{Place, all_keys, everywhere, put_all, sequence};

fn send<T: Send>(future: T) -> T {
    future
}

fn send_and_static<T: Send + 'static>(future: T) -> T {
    future
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Until that commit is visible. Nothing else drives a write that was handed over.
fn wait_for(db: &Db, commit: u64) {
    while sequence(db) < commit {
        std::thread::yield_now();
    }
}

#[test]
fn every_future_is_send() {
    let db = block_on(send(Db::open(DbOptions::memory()))).unwrap();
    let all = KeyRange::all();
    let snapshot = db.snapshot();
    drop(send_and_static(
        db.write(WriteBatch::new(), WriteOptions::buffered()),
    ));
    drop(send(db.get(b"key")));
    drop(send(db.get_at(&snapshot, b"key")));
    drop(send(db.put("key", "value")));
    drop(send(db.delete("key")));
    drop(send(db.delete_range(KeyRange::all())));
    drop(send(db.bucket("b")));
    drop(send(db.range(&all)));
    drop(send(db.prefix_reverse_at(&snapshot, "p")));
    drop(send(db.flush()));
    drop(send(db.compact_range(KeyRange::all())));
    drop(send(db.persist(DurabilityMode::SyncAll)));
    let mut iter = db.range_sync(&all).unwrap();
    drop(send(iter.next()));
    block_on(send(db.close())).unwrap();
}

#[test]
fn a_future_that_was_never_polled_does_nothing() {
    let place = Place::new();
    drop(Db::open(place.options()));
    assert!(!place.path().exists());
    everywhere(|db| {
        let records = db.stats().wal_records_accepted;
        drop(db.put("key", "value"));
        drop(db.delete_range(KeyRange::all()));
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        drop(db.write(batch, WriteOptions::sync_all()));
        drop(db.bucket("bucket"));
        drop(db.close());
        assert_eq!(sequence(db), 0);
        assert_eq!(db.stats().wal_records_accepted, records);
        assert_eq!(db.stats().live_buckets, 1);
        assert!(all_keys(db).is_empty());
    });
}

#[test]
fn a_write_future_outlives_its_handle() {
    let place = Place::new();
    let db = place.open();
    let mut batch = WriteBatch::new();
    batch.put("key", "value");
    let write = db.write(batch, WriteOptions::buffered());
    let bucket = db.default_bucket_sync().unwrap();
    drop(db);
    assert_eq!(block_on(write).unwrap().sequence().get(), 1);
    assert_eq!(bucket.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
}

#[test]
fn a_write_that_was_polled_once_goes_through_though_its_future_is_dropped() {
    let place = Place::new();
    for mode in [DurabilityMode::Buffered, DurabilityMode::SyncAll] {
        let db = Db::open_sync(place.options().with_durability(mode)).unwrap();
        let before = sequence(&db);
        {
            let mut batch = WriteBatch::new();
            batch.put(format!("{mode:?}"), "value");
            let mut write = pin!(db.write(batch, WriteOptions::buffered()));
            assert!(poll_once(write.as_mut()).is_pending());
        }
        db.put_sync("other", "value").unwrap();
        wait_for(&db, before + 2);
        assert!(
            db.get_sync(format!("{mode:?}").as_bytes())
                .unwrap()
                .is_some()
        );
        db.close_sync();
    }
    assert_eq!(all_keys(&place.open()).len(), 3);
}

#[test]
fn a_dropped_write_survives_dropping_the_database_too() {
    let place = Place::new();
    let db = place.open();
    {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        let mut write = pin!(db.write(batch, WriteOptions::sync_all()));
        let _ = poll_once(write.as_mut());
    }
    drop(db);
    assert_eq!(all_keys(&place.open()), [b"key"]);
}

#[test]
fn the_first_poll_of_a_write_hands_it_over_in_memory_too() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        let mut write = pin!(db.write(batch, WriteOptions::buffered()));
        assert!(poll_once(write.as_mut()).is_pending());
    }
    db.put_sync("other", "value").unwrap();
    wait_for(&db, 2);
    assert_eq!(all_keys(&db).len(), 2);
}

#[test]
fn dropping_any_future_after_one_poll_harms_nobody() {
    let place = Place::new();
    let db = place.open();
    put_all(&db, &[b"a", b"b", b"c"]);
    let all = KeyRange::all();
    for _ in 0..20 {
        let _ = poll_once(pin!(db.put("a", "a")).as_mut());
        let _ = poll_once(pin!(db.get(b"b")).as_mut());
        let _ = poll_once(pin!(db.flush()).as_mut());
        let _ = poll_once(pin!(db.range(&all)).as_mut());
        let _ = poll_once(pin!(db.compact_range(KeyRange::all())).as_mut());
        let _ = poll_once(pin!(db.persist(DurabilityMode::SyncAll)).as_mut());
        let _ = poll_once(pin!(db.bucket("dropped")).as_mut());
        let mut iter = db.range_sync(&all).unwrap();
        let _ = poll_once(pin!(iter.next()).as_mut());
    }
    block_on(db.flush()).unwrap();
    block_on(db.compact_range(KeyRange::all())).unwrap();
    assert_eq!(all_keys(&db), [b"a", b"b", b"c"]);
    block_on(db.bucket("dropped")).unwrap();
    block_on(db.close()).unwrap();
    assert_eq!(all_keys(&place.open()), [b"a", b"b", b"c"]);
}

#[test]
fn many_writes_in_flight_on_one_thread_all_complete() {
    everywhere(|db| {
        let mut writes: Vec<Pin<Box<dyn Future<Output = _> + Send>>> = Vec::new();
        for index in 0..200_u16 {
            let mut batch = WriteBatch::new();
            batch.put(index.to_be_bytes(), "value");
            writes.push(Box::pin(db.write(batch, WriteOptions::sync_all())));
        }
        for write in &mut writes {
            // Handed over in this order.
            assert!(poll_once(write.as_mut()).is_pending());
        }
        let mut sequences: Vec<u64> = writes
            .into_iter()
            .map(|write| block_on(write).unwrap().sequence().get())
            .collect();
        sequences.sort_unstable();
        assert_eq!(sequences, (1..=200).collect::<Vec<_>>());
        assert_eq!(all_keys(db).len(), 200);
    });
}
