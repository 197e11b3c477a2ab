//! What a reader sees of a tree, and how it is published and reclaimed.
//!
//! A view names the active memtable, the immutable ones (newest first) and the version. It is
//! published through an epoch-protected pointer: taking it writes nothing that readers share.
//!
//! Contract of the unsafe code:
//! 1. The cell's pointer is never null: `new` sets it, `replace` swaps it for another.
//! 2. A view that left the cell is freed by the epoch collector, after every guard that may have
//!    seen it is gone; `load` ties the reference to such a guard.
//! 3. Dropping the cell has exclusive access: nobody can hold a guard-bound reference to its view,
//!    since such a reference borrows the cell.
#![expect(unsafe_code, reason = "publishing through an epoch-protected pointer")]

use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crossbeam_epoch::{Atomic, Guard, Owned};

use crate::blob::{BlobIndex, BlobValue};
use crate::error::Result;
use crate::sequence::Sequence;
use crate::tree::buffer::WriteBuffer;
use crate::tree::rules::Rules;
use crate::tree::version::Version;

/// What a reader sees. Cloning pins memtables and tables.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<WriteBuffer>,
    /// Newest first.
    pub(crate) immutables: Arc<[Arc<WriteBuffer>]>,
    pub(crate) version: Arc<Version>,
    /// What makes values out of composites. Never changes.
    pub(crate) rules: Arc<Rules>,
}

impl View {
    /// All memtables, newest first.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Arc<WriteBuffer>> {
        std::iter::once(&self.active).chain(self.immutables.iter())
    }

    /// The oldest commit that is in a memtable.
    pub(crate) fn first_unflushed(&self) -> Option<Sequence> {
        self.buffers().filter_map(|it| it.first_sequence()).min()
    }

    /// The value that an entry refers to.
    pub(crate) fn decode_blob(&self, encoded: &[u8]) -> Result<BlobValue> {
        // Only what was written wrongly gets here: blocks and records have checksums.
        let index = BlobIndex::decode(encoded).map_err(|fault| fault.at("table", 0))?;
        match self.growing(index) {
            Some(value) => Ok(value),
            None => self.version.blob(index),
        }
    }

    /// As `decode_blob`, of an entry that may be gone: `None` if its value is.
    pub(crate) fn find_blob(&self, encoded: &[u8]) -> Result<Option<BlobValue>> {
        let index = BlobIndex::decode(encoded).map_err(|fault| fault.at("log", 0))?;
        let flushed = || {
            Some(BlobValue::new(
                Arc::clone(&self.version.share(index.file)?.file),
                index,
            ))
        };
        Ok(self.growing(index).or_else(flushed))
    }

    /// The value, if it lies in the file of a memtable.
    fn growing(&self, index: BlobIndex) -> Option<BlobValue> {
        let mut files = self.buffers().filter_map(|buffer| buffer.values());
        let file = files.find(|file| file.number() == index.file)?;
        Some(BlobValue::new(Arc::clone(file.reader()), index))
    }

    /// Whether it holds a commit above `above`. For the commit leader: others may see one come.
    pub(crate) fn has_changes_above(&self, above: Sequence) -> bool {
        self.buffers().any(|buffer| buffer.last_sequence() > above)
            || self
                .version
                .tables()
                .any(|table| table.meta().largest_sequence > above)
    }
}

/// The published view.
#[derive(Debug)]
pub(crate) struct ViewCell {
    current: Atomic<View>,
    /// Orders replacements: a freeze by the commit leader, an installation by maintenance. Never
    /// held across I/O. Holds the versions that were replaced, as long as somebody pins them.
    replacing: Mutex<Vec<Weak<Version>>>,
}

impl ViewCell {
    pub(crate) fn new(view: View) -> Self {
        Self {
            current: Atomic::new(view),
            replacing: Mutex::default(),
        }
    }

    /// The view published now, for as long as the guard lives.
    pub(crate) fn load<'g>(&'g self, guard: &'g Guard) -> &'g View {
        let shared = self.current.load(Acquire, guard);
        // SAFETY: never null (1), and alive while `guard` is (2).
        unsafe { shared.deref() }
    }

    /// A copy that pins what it names.
    pub(crate) fn pin(&self) -> View {
        self.load(&crate::epoch::pin()).clone()
    }

    /// The versions that somebody may still read when nothing is published any more.
    pub(crate) fn pinned_versions(&self) -> Vec<Arc<Version>> {
        // Views that readers have left are freed when the epoch moves on; help it along.
        for _ in 0..3 {
            crate::epoch::pin().flush();
        }
        let replaced = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let guard = crate::epoch::pin();
        let current = &self.load(&guard).version;
        let mut pinned: Vec<_> = replaced.iter().filter_map(Weak::upgrade).collect();
        if Arc::strong_count(current) > 1 {
            pinned.push(Arc::clone(current));
        }
        pinned
    }

    /// Publishes what `change` makes of the current view, and returns it.
    pub(crate) fn replace(&self, change: impl FnOnce(&View) -> View) -> View {
        let mut replaced = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let guard = crate::epoch::pin();
        let current = self.load(&guard);
        let next = change(current);
        if !Arc::ptr_eq(&current.version, &next.version) {
            replaced.retain(|version| version.strong_count() > 0);
            replaced.push(Arc::downgrade(&current.version));
        }
        let old = self.current.swap(Owned::new(next.clone()), AcqRel, &guard);
        // SAFETY: `old` was just unlinked and is unlinked once only, since replacements are ordered (2).
        unsafe { guard.defer_destroy(old) };
        drop(replaced);
        // What a thread defers is its own until it has deferred much. This one may publish nothing more
        // for long, and would keep memtables in memory and files on disk that nobody reads.
        guard.flush();
        next
    }
}

impl Drop for ViewCell {
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        // SAFETY: not null (1) and no reference is left (3).
        drop(unsafe { current.into_owned() });
    }
}

/// Every interleaving, up to a bound on preemptions, with the epochs of `crossbeam` explored too: `ci/loom.sh`.
#[cfg(all(test, crossbeam_loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// View `number` has so many immutable memtables.
    fn next(view: &View) -> View {
        let newest = Arc::clone(&view.active);
        let older = view.immutables.iter().map(Arc::clone);
        View {
            active: Arc::new(WriteBuffer::new()),
            immutables: std::iter::once(newest).chain(older).collect(),
            version: Arc::default(),
            rules: Arc::clone(&view.rules),
        }
    }

    fn explore(model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.max_branches = 100_000;
        builder.check(model);
    }

    fn cell() -> Arc<ViewCell> {
        Arc::new(ViewCell::new(View {
            active: Arc::new(WriteBuffer::new()),
            immutables: Arc::default(),
            version: Arc::default(),
            rules: Arc::default(),
        }))
    }

    #[test]
    fn loom_view_is_read_whole_and_never_goes_back_while_it_is_replaced() {
        explore(|| {
            let cell = cell();
            let publisher = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || {
                    cell.replace(next);
                    cell.replace(next);
                })
            };
            let mut seen = 0;
            for _ in 0..2 {
                let guard = crate::epoch::pin();
                let view = cell.load(&guard);
                assert!(view.immutables.len() >= seen);
                seen = view.immutables.len();
                assert!(
                    view.buffers()
                        .all(|buffer| buffer.first_segment().is_none())
                );
            }
            publisher.join().unwrap();
            assert_eq!(cell.pin().immutables.len(), 2);
        });
    }

    #[test]
    fn loom_view_that_is_pinned_outlives_its_replacement() {
        explore(|| {
            let cell = cell();
            let publisher = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || drop(cell.replace(next)))
            };
            let pinned = cell.pin();
            let watched = Arc::downgrade(&pinned.version);
            publisher.join().unwrap();
            assert!(watched.upgrade().is_some());
            assert!(pinned.active.first_segment().is_none());
        });
    }
}
