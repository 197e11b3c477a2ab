//! A block that is kept: it outlives guards, evictions and the table's last other user.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;
use std::sync::Arc;

use trine_io::Bytes;

use crate::block::{BlockRef, Layout};
use crate::cache::CachedBlock;

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) number: u32,
    pub(super) layout: Layout,
    pub(super) bytes: HeldBytes,
}

#[derive(Clone, Debug)]
pub(super) enum HeldBytes {
    /// Of the table's map, which is held too: the way to it through the table takes longer.
    InPlace(Bytes, Range<usize>),
    Cached(Arc<CachedBlock>),
}

impl Held {
    #[inline]
    pub(super) fn block(&self) -> BlockRef<'_> {
        match &self.bytes {
            HeldBytes::InPlace(map, range) => {
                let bytes = map.get(range.clone()).unwrap_or_default();
                BlockRef::new(bytes, self.layout)
            }
            HeldBytes::Cached(block) => block.block(),
        }
    }
}
