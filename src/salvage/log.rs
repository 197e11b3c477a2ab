//! What the log holds that the tables do not, as memtables, one for each bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use trine_io::{Mode, Storage};

use crate::commit::encoding::{Encoded, operations};
use crate::commit::{How, apply};
use crate::cursor::Cursor;
use crate::error::{Error, Result};
use crate::file_name::wal_name;
use crate::manifest::BucketId;
use crate::range_tombstone::Fragments;
use crate::record::{LogKind, Walked, walk};
use crate::salvage::report::Loss;
use crate::salvage::rows::Owned;
use crate::salvage::source::{Source, content, loss};
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::memtable::MemtableCursor;
use crate::tree::rules::Rules;
use crate::tree::version::Version;
use crate::wal::{Payload, decode, replay};

/// A memtable for each bucket that the log writes to.
#[derive(Debug, Default)]
pub(super) struct Log {
    trees: BTreeMap<BucketId, Arc<Tree>>,
}

impl Log {
    /// Reads the log as an open does; if that refuses it, whatever records are valid.
    pub(super) async fn read(
        storage: &Storage,
        names: &[String],
        source: &Source,
        losses: &mut Vec<Loss>,
        mode: Mode,
    ) -> Result<Self> {
        let segments = source.segments(names);
        let mut log = Self::default();
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(log);
        };
        if source.complete {
            let trial = replay(storage, *first..=*last, mode, |_, _| Ok(true)).await;
            match trial {
                Ok(_) => {
                    let visit =
                        |sequence, batch: &[u8]| log.apply(source, sequence, batch).map(|()| true);
                    replay(storage, *first..=*last, mode, visit).await?;
                    return Ok(log);
                }
                Err(Error::Corruption { .. } | Error::InvalidFormat { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for number in segments {
            let name = wal_name(number);
            if names.contains(&name) {
                let bytes = content(storage, &name, mode).await?;
                log.segment(source, number, &name, &bytes, losses);
            } else {
                losses.push(loss(
                    &name,
                    (0, None),
                    "log segment",
                    "the file is missing",
                    true,
                ));
            }
        }
        Ok(log)
    }

    /// Every valid record of a segment.
    fn segment(
        &mut self,
        source: &Source,
        number: u64,
        name: &str,
        bytes: &[u8],
        losses: &mut Vec<Loss>,
    ) {
        walk(LogKind::Wal, number, bytes, |walked| match walked {
            Walked::Header(Ok(_)) | Walked::End { .. } => {}
            Walked::Header(Err(fault)) => {
                losses.push(loss(name, (0, None), "header", fault.to_string(), false));
            }
            Walked::Record { offset, payload } => {
                let applied = match decode(payload) {
                    Ok(Payload::Commit(sequence, batch)) => self.apply(source, sequence, batch),
                    Ok(Payload::SyncMark(_)) => Ok(()),
                    Err(fault) => Err(fault.at(name, offset).into()),
                };
                if let Err(error) = applied {
                    losses.push(loss(
                        name,
                        (offset, None),
                        "log record",
                        error.to_string(),
                        true,
                    ));
                }
            }
            Walked::Lost { range, fault } => {
                let range = (range.start, range.end.checked_sub(range.start));
                losses.push(loss(name, range, "log records", fault.to_string(), true));
            }
        });
    }

    fn apply(&mut self, source: &Source, sequence: Sequence, batch: &[u8]) -> Result<()> {
        for operation in operations(batch) {
            let id = operation.map_err(|fault| fault.at("batch", 0))?.bucket();
            self.trees.entry(id).or_insert_with(|| {
                let options = source.buckets.get(&id).map(|bucket| bucket.options.clone());
                let name = String::new();
                Arc::new(Tree::new(
                    id,
                    name,
                    options.unwrap_or_default(),
                    Version::default(),
                    Rules::default(),
                ))
            });
        }
        let batch = Encoded {
            bytes: batch,
            may_delete_ranges: true,
        };
        let wanted = |id| source.is_wanted(id, sequence);
        apply(
            |id| self.trees.get(&id),
            sequence,
            &batch,
            0,
            How::Inserted,
            wanted,
        )
    }

    /// The buckets that it writes to.
    pub(super) fn buckets(&self) -> impl Iterator<Item = BucketId> {
        let trees = self.trees.iter();
        trees
            .filter(|(_, tree)| !tree.pin().active.memtable().is_empty())
            .map(|(id, _)| *id)
    }

    /// Takes what it has of a bucket: entries in their order, and range tombstones.
    pub(super) fn take(&mut self, id: BucketId) -> (Vec<Owned>, Arc<Fragments>) {
        let Some(tree) = self.trees.remove(&id) else {
            return Default::default();
        };
        let view = tree.pin();
        let memtable = view.active.memtable();
        let mut entries = Vec::new();
        let mut cursor = MemtableCursor::new(Arc::clone(memtable));
        let mut moved = cursor.seek_first();
        while let (Ok(()), Some(entry)) = (&moved, cursor.entry()) {
            entries.push(Owned::of(&entry));
            moved = cursor.next();
        }
        (entries, memtable.tombstones())
    }
}
