//! The thread that leads for asynchronous committers. Started by the first of them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use crate::commit::{CommitPath, Writer};
use crate::error::{Error, Result};

/// The thread and the way to it.
#[derive(Debug, Default)]
pub(crate) struct LogThread(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    NotStarted,
    Running(Running),
    Stopped,
}

#[derive(Debug)]
struct Running {
    writers: Sender<Box<Writer>>,
    thread: JoinHandle<()>,
}

impl LogThread {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, if need be: before work is queued that only it can do, since whoever leads
    /// then hands the writer on to it.
    pub(crate) fn start(&self, path: &Arc<CommitPath>) -> Result<()> {
        let mut state = self.state();
        match *state {
            State::NotStarted => *state = State::Running(start(path)?),
            State::Running(_) => {}
            State::Stopped => return Err(Error::Closed),
        }
        Ok(())
    }

    /// Gives the writer to the thread; gives it back if the thread is gone.
    pub(crate) fn lead(&self, writer: Box<Writer>) -> std::result::Result<(), Box<Writer>> {
        match &*self.state() {
            State::Running(running) => running.writers.send(writer).map_err(|error| error.0),
            State::NotStarted | State::Stopped => Err(writer),
        }
    }

    /// Whether the caller runs on it.
    pub(crate) fn is_current(&self) -> bool {
        match &*self.state() {
            State::Running(running) => running.thread.thread().id() == std::thread::current().id(),
            State::NotStarted | State::Stopped => false,
        }
    }

    /// Ends the thread. Nothing is handed over after this.
    pub(crate) fn stop(&self) {
        let state = std::mem::replace(&mut *self.state(), State::Stopped);
        if let State::Running(Running { writers, thread }) = state {
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
