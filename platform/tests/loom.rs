//! Every interleaving of the one-shot event and of the baton, by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p trine-platform --test loom --release`.
#![cfg(loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use trine_platform::Baton;
use trine_platform::event::channel;

#[test]
fn value_reaches_a_waiter_on_another_thread() {
    loom::model(|| {
        let (setter, event) = channel();
        let sender = thread::spawn(move || setter.set(7));
        assert_eq!(block_on(event), Some(7));
        sender.join().unwrap();
    });
}

#[test]
fn dropped_setter_wakes_a_waiter_on_another_thread() {
    loom::model(|| {
        let (setter, event) = channel::<u8>();
        let sender = thread::spawn(move || drop(setter));
        assert_eq!(block_on(event), None);
        sender.join().unwrap();
    });
}

#[test]
fn value_racing_a_close_ends_in_exactly_one_place() {
    loom::model(|| {
        let (setter, mut event) = channel();
        let sender = thread::spawn(move || setter.send(7).is_err());
        let arrived = event.close().is_some();
        let came_back = sender.join().unwrap();
        assert_ne!(arrived, came_back);
    });
}

#[test]
fn holders_exclude_each_other() {
    loom::model(|| {
        let baton = Arc::new(Baton::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let enter = |baton: &Baton<u8>, inside: &AtomicUsize| {
            let mut holder = block_on(baton.take());
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
            *holder += 1;
            inside.fetch_sub(1, Ordering::Relaxed);
        };
        let other = {
            let (baton, inside) = (Arc::clone(&baton), Arc::clone(&inside));
            thread::spawn(move || enter(&baton, &inside))
        };
        enter(&baton, &inside);
        other.join().unwrap();
        assert_eq!(baton.try_take().map(|value| *value), Some(2));
    });
}

#[test]
fn waiter_cancelled_during_the_hand_over_does_not_keep_the_baton() {
    loom::model(|| {
        let baton = Arc::new(Baton::new(()));
        let holder = baton.try_take().unwrap();
        let canceller = {
            let baton = Arc::clone(&baton);
            thread::spawn(move || {
                let mut take = Box::pin(baton.take());
                let polled = Pin::new(&mut take).poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(polled, Poll::Pending | Poll::Ready(_)));
            })
        };
        drop(holder);
        drop(block_on(baton.take()));
        canceller.join().unwrap();
        assert!(baton.try_take().is_some());
    });
}
