//! The memtable's range tombstones: looked up without a lock, fragmented only when somebody looks.
//!
//! - Tombstones form runs of 1, 2, 4.. of them, newest first; inserting one merges runs of equal length, as
//!   a binary counter carries. So a lookup visits a logarithm of runs, and n tombstones are
//!   fragmented at most n log n times however inserts and lookups alternate. Nothing is freed before the memtable is.
//! - A run fragments its tombstones once, when first asked. Readers that come meanwhile wait for
//!   that reader, never for the writer.
//!
//! Contract: 1. a run is initialised before `newest` is stored with release; 2. runs are freed only by `drop`;
//! 3. the runs that a run names are older and never change.

#![expect(
    unsafe_code,
    reason = "runs are read without a lock; see the contract above"
)]

use std::ptr;
use std::sync::{Arc, Mutex, OnceLock};

use super::entry::{EntryRef, Header};
use crate::range_tombstone::{Fragments, RangeTombstone};
use crate::sequence::Sequence;
use crate::sync::{AtomicPtr, Ordering};

pub(super) struct Tombstones {
    newest: AtomicPtr<Run>,
    /// All of them, fragmented, and how many they were.
    cached: Mutex<Option<(usize, Arc<Fragments>)>>,
}

/// The newest `count` tombstones at some time.
struct Run {
    /// The newest of them: start as key, end as value.
    tombstone: AtomicPtr<Header>,
    /// All tombstones so far, this one included.
    total: usize,
    count: usize,
    /// The run made just before this one.
    prior: *mut Run,
    /// The run that holds the tombstones before these.
    older: *mut Run,
    fragments: OnceLock<Fragments>,
}

impl Tombstones {
    pub(super) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
            cached: Mutex::new(None),
        }
    }

    /// # Safety
    /// The entry's arena outlives this, and no other thread inserts meanwhile.
    pub(super) unsafe fn insert(&self, tombstone: EntryRef<'_>) {
        let prior = self.newest.load(Ordering::Relaxed);
        let mut older = prior;
        let mut count = 1;
        // SAFETY: points 2 and 3.
        while let Some(run) = unsafe { older.as_ref() }
            && run.count == count
        {
            count *= 2;
            older = run.older;
        }
        // SAFETY: as above.
        let total = unsafe { prior.as_ref() }.map_or(1, |run| run.total + 1);
        let run = Box::new(Run {
            tombstone: AtomicPtr::new(tombstone.as_ptr().as_ptr()),
            total,
            count,
            prior,
            older,
            fragments: OnceLock::new(),
        });
        self.newest.store(Box::into_raw(run), Ordering::Release);
    }

    fn newest(&self) -> Option<&Run> {
        // SAFETY: points 1 and 2.
        unsafe { self.newest.load(Ordering::Acquire).as_ref() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.newest().is_none()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.newest()
            .map_or(0, |newest| newest.total * size_of::<Run>())
    }

    #[inline]
    pub(super) fn covering(&self, key: &[u8], at: Sequence) -> Option<Sequence> {
        let mut run = self.newest()?;
        let mut newest = None;
        loop {
            let fragments = run
                .fragments
                .get_or_init(|| Fragments::build(run.tombstones(run.count)));
            newest = newest.max(fragments.covering(key, at));
            // SAFETY: points 2 and 3.
            match unsafe { run.older.as_ref() } {
                Some(older) => run = older,
                None => return newest,
            }
        }
    }

    /// All of them. Nobody waits: who finds the cache in use builds for itself.
    pub(super) fn fragments(&self) -> Arc<Fragments> {
        let Some(newest) = self.newest() else {
            return Arc::default();
        };
        if let Ok(cached) = self.cached.try_lock()
            && let Some((total, fragments)) = &*cached
            && *total == newest.total
        {
            return Arc::clone(fragments);
        }
        let fragments = Arc::new(Fragments::build(newest.tombstones(newest.total)));
        if let Ok(mut cached) = self.cached.try_lock()
            && cached
                .as_ref()
                .is_none_or(|(total, _)| *total < newest.total)
        {
            *cached = Some((newest.total, Arc::clone(&fragments)));
        }
        fragments
    }
}

impl Run {
    /// The newest `count` tombstones.
    fn tombstones(&self, count: usize) -> impl Iterator<Item = RangeTombstone> {
        // SAFETY: points 2 and 3.
        let runs = std::iter::successors(Some(self), |run| unsafe { run.prior.as_ref() });
        runs.take(count).map(|run| {
            let header = run.tombstone.load(Ordering::Relaxed);
            let header = ptr::NonNull::new(header).expect("every run has a tombstone");
            // SAFETY: stored before the run was published; its arena outlives the runs.
            let entry = unsafe { EntryRef::from_ptr(header) }.entry();
            RangeTombstone {
                start: entry.key.to_vec(),
                end: entry.value.to_vec(),
                sequence: entry.sequence,
            }
        })
    }
}

impl Drop for Tombstones {
    fn drop(&mut self) {
        let mut run = self.newest.load(Ordering::Acquire);
        while !run.is_null() {
            // SAFETY: made by `Box::into_raw`, visited once, and nobody else is left.
            let owned = unsafe { Box::from_raw(run) };
            run = owned.prior;
        }
    }
}
