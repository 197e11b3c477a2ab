//! A cursor over one table. Holds the block that it stands in, so it outlives guards and evictions.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::block::iter::BlockCursor;
use crate::block::rows::{Far, Pick};
use crate::cache::CachedBlock;
use crate::cursor::{Cursor, Halt, Moved};
use crate::direction::Direction;
use crate::error::Fault;
use crate::filter::prefix::SharedPrefix;
use crate::internal_key::Entry;
use crate::read_counters::ScanSteps;
use crate::sequence::Sequence;
use crate::table::held::{Held, HeldBytes};
use crate::table::index::Index;
use crate::table::lookup::{Access, Pin, Resident};
use crate::table::run::Run;
use crate::table::{Missing, OpenTable, Table};

/// What it reads at once, at the most, for somebody who reads on: two of these are on their way.
const RUN_BYTES_MAX: u64 = 256 << 10;

/// The second read of somebody who reads on; each after it is twice as long.
const RUN_BYTES_MIN: u64 = 32 << 10;

/// Fewer entries are looked at one by one.
const RUN_ENTRIES_MIN: usize = 4;

/// What it reads at once for maintenance, which reads a table to its end.
const ONCE_BYTES: u64 = 1 << 20;

/// What a cursor counts.
#[derive(Clone, Debug)]
pub(crate) enum Counting {
    /// Nothing: it moves for validation.
    Nothing,
    /// Nothing: it moves for maintenance, forward through all of its table, and nobody will read the same
    /// blocks again soon.
    Once,
    /// The blocks that it enters.
    Blocks,
    /// Also what the table's filter says of this prefix, before the first move.
    Prefix(Arc<SharedPrefix>),
    /// Also whether the filter, which said "maybe" of this prefix, was wrong.
    Judged(Arc<SharedPrefix>),
}

/// Stands on an entry of its table, or on none.
#[derive(Debug)]
pub(crate) struct TableCursor {
    table: Arc<Table>,
    counting: Counting,
    /// The block it stands in; none if it stands on no entry.
    current: Option<Held>,
    /// The table's prefix filter excludes all that the cursor was opened for: it stands on no entry.
    excluded: bool,
    place: BlockCursor,
    /// Blocks supplied, in the order of their numbers: those that an unfinished move needs, and those that
    /// lie ahead.
    supplied: VecDeque<Arc<CachedBlock>>,
    /// Parts of the table beside its blocks that were supplied: they are not mapped, and the cache may not keep them.
    parts: Vec<Arc<CachedBlock>>,
    /// How much to read when the next block is missing, if it follows this one.
    run_bytes: u64,
    /// Of a seek that stopped: from which block on to look for a key whose versions reach into it,
    /// since all that the blocks before hold of it is newer than this sequence.
    resume: Option<(u32, Sequence)>,
}

impl TableCursor {
    /// Stands on no entry.
    pub(crate) fn new(table: Arc<Table>, counting: Counting) -> Self {
        Self {
            table,
            counting,
            current: None,
            excluded: false,
            place: BlockCursor::default(),
            supplied: VecDeque::new(),
            parts: Vec::new(),
            run_bytes: 0,
            resume: None,
        }
    }

    /// A sequence that nothing in the table is above.
    pub(crate) fn newest(&self) -> Sequence {
        self.table.meta().largest_sequence
    }

    fn open(&self) -> Result<OpenTable<'_>, Halt<Missing>> {
        self.table.read().map_err(Halt::Needs)
    }

    fn index<'g>(&'g self, guard: &'g Guard) -> Result<Index<'g>, Halt<Missing>> {
        self.open()?.index(&self.parts, guard)
    }

    fn blocks(&self) -> Result<u32, Halt<Missing>> {
        Ok(self.open()?.blocks())
    }

    #[cold]
    fn failed(&self, number: u32, fault: Fault) -> Halt<Missing> {
        let corrupt = |guard: &Guard| {
            let open = self.open()?;
            let index = open.index(&self.parts, guard)?;
            Ok(Halt::Failed(open.corrupt(index, number, fault)))
        };
        corrupt(&crate::epoch::pin()).unwrap_or_else(|halt| halt)
    }

    /// Before a seek: the first one asks the table's filter.
    fn begin(&mut self) -> Moved<Missing> {
        let Counting::Prefix(prefix) = &self.counting else {
            return Ok(());
        };
        let prefix = Arc::clone(prefix);
        let open = self.open()?;
        let says = open.may_contain_prefix(&prefix, &self.parts, &crate::epoch::pin())?;
        if let Some(says) = says {
            self.table.reads().add_scan(&ScanSteps {
                filter_hits: u64::from(says),
                filter_misses: u64::from(!says),
                ..ScanSteps::default()
            });
        }
        self.excluded = says == Some(false);
        self.counting = match says {
            Some(true) => Counting::Judged(prefix),
            _ => Counting::Blocks,
        };
        Ok(())
    }

    /// Block `number`, or the demand for it.
    fn hold(&mut self, number: u32) -> Result<Held, Halt<Missing>> {
        let held = self.try_hold(number);
        held.map_err(|halt| match halt {
            Halt::Needs(missing) => Halt::Needs(self.with_run(missing)),
            failed @ Halt::Failed(_) => failed,
        })
    }

    /// Asks for more than the one block where the cursor reads on, ever more as it does.
    fn with_run(&mut self, missing: Missing) -> Missing {
        let Some(block) = missing.data_block() else {
            return missing;
        };
        let guard = crate::epoch::pin();
        if matches!(self.counting, Counting::Once) {
            return match self.index(&guard) {
                Ok(index) => missing.with_run(index, ONCE_BYTES, true),
                Err(_) => missing,
            };
        }
        let stands_at = self.current.as_ref().map(|current| current.number);
        let forward = stands_at.is_some_and(|at| at.checked_add(1) == Some(block));
        let backward = stands_at.is_some_and(|at| at.checked_sub(1) == Some(block));
        if !forward && !backward {
            self.run_bytes = 0;
            return missing;
        }
        let twice = self.run_bytes.saturating_mul(2);
        self.run_bytes = twice.clamp(RUN_BYTES_MIN, RUN_BYTES_MAX);
        match self.index(&guard) {
            Ok(index) => missing.with_run(index, self.run_bytes, forward),
            Err(_) => missing,
        }
    }

    fn try_hold(&self, number: u32) -> Result<Held, Halt<Missing>> {
        if let Some(current) = &self.current
            && current.number == number
        {
            return Ok(current.clone());
        }
        let mut supplied = self.supplied.iter();
        let supplied = supplied.find(|block| block.number() == number);
        let guard = crate::epoch::pin();
        let open = self.open()?;
        let index = open.index(&self.parts, &guard)?;
        open.foresee(number, None);
        let resident = if matches!(self.counting, Counting::Once) {
            match open.ready(index, number, supplied, &guard) {
                Ok(Some(ready)) => Ok(ready),
                Ok(None) => Err(match open.data_handle(index, number) {
                    Ok(handle) => Halt::Needs(Missing::once(&self.table, number, handle)),
                    Err(fault) => Halt::Failed(open.corrupt(index, number, fault)),
                }),
                Err(error) => Err(Halt::Failed(error)),
            }
        } else {
            open.resident(index, number, supplied, &guard)
        };
        self.count(&resident);
        let Resident { block, pin, .. } = resident?;
        let bytes = match pin {
            Pin::InPlace { start } => {
                let range = start..start.saturating_add(block.bytes().len());
                HeldBytes::InPlace(open.shared_bytes(), range)
            }
            Pin::Cached(loan) => HeldBytes::Cached(loan.share()),
            Pin::Supplied(block) => HeldBytes::Cached(Arc::clone(block)),
        };
        Ok(Held {
            number,
            layout: block.layout(),
            bytes,
        })
    }

    /// Stands on entry `ordinal` of `held`.
    fn stand(&mut self, held: Held, ordinal: u32) -> Moved<Missing> {
        match self.place.enter(held.block(), ordinal) {
            Ok(()) => {
                self.current = Some(held);
                self.settle();
                self.judge_filter();
                Ok(())
            }
            Err(fault) => Err(self.failed(held.number, fault)),
        }
    }

    /// Stands on no entry.
    fn leave(&mut self) {
        self.current = None;
        self.settle();
        self.judge_filter();
    }

    fn count(&self, resident: &Result<Resident<'_>, Halt<Missing>>) {
        if matches!(self.counting, Counting::Nothing | Counting::Once) {
            return;
        }
        let (block_hits, block_misses) = match resident {
            Ok(resident) => match resident.access {
                Access::Ready => (1, 0),
                Access::FirstUse => (0, 1),
                // It counted when it was missed.
                Access::Supplied => return,
            },
            Err(Halt::Needs(missing)) if missing.is_counted_later() => return,
            Err(_) => (0, 1),
        };
        self.table.reads().add_scan(&ScanSteps {
            block_hits,
            block_misses,
            ..ScanSteps::default()
        });
    }

    /// After the first seek, which decides whether the prefix filter was right.
    fn judge_filter(&mut self) {
        if let Counting::Judged(prefix) = &self.counting {
            let found = self.entry().is_some_and(|entry| prefix.begins(entry.key));
            if !found {
                self.table.reads().add_scan(&ScanSteps {
                    false_positives: 1,
                    ..ScanSteps::default()
                });
            }
            self.counting = Counting::Blocks;
        }
    }

    /// Forgets what only an unfinished move needed.
    fn settle(&mut self) {
        let at = self.current.as_ref().map(|current| current.number);
        self.supplied
            .retain(|block| at.is_some_and(|at| block.number() > at));
        self.resume = None;
    }

    /// Asks for the front of the block that comes next, for somebody who reads on.
    fn foresee(&self, next: Option<u32>) {
        let guard = crate::epoch::pin();
        if let Some(next) = next
            && let Some(open) = self.table.opened()
            && let Ok(index) = open.index(&self.parts, &guard)
        {
            open.foresee_front(index, next, &guard);
        }
    }

    /// Stands on the first entry of block `number`; on none if there is no such block.
    #[cold]
    fn stand_at_start_of(&mut self, number: u32) -> Moved<Missing> {
        if number >= self.blocks()? {
            self.leave();
            return Ok(());
        }
        let held = self.hold(number)?;
        self.foresee(number.checked_add(1));
        self.stand(held, 0)
    }

    /// Stands on the last entry of block `number`; on none if there is no such block.
    #[cold]
    fn stand_at_end_of(&mut self, number: Option<u32>) -> Moved<Missing> {
        let Some(number) = number else {
            self.leave();
            return Ok(());
        };
        let held = self.hold(number)?;
        self.foresee(number.checked_sub(1));
        let last = held.block().count().saturating_sub(1);
        self.stand(held, last)
    }

    /// Where the first entry at or after the position is.
    fn locate(&mut self, key: &[u8], sequence: Sequence) -> Result<Located, Halt<Missing>> {
        let mut number = self.first_block(key, sequence)?;
        while number < self.blocks()? {
            let held = self.hold(number)?;
            let block = held.block();
            let ordinal = block
                .lower_bound(key, sequence)
                .map_err(|fault| self.failed(number, fault))?;
            if ordinal < block.count() {
                return Ok(Located::At(held, ordinal));
            }
            let guard = crate::epoch::pin();
            let continues = self.index(&guard)?.separates_at(number, key);
            let continues = continues.map_err(|fault| self.failed(number, fault))?;
            number = number.saturating_add(1);
            if continues {
                self.resume = Some((number, sequence));
            }
        }
        Ok(Located::AfterAll)
    }

    /// The first block to be searched for the position.
    fn first_block(&mut self, key: &[u8], sequence: Sequence) -> Result<u32, Halt<Missing>> {
        let failed = |fault| self.failed(u32::MAX, fault);
        let guard = crate::epoch::pin();
        let index = self.index(&guard)?;
        let first = index.find(key).map_err(failed)?;
        if let Some((block, since)) = self.resume
            && let Some(before) = block.checked_sub(1)
            && before >= first
            && sequence <= since
            && index.separates_at(before, key).map_err(failed)?
        {
            return Ok(block);
        }
        self.resume = None;
        Ok(first)
    }
}

impl TableCursor {
    /// Finds the rows of the next entries, at the most `entries` and no further than the block and `bound`,
    /// which lies ahead; none are of the key that it stands on if it goes forward. `sees` is asked as
    /// [`Rows::find`](crate::block::rows::Rows::find) says. Then it stands on the last of the entries that were found to lie together.
    ///
    /// False, and nothing changed, if too few entries lie there.
    pub(crate) fn find_run(
        &mut self,
        run: &mut Run,
        direction: Direction,
        entries: u32,
        bound: Option<&[u8]>,
        sees: impl FnMut(&Entry<'_>, bool) -> Pick,
    ) -> Result<bool, Halt<Missing>> {
        let Some(current) = &self.current else {
            return Ok(false);
        };
        let held = current.clone();
        let number = held.number;
        let found = self.find_run_in(held, run, direction, entries, bound, sees);
        found.map_err(|fault| self.failed(number, fault))
    }

    fn find_run_in(
        &mut self,
        held: Held,
        run: &mut Run,
        direction: Direction,
        entries: u32,
        bound: Option<&[u8]>,
        sees: impl FnMut(&Entry<'_>, bool) -> Pick,
    ) -> Result<bool, Fault> {
        let block = held.block();
        let here = self.place.ordinal();
        let mut ordinals = match direction {
            Direction::Forward => here..here.saturating_add(entries).min(block.count()),
            Direction::Reverse => here.saturating_sub(entries)..here.saturating_add(1),
        };
        if let Some(bound) = bound {
            // In reverse the entries of the first key do not count, so that `bound` itself may be in.
            let bound = block.lower_bound(bound, Sequence::new(u64::MAX))?;
            match direction {
                Direction::Forward => ordinals.end = ordinals.end.min(bound),
                Direction::Reverse => ordinals.start = ordinals.start.max(bound),
            }
        }
        if ordinals.len() < RUN_ENTRIES_MIN {
            return Ok(false);
        }
        let mut far = Far::default();
        run.fill(held, |rows, held| {
            far = rows.find(held.block(), ordinals, direction, sees)?;
            Ok(())
        })?;
        let stands_at = match direction {
            Direction::Forward => far.end.saturating_sub(1),
            Direction::Reverse => far.other_key,
        };
        if stands_at >= far.end || stands_at < here && direction == Direction::Forward {
            run.end();
            return Ok(false);
        }
        if let Some(current) = &self.current {
            self.place.enter(current.block(), stands_at)?;
        }
        Ok(true)
    }
}

enum Located {
    /// In this block, at this ordinal.
    At(Held, u32),
    /// The position is after every entry.
    AfterAll,
}

impl Cursor for TableCursor {
    type Needs = Missing;
    type Block = CachedBlock;

    fn seek_first(&mut self) -> Moved<Missing> {
        self.begin()?;
        if self.excluded || self.blocks()? == 0 {
            self.leave();
            return Ok(());
        }
        let held = self.hold(0)?;
        self.stand(held, 0)
    }

    fn seek_last(&mut self) -> Moved<Missing> {
        self.begin()?;
        let last = self.blocks()?.checked_sub(1);
        self.stand_at_end_of(last.filter(|_| !self.excluded))
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Moved<Missing> {
        self.begin()?;
        if self.excluded {
            self.leave();
            return Ok(());
        }
        match self.locate(key, sequence)? {
            Located::At(held, ordinal) => self.stand(held, ordinal),
            Located::AfterAll => {
                self.leave();
                Ok(())
            }
        }
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Moved<Missing> {
        self.begin()?;
        if self.excluded {
            self.leave();
            return Ok(());
        }
        match self.locate(key, sequence)? {
            Located::At(held, ordinal) => match ordinal.checked_sub(1) {
                Some(before) => self.stand(held, before),
                None => self.stand_at_end_of(held.number.checked_sub(1)),
            },
            Located::AfterAll => self.seek_last(),
        }
    }

    #[inline]
    fn next(&mut self) -> Moved<Missing> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let number = current.number;
        match self.place.next(current.block()) {
            Ok(true) => Ok(()),
            Ok(false) => self.stand_at_start_of(number.saturating_add(1)),
            Err(fault) => Err(self.failed(number, fault)),
        }
    }

    #[inline]
    fn previous(&mut self) -> Moved<Missing> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let number = current.number;
        match self.place.previous(current.block()) {
            Ok(true) => Ok(()),
            Ok(false) => self.stand_at_end_of(number.checked_sub(1)),
            Err(fault) => Err(self.failed(number, fault)),
        }
    }

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        let current = self.current.as_ref()?;
        self.place.entry(current.block())
    }

    #[inline]
    fn stands(&self) -> bool {
        self.current.is_some()
    }

    fn supply(&mut self, block: &Arc<CachedBlock>) {
        if block.is_data_of(self.table.meta().number) {
            self.supplied.push_back(Arc::clone(block));
        } else if block.table() == self.table.meta().number {
            self.parts.push(Arc::clone(block));
        }
    }
}
