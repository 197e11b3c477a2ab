//! What a database tells of its own doing: to the application's listener, and to `tracing` and `metrics` where those features are on.
//!
//! - Every event is told at one place, `Observer::tell`, to everybody who listens; without a listener and without the features
//!   nothing is told and nothing is kept.
//! - Events are of maintenance, opening and trouble; no read and no commit that goes its way makes one.
//! - A listener that panics is heard no further in that event, and harms nothing else.

#[cfg(feature = "metrics")]
mod metric;
#[cfg(feature = "tracing")]
mod trace;

#[cfg(all(feature = "metrics", feature = "hdrhistogram"))]
pub(crate) use metric::CallHistogram;

use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::sequence::Sequence;

/// Something that an open database did, or that befell it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The database is open; recovery and replay lie behind it.
    #[non_exhaustive]
    Opened {
        /// How long it took.
        took: Duration,
        /// The newest commit that was found.
        last_committed: Sequence,
    },
    /// [`RuntimeMode::PlatformIo`](crate::RuntimeMode::PlatformIo) was asked for, and the system refuses a ring for reads:
    /// threads read instead.
    #[non_exhaustive]
    RingRefused {
        /// Why.
        reason: &'a Error,
    },
    /// A memtable became tables of level 0.
    #[non_exhaustive]
    Flushed {
        /// The bucket's name.
        bucket: &'a str,
        /// How many tables.
        tables: usize,
        /// Their bytes.
        bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// Tables were merged, or moved as they are, into a level.
    #[non_exhaustive]
    Compacted {
        /// The bucket's name.
        bucket: &'a str,
        /// The level that they are in now.
        level: usize,
        /// Whether they were only moved: nothing was read or written.
        moved: bool,
        /// Bytes of the tables that went in.
        input_bytes: u64,
        /// Bytes of the tables that came out.
        output_bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// Blob files were rewritten without their garbage.
    #[non_exhaustive]
    BlobsCollected {
        /// The bucket's name.
        bucket: &'a str,
        /// Bytes of values read.
        input_bytes: u64,
        /// Bytes of values written again.
        output_bytes: u64,
        /// Bytes of garbage left behind.
        discarded_bytes: u64,
    },
    /// Writes were held up because maintenance is behind. Told once for each write that waited at least a millisecond.
    #[non_exhaustive]
    WriteStalled {
        /// Whether it had to wait for room; else it was slowed down.
        stopped: bool,
        /// How long it waited.
        took: Duration,
    },
    /// A flush or compaction of the background failed. It is tried again; the next write reports it, too.
    #[non_exhaustive]
    BackgroundFailed {
        /// Why.
        error: &'a Error,
    },
    /// The database is closed; nothing follows.
    Closed,
}

/// Hears [`Event`]s: [`DbOptions::with_listener`](crate::DbOptions::with_listener).
///
/// # Cost
/// The call is made by the thread that does the work, a background thread as a rule, while it holds nothing that readers or
/// commits wait for; the work goes on when it returns. It must not close the database or wait for its maintenance.
pub trait EventListener: Send + Sync + 'static {
    /// Something has happened.
    fn on_event(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> EventListener for F {
    fn on_event(&self, event: &Event<'_>) {
        self(event);
    }
}

/// A shared [`EventListener`], as options carry it. Two are equal if they share it.
#[derive(Clone)]
pub struct Listener(Arc<dyn EventListener>);

// Its panics end where it is called, so whoever leads to it is as sound after one as before.
impl UnwindSafe for Listener {}
impl RefUnwindSafe for Listener {}

impl Listener {
    /// Shares `listener`.
    pub fn new(listener: impl EventListener) -> Self {
        Self(Arc::new(listener))
    }
}

impl PartialEq for Listener {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Listener {}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Tells events of one database to whoever listens.
#[derive(Debug)]
pub(crate) struct Observer {
    /// What the database is called in `tracing` and `metrics`: where it lies.
    #[cfg(any(feature = "tracing", feature = "metrics"))]
    database: String,
    listener: Option<Listener>,
}

impl Observer {
    #[cfg_attr(
        not(any(feature = "tracing", feature = "metrics")),
        expect(unused_variables, reason = "only those features name the database")
    )]
    pub(crate) fn new(database: impl fmt::Display, listener: Option<Listener>) -> Self {
        Self {
            #[cfg(any(feature = "tracing", feature = "metrics"))]
            database: database.to_string(),
            listener,
        }
    }

    /// Tells `event` to all.
    pub(crate) fn tell(&self, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        trace::tell(&self.database, event);
        #[cfg(feature = "metrics")]
        metric::tell(&self.database, event);
        if let Some(Listener(listener)) = &self.listener {
            drop(catch_unwind(AssertUnwindSafe(|| listener.on_event(event))));
        }
    }

    /// Where the times of one kind of call go.
    #[cfg(all(feature = "metrics", feature = "hdrhistogram"))]
    pub(crate) fn call_histogram(&self, call: &'static str) -> CallHistogram {
        CallHistogram::new(&self.database, call)
    }

    /// `work`, in a span of `tracing` where there is that.
    #[cfg(feature = "tracing")]
    pub(crate) fn within<F: Future>(
        &self,
        job: Job<'_>,
        work: F,
    ) -> impl Future<Output = F::Output> {
        tracing::Instrument::instrument(work, trace::span(&self.database, job))
    }

    /// `work`, in a span of `tracing` where there is that.
    #[cfg(not(feature = "tracing"))]
    #[expect(
        clippy::unused_self,
        reason = "the feature `tracing` names the database"
    )]
    pub(crate) fn within<F: Future>(&self, _: Job<'_>, work: F) -> F {
        work
    }
}

/// Work that has a span of its own.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "tracing"),
    expect(dead_code, reason = "the spans of the feature `tracing` carry them")
)]
pub(crate) enum Job<'a> {
    Open,
    Flush { bucket: &'a str },
    Compaction { bucket: &'a str, level: usize },
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_listener_that_panics_harms_nobody() {
        let observer = Observer::new(
            "memory",
            Some(Listener::new(|_: &Event<'_>| panic!("on purpose"))),
        );
        observer.tell(&Event::Closed);
        observer.tell(&Event::Closed);
    }

    #[test]
    fn listeners_are_equal_if_shared() {
        let told = Arc::new(Mutex::new(0));
        let counting = Arc::clone(&told);
        let one = Listener::new(move |_: &Event<'_>| *counting.lock().expect("no panic") += 1);
        assert_eq!(one, one.clone());
        assert_ne!(one, Listener::new(|_: &Event<'_>| {}));
        Observer::new("memory", Some(one)).tell(&Event::Closed);
        assert_eq!(*told.lock().expect("no panic"), 1);
    }
}
