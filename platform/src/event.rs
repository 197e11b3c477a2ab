//! A one-shot wake-up with a value, for a parked thread or a waker alike.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

enum State<T> {
    Empty,
    Waiting(Waker),
    Full(T),
    Taken,
    Abandoned,
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn replace(&self, state: State<T>) -> State<T> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *guard, state)
    }
}

/// The sending half: sets the value once, waking whoever waits.
pub struct Setter<T>(Option<Arc<Shared<T>>>);

/// The receiving half: a future of the value; `None` if the setter was dropped without one.
pub struct Event<T>(Arc<Shared<T>>);

impl<T> std::fmt::Debug for Setter<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Setter")
    }
}

impl<T> std::fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Event")
    }
}

/// A connected pair.
pub fn channel<T>() -> (Setter<T>, Event<T>) {
    let shared = Arc::new(Shared(Mutex::new(State::Empty)));
    (Setter(Some(Arc::clone(&shared))), Event(shared))
}

impl<T> Setter<T> {
    /// Delivers `value` and wakes the waiter.
    pub fn set(mut self, value: T) {
        if let Some(shared) = self.0.take()
            && let State::Waiting(waker) = shared.replace(State::Full(value))
        {
            waker.wake();
        }
    }
}

impl<T> Drop for Setter<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take()
            && let State::Waiting(waker) = shared.replace(State::Abandoned)
        {
            waker.wake();
        }
    }
}

impl<T> Future for Event<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Full(value) => Poll::Ready(Some(value)),
            State::Abandoned | State::Taken => Poll::Ready(None),
            State::Empty | State::Waiting(_) => {
                *state = State::Waiting(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
