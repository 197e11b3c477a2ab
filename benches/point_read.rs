//! Point reads: hot, lent, of absent keys, beside a writer, cold, and under each table option.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use criterion::{criterion_group, criterion_main};

both! {
    both!(@loaded);

    pub(crate) fn hot(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        let db = loaded(buffered(home.path()), ROWS, VALUE_BYTES);
        let mut random = Random::new(1);
        group(criterion, "point_read/get").bench_function(NAME, |bencher| {
            bencher.iter(|| db.get_sync(&key(random.below(ROWS))).expect("read").expect("found"));
        });
        group(criterion, "point_read/missing").bench_function(NAME, |bencher| {
            bencher.iter(|| db.get_sync(&absent_key(random.below(ROWS))).expect("read"));
        });
        let snapshot = db.snapshot();
        let bucket = db.default_bucket_sync().expect("a bucket");
        let reader = bucket.reader(&snapshot).expect("a reader");
        group(criterion, "point_read/reader").bench_function(NAME, |bencher| {
            bencher.iter(|| reader.get_sync(&key(random.below(ROWS))).expect("read").expect("found"));
        });
    }

    pub(crate) fn beside_writes(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        let db = loaded(buffered(home.path()), ROWS, VALUE_BYTES);
        let done = super::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random::new(1);
                while !done.load(super::Ordering::Relaxed) {
                    for _ in 0..10 {
                        let row = random.below(ROWS);
                        db.put_sync(key(row), value(row, VALUE_BYTES)).expect("put");
                    }
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            });
            let bucket = db.default_bucket_sync().expect("a bucket");
            let mut random = Random::new(1);
            group(criterion, "point_read/snapshot beside writes").bench_function(NAME, |bencher| {
                bencher.iter(|| {
                    let snapshot = db.snapshot();
                    snapshot.get_sync(&bucket, &key(random.below(ROWS))).expect("read").expect("found")
                });
            });
            done.store(true, super::Ordering::Relaxed);
        });
    }

    /// Each sample opens the database anew, after its files left the page cache.
    pub(crate) fn cold(criterion: &mut Criterion) {
        const READS: u64 = 200;
        let home = tempfile::tempdir().expect("a directory");
        loaded(buffered(home.path()), ROWS, VALUE_BYTES).close_sync();
        group(criterion, "point_read/cold").bench_function(NAME, |bencher| {
            bencher.iter_custom(|times| {
                let mut took = std::time::Duration::ZERO;
                let mut left = times;
                while left > 0 {
                    forget_pages(home.path());
                    let db = Db::open_sync(buffered(home.path())).expect("opened");
                    let mut random = Random::new(1);
                    let reads = left.min(READS);
                    took += timed(|| {
                        for _ in 0..reads {
                            db.get_sync(&key(random.below(ROWS))).expect("read").expect("found");
                        }
                    });
                    left -= reads;
                    db.close_sync();
                }
                took
            });
        });
    }

    pub(crate) fn options(criterion: &mut Criterion) {
        let codec = |compression| BucketOptions { compression, ..BucketOptions::default() };
        let index = |index_search_policy| BucketOptions { index_search_policy, ..BucketOptions::default() };
        for (name, options) in [
            ("codec none", codec(CompressionProfile::None)),
            ("codec fast", codec(CompressionProfile::Fast)),
            ("index linear", index(IndexSearchPolicy::Linear)),
            ("index binary", index(IndexSearchPolicy::Binary)),
            ("index auto", index(IndexSearchPolicy::Auto)),
        ] {
            let home = tempfile::tempdir().expect("a directory");
            let db = loaded(
                DbOptions { default_bucket_options: options, ..buffered(home.path()) },
                ROWS / 4,
                VALUE_BYTES,
            );
            let mut random = Random::new(1);
            group(criterion, &format!("point_read/{name}")).bench_function(NAME, |bencher| {
                bencher.iter(|| db.get_sync(&key(random.below(ROWS / 4))).expect("read").expect("found"));
            });
        }
    }

    /// Keys that differ only at their end.
    pub(crate) fn long_prefix(criterion: &mut Criterion) {
        const ROWS: u64 = 20_000;
        let long = |row: u64| {
            let mut key = vec![b'p'; 200];
            key.extend_from_slice(&row.to_be_bytes());
            key
        };
        let home = tempfile::tempdir().expect("a directory");
        let db = Db::open_sync(buffered(home.path())).expect("opened");
        let mut batch = WriteBatch::new();
        for row in 0..ROWS {
            batch.put(long(row), value(row, VALUE_BYTES));
        }
        db.write_sync(batch, WriteOptions::buffered()).expect("written");
        db.flush_sync().expect("flushed");
        let mut random = Random::new(1);
        group(criterion, "point_read/long shared prefix").bench_function(NAME, |bencher| {
            bencher.iter(|| db.get_sync(&long(random.below(ROWS))).expect("read").expect("found"));
        });
    }
}

/// Lent from where it lies, which 0.1.0 cannot: its counterpart is `point_read/reader`.
fn lent(criterion: &mut criterion::Criterion) {
    use common::{ROWS, Random, VALUE_BYTES, group, key};
    let home = tempfile::tempdir().expect("a directory");
    let db = this::loaded(this::buffered(home.path()), ROWS, VALUE_BYTES);
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().expect("a bucket");
    let reader = bucket.reader(&snapshot).expect("a reader");
    let mut random = Random::new(1);
    group(criterion, "point_read/get_ref").bench_function(this::NAME, |bencher| {
        bencher.iter(|| {
            let value = reader
                .get_ref_sync(&key(random.below(ROWS)))
                .expect("read")
                .expect("found");
            value.len()
        });
    });
}

criterion_group!(
    benches,
    this::hot,
    baseline::hot,
    lent,
    this::beside_writes,
    baseline::beside_writes,
    this::cold,
    baseline::cold,
    this::options,
    baseline::options,
    this::long_prefix,
    baseline::long_prefix,
);
criterion_main!(benches);
