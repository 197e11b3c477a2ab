//! The fence index: for each data block, the least known upper bound of its keys, searched in place.
//!
//! ```text
//! heads u64 * n | handles (offset u64, length u32) * n | ends u32 * n | suffixes | prefix | n u32 | prefix_bytes u32
//! ```
//! - Separator `i` is at or above every key of block `i`, and below every key of block `i + 1`; if versions of
//!   one key go on in the next block, it is that key.
//! - All separators start with `prefix`; what follows it is the suffix. A head is its first eight
//!   bytes, padded with zeros, as a number that compares as the bytes do.
//! - Heads that differ decide. Only among equal ones are suffixes looked at.
//!
//! docs/format.md, "Tables".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::cmp::Ordering;
use std::ops::Range;

use crate::block::frame::BlockHandle;
use crate::error::Fault;

const HANDLE_BYTES: usize = 12;
const FIXED_BYTES: usize = 8 + HANDLE_BYTES + 4;
const TRAILER_BYTES: usize = 8;

/// The first eight bytes as a number that orders as they do.
fn head(suffix: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(suffix) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// The shortest key at or above `last` and below `next`, or `last` where nothing shorter is.
pub(crate) fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let common = last.iter().zip(next).take_while(|(l, n)| l == n).count();
    let up_to = |key: &[u8], end: usize| key.get(..end).unwrap_or(key).to_vec();
    let (Some(differs), Some(next_differs)) = (last.get(common), next.get(common)) else {
        // `last` is `next`, or what `next` starts with.
        return last.to_vec();
    };
    let after = common.saturating_add(1);
    if after < next.len() {
        return up_to(next, after);
    }
    let raised = |end: usize, byte: u8| {
        let mut key = up_to(last, end);
        key.push(byte);
        key
    };
    match differs.checked_add(1) {
        Some(byte) if byte < *next_differs => raised(common, byte),
        _ => {
            let place = last.iter().skip(after).position(|byte| *byte != 0xff);
            match place.and_then(|place| {
                let end = after.checked_add(place)?;
                Some((end, last.get(end)?.checked_add(1)?))
            }) {
                Some((end, byte)) => raised(end, byte),
                None => last.to_vec(),
            }
        }
    }
}

/// Whether an index of `handle` has room for so many blocks.
pub(crate) fn holds(handle: BlockHandle, blocks: u32) -> bool {
    u64::from(blocks).saturating_mul(FIXED_BYTES as u64) <= u64::from(handle.length)
}

/// Collects separators and handles, in order.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    separators: Vec<u8>,
    ends: Vec<usize>,
    handles: Vec<BlockHandle>,
}

impl IndexBuilder {
    pub(crate) fn add(&mut self, separator: &[u8], handle: BlockHandle) {
        self.separators.extend_from_slice(separator);
        self.ends.push(self.separators.len());
        self.handles.push(handle);
    }

    /// At most the bytes that `finish` will return.
    pub(crate) fn bytes(&self) -> usize {
        self.separators
            .len()
            .saturating_add(self.ends.len().saturating_mul(FIXED_BYTES))
            .saturating_add(TRAILER_BYTES)
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let separators: Vec<&[u8]> = starts
            .zip(&self.ends)
            .map(|(start, end)| self.separators.get(start..*end).unwrap_or_default())
            .collect();
        // They are sorted: what the outer two share, all do.
        let prefix = match separators.as_slice() {
            [] => &[],
            [only] => *only,
            [first, .., last] => {
                let common = first.iter().zip(*last).take_while(|(l, r)| l == r).count();
                first.get(..common).unwrap_or_default()
            }
        };
        let suffixes = || {
            separators
                .iter()
                .map(|separator| separator.get(prefix.len()..).unwrap_or_default())
        };
        let mut out = Vec::with_capacity(self.bytes());
        for suffix in suffixes() {
            out.extend_from_slice(&head(suffix).to_le_bytes());
        }
        for handle in &self.handles {
            out.extend_from_slice(&handle.offset.to_le_bytes());
            out.extend_from_slice(&handle.length.to_le_bytes());
        }
        let mut end = 0usize;
        for suffix in suffixes() {
            end = end.saturating_add(suffix.len());
            out.extend_from_slice(&u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
        }
        for suffix in suffixes() {
            out.extend_from_slice(suffix);
        }
        out.extend_from_slice(prefix);
        for length in [separators.len(), prefix.len()] {
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        out
    }
}

/// Where the parts of an index are: offsets into its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IndexLayout {
    count: u32,
    handles: usize,
    ends: usize,
    suffixes: usize,
    prefix: usize,
    prefix_end: usize,
}

/// A fence index in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index<'a> {
    bytes: &'a [u8],
    layout: IndexLayout,
}

fn bad() -> Fault {
    Fault::Field("fence index")
}

impl IndexLayout {
    /// How many data blocks there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Finds the parts of an index from its last bytes.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Fault> {
        let (rest, trailer) = bytes.split_last_chunk::<TRAILER_BYTES>().ok_or_else(bad)?;
        let ([count, prefix_bytes], _) = trailer.as_chunks::<4>() else {
            return Err(bad());
        };
        let count = u32::from_le_bytes(*count);
        let prefix_bytes = u32::from_le_bytes(*prefix_bytes) as usize;
        let parts = |each: usize| (count as usize).checked_mul(each);
        let handles = parts(8).ok_or_else(bad)?;
        let ends = parts(8 + HANDLE_BYTES).ok_or_else(bad)?;
        let suffixes = parts(FIXED_BYTES).ok_or_else(bad)?;
        let prefix_end = rest.len();
        let prefix = prefix_end.checked_sub(prefix_bytes).ok_or_else(bad)?;
        let layout = Self {
            count,
            handles,
            ends,
            suffixes,
            prefix,
            prefix_end,
        };
        let suffix_bytes = match count.checked_sub(1) {
            Some(last) => Index { bytes, layout }.end(last)?,
            None => 0,
        };
        if suffixes.checked_add(suffix_bytes) == Some(prefix) {
            Ok(layout)
        } else {
            Err(bad())
        }
    }
}

impl<'a> Index<'a> {
    pub(crate) fn new(bytes: &'a [u8], layout: IndexLayout) -> Self {
        Self { bytes, layout }
    }

    /// How many data blocks there are.
    pub(crate) fn count(&self) -> u32 {
        self.layout.count
    }

    /// A part of the index as the array that it is; empty if it cannot be one.
    #[inline]
    fn array<T: bytemuck::AnyBitPattern>(&self, part: Range<usize>) -> &'a [T] {
        let bytes = self.bytes.get(part).unwrap_or_default();
        bytemuck::try_cast_slice(bytes).unwrap_or_default()
    }

    /// Where block `number` is.
    pub(crate) fn handle(&self, number: u32) -> Result<BlockHandle, Fault> {
        let handles = self.array::<[u8; HANDLE_BYTES]>(self.layout.handles..self.layout.ends);
        let [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3] =
            *handles.get(number as usize).ok_or_else(bad)?;
        Ok(BlockHandle {
            offset: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
        })
    }

    fn end(&self, number: u32) -> Result<usize, Fault> {
        let ends = self.array::<[u8; 4]>(self.layout.ends..self.layout.suffixes);
        let end = ends.get(number as usize).ok_or_else(bad)?;
        Ok(u32::from_le_bytes(*end) as usize)
    }

    fn suffix(&self, number: u32) -> Result<&'a [u8], Fault> {
        let start = match number.checked_sub(1) {
            Some(before) => self.end(before)?,
            None => 0,
        };
        self.bytes
            .get(self.layout.suffixes..self.layout.prefix)
            .and_then(|suffixes| suffixes.get(start..self.end(number).ok()?))
            .ok_or_else(bad)
    }

    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.bytes
            .get(self.layout.prefix..self.layout.prefix_end)
            .unwrap_or_default()
    }

    /// The separator of block `number`.
    pub(crate) fn separator(&self, number: u32) -> Result<Vec<u8>, Fault> {
        Ok([self.prefix(), self.suffix(number)?].concat())
    }

    /// The first block that may hold `key`: the first whose separator is not below it; `count` if all are.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Result<u32, Fault> {
        let prefix = self.prefix();
        let Some(rest) = key.strip_prefix(prefix) else {
            return Ok(match key.cmp(prefix) {
                Ordering::Less => 0,
                Ordering::Equal | Ordering::Greater => self.layout.count,
            });
        };
        let target = head(rest);
        let heads = self.array::<[u8; 8]>(0..self.layout.handles);
        // The standard library's search compiles to conditional moves: no branch to mispredict.
        let first = heads.partition_point(|head| u64::from_le_bytes(*head) < target);
        let mut low = u32::try_from(first).map_err(|_| bad())?;
        if heads.get(first).map(|head| u64::from_le_bytes(*head)) != Some(target) {
            return Ok(low);
        }
        let equal = heads
            .get(first..)
            .unwrap_or_default()
            .partition_point(|head| u64::from_le_bytes(*head) == target);
        let mut high = low.saturating_add(u32::try_from(equal).map_err(|_| bad())?);
        while low < high {
            let middle = low.midpoint(high);
            if self.suffix(middle)? < rest {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Whether the separator of block `number` is `key`: only then may the next block hold more of it.
    pub(crate) fn separates_at(&self, number: u32, key: &[u8]) -> Result<bool, Fault> {
        match key.strip_prefix(self.prefix()) {
            Some(rest) => Ok(self.suffix(number)? == rest),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use proptest::prelude::*;

    fn handle(i: usize) -> BlockHandle {
        BlockHandle {
            offset: 24 + i as u64,
            length: 1,
        }
    }

    fn build(separators: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        for (i, separator) in separators.iter().enumerate() {
            builder.add(separator, handle(i));
        }
        builder.finish()
    }

    /// Also the worked example of docs/format.md, "Tables".
    #[test]
    fn an_index_is_as_documented() {
        let bytes = build(&[b"user:a".to_vec(), b"user:long key".to_vec()]);
        assert_eq!(
            hex(&bytes),
            concat!(
                "0000000000000061",         // head of "a"
                "79656b20676e6f6c",         // head of "long key"
                "180000000000000001000000", // block 0: 1 byte at 24
                "190000000000000001000000", // block 1: 1 byte at 25
                "0100000009000000",         // suffixes end at 1 and 9
                "616c6f6e67206b6579",       // "a" "long key"
                "757365723a",               // "user:"
                "0200000005000000",         // two blocks, a prefix of five bytes
            )
        );
    }

    #[test]
    fn separators_are_short() {
        for (last, next, expected) in [
            (&b"abc9zzz"[..], &b"abd"[..], &b"abc:"[..]),
            (b"abc", b"abcdef", b"abc"),
            (b"apple", b"banana", b"b"),
            (b"apple", b"c", b"b"),
            (b"a\xff\xff", b"b", b"a\xff\xff"),
            (b"a\xff\x01\x05", b"b", b"a\xff\x02"),
            (b"same", b"same", b"same"),
            (b"", b"\0", b""),
        ] {
            assert_eq!(separator(last, next), expected, "{last:?} {next:?}");
        }
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)];
        (
            proptest::sample::select(vec!["", "tenant/", "tenant/object/"]),
            proptest::collection::vec(byte, 0..12),
        )
            .prop_map(|(head, rest)| [head.as_bytes(), &rest].concat())
    }

    proptest! {
        #[test]
        fn a_separator_lies_between(mut keys in proptest::collection::vec(key(), 2)) {
            keys.sort();
            let between = separator(&keys[0], &keys[1]);
            prop_assert!(keys[0] <= between);
            prop_assert!(between < keys[1] || keys[0] == keys[1]);
            prop_assert!(between.len() <= keys[0].len());
        }

        #[test]
        fn a_search_answers_as_the_list(
            mut separators in proptest::collection::vec(key(), 0..40), others in proptest::collection::vec(key(), 1..20),
        ) {
            separators.sort();
            let bytes = build(&separators);
            let index = Index::new(&bytes, IndexLayout::of(&bytes).unwrap());
            prop_assert_eq!(index.count() as usize, separators.len());
            for key in separators.iter().chain(&others) {
                let expected = separators.partition_point(|separator| separator < key);
                prop_assert_eq!(index.find(key).unwrap() as usize, expected);
            }
            for (number, separator) in (0u32..).zip(&separators) {
                prop_assert_eq!(&index.separator(number).unwrap(), separator);
                prop_assert_eq!(index.handle(number).unwrap(), handle(number as usize));
                prop_assert!(index.separates_at(number, separator).unwrap());
                prop_assert!(!index.separates_at(number, &[separator.as_slice(), b"x"].concat()).unwrap());
            }
            prop_assert!(index.handle(index.count()).is_err());
        }

        #[test]
        fn damage_never_panics(
            mut separators in proptest::collection::vec(key(), 0..20), place in any::<usize>(), flip in 1u8.., cut in any::<bool>(),
        ) {
            separators.sort();
            let mut bytes = build(&separators);
            let place = place % bytes.len();
            if cut { bytes.truncate(place) } else { bytes[place] ^= flip }
            if let Ok(layout) = IndexLayout::of(&bytes) {
                let index = Index::new(&bytes, layout);
                for (number, separator) in (0u32..).zip(&separators) {
                    let _ = (index.find(separator), index.handle(number), index.separates_at(number, separator));
                }
            }
        }
    }
}
