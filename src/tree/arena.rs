//! Append-only memory: what it hands out never moves and is freed all at once, with the arena.
//!
//! Contract, for the pointers it hands out:
//! 1. Valid for reads and writes of the layout asked for, aligned to it, and disjoint from all others.
//! 2. Valid until the arena is dropped; moving the arena moves none of them.
//! 3. Nothing in the arena is dropped, only freed.
//!
//! Chunks grow from 4 KiB to 1 MiB, so that a thousand nearly empty memtables cost little and a full
//! one few allocations; what follows lies in large pages where the host has them: one fault clears what
//! 512 would, and a search misses the processor's address cache less often. What would waste much of a
//! chunk gets a chunk of its own size.

#![expect(
    unsafe_code,
    reason = "the memory of the memtable's nodes and entries; see the contract above"
)]

use std::alloc::Layout;
use std::ptr::NonNull;

use trine_io::Region;

const CHUNK_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A chunk in large pages; those that are never reached take no memory.
const REGION_BYTES: usize = 4 << 20;

/// Nodes are aligned to this; a pair of cache lines is fetched together on many processors.
const CHUNK_ALIGN: usize = 128;

pub(super) struct Arena {
    chunks: Vec<(NonNull<u8>, Layout)>,
    /// Only held: their bytes are reached through what was handed out.
    regions: Vec<Region>,
    /// The rest of the newest shared chunk.
    free: NonNull<u8>,
    free_bytes: usize,
    next_chunk_bytes: usize,
    used_bytes: usize,
}

// SAFETY: the arena owns its chunks alone; it holds no reference to any thread's own state.
unsafe impl Send for Arena {}

impl Arena {
    /// Allocates nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            regions: Vec::new(),
            free: NonNull::dangling(),
            free_bytes: 0,
            next_chunk_bytes: CHUNK_BYTES_MIN,
            used_bytes: 0,
        }
    }

    /// Bytes handed out, with what alignment cost.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Moves `value` into the arena. It will not be dropped.
    pub(super) fn place<T>(&mut self, value: T) -> NonNull<T> {
        const { assert!(!std::mem::needs_drop::<T>()) };
        let place = self.allocate(Layout::new::<T>()).cast::<T>();
        // SAFETY: point 1: valid for a write of `T`, aligned.
        unsafe { place.write(value) };
        place
    }

    /// Uninitialised memory.
    pub(super) fn allocate(&mut self, layout: Layout) -> NonNull<u8> {
        assert!(layout.size() > 0 && layout.align() <= CHUNK_ALIGN);
        let padding = self.free.addr().get().wrapping_neg() & (layout.align() - 1);
        // The sum cannot overflow: a layout is at most `isize::MAX` bytes.
        if layout.size() + padding <= self.free_bytes {
            return self.bump(padding, layout.size());
        }
        if layout.size() > self.next_chunk_bytes / 4 {
            self.used_bytes += layout.size();
            return self.grow(layout.size());
        }
        (self.free, self.free_bytes) = self.grow_shared();
        // A new chunk is aligned for everything.
        self.bump(0, layout.size())
    }

    fn grow_shared(&mut self) -> (NonNull<u8>, usize) {
        let bytes = self.next_chunk_bytes;
        if bytes == CHUNK_BYTES_MAX
            && let Some(mut region) = Region::new(REGION_BYTES)
        {
            let start = NonNull::from(region.bytes_mut()).cast();
            self.regions.push(region);
            return (start, REGION_BYTES);
        }
        self.next_chunk_bytes = (bytes * 2).min(CHUNK_BYTES_MAX);
        (self.grow(bytes), bytes)
    }

    fn bump(&mut self, padding: usize, bytes: usize) -> NonNull<u8> {
        // SAFETY: the caller saw that `padding + bytes` are left in the chunk.
        let start = unsafe { self.free.add(padding) };
        // SAFETY: as above; at most one past the chunk's end.
        self.free = unsafe { start.add(bytes) };
        self.free_bytes -= padding + bytes;
        self.used_bytes += padding + bytes;
        start
    }

    fn grow(&mut self, bytes: usize) -> NonNull<u8> {
        let layout =
            Layout::from_size_align(bytes, CHUNK_ALIGN).expect("a chunk fits the address space");
        // SAFETY: `bytes` is not zero.
        let start = unsafe { std::alloc::alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            std::alloc::handle_alloc_error(layout)
        };
        self.chunks.push((start, layout));
        start
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for &(start, layout) in &self.chunks {
            // SAFETY: allocated in `grow` with this layout, freed only here.
            unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn allocations_are_aligned_disjoint_and_keep_their_bytes(
            sizes in proptest::collection::vec((1usize..40_000, 0u32..8), 1..60),
        ) {
            let mut arena = Arena::new();
            let mut placed = Vec::new();
            for (index, &(bytes, align)) in sizes.iter().enumerate() {
                let align = 1usize << align;
                let layout = Layout::from_size_align(bytes, align).unwrap();
                let start = arena.allocate(layout);
                prop_assert_eq!(start.addr().get() % align, 0);
                let fill = u8::try_from(index).unwrap();
                // SAFETY: point 1 of the contract.
                unsafe { start.write_bytes(fill, bytes) };
                placed.push((start, bytes, fill));
            }
            for (start, bytes, fill) in placed {
                // SAFETY: points 1 and 2; initialised above.
                let slice = unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) };
                prop_assert!(slice.iter().all(|byte| *byte == fill));
            }
            prop_assert!(arena.used_bytes() >= sizes.iter().map(|(bytes, _)| bytes).sum());
        }
    }

    #[test]
    fn what_outgrows_the_chunks_keeps_its_bytes_wherever_it_lies() {
        let mut arena = Arena::new();
        let layout = Layout::from_size_align(1000, 8).unwrap();
        // More than one region.
        let placed: Vec<_> = (0..7_000_u32)
            .map(|number| {
                let start = arena.allocate(layout);
                // SAFETY: point 1 of the contract.
                unsafe { start.write_bytes(number.to_le_bytes()[0], layout.size()) };
                start
            })
            .collect();
        for (number, start) in (0_u32..).zip(placed) {
            // SAFETY: points 1 and 2; initialised above.
            let slice = unsafe { std::slice::from_raw_parts(start.as_ptr(), layout.size()) };
            assert!(slice.iter().all(|byte| *byte == number.to_le_bytes()[0]));
        }
        // Where the host has large pages.
        assert!(arena.regions.len() >= 2 || arena.regions.is_empty());
    }

    #[test]
    fn an_empty_arena_holds_no_memory() {
        assert!(Arena::new().chunks.is_empty());
    }

    #[test]
    fn a_big_allocation_leaves_the_shared_chunk_in_use() {
        let mut arena = Arena::new();
        let small = Layout::new::<u64>();
        let first = arena.allocate(small);
        arena.allocate(Layout::from_size_align(3 << 20, 8).unwrap());
        let second = arena.allocate(small);
        assert_eq!(second.addr().get() - first.addr().get(), 8);
    }
}
