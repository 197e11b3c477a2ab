//! How the memtable's tree grows. One writer at a time; every store here keeps each reader's picture whole.
//!
//! A full node is not emptied but replaced, by two new nodes that share its range, or by itself and a new
//! neighbour where an ascending (or descending) load would leave the old one full for good. A replaced node
//! stays as it is: it holds all that was acknowledged before its readers began, and its neighbours are
//! those of the moment it was replaced, of which the same is true.
//!
//! A split is published bottom up: neighbours in the leaf chain, right part in the parent, left part in
//! the parent. At each point a reader finds every entry but the new one, which nobody may look for yet.

#![expect(
    unsafe_code,
    reason = "makes nodes in the arena; see the contract of the memtable"
)]

use std::ptr::{self, NonNull};
use std::sync::MutexGuard;

use super::Memtable;
use super::entry::{EntryRef, Header, Position, common, prefix};
use super::node::{Found, Head, Inner, Item, Leaf, Node, WIDTH};
use crate::internal_key::{Entry, Kind};
use crate::sequence::Sequence;
use crate::tree::arena::Arena;

/// What only the writer needs. Owning it is the right to store into nodes.
pub(super) struct State {
    /// Apart from the entries, so that descents touch few pages.
    nodes: Arena,
    entries: Arena,
    /// The last entry's prefix and leaf: where an ascending load goes without a descent.
    last: Option<(u64, LeafPtr)>,
    /// Written, and in no node yet.
    staged: Vec<Staged>,
}

/// Sorting and inserting this many at a time bounds what staging adds to the memory of the entries.
const STAGED_MAX: usize = 1 << 20;

/// How many entries are looked at before they are inserted: their cache misses overlap.
const LOOK_AHEAD: usize = 16;

struct Staged {
    prefix: u64,
    entry: NonNull<Header>,
}

// SAFETY: an entry is shared by all threads; the pointer is followed only while the memtable lives.
unsafe impl Send for Staged {}

#[derive(Clone, Copy)]
struct LeafPtr(NonNull<Leaf>);

// SAFETY: a leaf is shared by all threads; the pointer is followed only while the memtable lives.
unsafe impl Send for LeafPtr {}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Arena::new(),
            entries: Arena::new(),
            last: None,
            staged: Vec::new(),
        }
    }
}

/// The right to insert. One at a time; dropping it passes the right on.
pub(crate) struct MemtableWriter<'m> {
    memtable: &'m Memtable,
    state: MutexGuard<'m, State>,
    /// Inserted and not counted yet.
    entries: u64,
}

impl Drop for MemtableWriter<'_> {
    /// Before the right passes on.
    fn drop(&mut self) {
        let state = &self.state;
        let bytes = state.nodes.used_bytes()
            + state.entries.used_bytes()
            + self.memtable.tombstones.heap_bytes();
        self.memtable.counters.set(self.entries, bytes);
    }
}

/// A node above the one looked at, and which child leads there.
struct Step<'m> {
    parent: &'m Inner,
    rank: usize,
}

impl<'m> MemtableWriter<'m> {
    pub(super) fn new(memtable: &'m Memtable, state: MutexGuard<'m, State>) -> Self {
        Self {
            memtable,
            state,
            entries: 0,
        }
    }

    /// Adds an entry. One of the same key and sequence is replaced: the last operation of a batch wins.
    ///
    /// Whoever then publishes the sequence to readers must do so with release ordering.
    pub(crate) fn insert(&mut self, key: &[u8], sequence: Sequence, kind: Kind, value: &[u8]) {
        let entry = self.write(Entry {
            key,
            sequence,
            kind,
            value,
        });
        let position = Position { key, sequence };
        self.entries += u64::from(self.place(entry, position));
    }

    /// Adds an entry once [`insert_staged`](Self::insert_staged) is called, or earlier.
    pub(crate) fn stage(&mut self, key: &[u8], sequence: Sequence, kind: Kind, value: &[u8]) {
        let entry = self.write(Entry {
            key,
            sequence,
            kind,
            value,
        });
        self.state.staged.push(Staged {
            prefix: prefix(key, 0),
            entry: entry.as_ptr(),
        });
        if self.state.staged.len() == STAGED_MAX {
            self.insert_staged();
        }
    }

    /// Inserts what was staged, in order: neighbours meet in nodes that are in the cache, and an empty
    /// memtable is filled from left to right.
    pub(crate) fn insert_staged(&mut self) {
        let mut staged = std::mem::take(&mut self.state.staged);
        let entry = |staged: &Staged| -> EntryRef<'m> {
            // SAFETY: `stage` got it from there, under the same lock; the arena is dropped with the memtable.
            unsafe { EntryRef::from_ptr(staged.entry) }
        };
        // Stable: of entries with the same key and sequence the last one wins.
        staged.sort_by(|left, right| {
            left.prefix
                .cmp(&right.prefix)
                .then_with(|| entry(left).compare(entry(right).position()))
        });
        for some in staged.chunks(LOOK_AHEAD) {
            let mut entries = [None; LOOK_AHEAD];
            for (place, staged) in entries.iter_mut().zip(some) {
                let entry = entry(staged);
                *place = Some((entry, entry.position()));
            }
            for (entry, position) in entries.into_iter().flatten() {
                self.entries += u64::from(self.place(entry, position));
            }
        }
    }

    /// Deletes `[start, end)` as of `sequence`.
    pub(crate) fn insert_range_tombstone(&mut self, start: &[u8], end: &[u8], sequence: Sequence) {
        let entry = self.write(Entry {
            key: start,
            sequence,
            kind: Kind::Tombstone,
            value: end,
        });
        // SAFETY: the entry lies in this memtable's arena; holding the state makes this the only writer.
        unsafe { self.memtable.tombstones.insert(entry) };
    }

    fn write(&mut self, entry: Entry<'_>) -> EntryRef<'m> {
        // SAFETY: the arena is dropped with the memtable, which is borrowed for `'m`.
        unsafe { EntryRef::write(&mut self.state.entries, entry) }
    }

    /// False if it replaced another entry.
    fn place(&mut self, entry: EntryRef<'m>, position: Position<'_>) -> bool {
        let whole_prefix = prefix(position.key, 0);
        let (leaf, found) = if let Some(end) = self.end_of_ascent(whole_prefix, position) {
            end
        } else if let Some(leaf) = self.memtable.leaf(position) {
            (leaf, leaf.search(position))
        } else {
            let item = Item {
                prefix: whole_prefix,
                entry: entry.as_ptr().as_ptr(),
                ..Item::EMPTY
            };
            let leaf = self.new_leaf(0, &[item]);
            self.memtable.set_root(as_head(leaf));
            self.state.last = Some((whole_prefix, LeafPtr(NonNull::from(leaf))));
            return true;
        };
        if found.rank < found.tied {
            let tied = leaf.entry(found.order, found.rank);
            if tied.compare(position).is_eq() {
                leaf.replace(found.order, found.rank, entry);
                return false;
            }
        }
        let item = Item {
            prefix: prefix(position.key, leaf.head().skip),
            entry: entry.as_ptr().as_ptr(),
            ..Item::EMPTY
        };
        let is_last = found.rank == found.order.count() && leaf.next().is_none();
        if found.order.is_full() {
            self.split_leaf(leaf, found, &item, position);
        } else {
            leaf.insert(found.order, found.rank, &item);
        }
        if is_last && let Some((last_prefix, _)) = &mut self.state.last {
            *last_prefix = whole_prefix;
        }
        true
    }

    /// The end of the last leaf, if `position` comes after all entries.
    fn end_of_ascent(
        &self,
        whole_prefix: u64,
        position: Position<'_>,
    ) -> Option<(&'m Leaf, Found)> {
        let (last_prefix, LeafPtr(leaf)) = self.state.last?;
        if whole_prefix < last_prefix {
            return None;
        }
        // SAFETY: a leaf of this memtable, which is borrowed for `'m`.
        let leaf: &'m Leaf = unsafe { leaf.as_ref() };
        let order = leaf.head().order();
        let count = order.count();
        if whole_prefix == last_prefix && leaf.entry(order, count - 1).compare(position).is_ge() {
            return None;
        }
        let end = Found {
            order,
            rank: count,
            tied: count,
        };
        Some((leaf, end))
    }

    fn split_leaf(&mut self, leaf: &'m Leaf, found: Found, new: &Item, position: Position<'_>) {
        let path = self.path(position);
        let order = found.order;
        let items = with_inserted(|slot| leaf.item(order.slot(slot)), found.rank, new);
        let ascending = found.rank == WIDTH && order.is_youngest(WIDTH - 1);
        let descending = found.rank == 0 && order.is_youngest(0);
        let cut = match (ascending, descending) {
            (true, _) => WIDTH,
            (_, true) => 1,
            _ => items.len() / 2,
        };
        let (mut left, mut right) = (items, items);
        let (left, right) = (&mut left[..cut], &mut right[cut..]);
        let separator = Self::entry(&right[0]).expect("a leaf's slots hold entries");
        let (lower, upper) = fences(&path);
        let left_skip = Self::narrow(left, leaf.head().skip, lower, Some(separator));
        let right_skip = Self::narrow(right, leaf.head().skip, Some(separator), upper);

        let left = if ascending && left_skip == leaf.head().skip {
            leaf
        } else {
            self.new_leaf(left_skip, left)
        };
        let right_leaf = if descending && right_skip == leaf.head().skip {
            leaf
        } else {
            self.new_leaf(right_skip, right)
        };
        // Read before any link changes: the old leaf may be one of the two.
        let (previous, next) = (leaf.previous(), leaf.next());
        // New leaves first, all of them, then what makes them reachable.
        if !ptr::eq(left, leaf) {
            left.set_previous(as_ptr(previous));
            left.set_next(ptr::from_ref(right_leaf).cast_mut());
        }
        if !ptr::eq(right_leaf, leaf) {
            right_leaf.set_next(as_ptr(next));
            right_leaf.set_previous(ptr::from_ref(left).cast_mut());
        }
        if ptr::eq(left, leaf) {
            left.set_next(ptr::from_ref(right_leaf).cast_mut());
        }
        if ptr::eq(right_leaf, leaf) {
            right_leaf.set_previous(ptr::from_ref(left).cast_mut());
        }
        match previous {
            Some(previous) if !ptr::eq(left, leaf) => {
                previous.set_next(ptr::from_ref(left).cast_mut());
            }
            _ => {}
        }
        match next {
            Some(next) if !ptr::eq(right_leaf, leaf) => {
                next.set_previous(ptr::from_ref(right_leaf).cast_mut());
            }
            Some(_) => {}
            None => {
                if let Some((_, last)) = &mut self.state.last {
                    *last = LeafPtr(NonNull::from(right_leaf));
                }
            }
        }
        let kept = ptr::eq(left, leaf);
        self.split_child(&path, as_head(left), kept, separator, as_head(right_leaf));
    }

    /// Tells the last node of `path` that its child was split. `kept`: the left part is that child itself.
    fn split_child(
        &mut self,
        path: &[Step<'m>],
        left: *mut Head,
        kept: bool,
        separator: EntryRef<'m>,
        right: *mut Head,
    ) {
        let Some((&Step { parent, rank }, above)) = path.split_last() else {
            return self.new_root(left, separator, right);
        };
        let new = Item {
            prefix: prefix(separator.key(), parent.head().skip),
            entry: separator.as_ptr().as_ptr(),
            child: right,
        };
        let order = parent.head().order();
        if !order.is_full() {
            return parent.insert(order, rank, left, &new);
        }
        let mut items = with_inserted(|slot| parent.item(order.slot(slot)), rank + 1, &new);
        items[rank].child = left;
        // A full node that stays must not get another child: its order would not warn readers of it.
        let ascending = kept && rank + 1 == WIDTH && order.is_youngest(rank);
        let cut = if ascending { WIDTH } else { items.len() / 2 };
        let (mut left, mut right) = (items, items);
        let (left, right) = (&mut left[..cut], &mut right[cut..]);
        let separator = Self::entry(&right[0]).expect("only a first slot's is null");
        let (lower, upper) = fences(above);
        let skip = parent.head().skip;
        let left_skip = Self::narrow(left, skip, lower, Some(separator));
        let right_skip = Self::narrow(right, skip, Some(separator), upper);
        let kept = ascending && left_skip == skip;
        let left = if kept {
            parent
        } else {
            self.new_inner(parent.level(), left_skip, left)
        };
        let right = self.new_inner(parent.level(), right_skip, right);
        self.split_child(
            above,
            ptr::from_ref(left).cast_mut().cast(),
            kept,
            separator,
            ptr::from_ref(right).cast_mut().cast(),
        );
    }

    fn new_root(&mut self, left: *mut Head, separator: EntryRef<'m>, right: *mut Head) {
        // SAFETY: one of this memtable's nodes.
        let level = match unsafe { Node::from_ptr(left) } {
            Node::Leaf(_) => 0,
            Node::Inner(inner) => inner.level(),
        };
        let items = [
            Item {
                child: left,
                ..Item::EMPTY
            },
            Item {
                prefix: prefix(separator.key(), 0),
                entry: separator.as_ptr().as_ptr(),
                child: right,
            },
        ];
        let root = self.new_inner(level + 1, 0, &items);
        self.memtable
            .set_root(ptr::from_ref(root).cast_mut().cast());
    }

    /// The nodes above the leaf of `position`, from the root down. Only splits need it, which are rare;
    /// and the descent just before has brought these nodes into the cache.
    fn path(&self, position: Position<'_>) -> Vec<Step<'m>> {
        let mut path = Vec::with_capacity(8);
        let mut node = self.memtable.root();
        while let Some(Node::Inner(parent)) = node {
            let (order, rank) = parent.search(position);
            node = parent.child(order, rank);
            path.push(Step { parent, rank });
        }
        path
    }

    /// How many bytes to skip in a new node that holds `items`, of a node that skipped `skip`. More than
    /// before only where prefixes tie: otherwise there is nothing to gain, and looking costs a visit to
    /// each key.
    fn narrow(
        items: &mut [Item],
        skip: u32,
        lower: Option<EntryRef<'m>>,
        upper: Option<EntryRef<'m>>,
    ) -> u32 {
        let (Some(lower), Some(upper)) = (lower, upper) else {
            return skip;
        };
        if !items
            .windows(2)
            .any(|pair| pair[0].prefix == pair[1].prefix)
        {
            return skip;
        }
        let shared = common(lower.key(), upper.key());
        if shared <= skip {
            return skip;
        }
        for item in items {
            if let Some(entry) = Self::entry(item) {
                item.prefix = prefix(entry.key(), shared);
            }
        }
        shared
    }

    fn entry(item: &Item) -> Option<EntryRef<'m>> {
        // SAFETY: an item's entry is one of this memtable's, which is borrowed for `'m`.
        NonNull::new(item.entry).map(|entry| unsafe { EntryRef::from_ptr(entry) })
    }

    fn new_leaf(&mut self, skip: u32, items: &[Item]) -> &'m Leaf {
        let leaf = self.state.nodes.place(Leaf::new(skip, items));
        // SAFETY: the arena is dropped with the memtable, which is borrowed for `'m`.
        unsafe { leaf.as_ref() }
    }

    fn new_inner(&mut self, level: u32, skip: u32, items: &[Item]) -> &'m Inner {
        let inner = self.state.nodes.place(Inner::new(level, skip, items));
        // SAFETY: as for leaves.
        unsafe { inner.as_ref() }
    }
}

fn as_head(leaf: &Leaf) -> *mut Head {
    ptr::from_ref(leaf).cast_mut().cast()
}

fn as_ptr(leaf: Option<&Leaf>) -> *mut Leaf {
    leaf.map_or(ptr::null_mut(), |leaf| ptr::from_ref(leaf).cast_mut())
}

/// The items of a full node in order, with one more at `rank`.
fn with_inserted(item: impl Fn(usize) -> Item, rank: usize, new: &Item) -> [Item; WIDTH + 1] {
    std::array::from_fn(|index| match index.cmp(&rank) {
        std::cmp::Ordering::Less => item(index),
        std::cmp::Ordering::Equal => *new,
        std::cmp::Ordering::Greater => item(index - 1),
    })
}

/// The first position of the range below `path`, and the first after it; `None` where there is no end.
fn fences<'m>(path: &[Step<'m>]) -> (Option<EntryRef<'m>>, Option<EntryRef<'m>>) {
    let lower = path.last().and_then(|step| {
        let order = step.parent.head().order();
        step.parent.separator(order, step.rank)
    });
    let upper = path.iter().rev().find_map(|step| {
        let order = step.parent.head().order();
        (step.rank + 1 < order.count())
            .then(|| step.parent.separator(order, step.rank + 1))
            .flatten()
    });
    (lower, upper)
}
