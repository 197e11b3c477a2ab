//! Writes that maintenance holds up. Nothing here waits for a clock: the test is the worker.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::db::Db;
use crate::db::maintenance::{Turn, Unit};
use crate::db::open::on_storage;
use crate::error::Error;
use crate::options::{DbOptions, DurabilityMode};

const MODE: Mode = Mode::Blocking;

/// Freezes at each write and says that it has workers, but the test stops them.
fn without_help(storage: &Storage) -> Db {
    let options = DbOptions {
        write_buffer_bytes: 1,
        max_immutable_memtables: 2,
        durability: DurabilityMode::Buffered,
        ..DbOptions::new("unused")
    };
    let db = block_on(on_storage(options, storage.clone(), MODE)).expect("the database");
    let persistent = db.core().persistent.as_ref().expect("storage");
    persistent.workers.stop(&db.core().maintenance);
    db
}

fn flush_one(db: &Db) -> Unit {
    let trees = db.core().trees.load();
    let tree = trees.by_name("default").expect("the default bucket");
    block_on(db.core().flush_oldest(tree, Turn::Wait, MODE)).unwrap()
}

fn fill(db: &Db) {
    for key in ["a", "b"] {
        db.put_sync(key, "v").unwrap();
    }
}

#[test]
fn a_write_that_finds_no_room_waits_without_a_thread_and_goes_on_after_a_flush() {
    let db = without_help(&Storage::memory());
    fill(&db);
    let mut write = pin!(db.put("c", "v"));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(write.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(db.last_committed_sequence().get(), 2);
    assert_eq!(
        db.get_sync(b"a").unwrap().as_deref(),
        Some(&b"v"[..]),
        "reads do not wait"
    );
    assert_eq!(flush_one(&db), Unit::Done);
    block_on(write).unwrap();
    let stalls = db.stats().write_stalls;
    assert_eq!(stalls.stops, 1);
    assert!(stalls.longest_micros >= stalls.stop_micros);
}

#[test]
fn a_write_that_waits_hears_of_a_failure_and_of_the_end() {
    let storage = Storage::memory();
    let db = without_help(&storage);
    fill(&db);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut write = pin!(db.put("c", "v"));
        assert!(write.as_mut().poll(&mut context).is_pending());
        db.core().note_background_failure(&Error::ReadOnly);
        let Poll::Ready(Err(Error::Io(error))) = write.as_mut().poll(&mut context) else {
            panic!("the failure is told");
        };
        assert!(error.to_string().contains("background maintenance failed"));
    }
    let mut write = pin!(db.put("c", "v"));
    assert!(write.as_mut().poll(&mut context).is_pending());
    db.close_sync();
    assert!(matches!(
        write.as_mut().poll(&mut context),
        Poll::Ready(Err(Error::Closed))
    ));
}

#[test]
fn a_bucket_that_is_dropped_lets_the_writes_go_that_wait_for_it() {
    let db = without_help(&Storage::memory());
    let bucket = db.bucket_sync("full").unwrap();
    for key in ["a", "b"] {
        bucket.put_sync(key, "v").unwrap();
    }
    let mut write = pin!(bucket.put("c", "v"));
    let mut context = Context::from_waker(Waker::noop());
    assert!(write.as_mut().poll(&mut context).is_pending());
    db.drop_bucket_sync("full").unwrap();
    assert!(matches!(block_on(write), Err(Error::BucketMissing { .. })));
}

#[test]
fn other_buckets_are_not_held_up() {
    let db = without_help(&Storage::memory());
    fill(&db);
    let other = db.bucket_sync("other").unwrap();
    other.put_sync("k", "v").unwrap();
    assert_eq!(db.stats().write_stalls.stops, 0);
}
