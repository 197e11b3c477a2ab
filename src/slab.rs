//! Memory for the blocks that stay: regions of large pages, shared out in units.
//!
//! A warm read touches a few lines of a block that it chose at random. In small pages each of them costs a walk
//! through the page tables too, about as long as the miss itself; measured in docs/benchmarks/journal.md.
//!
//! - A run of free units is looked for from the front, so what is in use stays close together.
//! - Regions are kept until the slab goes, and together stay below the share of the cache's budget that they were
//!   given. What finds no room in them, or is small, lies in memory of its own.
//!
//! Contract of the unsafe code:
//! 1. Units that are marked as taken belong to one [`Piece`], until that is dropped.
//! 2. A piece's bytes are written before it exists and never after; who has it only reads.
//! 3. A piece keeps the slab, which frees its regions when it is dropped itself: the bytes outlive the piece.

#![expect(
    unsafe_code,
    reason = "pieces of one region are written while others are read; the contract is above"
)]

use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::Region;

/// Four large pages.
const REGION_BYTES: usize = 8 << 20;

/// Blocks differ by a few entries in length: a unit is small beside them.
const UNIT_BYTES: usize = 1 << 10;

/// What is smaller would waste too much of its last unit.
const PIECE_BYTES_MIN: usize = 4 << 10;

const WORDS: usize = REGION_BYTES / UNIT_BYTES / 64;

/// The bytes of a block.
#[derive(Debug)]
pub(crate) enum BlockBytes {
    Piece(Piece),
    Own(Box<[u8]>),
}

impl BlockBytes {
    /// The memory that they take.
    pub(crate) fn reserved(&self) -> usize {
        match self {
            Self::Piece(piece) => piece.units.len() * UNIT_BYTES,
            Self::Own(bytes) => bytes.len(),
        }
    }
}

impl From<Vec<u8>> for BlockBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Own(bytes.into_boxed_slice())
    }
}

impl Deref for BlockBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Piece(piece) => piece.bytes(),
            Self::Own(bytes) => bytes,
        }
    }
}

/// Some units of a region, filled.
#[derive(Debug)]
pub(crate) struct Piece {
    start: NonNull<u8>,
    length: usize,
    region: usize,
    units: Range<usize>,
    slab: Arc<Slab>,
}

// SAFETY: 2: it is read-only memory of its own, whatever the thread.
unsafe impl Send for Piece {}
// SAFETY: 2: as above.
unsafe impl Sync for Piece {}

impl Piece {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: 1, 2 and 3: initialised, in use by this piece alone, and there as long as it is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(region) = self.slab.regions().get_mut(self.region) {
            region.give_back(self.units.clone());
        }
    }
}

/// The memory of one cache.
pub(crate) struct Slab {
    regions_max: usize,
    /// A leaf: nothing is called while it is held.
    regions: Mutex<Vec<Units>>,
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("regions_max", &self.regions_max)
            .finish_non_exhaustive()
    }
}

impl Slab {
    /// Takes at most `bytes` from the host, at first none.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            regions_max: bytes / REGION_BYTES,
            regions: Mutex::default(),
        }
    }

    fn regions(&self) -> MutexGuard<'_, Vec<Units>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the bytes of a block that is to stay to where it is read best.
    pub(crate) fn hold(self: &Arc<Self>, bytes: Vec<u8>) -> BlockBytes {
        if bytes.len() >= PIECE_BYTES_MIN
            && let Some((region, units, start)) = self.take(bytes.len().div_ceil(UNIT_BYTES))
        {
            // SAFETY: 1: the units were free and are ours now; they hold as many bytes or more.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
            return BlockBytes::Piece(Piece {
                start,
                length: bytes.len(),
                region,
                units,
                slab: Arc::clone(self),
            });
        }
        bytes.into()
    }

    fn take(&self, count: usize) -> Option<(usize, Range<usize>, NonNull<u8>)> {
        if self.regions_max == 0 || count > REGION_BYTES / UNIT_BYTES {
            return None;
        }
        let mut regions = self.regions();
        let taken = regions.iter_mut().enumerate().find_map(|(number, region)| {
            let (units, start) = region.take(count)?;
            Some((number, units, start))
        });
        if taken.is_some() || regions.len() >= self.regions_max {
            return taken;
        }
        let mut region = Units::new()?;
        let (units, start) = region.take(count)?;
        regions.push(region);
        Some((regions.len() - 1, units, start))
    }
}

/// A region, and which of its units are taken: one bit each.
struct Units {
    start: NonNull<u8>,
    taken: [u64; WORDS],
    free: usize,
    /// What `start` leads to; never touched through this again.
    _region: Region,
}

// SAFETY: the pointer leads to memory that this owns, and is only handed out.
unsafe impl Send for Units {}

impl Units {
    fn new() -> Option<Self> {
        let mut region = Region::new(REGION_BYTES)?;
        Some(Self {
            start: NonNull::new(region.bytes_mut().as_mut_ptr())?,
            taken: [0; WORDS],
            free: REGION_BYTES / UNIT_BYTES,
            _region: region,
        })
    }

    /// The first free run of `count` units.
    fn take(&mut self, count: usize) -> Option<(Range<usize>, NonNull<u8>)> {
        if self.free < count {
            return None;
        }
        let mut start = self.next(0, false)?;
        let units = loop {
            let end = self.next(start, true).unwrap_or(WORDS * 64);
            if end - start >= count {
                break start..start + count;
            }
            start = self.next(end, false)?;
        };
        self.mark(units.clone(), true);
        self.free -= count;
        let offset = units.start * UNIT_BYTES;
        // SAFETY: the offset of a unit lies inside the region.
        let start = unsafe { self.start.add(offset) };
        Some((units, start))
    }

    fn give_back(&mut self, units: Range<usize>) {
        self.free += units.len();
        self.mark(units, false);
    }

    fn mark(&mut self, units: Range<usize>, taken: bool) {
        for unit in units {
            let bit = 1 << (unit % 64);
            if taken {
                self.taken[unit / 64] |= bit;
            } else {
                self.taken[unit / 64] &= !bit;
            }
        }
    }

    /// The first unit from `from` on that is taken, or free.
    fn next(&self, from: usize, taken: bool) -> Option<usize> {
        let mut word = from / 64;
        let mut skipped = u64::MAX << (from % 64);
        while let Some(bits) = self.taken.get(word) {
            let bits = if taken { *bits } else { !*bits } & skipped;
            if bits != 0 {
                return Some(word * 64 + bits.trailing_zeros() as usize);
            }
            word += 1;
            skipped = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_finds_no_room_lies_in_memory_of_its_own() {
        let slab = Arc::new(Slab::new(REGION_BYTES - 1));
        assert!(matches!(slab.hold(vec![1; 16 << 10]), BlockBytes::Own(_)));
        let slab = Arc::new(Slab::new(REGION_BYTES));
        assert!(matches!(slab.hold(vec![1; 100]), BlockBytes::Own(_)));
        let large = slab.hold(vec![1; REGION_BYTES - 4 * UNIT_BYTES]);
        assert!(matches!(slab.hold(vec![2; 8 << 10]), BlockBytes::Own(_)));
        let small = slab.hold(vec![3; 4 << 10]);
        drop(large);
        drop(slab);
        assert_eq!(*small, [3; 4 << 10]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pieces_keep_their_bytes_whatever_comes_and_goes(
            steps in proptest::collection::vec((4usize..1200, any::<prop::sample::Index>(), any::<bool>()), 1..80),
        ) {
            let slab = Arc::new(Slab::new(2 * REGION_BYTES));
            let mut held: Vec<(u8, usize, BlockBytes)> = Vec::new();
            for (fill, (kib, which, goes)) in (0u8..).zip(steps) {
                if goes && !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                } else {
                    let length = (kib << 10) - 3;
                    held.push((fill, length, slab.hold(vec![fill; length])));
                }
                for (fill, length, bytes) in &held {
                    prop_assert_eq!(bytes.len(), *length);
                    prop_assert!([bytes.first(), bytes.last()] == [Some(fill); 2]);
                }
            }
            held.clear();
            let all = |region: &Units| region.free == WORDS * 64 && region.taken == [0; WORDS];
            prop_assert!(slab.regions().iter().all(all));
        }
    }
}
