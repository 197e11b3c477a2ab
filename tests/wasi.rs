//! What WASI adds to the contract. `ci/wasm.sh` runs this, with the suites that run anywhere, under two hosts.
#![cfg(target_os = "wasi")]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use trine_kv::{Db, DbOptions, DurabilityMode, Error, KeyRange, RuntimeMode, WriteOptions};

mod common {
    pub(crate) mod executor;
    pub(crate) mod place;
}
use common::executor::block_on;
use common::place;

#[test]
fn opens_and_works_asynchronously_on_the_calling_thread() {
    let directory = place::directory();
    let options = place::options(directory.path());
    assert_eq!(options.runtime.mode, RuntimeMode::Inline);
    block_on(async {
        let db = Db::open(options.clone()).await.unwrap();
        db.put(b"key", b"value").await.unwrap();
        db.flush().await.unwrap();
        db.compact_range(KeyRange::all()).await.unwrap();
        assert_eq!(
            db.get(b"key").await.unwrap().as_deref(),
            Some(&b"value"[..])
        );
        db.close().await.unwrap();
    });
    let db = Db::open_sync(options.read_only()).unwrap();
    assert_eq!(db.get_sync(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn promises_nothing_beyond_the_host() {
    let directory = place::directory();
    let db = Db::open_sync(place::options(directory.path())).unwrap();
    for honoured in [WriteOptions::buffered(), WriteOptions::flush()] {
        db.put_with_options_sync(b"key", b"value", honoured)
            .unwrap();
    }
    for mode in [DurabilityMode::SyncData, DurabilityMode::SyncAll] {
        let options = WriteOptions {
            durability: mode,
            ..WriteOptions::buffered()
        };
        let refused = db.put_with_options_sync(b"key", b"other", options);
        assert!(
            matches!(refused, Err(Error::UnsupportedDurability { requested }) if requested == mode)
        );
    }
    assert_eq!(db.get_sync(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[test]
fn browser_storage_is_refused() {
    let refused = Db::open_sync(DbOptions::browser_persistent());
    assert!(matches!(refused, Err(Error::UnsupportedBackend { .. })));
}

/// Run in process after process on one directory, with `TRINE_PROCESS` counting them from 1: each finds
/// what all before it wrote, though none of them closes the database.
#[test]
fn a_process_finds_what_those_before_it_wrote() {
    let process: u32 = std::env::var("TRINE_PROCESS").map_or(1, |text| text.parse().unwrap());
    let db = Db::open_sync(DbOptions::wasi_persistent("/data/processes")).unwrap();
    let rows = db
        .range_sync(&KeyRange::all())
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    assert_eq!(rows.len(), usize::try_from(process - 1).unwrap());
    db.put_sync(process.to_be_bytes(), vec![b'v'; 5000])
        .unwrap();
    if process.is_multiple_of(2) {
        db.flush_sync().unwrap();
    }
    std::mem::forget(db);
}
