//! Many ordered sources walked as one, in one direction.
//!
//! Sources that stand on an entry are kept sorted by it in a short list: after a move the front one
//! sinks to its place, which costs one comparison while it stays in front. With tens of sources at
//! the most, that beats a heap; a single source pays a length check.

use std::cmp::Ordering;
use std::convert::Infallible;
use std::sync::Arc;

use trine_io::Mode;

use crate::cache::CachedBlock;
use crate::cursor::{Cursor, Halt, Moved};
use crate::direction::Direction;
use crate::error::Result;
use crate::internal_key::{Entry, compare};
use crate::sequence::Sequence;
use crate::table::{Loaded, Missing, Pick, Run, TableCursor};
use crate::tree::hiding::Hidden;
use crate::tree::level::LevelCursor;
use crate::tree::memtable::MemtableCursor;
use crate::tree::picker::Part;

/// A source that has been in front for fewer steps will hardly stay there for many.
const UNINTERRUPTED_MIN: u32 = 2;

/// One ordered source.
#[derive(Debug)]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    Table(TableCursor),
    Level(LevelCursor),
}

/// A memtable never needs a block.
fn resident(moved: Moved<Infallible>) -> Moved<Missing> {
    moved.map_err(|halt| match halt {
        Halt::Failed(error) => Halt::Failed(error),
        Halt::Needs(never) => match never {},
    })
}

impl Source {
    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Memtable(cursor) => cursor.entry(),
            Self::Table(cursor) => cursor.entry(),
            Self::Level(cursor) => cursor.entry(),
        }
    }

    #[inline]
    fn stands(&self) -> bool {
        match self {
            Self::Memtable(cursor) => cursor.stands(),
            Self::Table(cursor) => cursor.stands(),
            Self::Level(cursor) => cursor.stands(),
        }
    }

    #[inline]
    fn step(&mut self, direction: Direction) -> Moved<Missing> {
        match (self, direction) {
            (Self::Memtable(cursor), Direction::Forward) => resident(cursor.next()),
            (Self::Table(cursor), Direction::Forward) => cursor.next(),
            (Self::Level(cursor), Direction::Forward) => cursor.next(),
            (Self::Memtable(cursor), Direction::Reverse) => resident(cursor.previous()),
            (Self::Table(cursor), Direction::Reverse) => cursor.previous(),
            (Self::Level(cursor), Direction::Reverse) => cursor.previous(),
        }
    }

    fn start(&mut self, direction: Direction, from: Option<(&[u8], Sequence)>) -> Moved<Missing> {
        match (direction, from) {
            (Direction::Forward, None) => match self {
                Self::Memtable(cursor) => resident(cursor.seek_first()),
                Self::Table(cursor) => cursor.seek_first(),
                Self::Level(cursor) => cursor.seek_first(),
            },
            (Direction::Forward, Some((key, sequence))) => match self {
                Self::Memtable(cursor) => resident(cursor.seek(key, sequence)),
                Self::Table(cursor) => cursor.seek(key, sequence),
                Self::Level(cursor) => cursor.seek(key, sequence),
            },
            (Direction::Reverse, None) => match self {
                Self::Memtable(cursor) => resident(cursor.seek_last()),
                Self::Table(cursor) => cursor.seek_last(),
                Self::Level(cursor) => cursor.seek_last(),
            },
            (Direction::Reverse, Some((key, sequence))) => match self {
                Self::Memtable(cursor) => resident(cursor.seek_before(key, sequence)),
                Self::Table(cursor) => cursor.seek_before(key, sequence),
                Self::Level(cursor) => cursor.seek_before(key, sequence),
            },
        }
    }

    /// The table that it stands in.
    fn table(&mut self) -> Option<&mut TableCursor> {
        match self {
            Self::Memtable(_) => None,
            Self::Table(cursor) => Some(cursor),
            Self::Level(cursor) => cursor.table(),
        }
    }

    /// A sequence that nothing in it is above. Of a memtable nobody knows: it may be written to.
    fn newest(&self) -> Sequence {
        match self {
            Self::Memtable(_) => Sequence::new(u64::MAX),
            Self::Table(cursor) => cursor.newest(),
            Self::Level(cursor) => cursor.newest(),
        }
    }

    fn supply(&mut self, block: &Arc<CachedBlock>) {
        match self {
            Self::Memtable(_) => {}
            Self::Table(cursor) => cursor.supply(block),
            Self::Level(cursor) => cursor.supply(block),
        }
    }
}

/// The merged sources.
#[derive(Debug)]
pub(crate) struct Merge {
    direction: Direction,
    sources: Vec<Source>,
    /// Indices of the sources that stand on an entry, in the order of their entries.
    order: Vec<usize>,
    /// How many sources a halted start has already positioned.
    positioned: usize,
    /// How many steps the front source has stayed in front.
    uninterrupted: u32,
}

impl Merge {
    pub(crate) fn new(sources: Vec<Source>, direction: Direction) -> Self {
        Self {
            direction,
            order: Vec::with_capacity(sources.len()),
            sources,
            positioned: 0,
            uninterrupted: 0,
        }
    }

    /// Forward: to the first entry at or after `from`. Reverse: to the last entry before it.
    /// Without it, to the very first or last.
    pub(crate) fn start(&mut self, from: Option<(&[u8], Sequence)>) -> Moved<Missing> {
        while let Some(source) = self.sources.get_mut(self.positioned) {
            source.start(self.direction, from)?;
            self.positioned += 1;
        }
        self.positioned = 0;
        self.order.clear();
        for index in 0..self.sources.len() {
            if self.sources[index].stands() {
                self.order.insert(0, index);
                self.sink();
            }
        }
        Ok(())
    }

    /// The entry it stands on.
    #[inline]
    pub(crate) fn entry(&self) -> Option<Entry<'_>> {
        self.sources[*self.order.first()?].entry()
    }

    /// On by one entry. After a halt it stands nowhere until the step is made again.
    #[inline]
    pub(crate) fn step(&mut self) -> Moved<Missing> {
        let Some(front) = self.order.first() else {
            return Ok(());
        };
        let source = &mut self.sources[*front];
        source.step(self.direction)?;
        if !source.stands() {
            self.order.remove(0);
        } else if self.order.len() > 1 {
            self.sink();
        }
        Ok(())
    }

    /// Leaves out what comes next as far as it is hidden and its source has nothing else there.
    pub(crate) fn skip(&mut self, hidden: &Hidden) -> Moved<Missing> {
        while let Some(front) = self.order.first() {
            let source = &mut self.sources[*front];
            let is_hidden = match (source.entry(), &hidden.end) {
                (Some(entry), Some(end)) => match self.direction {
                    Direction::Forward => entry.key < end.as_slice(),
                    Direction::Reverse => entry.key >= end.as_slice(),
                },
                // It has no end, or the seek was halted.
                _ => true,
            };
            if !is_hidden || source.newest() >= hidden.below {
                break;
            }
            if let Some(end) = &hidden.end {
                let end = (end.as_slice(), Sequence::new(u64::MAX));
                source.start(self.direction, Some(end))?;
            }
            if hidden.end.is_some() && source.stands() {
                self.sink();
            } else {
                self.order.remove(0);
            }
        }
        Ok(())
    }

    /// Finds the rows of the next entries, as [`TableCursor::find_run`], as long as one table has them: then
    /// it stands on the last of those entries. False if it is not worth it.
    pub(crate) fn find_run(
        &mut self,
        run: &mut Run,
        entries: u32,
        sees: impl FnMut(&Entry<'_>, bool) -> Pick,
    ) -> std::result::Result<bool, Halt<Missing>> {
        let (front, next) = match self.order[..] {
            [front] => (&mut self.sources[front], None),
            [front, next, ..] if self.uninterrupted >= UNINTERRUPTED_MIN => {
                match self.sources.get_disjoint_mut([front, next]) {
                    Ok([front, next]) => (front, next.entry()),
                    Err(_) => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        let bound = next.map(|entry| entry.key);
        match front.table() {
            Some(table) => table.find_run(run, self.direction, entries, bound, sees),
            None => Ok(false),
        }
    }

    /// Takes what loading what was missing came to: a block, or a table that is open now.
    pub(crate) fn supply(&mut self, loaded: &Loaded) {
        for block in &loaded.blocks {
            for source in &mut self.sources {
                source.supply(block);
            }
        }
    }

    /// Moves the front source behind those whose entries come before its own.
    fn sink(&mut self) {
        let mut at = 0;
        self.uninterrupted = self.uninterrupted.saturating_add(1);
        while at + 1 < self.order.len() && !self.in_order(self.order[at], self.order[at + 1]) {
            self.order.swap(at, at + 1);
            self.uninterrupted = 0;
            at += 1;
        }
    }

    fn in_order(&self, left: usize, right: usize) -> bool {
        let (Some(left), Some(right)) = (self.sources[left].entry(), self.sources[right].entry())
        else {
            return true;
        };
        let order = compare((left.key, left.sequence), (right.key, right.sequence));
        match self.direction {
            Direction::Forward => order != Ordering::Greater,
            Direction::Reverse => order != Ordering::Less,
        }
    }
}

/// All entries of a part of a merge, one after the other; what it needs is read on the way.
#[derive(Debug)]
pub(crate) struct Drain {
    merge: Merge,
    part: Part,
    started: bool,
}

impl Drain {
    /// Of a forward merge that was not started yet.
    pub(crate) fn new(merge: Merge, part: Part) -> Self {
        Self {
            merge,
            part,
            started: false,
        }
    }

    /// Of which keys they are.
    pub(crate) fn part(&self) -> &Part {
        &self.part
    }

    /// The next entry; `None` after the last.
    pub(crate) async fn next(&mut self, mode: Mode) -> Result<Option<Entry<'_>>> {
        loop {
            let moved = if self.started {
                self.merge.step()
            } else {
                // Before every version of the first key.
                let from = self.part.from.as_slice();
                let from = (from, Sequence::new(u64::MAX));
                self.merge.start((!from.0.is_empty()).then_some(from))
            };
            match moved {
                Ok(()) => break,
                Err(Halt::Needs(missing)) => self.merge.supply(&missing.load(mode).await?),
                Err(Halt::Failed(error)) => return Err(error),
            }
        }
        self.started = true;
        let entry = self.merge.entry();
        Ok(entry.filter(|entry| !self.part.ends_before(entry.key)))
    }
}
