//! An async mutex without an executor: exclusive ownership of a value, handed from one to the next.
//!
//! - The value is in exactly one place: resting, with a holder, or on its way to one waiter.
//! - First come, first served. While anybody waits, a newcomer queues behind; a hand-over wakes one
//!   waiter and no other.
//! - Cancel-safe: a waiter that is dropped leaves the queue, and one that already had the baton passes it on.
//! - A panic of the holder passes the value on as it was left. There is no poisoning.
//!
//! Any thread and any executor may take it; nothing here blocks a thread. A waiter that has been
//! handed the baton must be polled or dropped: one that is kept but never polled holds up the rest.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

use crate::event::{Event, Setter, channel};
use crate::sync::{Mutex, MutexGuard};
use crate::thread::Threads;

/// A value that one task at a time may hold, in the order they asked.
pub struct Baton<T> {
    /// Never held while a waker runs. Boxed, so that handing over moves a pointer.
    queue: Mutex<Queue<T>>,
}

struct Queue<T> {
    resting: Option<Box<T>>,
    /// With their tickets, which ascend: the order of arrival.
    waiters: VecDeque<(u64, Setter<Box<T>>)>,
    next_ticket: u64,
}

/// Exclusive use of a [`Baton`]'s value, until dropped.
///
/// Forgetting it (`mem::forget`) keeps the value for ever: every later waiter waits in vain.
#[must_use = "the baton goes to the next waiter when the holder is dropped"]
pub struct Holder<'a, T> {
    baton: &'a Baton<T>,
    /// `None` only while dropping.
    value: Option<Box<T>>,
}

/// A place in the queue; dropping it gives the place up.
struct Waiting<'a, T> {
    baton: &'a Baton<T>,
    ticket: u64,
    event: Event<Box<T>>,
}

impl<T> Baton<T> {
    /// A baton that nobody holds.
    pub fn new(value: T) -> Self {
        Self {
            queue: Mutex::new(Queue {
                resting: Some(Box::new(value)),
                waiters: VecDeque::new(),
                next_ticket: 0,
            }),
        }
    }

    /// Waits for all who asked before, then holds the value.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue, or passes the value on if it had just arrived.
    pub async fn take(&self) -> Holder<'_, T> {
        let mut waiting = match self.queue_up() {
            Ok(value) => return self.holder(value),
            Err(waiting) => waiting,
        };
        match Threads::here() {
            Some(_) => match (&mut waiting.event).await {
                Some(value) => self.holder(value),
                None => unreachable!("a setter leaves the queue only to be sent to"),
            },
            None => unreachable!("without threads nobody waits, least of all with a baton"),
        }
    }

    /// Holds the value if nobody does and nobody waits.
    pub fn try_take(&self) -> Option<Holder<'_, T>> {
        let value = self.queue().resting.take()?;
        Some(self.holder(value))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holder(&self, value: Box<T>) -> Holder<'_, T> {
        Holder {
            baton: self,
            value: Some(value),
        }
    }

    fn queue_up(&self) -> Result<Box<T>, Waiting<'_, T>> {
        let mut queue = self.queue();
        if let Some(value) = queue.resting.take() {
            return Ok(value);
        }
        let (setter, event) = channel();
        let ticket = queue.next_ticket;
        queue.next_ticket = ticket.wrapping_add(1);
        queue.waiters.push_back((ticket, setter));
        Err(Waiting {
            baton: self,
            ticket,
            event,
        })
    }

    /// Gives the value to the first waiter still there, or lets it rest.
    fn pass_on(&self, mut value: Box<T>) {
        loop {
            let mut queue = self.queue();
            let Some((_, setter)) = queue.waiters.pop_front() else {
                queue.resting = Some(value);
                return;
            };
            drop(queue);
            match setter.send(value) {
                Ok(()) => return,
                Err(refused) => value = refused,
            }
        }
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        // Closing first decides the race with a hand-over: either the value is here now, or the
        // sender gets it back and tries the next waiter.
        let arrived = self.event.close();
        let mut queue = self.baton.queue();
        let place = queue
            .waiters
            .binary_search_by_key(&self.ticket, |(ticket, _)| *ticket);
        let setter = place.ok().and_then(|place| queue.waiters.remove(place));
        drop(queue);
        drop(setter);
        if let Some(value) = arrived {
            self.baton.pass_on(value);
        }
    }
}

impl<T> Drop for Holder<'_, T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.baton.pass_on(value);
        }
    }
}

impl<T> Deref for Holder<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("the value leaves only when the holder is dropped"),
        }
    }
}

impl<T> DerefMut for Holder<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("the value leaves only when the holder is dropped"),
        }
    }
}

impl<T> std::fmt::Debug for Baton<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Baton")
    }
}

impl<T> std::fmt::Debug for Holder<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holder")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;
    use crate::block_on;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn free_baton_is_ready_at_the_first_poll() {
        let baton = Baton::new(1);
        *block_on(baton.take()) += 1;
        assert_eq!(*block_on(baton.take()), 2);
    }

    #[test]
    fn held_baton_is_refused_and_free_again_after_drop() {
        let baton = Baton::new(());
        let holder = baton.try_take().unwrap();
        assert!(baton.try_take().is_none());
        drop(holder);
        assert!(baton.try_take().is_some());
    }

    #[test]
    fn waiters_are_served_in_order_and_woken_one_by_one() {
        let baton = Baton::new(());
        let holder = baton.try_take().unwrap();
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count::default())).collect();
        let mut waiters: Vec<_> = (0..3).map(|_| Box::pin(baton.take())).collect();
        for (waiter, count) in waiters.iter_mut().zip(&counts) {
            let waker = Waker::from(Arc::clone(count));
            assert!(
                waiter
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        let woken = || -> Vec<_> { counts.iter().map(|c| c.0.load(Ordering::SeqCst)).collect() };
        drop(holder);
        assert_eq!(woken(), [1, 0, 0]);
        // On its way to the first waiter: nobody may overtake.
        assert!(baton.try_take().is_none());
        assert!(poll(waiters[1].as_mut()).is_pending());
        let Poll::Ready(first) = poll(waiters[0].as_mut()) else {
            panic!("the first waiter has its turn");
        };
        drop(first);
        assert!(poll(waiters[1].as_mut()).is_ready());
        // Its holder was dropped at once: the third has it.
        assert_eq!(woken()[2], 1);
        assert!(poll(waiters[2].as_mut()).is_ready());
    }

    #[test]
    fn cancelled_waiter_is_passed_over() {
        let baton = Baton::new(());
        let holder = baton.try_take().unwrap();
        let mut first = Box::pin(baton.take());
        let mut second = pin!(baton.take());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(baton.queue().waiters.len(), 1);
        drop(holder);
        assert!(poll(second.as_mut()).is_ready());
    }

    #[test]
    fn waiter_cancelled_after_the_hand_over_passes_it_on() {
        let baton = Baton::new(());
        let holder = baton.try_take().unwrap();
        let mut first = Box::pin(baton.take());
        let mut second = pin!(baton.take());
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        drop(holder);
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
        assert!(baton.try_take().is_some());
    }

    #[test]
    fn panicking_holder_passes_it_on() {
        let baton = Arc::new(Baton::new(0));
        let other = Arc::clone(&baton);
        let panicked = crate::thread::spawn("panics", move || {
            let mut holder = block_on(other.take());
            *holder = 1;
            std::panic::resume_unwind(Box::new(()));
        })
        .unwrap()
        .join();
        assert!(panicked.is_err());
        assert_eq!(*block_on(baton.take()), 1);
    }

    #[test]
    fn threads_exclude_each_other() {
        let baton = Arc::new(Baton::new((0_u64, 0_u64)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let baton = Arc::clone(&baton);
                crate::thread::spawn("takes", move || {
                    for _ in 0..500 {
                        let mut pair = block_on(baton.take());
                        pair.0 += 1;
                        assert_eq!(pair.0, pair.1 + 1);
                        pair.1 += 1;
                    }
                })
                .unwrap()
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(*block_on(baton.take()), (2000, 2000));
    }
}
