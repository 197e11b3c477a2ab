//! Background work done in the foreground: flush, compaction, blob garbage collection, Level Merge.
//!
//! Each iteration works on a database of its own, made outside the measured time.

#[macro_use]
#[path = "common/both.rs"]
mod both;
mod common;

use criterion::{criterion_group, criterion_main};

/// Enough to fill a few blocks of a few tables, few enough to be made for each iteration.
const ROWS: u64 = 10_000;
const LARGE_ROWS: u64 = 200;
const LARGE_BYTES: usize = 16 << 10;

both! {
    use std::path::Path;

    both!(@load);

    /// Nothing happens by itself.
    fn by_hand(path: &Path, bucket: BucketOptions) -> DbOptions {
        DbOptions {
            background_worker_count: 0,
            blob_gc_min_file_bytes: 1,
            default_bucket_options: bucket,
            ..buffered(path)
        }
    }

    /// Measures `work` on what `prepare` leaves.
    fn bench(criterion: &mut Criterion, name: &str, options: &BucketOptions, prepare: fn(&Db), work: fn(&Db)) {
        group(criterion, name).bench_function(NAME, |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let home = tempfile::tempdir().expect("a directory");
                        let db = Db::open_sync(by_hand(home.path(), options.clone())).expect("opened");
                        prepare(&db);
                        let took = timed(|| work(&db));
                        db.close_sync();
                        took
                    })
                    .sum()
            });
        });
    }

    fn flush(db: &Db) {
        db.flush_sync().expect("flushed");
    }

    fn compact(db: &Db) {
        db.compact_range_sync(KeyRange::all()).expect("compacted");
    }

    /// Four overlapping tables.
    fn tables(db: &Db) {
        for _ in 0..4 {
            load(db, super::ROWS, VALUE_BYTES);
            flush(db);
        }
    }

    fn large(db: &Db) {
        load(db, super::LARGE_ROWS, super::LARGE_BYTES);
        flush(db);
    }

    /// Blob files of which three quarters are stale.
    fn stale_blobs(db: &Db) {
        for _ in 0..4 {
            large(db);
        }
    }

    pub(crate) fn all(criterion: &mut Criterion) {
        let plain = BucketOptions::default();
        let separated = plain.clone().with_blob_threshold_bytes(4096);
        let load_rows = |db: &Db| load(db, super::ROWS, VALUE_BYTES);
        let load_large = |db: &Db| load(db, super::LARGE_ROWS, super::LARGE_BYTES);
        bench(criterion, "maintenance/flush 10,000 rows", &plain, load_rows, flush);
        bench(criterion, "maintenance/compact 40,000 rows", &plain, tables, compact);
        bench(criterion, "maintenance/flush separated values", &separated, load_large, flush);
        let collected = separated.clone().with_blob_level_merge_policy(BlobLevelMergePolicy::Disabled);
        bench(criterion, "maintenance/blob GC", &collected, stale_blobs, compact);
        let merged = separated.with_blob_level_merge_policy(BlobLevelMergePolicy::Always);
        bench(criterion, "maintenance/level merge", &merged, stale_blobs, compact);
    }
}

criterion_group!(benches, this::all, baseline::all);
criterion_main!(benches);
