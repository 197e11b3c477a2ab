//! Time: a monotonic clock for durations, and the wall clock for stamps. The only place that asks the host.
//!
//! - [`Instant`] never goes back within a process and means nothing outside it.
//! - Wall time may jump either way. Nothing may depend on its order.
//! - In a browser, where asking the standard library panics, both are the browser's, which rounds them: to 5
//!   microseconds in isolated pages, to 100 in others.

use std::ops::Add;
use std::time::Duration;

/// A moment of the monotonic clock, in nanoseconds since an arbitrary origin in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// The moment this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from this moment to now.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Now, by the monotonic clock.
pub fn now() -> Instant {
    host::now()
}

/// Now, in milliseconds since 1970-01-01 UTC; 0 before that, or where no clock tells.
pub fn wall_millis() -> u64 {
    host::wall_millis()
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod host {
    use std::sync::OnceLock;
    use std::time::SystemTime;

    use super::Instant;

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the lint points to"
    )]
    pub(super) fn now() -> Instant {
        static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
        let origin = *ORIGIN.get_or_init(std::time::Instant::now);
        let nanos = std::time::Instant::now().duration_since(origin).as_nanos();
        // 64 bits of nanoseconds last 584 years.
        Instant(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place the lint points to"
    )]
    pub(super) fn wall_millis() -> u64 {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| u64::try_from(since.as_millis()).ok())
            .unwrap_or(0)
    }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod host {
    use super::Instant;
    use crate::web;

    pub(super) fn now() -> Instant {
        Instant(web::monotonic_nanos())
    }

    pub(super) fn wall_millis() -> u64 {
        web::wall_millis()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let mut last = now();
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn durations_saturate_instead_of_wrapping() {
        let (early, late) = (Instant::from_nanos(1), Instant::from_nanos(5));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early + Duration::from_nanos(4), late);
        assert_eq!((late + Duration::MAX).nanos(), u64::MAX);
    }

    #[test]
    fn wall_clock_is_past_the_year_2020() {
        assert!(wall_millis() > 1_577_836_800_000);
    }
}
