//! Rows that follow each other in one block, with nothing of other sources in between: found in one go, then
//! walked without asking anybody.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use crate::block::rows::Rows;
use crate::direction::Direction;
use crate::internal_key::Kind;
use crate::table::held::Held;

/// Stands on a row, or on none. Holds the block that its rows lie in.
#[derive(Debug, Default)]
pub(crate) struct Run {
    held: Option<Held>,
    rows: Rows,
    /// Of the rows, those still to come.
    left: Range<usize>,
    at: usize,
}

impl Run {
    /// Before the first of the rows that `find` finds, whichever way it is walked; true if there are any.
    pub(super) fn fill<E>(
        &mut self,
        held: Held,
        find: impl FnOnce(&mut Rows, &Held) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end();
        find(&mut self.rows, &held)?;
        self.held = Some(held);
        self.left = 0..self.rows.len();
        Ok(())
    }

    /// On to the next row; false if it stood on the last.
    #[inline]
    pub(crate) fn advance(&mut self, direction: Direction) -> bool {
        let next = match direction {
            Direction::Forward => self.left.next(),
            Direction::Reverse => self.left.next_back(),
        };
        match next {
            Some(next) => {
                self.at = next;
                true
            }
            None => false,
        }
    }

    /// Lets the block go.
    pub(crate) fn end(&mut self) {
        self.held = None;
        self.left = 0..0;
    }

    #[inline]
    pub(crate) fn key(&self) -> Option<(&[u8], Kind)> {
        self.rows.key(self.held.as_ref()?.block(), self.at)
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.rows.value(self.held.as_ref()?.block(), self.at)
    }
}
