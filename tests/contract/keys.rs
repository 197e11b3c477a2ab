//! Which keys and values there are.

use trine_kv::{BucketOptions, Db, DbOptions, KeyRange, WriteBatch, WriteOptions};

use crate::common::way::call;
use crate::fixture::{BOTH_WAYS, Place, invalid_options, sequence, wherever_rows_lie};

#[test]
fn the_empty_key_is_a_key_and_the_smallest() {
    wherever_rows_lie(
        |db| {
            db.put_sync("", "empty").unwrap();
            db.put_sync("\0", "zero").unwrap();
        },
        |db| {
            assert_eq!(db.get_sync(b"").unwrap(), Some(b"empty".to_vec()));
            let first = db
                .range_sync(&KeyRange::all())
                .unwrap()
                .next_sync()
                .unwrap()
                .unwrap();
            assert_eq!(first.key, b"");
        },
    );
}

#[test]
fn an_empty_value_is_a_value() {
    wherever_rows_lie(
        |db| db.put_sync("key", "").unwrap(),
        |db| assert_eq!(db.get_sync(b"key").unwrap(), Some(Vec::new())),
    );
}

#[test]
fn values_of_every_small_length_come_back() {
    wherever_rows_lie(
        |db| {
            for length in 0..600_usize {
                db.put_sync(length.to_be_bytes(), vec![7; length]).unwrap();
            }
        },
        |db| {
            for length in 0..600_usize {
                let value = db.get_sync(&length.to_be_bytes()).unwrap();
                assert_eq!(value, Some(vec![7; length]));
            }
        },
    );
}

#[test]
fn a_huge_key_and_a_huge_value_survive_flush_and_reopen() {
    let key: Vec<u8> = (0..16 << 20)
        .map(|index: u32| index.to_le_bytes()[1])
        .collect();
    let value: Vec<u8> = (0..64 << 20)
        .map(|index: u32| index.to_le_bytes()[2])
        .collect();
    let place = Place::new();
    let check = |db: &Db| {
        assert!(db.get_sync(&key).unwrap().as_deref() == Some(b"small"));
        assert!(db.get_sync(b"small").unwrap().as_ref() == Some(&value));
    };
    let db = place.open();
    db.put_sync(key.clone(), "small").unwrap();
    db.put_sync("small", value.clone()).unwrap();
    check(&db);
    db.close_sync();
    let db = place.open();
    check(&db);
    db.flush_sync().unwrap();
    check(&db);
    db.close_sync();
    check(&place.open());
}

#[test]
fn a_bucket_can_refuse_empty_keys() {
    for way in BOTH_WAYS {
        let strict = BucketOptions {
            allow_empty_keys: false,
            ..BucketOptions::default()
        };
        let db =
            Db::open_sync(DbOptions::memory().with_default_bucket_options(strict.clone())).unwrap();
        let bucket = db.bucket_with_options_sync("strict", strict).unwrap();
        db.bucket_sync("lenient").unwrap();
        invalid_options(call!(way, db, put / put_sync("", "value")));
        invalid_options(call!(way, db, delete / delete_sync("")));
        invalid_options(call!(way, bucket, put / put_sync("", "value")));
        let mut batch = WriteBatch::new();
        batch.put("key", "value");
        batch.put_bucket("strict", "", "value").unwrap();
        invalid_options(call!(
            way,
            db,
            write / write_sync(batch, WriteOptions::buffered())
        ));
        // Nothing of a refused batch is applied, reads answer, ranges are not affected.
        assert_eq!(sequence(&db), 0);
        assert_eq!(call!(way, db, get / get_sync(b"key")).unwrap(), None);
        assert_eq!(call!(way, db, get / get_sync(b"")).unwrap(), None);
        call!(
            way,
            db,
            delete_range / delete_range_sync(KeyRange::half_open("", "z"))
        )
        .unwrap();
        let mut batch = WriteBatch::new();
        batch.put_bucket("lenient", "", "value").unwrap();
        call!(way, db, write / write_sync(batch, WriteOptions::buffered())).unwrap();
    }
}
