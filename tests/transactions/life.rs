//! Clones, scans, closing, and many transactions at once.

use trine_kv::{Db, DbOptions, Error, KeyRange, TransactOptions};

use crate::common::way::{Way, block_on, call};
use crate::fixture::{OTHER, begin, commit, conflicts, everywhere, fresh, get, staged};

#[test]
fn a_clone_has_its_own_reads_and_writes() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        transaction.put("d", "1");
        assert_eq!(staged(way, &mut transaction, "d").unwrap(), b"1");
        let mut clone = transaction.clone();
        clone.put("d", "2");
        get(way, &mut clone, "b");
        assert_eq!(staged(way, &mut clone, "d").unwrap(), b"2");
        assert_eq!(staged(way, &mut transaction, "d").unwrap(), b"1");
        db.put_sync("b", "new").unwrap();
        conflicts(commit(way, clone), "point read conflict");
        commit(way, transaction).unwrap();
    });
}

#[test]
fn scans_of_named_buckets_and_in_reverse_are_recorded_too() {
    everywhere(|way, db| {
        let bucket = db.bucket_sync(OTHER).unwrap();
        bucket.put_sync("k1", "v").unwrap();
        bucket.put_sync("k2", "v").unwrap();
        let all = KeyRange::all();
        let mut transaction = begin(db);
        let iter = call!(
            way,
            transaction,
            scan_bucket / scan_bucket_sync(OTHER, &all)
        )
        .unwrap();
        assert_eq!(way.rows(iter).unwrap()[0].0, b"k1");
        let iter = call!(
            way,
            transaction,
            scan_reverse_bucket / scan_reverse_bucket_sync(OTHER, &all)
        )
        .unwrap();
        assert_eq!(way.rows(iter).unwrap()[0].0, b"k2");
        bucket.put_sync("k3", "v").unwrap();
        conflicts(
            commit(way, transaction),
            "range read conflict in bucket other",
        );

        let mut transaction = begin(db);
        let missing = call!(
            way,
            transaction,
            scan_bucket / scan_bucket_sync("missing", &all)
        );
        assert!(matches!(missing, Err(Error::BucketMissing { .. })));
    });
}

#[test]
fn a_scan_outlives_its_transaction() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        let iter = call!(way, transaction, scan / scan_sync(&KeyRange::all())).unwrap();
        drop(transaction);
        db.delete_range_sync(KeyRange::all()).unwrap();
        db.flush_sync().unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
        assert_eq!(way.rows(iter).unwrap().len(), 3);
    });
}

#[test]
fn after_close_reads_and_commits_are_refused() {
    everywhere(|way, db| {
        let mut transaction = begin(db);
        transaction.put("d", "new");
        way.close(db).unwrap();
        let all = KeyRange::all();
        let closed = [
            call!(way, transaction, get / get_sync(b"d")).err(),
            call!(way, transaction, get_staged / get_staged_sync(b"d")).err(),
            call!(way, transaction, scan / scan_sync(&all)).err(),
            call!(way, transaction, read_range / read_range_sync(all)).err(),
            commit(way, transaction).err(),
            match way {
                Way::Sync => db.transact_sync(TransactOptions::default(), |_| Ok(())),
                Way::Async => block_on(db.transact(TransactOptions::default(), async |_| Ok(()))),
            }
            .err(),
        ];
        for error in closed {
            assert!(matches!(error, Some(Error::Closed)), "{error:?}");
        }
    });
}

#[test]
fn a_live_transaction_keeps_the_database_open() {
    let place = tempfile::tempdir().unwrap();
    let db = fresh(Way::Sync, DbOptions::new(place.path()));
    let mut transaction = begin(&db);
    drop(db);
    assert!(matches!(
        Db::open_sync(place.path()),
        Err(Error::Corruption { .. })
    ));
    transaction.put("d", "new");
    transaction.commit_sync().unwrap();
    let db = Db::open_sync(place.path()).unwrap();
    assert_eq!(db.get_sync(b"d").unwrap().unwrap(), b"new");
}

#[test]
fn a_transaction_of_many_reads_and_writes_commits_them_all() {
    // Ten thousand of each: were their bookkeeping a list, this would take minutes.
    const KEYS: u32 = 10_000;
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    let mut transaction = begin(&db);
    for number in 0..KEYS {
        let key = number.to_be_bytes();
        transaction.put(key, key);
        assert_eq!(transaction.get_staged_sync(&key).unwrap().unwrap(), key);
        transaction.delete_range(KeyRange::half_open(key, number.to_be_bytes()));
        assert_eq!(transaction.get_sync(&key).unwrap(), None);
        let range = KeyRange::half_open(key, (number + 1).to_be_bytes());
        transaction.read_range_sync(range).unwrap();
    }
    transaction.commit_sync().unwrap();
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 10_000);
}

#[test]
fn increments_of_many_threads_are_all_counted() {
    everywhere(|way, db| {
        let increment = |db: &Db| match way {
            Way::Sync => db.transact_sync(
                TransactOptions::default().with_attempts_max(usize::MAX),
                |transaction| {
                    let count = transaction.get_sync(b"count")?.map_or(0, |value| value[0]);
                    transaction.put("count", [count + 1]);
                    Ok(count + 1)
                },
            ),
            Way::Async => block_on(db.transact(
                TransactOptions::default().with_attempts_max(usize::MAX),
                async |transaction| {
                    let count = transaction.get(b"count").await?.map_or(0, |value| value[0]);
                    transaction.put("count", [count + 1]);
                    Ok(count + 1)
                },
            )),
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        increment(db).unwrap();
                    }
                });
            }
        });
        assert_eq!(db.get_sync(b"count").unwrap().unwrap(), [80]);
    });
}
