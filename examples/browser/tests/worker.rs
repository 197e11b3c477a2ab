//! Browser storage in a dedicated worker of a real browser: what it adds to the contract.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

use trine_kv::{Db, DbOptions, DurabilityMode, Error, KeyRange, RuntimeMode, WriteOptions};
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

#[path = "common/place.rs"]
mod place;

wasm_bindgen_test_configure!(run_in_dedicated_worker);

async fn rows(db: &Db) -> usize {
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    rows.collect::<Result<Vec<_>, _>>().unwrap().len()
}

#[wasm_bindgen_test]
async fn what_was_committed_is_there_after_reopening_with_and_without_closing() {
    place::clear().await;
    for round in 0..6_u32 {
        let db = Db::open(DbOptions::browser_persistent()).await.unwrap();
        assert_eq!(db.options().runtime.mode, RuntimeMode::Inline);
        assert_eq!(rows(&db).await, round as usize);
        db.put(round.to_be_bytes(), vec![b'v'; 5000]).await.unwrap();
        if round % 3 == 0 {
            db.flush().await.unwrap();
        }
        if round % 2 == 0 {
            db.close().await.unwrap();
        }
    }
}

#[wasm_bindgen_test]
async fn flushes_compactions_and_synchronous_calls_work() {
    place::clear().await;
    let options = DbOptions {
        write_buffer_bytes: 20_000,
        target_table_bytes: 20_000,
        ..DbOptions::browser_persistent()
    };
    let db = Db::open(options.clone()).await.unwrap();
    for number in 0..2000_u32 {
        db.put_sync(number.to_be_bytes(), number.to_le_bytes().repeat(20))
            .unwrap();
    }
    db.compact_range(KeyRange::all()).await.unwrap();
    assert!(db.stats().total_tables > 4, "{}", db.stats());
    db.close().await.unwrap();
    let db = Db::open(options).await.unwrap();
    for number in (0..2000_u32).rev() {
        let value = db.get(&number.to_be_bytes()).await.unwrap();
        assert_eq!(value, Some(number.to_le_bytes().repeat(20)));
    }
    db.verify(|_| {}).await.unwrap();
    db.close().await.unwrap();
}

#[wasm_bindgen_test]
async fn a_second_opening_is_refused_until_the_first_is_closed() {
    place::clear().await;
    let first = Db::open(DbOptions::browser_persistent()).await.unwrap();
    let second = Db::open(DbOptions::browser_persistent()).await;
    let message = second.unwrap_err().to_string();
    assert!(message.contains("lock is already held"), "{message}");
    first.put(b"key", b"value").await.unwrap();
    first.close().await.unwrap();
    assert!(matches!(first.get(b"key").await, Err(Error::Closed)));
    let second = Db::open(DbOptions::browser_persistent()).await.unwrap();
    assert_eq!(second.get(b"key").await.unwrap(), Some(b"value".to_vec()));
}

#[wasm_bindgen_test]
async fn a_dropped_database_gives_its_files_back() {
    place::clear().await;
    for _ in 0..100 {
        drop(Db::open(DbOptions::browser_persistent()).await.unwrap());
    }
}

#[wasm_bindgen_test]
async fn reading_only_makes_nothing_and_changes_nothing() {
    place::clear().await;
    let missing = Db::open(DbOptions::browser_persistent_read_only()).await;
    assert!(matches!(missing, Err(Error::InvalidOptions { .. })));
    let db = Db::open(DbOptions::browser_persistent()).await.unwrap();
    db.put(b"key", b"value").await.unwrap();
    db.close().await.unwrap();
    let reader = Db::open(DbOptions::browser_persistent_read_only())
        .await
        .unwrap();
    assert_eq!(reader.get(b"key").await.unwrap(), Some(b"value".to_vec()));
    assert!(matches!(
        reader.put(b"key", b"other").await,
        Err(Error::ReadOnly)
    ));
}

#[wasm_bindgen_test]
async fn nothing_is_promised_beyond_the_browser() {
    place::clear().await;
    assert!(matches!(
        Db::open_sync(DbOptions::browser_persistent()),
        Err(Error::Unsupported { .. })
    ));
    let db = Db::open(DbOptions::browser_persistent()).await.unwrap();
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
}
