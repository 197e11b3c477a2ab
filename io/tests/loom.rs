//! Every interleaving of what completes an operation of the host with who waits for it, by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p trine-io --test loom --release`.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a thread that panics fails the test")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::thread;
use trine_io::{Completion, Error, Operation};
use trine_platform::event::{Event, channel};

fn pending<T>(event: Event<trine_io::Result<T>>) -> Completion<T> {
    Completion::pending(event, || Error {
        operation: Operation::Read,
        name: "file".to_owned(),
        offset: None,
        source: std::io::Error::other("the driver is gone"),
    })
}

#[test]
fn an_answer_wakes_who_waits_for_it() {
    loom::model(|| {
        let (setter, event) = channel();
        let driver = thread::spawn(move || setter.set(Ok(7)));
        assert_eq!(block_on(pending(event)).unwrap(), 7);
        driver.join().unwrap();
    });
}

#[test]
fn a_driver_that_goes_away_is_an_error() {
    loom::model(|| {
        let (setter, event) = channel::<trine_io::Result<u8>>();
        let driver = thread::spawn(move || drop(setter));
        let error = block_on(pending(event)).unwrap_err();
        assert_eq!(error.source.to_string(), "the driver is gone");
        driver.join().unwrap();
    });
}

#[test]
fn who_was_polled_by_another_task_before_is_woken_where_it_is_now() {
    loom::model(|| {
        let (setter, event) = channel();
        let driver = thread::spawn(move || setter.set(Ok(7)));
        let mut completion = pending(event);
        let polled = Pin::new(&mut completion).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            assert_eq!(block_on(completion).unwrap(), 7);
        }
        driver.join().unwrap();
    });
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_dropped() {
    loom::model(|| {
        let answer = Arc::new(());
        let (setter, event) = channel();
        let driver = {
            let answer = Arc::clone(&answer);
            thread::spawn(move || setter.set(Ok(answer)))
        };
        drop(pending(event));
        driver.join().unwrap();
        assert_eq!(Arc::strong_count(&answer), 1);
    });
}
