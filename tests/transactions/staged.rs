//! Reads that see the transaction's own writes, and what of them is recorded.

use trine_kv::{Error, KeyRange};

use crate::common::way::call;
use crate::fixture::{OTHER, begin, commit, conflicts, everywhere, staged};

#[test]
fn staged_reads_see_the_last_staged_write() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        assert_eq!(staged(way, &mut transaction, "d").unwrap(), b"old");
        transaction.put("d", "1");
        transaction.put("d", "2");
        assert_eq!(staged(way, &mut transaction, "d").unwrap(), b"2");
        transaction.delete("d");
        assert_eq!(staged(way, &mut transaction, "d"), None);
        transaction.put("c", "3");
        transaction.delete_range(KeyRange::half_open("c", "e"));
        assert_eq!(staged(way, &mut transaction, "c"), None);
        assert_eq!(staged(way, &mut transaction, "cc"), None);
        assert_eq!(staged(way, &mut transaction, "f").unwrap(), b"old");
        transaction.put("c", "4");
        assert_eq!(staged(way, &mut transaction, "c").unwrap(), b"4");
        transaction.delete_range(KeyRange::half_open("z", "a"));
        assert_eq!(staged(way, &mut transaction, "f").unwrap(), b"old");
        // What it saw is what is there after the commit.
        let mut keys = Vec::new();
        for key in ["a", "b", "c", "cc", "d", "f"] {
            keys.push((key, staged(way, &mut transaction, key)));
        }
        commit(way, transaction).unwrap();
        for (key, expected) in keys {
            assert_eq!(db.get_sync(key.as_bytes()).unwrap(), expected, "{key}");
        }
    });
}

#[test]
fn staged_reads_of_buckets_are_apart() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        transaction.put_bucket(OTHER, "d", "there").unwrap();
        transaction
            .delete_range_bucket(OTHER, KeyRange::half_open("e", "g"))
            .unwrap();
        transaction.put("f", "here");
        let mut in_bucket = |bucket: &str, key: &str| {
            call!(
                way,
                transaction,
                get_staged_bucket / get_staged_bucket_sync(bucket, key.as_bytes())
            )
        };
        assert_eq!(in_bucket(OTHER, "d").unwrap().unwrap(), b"there");
        assert_eq!(in_bucket("default", "d").unwrap().unwrap(), b"old");
        assert_eq!(in_bucket(OTHER, "f").unwrap(), None);
        assert_eq!(in_bucket("default", "f").unwrap().unwrap(), b"here");
        assert!(matches!(
            in_bucket("missing", "d"),
            Err(Error::BucketMissing { name }) if name == "missing"
        ));
    });
}

#[test]
fn only_staged_reads_that_reach_the_database_are_recorded() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        transaction.put("d", "mine");
        transaction.delete_range(KeyRange::half_open("e", "g"));
        staged(way, &mut transaction, "d");
        staged(way, &mut transaction, "f");
        db.put_sync("d", "theirs").unwrap();
        db.put_sync("f", "theirs").unwrap();
        commit(way, transaction).unwrap();
        assert_eq!(db.get_sync(b"d").unwrap().unwrap(), b"mine");

        let mut transaction = begin(db);
        transaction.put("d", "mine");
        assert_eq!(staged(way, &mut transaction, "b").unwrap(), b"old");
        db.put_sync("b", "theirs").unwrap();
        conflicts(commit(way, transaction), "point read conflict");
    });
}
