//! Decoded blocks in memory, within a byte budget; and of tables that are not mapped also indexes and filters.
//!
//! Each table has its own slots, block number to block: a hit is one load, with no lock and no hash
//! map. Budget and eviction are the cache's, over all tables: a ring of resident blocks with second
//! chances (CLOCK; Corbató 1968, "A Paging Experiment with the Multics System"), of which a block has the more the
//! more reads need it ([`Class::chances`]; Smith 1978, "Sequentiality and Prefetching in Database Systems").
//!
//! Contract of the unsafe code:
//! 1. A pointer in a slot comes from `Arc::into_raw` and owns one strong count.
//! 2. Slots are written under the ring's lock only; readers load them under an epoch guard.
//! 3. Who takes a pointer out of its slot gives its count back through a deferred function of the
//!    epoch collector, hence after every guard that was pinned when it was taken out.
//! 4. A [`Loan`] has the lifetime of a guard that was pinned while the pointer was in its slot, or
//!    before its count was deferred: while the loan lives the count is above zero.
//!
//! The lock is a leaf. In particular nothing is retired under it: that may run what others deferred,
//! and with it the drop of a table, which takes the lock.

#![expect(
    unsafe_code,
    reason = "epoch-protected pointers to shared blocks; the contract is above"
)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_epoch::{Atomic, Guard, Shared};

use crate::block::{BlockRef, Layout, Outline, Trailer};
use crate::error::Fault;
use crate::hash::KeyHash;
use crate::prefetch::{fetch, fetch_front};
use crate::read_counters::ReadCounters;
use crate::residency::Clock;
use crate::sequence::Sequence;
use crate::slab::{BlockBytes, Slab};

/// What a resident block costs beyond its bytes, about: itself, its allocations, its place in the ring.
const OVERHEAD_BYTES: usize = 160;

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Data,
    /// A partition of a filter.
    Filter,
    /// The fence index of a table.
    Index,
}

impl Class {
    /// How often the clock's hand passes a block by that is not used meanwhile. Each read of a table needs its
    /// index, in one piece, or a partition of its filter: they stay while data blocks come and go.
    fn chances(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Filter => 2,
            Self::Index => CHANCES_MAX,
        }
    }
}

const CHANCES_MAX: u8 = 4;

/// A verified, decoded block, or another part of a table.
#[derive(Debug)]
pub(crate) struct CachedBlock {
    /// Of a data block.
    layout: Layout,
    bytes: BlockBytes,
    table: u64,
    number: u32,
    class: Class,
    /// How often the clock's hand will still pass by.
    chances: AtomicU8,
}

impl CachedBlock {
    /// Takes the decoded bytes of block `number` of table `table`, which was loaded at that sequence, or at none.
    pub(crate) fn new(
        table: u64,
        number: u32,
        bytes: impl Into<BlockBytes>,
        loaded_at: Sequence,
    ) -> Result<Arc<Self>, Fault> {
        let bytes = bytes.into();
        Ok(Arc::new(Self {
            layout: Trailer::of(&bytes)?
                .loaded_at(loaded_at)
                .layout(bytes.len())?,
            bytes,
            table,
            number,
            class: Class::Data,
            // One that is read once and no more goes first.
            chances: AtomicU8::new(0),
        }))
    }

    /// Takes the bytes of what is not a data block and has place `number` among the blocks of table `table`.
    pub(crate) fn part(table: u64, number: u32, class: Class, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            layout: Layout::default(),
            bytes: bytes.into(),
            table,
            number,
            class,
            chances: AtomicU8::new(class.chances()),
        })
    }

    /// Whether it is block `number` of table `table`.
    pub(crate) fn is(&self, table: u64, number: u32) -> bool {
        self.table == table && self.number == number
    }

    /// Whether it is a data block of table `table`.
    pub(crate) fn is_data_of(&self, table: u64) -> bool {
        self.table == table && self.class == Class::Data
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn table(&self) -> u64 {
        self.table
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    #[inline]
    pub(crate) fn block(&self) -> BlockRef<'_> {
        BlockRef::new(&self.bytes, self.layout)
    }

    fn weight(&self) -> usize {
        self.bytes.reserved() + OVERHEAD_BYTES
    }
}

/// A block that an epoch guard keeps from being freed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loan<'g>(Shared<'g, CachedBlock>, &'g CachedBlock);

impl<'g> Loan<'g> {
    /// Point 4 of the contract must hold for `pointer`, which is not null.
    fn new(pointer: Shared<'g, CachedBlock>) -> Option<Self> {
        // SAFETY: 4: the count is above zero while 'g lasts, so the block is alive and never changes but for its atomic.
        let block = unsafe { pointer.as_ref() }?;
        Some(Self(pointer, block))
    }

    #[inline]
    pub(crate) fn get(&self) -> &'g CachedBlock {
        self.1
    }

    /// A count of one's own: the block outlives the guard.
    pub(crate) fn share(&self) -> Arc<CachedBlock> {
        let pointer = self.0.as_raw();
        // SAFETY: 1 and 4: the pointer comes from `Arc::into_raw`, and its count is above zero.
        unsafe { Arc::increment_strong_count(pointer) };
        // SAFETY: 1: the pointer comes from `Arc::into_raw`; the count taken above becomes this Arc's.
        unsafe { Arc::from_raw(pointer) }
    }
}

/// The place of a block, in one cache line with what tells a reader which lines of it come next.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Slot {
    block: Atomic<CachedBlock>,
    /// Hints for prefetching, not cleared: the address of the bytes of the block that came here last, and
    /// its [`Outline`].
    start: AtomicPtr<u8>,
    outline: AtomicU64,
}

impl Slot {
    fn load<'g>(&self, ordering: Ordering, guard: &'g Guard) -> Shared<'g, CachedBlock> {
        self.block.load(ordering, guard)
    }

    /// Point 2 of the contract.
    fn fill(&self, block: Loan<'_>) {
        let start = block.get().bytes.as_ptr().cast_mut();
        self.start.store(start, Ordering::Relaxed);
        let outline = block.get().layout.outline().to_word();
        self.outline.store(outline, Ordering::Relaxed);
        self.block.store(block.0, Ordering::Release);
    }

    /// Point 2 of the contract.
    fn clear(&self) {
        self.block.store(Shared::null(), Ordering::Relaxed);
    }

    /// Asks for what a scan that comes here next reads first.
    fn foresee_front(&self, guard: &Guard) {
        fetch(self.load(Ordering::Relaxed, guard).as_raw());
        self.foresee(None);
        fetch_front(self.start.load(Ordering::Relaxed));
    }

    #[inline]
    fn foresee(&self, hash: Option<KeyHash>) {
        let start = self.start.load(Ordering::Relaxed);
        if start.is_null() {
            return;
        }
        let outline = Outline::of_word(self.outline.load(Ordering::Relaxed));
        match hash {
            Some(hash) => outline.fetch_bucket(start, hash),
            None => outline.fetch_heads(start),
        }
    }
}

type SlotArray = Arc<[Slot]>;

/// The cache of a database, and the counters of its reads: what all its tables share. They take part
/// in it through [`Slots`].
pub(crate) struct BlockCache {
    budget_bytes: usize,
    /// Guards the ring, the byte count, and every write of a slot.
    ring: Mutex<Ring>,
    slab: Arc<Slab>,
    clock: Arc<Clock>,
    reads: ReadCounters,
}

#[derive(Default)]
struct Ring {
    /// One place for each block in a slot, the next to be looked at in front; and places of blocks
    /// that left with their table.
    places: VecDeque<Place>,
    left: usize,
    bytes: usize,
}

struct Place {
    slots: SlotArray,
    number: u32,
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCache")
            .field("budget_bytes", &self.budget_bytes)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

impl BlockCache {
    /// A cache of at most `budget_bytes`. Zero is a budget: nothing stays.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            ring: Mutex::default(),
            // The rest is for blocks that find no room among others of other lengths.
            slab: Arc::new(Slab::new(budget_bytes / 8 * 7)),
            clock: Arc::default(),
            reads: ReadCounters::default(),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the blocks that are resident.
    pub(crate) fn bytes(&self) -> usize {
        self.ring().bytes
    }

    /// What makes these tables' beliefs about mapped blocks age.
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What reads of the tables that share this cache have done.
    #[inline]
    pub(crate) fn reads(&self) -> &ReadCounters {
        &self.reads
    }
}

impl Ring {
    /// Takes blocks out until `budget` holds.
    fn evict<'g>(&mut self, budget: usize, guard: &'g Guard) -> Vec<Shared<'g, CachedBlock>> {
        let mut evicted = Vec::new();
        // Readers may give chances back as fast as the hand takes them: the hand goes round so often at the most.
        let mut spares = self.places.len().saturating_mul(CHANCES_MAX.into());
        while self.bytes > budget {
            let Some(place) = self.places.pop_front() else {
                break;
            };
            let Some(slot) = place.slots.get(place.number as usize) else {
                continue;
            };
            let pointer = slot.load(Ordering::Relaxed, guard);
            let Some(loan) = Loan::new(pointer) else {
                self.left = self.left.saturating_sub(1);
                continue;
            };
            let chances = &loan.get().chances;
            let left = chances.load(Ordering::Relaxed);
            if left > 0 && spares > 0 {
                chances.store(left - 1, Ordering::Relaxed);
                spares -= 1;
                self.places.push_back(place);
                continue;
            }
            slot.clear();
            self.bytes = self.bytes.saturating_sub(loan.get().weight());
            evicted.push(pointer);
        }
        evicted
    }
}

/// Gives the count of a pointer that is in no slot any more back, once no guard can see it.
fn retire(pointer: Shared<'_, CachedBlock>, guard: &Guard) {
    let pointer = pointer.as_raw();
    let give_back = move || {
        // SAFETY: 1: the pointer comes from `Arc::into_raw`, and this is the slot's own count.
        drop(unsafe { Arc::from_raw(pointer) });
    };
    // SAFETY: 3: it owns what it drops, and blocks are `Send` and `Sync`: any thread may run it.
    unsafe { guard.defer_unchecked(give_back) };
}

/// The slots of one table. Dropping them takes the table's blocks out of the cache.
#[derive(Debug)]
pub(crate) struct Slots {
    cache: Arc<BlockCache>,
    array: SlotArray,
}

impl Slots {
    /// Empty slots for the blocks `0..count` of a table.
    pub(crate) fn new(cache: &Arc<BlockCache>, count: u32) -> Self {
        Self {
            cache: Arc::clone(cache),
            array: (0..count).map(|_| Slot::default()).collect(),
        }
    }

    /// Asks for what a search in block `number` reads first: for `hash`, or else for a position.
    #[inline]
    pub(crate) fn foresee(&self, number: u32, hash: Option<KeyHash>) {
        if let Some(slot) = self.array.get(number as usize) {
            slot.foresee(hash);
        }
    }

    /// Asks for what a scan reads first that comes to block `number` next.
    pub(crate) fn foresee_front(&self, number: u32, guard: &Guard) {
        if let Some(slot) = self.array.get(number as usize) {
            slot.foresee_front(guard);
        }
    }

    /// Moves the decoded bytes of a block, which is to be inserted, to the cache's own memory.
    pub(crate) fn hold(&self, bytes: Vec<u8>) -> BlockBytes {
        self.cache.slab.hold(bytes)
    }

    /// The block in slot `number`.
    #[inline]
    pub(crate) fn get<'g>(&self, number: u32, guard: &'g Guard) -> Option<Loan<'g>> {
        let slot = self.array.get(number as usize)?;
        let loan = Loan::new(slot.load(Ordering::Acquire, guard))?;
        // Looking first keeps the line shared between readers.
        let (chances, all) = (&loan.get().chances, loan.get().class.chances());
        if chances.load(Ordering::Relaxed) != all {
            chances.store(all, Ordering::Relaxed);
        }
        Some(loan)
    }

    /// Puts `block` into its slot, and others out as the budget demands. If the slot is taken, that
    /// block is returned instead. A block that does not stay is alive all the same while `guard` is.
    pub(crate) fn insert<'g>(&self, block: Arc<CachedBlock>, guard: &'g Guard) -> Loan<'g> {
        let weight = block.weight();
        let slot = self.array.get(block.number as usize);
        let mut ring = self.cache.ring();
        if let Some(slot) = slot
            && let Some(present) = Loan::new(slot.load(Ordering::Relaxed, guard))
        {
            return present;
        }
        let number = block.number;
        let pointer = Shared::from(Arc::into_raw(block));
        // Point 4: the count was not deferred yet, and `guard` is pinned.
        let loan = Loan::new(pointer);
        match (slot, loan) {
            (Some(slot), Some(loan)) if weight <= self.cache.budget_bytes => {
                slot.fill(loan);
                ring.bytes += weight;
                ring.places.push_back(Place {
                    slots: Arc::clone(&self.array),
                    number,
                });
                let evicted = ring.evict(self.cache.budget_bytes, guard);
                drop(ring);
                for pointer in evicted {
                    retire(pointer, guard);
                }
            }
            _ => {
                drop(ring);
                retire(pointer, guard);
                // Blocks that do not stay are often large: do not let them gather.
                guard.flush();
            }
        }
        loan.unwrap_or_else(|| unreachable!("a pointer from an Arc is not null"))
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let guard = &crate::epoch::pin();
        let mut taken = Vec::new();
        let mut ring = self.cache.ring();
        for slot in &*self.array {
            let pointer = slot.load(Ordering::Relaxed, guard);
            if let Some(loan) = Loan::new(pointer) {
                slot.clear();
                ring.bytes = ring.bytes.saturating_sub(loan.get().weight());
                ring.left += 1;
                taken.push(pointer);
            }
        }
        // The hand may not come by for long: sweep once half of the ring is empty places.
        if ring.left * 2 > ring.places.len() {
            ring.places.retain(|place| {
                place
                    .slots
                    .get(place.number as usize)
                    .is_some_and(|slot| !slot.load(Ordering::Relaxed, guard).is_null())
            });
            ring.left = 0;
        }
        drop(ring);
        for pointer in taken {
            retire(pointer, guard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::builder::BlockBuilder;
    use crate::hash::KeyHash;
    use crate::internal_key::{Entry, Kind};
    use crate::sequence::Sequence;
    use std::sync::Weak;

    /// A block whose only value is its number, `bytes` times.
    fn block(table: u64, number: u32, bytes: usize) -> Arc<CachedBlock> {
        let mut builder = BlockBuilder::default();
        let entry = Entry {
            key: b"key",
            sequence: Sequence::new(1),
            kind: Kind::Value,
            value: &vec![number.to_le_bytes()[0]; bytes],
        };
        builder.add(&entry, KeyHash::of(b"key"), true);
        CachedBlock::new(table, number, builder.finish(), Sequence::ZERO).unwrap()
    }

    fn value(loan: Loan<'_>) -> Vec<u8> {
        let block = loan.get().block();
        block.value(&block.entry(0).unwrap()).to_vec()
    }

    /// Runs what was deferred, as far as no other test's guard is in the way.
    fn until_freed(block: &Weak<CachedBlock>) {
        while block.strong_count() > 0 {
            crate::epoch::pin().flush();
            std::thread::yield_now();
        }
    }

    #[test]
    fn blocks_stay_within_the_budget_and_leave_with_their_table() {
        let cache = Arc::new(BlockCache::new(10_000));
        let slots = Slots::new(&cache, 100);
        let other = Slots::new(&cache, 1);
        let guard = &crate::epoch::pin();
        other.insert(block(2, 0, 100), guard);
        let alone = cache.bytes();
        for number in 0..100 {
            assert!(slots.get(number, guard).is_none());
            let loan = slots.insert(block(1, number, 500), guard);
            assert_eq!(value(loan), vec![number.to_le_bytes()[0]; 500]);
            assert!(cache.bytes() <= 10_000);
            assert!(other.get(0, guard).is_some(), "used blocks are spared");
        }
        let resident = (0..100).filter(|n| slots.get(*n, guard).is_some()).count();
        assert!((5..20).contains(&resident), "{resident}");
        drop(slots);
        assert_eq!(cache.bytes(), alone);
        assert_eq!(cache.ring().places.len(), 1);
    }

    #[test]
    fn indexes_and_filters_stay_while_data_blocks_come_and_go() {
        let cache = Arc::new(BlockCache::new(10_000));
        let slots = Slots::new(&cache, 1_000);
        let guard = &crate::epoch::pin();
        for (number, class) in [(998, Class::Filter), (999, Class::Index)] {
            let part = CachedBlock::part(1, number, class, vec![7; 1_000]);
            slots.insert(part, guard);
        }
        for number in 0..200 {
            slots.insert(block(1, number, 500), guard);
            // Now and then somebody reads a few blocks that are there: they have their second chance too.
            slots.get(number.saturating_sub(3), guard);
            if number % 6 == 0 {
                assert!(slots.get(998, guard).is_some() && slots.get(999, guard).is_some());
            }
            assert!(cache.bytes() <= 10_000);
        }
        for number in 200..900 {
            slots.insert(block(1, number, 500), guard);
        }
        assert!(slots.get(998, guard).is_none(), "what nobody uses goes");
    }

    #[test]
    fn a_slot_keeps_its_first_block() {
        let cache = Arc::new(BlockCache::new(10_000));
        let slots = Slots::new(&cache, 1);
        let guard = &crate::epoch::pin();
        let first = slots.insert(block(1, 0, 10), guard).share();
        let second = slots.insert(block(1, 0, 10), guard).share();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn without_a_budget_a_block_lives_as_long_as_its_guard_or_its_shares() {
        let cache = Arc::new(BlockCache::new(0));
        let slots = Slots::new(&cache, 1);
        let guard = crate::epoch::pin();
        let loan = slots.insert(block(1, 0, 10), &guard);
        assert!(slots.get(0, &guard).is_none());
        assert_eq!(value(loan), [0; 10]);
        let shared = loan.share();
        let weak = Arc::downgrade(&shared);
        drop(guard);
        assert_eq!(shared.block().count(), 1);
        drop(shared);
        until_freed(&weak);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn evicted_blocks_are_freed() {
        let cache = Arc::new(BlockCache::new(1_000));
        let slots = Slots::new(&cache, 10);
        let blocks: Vec<_> = (0..10)
            .map(|number| {
                let block = block(1, number, 500);
                let weak = Arc::downgrade(&block);
                slots.insert(block, &crate::epoch::pin());
                weak
            })
            .collect();
        drop(slots);
        blocks.iter().for_each(until_freed);
    }

    #[test]
    fn threads_that_read_insert_and_drop_tables_see_only_whole_blocks() {
        let cache = Arc::new(BlockCache::new(8_000));
        let shared = Slots::new(&cache, 64);
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let (cache, shared) = (&cache, &shared);
                scope.spawn(move || {
                    for round in 0..2_000u32 {
                        let guard = &crate::epoch::pin();
                        let number = (round * 7 + thread * 13) % 64;
                        let loan = shared
                            .get(number, guard)
                            .unwrap_or_else(|| shared.insert(block(1, number, 300), guard));
                        assert!(loan.get().is(1, number));
                        assert_eq!(value(loan), vec![number.to_le_bytes()[0]; 300]);
                        if round % 64 == 0 {
                            let own = Slots::new(cache, 4);
                            for number in 0..4 {
                                own.insert(block(2, number, 200), guard);
                            }
                        }
                        if round % 3 == 0 {
                            let kept = loan.share();
                            assert!(kept.is(1, number));
                        }
                    }
                });
            }
        });
        assert!(cache.bytes() <= 8_000);
        drop(shared);
        assert_eq!(cache.bytes(), 0);
    }
}
