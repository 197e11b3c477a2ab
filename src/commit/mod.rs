//! The path of a write: queue -> validate -> large values to their files -> log, as durably as asked -> apply -> publish.
//!
//! - Whoever holds the [`Writer`] leads: it alone assigns sequences, appends to the log, inserts
//!   into memtables and freezes them. The writer lies in the queue while nobody leads.
//! - Committers that come meanwhile queue up; the next leader takes them all as one group, with one
//!   write and one sync for all of them. While one group syncs, the next fills; `company` keeps the two from taking turns.
//! - A blocking committer leads itself when nobody does, for its own group only, and then hands the
//!   writer on. An asynchronous one never leads: it hands over to the log thread, so that the
//!   polling thread neither blocks nor pays for others.
//! - A commit is visible once it and all before it are logged, as durable as asked, and applied.
//! - A write that fails is taken back, and only its group fails. After a failed sync, or where taking back fails,
//!   nothing is written any more: what reached the disk is unknown until the log is replayed by the
//!   next open. A sync is never tried twice (Rebello et al., "Can applications recover from fsync failures?", ATC 2020).
//! - Leading makes, names and removes no file: `supply` does, ahead.

mod apply;
pub(crate) mod backpressure;
pub(crate) mod batch;
mod company;
pub(crate) mod conflict;
pub(crate) mod encoding;
mod failure;
mod group;
mod leadership;
mod log_thread;
pub(crate) mod merged;
pub(crate) mod range_set;
pub(crate) mod supply;
mod values;

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::Mode;
use trine_platform::bell::Bell;
use trine_platform::event::{Event, Setter, channel};

use crate::commit::company::Company;
use crate::commit::conflict::Reads;
use crate::commit::encoding::EncodedBatch;
use crate::commit::failure::Failure;
use crate::commit::leadership::{Leadership, Waiting};
use crate::commit::log_thread::LogThread;
use crate::error::{Error, Result};
use crate::options::DurabilityMode;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::wal::{LogWriter, Reached};

pub(crate) use apply::{How, apply};
pub(crate) use group::{GroupContext, SEGMENTS_KEPT};
#[cfg(test)]
pub(crate) use leadership::LEADS;
pub(crate) use supply::LogSupply;

/// What leads. Owned by one thread at a time.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` in memory.
    pub(crate) log: Option<LogWriter>,
    /// The newest sequence assigned.
    pub(crate) last: Sequence,
    /// For which segment, and how often, the next one was asked for.
    asked: (u64, u64),
    /// Whom a sync waits for.
    company: Company,
    /// Kept between commits, empty, to save an allocation each.
    results: Vec<Result<Sequence>>,
    /// Set by the first failed write or sync, and for ever.
    failure: Option<Failure>,
}

impl Writer {
    pub(crate) fn new(log: Option<LogWriter>, last: Sequence) -> Self {
        Self {
            log,
            last,
            asked: (0, 0),
            company: Company::default(),
            results: Vec::new(),
            failure: None,
        }
    }
}

/// One commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) batch: EncodedBatch,
    pub(crate) trees: Touched,
    pub(crate) reads: Option<Reads>,
    pub(crate) durability: DurabilityMode,
}

/// The trees that a commit writes to. Nearly always one, which takes no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Touched {
    One(Arc<Tree>),
    Many(Vec<Arc<Tree>>),
}

impl std::ops::Deref for Touched {
    type Target = [Arc<Tree>];

    fn deref(&self) -> &[Arc<Tree>] {
        match self {
            Self::One(tree) => std::slice::from_ref(tree),
            Self::Many(trees) => trees,
        }
    }
}

/// A commit whose data is in tables already.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tree: Arc<Tree>,
    /// What the log says of it.
    pub(crate) batch: EncodedBatch,
    pub(crate) durability: DurabilityMode,
    pub(crate) guest: Box<dyn Guest>,
}

/// Makes a load part of its tree once it has its sequence, while nothing else is committed.
pub(crate) trait Guest: Debug + Send {
    fn install(self: Box<Self>, at: Sequence, mode: Mode) -> Installing;
}

pub(crate) type Installing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// What can be asked of the leader.
#[derive(Debug)]
pub(crate) enum Work {
    Commit(Commit),
    Load(Load),
    /// Make everything logged so far as durable as this.
    Persist(DurabilityMode),
    /// Take note that somebody else synced the log that far.
    NoteSynced(Reached),
    /// Make every memtable that holds something immutable, so that it can be flushed.
    Freeze,
    /// Take a bucket out of the database, with everything in it.
    Drop(Arc<Tree>),
    /// Nothing is written after this.
    Close,
}

impl Work {
    /// Whether it syncs the log.
    fn syncs(&self) -> bool {
        match self {
            Self::Commit(Commit { durability, .. })
            | Self::Load(Load { durability, .. })
            | Self::Persist(durability) => is_synced(*durability),
            Self::NoteSynced(_) | Self::Freeze | Self::Drop(_) | Self::Close => false,
        }
    }
}

fn is_synced(durability: DurabilityMode) -> bool {
    match durability {
        DurabilityMode::Buffered | DurabilityMode::Flush => false,
        DurabilityMode::SyncData | DurabilityMode::SyncAll => true,
    }
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
    /// Somebody waits for the next publication.
    awaited: bool,
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
    /// Rung for those who wait for one.
    publications: Bell,
}

/// What became of commits, and what went to the log. Written by the leader only.
#[derive(Debug, Default)]
struct Logged {
    records: AtomicU64,
    bytes: AtomicU64,
    unsynced_bytes: AtomicU64,
    /// The newest sequence given to a commit.
    allocated: AtomicU64,
    /// Sequences of commits that failed.
    skipped: AtomicU64,
}

/// [`Logged`] at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitStats {
    /// Commits.
    pub(crate) records: u64,
    /// Their encoded batches.
    pub(crate) bytes: u64,
    /// Of records, not known to survive power loss.
    pub(crate) unsynced_bytes: u64,
    /// The newest sequence given to a commit.
    pub(crate) allocated: u64,
    /// The newest visible one.
    pub(crate) visible: u64,
    /// Sequences above it that will never be visible.
    pub(crate) skipped: u64,
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
        let logged = Logged {
            allocated: AtomicU64::new(writer.last.get()),
            ..Logged::default()
        };
        let queue = Queue {
            writer: Some(Box::new(writer)),
            ..Queue::default()
        };
        Self {
            queue: Mutex::new(queue),
            visible,
            context,
            log_thread: LogThread::default(),
            logged,
            publications: Bell::default(),
        }
    }

    /// Where the log's segments come from; `None` in memory.
    pub(crate) fn supply(&self) -> Option<&Arc<LogSupply>> {
        self.context.log.as_ref()
    }

    /// The newest visible sequence.
    pub(crate) fn visible(&self) -> Sequence {
        Sequence::new(self.visible.load(Acquire))
    }

    pub(crate) fn stats(&self) -> CommitStats {
        CommitStats {
            records: self.logged.records.load(Relaxed),
            bytes: self.logged.bytes.load(Relaxed),
            unsynced_bytes: self.logged.unsynced_bytes.load(Relaxed),
            // The visible one first: it is never above an allocated one that is read later.
            visible: self.visible().get(),
            allocated: self.logged.allocated.load(Relaxed),
            skipped: self.logged.skipped.load(Relaxed),
        }
    }

    /// Notes what a group added to the log.
    fn note_logged(&self, writer: &Writer, records: usize, bytes: usize) {
        if let (Some(log), Some(supply)) = (&writer.log, &self.context.log) {
            supply.note_written(log.written());
            // Plain stores suffice: the leader is the only writer.
            let add = |counter: &AtomicU64, count: usize| {
                counter.store(counter.load(Relaxed) + count as u64, Relaxed);
            };
            add(&self.logged.records, records);
            add(&self.logged.bytes, bytes);
            self.logged
                .unsynced_bytes
                .store(log.unsynced_bytes(), Relaxed);
        }
    }

    /// Notes that commits up to `last` have their sequences.
    fn note_allocated(&self, last: Sequence) {
        self.logged.allocated.store(last.get(), Relaxed);
    }

    /// Notes that what has a sequence and is not visible will never be.
    fn note_skipped(&self) {
        let allocated = self.logged.allocated.load(Relaxed);
        let skipped = allocated.saturating_sub(self.visible().get());
        self.logged.skipped.store(skipped, Relaxed);
    }

    /// Ready once something may have been published since the call, or the database is closed.
    ///
    /// Whoever publishes takes the queue's lock afterwards, and so finds out at no cost whether somebody waits.
    pub(crate) fn next_publication(&self) -> Result<Event<()>> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::Closed);
        }
        queue.awaited = true;
        Ok(self.publications.next_ring())
    }

    fn publish(&self, sequence: Sequence) {
        self.visible.store(sequence.get(), Release);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the work on this thread: leads if nobody does, else waits for whoever leads.
    ///
    /// Dropped while it waits (which only a host without threads can do), the work is done whole or
    /// not at all. Dropped while it leads, the database is left as after a failed write.
    pub(crate) async fn run(&self, work: Work, mode: Mode) -> Result<Sequence> {
        let (writer, work) = match self.enter(work)? {
            // Nobody led, so nobody waited.
            Entered::Leads(writer, work) if !awaits_company(&writer, &work, mode) => {
                return self.lead_alone(writer, work, mode).await;
            }
            Entered::Leads(writer, work) => (writer, work),
            Entered::Waits(event) => {
                let mut waiting = Waiting { path: self, event };
                match (&mut waiting.event).await {
                    Some(Reply::Done(result)) => return result,
                    Some(Reply::Lead(writer, work)) => (writer, work),
                    None => return Err(Failure::lost().error()),
                }
            }
        };
        Box::pin(self.lead(writer, work, mode)).await
    }

    /// Commits if nobody leads and that takes no waiting; `None`: nothing was done, [`run`](Self::run) it. For callers who may block.
    pub(crate) fn commit_at_once(&self, commit: &Commit) -> Option<Result<Sequence>> {
        let writer = {
            let mut queue = self.queue();
            if queue.closed {
                return Some(Err(Error::Closed));
            }
            queue.writer.take()?
        };
        let mut leadership = Leadership {
            path: self,
            writer: Some(writer),
        };
        let result = leadership.commit_at_once(commit);
        leadership.hand_on();
        result
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
        self.log_thread.start(self)?;
        let (event, writer) = {
            let mut queue = self.queue();
            if queue.closed {
                return Err(Error::Closed);
            }
            (Self::push(&mut queue, work, false), queue.writer.take())
        };
        if let Some(writer) = writer {
            self.give_to_log_thread(writer);
        }
        Ok(HandedOver(event))
    }

    fn give_to_log_thread(&self, writer: Box<Writer>) {
        if let Err(writer) = self.log_thread.lead(writer) {
            // It panicked: whoever waits is told.
            drop(Leadership {
                path: self,
                writer: Some(writer),
            });
        }
    }

    /// Whether the caller is the log thread, which can wait for nothing that is to be led.
    pub(crate) fn is_log_thread(&self) -> bool {
        self.log_thread.is_current()
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

    /// Does `work` alone, then hands the writer on.
    async fn lead_alone(&self, writer: Box<Writer>, work: Work, mode: Mode) -> Result<Sequence> {
        let mut leadership = Leadership {
            path: self,
            writer: Some(writer),
        };
        let result = leadership.serve_one(work, mode).await;
        leadership.hand_on();
        result
    }

    /// Leads one group that starts with `own`, then hands the writer on.
    async fn lead(&self, writer: Box<Writer>, own: Work, mode: Mode) -> Result<Sequence> {
        let mut leadership = Leadership {
            path: self,
            writer: Some(writer),
        };
        if let Some(writer) = &leadership.writer
            && awaits_company(writer, &own, mode)
        {
            leadership.gather(1);
        }
        let waiting = std::mem::take(&mut self.queue().waiting);
        let (replies, work): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|request| (request.reply, request.work))
            .unzip();
        let work: Vec<_> = std::iter::once(own).chain(work).collect();
        let mut results = leadership.serve(work, mode).await.into_iter();
        let own = results
            .next()
            .unwrap_or_else(|| Err(Failure::lost().error()));
        // The writer goes on first: the next group need not wait until this one's members are woken.
        leadership.hand_on();
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
                if std::mem::take(&mut queue.awaited) {
                    drop(queue);
                    self.publications.ring();
                    continue;
                }
                if queue.waiting.is_empty() {
                    queue.writer = leadership.writer.take();
                    return;
                }
                if queue.waiting.iter().any(|request| request.work.syncs()) {
                    drop(queue);
                    leadership.gather(0);
                    queue = self.queue();
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

/// Whether who leads with this work should wait for others to come with theirs.
fn awaits_company(writer: &Writer, work: &Work, mode: Mode) -> bool {
    mode == Mode::Blocking && writer.company.is_expected() && work.syncs()
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use trine_platform::block_on;

    use super::*;
    use crate::tree::Registry;

    fn in_memory() -> Arc<CommitPath> {
        let context = GroupContext {
            trees: Arc::new(Registry::default()),
            write_buffer_bytes: None,
            places_values: false,
            maintenance: Arc::new(Bell::default()),
            log: None,
        };
        Arc::new(CommitPath::new(Writer::new(None, Sequence::ZERO), context))
    }

    fn leads(path: &CommitPath) -> (Box<Writer>, Work) {
        match path.enter(Work::Freeze).unwrap() {
            Entered::Leads(writer, work) => (writer, work),
            Entered::Waits(_) => panic!("somebody leads already"),
        }
    }

    #[test]
    fn the_first_asynchronous_commit_may_come_while_a_blocking_one_leads() {
        let path = in_memory();
        let (writer, work) = leads(&path);
        // Takes what waits, then comes this:
        let mut leadership = Leadership {
            path: &path,
            writer: Some(writer),
        };
        let handed_over = path.hand_over(Work::Freeze).unwrap();
        block_on(leadership.serve(vec![work], Mode::Blocking));
        leadership.hand_on();
        block_on(handed_over.wait()).unwrap();
        block_on(path.close(Mode::Blocking)).unwrap();
    }

    #[test]
    fn a_waiter_that_is_dropped_takes_no_leadership_with_it() {
        for arrived in [false, true] {
            let path = in_memory();
            let (writer, _) = leads(&path);
            let mut leadership = Leadership {
                path: &path,
                writer: Some(writer),
            };
            {
                let mut waiter = pin!(path.run(Work::Freeze, Mode::Cooperative));
                let mut context = Context::from_waker(Waker::noop());
                assert!(waiter.as_mut().poll(&mut context).is_pending());
                if arrived {
                    leadership.hand_on();
                }
            }
            leadership.hand_on();
            block_on(path.run(Work::Freeze, Mode::Blocking)).unwrap();
        }
    }

    #[test]
    fn after_a_panic_of_the_log_thread_commits_fail_and_do_not_hang() {
        let path = in_memory();
        path.log_thread.start(&path).unwrap();
        path.log_thread.stop();
        let (writer, _) = leads(&path);
        CommitPath::push(&mut path.queue(), Work::Freeze, false);
        path.give_to_log_thread(writer);
        assert!(path.queue().waiting.is_empty());
        assert!(block_on(path.run(Work::Freeze, Mode::Blocking)).is_err());
    }
}
