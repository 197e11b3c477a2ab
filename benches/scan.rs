//! Scans: all rows both ways, by prefix, short ones from anywhere, lazy, lent.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use criterion::{Throughput, criterion_group, criterion_main};
use trine_kv::Direction;

both! {
    both!(@loaded);

    pub(crate) fn scans(criterion: &mut Criterion) {
        let home = tempfile::tempdir().expect("a directory");
        let db = loaded(buffered(home.path()), ROWS, VALUE_BYTES);
        let mut scans = group(criterion, "scan/forward");
        scans.throughput(super::Throughput::Elements(ROWS));
        scans.bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let rows = db.range_sync(&KeyRange::all()).expect("a scan");
                assert_eq!(count(rows), ROWS);
            });
        });
        drop(scans);
        let mut scans = group(criterion, "scan/reverse");
        scans.throughput(super::Throughput::Elements(ROWS));
        scans.bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let rows = db.range_reverse_sync(&KeyRange::all()).expect("a scan");
                assert_eq!(count(rows), ROWS);
            });
        });
        drop(scans);
        let mut random = Random::new(1);
        let mut scans = group(criterion, "scan/prefix of 128 rows");
        scans.throughput(super::Throughput::Elements(128));
        scans.bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let start = key(random.below(ROWS / 128) * 128);
                let rows = db.prefix_sync(&start[..7]).expect("a scan");
                assert_eq!(count(rows), 128);
            });
        });
        drop(scans);
        group(criterion, "scan/seek and next 10").bench_function(NAME, |bencher| {
            bencher.iter(|| {
                let start = random.below(ROWS - 10);
                let range = KeyRange::half_open(key(start), key(start + 10));
                let rows = db.range_sync(&range).expect("a scan");
                assert_eq!(count(rows), 10);
            });
        });
    }
}

/// Rows lent where they lie, which 0.1.0 cannot: its counterparts are the rows above.
fn lent(criterion: &mut criterion::Criterion) {
    use common::{ROWS, Random, VALUE_BYTES, key};
    use trine_kv::KeyRange;
    let home = tempfile::tempdir().expect("a directory");
    let db = this::loaded(this::buffered(home.path()), ROWS, VALUE_BYTES);
    for (name, direction) in [
        ("forward", Direction::Forward),
        ("reverse", Direction::Reverse),
    ] {
        let mut group = common::group(criterion, &format!("scan/{name}, lent"));
        group.throughput(Throughput::Elements(ROWS));
        group.bench_function(this::NAME, |bencher| {
            bencher.iter(|| {
                let mut cursor = db.cursor(&KeyRange::all(), direction).expect("a cursor");
                let mut rows = 0;
                while cursor.advance_sync().expect("a move") {
                    rows += u64::from(!cursor.value().is_empty());
                }
                assert_eq!(rows, ROWS);
            });
        });
    }
    let mut random = Random::new(1);
    common::group(criterion, "scan/seek and next 10, lent").bench_function(this::NAME, |bencher| {
        bencher.iter(|| {
            let start = random.below(ROWS - 10);
            let range = KeyRange::half_open(key(start), key(start + 10));
            let mut cursor = db.cursor(&range, Direction::Forward).expect("a cursor");
            let mut rows = 0;
            while cursor.advance_sync().expect("a move") {
                rows += 1;
            }
            assert_eq!(rows, 10);
        });
    });
}

criterion_group!(benches, this::scans, baseline::scans, lent);
criterion_main!(benches);
