//! Segments for the log, and files for large values, made ready off the commit path: the next one before it is needed, out of an old one where
//! there is one.
//!
//! - Whoever prepares holds the turn, and neither leadership nor the queue. Leading the commit path takes what is ready,
//!   and goes on in the current segment, which grows, while nothing is.
//! - A segment is ready once it is on disk and the manifest names it: replay knows unused segments.
//! - The one that was left is synced before the next is made ready, so at most one is unsynced besides the current.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::{Mode, Storage};
use trine_platform::baton::{Baton, Holder};
use trine_platform::block_on;

use crate::blob::GrowingFile;
use crate::error::{Error, Result};
use crate::file_name::FileNumbers;
use crate::manifest::{Change, Manifest, VersionEdit};
use crate::open_files::OpenFiles;
use crate::wal::{
    LeftSegment, LogWriter, Prepared, Reached, Retired, SegmentFile, Space, segment_name,
};

/// Where the log's segments come from, and where they go.
#[derive(Debug)]
pub(crate) struct LogSupply {
    storage: Storage,
    manifest: Arc<Baton<Manifest>>,
    /// The segment that commits go to. Written by the leader: whoever reads it knows that a commit which is not in a
    /// memtable yet is in this or in a later one.
    current: AtomicU64,
    /// Bytes of it below are with the operating system; less is said while the log goes over.
    written: AtomicU64,
    /// How long the next one is to be; 0: it grows.
    next_bytes: AtomicU64,
    /// Whether it is to be filled.
    next_is_filled: AtomicBool,
    /// Asked for, and not made ready yet.
    wanted: AtomicBool,
    /// One preparation at a time; true once the database is closed.
    preparing: Baton<bool>,
    /// A file for large values is asked for, and not made ready yet.
    values_wanted: AtomicBool,
    /// As `preparing`, of files for large values.
    making_values: Baton<bool>,
    files: Arc<OpenFiles>,
    numbers: Arc<FileNumbers>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Option<Prepared>,
    /// For the large values of the next memtable that has some.
    values: Option<Arc<GrowingFile>>,
    /// The segment that commits go to.
    current: Option<Arc<SegmentFile>>,
    /// Left by the leader and not known to be on disk.
    left: Option<Arc<LeftSegment>>,
    /// Written by this life and left; files of earlier lives may hold marks of any number.
    own: Vec<Retired>,
    /// Kept to become the next one.
    retired: Option<Retired>,
}

impl LogSupply {
    pub(crate) fn new(
        storage: Storage,
        manifest: Arc<Baton<Manifest>>,
        files: Arc<OpenFiles>,
        numbers: Arc<FileNumbers>,
        log: Option<&LogWriter>,
    ) -> Self {
        Self {
            storage,
            manifest,
            current: AtomicU64::new(log.map_or(0, LogWriter::number)),
            written: AtomicU64::new(0),
            next_bytes: AtomicU64::new(0),
            next_is_filled: AtomicBool::new(true),
            wanted: AtomicBool::new(false),
            preparing: Baton::new(false),
            values_wanted: AtomicBool::new(false),
            making_values: Baton::new(false),
            files,
            numbers,
            state: Mutex::new(State {
                current: log.map(|log| Arc::clone(log.file())),
                ..State::default()
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manifest, which names the segments.
    pub(crate) fn manifest(&self) -> &Baton<Manifest> {
        &self.manifest
    }

    /// The segment that commits go to.
    pub(crate) fn current(&self) -> u64 {
        self.current.load(Acquire)
    }

    /// How far the log has come.
    fn reached(&self) -> Reached {
        // In this order: what is said of a segment that was left since is of no interest to anybody.
        let segment = self.current();
        let bytes = self.written.load(Acquire);
        Reached { segment, bytes }
    }

    /// The current segment was written up to `bytes`. Commit leader only.
    pub(super) fn note_written(&self, bytes: u64) {
        self.written.store(bytes, Release);
    }

    /// Has the next segment, of `bytes` with `space`, made ready on a thread for jobs. Where there is none, a committer does it
    /// before it queues.
    pub(super) fn ask(self: &Arc<Self>, bytes: u64, space: Space) {
        self.next_bytes.store(bytes, Relaxed);
        self.next_is_filled.store(space == Space::Filled, Relaxed);
        self.wanted.store(true, Relaxed);
        if self.storage.capabilities().cooperative {
            let supply = Arc::clone(self);
            // A failure is met again by whoever needs the space; the leader asks again as the log grows.
            drop(self.storage.offload(Mode::Cooperative, move || {
                // Who prepares already does what is asked for, or looks again afterwards. To wait for that would take a second thread from
                // other jobs, those among them that make files for large values, without which these fill the memtable and the log.
                while supply.wanted.load(Relaxed)
                    && let Some(turn) = supply.preparing.try_take()
                {
                    drop(block_on(supply.prepare_in(turn, Mode::Blocking)));
                }
            }));
        }
    }

    /// Whether the caller, about to commit, should [`make_wanted`](Self::make_wanted) first.
    pub(crate) fn is_wanting(&self) -> bool {
        (self.wanted.load(Relaxed) || self.values_wanted.load(Relaxed))
            && !self.storage.capabilities().cooperative
    }

    /// Makes ready what was asked for. A failure leaves commits to do without.
    pub(crate) async fn make_wanted(&self, mode: Mode) {
        if self.values_wanted.load(Relaxed) {
            drop(self.make_values(mode).await);
        }
        if self.wanted.load(Relaxed) {
            drop(self.prepare(mode).await);
        }
    }

    /// Makes the next segment ready, if none is, and the one that was left durable.
    ///
    /// # Errors
    /// `Closed`, `Io`: the log goes on without.
    pub(crate) async fn prepare(&self, mode: Mode) -> Result<()> {
        let turn = self.preparing.take().await;
        self.prepare_in(turn, mode).await
    }

    async fn prepare_in(&self, turn: Holder<'_, bool>, mode: Mode) -> Result<()> {
        self.wanted.store(false, Relaxed);
        if *turn {
            return Err(Error::Closed);
        }
        self.sync_left(mode).await?;
        if self.state().ready.is_some() {
            return Ok(());
        }
        let number = match self.manifest.take().await.state().log_segments() {
            Some(segments) => segments.end() + 1,
            None => return Ok(()),
        };
        let prepared = self.make(number, mode).await?;
        let edit = VersionEdit {
            changes: vec![Change::LogStarted { segment: number }],
        };
        let mut manifest = self.manifest.take().await;
        if let Err(error) = manifest.append(&edit, mode).await {
            if manifest.check().is_ok() {
                drop(prepared);
                drop(self.storage.remove(mode, &segment_name(number)).await);
            }
            return Err(error);
        }
        drop(manifest);
        self.state().ready = Some(prepared);
        Ok(())
    }

    /// A file for the large values of a memtable, if one is ready; the next one is asked for. Commit leader only.
    pub(super) fn take_values(self: &Arc<Self>) -> Option<Arc<GrowingFile>> {
        let ready = self.state().values.take();
        if !self.values_wanted.swap(true, Relaxed) && self.storage.capabilities().cooperative {
            let supply = Arc::clone(self);
            // A failure leaves large values to the log; it is asked again for the next one.
            drop(self.storage.offload(Mode::Cooperative, move || {
                drop(block_on(supply.make_values(Mode::Blocking)));
            }));
        }
        ready
    }

    async fn make_values(&self, mode: Mode) -> Result<()> {
        let closed = self.making_values.take().await;
        self.values_wanted.store(false, Relaxed);
        if *closed || self.state().values.is_some() {
            return Ok(());
        }
        let number = self.numbers.take();
        let file = GrowingFile::create(&self.storage, &self.files, number, mode).await?;
        self.state().values = Some(file);
        Ok(())
    }

    async fn make(&self, number: u64, mode: Mode) -> Result<Prepared> {
        let bytes = self.next_bytes.load(Relaxed);
        let space = if self.next_is_filled.load(Relaxed) {
            Space::Filled
        } else {
            Space::Reserved
        };
        let retired = self.state().retired.take();
        if let Some(retired) = retired {
            if retired.can_become(number, bytes, space) {
                if let Ok(prepared) = Prepared::recycle(&self.storage, retired, number, mode).await
                {
                    return Ok(prepared);
                }
                drop(self.storage.remove(mode, &segment_name(number)).await);
            }
            // Of no use any more: it makes room for one that is.
            self.remove(retired.number, mode).await;
        }
        Prepared::create(&self.storage, number, bytes, space, mode).await
    }

    /// Makes the segment that was left survive power loss, if there is one.
    ///
    /// # Errors
    /// `Io`; the leader finds the same failure and stops.
    pub(crate) async fn sync_left(&self, mode: Mode) -> Result<()> {
        let left = self.state().left.clone();
        if let Some(left) = left {
            left.sync(mode).await?;
            self.state().left.take_if(|other| Arc::ptr_eq(other, &left));
        }
        Ok(())
    }

    /// Makes all that was committed before the call survive power loss, without leading the commit path: commits that
    /// are not synced themselves wait for none of it. Gives back how far the log had come.
    ///
    /// # Errors
    /// `Io`; the leader's next sync fails, too.
    pub(crate) async fn sync(&self, mode: Mode) -> Result<Reached> {
        // In this order: the log may go over to its next segment in between.
        let reached = self.reached();
        let current = self.state().current.clone();
        self.sync_left(mode).await?;
        if let Some(current) = current {
            current.sync(mode).await?;
        }
        Ok(reached)
    }

    /// The next segment, if it is ready. Commit leader only.
    pub(super) fn take_ready(&self) -> Option<Prepared> {
        self.state().ready.take()
    }

    /// It was not used after all.
    pub(super) fn give_back(&self, ready: Prepared) {
        self.state().ready = Some(ready);
    }

    /// The log went over to another segment. Commit leader only, before anything is committed there.
    pub(super) fn went_over(&self, log: &LogWriter, left: Option<Arc<LeftSegment>>, own: Retired) {
        self.written.store(0, Release);
        self.current.store(log.number(), Release);
        let mut state = self.state();
        state.current = Some(Arc::clone(log.file()));
        state.left = left;
        state.own.push(own);
    }

    /// Nobody needs the segment any more, and the manifest says so durably: it becomes the next one or goes.
    pub(crate) async fn retire(&self, number: u64, mode: Mode) {
        {
            let mut state = self.state();
            let own = state.own.iter().position(|own| own.number == number);
            let own = own.map(|index| state.own.swap_remove(index));
            if let Some(own) =
                own.filter(|own| own.bytes > 0 && own.bytes >= self.next_bytes.load(Relaxed))
                && state.retired.is_none()
            {
                state.retired = Some(own);
                return;
            }
        }
        self.remove(number, mode).await;
    }

    async fn remove(&self, number: u64, mode: Mode) {
        // A failure leaves debris below the floor, which the next open removes.
        drop(self.storage.remove(mode, &segment_name(number)).await);
    }

    /// Nothing is prepared any more; what is kept for later gives its space back.
    pub(crate) async fn close(&self, mode: Mode) {
        let mut closed = self.preparing.take().await;
        *closed = true;
        *self.making_values.take().await = true;
        let (ready, retired, values) = {
            let mut state = self.state();
            let values = state.values.take();
            (state.ready.take(), state.retired.take(), values)
        };
        if let Some(values) = values {
            values.remove(mode).await;
        }
        if let Some(ready) = ready {
            ready.empty(mode).await;
        }
        if let Some(retired) = retired {
            self.remove(retired.number, mode).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::BlockCache;
    use crate::manifest::ManifestState;

    const MODE: Mode = Mode::Blocking;

    /// A second wish used to wait for the first one in a thread of its own, and there are two.
    #[test]
    fn who_asks_while_a_segment_is_made_takes_no_thread_from_other_jobs() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::portable(directory.path());
        let numbers = Arc::new(FileNumbers::starting_at(1));
        let state = ManifestState::default();
        let manifest = Manifest::create(&storage, Arc::clone(&numbers), state, MODE);
        let manifest = Arc::new(Baton::new(block_on(manifest).unwrap()));
        let cache = Arc::new(BlockCache::new(0));
        let files = Arc::new(OpenFiles::new(storage.clone(), cache, usize::MAX));
        let supply = LogSupply::new(storage.clone(), manifest, files, numbers, None);
        let supply = Arc::new(supply);
        let making = block_on(supply.preparing.take());
        for _ in 0..4 {
            supply.ask(0, Space::Reserved);
        }
        block_on(storage.offload(Mode::Cooperative, || ())).unwrap();
        drop(making);
    }
}
