//! How a filter lies in a table: in partitions of [`PARTITION_LINES`] lines, the last one of fewer, each a frame of
//! its own.
//!
//! - A hash alone says which line, and so which partition, is asked: a filter needs no index, and where a table is
//!   mapped its lines are found as if they were one array.
//! - Where it is not, one partition is read for a lookup, and the cache keeps those that are asked.
//!
//! docs/format.md, "Tables".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::block::frame::{BlockHandle, FRAME_BYTES};
use crate::error::Fault;
use crate::filter::bloom::{self, LINE_BYTES};
use crate::hash::KeyHash;
use crate::table::footer::SECTION_ALIGNMENT;

/// A partition is as large as a data block: so much is read for a lookup.
pub(crate) const PARTITION_LINES: u32 = 512;
pub(crate) const PARTITION_BYTES: usize = PARTITION_LINES as usize * LINE_BYTES;

/// Between the lines of one partition and those of the next: the frame's end, and what alignment adds.
const GAP_BYTES: u32 = 64;
/// [`LINE_BYTES`], as lengths in a file are counted.
const LINE_LENGTH: u32 = 32;
const STRIDE_BYTES: u32 = PARTITION_LINES * LINE_LENGTH + GAP_BYTES;

const _: () = assert!(
    LINE_LENGTH as usize == LINE_BYTES
        && GAP_BYTES as u64 == SECTION_ALIGNMENT
        && FRAME_BYTES <= GAP_BYTES as usize
        && (PARTITION_LINES * LINE_LENGTH).is_multiple_of(GAP_BYTES)
);

/// Where a filter is; without lines: nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    offset: u64,
    lines: u32,
}

impl Filter {
    /// Of the handle that reaches from the first partition's lines to the last one's.
    pub(crate) fn of(handle: BlockHandle) -> Result<Self, Fault> {
        if handle == BlockHandle::default() {
            return Ok(Self::default());
        }
        let (whole, rest) = (handle.length / STRIDE_BYTES, handle.length % STRIDE_BYTES);
        let (lines, part) = (rest / LINE_LENGTH, rest % LINE_LENGTH);
        if part != 0 || lines == 0 || lines > PARTITION_LINES {
            return Err(Fault::Field("filter length"));
        }
        Ok(Self {
            offset: handle.offset,
            lines: whole.saturating_mul(PARTITION_LINES).saturating_add(lines),
        })
    }

    #[inline]
    pub(crate) fn is_none(self) -> bool {
        self.lines == 0
    }

    pub(crate) fn partitions(self) -> u32 {
        self.lines.div_ceil(PARTITION_LINES)
    }

    /// Where partition `number` is.
    pub(crate) fn partition(self, number: u32) -> BlockHandle {
        let before = u64::from(number).saturating_mul(u64::from(STRIDE_BYTES));
        let lines = self
            .lines
            .saturating_sub(number.saturating_mul(PARTITION_LINES))
            .min(PARTITION_LINES);
        BlockHandle {
            offset: self.offset.saturating_add(before),
            length: lines.saturating_mul(LINE_LENGTH),
        }
    }

    /// The partition that knows of `hash`.
    pub(crate) fn partition_of(self, hash: KeyHash) -> u32 {
        hash.line(self.lines) / PARTITION_LINES
    }

    /// Whether `hash` may be in it; `None` if its line is not in `bytes`, which lie at `start` of the file.
    #[inline]
    pub(crate) fn may_contain(self, bytes: &[u8], start: u64, hash: KeyHash) -> Option<bool> {
        let line = hash.line(self.lines);
        let gaps = u64::from(line / PARTITION_LINES).wrapping_mul(u64::from(GAP_BYTES));
        let lines = u64::from(line).wrapping_mul(u64::from(LINE_LENGTH));
        let offset = self.offset.wrapping_add(lines).wrapping_add(gaps);
        let at = usize::try_from(offset.checked_sub(start)?).ok()?;
        let line = bytes.get(at..)?.first_chunk::<LINE_BYTES>()?;
        Some(bloom::line_may_contain(line, hash))
    }

    /// Whether `hash` may be in the filter, as the bytes of its partition say.
    pub(crate) fn partition_may_contain(self, partition: &[u8], hash: KeyHash) -> bool {
        let within = hash.line(self.lines) % PARTITION_LINES;
        let (lines, _) = partition.as_chunks::<LINE_BYTES>();
        let line = lines.get(within as usize);
        line.is_none_or(|line| bloom::line_may_contain(line, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_in_its_partition_and_in_the_whole() {
        for lines in [1, 2, 511, 512, 513, 1024, 1700] {
            let hashes: Vec<_> = (0..lines * 20u64)
                .map(|n| KeyHash::of(&n.to_le_bytes()))
                .collect();
            let mut flat = bloom::build(&hashes, 10);
            flat.resize(usize::try_from(lines).unwrap() * LINE_BYTES, 0x5a);
            let mut stored = vec![0; 128];
            for chunk in flat.chunks(PARTITION_BYTES) {
                stored.resize(stored.len().next_multiple_of(GAP_BYTES as usize), 0);
                stored.extend_from_slice(chunk);
                stored.extend_from_slice(&[0xee; FRAME_BYTES]);
            }
            let length = u32::try_from(stored.len() - 128 - FRAME_BYTES).unwrap();
            let filter = Filter::of(BlockHandle {
                offset: 128,
                length,
            })
            .unwrap();
            assert_eq!(u64::from(filter.lines), lines);
            let last = filter.partition(filter.partitions() - 1);
            assert_eq!(last.end(), Some(stored.len() as u64));
            for hash in &hashes {
                let expected = bloom::may_contain(&flat, *hash);
                assert_eq!(filter.may_contain(&stored, 0, *hash), Some(expected));
                assert_eq!(filter.may_contain(&stored[64..], 64, *hash), Some(expected));
                assert_eq!(filter.may_contain(&[], 0, *hash), None);
                let handle = filter.partition(filter.partition_of(*hash));
                let start = usize::try_from(handle.offset).unwrap();
                let partition = &stored[start..start + handle.length as usize];
                assert_eq!(filter.partition_may_contain(partition, *hash), expected);
            }
        }
    }

    #[test]
    fn a_length_that_no_filter_has_is_refused() {
        let of = |length| Filter::of(BlockHandle { offset: 64, length });
        for length in [0, 31, 33, 16_384 + 32, 16_448, 16_448 + 16_416, u32::MAX] {
            assert_eq!(of(length), Err(Fault::Field("filter length")), "{length}");
        }
        assert!(Filter::of(BlockHandle::default()).unwrap().is_none());
    }
}
