//! The same promises under threads: each test keeps a rule that an anomaly would break.
//!
//! Half of the threads call the synchronous interface, half the asynchronous one.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use trine_kv::{
    Db, DbOptions, DurabilityMode, KeyRange, Result, Snapshot, Transaction, TransactionOptions,
    WriteOptions,
};

use crate::common::random::{Random, seed};
use crate::common::way::{Way, call};
use crate::scene::{is_conflict, persistent};

const THREADS: usize = 4;

fn way_of(thread: usize) -> Way {
    if thread.is_multiple_of(2) {
        Way::Sync
    } else {
        Way::Async
    }
}

/// In memory, and on disk with memtables that are full at once.
fn everywhere(rule: impl Fn(&Db)) {
    rule(&Db::open_sync(DbOptions::memory()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open_sync(DbOptions {
        write_buffer_bytes: 2048,
        max_immutable_memtables: 2,
        max_l0_files: 2,
        target_table_bytes: 4096,
        block_cache_bytes: 0,
        background_worker_count: 1,
        ..persistent(&directory)
    })
    .unwrap();
    rule(&db);
    db.close_sync();
}

/// On disk, with every commit synced.
fn synced(rule: impl Fn(&Db)) {
    let directory = tempfile::tempdir().unwrap();
    let options = persistent(&directory).with_durability(DurabilityMode::SyncAll);
    rule(&Db::open_sync(options).unwrap());
}

/// Runs the body in transactions until one commits. Somebody's commit is behind every conflict, so
/// all together make progress.
fn transact<T>(db: &Db, way: Way, mut body: impl FnMut(&mut Transaction) -> Result<T>) -> T {
    loop {
        let mut transaction = db.transaction(TransactionOptions::default());
        let value = body(&mut transaction).unwrap();
        let result = call!(way, transaction, commit / commit_sync());
        if !is_conflict(&result) {
            return value;
        }
    }
}

fn read(transaction: &mut Transaction, way: Way, key: &[u8]) -> Result<i64> {
    let value = call!(way, transaction, get / get_sync(key))?;
    Ok(value.map_or(0, |value| number(&value)))
}

/// Padded, so that few rows fill a memtable.
fn value_of(number: i64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(100, b'.');
    value
}

fn number(value: &[u8]) -> i64 {
    i64::from_be_bytes(value[..8].try_into().unwrap())
}

/// Says `true` once, to tell the threads beside that their work is over, also when it unwinds.
struct Raise<'flag>(&'flag AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` on `THREADS` threads and `watch` again and again beside them, at least once after.
fn watched(work: impl Fn(usize) + Sync, watch: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let last = done.load(Ordering::Acquire);
                watch();
                if last {
                    break;
                }
                // The workers have more to do than the watcher has to see.
                std::thread::yield_now();
            }
        });
        let _raise = Raise(&done);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let work = &work;
                scope.spawn(move || work(thread));
            }
        });
    });
}

#[test]
fn lost_update_counters_add_up() {
    const INCREMENTS: i64 = 25;
    everywhere(|db| {
        watched(
            |thread| {
                for _ in 0..INCREMENTS {
                    let way = way_of(thread);
                    transact(db, way, |transaction| {
                        let count = read(transaction, way, b"counter")?;
                        transaction.put("counter", value_of(count + 1));
                        Ok(())
                    });
                }
            },
            || {},
        );
        let counter = db.get_sync(b"counter").unwrap().unwrap();
        let increments = INCREMENTS * i64::try_from(THREADS).unwrap();
        assert_eq!(number(&counter), increments);
        // Nothing else was committed: one sequence for each increment.
        let commits = i64::try_from(db.last_committed_sequence().get()).unwrap();
        assert_eq!(commits, increments);
    });
}

/// Accounts of a bank: money moves, none is made or lost, in any view of any moment.
#[test]
fn read_skew_the_bank_never_shows_another_total() {
    const ACCOUNTS: u64 = 8;
    const TRANSFERS: u64 = 30;
    const EACH: i64 = 100;
    let total = EACH * i64::try_from(ACCOUNTS).unwrap();
    let seed = seed("bank");
    let account = |number: u64| format!("account/{number}").into_bytes();
    let total_at = |db: &Db, at: &Snapshot| -> i64 {
        let accounts = KeyRange::prefix("account/");
        let rows = db.range_at_sync(at, &accounts).unwrap();
        rows.map(|row| number(&row.unwrap().value)).sum()
    };
    let rule = |db: &Db| {
        transact(db, Way::Sync, |opening| {
            for number in 0..ACCOUNTS {
                opening.put(account(number), value_of(EACH));
            }
            Ok(())
        });
        let transfer = |random: &mut Random, way: Way| {
            let (from, to) = (random.next() % ACCOUNTS, random.next() % ACCOUNTS);
            let amount = i64::try_from(random.next() % 50).unwrap();
            transact(db, way, |transaction| {
                let balance = read(transaction, way, &account(from))?;
                if from != to && balance >= amount {
                    let other = read(transaction, way, &account(to))?;
                    transaction.put(account(from), value_of(balance - amount));
                    transaction.put(account(to), value_of(other + amount));
                }
                Ok(())
            });
        };
        watched(
            |thread| {
                let mut random = Random(seed ^ u64::try_from(thread).unwrap());
                for _ in 0..TRANSFERS {
                    transfer(&mut random, way_of(thread));
                }
            },
            || {
                let snapshot = db.snapshot();
                assert_eq!(total_at(db, &snapshot), total, "by scan");
                let by_key: i64 = (0..ACCOUNTS)
                    .map(|number| db.get_at_sync(&snapshot, &account(number)).unwrap())
                    .map(|value| number(&value.unwrap()))
                    .sum();
                assert_eq!(by_key, total, "key by key");
                // A transaction's reads are of one moment, whether it could commit or not.
                let mut auditor = db.transaction(TransactionOptions::default());
                let seen: i64 = (0..ACCOUNTS)
                    .map(|number| read(&mut auditor, Way::Sync, &account(number)).unwrap())
                    .sum();
                assert_eq!(seen, total, "in a transaction");
            },
        );
        let all = db.range_sync(&KeyRange::all()).unwrap();
        assert!(
            all.map(|row| number(&row.unwrap().value))
                .all(|balance| balance >= 0)
        );
    };
    everywhere(rule);
    synced(rule);
}

#[test]
fn the_bank_reopens_with_the_same_total() {
    let directory = tempfile::tempdir().unwrap();
    for opening in 0..3_i64 {
        let db = Db::open_sync(DbOptions {
            write_buffer_bytes: 1024,
            background_worker_count: 1,
            ..persistent(&directory)
        })
        .unwrap();
        let sum = || -> i64 {
            let rows = db.prefix_sync("account/").unwrap();
            rows.map(|row| number(&row.unwrap().value)).sum()
        };
        assert_eq!(sum(), 0, "opening {opening}");
        watched(
            |thread| {
                for step in 0..30 {
                    let way = way_of(thread);
                    // Debts are allowed, so every transfer moves something.
                    let (from, to) = (step % 5, (step + thread + 1) % 5);
                    transact(&db, way, |transaction| {
                        let from = format!("account/{from}");
                        let to = format!("account/{to}");
                        let balances = (
                            read(transaction, way, from.as_bytes())?,
                            read(transaction, way, to.as_bytes())?,
                        );
                        if from != to {
                            transaction.put(from, value_of(balances.0 - 7));
                            transaction.put(to, value_of(balances.1 + 7));
                        }
                        Ok(())
                    });
                }
            },
            || assert_eq!(sum(), 0),
        );
        db.close_sync();
    }
}

/// Two keys, of which at least one must stay above zero. Each thread lowers one of them where the
/// other allows it, and raises it again: each alone keeps the rule, together only serializability does.
#[test]
fn write_skew_never_breaks_a_rule_over_two_keys() {
    const ROUNDS: usize = 20;
    let rule = |db: &Db| {
        db.put_sync("a", value_of(1)).unwrap();
        db.put_sync("b", value_of(1)).unwrap();
        watched(
            |thread| {
                let way = way_of(thread / 2);
                let own = ["a", "b"][thread % 2];
                for _ in 0..ROUNDS {
                    transact(db, way, |transaction| {
                        let (a, b) = (read(transaction, way, b"a")?, read(transaction, way, b"b")?);
                        if a + b >= 2 {
                            transaction.put(own, value_of(0));
                        }
                        Ok(())
                    });
                    transact(db, way, |transaction| {
                        if read(transaction, way, own.as_bytes())? == 0 {
                            transaction.put(own, value_of(1));
                        }
                        Ok(())
                    });
                }
            },
            || {
                let snapshot = db.snapshot();
                let value = |key: &[u8]| number(&db.get_at_sync(&snapshot, key).unwrap().unwrap());
                let (a, b) = (value(b"a"), value(b"b"));
                assert!(
                    a + b >= 1,
                    "a = {a}, b = {b} at {:?}",
                    snapshot.read_sequence()
                );
            },
        );
    };
    everywhere(rule);
    synced(rule);
}

/// Threads count the rows of a range and insert the next one under a key of their own, so only the
/// recorded range stands between two of them and the same number.
#[test]
fn phantom_rows_are_numbered_without_gap_or_repetition() {
    const ROWS: usize = 15;
    everywhere(|db| {
        let given = Mutex::new(BTreeSet::new());
        let rows = KeyRange::prefix("row/");
        watched(
            |thread| {
                let way = way_of(thread);
                for row in 0..ROWS {
                    let count = transact(db, way, |transaction| {
                        let range = rows.clone();
                        call!(way, transaction, read_range / read_range_sync(range))?;
                        let at = Snapshot::new(transaction.read_sequence());
                        let count = db.range_at_sync(&at, &rows)?.count();
                        let value = value_of(i64::try_from(count).unwrap());
                        transaction.put(format!("row/{thread}/{row}"), value);
                        Ok(count)
                    });
                    assert!(given.lock().unwrap().insert(count), "{count} given twice");
                }
            },
            || {
                // Seen at any moment, the numbers are those from zero up.
                let snapshot = db.snapshot();
                let mut numbers: Vec<_> = db
                    .range_at_sync(&snapshot, &rows)
                    .unwrap()
                    .map(|row| number(&row.unwrap().value))
                    .collect();
                numbers.sort_unstable();
                assert!(numbers.iter().copied().eq((0..).take(numbers.len())));
            },
        );
        let all = given.into_inner().unwrap();
        assert!(all.into_iter().eq(0..THREADS * ROWS));
    });
}

#[test]
fn dirty_read_what_was_not_committed_is_never_seen() {
    const ROUNDS: i64 = 25;
    everywhere(|db| {
        watched(
            |thread| {
                let way = way_of(thread);
                for round in 0..ROUNDS {
                    let mut dropped = db.transaction(TransactionOptions::default());
                    dropped.put("a", value_of(-1));
                    let mut refused = db.transaction(TransactionOptions::default());
                    let key = format!("own/{thread}").into_bytes();
                    read(&mut refused, way, &key).unwrap();
                    refused.put("a", value_of(-1));
                    let own = value_of(round);
                    let options = WriteOptions::buffered();
                    call!(
                        way,
                        db,
                        put_with_options / put_with_options_sync(key, own, options)
                    )
                    .unwrap();
                    assert!(is_conflict(&call!(way, refused, commit / commit_sync())));
                    transact(db, way, |transaction| {
                        transaction.put("a", value_of(-1));
                        transaction.put("a", value_of(round));
                        Ok(())
                    });
                    drop(dropped);
                }
            },
            || {
                if let Some(value) = db.get_sync(b"a").unwrap() {
                    assert!(number(&value) >= 0);
                }
            },
        );
    });
}

#[test]
fn non_repeatable_read_transactions_read_the_same_again_beside_writers() {
    const ROUNDS: i64 = 25;
    everywhere(|db| {
        watched(
            |thread| {
                for round in 0..ROUNDS {
                    let key = format!("key/{}", (thread + 1) % 3);
                    if round % 5 == 4 {
                        db.delete_range_sync(KeyRange::prefix("key/")).unwrap();
                    } else {
                        db.put_sync(key, value_of(round)).unwrap();
                    }
                }
            },
            || {
                let keys = ["key/0", "key/1", "key/2"].map(str::as_bytes);
                let mut reader = db.transaction(TransactionOptions::default());
                let mut all = || keys.map(|key| reader.get_sync(key).unwrap());
                let first = all();
                for _ in 0..3 {
                    assert_eq!(all(), first);
                }
            },
        );
    });
}
