//! Closing ends the database for every handle; committed data stays.

use trine_kv::{Db, DurabilityMode, KeyRange, WriteBatch, WriteOptions};

use crate::common::way::call;
use crate::fixture::{Place, all_keys, closed, everywhere_both_ways, put_all, sequence};

#[test]
fn every_call_after_close_says_so() {
    everywhere_both_ways(|way, db| {
        let bucket = db.bucket_sync("b").unwrap();
        let snapshot = db.snapshot();
        let all = KeyRange::all();
        way.close(&db.clone()).unwrap();
        closed(call!(way, db, get / get_sync(b"key")));
        closed(call!(way, db, get_at / get_at_sync(&snapshot, b"key")));
        closed(call!(way, bucket, get / get_sync(b"key")));
        closed(call!(way, snapshot, get / get_sync(&bucket, b"key")));
        closed(call!(way, db, range / range_sync(&all)));
        closed(call!(
            way,
            bucket,
            prefix_reverse / prefix_reverse_sync("p")
        ));
        closed(call!(way, snapshot, range / range_sync(&bucket, &all)));
        closed(call!(way, db, put / put_sync("key", "value")));
        closed(call!(way, bucket, put / put_sync("key", "value")));
        closed(call!(way, db, delete / delete_sync("key")));
        closed(call!(
            way,
            db,
            delete_range / delete_range_sync(all.clone())
        ));
        closed(call!(
            way,
            db,
            write / write_sync(WriteBatch::new(), WriteOptions::buffered())
        ));
        closed(call!(way, db, bucket / bucket_sync("b")));
        closed(call!(way, db, bucket / bucket_sync("new")));
        closed(call!(way, db, flush / flush_sync()));
        closed(call!(way, db, compact_range / compact_range_sync(all)));
        closed(call!(
            way,
            db,
            persist / persist_sync(DurabilityMode::Flush)
        ));
    });
}

#[test]
fn what_needs_no_storage_still_answers_after_close() {
    everywhere_both_ways(|way, db| {
        db.put_sync("key", "value").unwrap();
        way.close(db).unwrap();
        assert_eq!(sequence(db), 1);
        assert_eq!(db.snapshot().read_sequence().get(), 1);
        assert_eq!(db.default_bucket_sync().unwrap().name().as_str(), "default");
        assert_eq!(db.stats().live_buckets, 1);
        assert!(db.options().create_if_missing);
    });
}

#[test]
fn dropping_the_last_handle_is_closing() {
    let place = Place::new();
    put_all(&place.open(), &[b"a"]);
    assert_eq!(all_keys(&place.open()), [b"a"]);
}

#[test]
fn reopening_many_times_keeps_everything() {
    let place = Place::new();
    for index in 0..30_u8 {
        let db = place.open();
        db.put_sync([index], [index]).unwrap();
        if index % 5 == 4 {
            db.flush_sync().unwrap();
        }
        if index % 2 == 0 {
            db.close_sync();
        }
    }
    assert_eq!(all_keys(&place.open()).len(), 30);
}

#[test]
fn close_beside_writers_keeps_every_acknowledged_write() {
    for round in 0..8_u8 {
        let place = Place::new();
        let db = Db::open_sync(place.options().with_durability(DurabilityMode::Buffered)).unwrap();
        let acknowledged: Vec<u32> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4_u8)
                .map(|thread| {
                    let db = db.clone();
                    scope.spawn(move || {
                        let mut count = 0_u32;
                        loop {
                            let key = [&[thread][..], &count.to_be_bytes()].concat();
                            match db.put_sync(key, "value") {
                                Ok(()) => count += 1,
                                Err(error) => {
                                    closed::<()>(Err(error));
                                    return count;
                                }
                            }
                        }
                    })
                })
                .collect();
            while sequence(&db) < u64::from(round) * 40 {
                std::thread::yield_now();
            }
            db.close_sync();
            writers
                .into_iter()
                .map(|writer| writer.join().unwrap())
                .collect()
        });
        let again = place.open();
        for (thread, count) in (0..4_u8).zip(acknowledged) {
            let rows = u32::try_from(again.prefix_sync([thread]).unwrap().count()).unwrap();
            // A write that was refused may have been too late for its answer only.
            assert!(
                rows == count || rows == count + 1,
                "{rows} rows, {count} acknowledged"
            );
        }
    }
}
