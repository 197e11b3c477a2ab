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

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Mutex, PoisonError};

use crossbeam_epoch::{Atomic, Guard, Owned};

use crate::sequence::Sequence;
use crate::tree::buffer::WriteBuffer;
use crate::tree::version::Version;

/// What a reader sees. Cloning pins memtables and tables.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) active: Arc<WriteBuffer>,
    /// Newest first.
    pub(crate) immutables: Arc<[Arc<WriteBuffer>]>,
    pub(crate) version: Arc<Version>,
}

impl View {
    /// All memtables, newest first.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Arc<WriteBuffer>> {
        std::iter::once(&self.active).chain(self.immutables.iter())
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
    /// held across I/O.
    replacing: Mutex<()>,
}

impl ViewCell {
    pub(crate) fn new(view: View) -> Self {
        Self {
            current: Atomic::new(view),
            replacing: Mutex::new(()),
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
        self.load(&crossbeam_epoch::pin()).clone()
    }

    /// Publishes what `change` makes of the current view, and returns it.
    pub(crate) fn replace(&self, change: impl FnOnce(&View) -> View) -> View {
        let _replacing = self
            .replacing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let guard = crossbeam_epoch::pin();
        let next = change(self.load(&guard));
        let old = self.current.swap(Owned::new(next.clone()), AcqRel, &guard);
        // SAFETY: `old` was just unlinked and is unlinked once only, since replacements are ordered (2).
        unsafe { guard.defer_destroy(old) };
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
