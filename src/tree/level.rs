//! A cursor over one sorted level: its tables one after the other, as if they were one.
//!
//! A move that halts while it enters a table leaves `entered` false; the same move, made again, goes
//! on from there instead of starting over or stepping twice. After a halt only that move is allowed.

use std::sync::Arc;

use crate::cache::CachedBlock;
use crate::cursor::{Cursor, Moved};
use crate::internal_key::Entry;
use crate::sequence::Sequence;
use crate::table::{Counting, Missing, Table, TableCursor};

/// Walks disjoint tables in key order, with a cursor on one at a time.
#[derive(Debug)]
pub(crate) struct LevelCursor {
    tables: Vec<Arc<Table>>,
    counting: Counting,
    /// Index of the table that `current` walks.
    at: usize,
    current: Option<TableCursor>,
    /// Whether `current` was positioned since it was opened.
    entered: bool,
}

impl LevelCursor {
    pub(crate) fn new(tables: Vec<Arc<Table>>, counting: Counting) -> Self {
        Self {
            tables,
            counting,
            at: 0,
            current: None,
            entered: true,
        }
    }

    /// The cursor on the table that it stands in.
    pub(crate) fn table(&mut self) -> Option<&mut TableCursor> {
        self.current.as_mut().filter(|_| self.entered)
    }

    /// A sequence that nothing in the level is above.
    pub(crate) fn newest(&self) -> Sequence {
        let newest = self
            .tables
            .iter()
            .map(|table| table.meta().largest_sequence);
        newest.max().unwrap_or_default()
    }

    /// Opens the table at `at`, if there is one and it is not open already.
    fn open(&mut self, at: Option<usize>) -> Option<&mut TableCursor> {
        let Some((at, table)) = at.and_then(|at| Some((at, self.tables.get(at)?))) else {
            self.current = None;
            return None;
        };
        if self.at != at || self.current.is_none() {
            self.at = at;
            self.current = Some(TableCursor::new(Arc::clone(table), self.counting.clone()));
        }
        self.current.as_mut()
    }

    /// From a table without an entry here, on to the nearest table that has one.
    fn settle(&mut self, forward: bool) -> Moved<Missing> {
        while let Some(cursor) = &mut self.current {
            if !self.entered {
                if forward {
                    cursor.seek_first()?;
                } else {
                    cursor.seek_last()?;
                }
                self.entered = true;
            }
            if cursor.stands() {
                break;
            }
            let neighbour = if forward {
                self.at.checked_add(1)
            } else {
                self.at.checked_sub(1)
            };
            self.open(neighbour);
            self.entered = false;
        }
        self.entered |= self.current.is_none();
        Ok(())
    }
}

impl Cursor for LevelCursor {
    type Needs = Missing;
    type Block = CachedBlock;

    fn seek_first(&mut self) -> Moved<Missing> {
        if self.entered {
            self.open(Some(0));
            self.entered = false;
        }
        self.settle(true)
    }

    fn seek_last(&mut self) -> Moved<Missing> {
        if self.entered {
            self.open(self.tables.len().checked_sub(1));
            self.entered = false;
        }
        self.settle(false)
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Moved<Missing> {
        if self.entered {
            let at = self
                .tables
                .partition_point(|table| table.meta().ends_before(key));
            if let Some(cursor) = self.open(Some(at)) {
                cursor.seek(key, sequence)?;
            }
        }
        self.settle(true)
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Moved<Missing> {
        if self.entered {
            let after = self
                .tables
                .partition_point(|table| table.meta().smallest.as_slice() <= key);
            if let Some(cursor) = self.open(after.checked_sub(1)) {
                cursor.seek_before(key, sequence)?;
            }
        }
        self.settle(false)
    }

    #[inline]
    fn next(&mut self) -> Moved<Missing> {
        if self.entered
            && let Some(cursor) = &mut self.current
        {
            cursor.next()?;
            if cursor.stands() {
                return Ok(());
            }
        }
        self.settle(true)
    }

    #[inline]
    fn previous(&mut self) -> Moved<Missing> {
        if self.entered
            && let Some(cursor) = &mut self.current
        {
            cursor.previous()?;
            if cursor.stands() {
                return Ok(());
            }
        }
        self.settle(false)
    }

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.current.as_ref()?.entry()
    }

    #[inline]
    fn stands(&self) -> bool {
        self.current.as_ref().is_some_and(TableCursor::stands)
    }

    fn supply(&mut self, block: &Arc<CachedBlock>) {
        if let Some(cursor) = &mut self.current {
            cursor.supply(block);
        }
    }
}
