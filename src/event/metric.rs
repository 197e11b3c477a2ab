//! Counters and histograms of the facade `metrics`, labelled with the database and, where there is one, the bucket.
//!
//! Names and units: `docs/observability.md`.

use std::time::Duration;

use metrics::{counter, histogram};

use crate::event::Event;

fn took(name: &'static str, database: &str, took: Duration) {
    histogram!(name, "database" => database.to_owned()).record(took.as_secs_f64());
}

/// The times of one kind of call. It is found once, not at each call.
#[cfg(feature = "hdrhistogram")]
pub(crate) struct CallHistogram(metrics::Histogram);

/// What a recorder of the application may leave after a panic is its own business.
#[cfg(feature = "hdrhistogram")]
impl std::panic::UnwindSafe for CallHistogram {}
#[cfg(feature = "hdrhistogram")]
impl std::panic::RefUnwindSafe for CallHistogram {}

#[cfg(feature = "hdrhistogram")]
impl CallHistogram {
    pub(super) fn new(database: &str, call: &'static str) -> Self {
        let histogram =
            histogram!("trine_call_seconds", "database" => database.to_owned(), "call" => call);
        Self(histogram)
    }

    pub(crate) fn record(&self, took: Duration) {
        self.0.record(took.as_secs_f64());
    }
}

#[cfg(feature = "hdrhistogram")]
impl std::fmt::Debug for CallHistogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallHistogram")
    }
}

/// Counts `event`.
pub(super) fn tell(database: &str, event: &Event<'_>) {
    let of = || database.to_owned();
    match *event {
        Event::Opened { took: time, .. } => took("trine_open_seconds", database, time),
        Event::RingRefused { .. } => {
            counter!("trine_ring_refusals_total", "database" => of()).increment(1);
        }
        Event::Flushed {
            bucket,
            bytes,
            took: time,
            ..
        } => {
            let bucket = || bucket.to_owned();
            counter!("trine_flushes_total", "database" => of(), "bucket" => bucket()).increment(1);
            counter!("trine_flush_bytes_total", "database" => of(), "bucket" => bucket())
                .increment(bytes);
            took("trine_flush_seconds", database, time);
        }
        Event::Compacted {
            bucket,
            input_bytes,
            output_bytes,
            took: time,
            ..
        } => {
            let bucket = || bucket.to_owned();
            counter!("trine_compactions_total", "database" => of(), "bucket" => bucket())
                .increment(1);
            counter!("trine_compaction_input_bytes_total", "database" => of(), "bucket" => bucket())
                .increment(input_bytes);
            counter!("trine_compaction_output_bytes_total", "database" => of(), "bucket" => bucket())
                .increment(output_bytes);
            took("trine_compaction_seconds", database, time);
        }
        Event::BlobsCollected {
            bucket,
            discarded_bytes,
            ..
        } => {
            let bucket = bucket.to_owned();
            counter!("trine_blob_garbage_bytes_total", "database" => of(), "bucket" => bucket)
                .increment(discarded_bytes);
        }
        Event::WriteStalled { took: time, .. } => took("trine_write_stall_seconds", database, time),
        Event::BackgroundFailed { .. } => {
            counter!("trine_background_failures_total", "database" => of()).increment(1);
        }
        Event::Closed => {}
    }
}
