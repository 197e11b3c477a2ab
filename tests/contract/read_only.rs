//! A read-only database reads everything and changes nothing; memory mode keeps everything in memory.

use trine_kv::{Db, DbOptions, DurabilityMode, KeyRange, WriteBatch, WriteOptions};

use crate::common::way::{Way, call};
use crate::fixture::{BOTH_WAYS, Place, all_keys, names, put_all, refused_as_read_only};

fn refuses_every_change(way: Way, db: &Db) {
    let options = WriteOptions::buffered();
    let bucket = db.default_bucket_sync().unwrap();
    refused_as_read_only(call!(way, db, put / put_sync("key", "value")));
    refused_as_read_only(call!(way, bucket, put / put_sync("key", "value")));
    refused_as_read_only(call!(way, db, delete / delete_sync("key")));
    refused_as_read_only(call!(
        way,
        db,
        delete_range / delete_range_sync(KeyRange::all())
    ));
    let mut batch = WriteBatch::new();
    batch.put("key", "value");
    refused_as_read_only(call!(way, db, write / write_sync(batch, options)));
    refused_as_read_only(call!(way, db, flush / flush_sync()));
    refused_as_read_only(call!(
        way,
        db,
        compact_range / compact_range_sync(KeyRange::all())
    ));
    refused_as_read_only(call!(way, db, bucket / bucket_sync("new")));
    call!(way, db, write / write_sync(WriteBatch::new(), options)).unwrap();
    call!(way, db, persist / persist_sync(DurabilityMode::SyncAll)).unwrap();
}

#[test]
fn a_reader_sees_tables_and_log_and_refuses_every_change() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let db = place.open();
        put_all(&db, &[b"in a table"]);
        db.bucket_sync("old")
            .unwrap()
            .put_sync("key", "value")
            .unwrap();
        db.flush_sync().unwrap();
        put_all(&db, &[b"in the log"]);
        db.close_sync();
        let files = names(&place.path());
        let reader = way.open(place.options().read_only()).unwrap();
        assert_eq!(all_keys(&reader), [&b"in a table"[..], b"in the log"]);
        let old = call!(way, reader, bucket / bucket_sync("old")).unwrap();
        assert_eq!(
            call!(way, old, get / get_sync(b"key")).unwrap(),
            Some(b"value".to_vec())
        );
        let snapshot = reader.snapshot();
        assert_eq!(snapshot.read_sequence().get(), 3);
        refuses_every_change(way, &reader);
        way.close(&reader).unwrap();
        assert_eq!(names(&place.path()), files);
    }
}

#[test]
fn a_read_only_database_in_memory_is_empty() {
    for way in BOTH_WAYS {
        let db = way.open(DbOptions::memory().read_only()).unwrap();
        assert!(all_keys(&db).is_empty());
        refuses_every_change(way, &db);
    }
}

#[test]
fn memory_mode_freezes_nothing_and_has_no_tables() {
    for way in BOTH_WAYS {
        let db = way
            .open(DbOptions {
                write_buffer_bytes: 1,
                ..DbOptions::memory()
            })
            .unwrap();
        for index in 0..100_u8 {
            db.put_sync([index], vec![index; 100]).unwrap();
        }
        call!(way, db, flush / flush_sync()).unwrap();
        call!(way, db, compact_range / compact_range_sync(KeyRange::all())).unwrap();
        call!(way, db, persist / persist_sync(DurabilityMode::SyncAll)).unwrap();
        let stats = db.stats();
        assert_eq!((stats.immutable_memtables, stats.total_tables), (0, 0));
        assert_eq!((stats.wal_shards, stats.wal_records_accepted), (0, 0));
        assert_eq!(all_keys(&db).len(), 100);
    }
}

#[test]
fn databases_in_memory_share_nothing() {
    let one = Db::open_sync(DbOptions::memory()).unwrap();
    let two = Db::open_sync(DbOptions::memory()).unwrap();
    put_all(&one, &[b"a"]);
    assert!(all_keys(&two).is_empty());
}
