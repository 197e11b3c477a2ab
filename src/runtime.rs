//! Where a database's background and storage work runs, as the caller chooses it. Plain data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who runs background and storage work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeMode {
    /// Threads of the database's own.
    #[default]
    NativeThreads,
    /// Threads of the database's own, and for reads that asynchronous calls have to make from the disk a
    /// ring of the operating system: `io_uring` on Linux. Where there is none, or the system forbids it, as containers
    /// often do, it runs as `NativeThreads`; `DbStats::storage_uses_platform_async_io` tells. Needs the
    /// `uring` feature, which is on by default (`platform-io` is its older name): without it, opening fails.
    PlatformIo,
    /// The calling thread, nothing else.
    Inline,
}

/// How a database runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Who runs background and storage work. Default [`RuntimeMode::NativeThreads`].
    pub mode: RuntimeMode,
}

impl RuntimeOptions {
    /// [`RuntimeMode::NativeThreads`], the default.
    #[must_use]
    pub const fn native_threads() -> Self {
        Self {
            mode: RuntimeMode::NativeThreads,
        }
    }

    /// [`RuntimeMode::Inline`].
    #[must_use]
    pub const fn inline() -> Self {
        Self {
            mode: RuntimeMode::Inline,
        }
    }

    /// [`RuntimeMode::PlatformIo`].
    #[must_use]
    pub const fn platform_io() -> Self {
        Self {
            mode: RuntimeMode::PlatformIo,
        }
    }

    /// What this choice can do in this build. Never fails: a missing feature shows when a database is opened.
    #[must_use]
    pub const fn capabilities(self) -> RuntimeCapabilities {
        RuntimeCapabilities {
            threads: !matches!(self.mode, RuntimeMode::Inline)
                && trine_platform::thread::available(),
            rings: matches!(self.mode, RuntimeMode::PlatformIo) && trine_io::RINGS,
        }
    }
}

/// What a [`RuntimeOptions`] can do in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeCapabilities {
    threads: bool,
    rings: bool,
}

impl RuntimeCapabilities {
    /// Background work runs on threads of the database's own.
    #[must_use]
    pub const fn background_threads(self) -> bool {
        self.threads
    }

    /// Futures can be polled by any executor. Always so.
    #[must_use]
    pub const fn cooperative_tasks(self) -> bool {
        true
    }

    /// Blocking storage calls can be moved off the thread that polls.
    #[must_use]
    pub const fn blocking_adapter(self) -> bool {
        self.threads
    }

    /// A [`CancellationToken`] is honoured. Always so.
    #[must_use]
    pub const fn cancellation_tokens(self) -> bool {
        true
    }

    /// Background tasks can be waited for.
    #[must_use]
    pub const fn task_join(self) -> bool {
        self.threads
    }

    /// At least one storage operation, the read, can be asynchronous in the operating system itself. Whether
    /// the system lets it be shows when a database is open: `DbStats::storage_uses_platform_async_io`.
    #[must_use]
    pub const fn platform_async_io(self) -> bool {
        self.rings
    }
}

/// A flag that says "stop". Clones share it; once set it stays set.
#[derive(Clone, Debug, Default)]
pub struct CancellationToken(Arc<AtomicBool>);

impl CancellationToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels this token and all its clones.
    pub fn cancel(&self) {
        // Publishes what was written before it to whoever sees the flag.
        self.0.store(true, Ordering::Release);
    }

    /// Whether this token or a clone of it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(target_family = "wasm"))]
    fn row(options: RuntimeOptions) -> [bool; 6] {
        let can = options.capabilities();
        [
            can.background_threads(),
            can.cooperative_tasks(),
            can.blocking_adapter(),
            can.cancellation_tokens(),
            can.task_join(),
            can.platform_async_io(),
        ]
    }

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn capabilities_are_as_documented() {
        assert_eq!(
            row(RuntimeOptions::native_threads()),
            [true, true, true, true, true, false]
        );
        assert_eq!(
            row(RuntimeOptions::inline()),
            [false, true, false, true, false, false]
        );
        assert_eq!(
            row(RuntimeOptions::platform_io()),
            [true, true, true, true, true, trine_io::RINGS]
        );
        assert_eq!(RuntimeOptions::default(), RuntimeOptions::native_threads());
    }

    #[test]
    fn a_cancelled_token_is_cancelled_for_all_its_clones_and_for_good() {
        let token = CancellationToken::new();
        let clone = token.clone();
        assert!(!clone.is_cancelled());
        token.cancel();
        token.cancel();
        assert!(clone.is_cancelled());
        assert!(!CancellationToken::default().is_cancelled());
    }
}
