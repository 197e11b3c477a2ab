//! Rows of a block, found ahead: the entries that a scan hands out, decoded in one go and in the block's order,
//! whichever way the scan goes.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use crate::block::{BlockRef, EntryAt, GROUP_ENTRIES, outside};
use crate::direction::Direction;
use crate::error::Fault;
use crate::internal_key::{Entry, Kind};
use crate::prefetch::fetch_lines;

/// How far ahead of the entry that it decodes it asks for the block's lines. What the processor fetches by itself
/// ends with each small page, and begins again only after some misses.
const AHEAD_BYTES: usize = 512;

/// Lines of an entry of a usual size.
const ENTRY_LINES: usize = 2;

/// Where rows lie in a block. Holds no bytes of it but keys that are not whole there; whoever asks for a row
/// lends the block that it was found in.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: Vec<RowAt>,
    /// Whole keys, of a block whose entries share parts of theirs.
    keys: Vec<u8>,
}

#[derive(Debug)]
struct RowAt {
    kind: Kind,
    /// In `keys`, if the block's entries share parts of theirs.
    key: Range<usize>,
    value: Range<usize>,
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    Row,
    Not,
    /// It is none of the rows that lie together, and they are on this side of it.
    Ends,
}

/// How far the entries go among which rows were found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Far {
    /// The ordinal of the first entry that has another key than the first; the end, if none has.
    pub(crate) other_key: u32,
    /// Behind the last one.
    pub(crate) end: u32,
}

impl Rows {
    /// Forgets the rows that it has and finds others, among the entries `ordinals` of `block`, which are walked in
    /// `direction` later. `picks` is asked of each in their order, and told whether it repeats the key of the entry
    /// before it; the first, whose predecessor is not looked at, counts as one that does.
    pub(crate) fn find(
        &mut self,
        block: BlockRef<'_>,
        ordinals: Range<u32>,
        direction: Direction,
        mut picks: impl FnMut(&Entry<'_>, bool) -> Pick,
    ) -> Result<Far, Fault> {
        self.clear();
        self.rows.reserve(ordinals.len());
        let shares = block.layout.shares;
        let mut other_key = ordinals.end;
        let mut previous = None;
        let mut restart: &[u8] = &[];
        let mut offset = block.offset(ordinals.start)?;
        let start = block.bytes.as_ptr();
        fetch_lines(start.wrapping_add(offset), AHEAD_BYTES, usize::MAX);
        for ordinal in ordinals.clone() {
            let ahead = start.wrapping_add(offset).wrapping_add(AHEAD_BYTES);
            fetch_lines(ahead, AHEAD_BYTES, ENTRY_LINES);
            let at = block.decode(offset)?;
            offset = at.end;
            let key_at = if shares {
                if previous.is_none() || ordinal.is_multiple_of(GROUP_ENTRIES) {
                    restart = block.restart_key(ordinal)?;
                }
                self.join_key(restart, block.suffix(&at), &at)?
            } else {
                at.key..at.value
            };
            let keys = if shares { &self.keys } else { block.bytes };
            let key = keys.get(key_at.clone()).unwrap_or_default();
            let repeats = match previous.replace(key_at.clone()) {
                Some(previous) => is_same(keys.get(previous).unwrap_or_default(), key),
                None => true,
            };
            if !repeats && other_key == ordinals.end {
                other_key = ordinal;
            }
            let entry = Entry {
                key,
                sequence: at.sequence,
                kind: at.kind,
                value: block.value(&at),
            };
            match picks(&entry, repeats) {
                Pick::Row => self.rows.push(RowAt {
                    kind: at.kind,
                    key: key_at,
                    value: at.value..at.end,
                }),
                Pick::Not => {}
                Pick::Ends if direction == Direction::Forward => {
                    return Ok(Far {
                        other_key: other_key.min(ordinal),
                        end: ordinal,
                    });
                }
                Pick::Ends => {
                    self.rows.clear();
                    other_key = ordinals.end;
                }
            }
        }
        Ok(Far {
            other_key,
            end: ordinals.end,
        })
    }

    fn join_key(
        &mut self,
        restart: &[u8],
        suffix: &[u8],
        at: &EntryAt,
    ) -> Result<Range<usize>, Fault> {
        let start = self.keys.len();
        let shared = restart.get(..at.shared).ok_or_else(outside)?;
        self.keys.extend_from_slice(shared);
        self.keys.extend_from_slice(suffix);
        Ok(start..self.keys.len())
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.keys.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    pub(crate) fn key<'a>(&'a self, block: BlockRef<'a>, row: usize) -> Option<(&'a [u8], Kind)> {
        let row = self.rows.get(row)?;
        let keys = if block.layout.shares {
            &self.keys
        } else {
            block.bytes
        };
        Some((keys.get(row.key.clone())?, row.kind))
    }

    #[inline]
    pub(crate) fn value<'a>(&self, block: BlockRef<'a>, row: usize) -> Option<&'a [u8]> {
        let row = self.rows.get(row)?;
        block.bytes.get(row.value.clone())
    }
}

/// Whether both are the same key. Keys that follow each other nearly always differ in one of two words, which takes no call to
/// find out.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.first_chunk::<8>() == right.first_chunk::<8>()
        && left.last_chunk::<8>() == right.last_chunk::<8>()
        && left == right
}
