//! What only shows with the storage, or the moment, in the test's hand.

use std::pin::pin;
use std::task::{Context, Waker};

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::db::maintenance::{Turn, Unit};
use crate::db::open::on_storage;
use crate::db::{Core, Db};
use crate::error::Error;
use crate::options::DbOptions;

const MODE: Mode = Mode::Blocking;

/// Freezes after each write, and does nothing by itself.
fn options() -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 1,
        max_immutable_memtables: 100,
        ..DbOptions::new("unused")
    }
}

fn open(storage: &Storage) -> Db {
    block_on(on_storage(options(), storage.clone(), MODE)).expect("the database")
}

fn flush_one(core: &Core) -> crate::error::Result<Unit> {
    let trees = core.trees.load();
    let tree = trees.by_name("default").expect("the default bucket");
    block_on(core.flush_oldest(tree, Turn::Wait, MODE))
}

#[test]
fn close_waits_for_jobs_and_none_begins_after_it() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_sync("k", "v").unwrap();
    let core = db.core();
    let persistent = core.persistent.as_ref().unwrap();
    {
        let job = block_on(persistent.compacting.take());
        let mut close = pin!(core.close(MODE));
        let mut second = pin!(core.close(MODE));
        let mut context = Context::from_waker(Waker::noop());
        assert!(close.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(block_on(storage.lock(MODE, "LOCK")).is_err());
        drop(job);
        assert!(close.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
    let names = block_on(storage.list(MODE)).unwrap();
    assert!(matches!(flush_one(core), Err(Error::Closed)));
    assert_eq!(block_on(storage.list(MODE)).unwrap(), names);
    drop(block_on(storage.lock(MODE, "LOCK")).unwrap());
}
