//! What is believed of the blocks of mapped tables: unknown, in memory, or in memory and verified.
//!
//! - A lookup borrows from the map only where its block is believed to be in memory; any other block is
//!   read first, with one call for all of its pages. So nobody waits for the disk inside a page fault.
//! - A belief may be wrong, since the host takes pages back without a word. That costs one read by page
//!   faults, nothing else.
//! - Beliefs age. For each block that comes from the disk another one has left memory if that is full, so the hand of a
//!   [`Clock`] over the blocks of all open tables goes on by as many places and forgets what it finds. A block
//!   that was forgotten in vain is found in memory, and verified, again. Where a host does not say whether a block came
//!   from the disk, nothing is forgotten: it could be all of it in vain.
//! - Where a block is verified its trailer is kept here too, so that a lookup need not go to the block's end.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::block::Trailer;

/// A shape that no trailer has, as its count is zero: in memory, not verified.
const RESIDENT: u64 = 1 << 32;

/// What is believed of one block: a shape of zero nothing, [`RESIDENT`], or the trailer of a verified block.
#[derive(Debug, Default)]
struct Place {
    base: AtomicU64,
    shape: AtomicU64,
}

impl Place {
    #[inline]
    fn trailer(&self) -> Option<Trailer> {
        // Pairs with `Residency::verified`: who sees the shape sees the base, which never changes again,
        // since whoever verifies the block writes the same words.
        let shape = self.shape.load(Ordering::Acquire);
        #[expect(clippy::cast_possible_truncation, reason = "the count is the low half")]
        let count = shape as u32;
        (count != 0).then(|| Trailer {
            base: self.base.load(Ordering::Relaxed),
            shape,
        })
    }
}

/// The beliefs about one table's blocks.
#[derive(Debug)]
pub(crate) struct Residency {
    places: Arc<[Place]>,
    clock: Arc<Clock>,
}

impl Residency {
    /// Of a table of `count` blocks, of which nothing is known.
    pub(crate) fn new(count: u32, clock: &Arc<Clock>) -> Self {
        let places: Arc<[Place]> = (0..count).map(|_| Place::default()).collect();
        if count > 0 {
            clock.hand().tables.push(Arc::downgrade(&places));
        }
        Self {
            places,
            clock: Arc::clone(clock),
        }
    }

    /// The trailer of block `number`, if it was verified and is believed to be in memory.
    #[inline]
    pub(crate) fn trailer(&self, number: u32) -> Option<Trailer> {
        self.places.get(number as usize)?.trailer()
    }

    /// Whether block `number` is believed to be in memory.
    pub(crate) fn has(&self, number: u32) -> bool {
        let place = self.places.get(number as usize);
        place.is_some_and(|place| place.shape.load(Ordering::Relaxed) != 0)
    }

    /// Block `number` holds what its checksum says, and this trailer.
    pub(crate) fn verified(&self, number: u32, trailer: Trailer) {
        if let Some(place) = self.places.get(number as usize) {
            place.base.store(trailer.base, Ordering::Relaxed);
            place.shape.store(trailer.shape, Ordering::Release);
        }
    }

    /// `blocks` are in memory now, as they were before for all that is known.
    pub(crate) fn mark(&self, blocks: &Range<u32>) {
        let range = blocks.start as usize..blocks.end as usize;
        for place in self.places.get(range).unwrap_or_default() {
            // What is verified stays so.
            let _ = place
                .shape
                .compare_exchange(0, RESIDENT, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// `blocks` came from the disk.
    pub(crate) fn fetched(&self, blocks: &Range<u32>) {
        // Of the others: what has just come is the last to have left.
        self.clock.advance(blocks.end.saturating_sub(blocks.start));
        self.mark(blocks);
    }
}

impl Drop for Residency {
    fn drop(&mut self) {
        let gone = Arc::as_ptr(&self.places);
        let mut hand = self.clock.hand();
        hand.tables
            .retain(|places| !std::ptr::addr_eq(places.as_ptr(), gone));
    }
}

/// The hand that goes over the places of all open tables, by turns.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Hand>);

#[derive(Debug, Default)]
struct Hand {
    tables: Vec<Weak<[Place]>>,
    /// Where it stands: a table, and a place of it.
    table: usize,
    place: usize,
}

impl Clock {
    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what is believed of the next `count` blocks.
    fn advance(&self, count: u32) {
        let mut hand = self.hand();
        for _ in 0..count {
            hand.step();
        }
    }
}

impl Hand {
    fn step(&mut self) {
        let Some(places) = self.tables.get(self.table).and_then(Weak::upgrade) else {
            (self.table, self.place) = (0, 0);
            return;
        };
        if let Some(place) = places.get(self.place) {
            // Looking first leaves the line of a place that is unknown anyway alone.
            if place.shape.load(Ordering::Relaxed) != 0 {
                place.shape.store(0, Ordering::Relaxed);
            }
            self.place = self.place.saturating_add(1);
        } else {
            self.table = self.table.saturating_add(1);
            self.place = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAILER: Trailer = Trailer { base: 7, shape: 3 };

    #[test]
    fn a_block_is_lent_only_once_it_is_verified() {
        let clock = Arc::default();
        let table = Residency::new(4, &clock);
        assert!(!table.has(1));
        table.mark(&(1..3));
        assert!(table.has(1) && table.has(2) && !table.has(3));
        assert_eq!(table.trailer(1), None);
        table.verified(1, TRAILER);
        assert_eq!(table.trailer(1), Some(TRAILER));
        table.mark(&(0..9));
        table.mark(&(0..4));
        assert_eq!(table.trailer(1), Some(TRAILER), "what is verified stays so");
        assert!(!table.has(4) && table.trailer(4).is_none());
    }

    #[test]
    fn what_comes_from_the_disk_makes_the_clock_forget_as_much() {
        let clock = Arc::default();
        let tables = [3, 5].map(|count| Residency::new(count, &clock));
        let known = || -> u32 {
            let known = |table: &Residency| (0..9).map(|n| u32::from(table.has(n))).sum::<u32>();
            tables.iter().map(known).sum()
        };
        for table in &tables {
            table.mark(&(0..3));
            table.verified(0, TRAILER);
        }
        assert_eq!(known(), 6);
        // The hand forgets the first two of the first table.
        tables[1].fetched(&(3..5));
        assert_eq!(known(), 6);
        tables[1].fetched(&(0..5));
        assert_eq!(known(), 5);
        assert!((0..3).all(|n| !tables[0].has(n)));
    }

    #[test]
    fn what_has_just_come_from_the_disk_is_not_what_is_forgotten() {
        let clock = Arc::default();
        let table = Residency::new(3, &clock);
        for number in [0, 1, 2, 0, 2, 1] {
            table.fetched(&(number..number + 1));
            assert!(table.has(number), "{number}");
        }
    }

    #[test]
    fn a_table_that_is_gone_leaves_nothing_behind() {
        let clock = Arc::default();
        let kept = Residency::new(2, &clock);
        let places = Arc::downgrade(&Residency::new(2, &clock).places);
        assert!(places.upgrade().is_none());
        assert_eq!(clock.hand().tables.len(), 1);
        kept.mark(&(0..2));
        (0..5).for_each(|_| kept.fetched(&(1..2)));
        assert!(!kept.has(0));
    }
}
