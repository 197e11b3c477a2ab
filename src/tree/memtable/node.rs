//! Nodes of the memtable's tree: how a reader sees one whole without a lock, a version or a retry.
//!
//! - A slot is written once, before the `order` that first counts it is published (release). So an
//!   `order`, once loaded (acquire), is a frozen picture of the node, good for ever.
//!   (A word holding count and permutation: Mao, Kohler and Morris, "Cache craftiness", `EuroSys` 2012, section 4.6.2.
//!   Nothing is ever removed here, so its versions and retries fall away.)
//! - Two kinds of slot are stored to again: an entry may be replaced by one of the same key and sequence
//!   (any reader who could tell them apart is not yet allowed to see either), and a child by its own left
//!   part (see [`Inner::child`]).
//! - A node covers a range of positions, fixed when it is made; a node that replaces it covers a part.
//!   All keys of the range share their first `skip` bytes, so prefixes start after them
//!   (the ends of a range tell its keys' common prefix: Bayer and Unterauer, TODS 1977).

#![expect(
    unsafe_code,
    reason = "follows pointers between nodes; see the contract of the memtable"
)]

use std::cmp;
use std::ptr::{self, NonNull};

use super::entry::{EntryRef, Header, Position, prefix};
use crate::prefetch::fetch;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Slots of a node: as many as one word can order, of which head and prefixes fill two cache lines.
/// Loom gets the fewest that still split both ways.
pub(super) const WIDTH: usize = if cfg!(loom) { 3 } else { 14 };

/// How many slots are in use, and which slot is first, second and so on: 4 bits each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Order(u64);

impl Order {
    const SLOT_BITS: usize = 4;
    const COUNT_SHIFT: usize = 60;

    /// Slots 0, 1, 2.. are in order.
    fn sorted(count: usize) -> Self {
        (0..count).fold(Self(0), Self::insert)
    }

    #[inline]
    fn bits(self, shift: usize) -> usize {
        (self.0 >> shift & 15) as usize
    }

    #[inline]
    pub(super) fn count(self) -> usize {
        self.bits(Self::COUNT_SHIFT)
    }

    pub(super) fn is_full(self) -> bool {
        self.count() == WIDTH
    }

    #[inline]
    pub(super) fn slot(self, rank: usize) -> usize {
        self.bits(rank * Self::SLOT_BITS)
    }

    /// The next free slot becomes the one at `rank`.
    fn insert(self, rank: usize) -> Self {
        let count = self.count();
        debug_assert!(rank <= count && count < WIDTH);
        let slots = self.0 & ((1 << Self::COUNT_SHIFT) - 1);
        let below = (1 << (rank * Self::SLOT_BITS)) - 1;
        let slots = (slots & below)
            | (count as u64) << (rank * Self::SLOT_BITS)
            | (slots & !below) << Self::SLOT_BITS;
        Self(slots | (count as u64 + 1) << Self::COUNT_SHIFT)
    }

    /// Whether the youngest slot is the one at `rank`: the sign of a sequential load.
    pub(super) fn is_youngest(self, rank: usize) -> bool {
        self.slot(rank) + 1 == self.count()
    }
}

/// What leaf and inner nodes begin with.
#[repr(C)]
pub(super) struct Head {
    order: AtomicU64,
    pub(super) skip: u32,
    /// 0 for leaves.
    level: u32,
    prefixes: [AtomicU64; WIDTH],
}

/// Entries of one range, with its neighbours on both sides.
#[repr(C, align(128))]
pub(super) struct Leaf {
    head: Head,
    entries: [AtomicPtr<Header>; WIDTH],
    previous: AtomicPtr<Leaf>,
    next: AtomicPtr<Leaf>,
}

/// Children, each with the first position of its range.
#[repr(C, align(128))]
pub(super) struct Inner {
    head: Head,
    /// A child is fetched right after the prefixes are searched; separators only settle ties.
    children: [AtomicPtr<Head>; WIDTH],
    /// Null, in the first slot of the leftmost nodes, is before everything.
    separators: [AtomicPtr<Header>; WIDTH],
}

/// Head and prefixes are two cache lines, entries and neighbours two more.
#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () =
    assert!(size_of::<Head>() == 128 && size_of::<Leaf>() == 256 && size_of::<Inner>() == 384);

#[derive(Clone, Copy)]
pub(super) enum Node<'m> {
    Leaf(&'m Leaf),
    Inner(&'m Inner),
}

/// What a slot holds, outside a node. `child` is null for a leaf's.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub(super) prefix: u64,
    pub(super) entry: *mut Header,
    pub(super) child: *mut Head,
}

impl Item {
    pub(super) const EMPTY: Self = Self {
        prefix: 0,
        entry: ptr::null_mut(),
        child: ptr::null_mut(),
    };
}

/// Where a search ended in one picture of a node.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) order: Order,
    /// How many entries lie before the bound.
    pub(super) rank: usize,
    /// From here on, prefixes are greater than the one searched for.
    pub(super) tied: usize,
}

/// Which entries a search counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Before,
    BeforeOrAt,
}

impl Head {
    fn new(level: u32, skip: u32, items: &[Item]) -> Self {
        Self {
            order: AtomicU64::new(Order::sorted(items.len()).0),
            skip,
            level,
            prefixes: std::array::from_fn(|slot| {
                AtomicU64::new(items.get(slot).map_or(0, |item| item.prefix))
            }),
        }
    }

    #[inline]
    pub(super) fn order(&self) -> Order {
        Order(self.order.load(Ordering::Acquire))
    }

    /// Publishes the slot that was just written. Slots are written by one thread alone, which also knows
    /// the newest order; so a plain store is enough.
    fn publish(&self, order: Order) {
        self.order.store(order.0, Ordering::Release);
    }

    #[inline]
    fn search(
        &self,
        entries: &[AtomicPtr<Header>; WIDTH],
        position: Position<'_>,
        bound: Bound,
    ) -> Found {
        let order = self.order();
        let target = prefix(position.key, self.skip);
        let prefix = |rank| self.prefixes[order.slot(rank)].load(Ordering::Relaxed);
        // Halves without a branch on what is found, which nobody could predict.
        let (mut rank, mut left) = (0, order.count());
        while left > 0 {
            let half = left.div_ceil(2);
            rank += half * usize::from(prefix(rank + half - 1) < target);
            left -= half;
        }
        let mut tied = rank;
        while tied < order.count() && prefix(tied) == target {
            tied += 1;
        }
        let mut end = tied;
        while rank < end {
            let middle = rank.midpoint(end);
            let before = match load(&entries[order.slot(middle)]) {
                None => true,
                Some(entry) => match entry.compare(position) {
                    cmp::Ordering::Less => true,
                    cmp::Ordering::Equal => bound == Bound::BeforeOrAt,
                    cmp::Ordering::Greater => false,
                },
            };
            if before {
                rank = middle + 1;
            } else {
                end = middle;
            }
        }
        Found { order, rank, tied }
    }
}

/// An entry that a slot in use points to.
#[inline]
fn load(slot: &AtomicPtr<Header>) -> Option<EntryRef<'_>> {
    // Acquire, although the order's load has brought in the entries it counts: one that replaced another
    // came later.
    let entry = NonNull::new(slot.load(Ordering::Acquire))?;
    // SAFETY: points 1 and 2 of the memtable's contract; loaded with acquire.
    Some(unsafe { EntryRef::from_ptr(entry) })
}

impl Leaf {
    /// Without neighbours yet.
    pub(super) fn new(skip: u32, items: &[Item]) -> Self {
        Self {
            head: Head::new(0, skip, items),
            entries: slots(items, |item| item.entry),
            previous: AtomicPtr::new(ptr::null_mut()),
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// The first entry at or after `position`.
    #[inline]
    pub(super) fn search(&self, position: Position<'_>) -> Found {
        // Its rank decides which of these lines is needed; fetching both now saves waiting for it.
        fetch(&raw const self.entries[0]);
        fetch(&raw const self.next);
        self.head.search(&self.entries, position, Bound::Before)
    }

    /// The entry at `rank` of a picture of this leaf that holds so many.
    #[inline]
    pub(super) fn entry(&self, order: Order, rank: usize) -> EntryRef<'_> {
        debug_assert!(rank < order.count());
        load(&self.entries[order.slot(rank)]).expect("slots in use hold entries")
    }

    pub(super) fn previous(&self) -> Option<&Leaf> {
        // SAFETY: points 1 and 2 of the memtable's contract.
        unsafe { self.previous.load(Ordering::Acquire).as_ref() }
    }

    pub(super) fn next(&self) -> Option<&Leaf> {
        // SAFETY: points 1 and 2 of the memtable's contract.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Writer only.
    pub(super) fn set_previous(&self, leaf: *mut Leaf) {
        self.previous.store(leaf, Ordering::Release);
    }

    /// Writer only.
    pub(super) fn set_next(&self, leaf: *mut Leaf) {
        self.next.store(leaf, Ordering::Release);
    }

    /// Writer only. Adds an entry to the newest picture.
    pub(super) fn insert(&self, order: Order, rank: usize, item: &Item) {
        let slot = order.count();
        self.entries[slot].store(item.entry, Ordering::Relaxed);
        self.head.prefixes[slot].store(item.prefix, Ordering::Relaxed);
        self.head.publish(order.insert(rank));
    }

    /// Writer only. Puts another entry of the same key and sequence in place.
    pub(super) fn replace(&self, order: Order, rank: usize, entry: EntryRef<'_>) {
        self.entries[order.slot(rank)].store(entry.as_ptr().as_ptr(), Ordering::Release);
    }

    /// Writer only.
    pub(super) fn item(&self, slot: usize) -> Item {
        Item {
            prefix: self.head.prefixes[slot].load(Ordering::Relaxed),
            entry: self.entries[slot].load(Ordering::Relaxed),
            child: ptr::null_mut(),
        }
    }
}

impl Inner {
    pub(super) fn new(level: u32, skip: u32, items: &[Item]) -> Self {
        Self {
            head: Head::new(level, skip, items),
            children: slots(items, |item| item.child),
            separators: slots(items, |item| item.entry),
        }
    }

    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    pub(super) fn level(&self) -> u32 {
        self.head.level
    }

    /// The rank of the child whose range holds `position`.
    #[inline]
    pub(super) fn search(&self, position: Position<'_>) -> (Order, usize) {
        fetch(&raw const self.children[0]);
        fetch(&raw const self.children[WIDTH - 1]);
        let found = self
            .head
            .search(&self.separators, position, Bound::BeforeOrAt);
        // The first child's range starts where the node's does.
        (found.order, found.rank.saturating_sub(1))
    }

    /// The child at `rank`, if `order` is still the newest picture.
    ///
    /// When a child is split, its right part is published with a new order, then its left part takes its
    /// slot. A reader with the older order may find the left part there, which lacks what the right part
    /// took. But who loads the left part also sees the newer order. An order changes at most `WIDTH` times.
    #[inline]
    pub(super) fn child(&self, order: Order, rank: usize) -> Option<Node<'_>> {
        let child = self.children[order.slot(rank)].load(Ordering::Acquire);
        let newest = Order(self.head.order.load(Ordering::Relaxed));
        // SAFETY: a slot in use holds a child; points 1 and 2 of the memtable's contract.
        (newest == order).then(|| unsafe { Node::from_ptr(child) })
    }

    pub(super) fn separator(&self, order: Order, rank: usize) -> Option<EntryRef<'_>> {
        load(&self.separators[order.slot(rank)])
    }

    /// Writer only. Splits the child at `rank` into `left`, which may be that child itself, and `right`.
    pub(super) fn insert(&self, order: Order, rank: usize, left: *mut Head, right: &Item) {
        let slot = order.count();
        self.children[slot].store(right.child, Ordering::Relaxed);
        self.separators[slot].store(right.entry, Ordering::Relaxed);
        self.head.prefixes[slot].store(right.prefix, Ordering::Relaxed);
        self.head.publish(order.insert(rank + 1));
        self.children[order.slot(rank)].store(left, Ordering::Release);
    }

    /// Writer only.
    pub(super) fn item(&self, slot: usize) -> Item {
        Item {
            prefix: self.head.prefixes[slot].load(Ordering::Relaxed),
            entry: self.separators[slot].load(Ordering::Relaxed),
            child: self.children[slot].load(Ordering::Relaxed),
        }
    }
}

impl Node<'_> {
    /// # Safety
    /// `head` begins a node, initialised and loaded with acquire, that outlives `'m`.
    #[expect(
        clippy::cast_ptr_alignment,
        reason = "the pointer was made from a leaf or an inner node"
    )]
    #[inline]
    pub(super) unsafe fn from_ptr(head: *mut Head) -> Self {
        // SAFETY: the caller's. No reference to the head alone is made: it would not reach the whole node.
        let level = unsafe { (*head).level };
        if level == 0 {
            let leaf = head.cast::<Leaf>();
            // SAFETY: nodes of level 0 are leaves; the pointer was made from the whole leaf.
            Self::Leaf(unsafe { &*leaf })
        } else {
            let inner = head.cast::<Inner>();
            // SAFETY: nodes above are inner; the pointer was made from the whole node.
            Self::Inner(unsafe { &*inner })
        }
    }
}

fn slots<T>(items: &[Item], field: impl Fn(&Item) -> *mut T) -> [AtomicPtr<T>; WIDTH] {
    std::array::from_fn(|slot| AtomicPtr::new(items.get(slot).map_or(ptr::null_mut(), &field)))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_order_lists_slots_as_a_vector_would(ranks in proptest::collection::vec(0usize..14, 0..=WIDTH)) {
            let mut order = Order::sorted(0);
            let mut model = Vec::new();
            for (slot, rank) in ranks.into_iter().enumerate() {
                let rank = rank.min(slot);
                order = order.insert(rank);
                model.insert(rank, slot);
                prop_assert_eq!(order.count(), model.len());
                prop_assert!(order.is_youngest(rank));
            }
            let slots: Vec<_> = (0..order.count()).map(|rank| order.slot(rank)).collect();
            prop_assert_eq!(slots, model);
        }
    }
}
