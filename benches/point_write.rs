//! Commits: each durability, one thread and eight, batches, transactions.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use criterion::{criterion_group, criterion_main};

both! {
    both!(@load);

    pub(crate) fn puts(criterion: &mut Criterion) {
        for (name, durability) in [
            ("buffered", DurabilityMode::Buffered),
            ("flush", DurabilityMode::Flush),
            ("sync data", DurabilityMode::SyncData),
            ("sync all", DurabilityMode::SyncAll),
        ] {
            for threads in [1, 8] {
                let home = tempfile::tempdir().expect("a directory");
                let options = DbOptions::new(home.path()).with_durability(durability);
                let db = Db::open_sync(options).expect("opened");
                let group_name = format!("point_write/put {name}, {threads} at once");
                group(criterion, &group_name).bench_function(NAME, |bencher| {
                    let mut round = 0;
                    bencher.iter_custom(|operations| {
                        round += 1;
                        timed_threads(threads, operations, |thread, share| {
                            for index in 0..share {
                                let row = scatter((round << 32) | (thread << 24) | index);
                                db.put_sync(key(row), value(row, VALUE_BYTES)).expect("put");
                            }
                        })
                    });
                });
                db.close_sync();
            }
        }
    }

    pub(crate) fn batches(criterion: &mut Criterion) {
        for (name, durability, rows) in [
            ("100 rows, sync all", DurabilityMode::SyncAll, 100),
            ("1,000 rows, buffered", DurabilityMode::Buffered, 1000),
        ] {
            let home = tempfile::tempdir().expect("a directory");
            let options = DbOptions::new(home.path()).with_durability(durability);
            let db = Db::open_sync(options).expect("opened");
            let mut next = 0;
            group(criterion, &format!("point_write/batch of {name}")).bench_function(NAME, |bencher| {
                bencher.iter(|| {
                    let mut batch = WriteBatch::new();
                    for _ in 0..rows {
                        next += 1;
                        batch.put(key(scatter(next)), value(next, VALUE_BYTES));
                    }
                    db.write_sync(batch, WriteOptions::default()).expect("written")
                });
            });
            db.close_sync();
        }
    }

    pub(crate) fn transactions(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        let db = Db::open_sync(buffered(home.path())).expect("opened");
        load(&db, 1000, VALUE_BYTES);
        let mut random = Random::new(1);
        group(criterion, "point_write/transaction commits").bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let row = random.below(1000);
                let mut transaction = db.transaction(TransactionOptions::default());
                let read = transaction.get_sync(&key(row)).expect("read").expect("found");
                transaction.put(key(row), read);
                transaction.commit_sync().expect("committed")
            });
        });
        group(criterion, "point_write/transaction conflicts").bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let row = random.below(1000);
                let mut transaction = db.transaction(TransactionOptions::default());
                let read = transaction.get_sync(&key(row)).expect("read").expect("found");
                db.put_sync(key(row), read.as_slice()).expect("put");
                transaction.put(key(row), read);
                assert!(matches!(transaction.commit_sync(), Err(Error::Conflict { .. })));
            });
        });
        db.close_sync();
    }
}

criterion_group!(
    benches,
    this::puts,
    baseline::puts,
    this::batches,
    baseline::batches,
    this::transactions,
    baseline::transactions,
);
criterion_main!(benches);
