//! A one-shot wake-up with a value, for a parked thread or a waker alike.
//!
//! - The value is delivered to exactly one place: the event's poll, [`Event::close`], or back to the
//!   sender by [`Setter::send`]. The slot's mutex decides, so nothing is lost when both sides race.
//! - A setter dropped without a value wakes the waiter, who reads `None`: nobody waits for ever.
//! - No waker and no destructor of a value runs while the slot is locked.
//!
//! Setter and event may live on different threads; neither ever blocks.

use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Arc, Mutex, MutexGuard};

enum State<T> {
    Empty,
    Waiting(Waker),
    Full(T),
    /// The setter is gone and gave nothing.
    Abandoned,
    /// The event is gone, or has given its value.
    Closed,
}

struct Slot<T>(Mutex<State<T>>);

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code of others runs under this lock, so a panic cannot have left it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending half: gives the value once, waking whoever waits.
pub struct Setter<T>(Option<Arc<Slot<T>>>);

/// The receiving half: a future of the value; `None` if the setter was dropped without one.
///
/// Polled again after it was ready, it reads `None`.
pub struct Event<T>(Arc<Slot<T>>);

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
    let slot = Arc::new(Slot(Mutex::new(State::Empty)));
    (Setter(Some(Arc::clone(&slot))), Event(slot))
}

impl<T> Setter<T> {
    /// Delivers `value` and wakes the waiter; drops it if nobody can receive it any more.
    pub fn set(self, value: T) {
        drop(self.send(value));
    }

    /// Delivers `value` and wakes the waiter.
    ///
    /// # Errors
    /// The event was dropped or closed: the value comes back.
    pub fn send(mut self, value: T) -> Result<(), T> {
        match self.0.take() {
            Some(slot) => finish(&slot, State::Full(value)),
            None => Ok(()),
        }
    }
}

impl<T> Drop for Setter<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            // What comes back, if anything, is no value: `Abandoned` carries none.
            drop(finish(&slot, State::Abandoned));
        }
    }
}

/// Ends the setter's part: leaves `last` in the slot and wakes, or gives its value back.
fn finish<T>(slot: &Slot<T>, last: State<T>) -> Result<(), T> {
    let mut state = slot.lock();
    if matches!(*state, State::Closed) {
        drop(state);
        return match last {
            State::Full(value) => Err(value),
            _ => Ok(()),
        };
    }
    let before = std::mem::replace(&mut *state, last);
    drop(state);
    if let State::Waiting(waker) = before {
        waker.wake();
    }
    Ok(())
}

impl<T> Event<T> {
    /// Ends the wait: no value will be accepted any more. Returns the one that had arrived, if any.
    pub fn close(&mut self) -> Option<T> {
        let before = std::mem::replace(&mut *self.0.lock(), State::Closed);
        match before {
            State::Full(value) => Some(value),
            _ => None,
        }
    }
}

impl<T> Drop for Event<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl<T> Future for Event<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        let replaced = match &mut *state {
            State::Waiting(waker) if waker.will_wake(context.waker()) => return Poll::Pending,
            State::Empty | State::Waiting(_) => {
                let waiting = State::Waiting(context.waker().clone());
                std::mem::replace(&mut *state, waiting)
            }
            State::Full(_) | State::Abandoned | State::Closed => {
                std::mem::replace(&mut *state, State::Closed)
            }
        };
        drop(state);
        match replaced {
            State::Full(value) => Poll::Ready(Some(value)),
            State::Abandoned | State::Closed => Poll::Ready(None),
            State::Empty | State::Waiting(_) => Poll::Pending,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;
    use crate::block_on;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<T>(event: &mut Event<T>, waker: &Waker) -> Poll<Option<T>> {
        Pin::new(event).poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn value_set_before_the_first_poll_is_ready() {
        let (setter, event) = channel();
        setter.set(7);
        assert_eq!(block_on(event), Some(7));
    }

    #[test]
    fn value_set_after_a_poll_wakes_the_last_waker_once() {
        let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (setter, mut event) = channel();
        assert_eq!(poll(&mut event, &Arc::clone(&first).into()), Poll::Pending);
        assert_eq!(poll(&mut event, &Arc::clone(&last).into()), Poll::Pending);
        setter.set(7);
        assert_eq!(first.0.load(Ordering::SeqCst), 0);
        assert_eq!(last.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut event, Waker::noop()), Poll::Ready(Some(7)));
        assert_eq!(poll(&mut event, Waker::noop()), Poll::Ready(None));
    }

    #[test]
    fn dropped_setter_reads_as_none_and_wakes() {
        let count = Arc::new(Count::default());
        let (setter, mut event) = channel::<u8>();
        assert_eq!(poll(&mut event, &Arc::clone(&count).into()), Poll::Pending);
        drop(setter);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut event, Waker::noop()), Poll::Ready(None));
    }

    #[test]
    fn dropped_event_gives_the_value_back() {
        let (setter, event) = channel();
        drop(event);
        assert_eq!(setter.send(7), Err(7));
        let (setter, event) = channel::<u8>();
        drop(event);
        drop(setter);
    }

    #[test]
    fn closed_event_hands_out_what_had_arrived() {
        let (setter, mut event) = channel();
        assert_eq!(setter.send(7), Ok(()));
        assert_eq!(event.close(), Some(7));
        assert_eq!(event.close(), None);
    }

    #[test]
    fn value_never_read_is_dropped_once() {
        let value = Arc::new(());
        let (setter, event) = channel();
        setter.set(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(event);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn another_thread_unparks_the_waiter() {
        for value in 0..200 {
            let (setter, event) = channel();
            let sender = crate::thread::spawn("sender", move || setter.set(value)).unwrap();
            assert_eq!(block_on(event), Some(value));
            sender.join().unwrap();
        }
    }
}
