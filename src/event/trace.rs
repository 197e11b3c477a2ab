//! Events and spans of the crate `tracing`, under the target `trine_kv`.

use tracing::{Span, error, info, info_span, warn};

use crate::event::{Event, Job};

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// The span of a job.
pub(super) fn span(database: &str, job: Job<'_>) -> Span {
    match job {
        Job::Open => info_span!(target: "trine_kv", "open", database),
        Job::Flush { bucket } => info_span!(target: "trine_kv", "flush", database, bucket),
        Job::Compaction { bucket, level } => {
            info_span!(target: "trine_kv", "compaction", database, bucket, level)
        }
    }
}

/// Tells `event`: trouble as a warning or an error, everything else as information.
pub(super) fn tell(database: &str, event: &Event<'_>) {
    match *event {
        Event::Opened {
            took,
            last_committed,
        } => {
            info!(target: "trine_kv", database, micros = micros(took), last_committed = last_committed.get(), "opened");
        }
        Event::RingRefused { reason } => {
            warn!(target: "trine_kv", database, %reason, "no ring for reads: threads read instead");
        }
        Event::Flushed {
            bucket,
            tables,
            bytes,
            took,
        } => {
            info!(target: "trine_kv", database, bucket, tables, bytes, micros = micros(took), "flushed");
        }
        Event::Compacted {
            bucket,
            level,
            moved,
            input_bytes,
            output_bytes,
            took,
        } => {
            let micros = micros(took);
            info!(target: "trine_kv", database, bucket, level, moved, input_bytes, output_bytes, micros, "compacted");
        }
        Event::BlobsCollected {
            bucket,
            input_bytes,
            output_bytes,
            discarded_bytes,
        } => {
            info!(target: "trine_kv", database, bucket, input_bytes, output_bytes, discarded_bytes, "blob files collected");
        }
        Event::WriteStalled { stopped, took } => {
            warn!(target: "trine_kv", database, stopped, micros = micros(took), "write stalled");
        }
        Event::BackgroundFailed { error } => {
            error!(target: "trine_kv", database, %error, "background maintenance failed");
        }
        Event::Closed => info!(target: "trine_kv", database, "closed"),
    }
}
