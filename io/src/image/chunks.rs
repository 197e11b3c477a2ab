//! Which chunks of an image are free: no bytes, no names.
//!
//! - A chunk is free, leaving, or has one owner.
//! - What an owner gave up is *leaving* until the journal that says so is durable, and nobody gets it before:
//!   else a power loss could bring the owner back, with somebody else's bytes in its chunks.

use std::io::{self, ErrorKind};

use trine_platform::sorted::{SortedMap, sort_few};

/// The unit of space.
pub(crate) const CHUNK_BYTES: u64 = 64 << 10;

/// Chunks side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

impl Extent {
    /// The chunk behind the last; `None` if there cannot be one.
    pub(crate) fn end(self) -> Option<u32> {
        self.start.checked_add(self.count)
    }

    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.count) * CHUNK_BYTES
    }
}

/// The free space of one image.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// Start and count; no two touch.
    free: SortedMap<u32, u32>,
    leaving: Vec<Extent>,
    /// Behind every chunk that is in use, leaving or free.
    end: u32,
}

impl Chunks {
    /// What is left beside `used`; `InvalidData` if a chunk is named twice or cannot be.
    pub(crate) fn beside(mut used: Vec<Extent>) -> io::Result<Self> {
        sort_few(&mut used, |left, right| left.start.cmp(&right.start));
        let mut chunks = Self::default();
        for extent in used {
            let end = extent.end().filter(|_| extent.start >= chunks.end);
            let end = end.ok_or(ErrorKind::InvalidData)?;
            if extent.start > chunks.end {
                chunks.free.insert(chunks.end, extent.start - chunks.end);
            }
            chunks.end = end;
        }
        Ok(chunks)
    }

    /// Where the image ends, if all of its chunks are whole.
    pub(crate) fn end_bytes(&self) -> u64 {
        u64::from(self.end) * CHUNK_BYTES
    }

    /// Whether `count` chunks can be had without growing.
    pub(crate) fn suffice(&self, count: u32) -> bool {
        let free = self
            .free
            .values()
            .map(|count| u64::from(*count))
            .sum::<u64>();
        free >= u64::from(count)
    }

    /// Whether waiting chunks would be free after [`Chunks::settle`].
    pub(crate) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// Takes `count` chunks: those from `next` on if they are free, else the lowest, else new ones.
    pub(crate) fn take(&mut self, count: u32, next: Option<u32>) -> io::Result<Vec<Extent>> {
        let mut taken = Vec::new();
        let mut left = count;
        let beside = next.filter(|next| self.free.contains_key(next));
        while left > 0 {
            let first = self.free.first_key_value().map(|(start, _)| *start);
            let Some(start) = beside.filter(|_| taken.is_empty()).or(first) else {
                break;
            };
            let there = self.free.remove(&start).unwrap_or(0);
            let count = there.min(left);
            if there > count {
                self.free.insert(start + count, there - count);
            }
            taken.push(Extent { start, count });
            left -= count;
        }
        if left > 0 {
            match self.grow(left) {
                Ok(grown) => taken.push(grown),
                Err(error) => {
                    self.give_back(taken);
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    /// Takes `count` chunks that nobody has had: those behind all others.
    pub(crate) fn grow(&mut self, count: u32) -> io::Result<Extent> {
        let start = self.end;
        let grown = Extent { start, count };
        self.end = grown.end().ok_or(ErrorKind::FileTooLarge)?;
        Ok(grown)
    }

    /// Takes back what nobody was ever told of.
    pub(crate) fn give_back(&mut self, extents: Vec<Extent>) {
        for extent in extents {
            self.free(extent);
        }
    }

    fn free(&mut self, extent: Extent) {
        let Extent {
            mut start,
            mut count,
        } = extent;
        if count == 0 {
            return;
        }
        let before = self
            .free
            .range(..start)
            .next_back()
            .map(|(before, there)| (*before, *there));
        if let Some((before, there)) = before
            && before + there == start
        {
            (start, count) = (before, count + there);
            self.free.remove(&start);
        }
        if let Some(there) = self.free.remove(&(start + count)) {
            count += there;
        }
        self.free.insert(start, count);
    }

    /// Takes back what the journal, once it is durable, says to be free.
    pub(crate) fn leave(&mut self, extents: Vec<Extent>) {
        self.leaving.extend(extents);
    }

    /// The journal is durable.
    pub(crate) fn settle(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        self.give_back(leaving);
    }

    /// Forgets the free chunks at the end, if there are at least `worth` of them; where the image ends then.
    pub(crate) fn trim(&mut self, worth: u32) -> Option<u64> {
        let (start, count) = self.free.last_key_value()?;
        let (start, count) = (*start, *count);
        if start + count != self.end || count < worth {
            return None;
        }
        self.free.remove(&start);
        self.end = start;
        Some(u64::from(start) * CHUNK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn extent(start: u32, count: u32) -> Extent {
        Extent { start, count }
    }

    #[test]
    fn what_lies_between_used_chunks_is_free_and_taken_first() {
        let mut chunks = Chunks::beside(vec![extent(6, 2), extent(1, 2)]).unwrap();
        assert!(chunks.suffice(4) && !chunks.suffice(5));
        let taken = chunks.take(5, None).unwrap();
        assert_eq!(taken, [extent(0, 1), extent(3, 3), extent(8, 1)]);
    }

    #[test]
    fn a_file_goes_on_where_it_ends_if_that_is_free() {
        let mut chunks = Chunks::beside(vec![extent(1, 2), extent(9, 1)]).unwrap();
        assert_eq!(chunks.take(2, Some(3)).unwrap(), [extent(3, 2)]);
    }

    #[test]
    fn a_chunk_named_twice_is_refused() {
        assert!(Chunks::beside(vec![extent(0, 2), extent(1, 2)]).is_err());
        assert!(Chunks::beside(vec![extent(u32::MAX, 2)]).is_err());
    }

    #[test]
    fn leaving_chunks_are_nobody_s_until_the_journal_is_durable() {
        let mut chunks = Chunks::default();
        let taken = chunks.take(3, None).unwrap();
        chunks.leave(taken);
        assert_eq!(chunks.take(1, None).unwrap(), [extent(3, 1)]);
        chunks.settle();
        assert_eq!(chunks.take(1, None).unwrap(), [extent(0, 1)]);
    }

    #[test]
    fn free_chunks_at_the_end_can_be_cut_off() {
        let mut chunks = Chunks::beside(vec![extent(0, 5)]).unwrap();
        chunks.give_back(vec![extent(2, 1)]);
        chunks.give_back(vec![extent(4, 1)]);
        chunks.give_back(vec![extent(3, 1)]);
        assert_eq!(chunks.trim(4), None);
        assert_eq!(chunks.trim(3), Some(2 * CHUNK_BYTES));
        assert_eq!(chunks.take(1, None).unwrap(), [extent(2, 1)]);
    }

    proptest! {
        #[test]
        fn no_chunk_has_two_owners(steps in prop::collection::vec((1..9_u32, any::<bool>()), 1..60)) {
            let mut chunks = Chunks::default();
            let mut owned = Vec::new();
            for (count, gives) in steps {
                if gives && !owned.is_empty() {
                    chunks.give_back(vec![owned.remove(count as usize % owned.len())]);
                } else {
                    let next = owned.last().and_then(|last: &Extent| last.end());
                    let taken = chunks.take(count, next).unwrap();
                    prop_assert_eq!(taken.iter().map(|extent| extent.count).sum::<u32>(), count);
                    owned.extend(taken);
                }
                let beside = Chunks::beside(owned.clone()).unwrap();
                let held = |chunks: &Chunks| chunks.end - chunks.free.values().sum::<u32>();
                prop_assert_eq!(held(&beside), held(&chunks));
            }
        }
    }
}
