//! How long public calls took: histograms, of the feature `hdrhistogram`, recorded when the application says so.
//!
//! - Without the feature there is nothing here that a call could do: it compiles to nothing.
//! - With it, and not recording, a call loads one flag.
//! - While recording, a call asks the clock twice and takes a lock that few other threads take.

use trine_platform::clock::Instant;

#[cfg(feature = "hdrhistogram")]
use crate::event::Observer;
use crate::stats::CallLatency;

/// A kind of public call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// A read of one key.
    Get,
    /// Reads of several keys at once.
    MultiGet,
    /// A commit, from encoded to acknowledged.
    Commit,
}

/// What calls of one database took.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    #[cfg(feature = "hdrhistogram")]
    recorder: recorder::Recorder,
}

#[cfg(feature = "hdrhistogram")]
impl Latencies {
    /// Records calls that begin from now on, or no more of them.
    pub(crate) fn switch(&self, on: bool, observer: &Observer) {
        self.recorder.switch(on, observer);
    }

    /// A call begins.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.recorder.begin()
    }

    /// A call that began then has ended.
    #[inline]
    pub(crate) fn end(&self, call: Call, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.recorder.record(call, begun.elapsed());
        }
    }

    /// The kinds of calls that were recorded.
    pub(crate) fn stats(&self) -> Vec<CallLatency> {
        self.recorder.stats()
    }
}

#[cfg(not(feature = "hdrhistogram"))]
#[expect(clippy::unused_self, reason = "the feature has something to do here")]
impl Latencies {
    #[inline]
    pub(crate) fn begin(&self) -> Option<Instant> {
        None
    }

    #[inline]
    pub(crate) fn end(&self, _: Call, _: Option<Instant>) {}

    pub(crate) fn stats(&self) -> Vec<CallLatency> {
        Vec::new()
    }
}

#[cfg(feature = "hdrhistogram")]
mod recorder {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use trine_platform::clock::{Instant, now};

    use super::Call;
    use crate::counter;
    use crate::event::Observer;
    use crate::stats::CallLatency;

    const CALLS: [(Call, &str); 3] = [
        (Call::Get, "get"),
        (Call::MultiGet, "multi_get"),
        (Call::Commit, "commit"),
    ];

    /// Threads share so many sets of histograms.
    const STRIPES: usize = 16;

    /// What took longer than an hour counts as an hour.
    const LONGEST_NANOS: u64 = 3_600_000_000_000;

    /// Decimal digits that are kept: an error of one in a hundred.
    const DIGITS: u8 = 2;

    #[derive(Debug, Default)]
    pub(super) struct Recorder {
        on: AtomicBool,
        /// Since it was switched on first.
        recorded: OnceLock<Recorded>,
    }

    #[derive(Debug)]
    struct Recorded {
        stripes: Box<[Stripe]>,
        #[cfg(feature = "metrics")]
        facade: [crate::event::CallHistogram; CALLS.len()],
    }

    /// Two cache lines, since hosts fetch them in pairs.
    #[derive(Debug)]
    #[repr(align(128))]
    struct Stripe(Mutex<Vec<Histogram<u64>>>);

    /// There is one: these bounds are allowed.
    fn histogram() -> Option<Histogram<u64>> {
        Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS).ok()
    }

    impl Recorded {
        #[cfg_attr(
            not(feature = "metrics"),
            expect(unused_variables, reason = "only that feature is told")
        )]
        fn new(observer: &Observer) -> Self {
            let stripe = || {
                let histograms = CALLS.iter().filter_map(|_| histogram());
                Stripe(Mutex::new(histograms.collect()))
            };
            Self {
                stripes: std::iter::repeat_with(stripe).take(STRIPES).collect(),
                #[cfg(feature = "metrics")]
                facade: CALLS.map(|(_, name)| observer.call_histogram(name)),
            }
        }
    }

    impl Recorder {
        pub(super) fn switch(&self, on: bool, observer: &Observer) {
            if on {
                self.recorded.get_or_init(|| Recorded::new(observer));
            }
            self.on.store(on, Relaxed);
        }

        #[inline]
        pub(super) fn begin(&self) -> Option<Instant> {
            self.on.load(Relaxed).then(now)
        }

        #[cold]
        pub(super) fn record(&self, call: Call, took: Duration) {
            let Some(recorded) = self.recorded.get() else {
                return;
            };
            let index = call as usize;
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            if let Some(Stripe(stripe)) = recorded.stripes.get(counter::number() % STRIPES) {
                let mut histograms = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(histogram) = histograms.get_mut(index) {
                    histogram.saturating_record(nanos);
                }
            }
            #[cfg(feature = "metrics")]
            recorded.facade[index].record(took);
        }

        pub(super) fn stats(&self) -> Vec<CallLatency> {
            let Some(recorded) = self.recorded.get() else {
                return Vec::new();
            };
            let latency = |(call, name): (Call, &'static str)| {
                let mut all = histogram()?;
                for Stripe(stripe) in &recorded.stripes {
                    let histograms = stripe.lock().unwrap_or_else(PoisonError::into_inner);
                    // They have the same bounds, so it cannot fail.
                    all.add(histograms.get(call as usize)?).ok()?;
                }
                let at = |percentile| all.value_at_percentile(percentile);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a mean of nanoseconds, none beyond an hour"
                )]
                Some(CallLatency {
                    call: name,
                    count: all.len(),
                    mean_nanos: all.mean() as u64,
                    p50_nanos: at(50.0),
                    p90_nanos: at(90.0),
                    p99_nanos: at(99.0),
                    p999_nanos: at(99.9),
                    longest_nanos: all.max(),
                })
            };
            let all = CALLS.into_iter().filter_map(latency);
            all.filter(|latency| latency.count > 0).collect()
        }
    }
}
