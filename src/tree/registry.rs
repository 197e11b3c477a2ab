//! The trees of a database, by number and by name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::manifest::BucketId;
use crate::tree::Tree;

/// A set of trees. Immutable: a change makes another set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trees {
    by_id: HashMap<BucketId, Arc<Tree>, ahash::RandomState>,
    by_name: HashMap<String, Arc<Tree>, ahash::RandomState>,
    /// Above every number that was ever in the set.
    next: u32,
}

impl Trees {
    pub(crate) fn by_id(&self, id: BucketId) -> Option<&Arc<Tree>> {
        self.by_id.get(&id)
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Tree>> {
        self.by_name.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Tree>> {
        self.by_id.values()
    }

    /// A number that no tree of the set has had.
    pub(crate) fn next_id(&self) -> BucketId {
        BucketId(self.next)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

/// The set of trees as it is now.
#[derive(Debug, Default)]
pub(crate) struct Registry(RwLock<Arc<Trees>>);

impl Registry {
    pub(crate) fn load(&self) -> Arc<Trees> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn remove(&self, tree: &Tree) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Trees::clone(&current);
        next.by_name.remove(tree.name());
        next.by_id.remove(&tree.id());
        *current = Arc::new(next);
    }

    pub(crate) fn add(&self, tree: Arc<Tree>) {
        self.extend(std::iter::once(tree));
    }

    /// Adds several at the cost of one.
    pub(crate) fn extend(&self, trees: impl Iterator<Item = Arc<Tree>>) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Trees::clone(&current);
        for tree in trees {
            next.by_name
                .insert(tree.name().to_owned(), Arc::clone(&tree));
            next.next = next.next.max(tree.id().0.saturating_add(1));
            next.by_id.insert(tree.id(), tree);
        }
        *current = Arc::new(next);
    }
}
