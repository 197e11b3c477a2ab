//! Histograms of the feature `hdrhistogram`.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use trine_kv::stats::CallLatency;
use trine_kv::{Db, DbOptions, WriteBatch, WriteOptions, block_on};

fn call(db: &Db) {
    db.put_sync("key", "value").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("other", "value");
    db.write_sync(batch, WriteOptions::default()).unwrap();
    block_on(db.delete("other")).unwrap();
    assert!(db.get_sync(b"key").unwrap().is_some());
    assert!(block_on(db.get(b"absent")).unwrap().is_none());
    db.multi_get_sync(&[b"key"]).unwrap();
}

fn counts(latencies: &[CallLatency]) -> Vec<(&'static str, u64)> {
    let counts = latencies
        .iter()
        .map(|latency| (latency.call, latency.count));
    counts.collect()
}

#[test]
fn calls_are_recorded_while_that_is_asked_for_and_never_otherwise() {
    let home = tempfile::tempdir().unwrap();
    for options in [DbOptions::memory(), DbOptions::new(home.path())] {
        let db = Db::open_sync(options).unwrap();
        call(&db);
        assert_eq!(db.stats().call_latencies, []);
        db.record_latencies(true);
        let recorded = [("get", 2), ("multi_get", 1), ("commit", 3)];
        assert_eq!(db.stats().call_latencies, []);
        call(&db);
        assert_eq!(counts(&db.stats().call_latencies), recorded);
        db.record_latencies(false);
        call(&db);
        assert_eq!(counts(&db.stats().call_latencies), recorded);
        assert!(
            db.stats()
                .to_string()
                .contains("\nget         2 calls, p50 ")
        );
        db.close_sync();
    }
}

#[test]
fn percentiles_ascend_to_the_longest_and_threads_add_up() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    db.record_latencies(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..500).for_each(|_| drop(db.get_sync(b"key").unwrap())));
        }
    });
    let stats = db.stats();
    let get = stats.call_latencies[0];
    assert_eq!((get.call, get.count), ("get", 2000));
    let ascending = [
        1,
        get.p50_nanos,
        get.p90_nanos,
        get.p99_nanos,
        get.p999_nanos,
        get.longest_nanos,
    ];
    assert!(ascending.is_sorted(), "{ascending:?}");
    assert!((1..=get.longest_nanos).contains(&get.mean_nanos));
}
