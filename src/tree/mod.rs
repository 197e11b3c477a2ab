//! One LSM tree: the ordered data of one bucket, as memtables and a version.
//!
//! ```text
//! writes -> active memtable -> immutable memtables -> level 0 tables -> sorted levels
//! reads     (all of them, newest first, through one view)
//! ```
//!
//! - Only the commit leader inserts and freezes; only maintenance adds and removes tables.
//! - A view is replaced as a whole; readers that hold an older one keep reading it.

mod arena;
pub(crate) mod blob_gc;
pub(crate) mod buffer;
pub(crate) mod build;
pub(crate) mod bulk;
pub(crate) mod claims;
pub(crate) mod compaction;
mod covered;
pub(crate) mod flush;
pub(crate) mod folding;
mod hiding;
pub(crate) mod level;
pub(crate) mod lookup;
pub(crate) mod memtable;
pub(crate) mod merge;
pub(crate) mod picker;
pub(crate) mod pins;
pub(crate) mod placement;
pub(crate) mod registry;
pub(crate) mod retention;
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod scan;
pub(crate) mod separation;
pub(crate) mod span;
pub(crate) mod split;
pub(crate) mod throttle;
pub(crate) mod version;
pub(crate) mod view;
pub(crate) mod visibility;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_epoch::Guard;
use trine_io::Mode;

use crate::blob::{BlobFile, BlobGc, BlobPolicy, GrowingFile};
use crate::compression::Codec;
use crate::error::{Error, Result};
use crate::hash_map::Set;
use crate::manifest::BucketId;
use crate::options::{BucketOptions, FilterPolicy, PrefixFilterPolicy};
use crate::table::TableOptions;
use crate::tree::buffer::{BufferWriter, WriteBuffer};
use crate::tree::picker::{Compaction, Unfinished};
use crate::tree::rules::Rules;
use crate::tree::separation::Separation;
use crate::tree::version::{Version, VersionChange};
use crate::tree::view::{View, ViewCell};
use trine_platform::sorted::SortedSet;

pub(crate) use registry::{Registry, Trees};

/// Shorter values are not worth a system call each.
pub(crate) const WRITTEN_ONCE_BYTES: usize = if cfg!(test) { 1 } else { 4 << 10 };

/// One tree.
#[derive(Debug)]
pub(crate) struct Tree {
    id: BucketId,
    name: String,
    options: BucketOptions,
    view: ViewCell,
    /// How much merging would bring its levels into form, when that was last looked at.
    pending_bytes: AtomicU64,
    /// Merges of which parts are done.
    unfinished: Mutex<Unfinished>,
    /// Set once its bucket was dropped; nothing is written to it after that.
    dropped: AtomicBool,
}

impl Tree {
    pub(crate) fn new(
        id: BucketId,
        name: String,
        options: BucketOptions,
        version: Version,
        rules: Rules,
    ) -> Self {
        let view = View {
            active: Arc::new(WriteBuffer::new()),
            immutables: Arc::default(),
            version: Arc::new(version),
            rules: Arc::new(rules),
        };
        Self {
            id,
            name,
            options,
            view: ViewCell::new(view),
            pending_bytes: AtomicU64::new(0),
            unfinished: Mutex::default(),
            dropped: AtomicBool::new(false),
        }
    }

    pub(crate) fn id(&self) -> BucketId {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn options(&self) -> &BucketOptions {
        &self.options
    }

    /// What makes values out of composites.
    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.view.load(&crate::epoch::pin()).rules)
    }

    /// Fails once the bucket was dropped.
    pub(crate) fn check_kept(&self) -> Result<()> {
        if self.dropped.load(Acquire) {
            return Err(Error::BucketMissing {
                name: self.name.clone(),
            });
        }
        Ok(())
    }

    /// Its bucket was dropped. Commit leader only.
    pub(crate) fn mark_dropped(&self) {
        self.dropped.store(true, Release);
    }

    /// How much merging would bring its levels into form, when that was last noted.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes.load(Relaxed)
    }

    /// Maintenance only, after it changed the version.
    pub(crate) fn note_pending_bytes(&self, bytes: u64) {
        self.pending_bytes.store(bytes, Relaxed);
    }

    /// Merges of which parts are done.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let unfinished = self.unfinished.lock();
        unfinished.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a compaction was installed, while its tables are claimed.
    pub(crate) fn note_compacted(&self, compaction: &Compaction) {
        let unfinished = self.unfinished.lock();
        unfinished
            .unwrap_or_else(PoisonError::into_inner)
            .note(compaction);
    }

    /// How its tables are written.
    pub(crate) fn table_options(&self) -> TableOptions {
        let options = &self.options;
        TableOptions {
            compression: Codec::of(options.compression),
            block_bytes: options.block_bytes,
            filter_bits_per_key: match options.filter_policy {
                FilterPolicy::Disabled => None,
                FilterPolicy::Bloom { bits_per_key } => Some(bits_per_key),
            },
            prefix: match options.prefix_filter_policy {
                PrefixFilterPolicy::Bloom { bits_per_prefix }
                    if options.prefix_extractor.is_enabled() =>
                {
                    Some((options.prefix_extractor.clone(), bits_per_prefix))
                }
                _ => None,
            },
        }
    }

    /// What becomes of values; those that are in blob files stay where they are.
    pub(crate) fn separation(&self, blob_bytes_max: u64) -> Separation {
        Separation {
            threshold_bytes: self.options.blob_threshold_bytes,
            codec: Codec::of_values(self.options.compression),
            blob_bytes_max,
            version: self.pin().version,
            moved: SortedSet::new(),
            growing: None,
        }
    }

    /// From which length on values are brought to a blob file as they are committed; `None`: they never are.
    pub(crate) fn written_once_bytes(&self) -> Option<usize> {
        let as_they_are = Codec::of_values(self.options.compression) == Codec::None;
        as_they_are.then(|| self.options.blob_threshold_bytes.max(WRITTEN_ONCE_BYTES))
    }

    /// The file of the active memtable's large values; without one, `ready`, which is told how much it holds, may have one. Commit
    /// leader only.
    pub(crate) fn values_of_active(
        &self,
        ready: impl FnOnce(usize) -> Option<Arc<GrowingFile>>,
    ) -> Option<Arc<GrowingFile>> {
        let guard = crate::epoch::pin();
        let active = &self.view.load(&guard).active;
        if active.values().is_none()
            && let Some(file) = ready(active.bytes())
        {
            active.set_values(file);
        }
        active.values().map(Arc::clone)
    }

    /// When values move to new blob files.
    pub(crate) fn blob_policy(&self, gc: Option<BlobGc>) -> BlobPolicy {
        BlobPolicy {
            merge: self.options.blob_level_merge_policy,
            gc,
        }
    }

    /// The view published now, while the guard lives.
    pub(crate) fn view<'g>(&'g self, guard: &'g Guard) -> &'g View {
        self.view.load(guard)
    }

    /// The view published now, pinned.
    pub(crate) fn pin(&self) -> View {
        self.view.pin()
    }

    /// Opens every file that somebody may still read when the directory belongs to others, or the bucket
    /// to nobody, and the file may go.
    pub(crate) async fn open_pinned(&self, mode: Mode) {
        for version in self.view.pinned_versions() {
            for table in version.tables() {
                // Who reads it will be told.
                drop(table.open(mode).await);
            }
            for share in version.blobs() {
                drop(share.file.open(mode).await);
            }
        }
    }

    /// Bytes in the active memtable.
    pub(crate) fn active_bytes(&self) -> usize {
        self.view.load(&crate::epoch::pin()).active.bytes()
    }

    /// The oldest log segment that the active memtable needs.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.view.load(&crate::epoch::pin()).active.first_segment()
    }

    /// How many immutable memtables wait to be flushed.
    pub(crate) fn immutables(&self) -> usize {
        self.view.load(&crate::epoch::pin()).immutables.len()
    }

    /// Whether the active memtable has grown to `limit` bytes.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.view.load(&crate::epoch::pin()).active.is_full(limit)
    }

    /// The right to write to the active memtable, for commits that were logged in `segment`. Commit leader (or
    /// recovery) only: nobody freezes it meanwhile.
    pub(crate) fn writer<'g>(&'g self, guard: &'g Guard, segment: u64) -> BufferWriter<'g> {
        self.view.load(guard).active.writer(segment)
    }

    /// Makes what was staged readable. Recovery only.
    pub(crate) fn insert_staged(&self) {
        self.view.load(&crate::epoch::pin()).active.insert_staged();
    }

    /// Makes the active memtable immutable and starts an empty one. Commit leader (or recovery) only.
    pub(crate) fn freeze(&self) {
        self.view.replace(|view| View {
            active: Arc::new(WriteBuffer::new()),
            immutables: std::iter::once(&view.active)
                .chain(view.immutables.iter())
                .map(Arc::clone)
                .collect(),
            version: Arc::clone(&view.version),
            rules: Arc::clone(&view.rules),
        });
    }

    /// Replaces the oldest immutable memtable by the tables it was flushed to.
    pub(crate) fn install_flush(&self, flushed: &Arc<WriteBuffer>, change: &VersionChange) {
        self.view.replace(|view| View {
            active: Arc::clone(&view.active),
            immutables: view
                .immutables
                .iter()
                .filter(|buffer| !Arc::ptr_eq(buffer, flushed))
                .map(Arc::clone)
                .collect(),
            version: Arc::new(view.version.apply(change)),
            rules: Arc::clone(&view.rules),
        });
    }

    /// Closes tables and blob files, for all but those who read them already.
    pub(crate) fn close_files(&self, numbers: &Set<u64>) {
        self.view.replace(|view| View {
            active: Arc::clone(&view.active),
            immutables: Arc::clone(&view.immutables),
            version: Arc::new(view.version.closing(numbers)),
            rules: Arc::clone(&view.rules),
        });
    }

    /// Replaces a compaction's inputs by its outputs. Gives back the blob files that no table refers to
    /// any more.
    pub(crate) fn install_compaction(&self, change: &VersionChange) -> Vec<Arc<BlobFile>> {
        let mut unreferenced = Vec::new();
        self.view.replace(|view| {
            let version = view.version.apply(change);
            unreferenced = view.version.blobs_not_in(&version);
            View {
                active: Arc::clone(&view.active),
                immutables: Arc::clone(&view.immutables),
                version: Arc::new(version),
                rules: Arc::clone(&view.rules),
            }
        });
        unreferenced
    }
}
