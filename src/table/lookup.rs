//! The newest version of one key in a table, as a step over what is resident.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::{Deref, Range};
use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::blob::BlobBytes;
use crate::block::frame::BlockHandle;
use crate::block::{Answer, BlockRef};
use crate::cache::{CachedBlock, Loan};
use crate::cursor::Halt;
use crate::error::{Error, Fault};
use crate::hash::KeyHash;
use crate::internal_key::Kind;
use crate::read_counters::{PointSteps, one_more};
use crate::sequence::Sequence;
use crate::table::{Missing, OpenTable};

/// A block that can be read, and what keeps its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident<'g> {
    pub(crate) block: BlockRef<'g>,
    pub(crate) pin: Pin<'g>,
    pub(crate) access: Access,
}

/// How a block came to be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It was.
    Ready,
    /// It was verified or decoded just now.
    FirstUse,
    /// It was missing before, and was loaded for this very read.
    Supplied,
}

/// What keeps lent bytes alive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pin<'g> {
    /// The table itself: the block starts at `start` of its map.
    InPlace { start: usize },
    /// The epoch guard.
    Cached(Loan<'g>),
    /// Whoever supplied the block.
    Supplied(&'g Arc<CachedBlock>),
}

/// The version that a lookup found. Its key is the caller's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'g> {
    pub(crate) sequence: Sequence,
    pub(crate) kind: Kind,
    pub(crate) value: &'g [u8],
    pub(crate) pin: Pin<'g>,
}

/// A value that is lent for as long as its table (or memtable) is held.
#[derive(Clone, Debug)]
pub(crate) enum Lent<'t> {
    /// From a map or an arena.
    Borrowed(&'t [u8]),
    /// From a decoded block, which this keeps alive.
    Cached {
        block: Arc<CachedBlock>,
        range: Range<usize>,
    },
    /// From a blob file, which this keeps.
    Blob(BlobBytes),
}

impl Deref for Lent<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Cached { block, range } => block.bytes().get(range.clone()).unwrap_or_default(),
            Self::Blob(bytes) => bytes,
        }
    }
}

fn cached<'t>(block: Arc<CachedBlock>, value: &[u8]) -> Option<Lent<'t>> {
    range_in(block.bytes(), value).map(|range| Lent::Cached { block, range })
}

/// Where `inner`, a part of `outer`, lies in it.
fn range_in(outer: &[u8], inner: &[u8]) -> Option<Range<usize>> {
    let start = inner.as_ptr().addr().checked_sub(outer.as_ptr().addr())?;
    let end = start.checked_add(inner.len())?;
    (end <= outer.len()).then_some(start..end)
}

#[cold]
fn note_miss(halt: Halt<Missing>, steps: &mut PointSteps) -> Halt<Missing> {
    if let Halt::Needs(missing) = &halt
        && !missing.is_counted_later()
    {
        one_more(&mut steps.rare.block_misses);
    }
    halt
}

impl<'t> OpenTable<'t> {
    /// Lends what `get` found for longer than the guard lives, without copying it.
    pub(crate) fn lend(self, found: &Found<'_>) -> Result<Lent<'t>, Error> {
        let lent = match found.pin {
            Pin::InPlace { .. } => range_in(self.bytes(), found.value)
                .and_then(|range| self.bytes().get(range))
                .map(Lent::Borrowed),
            Pin::Cached(loan) => cached(loan.share(), found.value),
            Pin::Supplied(block) => cached(Arc::clone(block), found.value),
        };
        lent.ok_or_else(|| self.corrupt_at(0, Fault::Field("value")))
    }

    /// The newest point entry of `key` not above `sequence`; `hash` is the key's. Tombstones are
    /// returned as they are, range tombstones are not looked at.
    ///
    /// `supplied` are the blocks and parts, of any table, that this same lookup said were missing.
    #[expect(
        clippy::inline_always,
        reason = "one caller, and what it finds must not travel through memory"
    )]
    #[inline(always)]
    pub(crate) fn get<'g>(
        self,
        key: &[u8],
        hash: KeyHash,
        sequence: Sequence,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
        steps: &mut PointSteps,
    ) -> Result<Option<Found<'g>>, Halt<Missing>>
    where
        't: 'g,
    {
        one_more(&mut steps.tables);
        let filter = self
            .may_contain(hash, supplied, guard)
            .map_err(|halt| note_miss(halt, steps))?;
        if filter == Some(false) {
            one_more(&mut steps.rare.filter_misses);
            return Ok(None);
        }
        let found = self.search(key, hash, sequence, supplied, guard, steps)?;
        if filter.is_none() {
            one_more(&mut steps.rare.unfiltered);
        } else if found.is_none() {
            one_more(&mut steps.rare.false_positives);
        }
        Ok(found)
    }

    /// Where `count` blocks lie, from the first on in which `get` looks for `key`; none if the index is not at hand.
    pub(crate) fn blocks_over(
        self,
        key: &[u8],
        count: u64,
        supplied: &[Arc<CachedBlock>],
        guard: &Guard,
    ) -> Vec<(u32, BlockHandle)> {
        let Ok(index) = self.index(supplied, guard) else {
            return Vec::new();
        };
        let first = index.find(key).unwrap_or(u32::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let numbers = (first..index.count()).take(count);
        numbers
            .filter_map(|number| Some((number, index.handle(number).ok()?)))
            .collect()
    }

    #[expect(clippy::inline_always, reason = "as `get`")]
    #[inline(always)]
    fn search<'g>(
        self,
        key: &[u8],
        hash: KeyHash,
        sequence: Sequence,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
        steps: &mut PointSteps,
    ) -> Result<Option<Found<'g>>, Halt<Missing>>
    where
        't: 'g,
    {
        let index = self
            .index(supplied, guard)
            .map_err(|halt| note_miss(halt, steps))?;
        let corrupt = |number, fault| Halt::Failed(self.corrupt(index, number, fault));
        // The newest one: the block that was missed last.
        let supplied = supplied
            .iter()
            .rfind(|block| block.is_data_of(self.number()));
        let mut number = index.find(key).map_err(|fault| corrupt(u32::MAX, fault))?;
        // The same lookup asked for it, so all versions in the blocks before it are too new. Without
        // this a lookup over several blocks would not get on while the cache keeps none of them.
        if let Some(supplied) = supplied
            && let Some(before) = supplied.number().checked_sub(1)
            && before >= number
            && index
                .separates_at(before, key)
                .map_err(|fault| corrupt(before, fault))?
        {
            number = supplied.number();
        }
        while number < index.count() {
            self.foresee(number, Some(hash));
            let Resident { block, pin, access } = self
                .resident(index, number, supplied, guard)
                .map_err(|halt| note_miss(halt, steps))?;
            one_more(&mut steps.blocks);
            if access != Access::Ready {
                one_more(&mut steps.rare.unready_blocks);
            }
            if access == Access::FirstUse {
                one_more(&mut steps.rare.block_misses);
            }
            match block.get(key, hash, sequence) {
                Ok(Answer::Found(entry)) => {
                    return Ok(Some(Found {
                        sequence: entry.sequence,
                        kind: entry.kind,
                        value: block.value(&entry),
                        pin,
                    }));
                }
                Ok(Answer::Absent) => return Ok(None),
                Ok(Answer::Newer) => {
                    if !index
                        .separates_at(number, key)
                        .map_err(|fault| corrupt(number, fault))?
                    {
                        return Ok(None);
                    }
                }
                Err(fault) => return Err(corrupt(number, fault)),
            }
            number = number.saturating_add(1);
        }
        Ok(None)
    }
}
