//! The clock that rows expire by.

use std::fmt;
use std::sync::Arc;

use crate::operator::Shared;

/// Tells the time by which rows expire. The default is the host's wall clock; an application may give another.
///
/// It is asked when a row that expires is read or merged, by whatever thread does it. It should not go back: what was expired, and was not removed
/// yet, would be there again.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::sync::Arc;
/// use std::time::Duration;
/// use trine_kv::{Clock, Db, DbOptions};
///
/// let time = Arc::new(AtomicU64::new(0));
/// let told = Arc::clone(&time);
/// let clock = Clock::new(move || told.load(Relaxed));
/// let db = Db::open_sync(DbOptions::memory().with_clock(clock))?;
/// db.put_with_ttl_sync("session", "Ada", Duration::from_secs(60))?;
/// time.store(59_999, Relaxed);
/// assert!(db.contains_key_sync(b"session")?);
/// time.store(60_000, Relaxed);
/// assert!(!db.contains_key_sync(b"session")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Clock(Option<Shared<dyn Fn() -> u64 + Send + Sync>>);

impl Clock {
    /// This clock, which tells milliseconds since 1970-01-01 UTC. It must not panic.
    pub fn new(millis: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Some(Shared(Arc::new(millis))))
    }

    /// The host's wall clock.
    #[must_use]
    pub const fn host() -> Self {
        Self(None)
    }

    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) fn now(&self) -> u64 {
        match &self.0 {
            Some(millis) => (millis.0)(),
            None => trine_platform::clock::wall_millis(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Clock"
        } else {
            "Clock::host"
        })
    }
}
