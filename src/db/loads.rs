//! Bulk loads that run: who closes the database waits for them, as they write files into its directory.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use trine_platform::bell::Bell;

/// How many there are.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    running: AtomicUsize,
    ended: Bell,
}

/// One of them.
#[derive(Debug)]
#[must_use = "the load counts as ended when this is dropped"]
pub(crate) struct Running<'a>(&'a Loads);

impl Loads {
    /// Counts one more. Look afterwards whether the database is closed: who closes it looks the other way round.
    pub(crate) fn begin(&self) -> Running<'_> {
        self.running.fetch_add(1, SeqCst);
        Running(self)
    }

    /// Waits until none runs.
    pub(crate) async fn ended(&self) {
        loop {
            let ended = self.ended.next_ring();
            if self.running.load(SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
        self.0.ended.ring();
    }
}
