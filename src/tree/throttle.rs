//! What background writes ask before each piece: whether to go on, and how fast. One place for all of
//! them, so that one limit holds for flushes and compactions together.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use trine_io::Mode;
use trine_platform::pace::Pace;
use trine_platform::timer;

use crate::error::{Error, Result};

/// Nobody waits for much longer than a second's part at once, so that a change of the limit and the end of
/// the database are noticed.
const PARTS_PER_SECOND: u64 = 10;

/// What becomes of a job that runs when the database closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtClose {
    /// It can be begun again later.
    GiveUp,
    /// Whoever closes waits for it, so nothing limits it any more.
    Finish,
}

/// The limits of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle<'a> {
    pub(crate) pace: &'a Pace,
    /// Zero: no limit. It may change while a job waits.
    pub(crate) bytes_per_second: &'a AtomicU64,
    /// Set when the database closes.
    pub(crate) closed: &'a AtomicBool,
    pub(crate) at_close: AtClose,
}

impl Throttle<'_> {
    /// Before so many bytes are written.
    pub(crate) async fn pass(&self, bytes: usize, mode: Mode) -> Result<()> {
        let mut left = bytes as u64;
        loop {
            let closed = self.closed.load(Acquire);
            if closed && self.at_close == AtClose::GiveUp {
                return Err(Error::Closed);
            }
            let rate = self.bytes_per_second.load(Relaxed);
            if closed || rate == 0 || left == 0 {
                return Ok(());
            }
            let part = left.min((rate / PARTS_PER_SECOND).max(1));
            left -= part;
            let nanos = u128::from(part) * 1_000_000_000 / u128::from(rate);
            let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            pause(self.pace.take(cost, Duration::MAX), mode).await;
        }
    }
}

/// Waits; holds the thread only in blocking mode.
pub(crate) async fn pause(duration: Duration, mode: Mode) {
    match mode {
        Mode::Blocking => timer::sleep_here(duration),
        Mode::Cooperative => timer::sleep(duration).await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::Ordering::Release;
    use std::task::{Context, Waker};

    use super::*;
    use trine_platform::block_on;

    #[derive(Default)]
    struct Limits {
        pace: Pace,
        bytes_per_second: AtomicU64,
        closed: AtomicBool,
    }

    impl Limits {
        fn throttle(&self, at_close: AtClose) -> Throttle<'_> {
            Throttle {
                pace: &self.pace,
                bytes_per_second: &self.bytes_per_second,
                closed: &self.closed,
                at_close,
            }
        }
    }

    #[test]
    fn without_a_limit_nobody_waits_and_with_one_all_wait_together() {
        let limits = Limits::default();
        let pass = |bytes| block_on(limits.throttle(AtClose::Finish).pass(bytes, Mode::Blocking));
        let before = trine_platform::clock::now();
        pass(usize::MAX).unwrap();
        limits.bytes_per_second.store(1_000_000, Relaxed);
        for _ in 0..2 {
            pass(1_000).unwrap();
        }
        assert!(before.elapsed() >= Duration::from_millis(2) || !timer::available());
    }

    #[test]
    fn a_job_that_waits_goes_on_when_the_limit_is_lifted() {
        let limits = Limits::default();
        // Months.
        limits.bytes_per_second.store(10, Relaxed);
        let throttle = limits.throttle(AtClose::Finish);
        let mut waits = pin!(throttle.pass(1 << 30, Mode::Cooperative));
        let mut context = Context::from_waker(Waker::noop());
        if timer::available() {
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        limits.bytes_per_second.store(0, Relaxed);
        block_on(waits).unwrap();
    }

    #[test]
    fn when_the_database_closes_a_job_gives_up_or_finishes_without_a_limit() {
        let limits = Limits::default();
        let pass = |at_close| block_on(limits.throttle(at_close).pass(1 << 30, Mode::Blocking));
        assert!(pass(AtClose::GiveUp).is_ok());
        limits.closed.store(true, Release);
        limits.bytes_per_second.store(1, Relaxed);
        assert!(matches!(pass(AtClose::GiveUp), Err(Error::Closed)));
        assert!(pass(AtClose::Finish).is_ok());
    }
}
