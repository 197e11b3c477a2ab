//! One group of commits: validated, logged by one write as durably as asked, applied, published.

use std::sync::Arc;

use trine_io::Mode;
use trine_platform::bell::Bell;
use trine_platform::block_on;

use crate::commit::apply::{How, apply};
use crate::commit::failure::Failure;
use crate::commit::supply::LogSupply;
use crate::commit::values::{has_large_values, place_values};
use crate::commit::{Commit, CommitPath, Load, Touched, Work, Writer, is_synced};
use crate::error::{Error, Result};
use crate::manifest::{Change, VersionEdit};
use crate::options::DurabilityMode;
use crate::sequence::Sequence;
use crate::tree::{Registry, Tree};
use crate::wal::{LogWriter, Reached};

/// The size of segments once the log has grown.
const SEGMENT_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// A segment whose file grows with it is left when it has grown to this. Small, so that a database that is
/// written to soon has files made ahead, and one that is not takes no space for them.
const GROWING_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 64 << 10 };

/// A segment is followed by one so many times as long, up to [`SEGMENT_BYTES`].
const SEGMENT_FACTOR: u64 = 16;

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
    /// Large values go to blob files with their commit. Not where the log is kept for those who read changes in it: blob files are not.
    pub(crate) places_values: bool,
    /// Rung when there is something to flush.
    pub(crate) maintenance: Arc<Bell>,
    /// `None` in memory.
    pub(crate) log: Option<Arc<LogSupply>>,
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
                    let mut group = std::mem::take(&mut commits);
                    let mut group_results = Vec::with_capacity(group.len());
                    commit_group(path, writer, &mut group, &mut group_results, mode).await;
                    results.append(&mut group_results);
                }
            }
            other => results.push(serve_other(path, writer, other, mode).await),
        }
    }
    results
}

/// Does one piece of work. Allocates nothing for a commit.
pub(super) async fn serve_one(
    path: &CommitPath,
    writer: &mut Writer,
    work: Work,
    mode: Mode,
) -> Result<Sequence> {
    let Work::Commit(mut commit) = work else {
        return Box::pin(serve_other(path, writer, work, mode)).await;
    };
    let mut results = std::mem::take(&mut writer.results);
    commit_group(
        path,
        writer,
        std::slice::from_mut(&mut commit),
        &mut results,
        mode,
    )
    .await;
    let result = results.pop();
    writer.results = results;
    result.unwrap_or_else(|| Err(Failure::lost().error()))
}

async fn serve_other(
    path: &CommitPath,
    writer: &mut Writer,
    work: Work,
    mode: Mode,
) -> Result<Sequence> {
    match work {
        // Commits come in groups.
        Work::Commit(_) => Err(Failure::lost().error()),
        Work::Persist(durability) => persist(path, writer, durability, mode).await,
        Work::NoteSynced(reached) => note_synced(path, writer, reached),
        Work::Load(load) => serve_load(path, writer, load, mode).await,
        Work::Freeze => freeze(path, writer, mode).await,
        Work::Drop(tree) => drop_tree(path, writer, &tree, mode).await,
        Work::Close => close(path, writer, mode).await,
    }
}

/// Those of a group that take a sequence, with it, going by their results so far.
fn accepted<'a>(
    commits: &'a [Commit],
    results: &'a [Result<Sequence>],
) -> impl Iterator<Item = (Sequence, &'a Commit)> + Clone {
    let taken = |(commit, result): (&'a Commit, &'a Result<Sequence>)| match result {
        Ok(sequence) if !commit.batch.is_empty() => Some((*sequence, commit)),
        _ => None,
    };
    commits.iter().zip(results).filter_map(taken)
}

/// Commits a group; `results`, which is empty, gets one result for each.
async fn commit_group(
    path: &CommitPath,
    writer: &mut Writer,
    commits: &mut [Commit],
    results: &mut Vec<Result<Sequence>>,
    mode: Mode,
) {
    let mut last = writer.last;
    for commit in &*commits {
        let admitted = admit(writer, accepted(commits, results), commit, mode).await;
        let result = match admitted {
            Ok(()) if commit.batch.is_empty() => Ok(last),
            Ok(()) => match last.next() {
                Some(next) => {
                    last = next;
                    Ok(next)
                }
                None => Err(Error::invalid_options("sequence numbers are used up")),
            },
            Err(error) => Err(error),
        };
        results.push(result);
    }
    if last == writer.last {
        return;
    }
    path.note_allocated(last);
    let logged = log_group(path, writer, commits, results, mode).await;
    let applied = logged.and_then(|()| apply_and_publish(path, writer, accepted(commits, results)));
    if let Err(stop) = applied {
        let failure = stop.failure();
        let mut first = Some(stop.noted(path, writer));
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            *result = Err(first.take().unwrap_or_else(|| failure.error()));
        }
    }
}

/// Commits where that takes no waiting for anybody; else does nothing. For leaders who may block: that is what a call of
/// the host does, where there is no map of the log.
pub(super) fn commit_at_once(
    path: &CommitPath,
    writer: &mut Writer,
    commit: &Commit,
) -> Option<Result<Sequence>> {
    let bytes = commit.batch.as_bytes().len() as u64;
    let waits = commit.reads.is_some()
        || commit.batch.is_empty()
        || is_synced(commit.durability)
        || has_large_values(&path.context, commit)
        || writer.log.as_ref().is_some_and(|log| is_long(log, bytes));
    if waits {
        return None;
    }
    let next = writer.last.next()?;
    if let Err(error) = admit_unread(writer, commit) {
        return Some(Err(error));
    }
    path.note_allocated(next);
    let accepted = std::iter::once((next, commit));
    let logged = match &mut writer.log {
        None => Ok(()),
        Some(log) => stage(log, accepted.clone()).and_then(|()| checked(log, store)),
    };
    let applied = logged.and_then(|()| apply_and_publish(path, writer, accepted));
    Some(match applied {
        Ok(()) => Ok(next),
        Err(stop) => Err(stop.noted(path, writer)),
    })
}

/// Whether the commit may join the group.
async fn admit(
    writer: &Writer,
    mut accepted: impl Iterator<Item = (Sequence, &Commit)>,
    commit: &Commit,
    mode: Mode,
) -> Result<()> {
    admit_unread(writer, commit)?;
    if let Some(reads) = &commit.reads {
        Box::pin(reads.validate(mode)).await?;
        accepted.try_for_each(|(_, earlier)| reads.validate_against(earlier.batch.as_bytes()))?;
    }
    Ok(())
}

/// Whether a commit that read nothing may join the group.
fn admit_unread(writer: &Writer, commit: &Commit) -> Result<()> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    // Buckets are dropped by the leader, too: none goes away between here and the memtable.
    for tree in commit.trees.iter() {
        tree.check_kept()?;
    }
    Ok(())
}

/// Why a group was not written.
pub(super) struct Stop {
    pub(super) error: Error,
    /// What is on disk is unknown: nothing may be written any more.
    pub(super) for_ever: bool,
}

impl Stop {
    /// The error, once it is known what it means for commits to come.
    fn noted(self, path: &CommitPath, writer: &mut Writer) -> Error {
        if self.for_ever {
            writer.failure = Some(self.failure());
            path.note_skipped();
        } else {
            path.note_allocated(writer.last);
        }
        self.error
    }

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

/// Brings large values to their files and the group to the log, as durably as asked.
async fn log_group(
    path: &CommitPath,
    writer: &mut Writer,
    commits: &mut [Commit],
    results: &[Result<Sequence>],
    mode: Mode,
) -> std::result::Result<(), Stop> {
    make_room(path, writer, accepted(commits, results), mode).await?;
    // From here on no memtable is frozen before the group is in it.
    if let (Some(log), Some(supply)) = (&mut writer.log, &path.context.log)
        && commits
            .iter()
            .any(|commit| has_large_values(&path.context, commit))
    {
        let placed = place_values(&path.context, log, supply, commits, results, mode);
        Box::pin(placed).await?;
    }
    log(writer, accepted(commits, results), mode).await
}

/// Has the log go over to its next segment if the current one has no room for the group.
async fn make_room(
    path: &CommitPath,
    writer: &mut Writer,
    accepted: impl Iterator<Item = (Sequence, &Commit)>,
    mode: Mode,
) -> std::result::Result<(), Stop> {
    let (Some(log), Some(supply)) = (&mut writer.log, &path.context.log) else {
        return Ok(());
    };
    let bytes = accepted
        .map(|(_, commit)| commit.batch.as_bytes().len() as u64)
        .sum::<u64>();
    if is_long(log, bytes) {
        let next = writer.last.next().unwrap_or(writer.last);
        Box::pin(go_over(path, log, supply, next, mode)).await?;
    }
    Ok(())
}

/// Writes the group to the log, as durably as asked.
async fn log(
    writer: &mut Writer,
    accepted: impl Iterator<Item = (Sequence, &Commit)> + Clone,
    mode: Mode,
) -> std::result::Result<(), Stop> {
    let Some(log) = &mut writer.log else {
        return Ok(());
    };
    stage(log, accepted.clone())?;
    let durably = accepted
        .clone()
        .any(|(_, commit)| is_synced(commit.durability));
    let written = log.write(durably, mode).await;
    checked(log, |_| written)
}

/// Stages a group for the log: all of it or nothing.
fn stage<'c>(
    log: &mut LogWriter,
    mut accepted: impl Iterator<Item = (Sequence, &'c Commit)>,
) -> std::result::Result<(), Stop> {
    checked(log, |log| {
        accepted
            .try_for_each(|(sequence, commit)| log.push_commit(sequence, commit.batch.as_bytes()))
            .inspect_err(|_| log.forget_staged())
    })
}

/// Hands what is staged to the operating system, by a call of it if there is no other way.
fn store(log: &mut LogWriter) -> Result<()> {
    if log.store()? {
        return Ok(());
    }
    block_on(log.write(false, Mode::Blocking))
}

/// Does something to the log. What was taken back never happened: the disk may have room again for the next one.
fn checked(
    log: &mut LogWriter,
    work: impl FnOnce(&mut LogWriter) -> Result<()>,
) -> std::result::Result<(), Stop> {
    work(log).map_err(|error| Stop {
        error,
        for_ever: log.check().is_err(),
    })
}

/// Puts a group that is logged into memtables and shows it to readers.
fn apply_and_publish<'c>(
    path: &CommitPath,
    writer: &mut Writer,
    accepted: impl Iterator<Item = (Sequence, &'c Commit)>,
) -> std::result::Result<(), Stop> {
    let limit = path.context.write_buffer_bytes;
    let mut segment = 0;
    if let (Some(log), Some(supply)) = (&writer.log, &path.context.log) {
        segment = log.number();
        ask_ahead(log, supply, &mut writer.asked, limit);
    }
    let mut full: Vec<Arc<Tree>> = Vec::new();
    let (mut last, mut count, mut bytes) = (writer.last, 0, 0);
    for (sequence, commit) in accepted {
        let own = |id| commit.trees.iter().find(|tree| tree.id() == id);
        let batch = commit.batch.encoded();
        apply(own, sequence, &batch, segment, How::Inserted, |_| true)?;
        for tree in commit.trees.iter() {
            if limit.is_some_and(|limit| tree.is_full(limit))
                && !full.iter().any(|other| other.id() == tree.id())
            {
                full.push(Arc::clone(tree));
            }
        }
        (last, count, bytes) = (sequence, count + 1, bytes + batch.bytes.len());
    }
    writer.last = last;
    path.note_logged(writer, count, bytes);
    path.publish(last);
    if full.iter().map(|tree| tree.freeze()).count() > 0 {
        path.context.maintenance.ring();
    }
    Ok(())
}

/// How long the current segment is meant to become.
fn full(log: &LogWriter) -> u64 {
    log.prepared().max(GROWING_BYTES)
}

/// How long it may become where there is another one.
fn limit(log: &LogWriter) -> u64 {
    if log.is_slow() {
        GROWING_BYTES
    } else {
        full(log)
    }
}

/// Whether the segment has no room for `bytes` more.
fn is_long(log: &LogWriter, bytes: u64) -> bool {
    log.has_commits() && log.bytes() + bytes + bytes / 64 >= limit(log)
}

/// Has the next segment made ready, once the current one is half full, or slow; again whenever the log has grown by half as much as that is meant to, and not
/// sooner: on a full disk each try takes what space there is, for a while.
///
/// It is no longer than a memtable may become: the files of the log are not to outgrow what they are there for.
fn ask_ahead(
    log: &LogWriter,
    supply: &Arc<LogSupply>,
    asked: &mut (u64, u64),
    write_buffer_bytes: Option<usize>,
) {
    let steps = (log.bytes() / (full(log) / 2)).max(u64::from(log.is_slow()));
    if steps > 0 && *asked != (log.number(), steps) {
        *asked = (log.number(), steps);
        let longest = write_buffer_bytes.map_or(SEGMENT_BYTES, |bytes| {
            (bytes as u64).clamp(GROWING_BYTES * SEGMENT_FACTOR, SEGMENT_BYTES)
        });
        let bytes = (full(log) * SEGMENT_FACTOR).min(longest);
        supply.ask(bytes, log.space_ahead());
    }
}

/// Goes over to the next segment, if it is ready, and freezes memtables that keep the oldest ones.
async fn go_over(
    path: &CommitPath,
    log: &mut LogWriter,
    supply: &LogSupply,
    first_sequence: Sequence,
    mode: Mode,
) -> std::result::Result<(), Stop> {
    let Some(next) = supply.take_ready() else {
        return Ok(());
    };
    match log.go_over(next, first_sequence, mode).await {
        Ok((left, own)) => supply.went_over(log, left, own),
        Err((next, error)) => {
            supply.give_back(*next);
            return match error {
                None => Ok(()),
                // Nothing is in the other.
                Some(error) => {
                    let for_ever = log.check().is_err();
                    Err(Stop { error, for_ever })
                }
            };
        }
    }
    for tree in path.context.trees.load().iter() {
        let first = tree.first_segment();
        if first.is_some_and(|first| first.saturating_add(SEGMENTS_KEPT) <= log.number()) {
            tree.freeze();
            path.context.maintenance.ring();
        }
    }
    Ok(())
}

async fn sync(writer: &mut Writer, mode: Mode) -> Result<()> {
    match &mut writer.log {
        Some(log) => log.sync(mode).await,
        None => Ok(()),
    }
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
    if is_synced(durability)
        && let Err(error) = sync(writer, mode).await
    {
        writer.failure = Some(Failure::of(&error));
        return Err(error);
    }
    path.note_logged(writer, 0, 0);
    Ok(path.visible())
}

fn note_synced(path: &CommitPath, writer: &mut Writer, reached: Reached) -> Result<Sequence> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    if let Some(log) = &mut writer.log
        && let Err(error) = log.note_synced(reached)
    {
        writer.failure = Some(Failure::of(&error));
        return Err(error);
    }
    path.note_logged(writer, 0, 0);
    Ok(path.visible())
}

/// Logs a load as a commit, has it installed, and publishes it, also if that failed: the log has its sequence.
async fn serve_load(
    path: &CommitPath,
    writer: &mut Writer,
    load: Load,
    mode: Mode,
) -> Result<Sequence> {
    if let Some(failure) = &writer.failure {
        return Err(failure.error());
    }
    load.tree.check_kept()?;
    let Some(next) = writer.last.next() else {
        return Err(Error::invalid_options("sequence numbers are used up"));
    };
    let commit = Commit {
        batch: load.batch,
        trees: Touched::One(load.tree),
        reads: None,
        durability: load.durability,
    };
    path.note_allocated(next);
    let accepted = std::iter::once((next, &commit));
    let logged = match make_room(path, writer, accepted.clone(), mode).await {
        Ok(()) => log(writer, accepted, mode).await,
        failed => failed,
    };
    if let Err(stop) = logged {
        return Err(stop.noted(path, writer));
    }
    writer.last = next;
    path.note_logged(writer, 1, commit.batch.as_bytes().len());
    let installed = load.guest.install(next, mode).await;
    match &installed {
        Err(error) if is_unknown(path).await => stop(path, writer, error),
        _ => path.publish(next),
    }
    installed.map(|()| next)
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
    if let (Some(log), Some(supply)) = (&mut writer.log, &path.context.log)
        && log.has_commits()
    {
        // With every memtable frozen, flushing them frees every segment before a new one.
        let next = writer.last.next().unwrap_or(writer.last);
        go_over(path, log, supply, next, mode)
            .await
            .map_err(|stop| stop.error)?;
    }
    Ok(path.visible())
}

/// Whether an edit of the manifest that failed may have happened: only the next opening will tell.
async fn is_unknown(path: &CommitPath) -> bool {
    match &path.context.log {
        Some(supply) => supply.manifest().take().await.check().is_err(),
        None => false,
    }
}

/// After an edit of unknown outcome that the leader made: nobody may see or commit what would come after it.
fn stop(path: &CommitPath, writer: &mut Writer, error: &Error) {
    writer.failure = Some(Failure::of(error));
    path.note_skipped();
}

async fn drop_tree(
    path: &CommitPath,
    writer: &mut Writer,
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
        log.manifest().take().await.check()?;
        let appended = log.manifest().take().await.append(&edit, mode).await;
        if let Err(error) = appended {
            if is_unknown(path).await {
                stop(path, writer, &error);
            }
            return Err(error);
        }
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
    sync(writer, mode).await?;
    if let Some(log) = &mut writer.log {
        log.finish(mode).await;
    }
    Ok(path.visible())
}
