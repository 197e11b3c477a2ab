//! A warm scan by cursor allocates nothing for a row.
//!
//! The unsafe code only counts and passes on to the system's allocator:
//! 1. Every call hands its arguments on unchanged, so the caller's promises are the system's.
#![cfg(not(target_family = "wasm"))]
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, Direction, KeyRange, Result, RowCursor,
};
use trine_platform::block_on;

thread_local! {
    /// How often this thread has allocated.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that is ending has no counter any more, and nobody who would read it.
    ALLOCATIONS
        .try_with(|allocations| allocations.set(allocations.get() + 1))
        .unwrap_or(());
}

// SAFETY: as the system's allocator (1).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised (1).
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised (1).
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised (1).
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: u32 = 5000;

fn put_rows(db: &Db) {
    for number in 0..ROWS {
        db.put_sync(number.to_be_bytes(), [7; 100]).unwrap();
    }
}

fn walk_sync(cursor: &mut RowCursor) -> Result<u32> {
    let mut rows = 0;
    while cursor.advance_sync()? {
        rows += u32::from(cursor.value().len() == 100);
    }
    Ok(rows)
}

fn walk_async(cursor: &mut RowCursor) -> Result<u32> {
    block_on(async {
        let mut rows = 0;
        while cursor.advance().await? {
            rows += u32::from(cursor.value().len() == 100);
        }
        Ok(rows)
    })
}

/// How often a walk over all rows allocates.
fn allocations(db: &Db, direction: Direction, walk: fn(&mut RowCursor) -> Result<u32>) -> usize {
    let mut cursor = db.cursor(&KeyRange::all(), direction).unwrap();
    let before = ALLOCATIONS.get();
    let rows = walk(&mut cursor).unwrap();
    let allocations = ALLOCATIONS.get() - before;
    assert_eq!(rows, ROWS);
    allocations
}

fn warm_walks_do_not_allocate(db: &Db) {
    for direction in [Direction::Forward, Direction::Reverse] {
        for walk in [walk_sync, walk_async] {
            allocations(db, direction, walk);
            // For the buffers of the cursor, which grow to the rows of a run, and a waker; not for any of the rows.
            let allocations = allocations(db, direction, walk);
            assert!(allocations <= 8, "{direction:?}: {allocations}");
        }
    }
}

#[test]
fn a_walk_over_tables_and_memtables_allocates_nothing_for_a_row() {
    let place = tempfile::tempdir().unwrap();
    let options = DbOptions {
        background_worker_count: 0,
        target_table_bytes: 100_000,
        durability: trine_kv::DurabilityMode::Buffered,
        ..DbOptions::new(place.path()).with_default_bucket_options(BucketOptions {
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        })
    };
    let db = Db::open_sync(options).unwrap();
    put_rows(&db);
    db.flush_sync().unwrap();
    warm_walks_do_not_allocate(&db);
    db.compact_range_sync(KeyRange::all()).unwrap();
    warm_walks_do_not_allocate(&db);
    // A table of level 0, and a memtable, in front of the level below.
    for number in 0..ROWS {
        if number.is_multiple_of(3) {
            db.put_sync(number.to_be_bytes(), [8; 100]).unwrap();
        }
        if number == ROWS / 2 {
            db.flush_sync().unwrap();
        }
    }
    warm_walks_do_not_allocate(&db);
}

#[test]
fn a_walk_in_memory_allocates_nothing_for_a_row() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    put_rows(&db);
    warm_walks_do_not_allocate(&db);
}
