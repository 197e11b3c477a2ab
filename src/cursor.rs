//! How an ordered source is walked without touching storage.
//!
//! A cursor stands on an entry or on none (before the first, after the last: both read as `None`).
//! A move runs on what is resident. It either succeeds, fails, or stops with [`Halt::Needs`], having
//! changed nothing that matters: the caller loads the block, calls `supply`, and makes the same move
//! again. What is in memory needs nothing, so the hot path is a plain function call.

use std::sync::Arc;

use crate::error::Error;
use crate::internal_key::Entry;
use crate::sequence::Sequence;

/// Why a move did not complete.
#[derive(Debug)]
pub(crate) enum Halt<N> {
    /// Load this, supply it, and make the same move again.
    Needs(N),
    /// The move failed; repeating it cannot help.
    Failed(Error),
}

impl<N, E: Into<Error>> From<E> for Halt<N> {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a move returns. `N` names a block that is not resident.
pub(crate) type Moved<N> = std::result::Result<(), Halt<N>>;

/// An ordered source of entries in the order of [`crate::internal_key::compare`].
pub(crate) trait Cursor {
    /// Names a block that must be loaded (`table::Missing`; uninhabited for memtables).
    type Needs;
    /// A loaded block.
    type Block;

    /// To the first entry.
    fn seek_first(&mut self) -> Moved<Self::Needs>;
    /// To the last entry.
    fn seek_last(&mut self) -> Moved<Self::Needs>;
    /// To the first entry at or after `(key, sequence)`: the newest version of `key` not above
    /// `sequence`, or else the next key's newest.
    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Moved<Self::Needs>;
    /// To the last entry strictly before `(key, sequence)`; `(key, Sequence::new(u64::MAX))` is before every version of `key`.
    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Moved<Self::Needs>;
    /// To the next entry; past the last, to none. Must stand on an entry.
    fn next(&mut self) -> Moved<Self::Needs>;
    /// To the previous entry; before the first, to none. Must stand on an entry.
    fn previous(&mut self) -> Moved<Self::Needs>;
    /// The entry it stands on.
    fn entry(&self) -> Option<Entry<'_>>;
    /// Whether it stands on an entry.
    fn stands(&self) -> bool;
    /// Gives it a block that it asked for. A cursor ignores blocks that are not its own.
    fn supply(&mut self, block: &Arc<Self::Block>);
}
