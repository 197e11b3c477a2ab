//! Sequence numbers are dense: one for each commit, none for anything else.

use trine_kv::{Db, DurabilityMode, Error, KeyRange, Sequence, WriteBatch, WriteOptions};

use crate::common::way::{Way, call};
use crate::fixture::{Place, everywhere_both_ways, sequence};

fn write(way: Way, db: &Db, batch: WriteBatch) -> trine_kv::Result<u64> {
    let info = call!(way, db, write / write_sync(batch, WriteOptions::buffered()))?;
    Ok(info.sequence().get())
}

#[test]
fn a_fresh_database_is_at_zero() {
    everywhere_both_ways(|_, db| assert_eq!(db.last_committed_sequence(), Sequence::ZERO));
}

#[test]
fn each_commit_adds_one_however_many_operations_it_has() {
    everywhere_both_ways(|way, db| {
        let mut batch = WriteBatch::new();
        for index in 0_u8..10 {
            batch.put([index], "value");
        }
        assert_eq!(write(way, db, batch).unwrap(), 1);
        assert_eq!(sequence(db), 1);
        let options = WriteOptions::buffered();
        let put = call!(
            way,
            db,
            put_with_options / put_with_options_sync("k", "v", options)
        );
        assert_eq!(put.unwrap().sequence().get(), 2);
        let delete = call!(
            way,
            db,
            delete_with_options / delete_with_options_sync("k", options)
        );
        assert_eq!(delete.unwrap().sequence().get(), 3);
        let range = KeyRange::all();
        let delete = call!(
            way,
            db,
            delete_range_with_options / delete_range_with_options_sync(range, options)
        );
        assert_eq!(delete.unwrap().sequence().get(), 4);
    });
}

#[test]
fn deleting_what_is_not_there_is_a_commit() {
    everywhere_both_ways(|way, db| {
        call!(way, db, delete / delete_sync("missing")).unwrap();
        assert_eq!(sequence(db), 1);
        call!(
            way,
            db,
            delete_range / delete_range_sync(KeyRange::half_open("k", "k"))
        )
        .unwrap();
        assert_eq!(sequence(db), 2);
        call!(
            way,
            db,
            delete_range / delete_range_sync(KeyRange::half_open("z", "a"))
        )
        .unwrap();
        assert_eq!(sequence(db), 3);
    });
}

#[test]
fn an_empty_batch_takes_no_sequence_and_carries_the_newest() {
    everywhere_both_ways(|way, db| {
        assert_eq!(write(way, db, WriteBatch::new()).unwrap(), 0);
        db.put_sync("key", "value").unwrap();
        assert_eq!(write(way, db, WriteBatch::new()).unwrap(), 1);
        assert_eq!(sequence(db), 1);
    });
}

#[test]
fn a_failed_commit_takes_no_sequence_and_applies_nothing() {
    everywhere_both_ways(|way, db| {
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        batch.put_bucket("nobody made it", "key", "value").unwrap();
        match write(way, db, batch) {
            Err(Error::BucketMissing { name }) => assert_eq!(name, "nobody made it"),
            other => panic!("expected BucketMissing, found {other:?}"),
        }
        assert_eq!(sequence(db), 0);
        assert_eq!(db.get_sync(b"key").unwrap(), None);
        db.put_sync("key", "value").unwrap();
        assert_eq!(sequence(db), 1);
    });
}

#[test]
fn buckets_flush_compaction_and_persist_take_none() {
    everywhere_both_ways(|way, db| {
        db.put_sync("key", "value").unwrap();
        call!(way, db, bucket / bucket_sync("new")).unwrap();
        call!(way, db, flush / flush_sync()).unwrap();
        call!(way, db, compact_range / compact_range_sync(KeyRange::all())).unwrap();
        call!(way, db, persist / persist_sync(DurabilityMode::SyncAll)).unwrap();
        assert_eq!(sequence(db), 1);
    });
}

#[test]
fn reopening_continues_whether_or_not_all_was_flushed() {
    for flush in [false, true] {
        let place = Place::new();
        for round in 1..4 {
            let db = place.open();
            assert_eq!(sequence(&db), round - 1);
            db.put_sync("key", "value").unwrap();
            assert_eq!(sequence(&db), round);
            if flush {
                db.flush_sync().unwrap();
            }
            db.close_sync();
        }
    }
}
