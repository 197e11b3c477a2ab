//! The result of a storage operation: ready at once, or an event that a backend will set.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use trine_platform::event::Event;

use crate::{Error, Result};

/// A future of a storage operation's result. Dropping it abandons the answer, never the operation.
#[derive(Debug)]
pub struct Completion<T>(Inner<T>);

#[derive(Debug)]
enum Inner<T> {
    Ready(Option<Result<T>>),
    Pending(Event<Result<T>>, fn() -> Error),
}

impl<T> Completion<T> {
    /// An operation that has finished.
    pub fn ready(result: Result<T>) -> Self {
        Self(Inner::Ready(Some(result)))
    }

    /// An operation that a backend finishes; `lost` is the error if the backend goes away first.
    pub fn pending(event: Event<Result<T>>, lost: fn() -> Error) -> Self {
        Self(Inner::Pending(event, lost))
    }
}

impl<T: Unpin> Future for Completion<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            Inner::Ready(result) => match result.take() {
                Some(result) => Poll::Ready(result),
                None => Poll::Pending,
            },
            Inner::Pending(event, lost) => match Pin::new(event).poll(context) {
                Poll::Ready(Some(result)) => Poll::Ready(result),
                Poll::Ready(None) => Poll::Ready(Err(lost())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}
