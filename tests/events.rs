//! What a listener hears, and that the features say the same.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, Mutex};

use trine_kv::{Db, DbOptions, Event, MaintenanceBudget};

type Heard = Arc<Mutex<Vec<String>>>;

/// Options of a database without workers whose events go to the list, without their times.
fn listening(path: &std::path::Path) -> (DbOptions, Heard) {
    let heard = Heard::default();
    let writing = Arc::clone(&heard);
    let options = DbOptions {
        background_worker_count: 0,
        max_l0_files: 1,
        ..DbOptions::new(path)
    };
    let options = options.with_listener(move |event: &Event<'_>| {
        let line = match event {
            Event::Opened { last_committed, .. } => format!("opened {}", last_committed.get()),
            Event::Flushed { bucket, tables, .. } => format!("flushed {bucket} {tables}"),
            Event::Compacted { bucket, level, .. } => format!("compacted {bucket} {}", *level > 0),
            Event::Closed => "closed".to_owned(),
            other => format!("{other:?}"),
        };
        writing.lock().unwrap().push(line);
    });
    (options, heard)
}

/// Writes, flushes twice, compacts and closes.
fn work(options: DbOptions) {
    let db = Db::open_sync(options).unwrap();
    for value in ["old", "new"] {
        db.put_sync("key", value).unwrap();
        db.flush_sync().unwrap();
    }
    db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
        .unwrap();
    db.close_sync();
}

#[test]
fn a_listener_hears_of_opening_maintenance_and_closing_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (options, heard) = listening(directory.path());
    work(options.clone());
    let expected = [
        "opened 0",
        "flushed default 1",
        "flushed default 1",
        "compacted default true",
        "closed",
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
    heard.lock().unwrap().clear();
    drop(Db::open_sync(options).unwrap());
    assert_eq!(*heard.lock().unwrap(), ["opened 2", "closed"]);
}

#[test]
fn a_database_in_memory_tells_that_it_opens_and_closes() {
    let heard = Heard::default();
    let writing = Arc::clone(&heard);
    let options = DbOptions::memory().with_listener(move |event: &Event<'_>| {
        writing.lock().unwrap().push(format!("{event:?}"));
    });
    drop(Db::open_sync(options).unwrap());
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2);
    assert!(heard[0].starts_with("Opened"), "{heard:?}");
    assert_eq!(heard[1], "Closed");
}

#[cfg(feature = "metrics")]
mod metrics_feature {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::work;
    use trine_kv::DbOptions;

    /// Keeps counters by name.
    #[derive(Default)]
    struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder for Counters {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let mut counters = self.0.lock().unwrap();
            let counter = counters.entry(key.name().to_owned()).or_default();
            Counter::from_arc(Arc::clone(counter))
        }

        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn metrics_count_flushes_and_compactions() {
        let directory = tempfile::tempdir().unwrap();
        let counters = Counters::default();
        let options = DbOptions {
            background_worker_count: 0,
            max_l0_files: 1,
            ..DbOptions::new(directory.path())
        };
        metrics::with_local_recorder(&counters, || work(options));
        let counters = counters.0.lock().unwrap();
        let count = |name: &str| counters[name].load(Relaxed);
        assert_eq!(count("trine_flushes_total"), 2);
        assert_eq!(count("trine_compactions_total"), 1);
        assert!(count("trine_flush_bytes_total") > 0);
    }
}
