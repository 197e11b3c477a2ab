//! The asynchronous interface on three executors: a parking loop of the standard library, tokio with
//! several threads, and smol. The futures need nothing of any of them, and any of them at once.
#![cfg(not(any(target_family = "wasm", loom)))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;
use trine_kv::{
    BackupId, BackupOptions, Backups, Bucket, BucketOptions, BucketReader, Db, DbOptions,
    DurabilityMode, Error, Iter, KeyRange, LazyIter, LazyKeyValue, LazyValue, MaintenanceBudget,
    Result, Snapshot, Transaction, TransactionOptions, WriteBatch, WriteOptions,
};

#[path = "common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}
use common::way::{Way, block_on, call};

const EXECUTORS: [Executor; 3] = [Executor::Bare, Executor::Tokio, Executor::Smol];
const TASKS: usize = 3;
const ROUNDS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Executor {
    Bare,
    Tokio,
    Smol,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Executor {
    /// Runs the tasks at the same time, to their ends.
    fn run(self, tasks: Vec<Task>) {
        match self {
            Self::Bare => std::thread::scope(|scope| {
                for task in tasks {
                    scope.spawn(|| block_on(task));
                }
            }),
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .build()
                    .unwrap();
                let tasks: Vec<_> = tasks.into_iter().map(|task| runtime.spawn(task)).collect();
                runtime.block_on(async {
                    for task in tasks {
                        task.await.unwrap();
                    }
                });
            }
            Self::Smol => {
                let executor = smol::Executor::new();
                let tasks: Vec<_> = tasks.into_iter().map(|task| executor.spawn(task)).collect();
                let (stop, stopped) = smol::channel::bounded::<()>(1);
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| smol::block_on(executor.run(stopped.recv())));
                    }
                    smol::block_on(async {
                        for task in tasks {
                            task.await;
                        }
                    });
                    drop(stop);
                });
            }
        }
    }

    fn run_one<T: Send + 'static>(self, task: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::channel();
        self.run(vec![Box::pin(async move {
            sender.send(task.await).unwrap();
        })]);
        receiver.recv().unwrap()
    }
}

/// Small enough that tasks meet flushes, compactions and cold reads.
fn persistent(directory: &TempDir) -> DbOptions {
    DbOptions {
        write_buffer_bytes: 2000,
        max_l0_files: 2,
        target_table_bytes: 4000,
        block_cache_bytes: 0,
        durability: DurabilityMode::Buffered,
        ..DbOptions::new(directory.path().join("database"))
    }
}

async fn increment(db: &Db) -> Result<()> {
    loop {
        let mut transaction = db.transaction(TransactionOptions::default());
        let count = transaction.get_bucket("shared", b"counter").await?;
        let count = count.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
        transaction.put_bucket("shared", "counter", (count + 1).to_be_bytes())?;
        match transaction.commit().await {
            Err(Error::Conflict { .. }) => {}
            result => return result.map(drop),
        }
    }
}

async fn rows(mut iter: Iter) -> Result<usize> {
    let mut count = 0;
    while iter.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// What one task does, with rows of its own and a counter that it shares with all.
async fn work(db: Db, name: String) -> Result<()> {
    let shared = db.bucket("shared").await?;
    let key = |round: usize| format!("{name}/{round:03}");
    for round in 0..ROUNDS {
        db.put(key(round), format!("{round:0100}")).await?;
        let mut batch = WriteBatch::new();
        batch.put_bucket("shared", key(round), "")?;
        batch.delete_bucket("shared", key(round.wrapping_sub(1)))?;
        db.write(batch, WriteOptions::buffered()).await?;
        increment(&db).await?;

        let snapshot = db.snapshot();
        assert!(db.get(key(round / 2).as_bytes()).await?.is_some());
        assert!(shared.get(key(round).as_bytes()).await?.is_some());
        let own = snapshot.prefix(&shared, format!("{name}/")).await?;
        assert_eq!(rows(own).await?, 1, "a batch is there whole or not at all");
        let own = db.prefix_reverse_at(&snapshot, format!("{name}/")).await?;
        assert_eq!(rows(own).await?, round + 1);
        let reader = shared.reader(&snapshot)?;
        assert!(reader.get(key(round).as_bytes()).await?.is_some());
        let mut lazy = db.prefix_lazy(key(round)).await?;
        let row = lazy.next().await?.unwrap();
        assert_eq!(row.value.read().await?.len(), 100);
        match round % 8 {
            3 => db.flush().await?,
            5 => db.compact_range(KeyRange::all()).await?,
            7 => db.persist(DurabilityMode::SyncAll).await?,
            _ => {}
        }
    }
    Ok(())
}

async fn check(db: Db) -> Result<()> {
    let tasks = EXECUTORS.len() * TASKS;
    let all = KeyRange::all();
    assert_eq!(rows(db.range(&all).await?).await?, tasks * ROUNDS);
    let shared = db.bucket("shared").await?;
    assert_eq!(rows(shared.range(&all).await?).await?, tasks + 1);
    let counter = shared.get(b"counter").await?.unwrap();
    let expected = u64::try_from(tasks * ROUNDS).unwrap();
    assert_eq!(counter, expected.to_be_bytes());
    Ok(())
}

fn three_executors_share(db: &Db) {
    std::thread::scope(|scope| {
        for executor in EXECUTORS {
            scope.spawn(move || {
                executor.run(
                    (0..TASKS)
                        .map(|task| -> Task {
                            let work = work(db.clone(), format!("{executor:?}/{task}"));
                            Box::pin(async { work.await.unwrap() })
                        })
                        .collect(),
                );
            });
        }
    });
}

#[test]
fn three_executors_share_a_database_in_memory() {
    let db = block_on(Db::open(DbOptions::memory())).unwrap();
    three_executors_share(&db);
    for executor in EXECUTORS {
        executor.run_one(check(db.clone())).unwrap();
    }
}

#[test]
fn three_executors_share_a_persistent_database() {
    let directory = tempfile::tempdir().unwrap();
    let db = block_on(Db::open(persistent(&directory))).unwrap();
    three_executors_share(&db);
    block_on(check(db.clone())).unwrap();
    block_on(db.close()).unwrap();
    for executor in EXECUTORS {
        let options = persistent(&directory);
        executor
            .run_one(async move {
                let db = Db::open(options).await?;
                check(db.clone()).await?;
                db.close().await
            })
            .unwrap();
    }
}

#[test]
fn the_synchronous_interface_works_beside_executors() {
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open_sync(persistent(&directory)).unwrap();
    db.bucket_sync("shared").unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| three_executors_share(&db));
        for way in [Way::Sync, Way::Async] {
            let db = &db;
            scope.spawn(move || {
                let bucket = call!(way, db, bucket / bucket_sync("beside")).unwrap();
                for round in 0..ROUNDS {
                    let key = format!("{way:?}/{round}");
                    call!(way, bucket, put / put_sync(&*key, "value")).unwrap();
                    let value = call!(way, bucket, get / get_sync(key.as_bytes())).unwrap();
                    assert_eq!(value.as_deref(), Some(&b"value"[..]));
                }
                let own = bucket.prefix_sync(format!("{way:?}/")).unwrap();
                assert_eq!(way.rows(own).unwrap().len(), ROUNDS);
            });
        }
    });
    block_on(check(db.clone())).unwrap();
    Way::Async.close(&db).unwrap();
    let reopened = Way::Async.open(persistent(&directory)).unwrap();
    block_on(check(reopened)).unwrap();
}

#[test]
fn a_future_moves_from_executor_to_executor() {
    let directory = tempfile::tempdir().unwrap();
    for options in [DbOptions::memory(), persistent(&directory)] {
        let db = block_on(Db::open(options)).unwrap();
        for (index, executor) in EXECUTORS.into_iter().enumerate() {
            let key = format!("{index}");
            let mut futures: Vec<Pin<Box<dyn Future<Output = Result<()>> + Send>>> = Vec::new();
            let mut batch = WriteBatch::new();
            batch.put(&*key, "value");
            let write = db.write(batch, WriteOptions::sync_all());
            futures.push(Box::pin(async { write.await.map(drop) }));
            let flushed = db.clone();
            futures.push(Box::pin(async move { flushed.flush().await }));
            let read = db.clone();
            futures.push(Box::pin(async move { read.get(b"0").await.map(drop) }));
            let named = db.clone();
            futures.push(Box::pin(async move { named.bucket(key).await.map(drop) }));
            // Each starts here, with a waker that wakes nobody; in memory some end here, too.
            futures.retain_mut(|future| {
                let mut context = Context::from_waker(Waker::noop());
                match future.as_mut().poll(&mut context) {
                    Poll::Ready(result) => {
                        result.unwrap();
                        false
                    }
                    Poll::Pending => true,
                }
            });
            assert!(!futures.is_empty(), "a write is pending at its first poll");
            executor.run(
                futures
                    .into_iter()
                    .map(|future| -> Task { Box::pin(async { future.await.unwrap() }) })
                    .collect(),
            );
        }
        assert_eq!(block_on(db.range(&KeyRange::all())).unwrap().count(), 3);
    }
}

#[test]
fn the_last_handle_may_go_inside_a_task() {
    let directory = tempfile::tempdir().unwrap();
    for (opened, executor) in EXECUTORS.into_iter().enumerate() {
        let options = persistent(&directory);
        let found = executor.run_one(async move {
            let db = Db::open(options).await.unwrap();
            let found = rows(db.range(&KeyRange::all()).await.unwrap())
                .await
                .unwrap();
            db.put(format!("{opened}"), "value").await.unwrap();
            found
        });
        assert_eq!(found, opened);
    }
}

fn send<T: Send>(_: T) {}

fn send_and_static<T: Send + 'static>(_: T) {}

/// The scans that a database and a bucket have in common.
macro_rules! scans_are_send {
    ($on:expr, $at:expr, $range:expr) => {
        send($on.range($range));
        send($on.range_at($at, $range));
        send($on.range_reverse($range));
        send($on.range_reverse_at($at, $range));
        send($on.range_lazy($range));
        send($on.range_lazy_at($at, $range));
        send($on.range_lazy_reverse($range));
        send($on.range_lazy_reverse_at($at, $range));
        send($on.prefix("p"));
        send($on.prefix_at($at, "p"));
        send($on.prefix_reverse("p"));
        send($on.prefix_reverse_at($at, "p"));
        send($on.prefix_lazy("p"));
        send($on.prefix_lazy_at($at, "p"));
        send($on.prefix_lazy_reverse("p"));
        send($on.prefix_lazy_reverse_at($at, "p"));
    };
}

/// The point reads and writes that they have in common.
macro_rules! points_are_send {
    ($on:expr, $at:expr, $range:expr) => {
        send($on.get(b"k"));
        send($on.get_at($at, b"k"));
        send($on.get_with(b"k", <[u8]>::len));
        send($on.contains_key(b"k"));
        send($on.multi_get(&[b"k"]));
        send($on.first($range));
        send($on.last($range));
        send($on.put("k", "v"));
        send($on.put_with_options("k", "v", WriteOptions::flush()));
        send($on.delete("k"));
        send($on.delete_with_options("k", WriteOptions::flush()));
        send($on.delete_range($range.clone()));
        send($on.delete_range_with_options($range.clone(), WriteOptions::flush()));
    };
}

fn futures_of_a_database_are_send(db: &Db, at: &Snapshot, range: &KeyRange) {
    send_and_static(Db::open(DbOptions::memory()));
    send_and_static(Db::open("path"));
    send_and_static(db.write(WriteBatch::new(), WriteOptions::buffered()));
    points_are_send!(db, at, range);
    scans_are_send!(db, at, range);
    send(db.default_bucket());
    send(db.bucket("b"));
    send(db.bucket_with_options("b", BucketOptions::default()));
    send(db.drop_bucket("b"));
    send(db.persist(DurabilityMode::Flush));
    send(db.flush());
    send(db.compact_range(range.clone()));
    send(db.compact_range_with_budget(range.clone(), MaintenanceBudget::unbounded()));
    send(db.run_maintenance_with_budget(MaintenanceBudget::unbounded()));
    send(db.verify(drop));
    send(db.checkpoint("path"));
    send(db.refresh());
    let backups = Backups::in_directory("path");
    send(db.backup(&backups, BackupOptions::default()));
    send(backups.list());
    send(backups.verify(BackupId::new(1)));
    send(backups.restore(BackupId::new(1), "path"));
    send(backups.prune(1));
    send(backups.remove(BackupId::new(1)));
    send(db.close());
}

fn futures_of_readers_are_send(
    bucket: &Bucket,
    reader: &BucketReader<'_>,
    at: &Snapshot,
    range: &KeyRange,
) {
    points_are_send!(bucket, at, range);
    scans_are_send!(bucket, at, range);
    send(reader.get(b"k"));
    send(reader.get_owned(b"k"));
    send(reader.get_ref(b"k"));
    send(at.get(bucket, b"k"));
    send(at.range(bucket, range));
    send(at.range_reverse(bucket, range));
    send(at.range_lazy(bucket, range));
    send(at.range_lazy_reverse(bucket, range));
    send(at.prefix(bucket, "p"));
    send(at.prefix_reverse(bucket, "p"));
    send(at.prefix_lazy(bucket, "p"));
    send(at.prefix_lazy_reverse(bucket, "p"));
}

fn futures_of_iterators_are_send(
    iter: &mut Iter,
    lazy: &mut LazyIter,
    row: LazyKeyValue,
    value: LazyValue,
) {
    send(iter.next());
    send(lazy.next());
    send_and_static(row.into_key_value());
    send(value.read());
    send_and_static(value.into_value());
}

fn futures_of_transactions_are_send(mut transaction: Transaction, range: &KeyRange) {
    send(transaction.get(b"k"));
    send(transaction.get_bucket("b", b"k"));
    send(transaction.read_range(range.clone()));
    send(transaction.read_range_bucket("b", range.clone()));
    send_and_static(transaction.commit());
}

#[test]
fn every_future_is_send() {
    // Checked by the compiler: the futures of these bodies are made, and never polled.
    let directory = tempfile::tempdir().unwrap();
    let db = Db::open_sync(persistent(&directory)).unwrap();
    db.put_sync("k", "v").unwrap();
    let snapshot = db.snapshot();
    let all = KeyRange::all();
    let bucket = db.default_bucket_sync().unwrap();
    let mut lazy = db.range_lazy_sync(&all).unwrap();
    let row = lazy.next_sync().unwrap().unwrap();
    let value = row.value.clone();
    futures_of_a_database_are_send(&db, &snapshot, &all);
    futures_of_readers_are_send(&bucket, &bucket.reader(&snapshot).unwrap(), &snapshot, &all);
    futures_of_iterators_are_send(&mut db.range_sync(&all).unwrap(), &mut lazy, row, value);
    futures_of_transactions_are_send(db.transaction(TransactionOptions::default()), &all);
    assert_eq!(db.last_committed_sequence().get(), 1);
}
