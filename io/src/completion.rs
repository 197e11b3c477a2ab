//! The result of a storage operation: ready at once, or an event that a backend will set.
//!
//! A completion finishes by itself, whether it is polled or not, and wakes its waker from whatever thread
//! finished it. It needs no runtime, and holds nothing that the operation still uses.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use trine_platform::event::Event;
use trine_platform::thread::Threads;

use crate::{Error, Result};

/// A future of a storage operation's result.
///
/// # Cancellation
/// Dropping it abandons the answer, never the operation.
#[must_use = "the operation runs anyway, but its error would be lost"]
pub struct Completion<T>(Inner<T>);

enum Inner<T> {
    Ready(Option<Result<T>>),
    Pending(
        Event<Result<T>>,
        Box<dyn Fn() -> Error + Send + Sync>,
        Threads,
    ),
}

impl<T> Completion<T> {
    /// An operation that has finished.
    pub fn ready(result: Result<T>) -> Self {
        Self(Inner::Ready(Some(result)))
    }

    /// An operation that a backend finishes; `lost` is the error if the backend goes away first.
    pub fn pending(
        event: Event<Result<T>>,
        lost: impl Fn() -> Error + Send + Sync + 'static,
    ) -> Self {
        match Threads::here() {
            Some(threads) => Self(Inner::Pending(event, Box::new(lost), threads)),
            // Nobody is there who could.
            None => Self::ready(Err(lost())),
        }
    }
}

impl<T> std::fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Ready(_) => "Completion(ready)",
            Inner::Pending(..) => "Completion(pending)",
        })
    }
}

impl<T: Unpin> Future for Completion<T> {
    type Output = Result<T>;

    /// Not to be polled again after it was ready: one that finished inline would panic.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            Inner::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                None => unreachable!("polled after it was ready"),
            },
            Inner::Pending(event, lost, _) => match Pin::new(event).poll(context) {
                Poll::Ready(Some(result)) => Poll::Ready(result),
                Poll::Ready(None) => Poll::Ready(Err(lost())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}
