//! The trees of a database, by number and by name.

use std::sync::{Arc, PoisonError, RwLock};

use crate::hash_map::{Map, Set};
use crate::manifest::BucketId;
use crate::open_files::ClosesFiles;
use crate::tree::Tree;
use trine_platform::sorted::SortedMap;

/// A set of trees. Immutable: a change makes another set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trees {
    /// In order, so that whoever visits all of them does so in the same order in every run.
    by_id: SortedMap<BucketId, Arc<Tree>>,
    /// Each operation of a batch asks it; nobody visits it.
    by_name: Map<String, Arc<Tree>>,
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

    /// All of them, those from `id` on first.
    pub(crate) fn iter_from(&self, id: BucketId) -> impl Iterator<Item = &Arc<Tree>> {
        let (from, before) = (self.by_id.range(id..), self.by_id.range(..id));
        from.chain(before).map(|(_, tree)| tree)
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

impl ClosesFiles for Registry {
    fn close_idle(&self, open_max: usize) {
        let trees = self.load();
        // Those that nobody read since the last time first.
        let (mut idle, mut used) = (Vec::new(), Vec::new());
        for tree in trees.iter() {
            let version = tree.pin().version;
            let tables = version.tables();
            let tables = tables.map(|table| (table.meta().number, table.handle().take_use()));
            let blobs = version.blobs().iter().map(|share| &share.file);
            let blobs = blobs.map(|file| (file.meta().number, file.handle().take_use()));
            for (number, was_used) in tables.chain(blobs) {
                match was_used {
                    Some(true) => used.push((tree, number)),
                    Some(false) => idle.push((tree, number)),
                    None => {}
                }
            }
        }
        let open = idle.len() + used.len();
        if open <= open_max {
            return;
        }
        let kept = open_max - open_max / 8;
        let mut closed: SortedMap<BucketId, (&Arc<Tree>, Set<u64>)> = SortedMap::new();
        for (tree, number) in idle.into_iter().chain(used).take(open - kept) {
            let (_, numbers) = closed.get_or_insert_with(tree.id(), || (tree, Set::default()));
            numbers.insert(number);
        }
        for (tree, numbers) in closed.into_values() {
            tree.close_files(&numbers);
        }
        // Unmapping is dear: here rather than in some read to come.
        for _ in 0..3 {
            crate::epoch::pin().flush();
        }
    }
}
