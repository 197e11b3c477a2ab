//! One group of commits: validated, logged by one write, applied, made durable by one sync, published.

use std::sync::Arc;

use trine_io::{Mode, Storage};
use trine_platform::baton::Baton;
use trine_platform::bell::Bell;

use crate::commit::batch::{Operation, operations};
use crate::commit::{Commit, CommitPath, Work, Writer};
use crate::error::{Error, Fault, Result};
use crate::internal_key::Kind;
use crate::manifest::{BucketId, Change, Manifest, VersionEdit};
use crate::options::DurabilityMode;
use crate::sequence::Sequence;
use crate::tree::{Registry, Tree, Trees};
use crate::wal::SegmentWriter;

/// A segment is left for a new one when it has grown to this.
const SEGMENT_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// A memtable is frozen, however little it holds, when the log has gone on by so many segments since
/// its first commit: a bucket that is hardly written to would else keep the whole log from then on.
pub(crate) const SEGMENTS_KEPT: u64 = 8;

/// A group ends when it has grown to this, so that one write and one wake-up stay short.
const GROUP_BYTES: usize = 8 << 20;

/// What the leader needs of the rest of the database.
pub(crate) struct GroupContext {
    pub(crate) trees: Arc<Registry>,
    /// An active memtable that has grown to this is frozen; `None` in memory, where nothing is.
    pub(crate) write_buffer_bytes: Option<usize>,
    /// Rung when there is something to flush.
    pub(crate) maintenance: Arc<Bell>,
    /// `None` in memory.
    pub(crate) log: Option<LogContext>,
}

/// Where segments are created.
pub(crate) struct LogContext {
    pub(crate) storage: Storage,
    pub(crate) manifest: Arc<Baton<Manifest>>,
}

/// Why nothing is written any more.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The database was closed.
    Closed,
    /// A write or sync of the log failed.
    Log {
        kind: std::io::ErrorKind,
        message: String,
    },
}

impl Failure {
    pub(crate) fn lost() -> Self {
        Self::Log {
            kind: std::io::ErrorKind::BrokenPipe,
            message: "the thread that led the commit went away; its outcome is unknown until the database is reopened"
                .to_owned(),
        }
    }

    fn of(error: &Error) -> Self {
        let kind = match error {
            Error::Io(error) => error.kind(),
            _ => std::io::ErrorKind::Other,
        };
        Self::Log {
            kind,
            message: format!("an earlier write of the log failed, reopen the database: {error}"),
        }
    }

    pub(crate) fn error(&self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Log { kind, message } => Error::Io(std::io::Error::new(*kind, message.clone())),
        }
    }
}

/// Does the work in order; one result each.
pub(super) async fn serve(
    path: &CommitPath,
    writer: &mut Writer,
    work: Vec<Work>,
    mode: Mode,
) -> Vec<Result<Sequence>> {
    let mut results = Vec::with_capacity(work.len());
    let mut work = work.into_iter().peekable();
    let mut commits: Vec<Commit> = Vec::new();
    let mut bytes = 0_usize;
    while let Some(item) = work.next() {
        match item {
            Work::Commit(commit) => {
                bytes = bytes.saturating_add(commit.batch.as_bytes().len());
                commits.push(commit);
                if bytes >= GROUP_BYTES || !matches!(work.peek(), Some(Work::Commit(_))) {
                    bytes = 0;
                    results.extend(
                        commit_group(path, writer, std::mem::take(&mut commits), mode).await,
                    );
                }
            }
            Work::Persist(durability) => {
                results.push(persist(path, writer, durability, mode).await);
            }
            Work::Distrust(error) => {
                writer.failure.get_or_insert(Failure::of(&error));
                path.note_skipped();
                results.push(Err(error));
            }
            Work::Freeze => results.push(freeze(path, writer, mode).await),
            Work::Drop(tree) => results.push(drop_tree(path, writer, &tree, mode).await),
            Work::Close => results.push(close(path, writer, mode).await),
        }
    }
    results
}

async fn commit_group(
    path: &CommitPath,
    writer: &mut Writer,
    commits: Vec<Commit>,
    mode: Mode,
) -> Vec<Result<Sequence>> {
    let mut results: Vec<Result<Sequence>> = Vec::with_capacity(commits.len());
    let mut accepted: Vec<(Sequence, &Commit)> = Vec::with_capacity(commits.len());
    let mut last = writer.last;
    for commit in &commits {
        let result = match admit(writer, &accepted, commit, mode).await {
            Err(error) => Err(error),
            Ok(()) if commit.batch.is_empty() => Ok(last),
            Ok(()) => match last.next() {
                Some(next) => {
                    last = next;
                    accepted.push((next, commit));
                    Ok(next)
                }
                None => Err(Error::invalid_options("sequence numbers are used up")),
            },
        };
        results.push(result);
    }
    if accepted.is_empty() {
        return results;
    }
    path.note_allocated(last);
    let logged = match rotate_when_long(path, writer, mode).await {
        Ok(()) => log_and_apply(path, writer, &accepted, mode).await,
        // Nothing was written yet.
        Err(error) => Err(error),
    };
    match logged {
        Ok(full) => {
            writer.last = last;
            let bytes = accepted
                .iter()
                .map(|(_, commit)| commit.batch.as_bytes().len())
                .sum();
            path.note_logged(writer, accepted.len(), bytes);
            path.publish(last);
            if full.iter().map(|tree| tree.freeze()).count() > 0 {
                path.context.maintenance.ring();
            }
        }
        Err(stop) => {
            let failure = stop.failure();
            let mut first = Some(stop.error);
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(first.take().unwrap_or_else(|| failure.error()));
            }
            if stop.for_ever {
                writer.failure = Some(failure);
                path.note_skipped();
            } else {
                path.note_allocated(writer.last);
            }
        }
    }
    results
}

/// Whether the commit may join the group.
async fn admit(
    writer: &Writer,
    accepted: &[(Sequence, &Commit)],
    commit: &Commit,
    mode: Mode,
) -> Result<()> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    // Buckets are dropped by the leader, too: none goes away between here and the memtable.
    for tree in &commit.trees {
        tree.check_kept()?;
    }
    if let Some(reads) = &commit.reads {
        reads.validate(mode).await?;
        for (_, earlier) in accepted {
            reads.validate_against(earlier.batch.as_bytes())?;
        }
    }
    Ok(())
}

/// Why a group was not written.
struct Stop {
    error: Error,
    /// What is on disk is unknown: nothing may be written any more.
    for_ever: bool,
}

impl Stop {
    fn failure(&self) -> Failure {
        match &self.error {
            Error::Io(error) if !self.for_ever => Failure::Log {
                kind: error.kind(),
                message: error.to_string(),
            },
            error => Failure::of(error),
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self {
            error,
            for_ever: true,
        }
    }
}

/// Leaves a segment that has grown to its limit, and freezes memtables that keep the oldest ones.
async fn rotate_when_long(
    path: &CommitPath,
    writer: &mut Writer,
    mode: Mode,
) -> std::result::Result<(), Stop> {
    let Some(log) = &path.context.log else {
        return Ok(());
    };
    let long = |current: &SegmentWriter| current.bytes() >= SEGMENT_BYTES;
    let Some(number) = rotate_if(writer, log, long, mode).await? else {
        return Ok(());
    };
    for tree in path.context.trees.load().iter() {
        let first = tree.first_segment();
        if first.is_some_and(|first| first.saturating_add(SEGMENTS_KEPT) <= number) {
            tree.freeze();
            path.context.maintenance.ring();
        }
    }
    Ok(())
}

/// Gives back the trees whose active memtables have grown to their limit.
async fn log_and_apply(
    path: &CommitPath,
    writer: &mut Writer,
    accepted: &[(Sequence, &Commit)],
    mode: Mode,
) -> std::result::Result<Vec<Arc<Tree>>, Stop> {
    let mut segment = 0;
    if let Some(writer) = &mut writer.log {
        for (sequence, commit) in accepted {
            writer.push_commit(*sequence, commit.batch.as_bytes())?;
        }
        writer.write(mode).await?;
        segment = writer.number();
    }
    let trees = path.context.trees.load();
    let mut full: Vec<Arc<Tree>> = Vec::new();
    for (sequence, commit) in accepted {
        apply(
            &trees,
            *sequence,
            commit.batch.as_bytes(),
            segment,
            Tree::insert,
            |_| true,
            |tree| {
                let limit = path.context.write_buffer_bytes;
                if limit.is_some_and(|limit| tree.is_full(limit))
                    && !full.iter().any(|other| other.id() == tree.id())
                {
                    full.push(Arc::clone(tree));
                }
            },
        )?;
    }
    let strongest = accepted
        .iter()
        .map(|(_, commit)| commit.durability)
        .reduce(DurabilityMode::stronger);
    sync(writer, strongest.unwrap_or_default(), mode).await?;
    Ok(full)
}

async fn sync(writer: &mut Writer, durability: DurabilityMode, mode: Mode) -> Result<()> {
    let all = match durability {
        DurabilityMode::Buffered | DurabilityMode::Flush => return Ok(()),
        DurabilityMode::SyncData => false,
        DurabilityMode::SyncAll => true,
    };
    match &mut writer.log {
        Some(log) => log.sync(all, mode).await,
        None => Ok(()),
    }
}

/// Leaves the current segment, synced in full, for a new one, whose number it gives back.
async fn rotate_if(
    writer: &mut Writer,
    log: &LogContext,
    leave: impl FnOnce(&SegmentWriter) -> bool,
    mode: Mode,
) -> std::result::Result<Option<u64>, Stop> {
    let Some(current) = writer.log.as_mut().filter(|current| leave(current)) else {
        return Ok(None);
    };
    // Replay takes a segment that is followed by another for synced: see `wal`.
    current.sync(false, mode).await?;
    let number = current.number() + 1;
    let first = writer.last.next().unwrap_or(writer.last);
    let next = SegmentWriter::create(&log.storage, number, first, mode)
        .await
        .map_err(|error| Stop {
            error,
            // The current one is whole and nothing names the other: the disk may have room again.
            for_ever: false,
        })?;
    let edit = VersionEdit {
        changes: vec![Change::LogStarted { segment: number }],
    };
    log.manifest.take().await.append(&edit, mode).await?;
    writer.log = Some(next);
    Ok(Some(number))
}

/// Inserts a batch into the memtables, as `insert` does it. An operation that a later range delete of the same batch
/// covers is left out: at one sequence a point entry would win over the range tombstone. Only
/// `wanted` buckets are written to; `written` is told the tree after each operation.
pub(crate) fn apply(
    trees: &Trees,
    sequence: Sequence,
    batch: &[u8],
    segment: u64,
    insert: impl Fn(&Tree, &[u8], Sequence, Kind, &[u8], u64),
    wanted: impl Fn(BucketId) -> bool,
    mut written: impl FnMut(&Arc<Tree>),
) -> Result<()> {
    let fault = |fault: Fault| Error::from(fault.at("batch", 0));
    let mut rest = batch_ranges(batch).map_err(fault)?;
    for (index, operation) in operations(batch).enumerate() {
        let operation = operation.map_err(fault)?;
        rest.retain(|(at, _)| *at > index);
        if !wanted(operation.bucket()) {
            continue;
        }
        let tree = trees
            .by_id(operation.bucket())
            .ok_or_else(|| fault(Fault::Field("bucket number")))?;
        let covered = |key: &[u8]| {
            rest.iter()
                .any(|(_, range)| range.touches(operation.bucket(), key))
        };
        match operation {
            Operation::Put { key, .. } | Operation::Delete { key, .. } if covered(key) => {}
            Operation::Put { key, value, .. } => {
                insert(tree, key, sequence, Kind::Value, value, segment);
            }
            Operation::Delete { key, .. } => {
                insert(tree, key, sequence, Kind::Tombstone, &[], segment);
            }
            Operation::DeleteRange { start, end, .. } => {
                tree.insert_range_tombstone(start, end, sequence, segment);
            }
        }
        written(tree);
    }
    Ok(())
}

/// The range deletes of a batch, with their positions.
fn batch_ranges(batch: &[u8]) -> std::result::Result<Vec<(usize, Operation<'_>)>, Fault> {
    let mut ranges = Vec::new();
    for (index, operation) in operations(batch).enumerate() {
        let operation = operation?;
        if matches!(operation, Operation::DeleteRange { .. }) {
            ranges.push((index, operation));
        }
    }
    Ok(ranges)
}

async fn persist(
    path: &CommitPath,
    writer: &mut Writer,
    durability: DurabilityMode,
    mode: Mode,
) -> Result<Sequence> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    if let Err(error) = sync(writer, durability, mode).await {
        writer.failure = Some(Failure::of(&error));
        return Err(error);
    }
    path.note_logged(writer, 0, 0);
    Ok(path.visible())
}

async fn freeze(path: &CommitPath, writer: &mut Writer, mode: Mode) -> Result<Sequence> {
    // After a failure the active memtables hold commits that were never published.
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    for tree in path.context.trees.load().iter() {
        if tree.active_bytes() > 0 {
            tree.freeze();
        }
    }
    if let Some(log) = &path.context.log {
        // With every memtable frozen, flushing them frees every segment before a new one.
        let rotated = rotate_if(writer, log, SegmentWriter::has_commits, mode).await;
        if let Err(stop) = rotated {
            if stop.for_ever {
                writer.failure = Some(stop.failure());
            }
            return Err(stop.error);
        }
    }
    Ok(path.visible())
}

async fn drop_tree(
    path: &CommitPath,
    writer: &Writer,
    tree: &Arc<Tree>,
    mode: Mode,
) -> Result<Sequence> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    tree.check_kept()?;
    if let Some(log) = &path.context.log {
        let edit = VersionEdit {
            changes: vec![Change::BucketDropped { id: tree.id() }],
        };
        log.manifest.take().await.append(&edit, mode).await?;
    }
    tree.mark_dropped();
    path.context.trees.remove(tree);
    Ok(path.visible())
}

async fn close(path: &CommitPath, writer: &mut Writer, mode: Mode) -> Result<Sequence> {
    path.queue().closed = true;
    if let Some(failure) = writer.failure.replace(Failure::Closed) {
        return Err(failure.error());
    }
    sync(writer, DurabilityMode::SyncData, mode).await?;
    Ok(path.visible())
}
