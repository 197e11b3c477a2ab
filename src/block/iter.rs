//! A place in a block. Holds no bytes of it but a key that is not whole there: whoever moves the
//! cursor lends the block each time, and must lend the same one until it enters another.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::block::{BlockRef, EntryAt, GROUP_ENTRIES};
use crate::error::Fault;
use crate::internal_key::Entry;

/// Stands on an entry once [`BlockCursor::enter`] succeeded. A failed move leaves it where it was.
#[derive(Debug, Default)]
pub(crate) struct BlockCursor {
    ordinal: u32,
    at: Option<EntryAt>,
    /// Of the group that was last needed: its number, and where its restart key is.
    restart: Option<(u32, EntryAt)>,
    /// The whole key, where the entry shares a part of it.
    key: Vec<u8>,
}

impl BlockCursor {
    /// Stands on entry `ordinal` of a block that may be another than before.
    pub(crate) fn enter(&mut self, block: BlockRef<'_>, ordinal: u32) -> Result<(), Fault> {
        let at = block.entry(ordinal)?;
        self.restart = None;
        self.stand(block, ordinal, at)
    }

    /// Moves to the next entry of the same block; `false` if there is none.
    #[inline]
    pub(crate) fn next(&mut self, block: BlockRef<'_>) -> Result<bool, Fault> {
        let ordinal = self.ordinal.wrapping_add(1);
        match &self.at {
            Some(at) if ordinal < block.count() => {
                // Entries lie one after the other: no look at the offsets.
                let next = block.decode(at.end)?;
                self.stand(block, ordinal, next).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Moves to the previous entry of the same block; `false` if there is none.
    #[inline]
    pub(crate) fn previous(&mut self, block: BlockRef<'_>) -> Result<bool, Fault> {
        match self.ordinal.checked_sub(1) {
            Some(ordinal) => {
                let at = block.entry(ordinal)?;
                self.stand(block, ordinal, at).map(|()| true)
            }
            None => Ok(false),
        }
    }

    #[expect(
        clippy::inline_always,
        reason = "as `BlockRef::decode`: the entry must stay in registers"
    )]
    #[inline(always)]
    fn stand(&mut self, block: BlockRef<'_>, ordinal: u32, at: EntryAt) -> Result<(), Fault> {
        if at.shared != 0 {
            let group = ordinal.wrapping_div(GROUP_ENTRIES);
            let restart = match self.restart {
                Some((known, restart)) if known == group => restart,
                _ => block.entry(group.wrapping_mul(GROUP_ENTRIES))?,
            };
            if restart.shared != 0 {
                return Err(Fault::Field("restart point"));
            }
            let shared = block
                .suffix(&restart)
                .get(..at.shared)
                .ok_or(Fault::Field("block entry"))?;
            self.key.clear();
            self.key.extend_from_slice(shared);
            self.key.extend_from_slice(block.suffix(&at));
            self.restart = Some((group, restart));
        }
        self.ordinal = ordinal;
        self.at = Some(at);
        Ok(())
    }

    /// The ordinal of the entry it stands on.
    pub(crate) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// The entry it stands on.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, block: BlockRef<'a>) -> Option<Entry<'a>> {
        self.at.as_ref().map(|at| Entry {
            key: if at.shared == 0 {
                block.suffix(at)
            } else {
                &self.key
            },
            sequence: at.sequence,
            kind: at.kind,
            value: block.value(at),
        })
    }
}
