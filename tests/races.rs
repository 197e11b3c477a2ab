//! Many threads write, read, flush, compact and close at once; what they were told must hold.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use trine_kv::{Db, DbOptions, Error, KeyRange, TransactionOptions, WriteBatch, WriteOptions};

/// An executor that parks its thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Small buffers, so that everything happens often.
fn options(path: &std::path::Path, workers: usize) -> DbOptions {
    DbOptions {
        background_worker_count: workers,
        write_buffer_bytes: 2_000,
        max_immutable_memtables: 2,
        max_l0_files: 3,
        target_table_bytes: 4_000,
        ..DbOptions::new(path)
    }
    .with_durability(trine_kv::DurabilityMode::Buffered)
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("eight bytes"))
}

const ACCOUNTS: u8 = 8;
const TOTAL: u64 = 8_000;

/// Moves one between two accounts, if nobody else did meanwhile.
fn transfer(db: &Db, from: u8, to: u8, wait: bool) -> Result<(), Error> {
    let mut transaction = db.transaction(TransactionOptions::default());
    let a = number(&transaction.get_sync(&[from])?.expect("an account"));
    let b = number(&transaction.get_sync(&[to])?.expect("an account"));
    if from == to || a == 0 {
        return Ok(());
    }
    transaction.put([from], (a - 1).to_le_bytes());
    transaction.put([to], (b + 1).to_le_bytes());
    if wait {
        block_on(transaction.commit())?;
    } else {
        transaction.commit_sync()?;
    }
    Ok(())
}

fn sum(db: &Db, reverse: bool) -> Result<u64, Error> {
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync()?;
    let range = KeyRange::half_open([0], [ACCOUNTS]);
    let rows = if reverse {
        snapshot.range_reverse_sync(&bucket, &range)?
    } else {
        snapshot.range_sync(&bucket, &range)?
    };
    let mut sum = 0;
    let mut points = 0;
    for row in rows {
        let row = row?;
        sum += number(&row.value);
        points += number(&snapshot.get_sync(&bucket, &row.key)?.expect("a row"));
    }
    assert_eq!(sum, points, "rows and points at one snapshot");
    Ok(sum)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story of several threads")]
fn sums_and_acknowledged_counts_hold_whatever_runs_beside_them() {
    for workers in [0, 2] {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("database");
        let db = Db::open_sync(options(&path, workers)).expect("the database");
        let mut batch = WriteBatch::new();
        for account in 0..ACCOUNTS {
            batch.put([account], (TOTAL / u64::from(ACCOUNTS)).to_le_bytes());
        }
        db.write_sync(batch, WriteOptions::default())
            .expect("a batch");
        drop(db);
        let counters: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
        for round in 0..6 {
            let db = Db::open_sync(options(&path, workers))
                .unwrap_or_else(|error| panic!("{workers} workers, round {round}: {error}"));
            assert_eq!(sum(&db, false).expect("a sum"), TOTAL);
            for (thread, counter) in counters.iter().enumerate() {
                let key = format!("counter {thread}");
                let stored = db
                    .get_sync(key.as_bytes())
                    .expect("a value")
                    .map_or(0, |v| number(&v));
                assert_eq!(
                    stored,
                    counter.load(SeqCst),
                    "{workers} workers, round {round}, {key}"
                );
            }
            let stop = AtomicBool::new(false);
            let failures = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for thread in 0..4_u8 {
                    let (db, counters, failures) = (&db, &counters, &failures);
                    scope.spawn(move || {
                        let key = format!("counter {thread}");
                        for step in 0..60_u8 {
                            let counter = &counters[usize::from(thread)];
                            let next = counter.load(SeqCst) + 1;
                            let put = if step % 2 == 0 {
                                block_on(db.put(key.as_str(), next.to_le_bytes()))
                            } else {
                                db.put_sync(key.as_str(), next.to_le_bytes())
                            };
                            match put {
                                Ok(()) => counter.store(next, SeqCst),
                                Err(error) => failures.lock().unwrap().push(error),
                            }
                            let stored = db
                                .get_sync(key.as_bytes())
                                .expect("a value")
                                .expect("a counter");
                            assert_eq!(number(&stored), next, "own write");
                            match transfer(
                                db,
                                (thread + step) % ACCOUNTS,
                                step % ACCOUNTS,
                                step % 3 == 0,
                            ) {
                                Ok(()) | Err(Error::Conflict { .. }) => {}
                                Err(error) => failures.lock().unwrap().push(error),
                            }
                            let noise = format!("noise {}", step % 10);
                            db.put_sync(noise.as_str(), vec![step; 200]).expect("a put");
                            if step % 7 == 0 {
                                db.delete_range_sync(KeyRange::prefix("noise"))
                                    .expect("a delete");
                            }
                        }
                    });
                }
                let (db, stop, failures) = (&db, &stop, &failures);
                scope.spawn(move || {
                    let mut reverse = false;
                    while !stop.load(SeqCst) {
                        assert_eq!(sum(db, reverse).expect("a sum"), TOTAL);
                        reverse = !reverse;
                    }
                });
                scope.spawn(move || {
                    while !stop.load(SeqCst) {
                        for done in [
                            db.flush_sync(),
                            db.compact_range_sync(KeyRange::all()),
                            block_on(db.flush()),
                        ] {
                            if let Err(error) = done {
                                failures.lock().unwrap().push(error);
                            }
                        }
                        std::thread::yield_now();
                    }
                });
                while counters
                    .iter()
                    .any(|counter| counter.load(SeqCst) < 60 * (round + 1))
                {
                    if !failures.lock().unwrap().is_empty() {
                        break;
                    }
                    std::thread::yield_now();
                }
                stop.store(true, SeqCst);
            });
            assert!(
                failures.lock().unwrap().is_empty(),
                "{:?}",
                failures.lock().unwrap()
            );
            if round % 2 == 0 {
                db.close_sync();
            }
        }
    }
}

#[test]
fn what_was_acknowledged_while_others_close_is_there_after() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("database");
    let acknowledged: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
    for round in 0..30_u64 {
        let db =
            Db::open_sync(options(&path, 1)).unwrap_or_else(|error| panic!("{round}: {error}"));
        for (thread, counter) in acknowledged.iter().enumerate() {
            let stored = db
                .get_sync(&[u8::try_from(thread).unwrap()])
                .expect("a value");
            let stored = stored.map_or(0, |value| number(&value));
            // The last write may have been committed though close was faster to say so.
            let told = counter.load(SeqCst);
            assert!(
                (told..=told + 1).contains(&stored),
                "round {round}: {stored} of {told}"
            );
            counter.store(stored, SeqCst);
        }
        std::thread::scope(|scope| {
            for (thread, counter) in acknowledged.iter().enumerate() {
                let db = &db;
                scope.spawn(move || {
                    let key = [u8::try_from(thread).unwrap()];
                    loop {
                        let next = counter.load(SeqCst) + 1;
                        let value = next.to_le_bytes().to_vec();
                        let put = if thread == 0 {
                            block_on(db.put(key, value))
                        } else {
                            db.put_sync(key, value)
                        };
                        match put {
                            Ok(()) => counter.store(next, SeqCst),
                            Err(Error::Closed) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            let flusher = &db;
            scope.spawn(move || {
                loop {
                    match flusher
                        .flush_sync()
                        .and_then(|()| flusher.compact_range_sync(KeyRange::all()))
                    {
                        Ok(()) => {}
                        Err(Error::Closed) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            while db.last_committed_sequence().get() < (round + 1) * 20 {
                std::thread::yield_now();
            }
            std::thread::scope(|closers| {
                closers.spawn(|| block_on(db.close()).expect("a close"));
                closers.spawn(|| db.close_sync());
            });
        });
    }
}

/// A task that nobody but its waker keeps: when it is woken for the last time, it goes, and the
/// database's last handle with it, on whatever thread wakes it.
struct Task(Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
    fn wake_by_ref(self: &Arc<Self>) {}
}

#[test]
fn the_last_handle_may_go_on_the_thread_that_wakes_its_task() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("database");
    for round in 1..=20_u64 {
        let db = loop {
            // Closed by another thread, in its own time.
            match Db::open_sync(options(&path, 0)) {
                Ok(db) => break db,
                Err(Error::Corruption { message }) if message.contains("lock") => {
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(db.last_committed_sequence().get(), round - 1);
        let write = async move {
            let mut batch = WriteBatch::new();
            batch.put("key", round.to_le_bytes());
            drop(db.write(batch, WriteOptions::sync_all()).await);
        };
        let task = Arc::new(Task(Mutex::new(Some(Box::pin(write)))));
        let waker = Waker::from(Arc::clone(&task));
        let mut future = task.0.lock().unwrap().take().expect("a future");
        let mut pending = true;
        for _ in 0..2 {
            pending &= future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending();
            if !pending {
                break;
            }
        }
        if pending {
            *task.0.lock().unwrap() = Some(future);
        }
    }
}
