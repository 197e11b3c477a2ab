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

pub(crate) use edit::{BucketId, Change, VersionEdit};
pub(crate) use log::Manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::blob::BlobMeta;
use crate::error::Fault;
use crate::options::BucketOptions;
use crate::sequence::Sequence;
use crate::table::TableMeta;

/// Levels are numbered below this.
pub(crate) const LEVELS_MAX: u8 = 16;

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BucketState {
    pub(crate) name: String,
    pub(crate) options: BucketOptions,
    /// The tables of each level, in the order in which they were added.
    pub(crate) levels: Vec<Vec<TableMeta>>,
    /// The blob files that tables refer to, and how many tables do; after an edit, at least one.
    pub(crate) blobs: BTreeMap<u64, (BlobMeta, usize)>,
    /// Every commit up to here is in the tables.
    pub(crate) flushed_through: Sequence,
}

/// Everything that the manifest knows. Cheap to copy as long as few buckets change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ManifestState {
    buckets: BTreeMap<BucketId, Arc<BucketState>>,
    names: BTreeMap<String, BucketId>,
    next_bucket: u32,
    /// The numbers of all tables in all levels.
    tables: BTreeSet<u64>,
    /// The buckets of all blob files.
    blobs: BTreeMap<u64, BucketId>,
    /// Within an edit: blob files that no table refers to so far.
    unreferenced: BTreeSet<u64>,
    obsolete: BTreeSet<u64>,
    /// The WAL segments that may be needed.
    log: Option<(u64, u64)>,
    next_file: u64,
    last_sequence: Sequence,
}

impl ManifestState {
    /// All buckets, by id.
    pub(crate) fn buckets(&self) -> &BTreeMap<BucketId, Arc<BucketState>> {
        &self.buckets
    }

    /// The id of the bucket with this name.
    #[cfg(test)]
    pub(crate) fn bucket_named(&self, name: &str) -> Option<BucketId> {
        self.names.get(name).copied()
    }

    /// The id that the next bucket gets.
    pub(crate) fn next_bucket(&self) -> BucketId {
        BucketId(self.next_bucket)
    }

    /// Whether a table of some bucket has this number.
    pub(crate) fn has_table(&self, number: u64) -> bool {
        self.tables.contains(&number)
    }

    /// Whether a blob file that tables refer to has this number.
    pub(crate) fn has_blob(&self, number: u64) -> bool {
        self.blobs.contains_key(&number)
    }

    /// The numbers of files that may still be in the directory and are not part of the database.
    pub(crate) fn obsolete(&self) -> &BTreeSet<u64> {
        &self.obsolete
    }

    /// The WAL segments to replay, floor to last; `None` before the first was started.
    pub(crate) fn log_segments(&self) -> Option<RangeInclusive<u64>> {
        self.log.map(|(floor, last)| floor..=last)
    }

    /// Every file number that may have been used is below.
    #[cfg(test)]
    pub(crate) fn next_file(&self) -> u64 {
        self.next_file
    }

    /// The highest sequence known to tables.
    pub(crate) fn last_sequence(&self) -> Sequence {
        self.last_sequence
    }

    /// The same tables and buckets in a directory of their own, whose newest commit is `last`: no log,
    /// and nothing that is on its way out.
    pub(crate) fn detached(&self, last: Sequence) -> Self {
        Self {
            log: None,
            obsolete: BTreeSet::new(),
            last_sequence: last,
            ..self.clone()
        }
    }

    /// Applies all of `edit`, or nothing if any part of it does not fit.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<(), Fault> {
        let mut next = self.clone();
        for change in &edit.changes {
            next.apply_change(change)?;
        }
        next.retire_blobs()?;
        *self = next;
        Ok(())
    }

    /// One edit that leads from nothing to this state.
    pub(crate) fn snapshot(&self) -> VersionEdit {
        let mut changes = Vec::new();
        for (&bucket, state) in &self.buckets {
            changes.push(Change::BucketCreated {
                id: bucket,
                name: state.name.clone(),
                options: state.options.clone(),
            });
            changes.extend(
                state
                    .blobs
                    .values()
                    .map(|&(meta, _)| Change::BlobAdded { bucket, meta }),
            );
            for (level, tables) in (0..).zip(&state.levels) {
                changes.extend(tables.iter().map(|meta| Change::TableAdded {
                    bucket,
                    level,
                    meta: meta.clone(),
                }));
            }
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
        if let Some((floor, last)) = self.log {
            changes.extend((floor..=last).map(|segment| Change::LogStarted { segment }));
        }
        changes.push(Change::NextFile {
            number: self.next_file,
        });
        changes.push(Change::LastSequence {
            sequence: self.last_sequence,
        });
        VersionEdit { changes }
    }

    fn apply_change(&mut self, change: &Change) -> Result<(), Fault> {
        match change {
            Change::BucketCreated { id, name, options } => self.create_bucket(*id, name, options),
            Change::BucketDropped { id } => {
                let dropped = self.buckets.remove(id).ok_or(Fault::Field("bucket id"))?;
                self.names.remove(&dropped.name);
                for meta in dropped.levels.iter().flatten() {
                    self.tables.remove(&meta.number);
                    self.obsolete.insert(meta.number);
                }
                for number in dropped.blobs.keys() {
                    self.blobs.remove(number);
                    self.obsolete.insert(*number);
                }
                Ok(())
            }
            Change::TableAdded {
                bucket,
                level,
                meta,
            } => {
                if !meta.is_ordered() {
                    return Err(Fault::Order);
                }
                self.use_number(meta.number)?;
                self.tables.insert(meta.number);
                self.refer(*bucket, meta)?;
                self.level(*bucket, *level)?.push(meta.clone());
                Ok(())
            }
            Change::TableRemoved {
                bucket,
                level,
                number,
            } => {
                let meta = self.take_table(*bucket, *level, *number)?;
                self.forgo(*bucket, &meta)?;
                self.tables.remove(number);
                self.obsolete.insert(*number);
                Ok(())
            }
            Change::TableMoved {
                bucket,
                number,
                from,
                to,
            } => {
                let meta = self.take_table(*bucket, *from, *number)?;
                self.level(*bucket, *to)?.push(meta);
                Ok(())
            }
            Change::BlobAdded { bucket, meta } => {
                self.use_number(meta.number)?;
                self.blobs.insert(meta.number, *bucket);
                self.unreferenced.insert(meta.number);
                self.bucket(*bucket)?.blobs.insert(meta.number, (*meta, 0));
                Ok(())
            }
            Change::FileObsolete { number } => {
                self.use_number(*number)?;
                self.obsolete.insert(*number);
                Ok(())
            }
            Change::ObsoleteGone { number } => {
                if self.obsolete.remove(number) {
                    Ok(())
                } else {
                    Err(Fault::Field("obsolete file number"))
                }
            }
            Change::Flushed { bucket, through } => {
                let flushed = &mut self.bucket(*bucket)?.flushed_through;
                *flushed = forward(*flushed, *through)?;
                Ok(())
            }
            Change::LogStarted { segment } => {
                self.log = match self.log {
                    None => Some((*segment, *segment)),
                    Some((floor, last)) if last.checked_add(1) == Some(*segment) => {
                        Some((floor, *segment))
                    }
                    Some(_) => return Err(Fault::Order),
                };
                Ok(())
            }
            Change::LogFloor { segment } => match &mut self.log {
                Some((floor, last)) if *floor <= *segment && *segment <= *last => {
                    *floor = *segment;
                    Ok(())
                }
                _ => Err(Fault::Order),
            },
            Change::NextFile { number } => {
                self.next_file = forward(self.next_file, *number)?;
                Ok(())
            }
            Change::LastSequence { sequence } => {
                self.last_sequence = forward(self.last_sequence, *sequence)?;
                Ok(())
            }
            Change::NextBucket { id } => {
                self.next_bucket = forward(self.next_bucket, id.0)?;
                Ok(())
            }
        }
    }

    fn create_bucket(
        &mut self,
        id: BucketId,
        name: &str,
        options: &BucketOptions,
    ) -> Result<(), Fault> {
        if self.names.contains_key(name) {
            return Err(Fault::Field("bucket name: it is taken"));
        }
        if id.0 < self.next_bucket {
            return Err(Fault::Field("bucket id: it was used before"));
        }
        self.next_bucket = id.0.checked_add(1).ok_or(Fault::Field("bucket id"))?;
        self.names.insert(name.to_owned(), id);
        let state = BucketState {
            name: name.to_owned(),
            options: options.clone(),
            levels: Vec::new(),
            blobs: BTreeMap::new(),
            flushed_through: Sequence::ZERO,
        };
        self.buckets.insert(id, Arc::new(state));
        Ok(())
    }

    fn bucket(&mut self, id: BucketId) -> Result<&mut BucketState, Fault> {
        let bucket = self.buckets.get_mut(&id).ok_or(Fault::Field("bucket id"))?;
        Ok(Arc::make_mut(bucket))
    }

    fn level(&mut self, id: BucketId, level: u8) -> Result<&mut Vec<TableMeta>, Fault> {
        if level >= LEVELS_MAX {
            return Err(Fault::Field("level"));
        }
        let levels = &mut self.bucket(id)?.levels;
        let index = usize::from(level);
        if levels.len() <= index {
            levels.resize(index + 1, Vec::new());
        }
        levels.get_mut(index).ok_or(Fault::Field("level"))
    }

    /// Takes a table out of its level; empty levels at the end go with it.
    fn take_table(&mut self, id: BucketId, level: u8, number: u64) -> Result<TableMeta, Fault> {
        let levels = &mut self.bucket(id)?.levels;
        let missing = Fault::Field("table number: it is not in that level");
        let tables = levels.get_mut(usize::from(level)).ok_or(missing.clone())?;
        let at = tables
            .iter()
            .position(|meta| meta.number == number)
            .ok_or(missing)?;
        let meta = tables.remove(at);
        while levels.last().is_some_and(Vec::is_empty) {
            levels.pop();
        }
        Ok(meta)
    }

    /// A table begins to refer to blob files.
    fn refer(&mut self, bucket: BucketId, table: &TableMeta) -> Result<(), Fault> {
        for used in table.blobs.iter() {
            let blob = self.bucket(bucket)?.blobs.get_mut(&used.file);
            let (meta, tables) = blob.ok_or(Fault::Field("blob file number"))?;
            if used.values > meta.values || used.value_bytes > meta.value_bytes {
                return Err(Fault::Field("blob use"));
            }
            *tables = tables.saturating_add(1);
            self.unreferenced.remove(&used.file);
        }
        Ok(())
    }

    /// A table refers to blob files no more.
    fn forgo(&mut self, bucket: BucketId, table: &TableMeta) -> Result<(), Fault> {
        for used in table.blobs.iter() {
            let blob = self.bucket(bucket)?.blobs.get_mut(&used.file);
            let (_, tables) = blob.ok_or(Fault::Field("blob file number"))?;
            *tables = tables.saturating_sub(1);
            if *tables == 0 {
                self.unreferenced.insert(used.file);
            }
        }
        Ok(())
    }

    /// At the end of an edit: blob files that no table refers to are obsolete.
    fn retire_blobs(&mut self) -> Result<(), Fault> {
        for number in std::mem::take(&mut self.unreferenced) {
            // None: its bucket was dropped.
            if let Some(bucket) = self.blobs.remove(&number) {
                self.bucket(bucket)?.blobs.remove(&number);
                self.obsolete.insert(number);
            }
        }
        Ok(())
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
        self.next_file = self.next_file.max(bound);
        Ok(())
    }
}

/// `to`, if it is not behind `from`.
fn forward<T: Ord + Copy>(from: T, to: T) -> Result<T, Fault> {
    if to < from { Err(Fault::Order) } else { Ok(to) }
}

#[cfg(test)]
mod tests;
