//! What to do next, one bounded unit at a time: flushes, then compactions.

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use trine_io::Mode;
use trine_platform::baton::{Baton, Holder};
use trine_platform::clock;

use crate::commit::Work;
use crate::db::budget::{MaintenanceBudget, MaintenanceOutcome};
use crate::db::counters::bytes_of;
use crate::db::{Core, Persistent};
use crate::error::{Error, Result};
use crate::event::{Event, Job};
use crate::manifest::Change;
use crate::options::DurabilityMode;
use crate::tree::buffer::WriteBuffer;
use crate::tree::build::{BuildContext, Built};
use crate::tree::flush::flush;
use crate::tree::picker::Goal;
use crate::tree::throttle::{AtClose, Throttle};
use crate::tree::version::VersionChange;
use crate::tree::{Tree, Trees};
use crate::wal::kept_from;

/// What became of one unit of maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Done,
    /// There was nothing to do.
    Idle,
    /// Another job of the kind runs, and the caller did not want to wait for it.
    Busy,
}

/// What to do while another job of the kind runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Wait,
    Try,
}

async fn turn(baton: &Baton<()>, turn: Turn) -> Option<Holder<'_, ()>> {
    match turn {
        Turn::Wait => Some(baton.take().await),
        Turn::Try => baton.try_take(),
    }
}

impl Persistent {
    /// What building tables needs. When `closed` is set, it goes on or not.
    pub(crate) fn build_context<'a>(
        &'a self,
        closed: &'a AtomicBool,
        at_close: AtClose,
        mode: Mode,
    ) -> BuildContext<'a> {
        BuildContext {
            storage: &self.storage,
            files: &self.files,
            mode,
            numbers: &self.numbers,
            throttle: Throttle {
                pace: &self.background,
                bytes_per_second: &self.background_limit,
                closed,
                at_close,
            },
            blob_gc: self.blob_gc,
        }
    }
}

impl Core {
    /// Puts everything committed before the call into tables.
    pub(crate) async fn flush_all(&self, mode: Mode) -> Result<()> {
        self.check_writable()?;
        if self.persistent.is_none() {
            return Ok(());
        }
        if let Some(supply) = self.commits.supply() {
            // For the log to go over to; without it, it goes on where it is.
            drop(supply.prepare(mode).await);
        }
        self.commits.run(Work::Freeze, mode).await?;
        for tree in self.trees.load().iter() {
            self.flush_immutables(tree, mode).await?;
        }
        self.remove_obsolete(mode).await;
        self.maintenance.ring();
        Ok(())
    }

    /// Flushes every immutable memtable of the tree.
    pub(crate) async fn flush_immutables(&self, tree: &Tree, mode: Mode) -> Result<()> {
        // Those that are there now: others may freeze more as fast as they are flushed.
        for _ in 0..tree.immutables() {
            if self.flush_oldest(tree, Turn::Wait, mode).await? == Unit::Idle {
                break;
            }
        }
        Ok(())
    }

    /// Flushes the oldest immutable memtable of the tree, if there is one.
    pub(crate) async fn flush_oldest(&self, tree: &Tree, when: Turn, mode: Mode) -> Result<Unit> {
        let Some(persistent) = &self.persistent else {
            return Ok(Unit::Idle);
        };
        let Some(_turn) = turn(&persistent.flushing, when).await else {
            return Ok(Unit::Busy);
        };
        self.check_open()?;
        let view = tree.pin();
        match view.immutables.last() {
            Some(oldest) if tree.check_kept().is_ok() => {
                let job = Job::Flush {
                    bucket: tree.name(),
                };
                let flush = self.flush_buffer(persistent, tree, oldest, mode);
                self.observer.within(job, flush).await?;
                Ok(Unit::Done)
            }
            _ => Ok(Unit::Idle),
        }
    }

    /// Flushes `oldest`, the oldest immutable memtable of the tree. The caller holds the turn.
    pub(crate) async fn flush_buffer(
        &self,
        persistent: &Persistent,
        tree: &Tree,
        oldest: &Arc<WriteBuffer>,
        mode: Mode,
    ) -> Result<()> {
        persistent.manifest.take().await.check()?;
        // The table survives power loss, so what was committed before it must: else recovery would find
        // no prefix of the commits, a batch over several buckets in part, and a hole in the log.
        let Some(supply) = self.commits.supply() else {
            return Ok(());
        };
        if persistent.storage.capabilities().durable_sync {
            match supply.sync(mode).await {
                Ok(reached) => self.commits.run(Work::NoteSynced(reached), mode).await?,
                Err(error) => {
                    // It fails, too, and no commit is accepted any more. The first failure tells more.
                    let synced = Work::Persist(DurabilityMode::SyncData);
                    drop(self.commits.run(synced, mode).await);
                    return Err(error);
                }
            };
        }
        self.flush_synced(persistent, tree, oldest, mode).await
    }

    /// As [`flush_buffer`](Self::flush_buffer), of commits that survive power loss.
    pub(crate) async fn flush_synced(
        &self,
        persistent: &Persistent,
        tree: &Tree,
        oldest: &Arc<WriteBuffer>,
        mode: Mode,
    ) -> Result<()> {
        let Some(supply) = self.commits.supply() else {
            return Ok(());
        };
        let began = clock::now();
        let context = persistent.build_context(&self.closed, AtClose::Finish, mode);
        let built = flush(tree, oldest, self.readable(), context).await?;
        // The segment is read before the memtables are looked at: a commit that comes in between is
        // in it or in a later one.
        let current = supply.current();
        let (segments, last_sequence) = {
            let manifest = persistent.manifest.take().await;
            (
                manifest.state().log_segments(),
                manifest.state().last_sequence(),
            )
        };
        let floor = segments.map_or(0, |segments| *segments.start());
        let needed = first_needed_segment(&self.trees.load(), tree, current);
        let mut changes = added(tree, 0, &built);
        changes.push(Change::Flushed {
            bucket: tree.id(),
            through: oldest.last_sequence(),
        });
        let sequence = last_sequence.max(oldest.last_sequence());
        changes.push(Change::LastSequence { sequence });
        let retention = self.options.change_retention_bytes;
        let kept = kept_from(&persistent.storage, floor, needed, retention, mode).await;
        // Not to know how long they are is no reason to keep them, or not to flush.
        let kept = kept.unwrap_or(needed);
        if kept > floor {
            changes.push(Change::LogFloor { segment: kept });
        }
        persistent.install(changes, &built, mode).await?;
        self.counters.flushed(&built.tables);
        let (tables, bytes) = (built.tables.len(), bytes_of(&built.tables));
        let change = VersionChange {
            removed: Vec::new(),
            added: built.tables.into_iter().map(|table| (0, table)).collect(),
            blobs: built.blobs,
        };
        tree.install_flush(oldest, &change);
        if let Some(values) = oldest.values()
            && tree.pin().version.share(values.number()).is_none()
        {
            values.remove(mode).await;
        }
        self.note_progress(tree);
        for segment in floor..kept {
            supply.retire(segment, mode).await;
        }
        self.observer.tell(&Event::Flushed {
            bucket: tree.name(),
            tables,
            bytes,
            took: began.elapsed(),
        });
        Ok(())
    }

    /// Flushes, then compacts what is due, within the budget.
    pub(crate) async fn maintain(
        &self,
        budget: MaintenanceBudget,
        when: Turn,
        mode: Mode,
    ) -> Result<MaintenanceOutcome> {
        self.check_writable()?;
        let mut flushes = 0;
        let mut busy = false;
        let trees = self.trees.load();
        let mut waiting = self.flushed.order(&trees);
        while flushes < budget.max_flush_inputs()
            && let Some(tree) = waiting.pop_front()
        {
            let unit = self.flush_oldest(&tree, when, mode).await;
            if !matches!(unit, Ok(Unit::Idle | Unit::Busy)) {
                self.flushed.served(tree.id());
            }
            match unit? {
                Unit::Done => {
                    flushes += 1;
                    waiting.push_back(tree);
                }
                Unit::Idle => {}
                Unit::Busy => busy = true,
            }
        }
        let mut outcome = self
            .compact_units(&Goal::Shape, budget.max_compaction_inputs(), when, mode)
            .await?;
        outcome.flushes = flushes;
        outcome.busy |= busy;
        outcome.budget_exhausted |= !busy && trees.iter().any(|tree| tree.immutables() > 0);
        self.remove_obsolete(mode).await;
        Ok(outcome)
    }

    /// Flushes every immutable memtable, until `stop`. Whether there was any. For background workers.
    pub(crate) async fn flush_due(&self, stop: &dyn Fn() -> bool, mode: Mode) -> Result<bool> {
        let mut flushed = false;
        loop {
            let mut found = false;
            // One after the other: a bucket that is written to all the time must not hold up the rest.
            for tree in self.trees.load().iter() {
                let done = Unit::Done;
                found |= !stop() && self.flush_oldest(tree, Turn::Wait, mode).await? == done;
            }
            if !found {
                return Ok(flushed);
            }
            flushed = true;
        }
    }

    /// Remembers a failure of the background for the next write to report.
    pub(crate) fn note_background_failure(&self, error: &Error) {
        self.observer.tell(&Event::BackgroundFailed { error });
        if let Some(persistent) = &self.persistent {
            let mut failure = persistent
                .background_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let kind = match error {
                Error::Io(error) => error.kind(),
                _ => ErrorKind::Other,
            };
            *failure = Some((kind, error.to_string()));
        }
        self.progress.ring();
    }

    /// After the tree's version changed: writes that wait look again.
    pub(crate) fn note_progress(&self, tree: &Tree) {
        self.note_pending_bytes(tree);
        self.progress.ring();
    }

    /// Reports a failure of the background, once.
    pub(crate) fn check_background(&self) -> Result<()> {
        let Some(persistent) = &self.persistent else {
            return Ok(());
        };
        let failure = persistent
            .background_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match failure {
            Some((kind, message)) => Err(Error::Io(std::io::Error::new(
                kind,
                format!("background maintenance failed: {message}"),
            ))),
            None => Ok(()),
        }
    }
}

/// The oldest segment that some memtable still needs once the oldest one of `flushed` is in tables.
fn first_needed_segment(trees: &Trees, flushed: &Tree, last: u64) -> u64 {
    let mut needed = last;
    for tree in trees.iter() {
        let view = tree.pin();
        let skip = usize::from(tree.id() == flushed.id());
        let immutables = view.immutables.len().saturating_sub(skip);
        for buffer in std::iter::once(&view.active).chain(view.immutables.iter().take(immutables)) {
            needed = needed.min(buffer.first_segment().unwrap_or(last));
        }
    }
    needed
}

pub(crate) fn added(tree: &Tree, level: usize, built: &Built) -> Vec<Change> {
    let bucket = tree.id();
    let blobs = built.blobs.iter().map(|file| Change::BlobAdded {
        bucket,
        meta: *file.meta(),
    });
    let tables = built.tables.iter().map(|table| Change::TableAdded {
        bucket,
        level: level_tag(level),
        meta: table.meta().clone(),
    });
    blobs.chain(tables).collect()
}

pub(crate) fn level_tag(level: usize) -> u8 {
    u8::try_from(level).unwrap_or(u8::MAX)
}
