//! What background writes ask before each piece: whether to go on, and how fast. One place for all of
//! them, so that one limit holds for flushes and compactions together.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use trine_io::Mode;
use trine_platform::pace::Pace;
use trine_platform::timer;

use crate::error::{Error, Result};

/// The limits of one job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throttle<'a> {
    pub(crate) pace: &'a Pace,
    /// Zero: no limit.
    pub(crate) bytes_per_second: u64,
    /// Set when the database closes; a job that can be begun again later gives up then.
    pub(crate) closing: Option<&'a AtomicBool>,
}

impl Throttle<'_> {
    /// Before so many bytes are written.
    pub(crate) async fn pass(&self, bytes: usize, mode: Mode) -> Result<()> {
        if self.closing.is_some_and(|closing| closing.load(Acquire)) {
            return Err(Error::Closed);
        }
        let nanos = (bytes as u128 * 1_000_000_000).checked_div(self.bytes_per_second.into());
        if let Some(nanos) = nanos {
            let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            pause(self.pace.take(cost, Duration::MAX), mode).await;
        }
        Ok(())
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
    use super::*;
    use trine_platform::block_on;

    #[test]
    fn without_a_limit_nobody_waits_and_with_one_all_wait_together() {
        let pace = Pace::default();
        let throttle = |bytes_per_second| Throttle {
            pace: &pace,
            bytes_per_second,
            closing: None,
        };
        let before = trine_platform::clock::now();
        block_on(throttle(0).pass(usize::MAX, Mode::Blocking)).unwrap();
        for _ in 0..2 {
            block_on(throttle(1_000_000).pass(1_000, Mode::Blocking)).unwrap();
        }
        assert!(before.elapsed() >= Duration::from_millis(2) || !timer::available());
    }

    #[test]
    fn a_job_gives_up_when_the_database_closes() {
        let (pace, closing) = (Pace::default(), AtomicBool::new(false));
        let throttle = Throttle {
            pace: &pace,
            bytes_per_second: 0,
            closing: Some(&closing),
        };
        assert!(block_on(throttle.pass(1, Mode::Blocking)).is_ok());
        closing.store(true, std::sync::atomic::Ordering::Release);
        assert!(matches!(
            block_on(throttle.pass(1, Mode::Blocking)),
            Err(Error::Closed)
        ));
    }
}
