//! Merged, retained entries -> finished tables. The part that flush and compaction share.
//!
//! A table is written as `unfinished-N` in large pieces, synced, and opened; nothing names it yet.
//! Whoever installs it makes the directory entry durable first and renames it afterwards (`db::install`).

use std::sync::Arc;

use trine_io::{File, Mode, Storage};

use crate::blob::{BlobFile, BlobGc};
use crate::error::Result;
use crate::file_name::{FileNumbers, unfinished_name};
use crate::open_files::OpenFiles;
use crate::range_tombstone::Fragments;
use crate::table::{Table, TableOptions, TableWriter};
use crate::tree::blob_gc::Collected;
use crate::tree::covered::Older;
use crate::tree::merge::Drain;
use crate::tree::retention::{Fate, Retention};
use crate::tree::separation::{Separation, Separator};
use crate::tree::split::Split;
use crate::tree::throttle::Throttle;

/// How much of a table is gathered before it is written: 1 MiB pieces measured 2.4x faster than 8 KiB ones.
pub(crate) const PIECE_BYTES: usize = 1 << 20;

/// What building needs from the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildContext<'a> {
    pub(crate) storage: &'a Storage,
    pub(crate) files: &'a Arc<OpenFiles>,
    pub(crate) mode: Mode,
    pub(crate) numbers: &'a FileNumbers,
    pub(crate) throttle: Throttle<'a>,
    pub(crate) blob_gc: Option<BlobGc>,
}

/// A file under construction.
struct Output {
    number: u64,
    writer: TableWriter,
    file: File,
    offset: u64,
    /// The first key it may hold; the range tombstones of its span start here.
    start: Vec<u8>,
}

impl Output {
    async fn write_pending(&mut self, context: BuildContext<'_>) -> Result<()> {
        let piece = self.writer.take_pending();
        let length = piece.len() as u64;
        context.throttle.pass(piece.len(), context.mode).await?;
        self.file.write_at(context.mode, self.offset, piece).await?;
        // So that the sync at the end finds little left: 1.3 times as fast, measured.
        self.file.start_writeback(self.offset, length);
        self.offset += length;
        Ok(())
    }

    /// Completes the file; it ends before `end`, where the next one starts.
    async fn finish(
        mut self,
        context: BuildContext<'_>,
        tombstones: &Fragments,
        older: &Older,
        end: Option<&[u8]>,
    ) -> Result<Option<Arc<Table>>> {
        let own = tombstones.clip(&self.start, end);
        if own.is_empty() && self.writer.is_empty() {
            context
                .storage
                .remove(context.mode, &unfinished_name(self.number))
                .await?;
            return Ok(None);
        }
        let covered = older.covered(&own, context.mode).await;
        self.writer.add_tombstones(own, covered);
        let (rest, meta) = self.writer.finish();
        context.throttle.pass(rest.len(), context.mode).await?;
        self.file.write_at(context.mode, self.offset, rest).await?;
        self.file.sync_all(context.mode).await?;
        let file = context
            .storage
            .open(context.mode, &unfinished_name(self.number))
            .await?;
        Table::open_in(&file, &meta, context.files, context.mode)
            .await
            .map(Some)
    }
}

/// What was built, durable but for its directory entries, and named by nothing yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Built {
    pub(crate) tables: Vec<Arc<Table>>,
    /// The tables' own.
    pub(crate) blobs: Vec<Arc<BlobFile>>,
    /// The blob file among them that was there before: it stays if they are not installed.
    pub(crate) growing: Option<u64>,
    pub(crate) collected: Collected,
    /// How much of the inputs a compaction read, in bytes.
    pub(crate) read_bytes: u64,
}

/// Writes what retention keeps of `entries` to tables that `split` divides, above
/// what is `older`.
/// On failure, files already written are removed as far as possible; the next open sweeps the rest.
pub(crate) async fn build_tables(
    context: BuildContext<'_>,
    options: &TableOptions,
    split: Split,
    entries: Drain,
    retention: Retention,
    older: Older,
    separation: Separation,
) -> Result<Built> {
    let part = entries.part();
    let mut job = Build {
        context,
        options,
        split,
        tombstones: retention
            .kept_tombstones()
            .clip(&part.from, part.until.as_deref()),
        older,
        numbers: Vec::new(),
        separator: Separator::new(context, separation),
    };
    let built = job.run(entries, retention).await;
    let Ok(tables) = built else {
        for number in job.numbers.into_iter().chain(job.separator.numbers) {
            // The failure that is reported is the one that led here.
            drop(
                context
                    .storage
                    .remove(context.mode, &unfinished_name(number))
                    .await,
            );
        }
        return built.map(|_| Built::default());
    };
    Ok(Built {
        tables,
        blobs: job.separator.built,
        growing: None,
        collected: Collected::default(),
        read_bytes: 0,
    })
}

/// One run of building.
struct Build<'a> {
    context: BuildContext<'a>,
    options: &'a TableOptions,
    split: Split,
    /// What is kept of the range tombstones; each table gets those of its span.
    tombstones: Fragments,
    /// What they may cover.
    older: Older,
    /// Of the files created.
    numbers: Vec<u64>,
    separator: Separator<'a>,
}

impl Build<'_> {
    async fn run(&mut self, mut all: Drain, mut retention: Retention) -> Result<Vec<Arc<Table>>> {
        let mode = self.context.mode;
        let mut built = Vec::new();
        let mut output = self.create(Vec::new()).await?;
        loop {
            let Some(entry) = all.next(mode).await? else {
                self.separator.end_table().await?;
                let last = output.finish(self.context, &self.tombstones, &self.older, None);
                built.extend(last.await?);
                return Ok(built);
            };
            let fate = retention.fate(&entry);
            if !fate.stays() {
                continue;
            }
            let is_full = output.writer.is_full() || self.separator.is_full();
            // All versions of a key stay in one table, and no table is left without an entry.
            let is_next_key = output
                .writer
                .last_key()
                .is_some_and(|last| last != entry.key);
            if is_next_key
                && (self
                    .split
                    .begins_at(entry.key, output.writer.estimated_bytes())
                    || is_full)
            {
                let start = entry.key.to_vec();
                self.separator.end_table().await?;
                built.extend(
                    output
                        .finish(self.context, &self.tombstones, &self.older, Some(&start))
                        .await?,
                );
                output = self.create(start).await?;
            }
            match self.separator.place(&entry).await? {
                None => output.writer.add(entry),
                Some(index) => output.writer.add_blob(entry.key, entry.sequence, &index),
            }
            if let Fate::StaysUntil(sequence) = fate {
                output.writer.mark_superseded(sequence);
            }
            if output.writer.pending_bytes() >= PIECE_BYTES {
                output.write_pending(self.context).await?;
            }
        }
    }

    async fn create(&mut self, start: Vec<u8>) -> Result<Output> {
        let number = self.context.numbers.take();
        self.numbers.push(number);
        let file = self
            .context
            .storage
            .create(self.context.mode, &unfinished_name(number))
            .await?;
        let writer = TableWriter::new(number, self.options.clone());
        Ok(Output {
            number,
            writer,
            file,
            offset: 0,
            start,
        })
    }
}
