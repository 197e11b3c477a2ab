//! A call that is through at once whenever what it needs is in memory, and what is left of it if not.
//!
//! One function makes both; the caller says how to wait. What is through never becomes a future of its own:
//! the long one for the rest is made, and allocated, only by a call that has to wait.

use std::future::Future;
use std::pin::Pin;

use trine_platform::block_on;

/// The outcome, or the way to it.
pub(crate) enum Attempt<T, F> {
    Through(T),
    Waits(Pin<Box<F>>),
}

impl<T, F: Future<Output = T>> Attempt<T, F> {
    #[cold]
    pub(crate) fn waits(rest: F) -> Self {
        Self::Waits(Box::pin(rest))
    }

    /// The outcome, if need be after waiting on this thread.
    #[inline]
    pub(crate) fn here(self) -> T {
        match self {
            Self::Through(outcome) => outcome,
            Self::Waits(rest) => block_on(rest),
        }
    }

    /// The outcome, if need be after waiting as the caller's executor does.
    #[inline]
    pub(crate) async fn finished(self) -> T {
        match self {
            Self::Through(outcome) => outcome,
            Self::Waits(rest) => rest.await,
        }
    }
}
