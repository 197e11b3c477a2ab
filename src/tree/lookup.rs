//! Point reads across memtables, level 0 and one table of each deeper level.
//!
//! Sources are asked from the newest to the oldest. Every entry of an older source is older than
//! every entry *and every range tombstone* of a newer one that concerns the same key, so the first
//! source that knows the key decides.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::blob::BlobBytes;
use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::error::Error;
use crate::hash::KeyHash;
use crate::internal_key::Kind;
use crate::read_counters::{PointSteps, RarePointSteps, ReadCounters};
use crate::sequence::Sequence;
use crate::table::{Found, Lent, Missing, OpenTable, Table};
use crate::tree::buffer::WriteBuffer;
use crate::tree::view::View;

/// A value where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hit<'v, 'g> {
    Memtable(Kind, &'v [u8]),
    Table(OpenTable<'v>, Found<'g>),
}

/// How to come to a value that was found, and is not at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Indirect<'h> {
    /// It lies in a blob file, where this says.
    Blob(&'h [u8]),
    /// It has to be worked out, from older entries too.
    Composite,
}

impl<'v> Hit<'v, '_> {
    pub(crate) fn is_composite(&self) -> bool {
        matches!(self.indirect(), Some(Indirect::Composite))
    }

    /// Its bytes, for as long as the guard lives.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Memtable(_, value) => value,
            Self::Table(_, found) => found.value,
        }
    }

    /// What there is to do for the value, if the bytes are not the value.
    #[inline]
    pub(crate) fn indirect(&self) -> Option<Indirect<'_>> {
        let (kind, bytes) = match self {
            Self::Table(_, found) => (found.kind, found.value),
            Self::Memtable(kind, value) => (*kind, *value),
        };
        match kind {
            Kind::Tombstone | Kind::Value => None,
            Kind::Blob => Some(Indirect::Blob(bytes)),
            Kind::Composite => Some(Indirect::Composite),
        }
    }

    /// Its bytes, for as long as the view lives.
    pub(crate) fn lend(&self) -> Result<Lent<'v>, Error> {
        match self {
            Self::Memtable(_, value) => Ok(Lent::Borrowed(value)),
            Self::Table(table, found) => table.lend(found),
        }
    }
}

/// A value wherever it lies.
#[derive(Debug)]
pub(crate) enum Readable<'v, 'g> {
    /// Beside its key.
    Beside(Hit<'v, 'g>),
    Blob(BlobBytes),
}

impl<'v> Readable<'v, '_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Beside(hit) => hit.bytes(),
            Self::Blob(bytes) => bytes,
        }
    }

    /// A copy of its own.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Beside(hit) => hit.bytes().to_vec(),
            Self::Blob(bytes) => bytes.into_vec(),
        }
    }

    /// Its bytes, for as long as the view lives.
    pub(crate) fn lend(self) -> Result<Lent<'v>, Error> {
        match self {
            Self::Beside(hit) => hit.lend(),
            Self::Blob(bytes) => Ok(Lent::Blob(bytes)),
        }
    }
}

/// What a source knows of a key: its newest version not above a sequence.
pub(crate) struct Known<'v, 'g> {
    pub(crate) sequence: Sequence,
    /// `None`: deleted.
    pub(crate) value: Option<Hit<'v, 'g>>,
}

/// What a lookup asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'v> {
    Memtable(&'v Arc<WriteBuffer>),
    Table(&'v Arc<Table>),
}

/// Who looks on while a lookup asks its sources, newest first. To `()` it is not even told.
pub(crate) trait Watch<'v> {
    /// `source` was asked; `steps` are those of the lookup so far.
    #[inline]
    fn asked(&mut self, _: Source<'v>, _: &PointSteps, _: Option<&Known<'v, '_>>) {}
}

impl Watch<'_> for () {}

/// The newest point entry and the newest range tombstone of one source, made one answer.
#[expect(
    clippy::inline_always,
    reason = "what was found travels through memory once, from `run` to its caller"
)]
#[inline(always)]
fn settle<'v, 'g>(
    entry: Option<(Sequence, Kind, Hit<'v, 'g>)>,
    tombstone: Option<Sequence>,
) -> Option<Known<'v, 'g>> {
    match (entry, tombstone) {
        (Some((sequence, kind, value)), covering)
            if covering.is_none_or(|covering| covering <= sequence) =>
        {
            let value = (kind != Kind::Tombstone).then_some(value);
            Some(Known { sequence, value })
        }
        (_, Some(covering)) => Some(Known {
            sequence: covering,
            value: None,
        }),
        (_, None) => None,
    }
}

/// Walks the sources of one view until one knows the key.
struct Lookup<'v, 'g, 'k, W> {
    view: &'v View,
    key: &'k [u8],
    sequence: Sequence,
    /// Sources without a commit above this are not asked.
    above: Sequence,
    supplied: &'g [Arc<CachedBlock>],
    guard: &'g Guard,
    steps: PointSteps,
    /// Those of the tables, once one was asked.
    counters: Option<&'v ReadCounters>,
    watch: W,
}

impl<'v: 'g, 'g, 'k, W: Watch<'v>> Lookup<'v, 'g, 'k, W> {
    /// Of all sources.
    #[inline]
    fn new(
        view: &'v View,
        key: &'k [u8],
        sequence: Sequence,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
        watch: W,
    ) -> Self {
        Self {
            view,
            key,
            sequence,
            above: Sequence::ZERO,
            supplied,
            guard,
            steps: PointSteps::default(),
            counters: None,
            watch,
        }
    }

    #[inline(never)]
    fn run(&mut self) -> Result<Option<Known<'v, 'g>>, Halt<Missing>> {
        for buffer in self.view.buffers() {
            let memtable = buffer.memtable();
            let entry = memtable.get(self.key, self.sequence).map(|entry| {
                let hit = Hit::Memtable(entry.kind, entry.value);
                (entry.sequence, entry.kind, hit)
            });
            let tombstone = memtable.covering_tombstone(self.key, self.sequence);
            let known = settle(entry, tombstone);
            let source = Source::Memtable(buffer);
            self.watch.asked(source, &self.steps, known.as_ref());
            if known.is_some() {
                return Ok(known);
            }
        }
        let version = &self.view.version;
        let hash = KeyHash::of(self.key);
        for table in version.tables_over(self.key) {
            let known = self.table(table, hash)?;
            let source = Source::Table(table);
            self.watch.asked(source, &self.steps, known.as_ref());
            if known.is_some() {
                return Ok(known);
            }
        }
        Ok(None)
    }

    #[expect(clippy::inline_always, reason = "as `settle`")]
    #[inline(always)]
    fn table(
        &mut self,
        table: &'v Arc<Table>,
        hash: KeyHash,
    ) -> Result<Option<Known<'v, 'g>>, Halt<Missing>> {
        if table.meta().largest_sequence <= self.above {
            return Ok(None);
        }
        self.counters = Some(table.reads());
        let (supplied, steps) = (self.supplied, &mut self.steps);
        let table = table.read().map_err(Halt::Needs)?;
        let found = table.get(self.key, hash, self.sequence, supplied, self.guard, steps)?;
        let tombstone = table.tombstones().covering(self.key, self.sequence);
        let entry = found.map(|found| (found.sequence, found.kind, Hit::Table(table, found)));
        Ok(settle(entry, tombstone))
    }
}

/// The value of `key` at `sequence`; `supplied` are the blocks that this same lookup missed. Its steps
/// are counted once, when it is through; misses when they happen. `at_hand`: an asynchronous call asks, and
/// did not have to wait so far.
#[expect(
    clippy::inline_always,
    reason = "what was found must not travel through memory once more"
)]
#[inline(always)]
pub(crate) fn get<'v: 'g, 'g>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    supplied: &'g [Arc<CachedBlock>],
    guard: &'g Guard,
    at_hand: bool,
) -> Result<Option<Hit<'v, 'g>>, Halt<Missing>> {
    let mut lookup = Lookup::new(view, key, sequence, supplied, guard, ());
    let known = lookup.run();
    if let Some(counters) = lookup.counters {
        count(counters, &lookup.steps, known.is_ok(), at_hand);
    }
    Ok(known?.and_then(|known| known.value))
}

/// As `get`, before the eyes of `watch`, and not counted.
pub(crate) fn get_watched<'v: 'g, 'g>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    supplied: &'g [Arc<CachedBlock>],
    guard: &'g Guard,
    watch: impl Watch<'v>,
) -> Result<Option<Hit<'v, 'g>>, Halt<Missing>> {
    let mut lookup = Lookup::new(view, key, sequence, supplied, guard, watch);
    Ok(lookup.run()?.and_then(|known| known.value))
}

#[inline]
fn count(counters: &ReadCounters, steps: &PointSteps, is_through: bool, at_hand: bool) {
    if !is_through {
        counters.add_rare(&RarePointSteps {
            block_misses: steps.rare.block_misses,
            ..RarePointSteps::default()
        });
        return;
    }
    counters.add_point(steps);
    if at_hand {
        counters.add_rare(&RarePointSteps {
            ready_async_reads: 1,
            ..RarePointSteps::default()
        });
    }
}

/// The newest commit that touched `key`, if it is above `above`. Not counted: nobody reads.
pub(crate) fn newest_change(
    view: &View,
    key: &[u8],
    above: Sequence,
    supplied: &[Arc<CachedBlock>],
) -> Result<Option<Sequence>, Halt<Missing>> {
    let guard = &crate::epoch::pin();
    let sequence = Sequence::new(u64::MAX);
    let mut lookup = Lookup {
        above,
        ..Lookup::new(view, key, sequence, supplied, guard, ())
    };
    let newest = lookup.run()?.map(|known| known.sequence);
    Ok(newest.filter(|sequence| *sequence > above))
}
