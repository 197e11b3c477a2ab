//! The rows of one range at one sequence, over everything a view names.
//!
//! A scan pins its view: memtables and tables stay readable for as long as it lives, whatever is
//! flushed, compacted or closed meanwhile.

use std::ops::Bound;
use std::sync::Arc;

use crate::blob::{BlobBytes, BlobValue};
use crate::cursor::{Halt, Moved};
use crate::direction::Direction;
use crate::error::Result;
use crate::filter::prefix::SharedPrefix;
use crate::internal_key::Kind;
use crate::key::{KeyRange, successor};
use crate::read_counters::ScanSteps;
use crate::sequence::Sequence;
use crate::table::{self, Counting, Missing, Table, TableCursor};
use crate::tree::hiding::Tombstones;
use crate::tree::level::LevelCursor;
use crate::tree::memtable::MemtableCursor;
use crate::tree::merge::{Merge, Source};
use crate::tree::view::View;
use crate::tree::visibility::Visible;

use trine_io::Mode;
use trine_platform::block_on;

/// Which rows, and in which order.
#[derive(Clone, Debug)]
pub(crate) struct ScanPlan {
    pub(crate) range: KeyRange,
    pub(crate) direction: Direction,
    pub(crate) sequence: Sequence,
    /// Set if every key of the range has this prefix: filters may then rule tables out.
    pub(crate) prefix: Option<Arc<SharedPrefix>>,
}

/// A running scan.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Scan {
    view: View,
    plan: ScanPlan,
    /// Where the first move starts: the first key (forward), the key after the last (reverse).
    from: Option<Vec<u8>>,
    rows: Visible,
    /// The row's value, if it is in a blob file or was worked out.
    blob: Option<RowBlob>,
    /// The row's value has to be worked out.
    composite: bool,
    /// Whether values in blob files are fetched with their rows.
    fetches: bool,
    /// Stands on a row whose value, or its file, it said it needs.
    waiting: bool,
    reads_tables: bool,
    done: bool,
    /// A scan the other way over what this one has left, once somebody asked for rows from there. Each
    /// ends where the other stands.
    back: Option<Box<Scan>>,
}

/// The value of a row, in a blob file.
#[derive(Debug)]
enum RowBlob {
    /// The row is not complete without it.
    Wanted(BlobValue),
    Fetched(BlobBytes),
    /// Left to whoever wants it.
    Left(BlobValue),
}

/// What a scan waits for.
#[derive(Debug)]
pub(crate) enum Needed {
    Block(Missing),
    Value(BlobValue),
    /// That the file of a value that is left to others is open: it may be gone when they come to it.
    File(BlobValue),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Loaded {
    Blocks(table::Loaded),
    Value(BlobBytes),
    File,
}

impl Needed {
    pub(crate) async fn load(&self, mode: Mode) -> Result<Loaded> {
        match self {
            Self::Block(missing) => missing.load(mode).await.map(Loaded::Blocks),
            Self::Value(value) => value.load(mode).await.map(Loaded::Value),
            Self::File(value) => value.open(mode).await.map(|()| Loaded::File),
        }
    }
}

/// The value of a row that may not have been fetched.
#[derive(Debug)]
pub(crate) enum RowValue<'a> {
    Here(&'a [u8]),
    Blob(BlobValue),
}

impl Scan {
    pub(crate) fn new(view: View, plan: ScanPlan) -> Self {
        let counting = match &plan.prefix {
            Some(prefix) => Counting::Prefix(Arc::clone(prefix)),
            None => Counting::Blocks,
        };
        let (sources, tombstones) = sources(&view, &plan, &counting);
        let from = match plan.direction {
            Direction::Forward => match &plan.range.start {
                Bound::Included(start) => Some(start.clone()),
                Bound::Excluded(start) => Some(successor(start)),
                Bound::Unbounded => None,
            },
            Direction::Reverse => match &plan.range.end {
                Bound::Included(end) => Some(successor(end)),
                Bound::Excluded(end) => Some(end.clone()),
                Bound::Unbounded => None,
            },
        };
        let done = plan.range.is_empty();
        let reads_tables = sources
            .iter()
            .any(|source| !matches!(source, Source::Memtable(_)));
        let merge = Merge::new(sources, plan.direction);
        let rows = Visible::new(merge, plan.direction, plan.sequence, tombstones);
        Self {
            view,
            plan,
            from,
            rows,
            blob: None,
            composite: false,
            fetches: true,
            waiting: false,
            reads_tables,
            done,
            back: None,
        }
    }

    /// Leaves values in blob files where they are. Before the first move.
    pub(crate) fn leave_blobs(&mut self) {
        self.fetches = false;
    }

    pub(crate) fn direction(&self) -> Direction {
        self.plan.direction
    }

    /// On to the next row; `row` then lends it.
    pub(crate) async fn advance(&mut self, mode: Mode) -> Result<bool> {
        let mut ready = mode == Mode::Cooperative && self.reads_tables && !self.done;
        loop {
            match self.try_advance() {
                Ok(on_row) => {
                    if ready {
                        self.count_ready();
                    }
                    return Ok(on_row);
                }
                Err(Halt::Needs(missing)) => {
                    let loaded = missing.load(mode).await;
                    ready &= self.supply(loaded)?;
                }
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
    }

    /// [`advance`](Self::advance) on this thread.
    #[inline]
    pub(crate) fn advance_sync(&mut self) -> Result<bool> {
        match self.try_advance() {
            Ok(on_row) => Ok(on_row),
            Err(Halt::Needs(_)) => block_on(self.advance(Mode::Blocking)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// On to the next row, if what that takes is resident; else names what is not, and goes on from
    /// there once it was supplied.
    #[inline]
    pub(crate) fn try_advance(&mut self) -> std::result::Result<bool, Halt<Needed>> {
        let moved = self.step();
        self.done |= matches!(moved, Err(Halt::Failed(_)));
        moved.map(|()| !self.done)
    }

    /// Takes what loading came to; true if nobody had to wait for it. A failure ends the scan.
    pub(crate) fn supply(&mut self, loaded: Result<Loaded>) -> Result<bool> {
        match loaded {
            Ok(Loaded::Blocks(loaded)) => {
                self.rows.supply(&loaded);
                Ok(loaded.was_ready)
            }
            Ok(Loaded::Value(bytes)) => {
                self.blob = Some(RowBlob::Fetched(bytes));
                Ok(false)
            }
            Ok(Loaded::File) => Ok(false),
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    /// Counts an asynchronous step that needed no thread.
    fn count_ready(&self) {
        // Any table will do: all have the counters of the database.
        if let Some(table) = self.view.version.tables().next() {
            table.reads().add_scan(&ScanSteps {
                ready_async_reads: 1,
                ..ScanSteps::default()
            });
        }
    }

    /// The row it stands on. Of a scan that leaves blobs: without them.
    #[inline]
    pub(crate) fn row(&self) -> Option<(&[u8], &[u8])> {
        if self.done {
            return None;
        }
        let (key, _) = self.rows.key()?;
        match &self.blob {
            None => Some((key, self.rows.value())),
            Some(RowBlob::Fetched(bytes)) => Some((key, bytes)),
            Some(RowBlob::Left(_)) => Some((key, &[])),
            Some(RowBlob::Wanted(_)) => None,
        }
    }

    /// When the row it stands on expires, in milliseconds since 1970-01-01 UTC, if it does.
    pub(crate) fn expires_millis(&self) -> Option<u64> {
        if !self.composite || self.done {
            return None;
        }
        self.rows.stack().expires_millis(&self.view.rules)
    }

    /// The row it stands on, wherever its value lies.
    #[inline]
    pub(crate) fn whole_row(&self) -> Option<(&[u8], RowValue<'_>)> {
        let (key, value) = self.row()?;
        Some(match &self.blob {
            Some(RowBlob::Left(value)) => (key, RowValue::Blob(value.clone())),
            _ => (key, RowValue::Here(value)),
        })
    }

    /// A scan of the same view that goes on behind the row this one stands on.
    pub(crate) fn fork(&self) -> Self {
        let mut fork = self.left(self.plan.direction);
        fork.back = self.back.as_ref().map(|back| {
            let mut back = Box::new(back.fork());
            // The fork stands on no row yet, so only this scan can say how far it got.
            if let Some(passed) = self.passed() {
                narrow(&mut back.plan.range, self.plan.direction, passed);
            }
            back
        });
        fork
    }

    /// What is left of the range, from whichever end.
    fn left(&self, direction: Direction) -> Self {
        let mut plan = self.plan.clone();
        if let Some(bound) = self.passed() {
            narrow(&mut plan.range, self.plan.direction, bound);
        }
        plan.direction = direction;
        let mut left = Self::new(self.view.clone(), plan);
        left.done |= self.done;
        left.fetches = self.fetches;
        left
    }

    /// Up to where its rows were handed out.
    fn passed(&self) -> Option<Bound<Vec<u8>>> {
        match self.rows.key().filter(|_| !self.done) {
            // The row was not delivered yet.
            Some((key, ..)) if matches!(self.blob, Some(RowBlob::Wanted(_))) => {
                Some(Bound::Included(key.to_vec()))
            }
            Some((key, ..)) => Some(Bound::Excluded(key.to_vec())),
            None => self.rows.resume(),
        }
    }

    /// On to the next row from the other end; `back` then stands on it.
    pub(crate) async fn advance_back(&mut self, mode: Mode) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        let direction = self.plan.direction;
        let back = match self.back.take() {
            Some(mut back) => {
                if let Some(passed) = self.passed() {
                    narrow(&mut back.plan.range, direction, passed);
                }
                back
            }
            None => Box::new(self.left(direction.opposite())),
        };
        let back = self.back.insert(back);
        let moved = back.advance(mode).await;
        match back.row() {
            Some((key, _)) => {
                let met = Bound::Excluded(key.to_vec());
                narrow(&mut self.plan.range, direction.opposite(), met);
            }
            None => self.done = true,
        }
        moved
    }

    /// The row that the other end stands on.
    pub(crate) fn back(&self) -> Option<&Self> {
        self.back.as_deref()
    }

    #[inline]
    fn step(&mut self) -> Moved<Needed> {
        while !self.done {
            if self.waiting {
                self.waiting = false;
            } else {
                self.blob = None;
                let moved = self.rows.step(self.from.as_deref());
                moved.map_err(|halt| match halt {
                    Halt::Needs(missing) => Halt::Needs(Needed::Block(missing)),
                    Halt::Failed(error) => Halt::Failed(error),
                })?;
                self.enter_row()?;
            }
            match &self.blob {
                Some(RowBlob::Wanted(value)) => {
                    let Some(bytes) = value.resident()? else {
                        self.waiting = true;
                        return Err(Halt::Needs(Needed::Value(value.clone())));
                    };
                    self.blob = Some(RowBlob::Fetched(bytes));
                }
                Some(RowBlob::Left(value)) if !value.is_open() => {
                    self.waiting = true;
                    return Err(Halt::Needs(Needed::File(value.clone())));
                }
                _ => {}
            }
            if !self.composite || self.work_out()? {
                break;
            }
        }
        Ok(())
    }

    /// Works out the value of the row from what it is made of; false if that makes no value, and so no row.
    #[cold]
    fn work_out(&mut self) -> Result<bool> {
        let Some((key, _)) = self.rows.key() else {
            return Ok(false);
        };
        let fetched = match &self.blob {
            Some(RowBlob::Fetched(bytes)) => Some(&**bytes),
            _ => None,
        };
        let value = self.rows.stack().value(&self.view.rules, key, fetched)?;
        self.blob = value.map(|value| RowBlob::Fetched(BlobBytes::Decoded(Arc::new(value))));
        Ok(self.blob.is_some())
    }

    #[inline]
    fn enter_row(&mut self) -> Result<()> {
        let Some((key, kind)) = self.rows.key() else {
            self.done = true;
            self.composite = false;
            return Ok(());
        };
        self.done = match self.plan.direction {
            Direction::Forward => self.plan.range.ends_before(key),
            Direction::Reverse => self.plan.range.starts_after(key),
        };
        self.composite = kind == Kind::Composite && !self.done;
        if kind == Kind::Blob && !self.done {
            let value = self.view.decode_blob(self.rows.value())?;
            self.blob = Some(if self.fetches {
                RowBlob::Wanted(value)
            } else {
                RowBlob::Left(value)
            });
        } else if self.composite
            && let Some(index) = self.rows.stack().blob()
        {
            let value = self.view.decode_blob(index)?;
            self.blob = Some(RowBlob::Wanted(value));
        }
        Ok(())
    }
}

/// Takes away what a scan in this direction meets before `bound`.
fn narrow(range: &mut KeyRange, direction: Direction, bound: Bound<Vec<u8>>) {
    match direction {
        Direction::Forward => range.start = bound,
        Direction::Reverse => range.end = bound,
    }
}

fn sources(view: &View, plan: &ScanPlan, counting: &Counting) -> (Vec<Source>, Vec<Tombstones>) {
    let mut sources = Vec::new();
    let mut tombstones = Vec::new();
    if plan.range.is_empty() {
        return (sources, tombstones);
    }
    for buffer in view.buffers() {
        let memtable = buffer.memtable();
        if memtable.is_empty() {
            continue;
        }
        sources.push(Source::Memtable(MemtableCursor::new(Arc::clone(memtable))));
        let fragments = memtable.tombstones();
        if !fragments.is_empty() {
            tombstones.push(Tombstones::Memtable(fragments));
        }
    }
    for (level, tables) in view.version.levels() {
        let overlaps = |table: &Arc<Table>| table.meta().overlaps(&plan.range);
        let tables: Vec<_> = if level == 0 {
            let tables = tables.iter().filter(|table| overlaps(table));
            tables.map(Arc::clone).collect()
        } else {
            let is_below = |table: &Arc<Table>| {
                !overlaps(table) && !plan.range.ends_before(&table.meta().smallest)
            };
            let (_, from) = tables.split_at(tables.partition_point(is_below));
            from.split_at(from.partition_point(overlaps)).0.to_vec()
        };
        tombstones.extend(
            tables
                .iter()
                .filter(|table| table.meta().range_tombstones > 0)
                .map(Arc::clone)
                .map(Tombstones::Table),
        );
        match (level, tables.len()) {
            (_, 0) => {}
            (0, _) | (_, 1) => sources.extend(
                tables
                    .into_iter()
                    .map(|table| TableCursor::new(table, counting.clone()))
                    .map(Source::Table),
            ),
            _ => sources.push(Source::Level(LevelCursor::new(tables, counting.clone()))),
        }
    }
    (sources, tombstones)
}

/// Whether a commit above `above` touched the range: an entry of any kind, or a range tombstone.
pub(crate) async fn newest_change_in(
    view: View,
    range: &KeyRange,
    above: Sequence,
    mode: Mode,
) -> Result<bool> {
    let plan = ScanPlan {
        range: range.clone(),
        direction: Direction::Forward,
        sequence: Sequence::new(u64::MAX),
        prefix: None,
    };
    let recent = View {
        active: Arc::clone(&view.active),
        immutables: view
            .immutables
            .iter()
            .filter(|buffer| buffer.last_sequence() > above)
            .map(Arc::clone)
            .collect(),
        version: Arc::new(
            view.version
                .without(|table| table.meta().largest_sequence <= above),
        ),
        rules: Arc::clone(&view.rules),
    };
    let (sources, tombstones) = sources(&recent, &plan, &Counting::Nothing);
    for source in &tombstones {
        source.open(mode).await?;
    }
    if tombstones.iter().any(|source| source.meets(range, above)) {
        return Ok(true);
    }
    let (from, _) = range.to_half_open();
    let mut merge = Merge::new(sources, Direction::Forward);
    let mut started = false;
    loop {
        let moved = if started {
            merge.step()
        } else {
            merge.start(Some((&from, Sequence::new(u64::MAX))))
        };
        match moved {
            Ok(()) => started = true,
            Err(Halt::Needs(missing)) => {
                merge.supply(&missing.load(mode).await?);
                continue;
            }
            Err(Halt::Failed(error)) => return Err(error),
        }
        match merge.entry() {
            Some(entry) if range.ends_before(entry.key) => return Ok(false),
            Some(entry) if entry.sequence > above => return Ok(true),
            Some(_) => {}
            None => return Ok(false),
        }
    }
}
