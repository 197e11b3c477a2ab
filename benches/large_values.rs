//! Large values: in the tables and in blob files, read whole, scanned, scanned lazily.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use criterion::{Throughput, criterion_group, criterion_main};

const ROWS: u64 = 500;
const BYTES: usize = 64 << 10;

both! {
    both!(@loaded);

    pub(crate) fn all(criterion: &mut Criterion) {
        let inline = BucketOptions::default().with_blob_threshold_bytes(1 << 20);
        let separated = BucketOptions::default().with_blob_threshold_bytes(4096);
        for (place, bucket) in [("inline", inline), ("separated", separated)] {
            let home = tempfile::tempdir().expect("a directory");
            let options = DbOptions { default_bucket_options: bucket, ..buffered(home.path()) };
            let db = loaded(options, super::ROWS, super::BYTES);
            let mut random = Random::new(1);
            group(criterion, &format!("large_values/get, {place}")).bench_function(NAME, |bencher| {
                bencher.iter(|| {
                    let row = random.below(super::ROWS);
                    let found = db.get_sync(&key(row)).expect("read").expect("found");
                    assert_eq!(found.len(), super::BYTES);
                });
            });
            let mut scans = group(criterion, &format!("large_values/scan, {place}"));
            scans.throughput(super::Throughput::Elements(super::ROWS));
            scans.bench_function(NAME, |bencher| {
                bencher.iter(|| {
                    let rows = db.range_sync(&KeyRange::all()).expect("a scan");
                    let bytes: usize = rows.map(|row| row.expect("a row").value.len()).sum();
                    assert_eq!(bytes as u64, super::ROWS * super::BYTES as u64);
                });
            });
            drop(scans);
            let mut scans = group(criterion, &format!("large_values/lazy keys, {place}"));
            scans.throughput(super::Throughput::Elements(super::ROWS));
            scans.bench_function(NAME, |bencher| {
                bencher.iter(|| {
                    let rows = db.range_lazy_sync(&KeyRange::all()).expect("a scan");
                    assert_eq!(count(rows), super::ROWS);
                });
            });
            drop(scans);
            let mut next = 0;
            group(criterion, &format!("large_values/put, {place}")).bench_function(NAME, |bencher| {
                let bytes = value(1, super::BYTES);
                bencher.iter(|| {
                    next = (next + 1) % super::ROWS;
                    db.put_sync(key(next), bytes.as_slice()).expect("put");
                });
            });
            db.close_sync();
        }
    }
}

criterion_group!(benches, this::all, baseline::all);
criterion_main!(benches);
