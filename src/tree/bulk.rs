//! Rows in any order -> tables of one sorted run.
//!
//! Rows that ascend go straight to tables. From the first that does not on, rows are gathered in memory up to a limit,
//! sorted, and written as a run of tables; in the end the runs are merged. A run is what a flush would write: values that
//! belong into blob files are there already, and merging moves only where they lie.
//!
//! Entries of the result have [`Sequence::ZERO`]: which commit it becomes is known when it is installed. In runs they have
//! the run's number, so that of a key's rows the one that came last comes first.

use std::sync::Arc;

use crate::direction::Direction;
use crate::error::Result;
use crate::file_name::unfinished_name;
use crate::internal_key::{Entry, Kind};
use crate::sequence::Sequence;
use crate::table::{Counting, TableOptions};
use crate::tree::Tree;
use crate::tree::build::{BuildContext, Built, TableBuild};
use crate::tree::level::LevelCursor;
use crate::tree::merge::{Drain, Merge, Source};
use crate::tree::picker::Part;
use crate::tree::separation::Separation;
use crate::tree::split::Split;
use crate::tree::version::{Version, VersionChange};

/// So many runs become one: each takes a piece of memory while they are merged.
const RUNS_MAX: usize = 32;

/// A table may have this many times its own target in a blob file of its own.
const BLOB_FACTOR: u64 = 4;

/// Takes rows one after the other.
pub(crate) struct BulkLoader<'a> {
    context: BuildContext<'a>,
    tables: TableOptions,
    table_bytes: u64,
    separation: Separation,
    memory_bytes: usize,
    /// For as long as rows ascend.
    ascent: Option<Ascent<'a>>,
    gathered: Gathered,
    /// From the oldest to the newest.
    runs: Vec<Built>,
    /// The number of the next run.
    next: Sequence,
}

/// Rows that come in order. The last of them waits: the next may replace it.
struct Ascent<'a> {
    build: TableBuild<'a>,
    last: Option<Row>,
}

#[derive(Default)]
struct Row {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Rows in memory, in the order in which they came.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    rows: Vec<Place>,
}

/// Where a row lies: its key, then its value.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    value: usize,
    end: usize,
}

impl Gathered {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.rows.push(Place {
            start,
            value: start + key.len(),
            end: self.bytes.len(),
        });
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Place>()
    }

    /// By key, and rows of one key as they came.
    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.rows.sort_by(|left, right| {
            bytes[left.start..left.value].cmp(&bytes[right.start..right.value])
        });
    }

    /// Of each key, the row that came last; once they are sorted.
    fn distinct(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let row = |place: &Place| {
            let Place { start, value, end } = *place;
            (&self.bytes[start..value], &self.bytes[value..end])
        };
        let later = self.rows.iter().skip(1).map(Some).chain([None]);
        self.rows
            .iter()
            .zip(later)
            .filter_map(move |(place, later)| {
                let is_last = later.is_none_or(|later| row(later).0 != row(place).0);
                is_last.then(|| row(place))
            })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }
}

impl Ascent<'_> {
    /// Takes the row, unless it comes before the one that came last.
    async fn add(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        if let Some(last) = &self.last {
            if key < last.key.as_slice() {
                return Ok(false);
            }
            if key > last.key.as_slice() {
                self.write_last().await?;
            }
        }
        let last = self.last.get_or_insert_default();
        last.key.clear();
        last.key.extend_from_slice(key);
        last.value.clear();
        last.value.extend_from_slice(value);
        Ok(true)
    }

    async fn write_last(&mut self) -> Result<()> {
        match &self.last {
            Some(last) => {
                self.build
                    .push(value_at(&last.key, Sequence::ZERO, &last.value))
                    .await
            }
            None => Ok(()),
        }
    }
}

fn value_at<'a>(key: &'a [u8], sequence: Sequence, value: &'a [u8]) -> Entry<'a> {
    Entry {
        key,
        sequence,
        kind: Kind::Value,
        value,
    }
}

impl<'a> BulkLoader<'a> {
    /// Takes rows for `tree`; those that do not ascend are gathered in about `memory_bytes`.
    pub(crate) fn new(
        context: BuildContext<'a>,
        tree: &Tree,
        table_bytes: u64,
        memory_bytes: usize,
    ) -> Self {
        Self {
            context,
            tables: tree.table_options(),
            table_bytes,
            separation: tree.separation(table_bytes.saturating_mul(BLOB_FACTOR)),
            memory_bytes,
            ascent: None,
            gathered: Gathered::default(),
            runs: Vec::new(),
            next: Sequence::ZERO,
        }
    }

    fn build(&self) -> TableBuild<'a> {
        let split = Split::new(self.table_bytes, Vec::new());
        TableBuild::new(
            self.context,
            self.tables.clone(),
            split,
            self.separation.clone(),
        )
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// `Io`; `Closed`. What is left to do then is to [discard](Self::discard).
    pub(crate) async fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.runs.is_empty() && self.gathered.rows.is_empty() {
            let mut ascent = self.ascent.take().unwrap_or_else(|| Ascent {
                build: self.build(),
                last: None,
            });
            let added = ascent.add(key, value).await;
            self.ascent = Some(ascent);
            if added? {
                return Ok(());
            }
            self.end_ascent().await?;
        }
        self.gathered.add(key, value);
        if self.gathered.memory() >= self.memory_bytes {
            self.spill().await?;
        }
        Ok(())
    }

    async fn end_ascent(&mut self) -> Result<()> {
        if let Some(mut ascent) = self.ascent.take() {
            let written = ascent.write_last().await;
            let run = ascent.build.end(written).await?;
            self.add_run(run).await?;
        }
        Ok(())
    }

    /// What was gathered becomes a run.
    async fn spill(&mut self) -> Result<()> {
        self.gathered.sort();
        let mut build = self.build();
        let sequence = self.next;
        let pushed = async {
            for (key, value) in self.gathered.distinct() {
                build.push(value_at(key, sequence, value)).await?;
            }
            Ok(())
        };
        let pushed = pushed.await;
        let run = build.end(pushed).await?;
        self.gathered.clear();
        self.add_run(run).await
    }

    async fn add_run(&mut self, run: Built) -> Result<()> {
        self.runs.push(run);
        self.next = self.next.next().unwrap_or(self.next);
        if self.runs.len() == RUNS_MAX {
            let merged = self.merge(|entry| entry.sequence).await?;
            self.runs.push(merged);
        }
        Ok(())
    }

    /// Makes one run of all, whose entries get the sequences that `sequence` gives them.
    async fn merge(&mut self, sequence: impl Fn(&Entry<'_>) -> Sequence) -> Result<Built> {
        let tables = self.runs.iter().flat_map(|run| &run.tables);
        let blobs = self.runs.iter().flat_map(|run| &run.blobs);
        let values = Version::default().apply(&VersionChange {
            added: tables.map(|table| (0, Arc::clone(table))).collect(),
            blobs: blobs.map(Arc::clone).collect(),
            ..VersionChange::default()
        });
        self.separation.version = Arc::new(values);
        let runs = self.runs.iter().map(|run| {
            let cursor = LevelCursor::new(run.tables.clone(), Counting::Once);
            Source::Level(cursor)
        });
        let merge = Merge::new(runs.collect(), Direction::Forward);
        let mut entries = Drain::new(merge, Part::default());
        let mut build = self.build();
        let mode = self.context.mode;
        let pushed = async {
            let mut key = None::<Vec<u8>>;
            while let Some(mut entry) = entries.next(mode).await? {
                if key.as_deref() == Some(entry.key) {
                    continue;
                }
                let last = key.get_or_insert_default();
                last.clear();
                last.extend_from_slice(entry.key);
                entry.sequence = sequence(&entry);
                build.push(entry).await?;
            }
            Ok(())
        };
        let pushed = pushed.await;
        drop(entries);
        let mut merged = build.end(pushed).await?;
        let is_used = |number: u64| {
            let mut uses = merged
                .tables
                .iter()
                .flat_map(|table| table.meta().blobs.iter());
            uses.any(|used| used.file == number)
        };
        let runs = std::mem::take(&mut self.runs);
        let mut spent = Vec::new();
        let mut kept = Vec::new();
        for run in runs {
            spent.extend(run.tables.iter().map(|table| table.meta().number));
            for file in run.blobs {
                let number = file.meta().number;
                if is_used(number) {
                    kept.push(file);
                } else {
                    spent.push(number);
                }
            }
        }
        merged.blobs.append(&mut kept);
        self.remove(spent).await;
        Ok(merged)
    }

    async fn remove(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            // What cannot be removed now, the next open sweeps.
            let name = unfinished_name(number);
            drop(self.context.storage.remove(self.context.mode, &name).await);
        }
    }

    /// All rows in one sorted run; of each key, the row that came last.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(crate) async fn finish(&mut self) -> Result<Built> {
        if self.runs.is_empty() && self.gathered.rows.is_empty() {
            return match self.ascent.take() {
                Some(mut ascent) => {
                    let written = ascent.write_last().await;
                    ascent.build.end(written).await
                }
                None => Ok(Built::default()),
            };
        }
        if !self.gathered.rows.is_empty() {
            self.spill().await?;
        }
        self.merge(|_| Sequence::ZERO).await
    }

    /// Removes everything that was written.
    pub(crate) async fn discard(&mut self) {
        if let Some(ascent) = self.ascent.take() {
            ascent.build.discard().await;
        }
        let runs = std::mem::take(&mut self.runs);
        self.remove(runs.iter().flat_map(Built::numbers)).await;
    }
}
