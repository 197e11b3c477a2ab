//! The thread that leads for asynchronous committers. Started by the first of them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use crate::commit::{CommitPath, Writer};
use crate::error::{Error, Result};

/// The thread and the way to it.
#[derive(Debug, Default)]
pub(crate) struct LogThread(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    writers: Sender<Box<Writer>>,
    thread: JoinHandle<()>,
}

impl LogThread {
    /// Gives the writer to the thread, starting it first if need be. On failure the writer is back
    /// in the queue and whoever waits there is told.
    pub(crate) fn lead(&self, path: &Arc<CommitPath>, writer: Box<Writer>) -> Result<()> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            match start(path) {
                Ok(started) => *running = Some(started),
                Err(error) => {
                    let mut queue = path.queue();
                    queue.writer = Some(writer);
                    queue.waiting.clear();
                    return Err(Error::Io(error));
                }
            }
        }
        drop(running);
        self.resume(writer);
        Ok(())
    }

    /// Gives the writer to the thread, which runs: somebody handed work over to it before.
    pub(crate) fn resume(&self, writer: Box<Writer>) {
        if let Some(running) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // The thread receives until the sender is gone, so this cannot fail while we hold it.
            drop(running.writers.send(writer));
        }
    }

    /// Ends the thread. Nothing is handed over after this.
    pub(crate) fn stop(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { writers, thread }) = running {
            drop(writers);
            // It only ends by returning or by a panic that its waiters have seen already.
            drop(thread.join());
        }
    }
}

fn start(path: &Arc<CommitPath>) -> std::io::Result<Running> {
    let (writers, inbox) = channel();
    let path = Arc::downgrade(path);
    let thread = trine_platform::thread::spawn("trine-log", move || serve(&path, &inbox))?;
    Ok(Running { writers, thread })
}

fn serve(path: &Weak<CommitPath>, inbox: &Receiver<Box<Writer>>) {
    while let Ok(writer) = inbox.recv() {
        match path.upgrade() {
            Some(path) => path.lead_until_idle(writer),
            None => return,
        }
    }
}
