//! Walking the memtable while it is written to.
//!
//! A cursor keeps the picture of a leaf that it took when it arrived there, which never changes. Leaving
//! it at either end, it takes the neighbour's. Ranges of neighbours touch but never overlap, so every entry
//! inserted before the seek comes exactly once and in order, whatever was split meanwhile.

#![expect(
    unsafe_code,
    reason = "a cursor owns its memtable and borrows from it; see the contract of the memtable"
)]

use std::convert::Infallible;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Memtable;
use super::entry::{EntryRef, Header, Position};
use super::node::{Leaf, Order};
use crate::cursor::{Cursor, Moved};
use crate::internal_key::Entry;
use crate::sequence::Sequence;

/// A rank in one picture of a leaf; the rank after its last is the way to the next leaf.
#[derive(Clone, Copy)]
pub(super) struct Place<'m> {
    leaf: &'m Leaf,
    order: Order,
    rank: usize,
}

impl<'m> Place<'m> {
    pub(super) fn new(leaf: &'m Leaf, order: Order, rank: usize) -> Self {
        Self { leaf, order, rank }
    }

    pub(super) fn start_of(leaf: &'m Leaf) -> Self {
        Self::new(leaf, leaf.head().order(), 0)
    }

    pub(super) fn end_of(leaf: &'m Leaf, order: Order) -> Self {
        Self::new(leaf, order, order.count())
    }

    pub(super) fn entry(self) -> EntryRef<'m> {
        self.leaf.entry(self.order, self.rank)
    }

    fn next(self) -> Option<Self> {
        if self.rank + 1 < self.order.count() {
            return Some(Self::new(self.leaf, self.order, self.rank + 1));
        }
        self.leaf.next().map(Self::start_of)
    }

    pub(super) fn previous(self) -> Option<Self> {
        if let Some(rank) = self.rank.checked_sub(1) {
            return Some(Self::new(self.leaf, self.order, rank));
        }
        let leaf = self.leaf.previous()?;
        let order = leaf.head().order();
        Some(Self::new(leaf, order, order.count() - 1))
    }

    /// The next entry at or after `position`. Nearly always the next one: only an entry that came while the
    /// search was under way may lie in between.
    pub(super) fn next_at_or_after(self, position: Position<'_>) -> Option<Self> {
        let mut place = self.next()?;
        while place.entry().compare(position).is_lt() {
            place = place.next()?;
        }
        Some(place)
    }

    /// The previous entry before `position`; as above.
    pub(super) fn previous_before(self, position: Position<'_>) -> Option<Self> {
        let mut place = self.previous()?;
        while place.entry().compare(position).is_ge() {
            place = place.previous()?;
        }
        Some(place)
    }
}

/// A cursor over a memtable that it keeps alive. It needs no block, and no move fails.
pub(crate) struct MemtableCursor {
    memtable: Arc<Memtable>,
    at: Option<Standing>,
}

/// A [`Place`] and its entry, without the loan's lifetime.
#[derive(Clone, Copy)]
struct Standing {
    leaf: NonNull<Leaf>,
    order: Order,
    rank: usize,
    entry: NonNull<Header>,
}

// SAFETY: leaves and entries are shared by all threads, and live as long as the memtable, which the cursor
// owns a share of.
unsafe impl Send for Standing {}
// SAFETY: as above.
unsafe impl Sync for Standing {}

impl std::fmt::Debug for MemtableCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemtableCursor").finish_non_exhaustive()
    }
}

impl MemtableCursor {
    /// Stands on no entry yet.
    pub(crate) fn new(memtable: Arc<Memtable>) -> Self {
        Self { memtable, at: None }
    }

    fn stand(place: Option<Place<'_>>) -> Option<Standing> {
        place.map(|place| Standing {
            leaf: NonNull::from(place.leaf),
            order: place.order,
            rank: place.rank,
            entry: place.entry().as_ptr(),
        })
    }

    fn place(&self) -> Option<Place<'_>> {
        let at = self.at?;
        // SAFETY: a leaf of the memtable that `self` keeps alive.
        let leaf = unsafe { at.leaf.as_ref() };
        Some(Place::new(leaf, at.order, at.rank))
    }
}

impl Cursor for MemtableCursor {
    type Needs = Infallible;
    type Block = ();

    fn seek_first(&mut self) -> Moved<Infallible> {
        self.at = Self::stand(self.memtable.first());
        Ok(())
    }

    fn seek_last(&mut self) -> Moved<Infallible> {
        self.at = Self::stand(self.memtable.last());
        Ok(())
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Moved<Infallible> {
        self.at = Self::stand(self.memtable.at_or_after(Position { key, sequence }));
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Moved<Infallible> {
        self.at = Self::stand(self.memtable.before(Position { key, sequence }));
        Ok(())
    }

    fn next(&mut self) -> Moved<Infallible> {
        self.at = Self::stand(self.place().and_then(Place::next));
        Ok(())
    }

    fn previous(&mut self) -> Moved<Infallible> {
        self.at = Self::stand(self.place().and_then(Place::previous));
        Ok(())
    }

    fn entry(&self) -> Option<Entry<'_>> {
        let at = self.at?;
        // SAFETY: an entry of the memtable that `self` keeps alive, loaded with acquire.
        Some(unsafe { EntryRef::from_ptr(at.entry) }.entry())
    }

    fn stands(&self) -> bool {
        self.at.is_some()
    }

    fn supply(&mut self, block: &Arc<()>) {
        let () = **block;
    }
}
