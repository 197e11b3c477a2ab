//! Order of keys; what a read sees of commits before and after it.

use trine_kv::{KeyRange, WriteBatch, WriteOptions};

use crate::common::way::call;
use crate::fixture::{
    all_keys, all_keys_of, everywhere, everywhere_both_ways, keys, wherever_rows_lie,
};

#[test]
fn keys_are_ordered_as_bytes_and_shorter_first() {
    let sorted: [&[u8]; 9] = [
        b"", b"\0", b"\0\0", b"\x01", b"a", b"a\0", b"aa", b"b", b"\xff",
    ];
    wherever_rows_lie(
        |db| {
            // Put in an order that is neither this one nor its reverse.
            for index in [4, 0, 8, 2, 6, 1, 7, 3, 5] {
                db.put_sync(sorted[index], "").unwrap();
            }
        },
        |db| {
            assert_eq!(all_keys(db), sorted);
            let mut backwards = keys(db.range_reverse_sync(&KeyRange::all()).unwrap());
            backwards.reverse();
            assert_eq!(backwards, sorted);
        },
    );
}

#[test]
fn each_bucket_is_a_key_space_of_its_own() {
    everywhere_both_ways(|way, db| {
        let bucket = call!(way, db, bucket / bucket_sync("other")).unwrap();
        call!(way, db, put / put_sync("key", "default")).unwrap();
        call!(way, bucket, put / put_sync("key", "other")).unwrap();
        assert_eq!(
            call!(way, db, get / get_sync(b"key")).unwrap(),
            Some(b"default".to_vec())
        );
        assert_eq!(
            call!(way, bucket, get / get_sync(b"key")).unwrap(),
            Some(b"other".to_vec())
        );
        call!(way, bucket, delete / delete_sync("key")).unwrap();
        assert_eq!(
            call!(way, db, get / get_sync(b"key")).unwrap(),
            Some(b"default".to_vec())
        );
    });
}

#[test]
fn a_commit_that_returned_is_visible_on_every_handle() {
    everywhere_both_ways(|way, db| {
        let other = db.clone();
        let bucket = db.default_bucket_sync().unwrap();
        call!(way, db, put / put_sync("key", "value")).unwrap();
        assert_eq!(
            call!(way, other, get / get_sync(b"key")).unwrap(),
            Some(b"value".to_vec())
        );
        assert_eq!(
            call!(way, bucket, get / get_sync(b"key")).unwrap(),
            Some(b"value".to_vec())
        );
    });
}

#[test]
fn a_batch_is_visible_in_all_its_buckets_at_once() {
    everywhere_both_ways(|way, db| {
        let bucket = db.bucket_sync("other").unwrap();
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.put_bucket("other", "b", "2").unwrap();
        let before = db.snapshot();
        call!(way, db, write / write_sync(batch, WriteOptions::buffered())).unwrap();
        assert_eq!(db.get_at_sync(&before, b"a").unwrap(), None);
        assert_eq!(bucket.get_at_sync(&before, b"b").unwrap(), None);
        assert_eq!(all_keys(db), [b"a"]);
        assert_eq!(all_keys_of(&bucket), [b"b"]);
    });
}

#[test]
fn a_scan_is_fixed_at_its_creation() {
    everywhere(|db| {
        for key in ["a", "b", "c", "d"] {
            db.put_sync(key, "old").unwrap();
        }
        for before_first_step in [true, false] {
            let mut iter = db.range_sync(&KeyRange::all()).unwrap();
            let first = if before_first_step {
                None
            } else {
                iter.next_sync()
            };
            db.put_sync("b", "new").unwrap();
            db.put_sync("bb", "new").unwrap();
            db.delete_sync("c").unwrap();
            db.delete_range_sync(KeyRange::half_open("d", "e")).unwrap();
            db.flush_sync().unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
            let rows: Vec<_> = first.into_iter().chain(iter).map(Result::unwrap).collect();
            let keys: Vec<_> = rows.iter().map(|row| row.key.as_slice()).collect();
            assert_eq!(keys, [b"a", b"b", b"c", b"d"]);
            assert!(rows.iter().all(|row| row.value == b"old"));
            for key in ["b", "c", "d"] {
                db.put_sync(key, "old").unwrap();
            }
            db.delete_sync("bb").unwrap();
        }
    });
}
