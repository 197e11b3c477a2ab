//! The epoch after which shared memory is freed: who reads pins it, and what was unlinked goes when every pin from
//! before is gone.
//!
//! There is one for the process. Everybody pins it through here, so that a test can run in one of its own, in which
//! what is freed, and which files become obsolete, does not depend on what other threads read meanwhile.

use crossbeam_epoch::Guard;

/// Until the guard is dropped nothing is freed that is linked now.
#[inline]
pub(crate) fn pin() -> Guard {
    #[cfg(all(test, not(loom)))]
    if let Some(guard) = alone::pin() {
        return guard;
    }
    crossbeam_epoch::pin()
}

#[cfg(all(test, not(loom)))]
pub(crate) use alone::alone;

#[cfg(all(test, not(loom)))]
mod alone {
    use std::cell::RefCell;

    use crossbeam_epoch::{Collector, Guard, LocalHandle};

    thread_local! {
        static OWN: RefCell<Option<LocalHandle>> = const { RefCell::new(None) };
    }

    pub(super) fn pin() -> Option<Guard> {
        let guard = OWN.try_with(|own| own.borrow().as_ref().map(LocalHandle::pin));
        guard.unwrap_or_default()
    }

    /// Puts back the epoch of before, also when a test fails.
    struct Restore(Option<LocalHandle>);

    impl Drop for Restore {
        fn drop(&mut self) {
            // Dropped outside: it may free what pins in turn.
            drop(OWN.replace(self.0.take()));
        }
    }

    /// Runs `work` in an epoch of its own. All that it reads must be made in it, and go with it, on this thread.
    pub(crate) fn alone<T>(work: impl FnOnce() -> T) -> T {
        let _restore = Restore(OWN.replace(Some(Collector::new().register())));
        work()
    }
}
