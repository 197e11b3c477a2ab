//! Which bucket is served next, so that a call with a small budget goes on where the last one ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::manifest::BucketId;
use crate::tree::{Tree, Trees};

/// The turn of one kind of work.
#[derive(Debug, Default)]
pub(crate) struct Rota {
    /// The first bucket from this number on.
    next: AtomicU32,
}

impl Rota {
    /// All buckets, the one whose turn it is first.
    pub(crate) fn order(&self, trees: &Trees) -> VecDeque<Arc<Tree>> {
        let next = BucketId(self.next.load(Relaxed));
        trees.iter_from(next).map(Arc::clone).collect()
    }

    /// A unit of work was done for the bucket.
    pub(crate) fn served(&self, id: BucketId) {
        self.next.store(id.0.wrapping_add(1), Relaxed);
    }
}
