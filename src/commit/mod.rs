//! The path of a write: queue -> validate -> log -> apply -> make durable -> publish.
//!
//! - Whoever holds the [`Writer`] leads: it alone assigns sequences, appends to the log, inserts
//!   into memtables and freezes them. The writer lies in the queue while nobody leads.
//! - Committers that come meanwhile queue up; the next leader takes them all as one group, with one
//!   write and one sync for all of them. While one group syncs, the next fills.
//! - A blocking committer leads itself when nobody does, for its own group only, and then hands the
//!   writer on. An asynchronous one never leads: it hands over to the log thread, so that the
//!   polling thread neither blocks nor pays for others.
//! - A commit is visible once it and all before it are logged, as durable as asked, and applied.
//! - After a failed write or sync nothing is written any more: what reached the disk is unknown
//!   until the log is replayed by the next open. A sync is never tried twice (Rebello et al., "Can
//!   applications recover from fsync failures?", ATC 2020).

pub(crate) mod batch;
pub(crate) mod conflict;
mod group;
mod log_thread;
pub(crate) mod range_set;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::Mode;
use trine_platform::event::{Event, Setter, channel};

use crate::commit::batch::EncodedBatch;
use crate::commit::conflict::Reads;
use crate::commit::group::Failure;
use crate::commit::log_thread::LogThread;
use crate::error::{Error, Result};
use crate::options::DurabilityMode;
use crate::sequence::Sequence;
use crate::wal::SegmentWriter;

pub(crate) use group::{GroupContext, LogContext, apply};

/// What leads. Owned by one thread at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` in memory.
    pub(crate) log: Option<SegmentWriter>,
    /// The newest sequence assigned.
    pub(crate) last: Sequence,
    /// Set by the first failed write or sync, and for ever.
    failure: Option<Failure>,
}

impl Writer {
    pub(crate) fn new(log: Option<SegmentWriter>, last: Sequence) -> Self {
        Self {
            log,
            last,
            failure: None,
        }
    }
}

/// One commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) batch: EncodedBatch,
    pub(crate) reads: Option<Reads>,
    pub(crate) durability: DurabilityMode,
}

/// What can be asked of the leader.
#[derive(Debug)]
pub(crate) enum Work {
    Commit(Commit),
    /// Make everything logged so far as durable as this.
    Persist(DurabilityMode),
    /// Make every memtable that holds something immutable, so that it can be flushed.
    Freeze,
    /// Nothing is written after this.
    Close,
}

enum Reply {
    /// The work is done.
    Done(Result<Sequence>),
    /// Lead, and do your work yourself.
    Lead(Box<Writer>, Work),
}

struct Request {
    work: Work,
    reply: Setter<Reply>,
    /// Its thread waits for the reply, and can lead.
    can_lead: bool,
}

enum Entered {
    Leads(Box<Writer>, Work),
    Waits(Event<Reply>),
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    /// Present while nobody leads.
    writer: Option<Box<Writer>>,
    closed: bool,
}

/// The commit path of one database.
pub(crate) struct CommitPath {
    /// Guards the queue; held for a push or a take, never across I/O.
    queue: Mutex<Queue>,
    /// The newest visible sequence; its release publishes everything applied up to it.
    visible: AtomicU64,
    context: GroupContext,
    log_thread: LogThread,
    logged: Logged,
}

/// What went to the log. Written by the leader only.
#[derive(Debug, Default)]
struct Logged {
    records: AtomicU64,
    bytes: AtomicU64,
    unsynced_bytes: AtomicU64,
}

/// [`Logged`] at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogStats {
    /// Commits.
    pub(crate) records: u64,
    /// Their encoded batches.
    pub(crate) bytes: u64,
    /// Of the current segment, not known to survive power loss.
    pub(crate) unsynced_bytes: u64,
}

impl std::fmt::Debug for CommitPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitPath")
            .field("visible", &self.visible())
            .finish_non_exhaustive()
    }
}

impl CommitPath {
    pub(crate) fn new(writer: Writer, context: GroupContext) -> Self {
        let visible = AtomicU64::new(writer.last.get());
        let queue = Queue {
            writer: Some(Box::new(writer)),
            ..Queue::default()
        };
        Self {
            queue: Mutex::new(queue),
            visible,
            context,
            log_thread: LogThread::default(),
            logged: Logged::default(),
        }
    }

    /// The newest visible sequence.
    pub(crate) fn visible(&self) -> Sequence {
        Sequence::new(self.visible.load(Acquire))
    }

    pub(crate) fn log_stats(&self) -> LogStats {
        LogStats {
            records: self.logged.records.load(Relaxed),
            bytes: self.logged.bytes.load(Relaxed),
            unsynced_bytes: self.logged.unsynced_bytes.load(Relaxed),
        }
    }

    /// Notes what a group added to the log.
    fn note_logged(&self, writer: &Writer, records: usize, bytes: usize) {
        if let Some(log) = &writer.log {
            self.logged.records.fetch_add(records as u64, Relaxed);
            self.logged.bytes.fetch_add(bytes as u64, Relaxed);
            self.logged
                .unsynced_bytes
                .store(log.unsynced_bytes(), Relaxed);
        }
    }

    fn publish(&self, sequence: Sequence) {
        self.visible.store(sequence.get(), Release);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work on this thread: leads if nobody does, else waits for whoever leads.
    ///
    /// Dropped while it waits, the work is done all the same. Dropped while it leads (which only a
    /// host without threads can do), the database is left as after a failed write.
    pub(crate) async fn run(&self, work: Work, mode: Mode) -> Result<Sequence> {
        let (writer, work) = match self.enter(work)? {
            Entered::Leads(writer, work) => (writer, work),
            Entered::Waits(event) => match event.await {
                Some(Reply::Done(result)) => return result,
                Some(Reply::Lead(writer, work)) => (writer, work),
                None => return Err(Failure::lost().error()),
            },
        };
        self.lead(writer, work, mode).await
    }

    /// Takes the writer if nobody leads, else a place in the queue.
    fn enter(&self, work: Work) -> Result<Entered> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::Closed);
        }
        Ok(match queue.writer.take() {
            Some(writer) => Entered::Leads(writer, work),
            None => Entered::Waits(Self::push(&mut queue, work, true)),
        })
    }

    /// Hands the work to the log thread; the event is set when it is done.
    pub(crate) fn hand_over(self: &Arc<Self>, work: Work) -> Result<HandedOver> {
        let (event, writer) = {
            let mut queue = self.queue();
            if queue.closed {
                return Err(Error::Closed);
            }
            (Self::push(&mut queue, work, false), queue.writer.take())
        };
        if let Some(writer) = writer {
            self.log_thread.lead(self, writer)?;
        }
        Ok(HandedOver(event))
    }

    fn push(queue: &mut Queue, work: Work, can_lead: bool) -> Event<Reply> {
        let (reply, event) = channel();
        queue.waiting.push(Request {
            work,
            reply,
            can_lead,
        });
        event
    }

    /// Leads one group that starts with `own`, then hands the writer on.
    async fn lead(&self, writer: Box<Writer>, own: Work, mode: Mode) -> Result<Sequence> {
        let mut leadership = Leadership {
            path: self,
            writer: Some(writer),
        };
        let waiting = std::mem::take(&mut self.queue().waiting);
        let (replies, work): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|request| (request.reply, request.work))
            .unzip();
        let mut results = leadership
            .serve(std::iter::once(own).chain(work).collect(), mode)
            .await
            .into_iter();
        let own = results
            .next()
            .unwrap_or_else(|| Err(Failure::lost().error()));
        // The writer goes on first: the next group need not wait until this one's members are woken.
        leadership.hand_on(&self.log_thread);
        for (reply, result) in replies.into_iter().zip(results) {
            reply.set(Reply::Done(result));
        }
        own
    }

    /// Serves group after group until nobody waits. For the log thread.
    fn lead_until_idle(&self, writer: Box<Writer>) {
        let mut leadership = Leadership {
            path: self,
            writer: Some(writer),
        };
        loop {
            let waiting = {
                let mut queue = self.queue();
                if queue.waiting.is_empty() {
                    queue.writer = leadership.writer.take();
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            let (replies, work): (Vec<_>, Vec<_>) = waiting
                .into_iter()
                .map(|request| (request.reply, request.work))
                .unzip();
            let results = trine_platform::block_on(leadership.serve(work, Mode::Blocking));
            for (reply, result) in replies.into_iter().zip(results) {
                reply.set(Reply::Done(result));
            }
        }
    }

    /// Nothing is accepted any more; waits for running work, and for the log thread to end.
    pub(crate) async fn close(&self, mode: Mode) -> Result<()> {
        let result = self.run(Work::Close, mode).await;
        self.log_thread.stop();
        match result {
            Ok(_) | Err(Error::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Work that the log thread does; a future of its result.
#[derive(Debug)]
pub(crate) struct HandedOver(Event<Reply>);

impl HandedOver {
    pub(crate) async fn wait(self) -> Result<Sequence> {
        match self.0.await {
            Some(Reply::Done(result)) => result,
            Some(Reply::Lead(..)) | None => Err(Failure::lost().error()),
        }
    }
}

/// Holds the writer, and fails the path if it is lost by an unwind or a dropped future.
struct Leadership<'a> {
    path: &'a CommitPath,
    writer: Option<Box<Writer>>,
}

impl Leadership<'_> {
    async fn serve(&mut self, work: Vec<Work>, mode: Mode) -> Vec<Result<Sequence>> {
        match &mut self.writer {
            Some(writer) => group::serve(self.path, writer, work, mode).await,
            None => Vec::new(),
        }
    }

    /// To the first waiter that can lead, to the log thread, or back into the queue.
    fn hand_on(&mut self, log_thread: &LogThread) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        let mut queue = self.path.queue();
        if let Some(next) = queue.waiting.iter().position(|request| request.can_lead) {
            let next = queue.waiting.remove(next);
            drop(queue);
            next.reply.set(Reply::Lead(writer, next.work));
        } else if queue.waiting.is_empty() {
            queue.writer = Some(writer);
        } else {
            drop(queue);
            log_thread.resume(writer);
        }
    }
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take() {
            writer.failure = Some(Failure::lost());
            let mut queue = self.path.queue();
            queue.writer = Some(writer);
            // Dropping the requests answers them: whoever waits sees a lost reply.
            queue.waiting.clear();
        }
    }
}
