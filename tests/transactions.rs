//! Transactions: what they read, what conflicts with it, what commits, and what is tried again.
//!
//! Every rule runs in both ways of calling, in memory and on a persistent database.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}

use std::cell::Cell;

use common::way::{Way, block_on, call};
use trine_kv::{
    Db, DbOptions, DurabilityMode, Error, KeyRange, Result, TransactOptions, Transaction,
    TransactionOptions, WriteBatch, WriteOptions,
};

const OTHER: &str = "other";

fn fresh(way: Way, options: DbOptions) -> Db {
    let options = DbOptions {
        background_worker_count: 0,
        ..options
    };
    let db = way.open(options).unwrap();
    db.bucket_sync(OTHER).unwrap();
    for key in ["b", "d", "f"] {
        db.put_sync(key, "old").unwrap();
    }
    db
}

fn everywhere(rule: impl Fn(Way, &Db)) {
    for way in [Way::Sync, Way::Async] {
        rule(way, &fresh(way, DbOptions::memory()));
        let place = tempfile::tempdir().unwrap();
        rule(way, &fresh(way, DbOptions::new(place.path())));
    }
}

fn begin(db: &Db) -> Transaction {
    db.transaction(TransactionOptions::default())
}

fn commit(way: Way, transaction: Transaction) -> Result<u64> {
    call!(way, transaction, commit / commit_sync()).map(|commit| commit.sequence().get())
}

fn get(way: Way, transaction: &mut Transaction, key: &str) -> Option<Vec<u8>> {
    call!(way, transaction, get / get_sync(key.as_bytes())).unwrap()
}

fn staged(way: Way, transaction: &mut Transaction, key: &str) -> Option<Vec<u8>> {
    call!(
        way,
        transaction,
        get_staged / get_staged_sync(key.as_bytes())
    )
    .unwrap()
}

fn rows(way: Way, transaction: &mut Transaction, range: &KeyRange) -> Vec<String> {
    let iter = call!(way, transaction, scan / scan_sync(range)).unwrap();
    let rows = way.rows(iter).unwrap();
    rows.into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect()
}

#[track_caller]
fn conflicts<T: std::fmt::Debug>(result: Result<T>, phrase: &str) {
    match result {
        Err(Error::Conflict { message }) => assert!(message.contains(phrase), "{message}"),
        other => panic!("expected Conflict, found {other:?}"),
    }
}

/// What a transaction can have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Present,
    Absent,
    Range,
    Scan,
    ScanUnread,
    Nothing,
}

impl Read {
    /// `d` exists, `c` does not; the range is `[c, e)`.
    fn make(self, way: Way, transaction: &mut Transaction) {
        let range = KeyRange::half_open("c", "e");
        match self {
            Self::Present => assert!(get(way, transaction, "d").is_some()),
            Self::Absent => assert!(get(way, transaction, "c").is_none()),
            Self::Range => call!(way, transaction, read_range / read_range_sync(range)).unwrap(),
            Self::Scan => assert_eq!(rows(way, transaction, &range), ["d"]),
            Self::ScanUnread => {
                call!(way, transaction, scan_reverse / scan_reverse_sync(&range)).unwrap();
            }
            Self::Nothing => {}
        }
    }

    const ALL: [Self; 6] = [
        Self::Present,
        Self::Absent,
        Self::Range,
        Self::Scan,
        Self::ScanUnread,
        Self::Nothing,
    ];
}

/// What somebody else commits meanwhile.
struct Other {
    what: &'static str,
    stage: fn(&mut WriteBatch),
    /// The reads that it conflicts with.
    concerns: &'static [Read],
}

impl Other {
    fn commit(&self, db: &Db) {
        let mut batch = WriteBatch::new();
        (self.stage)(&mut batch);
        db.write_sync(batch, WriteOptions::default()).unwrap();
    }
}

fn others() -> Vec<Other> {
    use Read::{Absent, Present, Range, Scan, ScanUnread};
    const D: &[Read] = &[Present, Range, Scan, ScanUnread];
    const C: &[Read] = &[Absent, Range, Scan, ScanUnread];
    const INSIDE: &[Read] = &[Range, Scan, ScanUnread];
    const ALL: &[Read] = &[Present, Absent, Range, Scan, ScanUnread];
    let other = |what, concerns, stage| Other {
        what,
        stage,
        concerns,
    };
    vec![
        other("another value", D, |batch| batch.put("d", "new")),
        other("the same value", D, |batch| batch.put("d", "old")),
        other("a delete", D, |batch| batch.delete("d")),
        other("a phantom", C, |batch| batch.put("c", "new")),
        other("a delete of nothing", C, |batch| batch.delete("c")),
        other("another phantom", INSIDE, |batch| batch.put("cc", "new")),
        other("a covering range delete", ALL, |batch| {
            batch.delete_range(KeyRange::half_open("a", "z"));
        }),
        other("a range delete without end", ALL, |batch| {
            batch.delete_range(KeyRange::all());
        }),
        other("an overlapping range delete", INSIDE, |batch| {
            batch.delete_range(KeyRange::half_open("dd", "z"));
        }),
        other("an adjacent range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("e", "z"));
        }),
        other("an empty range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("d", "d"));
        }),
        other("an inverted range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("e", "c"));
        }),
        other("keys outside", &[], |batch| {
            batch.put("b", "new");
            batch.delete("e");
        }),
        other("the same key of another bucket", &[], |batch| {
            batch.put_bucket(OTHER, "d", "new").unwrap();
        }),
    ]
}

/// Where the other's commit lies by the time it is validated against.
#[derive(Clone, Copy, Debug)]
enum Where {
    Memtable,
    Table,
    Compacted,
}

impl Where {
    fn bring(self, db: &Db) {
        if !matches!(self, Self::Memtable) {
            db.flush_sync().unwrap();
        }
        if matches!(self, Self::Compacted) {
            db.compact_range_sync(KeyRange::all()).unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
    }
}

#[test]
fn a_commit_conflicts_with_what_was_written_to_its_reads() {
    for other in others() {
        for place in [Where::Memtable, Where::Table, Where::Compacted] {
            for tables_before in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                let db = fresh(
                    Way::Sync,
                    DbOptions::new(directory.path()).with_durability(DurabilityMode::Buffered),
                );
                if tables_before {
                    Where::Compacted.bring(&db);
                }
                let mut transactions = Vec::new();
                for read in Read::ALL {
                    let mut transaction = begin(&db);
                    read.make(Way::Sync, &mut transaction);
                    transaction.put(format!("result of {read:?}"), "new");
                    transactions.push((read, transaction));
                }
                other.commit(&db);
                place.bring(&db);
                for (read, transaction) in transactions {
                    let expected = other.concerns.contains(&read);
                    let before = db.last_committed_sequence().get();
                    let result = commit(Way::Sync, transaction);
                    let conflict = matches!(result, Err(Error::Conflict { .. }));
                    let what = other.what;
                    assert_eq!(
                        conflict, expected,
                        "{read:?}, {what}, {place:?}: {result:?}"
                    );
                    let after = before + u64::from(!conflict);
                    assert_eq!(db.last_committed_sequence().get(), after);
                    let written = db.get_sync(format!("result of {read:?}").as_bytes());
                    assert_eq!(written.unwrap().is_some(), !conflict);
                }
            }
        }
    }
}

#[test]
fn both_ways_conflict_alike() {
    everywhere(|way, db| {
        for read in Read::ALL {
            for other in others() {
                let mut first = WriteBatch::new();
                first.put("d", "old");
                first.delete("c");
                first.delete("cc");
                db.write_sync(first, WriteOptions::default()).unwrap();
                let mut transaction = begin(db);
                read.make(way, &mut transaction);
                other.commit(db);
                // Nothing is staged: reads are validated all the same, and no sequence is used.
                let before = db.last_committed_sequence().get();
                let result = commit(way, transaction);
                if other.concerns.contains(&read) {
                    conflicts(result, "read conflict in bucket default");
                } else {
                    assert_eq!(result.unwrap(), before, "{read:?}, {}", other.what);
                }
                assert_eq!(db.last_committed_sequence().get(), before);
            }
        }
    });
}

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

/// A transaction that somebody else always gets in the way of; how often it ran, and its outcome.
fn hopeless(way: Way, db: &Db, options: TransactOptions) -> (usize, Result<()>) {
    let mut runs = 0;
    let result = match way {
        Way::Sync => db.transact_sync(options, |transaction| {
            runs += 1;
            transaction.get_sync(b"d")?;
            transaction.put("result", "new");
            db.put_sync("d", "theirs")
        }),
        Way::Async => block_on(db.transact(options, async |transaction| {
            runs += 1;
            transaction.get(b"d").await?;
            transaction.put("result", "new");
            db.put("d", "theirs").await
        })),
    };
    (runs, result)
}

#[test]
fn attempts_are_bounded() {
    everywhere(|way, db| {
        assert_eq!(TransactOptions::default().attempts_max(), 16);
        for (options, expected) in [
            (TransactOptions::default(), 16),
            (TransactOptions::default().with_attempts_max(3), 3),
            (TransactOptions::default().with_attempts_max(0), 1),
        ] {
            let (runs, result) = hopeless(way, db, options);
            assert_eq!(runs, expected);
            conflicts(result, "point read conflict");
            assert_eq!(db.get_sync(b"result").unwrap(), None);
        }
    });
}

#[test]
fn an_error_of_the_closure_is_returned_and_nothing_is_committed() {
    everywhere(|way, db| {
        let runs = Cell::new(0);
        let before = db.last_committed_sequence();
        let result: Result<()> = match way {
            Way::Sync => db.transact_sync(TransactOptions::default(), |transaction| {
                runs.set(runs.get() + 1);
                transaction.put("d", "new");
                Err(Error::invalid_options("enough"))
            }),
            Way::Async => block_on(db.transact(
                TransactOptions::default(),
                async |transaction: &mut Transaction| {
                    runs.set(runs.get() + 1);
                    transaction.put("d", "new");
                    Err(Error::invalid_options("enough"))
                },
            )),
        };
        assert!(matches!(result, Err(Error::InvalidOptions { message }) if message == "enough"));
        assert_eq!((runs.get(), db.last_committed_sequence()), (1, before));
    });
}

#[test]
fn a_conflict_from_the_closure_asks_for_another_attempt() {
    everywhere(|way, db| {
        let runs = Cell::new(0);
        let next = || {
            runs.set(runs.get() + 1);
            if runs.get() < 3 {
                let message = "not yet".to_owned();
                return Err(Error::Conflict { message });
            }
            Ok(runs.get())
        };
        let result = match way {
            Way::Sync => db.transact_sync(TransactOptions::default(), |_| next()),
            Way::Async => block_on(db.transact(TransactOptions::default(), async |_| next())),
        };
        assert_eq!(result.unwrap(), 3);
    });
}

#[test]
fn transact_commits_with_its_options() {
    let place = tempfile::tempdir().unwrap();
    let db = fresh(
        Way::Sync,
        DbOptions {
            durability: DurabilityMode::Buffered,
            ..DbOptions::new(place.path())
        },
    );
    assert!(db.stats().wal_bytes_pending_sync > 0);
    let options = TransactOptions::new(TransactionOptions {
        write_options: WriteOptions::sync_all(),
    });
    assert_eq!(
        options.transaction().write_options,
        WriteOptions::sync_all()
    );
    db.transact_sync(options, |transaction| {
        transaction.put("d", "new");
        Ok(())
    })
    .unwrap();
    assert_eq!(db.stats().wal_bytes_pending_sync, 0);
}

#[test]
fn transactions_run_on_any_executor() {
    fn send<T: Send>(future: T) -> T {
        future
    }
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    let (by, key) = (2_u8, String::from("count"));
    let mut transaction = begin(&db);
    drop(send(transaction.get_staged(b"d")));
    drop(send(transaction.scan(&KeyRange::all())));
    drop(send(
        transaction.scan_reverse_bucket("other", &KeyRange::all()),
    ));
    drop(transaction);
    // As a task that may move between threads and owns what it uses.
    let task: std::pin::Pin<Box<dyn Future<Output = Result<u8>> + Send>> = {
        let db = db.clone();
        Box::pin(async move {
            db.transact(TransactOptions::default(), async move |transaction| {
                let count = transaction.get_staged(key.as_bytes()).await?;
                let count = count.map_or(0, |value| value[0]) + by;
                transaction.put(key.as_str(), [count]);
                Ok(count)
            })
            .await
        })
    };
    let counted = std::thread::scope(|scope| scope.spawn(|| block_on(task)).join());
    assert_eq!(counted.unwrap().unwrap(), 2);
    assert_eq!(db.get_sync(b"count").unwrap().unwrap(), [2]);
}

#[test]
fn a_transact_future_that_was_never_polled_does_nothing() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    drop(
        db.transact(TransactOptions::default(), async |transaction| {
            transaction.put("key", "value");
            Ok(())
        }),
    );
    assert_eq!(db.last_committed_sequence().get(), 0);
}
