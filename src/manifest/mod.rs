//! What the database consists of: buckets, tables, WAL segments, counters. Pure; [`log`] keeps it on disk.
//!
//! - [`ManifestState`] is the result of applying every [`VersionEdit`] in order; one edit can hold all of it.
//! - An edit applies as a whole or not at all, and only if it fits what is there.
//! - A blob file is there for as long as some table refers to it, as of the end of an edit.
//! - A table's number is in one place at most: one level of one bucket, or the obsolete files.
//! - Bucket ids, file numbers, the WAL's floor and sequences never go back.

mod edit;
mod log;
mod options;

pub(crate) use edit::{BucketId, Change, Session, VersionEdit};
pub(crate) use log::Manifest;
#[cfg(any(inspect, test))]
pub(crate) use log::read_current;

use std::ops::RangeInclusive;

use crate::blob::BlobMeta;
use crate::error::Fault;
use crate::options::BucketOptions;
use crate::sequence::Sequence;
use crate::table::TableMeta;
use trine_platform::sorted::{SortedMap, SortedSet};

/// Levels are numbered below this.
pub(crate) const LEVELS_MAX: u8 = 16;

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketState {
    pub(crate) name: String,
    pub(crate) options: BucketOptions,
    /// By number, each with its level.
    tables: SortedMap<u64, Box<(u8, TableMeta)>>,
    /// The blob files that tables refer to, and how many tables do; after an edit, at least one.
    blobs: SortedMap<u64, (BlobMeta, usize)>,
    /// Every commit up to here is in the tables.
    pub(crate) flushed_through: Sequence,
}

impl BucketState {
    /// All tables, by number, each with its level.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (u8, &TableMeta)> {
        self.tables.values().map(|table| (table.0, &table.1))
    }

    /// The blob files that its tables refer to, by number.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &BlobMeta> {
        self.blobs.values().map(|(meta, _)| meta)
    }
}

/// Everything that the manifest knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ManifestState {
    buckets: SortedMap<BucketId, BucketState>,
    names: SortedMap<String, BucketId>,
    /// The numbers of all tables of all buckets.
    tables: SortedSet<u64>,
    /// The buckets of all blob files.
    blobs: SortedMap<u64, BucketId>,
    /// Within an edit: blob files that no table refers to so far.
    unreferenced: SortedSet<u64>,
    obsolete: SortedSet<u64>,
    /// Each with the files from its first one to the next session's.
    sessions: Vec<Session>,
    counters: Counters,
}

/// What an edit replaces as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    next_bucket: u32,
    /// The WAL segments that may be needed.
    log: Option<(u64, u64)>,
    next_file: u64,
    last_sequence: Sequence,
}

/// What takes one change back, but for the counters.
#[derive(Debug)]
enum Undo {
    /// It changed counters only.
    Nothing,
    BucketCreated(BucketId),
    BucketDropped(BucketId, BucketState),
    TableAdded(BucketId, u64),
    TableRemoved(BucketId, u8, TableMeta),
    TableMoved(BucketId, u64, u8),
    BlobAdded(BucketId, u64),
    /// It came to be without a reference.
    BlobRetired(BucketId, BlobMeta),
    FileObsolete(u64),
    ObsoleteGone(u64),
    Flushed(BucketId, Sequence),
    Sessions(Vec<Session>),
}

/// An edit that is in the state as long as this lives, and for good once it is kept: so an edit costs what
/// it changes, and one that does not reach the disk leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    state: &'a mut ManifestState,
    /// Of the state before; `None` once the edit is kept.
    before: Option<Counters>,
    undo: Vec<Undo>,
}

impl Applied<'_> {
    /// The edit counts.
    pub(crate) fn keep(mut self) {
        self.before = None;
    }
}

impl Drop for Applied<'_> {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            for undo in self.undo.drain(..).rev() {
                self.state.take_back(undo);
            }
            self.state.unreferenced.clear();
            self.state.counters = before;
        }
    }
}

impl ManifestState {
    /// All buckets, by id.
    pub(crate) fn buckets(&self) -> &SortedMap<BucketId, BucketState> {
        &self.buckets
    }

    /// The id of the bucket with this name.
    #[cfg(test)]
    pub(crate) fn bucket_named(&self, name: &str) -> Option<BucketId> {
        self.names.get(name).copied()
    }

    /// The id that the next bucket gets.
    pub(crate) fn next_bucket(&self) -> BucketId {
        BucketId(self.counters.next_bucket)
    }

    /// Whether a table of some bucket has this number.
    pub(crate) fn has_table(&self, number: u64) -> bool {
        self.tables.contains(&number)
    }

    /// Whether a blob file that tables refer to has this number.
    pub(crate) fn has_blob(&self, number: u64) -> bool {
        self.blobs.contains_key(&number)
    }

    /// The numbers of the blob files of all buckets.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = u64> {
        self.blobs.keys().copied()
    }

    /// The numbers of the tables of all buckets.
    pub(crate) fn tables(&self) -> &SortedSet<u64> {
        &self.tables
    }

    /// The numbers of files that may still be in the directory and are not part of the database.
    pub(crate) fn obsolete(&self) -> &SortedSet<u64> {
        &self.obsolete
    }

    /// The WAL segments to replay, floor to last; `None` before the first was started.
    pub(crate) fn log_segments(&self) -> Option<RangeInclusive<u64>> {
        self.counters.log.map(|(floor, last)| floor..=last)
    }

    /// Every file number that may have been used is below.
    pub(crate) fn next_file(&self) -> u64 {
        self.counters.next_file
    }

    /// File numbers below `bound` may have been used.
    fn reserve_files(&mut self, bound: u64) {
        self.counters.next_file = self.counters.next_file.max(bound);
    }

    /// In which session the file of this number was written, if that is known.
    pub(crate) fn session_of(&self, number: u64) -> Option<u64> {
        let known = self.sessions.iter().rev();
        let mut from = known.filter(|session| session.first_file <= number);
        from.next().map(|session| session.id)
    }

    /// The sessions of the files that are there, `growing` ones among them, and a new one for all that come. Whose files were never told apart
    /// are the new one's: copies of such a directory have nothing in common then.
    pub(crate) fn sessions_with(&self, id: u64, growing: &SortedSet<u64>) -> Vec<Session> {
        let mut sessions = Vec::new();
        let mut end = self.next_file();
        for session in self.sessions.iter().rev() {
            let files = session.first_file..end;
            if self.tables.range(files.clone()).next().is_some()
                || self.blobs.range(files.clone()).next().is_some()
                || growing.range(files).next().is_some()
            {
                sessions.push(*session);
            }
            end = session.first_file;
        }
        sessions.reverse();
        let first_file = if self.sessions.is_empty() {
            0
        } else {
            self.next_file()
        };
        sessions.push(Session { first_file, id });
        sessions
    }

    /// The highest sequence known to tables.
    pub(crate) fn last_sequence(&self) -> Sequence {
        self.counters.last_sequence
    }

    /// The same tables and buckets in a directory of their own, whose newest commit is `last`: no log,
    /// and nothing that is on its way out.
    pub(crate) fn detached(&self, last: Sequence) -> Self {
        Self {
            buckets: self.buckets.clone(),
            names: self.names.clone(),
            tables: self.tables.clone(),
            blobs: self.blobs.clone(),
            unreferenced: SortedSet::new(),
            obsolete: SortedSet::new(),
            sessions: self.sessions.clone(),
            counters: Counters {
                log: None,
                last_sequence: last,
                ..self.counters
            },
        }
    }

    /// Applies all of `edit`, or nothing if any part of it does not fit.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<(), Fault> {
        self.attempt(edit)?.keep();
        Ok(())
    }

    /// As `apply`, but the edit is taken back with what is returned, unless that is kept.
    pub(crate) fn attempt(&mut self, edit: &VersionEdit) -> Result<Applied<'_>, Fault> {
        let before = Some(self.counters);
        let mut applied = Applied {
            state: self,
            before,
            undo: Vec::with_capacity(edit.changes.len()),
        };
        for change in &edit.changes {
            let undo = applied.state.apply_change(change.clone())?;
            applied.undo.push(undo);
        }
        while let Some(undo) = applied.state.retire_blob() {
            applied.undo.push(undo);
        }
        Ok(applied)
    }

    /// Applies what was read from disk. If it fails, this is no state any more.
    pub(crate) fn replay(&mut self, edit: VersionEdit) -> Result<(), Fault> {
        for change in edit.changes {
            self.apply_change(change)?;
        }
        while self.retire_blob().is_some() {}
        Ok(())
    }

    /// One edit that leads from nothing to this state.
    pub(crate) fn snapshot(&self) -> VersionEdit {
        let mut changes = Vec::new();
        for (&bucket, state) in self.buckets.iter() {
            changes.push(Change::BucketCreated {
                id: bucket,
                name: state.name.clone(),
                options: state.options.clone(),
            });
            changes.extend(
                state
                    .blobs()
                    .map(|&meta| Change::BlobAdded { bucket, meta }),
            );
            changes.extend(state.tables().map(|(level, meta)| Change::TableAdded {
                bucket,
                level,
                meta: meta.clone(),
            }));
            changes.push(Change::Flushed {
                bucket,
                through: state.flushed_through,
            });
        }
        changes.push(Change::NextBucket {
            id: self.next_bucket(),
        });
        let obsolete = self.obsolete.iter();
        changes.extend(obsolete.map(|&number| Change::FileObsolete { number }));
        if let Some((floor, last)) = self.counters.log {
            changes.extend((floor..=last).map(|segment| Change::LogStarted { segment }));
        }
        changes.push(Change::NextFile {
            number: self.counters.next_file,
        });
        if !self.sessions.is_empty() {
            let sessions = self.sessions.clone();
            changes.push(Change::Sessions { sessions });
        }
        changes.push(Change::LastSequence {
            sequence: self.counters.last_sequence,
        });
        VersionEdit { changes }
    }

    /// Applies `change`, or nothing of it but, if it fails, to the counters.
    fn apply_change(&mut self, change: Change) -> Result<Undo, Fault> {
        match change {
            Change::BucketCreated { id, name, options } => self.create_bucket(id, name, options),
            Change::BucketDropped { id } => {
                let dropped = self.buckets.remove(&id).ok_or(Fault::Field("bucket id"))?;
                self.names.remove(&dropped.name);
                for number in dropped.tables.keys() {
                    self.tables.remove(number);
                    self.obsolete.insert(*number);
                }
                for number in dropped.blobs.keys() {
                    self.blobs.remove(number);
                    self.obsolete.insert(*number);
                }
                Ok(Undo::BucketDropped(id, dropped))
            }
            Change::TableAdded {
                bucket,
                level,
                meta,
            } => {
                if !meta.is_ordered() {
                    return Err(Fault::Order);
                }
                let level = checked_level(level)?;
                let number = meta.number;
                self.check_blobs(bucket, &meta)?;
                self.use_number(number)?;
                self.tables.insert(number);
                self.refer(bucket, &meta);
                let tables = &mut self.bucket(bucket)?.tables;
                tables.insert(number, Box::new((level, meta)));
                Ok(Undo::TableAdded(bucket, number))
            }
            Change::TableRemoved {
                bucket,
                level,
                number,
            } => {
                let meta = self.take_table(bucket, level, number)?;
                self.forgo(bucket, &meta);
                self.tables.remove(&number);
                self.obsolete.insert(number);
                Ok(Undo::TableRemoved(bucket, level, meta))
            }
            Change::TableMoved {
                bucket,
                number,
                from,
                to,
            } => {
                let to = checked_level(to)?;
                self.table(bucket, from, number)?.0 = to;
                Ok(Undo::TableMoved(bucket, number, from))
            }
            Change::BlobAdded { bucket, meta } => {
                self.bucket(bucket)?;
                self.use_number(meta.number)?;
                self.blobs.insert(meta.number, bucket);
                self.unreferenced.insert(meta.number);
                self.bucket(bucket)?.blobs.insert(meta.number, (meta, 0));
                Ok(Undo::BlobAdded(bucket, meta.number))
            }
            Change::FileObsolete { number } => {
                self.use_number(number)?;
                self.obsolete.insert(number);
                Ok(Undo::FileObsolete(number))
            }
            Change::ObsoleteGone { number } => {
                if self.obsolete.remove(&number) {
                    Ok(Undo::ObsoleteGone(number))
                } else {
                    Err(Fault::Field("obsolete file number"))
                }
            }
            Change::Flushed { bucket, through } => {
                let flushed = &mut self.bucket(bucket)?.flushed_through;
                let before = std::mem::replace(flushed, forward(*flushed, through)?);
                Ok(Undo::Flushed(bucket, before))
            }
            Change::Sessions { sessions } => {
                let mut pairs = sessions.windows(2);
                let last = sessions.last().map_or(0, |session| session.first_file);
                if last > self.next_file()
                    || !pairs.all(|pair| matches!(pair, [a, b] if a.first_file < b.first_file))
                {
                    return Err(Fault::Order);
                }
                let before = std::mem::replace(&mut self.sessions, sessions);
                Ok(Undo::Sessions(before))
            }
            Change::LogStarted { .. }
            | Change::LogFloor { .. }
            | Change::NextFile { .. }
            | Change::LastSequence { .. }
            | Change::NextBucket { .. } => {
                self.counters.apply(&change)?;
                Ok(Undo::Nothing)
            }
        }
    }

    /// Takes the newest change that is still in the state back.
    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Nothing => {}
            Undo::BucketCreated(id) => {
                if let Some(created) = self.buckets.remove(&id) {
                    self.names.remove(&created.name);
                }
            }
            Undo::BucketDropped(id, state) => {
                for number in state.tables.keys() {
                    self.obsolete.remove(number);
                    self.tables.insert(*number);
                }
                for number in state.blobs.keys() {
                    self.obsolete.remove(number);
                    self.blobs.insert(*number, id);
                }
                self.names.insert(state.name.clone(), id);
                self.buckets.insert(id, state);
            }
            Undo::TableAdded(id, number) => {
                self.tables.remove(&number);
                let bucket = self.buckets.get_mut(&id);
                if let Some(table) = bucket.and_then(|bucket| bucket.tables.remove(&number)) {
                    self.forgo(id, &table.1);
                }
            }
            Undo::TableRemoved(id, level, meta) => {
                let number = meta.number;
                self.obsolete.remove(&number);
                self.tables.insert(number);
                self.refer(id, &meta);
                if let Some(bucket) = self.buckets.get_mut(&id) {
                    bucket.tables.insert(number, Box::new((level, meta)));
                }
            }
            Undo::TableMoved(id, number, from) => {
                let bucket = self.buckets.get_mut(&id);
                if let Some(table) = bucket.and_then(|bucket| bucket.tables.get_mut(&number)) {
                    table.0 = from;
                }
            }
            Undo::BlobAdded(id, number) => {
                self.blobs.remove(&number);
                if let Some(bucket) = self.buckets.get_mut(&id) {
                    bucket.blobs.remove(&number);
                }
            }
            Undo::BlobRetired(id, meta) => {
                self.obsolete.remove(&meta.number);
                self.blobs.insert(meta.number, id);
                if let Some(bucket) = self.buckets.get_mut(&id) {
                    bucket.blobs.insert(meta.number, (meta, 0));
                }
            }
            Undo::FileObsolete(number) => {
                self.obsolete.remove(&number);
            }
            Undo::ObsoleteGone(number) => {
                self.obsolete.insert(number);
            }
            Undo::Flushed(id, before) => {
                if let Some(bucket) = self.buckets.get_mut(&id) {
                    bucket.flushed_through = before;
                }
            }
            Undo::Sessions(before) => self.sessions = before,
        }
    }

    fn create_bucket(
        &mut self,
        id: BucketId,
        name: String,
        options: BucketOptions,
    ) -> Result<Undo, Fault> {
        if self.names.contains_key(&name) {
            return Err(Fault::Field("bucket name: it is taken"));
        }
        if id.0 < self.counters.next_bucket {
            return Err(Fault::Field("bucket id: it was used before"));
        }
        self.counters.next_bucket = id.0.checked_add(1).ok_or(Fault::Field("bucket id"))?;
        self.names.insert(name.clone(), id);
        let state = BucketState {
            name,
            options,
            tables: SortedMap::new(),
            blobs: SortedMap::new(),
            flushed_through: Sequence::ZERO,
        };
        self.buckets.insert(id, state);
        Ok(Undo::BucketCreated(id))
    }

    fn bucket(&mut self, id: BucketId) -> Result<&mut BucketState, Fault> {
        self.buckets.get_mut(&id).ok_or(Fault::Field("bucket id"))
    }

    /// A table that is in this level.
    fn table(
        &mut self,
        id: BucketId,
        level: u8,
        number: u64,
    ) -> Result<&mut (u8, TableMeta), Fault> {
        let table = self.bucket(id)?.tables.get_mut(&number);
        table
            .map(Box::as_mut)
            .filter(|(actual, _)| *actual == level)
            .ok_or_else(misplaced)
    }

    fn take_table(&mut self, id: BucketId, level: u8, number: u64) -> Result<TableMeta, Fault> {
        self.table(id, level, number)?;
        let table = self.bucket(id)?.tables.remove(&number);
        Ok(table.ok_or_else(misplaced)?.1)
    }

    /// Fails unless the blob files that a table refers to hold as much.
    fn check_blobs(&mut self, bucket: BucketId, table: &TableMeta) -> Result<(), Fault> {
        let blobs = &self.bucket(bucket)?.blobs;
        for used in table.blobs.iter() {
            let (meta, _) = blobs
                .get(&used.file)
                .ok_or(Fault::Field("blob file number"))?;
            if used.values > meta.values || used.value_bytes > meta.value_bytes {
                return Err(Fault::Field("blob use"));
            }
        }
        Ok(())
    }

    /// A table begins to refer to blob files.
    fn refer(&mut self, bucket: BucketId, table: &TableMeta) {
        let Some(bucket) = self.buckets.get_mut(&bucket) else {
            return;
        };
        for used in table.blobs.iter() {
            if let Some((_, tables)) = bucket.blobs.get_mut(&used.file) {
                *tables = tables.saturating_add(1);
                self.unreferenced.remove(&used.file);
            }
        }
    }

    /// A table refers to blob files no more.
    fn forgo(&mut self, bucket: BucketId, table: &TableMeta) {
        let Some(bucket) = self.buckets.get_mut(&bucket) else {
            return;
        };
        for used in table.blobs.iter() {
            if let Some((_, tables)) = bucket.blobs.get_mut(&used.file) {
                *tables = tables.saturating_sub(1);
                if *tables == 0 {
                    self.unreferenced.insert(used.file);
                }
            }
        }
    }

    /// At the end of an edit: a blob file that no table refers to becomes obsolete, one for each call.
    fn retire_blob(&mut self) -> Option<Undo> {
        while let Some(number) = self.unreferenced.pop_last() {
            // `None`: its bucket was dropped.
            if let Some(id) = self.blobs.remove(&number)
                && let Some(bucket) = self.buckets.get_mut(&id)
                && let Some((meta, _)) = bucket.blobs.remove(&number)
            {
                self.obsolete.insert(number);
                return Some(Undo::BlobRetired(id, meta));
            }
        }
        None
    }

    /// A file number enters the state: it is in no place yet.
    fn use_number(&mut self, number: u64) -> Result<(), Fault> {
        let is_taken = self.tables.contains(&number)
            || self.blobs.contains_key(&number)
            || self.obsolete.contains(&number);
        if is_taken {
            return Err(Fault::Field("file number: it is taken"));
        }
        let bound = number.checked_add(1).ok_or(Fault::Field("file number"))?;
        self.reserve_files(bound);
        Ok(())
    }
}

impl Counters {
    fn apply(&mut self, change: &Change) -> Result<(), Fault> {
        match (change, &mut self.log) {
            (Change::LogStarted { segment }, None) => self.log = Some((*segment, *segment)),
            (Change::LogStarted { segment }, Some((_, last)))
                if last.checked_add(1) == Some(*segment) =>
            {
                *last = *segment;
            }
            (Change::LogFloor { segment }, Some((floor, last)))
                if (*floor..=*last).contains(segment) =>
            {
                *floor = *segment;
            }
            (Change::NextFile { number }, _) => {
                self.next_file = forward(self.next_file, *number)?;
            }
            (Change::LastSequence { sequence }, _) => {
                self.last_sequence = forward(self.last_sequence, *sequence)?;
            }
            (Change::NextBucket { id }, _) => self.next_bucket = forward(self.next_bucket, id.0)?,
            _ => return Err(Fault::Order),
        }
        Ok(())
    }
}

fn checked_level(level: u8) -> Result<u8, Fault> {
    if level < LEVELS_MAX {
        Ok(level)
    } else {
        Err(Fault::Field("level"))
    }
}

fn misplaced() -> Fault {
    Fault::Field("table number: it is not in that level")
}

/// `to`, if it is not behind `from`.
fn forward<T: Ord + Copy>(from: T, to: T) -> Result<T, Fault> {
    if to < from { Err(Fault::Order) } else { Ok(to) }
}

#[cfg(test)]
mod tests;
