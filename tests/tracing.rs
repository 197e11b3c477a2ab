//! What a subscriber of `tracing` gets. Alone in its process: `tracing` decides once for each event whether anybody listens.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use trine_kv::{Db, DbOptions, MaintenanceBudget};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn tracing_has_the_events_with_their_fields_in_their_spans() {
    let directory = tempfile::tempdir().unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let options = DbOptions {
        background_worker_count: 0,
        max_l0_files: 1,
        ..DbOptions::new(directory.path())
    };
    tracing::subscriber::with_default(subscriber, || {
        let db = Db::open_sync(options).unwrap();
        for value in ["old", "new"] {
            db.put_sync("key", value).unwrap();
            db.flush_sync().unwrap();
        }
        db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
            .unwrap();
        db.close_sync();
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let place = directory.path().display().to_string();
    for (line, expected) in text.lines().zip([
        &["INFO", "trine_kv: opened", "last_committed=0"][..],
        &[
            "INFO",
            "flush{",
            "flushed",
            "bucket=\"default\"",
            "tables=1",
        ],
        &["INFO", "flush{", "flushed"],
        &["INFO", "compaction{", "compacted", "level="],
        &["INFO", "trine_kv: closed"],
    ]) {
        assert!(line.contains(&place), "{line}");
        for part in expected {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
    assert_eq!(text.lines().count(), 5, "{text}");
}
