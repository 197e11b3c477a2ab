//! The write buffer of one tree: entries in the engine's order, in a tree of wide nodes in an arena.
//!
//! - An entry never changes or leaves; deleting inserts a tombstone. Only one of the same key and sequence,
//!   which no reader may see yet, is replaced.
//! - One writer at a time, held to it by [`MemtableWriter`]; a second one waits for the first.
//! - Readers never lock, retry or wait for the writer: what was inserted before they began is found, what
//!   comes meanwhile may be.
//! - Once immutable, nothing is inserted; the owner sees to that by inserting into another.
//! - Every entry went to the WAL first: recovery rebuilds it as far as its durability promised.
//!
//! Contract of the unsafe code in this directory:
//! 1. A pointer in a node or in `root` is null or leads to a node or entry in this memtable's arenas, fully
//!    initialised before it was stored, and stored with release or before a release that publishes its slot.
//! 2. The arenas free nothing before the memtable is dropped; what borrows the memtable may follow its pointers.
//! 3. Published entries never change, nor do the plain fields of nodes; all else in nodes is atomic.
//! 4. Only the owner of the mutex around [`State`] stores into nodes, links and `root`.
//!
//! `docs/concurrency.md` gives the argument for readers and the sources it builds on.

#![expect(
    unsafe_code,
    reason = "follows the root pointer; see the contract above"
)]

mod cursor;
mod entry;
mod node;
mod tombstones;
mod writer;

#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod model_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod stress_tests;

use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use cursor::MemtableCursor;
pub(crate) use writer::MemtableWriter;

use crate::internal_key::Entry;
#[cfg(test)]
use crate::internal_key::Kind;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::sync::{AtomicPtr, Ordering};
use cursor::Place;
use entry::Position;
use node::{Head, Inner, Leaf, Node, Order};
use tombstones::Tombstones;
use writer::State;

pub(crate) struct Memtable {
    /// Null until the first insert: an empty memtable holds no memory.
    root: AtomicPtr<Head>,
    tombstones: Tombstones,
    /// On a line of its own: each writer stores to it when it ends, readers load `root` at every get.
    counters: Counters,
    state: Mutex<State>,
}

/// Stored by the writer alone. They order nothing: std's atomics, which loom need not explore.
#[derive(Default)]
#[repr(align(128))]
struct Counters {
    entries: AtomicU64,
    bytes: AtomicUsize,
}

impl Counters {
    fn set(&self, more_entries: u64, bytes: usize) {
        let entries = self.entries.load(std::sync::atomic::Ordering::Relaxed);
        self.entries
            .store(entries + more_entries, std::sync::atomic::Ordering::Relaxed);
        self.bytes
            .store(bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Memtable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memtable")
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

impl Memtable {
    pub(crate) fn new() -> Self {
        Self {
            root: AtomicPtr::new(ptr::null_mut()),
            tombstones: Tombstones::new(),
            counters: Counters::default(),
            state: Mutex::new(State::new()),
        }
    }

    /// The right to insert, for a batch or more. Waits for the writer before, if there is one.
    pub(crate) fn writer(&self) -> MemtableWriter<'_> {
        // A writer that panicked left every reader's picture whole, so the next one may go on.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        MemtableWriter::new(self, state)
    }

    /// One insert; see [`MemtableWriter::insert`].
    #[cfg(test)]
    pub(crate) fn insert(&self, key: &[u8], sequence: Sequence, kind: Kind, value: &[u8]) {
        self.writer().insert(key, sequence, kind, value);
    }

    /// See [`MemtableWriter::insert_staged`].
    pub(crate) fn insert_staged(&self) {
        self.writer().insert_staged();
    }

    /// One insert; see [`MemtableWriter::insert_range_tombstone`].
    #[cfg(test)]
    pub(crate) fn insert_range_tombstone(&self, start: &[u8], end: &[u8], sequence: Sequence) {
        self.writer().insert_range_tombstone(start, end, sequence);
    }

    /// The newest entry of `key` not above `sequence`. Tombstones are returned, not interpreted.
    pub(crate) fn get(&self, key: &[u8], sequence: Sequence) -> Option<Entry<'_>> {
        let position = Position { key, sequence };
        let leaf = self.leaf(position)?;
        let found = leaf.search(position);
        let entry = if found.rank < found.tied {
            leaf.entry(found.order, found.rank)
        } else if found.rank < found.order.count() {
            // The next entry's prefix is greater: its key is another one.
            return None;
        } else {
            Place::end_of(leaf, found.order)
                .next_at_or_after(position)?
                .entry()
        };
        (entry.key() == key).then(|| entry.entry())
    }

    /// The newest range tombstone not above `sequence` that covers `key`. One load if there are none at all.
    #[inline]
    pub(crate) fn covering_tombstone(&self, key: &[u8], sequence: Sequence) -> Option<Sequence> {
        self.tombstones.covering(key, sequence)
    }

    /// All range tombstones; made again only after another was inserted.
    pub(crate) fn tombstones(&self) -> Arc<Fragments> {
        self.tombstones.fragments()
    }

    /// Memory in use by entries, nodes and range tombstones, of the writers that have ended.
    pub(crate) fn bytes(&self) -> usize {
        self.counters
            .bytes
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Neither entries nor range tombstones.
    pub(crate) fn is_empty(&self) -> bool {
        self.root().is_none() && self.tombstones.is_empty()
    }

    /// How many entries, of the writers that have ended; range tombstones are not among them.
    pub(crate) fn entries(&self) -> u64 {
        self.counters
            .entries
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    fn root(&self) -> Option<Node<'_>> {
        let root = self.root.load(Ordering::Acquire);
        // SAFETY: points 1 and 2 of the contract.
        (!root.is_null()).then(|| unsafe { Node::from_ptr(root) })
    }

    /// Writer only.
    fn set_root(&self, root: *mut Head) {
        self.root.store(root, Ordering::Release);
    }

    /// The leaf whose range holds `position`.
    #[inline]
    fn leaf(&self, position: Position<'_>) -> Option<&Leaf> {
        self.descend(|inner| inner.search(position))
    }

    #[inline]
    fn descend(&self, choose: impl Fn(&Inner) -> (Order, usize)) -> Option<&Leaf> {
        let mut node = self.root()?;
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => {
                    let (order, rank) = choose(inner);
                    if let Some(child) = inner.child(order, rank) {
                        node = child;
                    }
                }
            }
        }
    }

    fn first(&self) -> Option<Place<'_>> {
        let leaf = self.descend(|inner| (inner.head().order(), 0))?;
        Some(Place::start_of(leaf))
    }

    fn last(&self) -> Option<Place<'_>> {
        let leaf = self.descend(|inner| {
            let order = inner.head().order();
            (order, order.count() - 1)
        })?;
        Place::end_of(leaf, leaf.head().order()).previous()
    }

    /// The first entry at or after `position`.
    fn at_or_after(&self, position: Position<'_>) -> Option<Place<'_>> {
        let leaf = self.leaf(position)?;
        let found = leaf.search(position);
        if found.rank < found.order.count() {
            return Some(Place::new(leaf, found.order, found.rank));
        }
        Place::end_of(leaf, found.order).next_at_or_after(position)
    }

    /// The last entry before `position`.
    fn before(&self, position: Position<'_>) -> Option<Place<'_>> {
        let leaf = self.leaf(position)?;
        let found = leaf.search(position);
        Place::new(leaf, found.order, found.rank).previous_before(position)
    }
}
