//! Closures that run as transactions and begin again after a conflict.

use std::cell::Cell;

use trine_kv::{
    Db, DbOptions, DurabilityMode, Error, KeyRange, Result, TransactOptions, Transaction,
    TransactionOptions, WriteOptions,
};

use crate::common::way::{Way, block_on};
use crate::fixture::{begin, conflicts, everywhere, fresh};

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
