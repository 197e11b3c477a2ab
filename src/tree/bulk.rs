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
use crate::tree::rows::{Gathered, Rows};
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
    ascent: Option<TableBuild<'a>>,
    gathered: Gathered,
    /// From the oldest to the newest.
    runs: Vec<Built>,
    /// The number of the next run.
    next: Sequence,
}

async fn push_all<'r>(
    build: &mut TableBuild<'_>,
    rows: impl Iterator<Item = (&'r [u8], &'r [u8])>,
    sequence: Sequence,
) -> Result<()> {
    for (key, value) in rows {
        let entry = Entry {
            key,
            sequence,
            kind: Kind::Value,
            value,
        };
        build.push(entry).await?;
    }
    Ok(())
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

    /// Of tables that stay.
    fn build(&self) -> TableBuild<'a> {
        let separation = self.separation.clone();
        TableBuild::new(self.context, self.tables.clone(), self.split(), separation)
    }

    /// Of tables that are merged later.
    fn build_run(&self) -> TableBuild<'a> {
        let separation = self.separation.clone();
        TableBuild::passing(self.context, &self.tables, self.split(), separation)
    }

    fn split(&self) -> Split {
        Split::new(self.table_bytes, Vec::new())
    }

    /// Takes the next rows.
    ///
    /// # Errors
    /// `Io`; `Closed`. What is left to do then is to [discard](Self::discard).
    pub(crate) async fn add(&mut self, rows: Rows) -> Result<()> {
        if self.runs.is_empty() && self.gathered.is_empty() {
            let last = self.ascent.as_ref().and_then(TableBuild::last_key);
            if rows.ascend_from(last) {
                if self.ascent.is_none() {
                    self.ascent = Some(self.build());
                }
                return match &mut self.ascent {
                    Some(build) => push_all(build, rows.iter(), Sequence::ZERO).await,
                    None => Ok(()),
                };
            }
            if let Some(build) = self.ascent.take() {
                let run = build.end(Ok(())).await?;
                self.add_run(run).await?;
            }
        }
        self.gathered.add(rows);
        if self.gathered.memory() >= self.memory_bytes {
            self.spill().await?;
        }
        Ok(())
    }

    /// What was gathered becomes a run.
    async fn spill(&mut self) -> Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let mut build = self.build_run();
        let pushed = push_all(&mut build, gathered.sorted(), self.next).await;
        let run = build.end(pushed).await?;
        drop(gathered);
        self.add_run(run).await
    }

    async fn add_run(&mut self, run: Built) -> Result<()> {
        self.runs.push(run);
        self.next = self.next.next().unwrap_or(self.next);
        if self.runs.len() == RUNS_MAX {
            let merged = self.merge(false).await?;
            self.runs.push(merged);
        }
        Ok(())
    }

    /// Makes one run of all: the result, or one that is merged again.
    async fn merge(&mut self, is_result: bool) -> Result<Built> {
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
        let mut build = if is_result {
            self.build()
        } else {
            self.build_run()
        };
        let mode = self.context.mode;
        let pushed = async {
            while let Some(mut entry) = entries.next(mode).await? {
                if build.last_key() == Some(entry.key) {
                    continue;
                }
                if is_result {
                    entry.sequence = Sequence::ZERO;
                }
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
        if self.runs.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            let mut build = self.ascent.take().unwrap_or_else(|| self.build());
            let pushed = push_all(&mut build, gathered.sorted(), Sequence::ZERO).await;
            return build.end(pushed).await;
        }
        if !self.gathered.is_empty() {
            self.spill().await?;
        }
        self.merge(true).await
    }

    /// Removes everything that was written.
    pub(crate) async fn discard(&mut self) {
        if let Some(ascent) = self.ascent.take() {
            ascent.discard().await;
        }
        let runs = std::mem::take(&mut self.runs);
        self.remove(runs.iter().flat_map(Built::numbers)).await;
    }
}
