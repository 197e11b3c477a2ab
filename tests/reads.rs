//! Reads of a directory of the host give the same rows however files are read and whoever reads them, and a warm
//! one allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, FileReads, KeyRange, Result, RuntimeOptions,
    block_on,
};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "an allocator that counts has to be one")]
// SAFETY: all is the system's allocator's work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROWS: u32 = 2_000;

fn key(number: u32) -> String {
    format!("key {number:06}")
}

fn value(number: u32) -> String {
    format!("value {number} {}", "x".repeat(number as usize % 300))
}

/// Every way to open a directory.
fn ways(path: &Path) -> Vec<DbOptions> {
    let mut ways = Vec::new();
    for runtime in [
        RuntimeOptions::native_threads(),
        RuntimeOptions::platform_io(),
    ] {
        for file_reads in [FileReads::Mapped, FileReads::Copied] {
            ways.push(DbOptions {
                runtime,
                file_reads,
                read_rings: 2,
                ..DbOptions::new(path)
            });
        }
    }
    ways
}

fn fill(path: &Path, compression: CompressionProfile) -> Result<()> {
    let mut options = DbOptions::new(path);
    options.default_bucket_options = BucketOptions {
        compression,
        ..BucketOptions::default()
    };
    let db = Db::open_sync(options)?;
    let mut batch = trine_kv::WriteBatch::new();
    for number in 0..ROWS {
        batch.put(key(number), value(number));
    }
    db.write_sync(batch, trine_kv::WriteOptions::default())?;
    db.flush_sync()
}

/// Takes the pages of all files out of memory, where the host can be asked to.
#[cfg_attr(
    target_os = "linux",
    expect(
        clippy::disallowed_methods,
        reason = "what the page cache holds is nothing that the engine is asked"
    )
)]
fn forget(path: &Path) {
    #[cfg(target_os = "linux")]
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if let Ok(file) = std::fs::File::open(entry.path()) {
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}

fn rows(db: &Db) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let rows = db.range_sync(&KeyRange::all())?;
    rows.map(|row| row.map(|row| (row.key, row.value)))
        .collect()
}

#[test]
fn every_way_to_read_gives_the_same_rows() -> Result<()> {
    for compression in [CompressionProfile::None, CompressionProfile::Fast] {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), compression)?;
        let expected: Vec<_> = (0..ROWS)
            .map(|number| (key(number).into_bytes(), value(number).into_bytes()))
            .collect();
        let numbers: Vec<_> = (0..ROWS + 100).step_by(37).rev().collect();
        let keys: Vec<_> = numbers.iter().copied().map(key).collect();
        let found = |number: u32| (number < ROWS).then(|| value(number).into_bytes());
        let values: Vec<_> = numbers.iter().copied().map(found).collect();
        for options in ways(directory.path()) {
            forget(directory.path());
            let db = Db::open_sync(options.clone())?;
            assert_eq!(block_on(db.multi_get(&keys))?, values);
            assert_eq!(block_on(db.get(b"key 001234"))?, found(1234));
            drop(db);
            forget(directory.path());
            let db = Db::open_sync(options.clone())?;
            assert_eq!(db.multi_get_sync(&keys)?, values);
            assert_eq!(db.get_sync(b"key 001234")?, found(1234));
            drop(db);
            forget(directory.path());
            assert_eq!(rows(&Db::open_sync(options)?)?, expected);
        }
    }
    Ok(())
}

#[test]
fn a_read_that_is_dropped_in_flight_disturbs_nobody() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), CompressionProfile::None)?;
    for options in ways(directory.path()) {
        forget(directory.path());
        let db = Db::open_sync(options)?;
        for number in (0..ROWS).step_by(53) {
            let key = key(number);
            let mut get = pin!(db.get(key.as_bytes()));
            let _ = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        let keys: Vec<_> = (0..ROWS).step_by(7).map(key).collect();
        {
            let mut get = pin!(db.multi_get(&keys));
            let _ = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        }
        for number in (0..ROWS).step_by(53) {
            let found = block_on(db.get(key(number).as_bytes()))?;
            assert_eq!(found, Some(value(number).into_bytes()));
        }
    }
    Ok(())
}

#[test]
fn the_statistics_say_whether_the_system_reads_by_itself() -> Result<()> {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), CompressionProfile::None)?;
    let threads = Db::open_sync(directory.path())?;
    assert!(!threads.stats().storage_uses_platform_async_io);
    drop(threads);
    let options = DbOptions {
        runtime: RuntimeOptions::platform_io(),
        ..DbOptions::new(directory.path())
    };
    forget(directory.path());
    let db = Db::open_sync(options)?;
    for number in 0..ROWS {
        let found = block_on(db.get(key(number).as_bytes()))?;
        assert_eq!(found, Some(value(number).into_bytes()));
    }
    let stats = db.stats();
    // Without rings there is nothing that the system could have read; with them it may all have been in memory.
    assert!(stats.storage_uses_platform_async_io || stats.storage_platform_async_io_tasks == 0);
    Ok(())
}

#[test]
fn a_warm_borrowed_read_allocates_nothing() -> Result<()> {
    for compression in [CompressionProfile::None, CompressionProfile::Fast] {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path(), compression)?;
        let db = Db::open_sync(directory.path())?;
        let snapshot = db.snapshot();
        let bucket = db.default_bucket_sync()?;
        let reader = bucket.reader(&snapshot)?;
        let keys: Vec<_> = (0..ROWS).map(key).collect();
        let read = || -> Result<usize> {
            let before = ALLOCATIONS.get();
            for key in &keys {
                assert!(reader.get_ref_sync(key.as_bytes())?.is_some());
                assert!(block_on(reader.get_ref(key.as_bytes()))?.is_some());
            }
            Ok(ALLOCATIONS.get() - before)
        };
        read()?;
        let allocated = read()?;
        // The epoch collector may take a bag of its own now and then.
        assert!(allocated <= 2, "{allocated} allocations");
    }
    Ok(())
}
