//! What a point read touches, found by the very lookup that answers reads, with somebody looking on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crossbeam_epoch::Guard;
use trine_io::Mode;
use trine_platform::block_on;

use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::error::Result;
use crate::file_name::{blob_name, table_name};
use crate::read_counters::PointSteps;
use crate::sequence::Sequence;
use crate::table::Missing;
use crate::tree::lookup::{self, Hit, Indirect, Known, Source, Watch};
use crate::tree::view::View;

/// How a read of one key goes: what it asks, in which order, and what the answers are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetExplanation {
    /// The commit as of which it reads.
    pub sequence: Sequence,
    /// What is asked, newest first. The last one knows the key, unless nobody does.
    pub steps: Vec<GetStep>,
    /// Tables that are not asked: their bounds exclude the key, or something newer knew it.
    pub tables_left_out: usize,
    /// Where the value lies, if there is one.
    pub value: Option<ValuePlace>,
}

/// One memtable or table that a read asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetStep {
    /// Which.
    pub source: GetSource,
    /// What it knows of the key.
    pub answer: GetAnswer,
}

/// Where a read looks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetSource {
    /// A memtable.
    #[non_exhaustive]
    Memtable {
        /// Whether it waits to be flushed.
        immutable: bool,
    },
    /// A table.
    #[non_exhaustive]
    Table {
        /// Its file.
        file: String,
        /// Its level.
        level: usize,
        /// What its filter says: `Some(false)` rules the key out, `None` is no filter.
        filter: Option<bool>,
        /// The data blocks that are searched.
        blocks: Vec<BlockPlace>,
    },
}

/// A data block of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockPlace {
    /// Its number in the table.
    pub number: u32,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many they are.
    pub bytes: u32,
    /// Whether it had to be read first: it was in no cache, or not known to be in memory.
    pub was_missing: bool,
}

/// What a memtable or table knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetAnswer {
    /// Nothing: older ones are asked.
    Nothing,
    /// That it has a value since this commit.
    Value(Sequence),
    /// That since this commit its value has to be worked out: it was merged into, and older ones are asked too, but not shown; or the
    /// value expires.
    Merged(Sequence),
    /// That it was deleted by this commit, by itself or with a range.
    Deleted(Sequence),
}

/// Where a value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValuePlace {
    /// Beside its key.
    #[non_exhaustive]
    Beside {
        /// How long it is.
        bytes: u64,
    },
    /// It has to be worked out from what lies beside the key: a value that expires, or the newest operands, and what they are merged into.
    #[non_exhaustive]
    Merged {
        /// How long what lies there is.
        bytes: u64,
    },
    /// In a blob file, which a read then reads.
    #[non_exhaustive]
    Blob {
        /// The file.
        file: String,
        /// Where its bytes begin.
        offset: u64,
        /// How many there are.
        stored_bytes: u32,
        /// How long the value is.
        bytes: u64,
    },
}

impl Db {
    /// What a read of `key` in the default bucket touches, as of now: memtables, filters, tables, blocks and blob
    /// file. A value in a blob file is not read.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cost
    /// That of the read. It counts in no statistics.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// use trine_kv::explain::{GetAnswer, GetSource};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// db.put_sync("key", "value")?;
    /// let explanation = db.explain_get_sync(b"key")?;
    /// assert!(matches!(explanation.steps[0].source, GetSource::Memtable { .. }));
    /// assert_eq!(explanation.steps[0].answer, GetAnswer::Value(db.last_committed_sequence()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain_get(&self, key: &[u8]) -> Result<GetExplanation> {
        self.keyspace().explain_get(key).await
    }

    /// [`explain_get`](Self::explain_get) on this thread.
    ///
    /// # Errors
    /// As [`explain_get`](Self::explain_get).
    pub fn explain_get_sync(&self, key: &[u8]) -> Result<GetExplanation> {
        self.keyspace().explain_get_sync(key)
    }
}

impl Bucket {
    /// As [`Db::explain_get`], of this bucket.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cost
    /// That of the read.
    pub async fn explain_get(&self, key: &[u8]) -> Result<GetExplanation> {
        explain(self, key, Mode::Cooperative).await
    }

    /// [`explain_get`](Self::explain_get) on this thread.
    ///
    /// # Errors
    /// As [`explain_get`](Self::explain_get).
    pub fn explain_get_sync(&self, key: &[u8]) -> Result<GetExplanation> {
        block_on(explain(self, key, Mode::Blocking))
    }
}

async fn explain(bucket: &Bucket, key: &[u8], mode: Mode) -> Result<GetExplanation> {
    let core = bucket.core();
    core.check_open()?;
    bucket.tree().check_kept()?;
    // The pin before the view: see `Pins`.
    let pin = core.pin_newest();
    let view = bucket.tree().pin();
    let mut supplied = Vec::new();
    let mut missed = BTreeSet::new();
    loop {
        let needed = {
            let guard = crate::epoch::pin();
            let mut asked = Vec::new();
            let watch = Asked(&mut asked);
            match lookup::get_watched(&view, key, pin.sequence(), &supplied, &guard, watch) {
                Ok(hit) => {
                    let value = hit.map(|hit| place_of(&view, &hit)).transpose()?;
                    let scene = Scene {
                        view: &view,
                        key,
                        supplied: &supplied,
                        missed: &missed,
                        guard: &guard,
                    };
                    return Ok(scene.explanation(pin.sequence(), &asked, value));
                }
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Needs(missing)) => missing,
            }
        };
        missed.extend(data_block(&needed));
        supplied.extend(needed.load(mode).await?.blocks);
    }
}

fn data_block(missing: &Missing) -> Option<(u64, u32)> {
    let (table, _) = missing.place();
    Some((table, missing.data_block()?))
}

fn place_of(view: &View, hit: &Hit<'_, '_>) -> Result<ValuePlace> {
    let bytes = hit.bytes().len() as u64;
    let encoded = match hit.indirect() {
        None => return Ok(ValuePlace::Beside { bytes }),
        Some(Indirect::Composite) => return Ok(ValuePlace::Merged { bytes }),
        Some(Indirect::Blob(encoded)) => encoded,
    };
    let value = view.decode_blob(encoded)?;
    let index = value.index();
    Ok(ValuePlace::Blob {
        file: blob_name(index.file),
        offset: index.record.offset,
        stored_bytes: index.record.length,
        bytes: index.value_bytes.into(),
    })
}

/// Notes each source with its answer and the steps up to it.
struct Asked<'n, 'v>(&'n mut Vec<(Source<'v>, PointSteps, GetAnswer)>);

impl<'v> Watch<'v> for Asked<'_, 'v> {
    fn asked(&mut self, source: Source<'v>, steps: &PointSteps, known: Option<&Known<'v, '_>>) {
        let answer = match known {
            None => GetAnswer::Nothing,
            Some(known) => match &known.value {
                Some(hit) if hit.is_composite() => GetAnswer::Merged(known.sequence),
                Some(_) => GetAnswer::Value(known.sequence),
                None => GetAnswer::Deleted(known.sequence),
            },
        };
        self.0.push((source, *steps, answer));
    }
}

/// What the notes are read in.
struct Scene<'a> {
    view: &'a View,
    key: &'a [u8],
    supplied: &'a [Arc<CachedBlock>],
    /// Tables and blocks that had to be loaded.
    missed: &'a BTreeSet<(u64, u32)>,
    guard: &'a Guard,
}

impl Scene<'_> {
    fn explanation(
        &self,
        sequence: Sequence,
        asked: &[(Source<'_>, PointSteps, GetAnswer)],
        value: Option<ValuePlace>,
    ) -> GetExplanation {
        let mut before = PointSteps::default();
        let mut tables = 0;
        let mut steps = Vec::with_capacity(asked.len());
        for (source, after, answer) in asked {
            let source = match source {
                Source::Memtable(buffer) => GetSource::Memtable {
                    immutable: !Arc::ptr_eq(buffer, &self.view.active),
                },
                Source::Table(table) => {
                    tables += 1;
                    self.table(table, &before, after)
                }
            };
            before = *after;
            let answer = *answer;
            steps.push(GetStep { source, answer });
        }
        GetExplanation {
            sequence,
            steps,
            tables_left_out: self.view.version.tables().count().saturating_sub(tables),
            value,
        }
    }

    fn table(
        &self,
        table: &Arc<crate::table::Table>,
        before: &PointSteps,
        after: &PointSteps,
    ) -> GetSource {
        let number = table.meta().number;
        let searched = after.blocks.saturating_sub(before.blocks);
        let blocks = table.opened().map_or_else(Vec::new, |open| {
            open.blocks_over(self.key, searched, self.supplied, self.guard)
        });
        let mut levels = self.view.version.levels();
        let level = levels.find(|(_, tables)| tables.iter().any(|other| Arc::ptr_eq(other, table)));
        GetSource::Table {
            file: table_name(number),
            level: level.map_or(0, |(level, _)| level),
            filter: if after.rare.unfiltered > before.rare.unfiltered {
                None
            } else {
                Some(after.rare.filter_misses == before.rare.filter_misses)
            },
            blocks: blocks
                .into_iter()
                .map(|(block, handle)| BlockPlace {
                    number: block,
                    offset: handle.offset,
                    bytes: handle.length,
                    was_missing: self.missed.contains(&(number, block)),
                })
                .collect(),
        }
    }
}
