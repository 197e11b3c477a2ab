//! Bulk loads: rows built straight into tables, which one edit of the manifest makes part of the database.
//!
//! ```text
//! 1  rows become tables of their own                           commits go on
//! 2  what memtables hold of the same keys is flushed           commits go on
//! 3  leading the commit path: the next sequence is logged and synced, what memtables hold by now of the same
//!    keys is flushed, the edit is made durable, the view is published
//! ```
//!
//! A crash before the edit leaves a commit that changes nothing, and files that the next opening sweeps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::encoding::{EncodedBatch, check_row};
use crate::commit::{Guest, Installing, Load, Work};
use crate::db::bucket::Bucket;
use crate::db::maintenance::added;
use crate::db::write::check_key;
use crate::db::{Core, Db, Persistent};
use crate::error::{Error, Result};
use crate::manifest::Change;
use crate::options::{DurabilityMode, WriteOptions};
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::build::Built;
use crate::tree::bulk::BulkLoader;
use crate::tree::claims::ClaimGuard;
use crate::tree::picker::{Compaction, Part, Pick};
use crate::tree::placement::{deepest, meets_memtable};
use crate::tree::rows::Rows;
use crate::tree::span::Span;
use crate::tree::throttle::AtClose;
use crate::tree::version::VersionChange;
use crate::types::CommitInfo;

/// Rows are handed on in pieces of this, which stays in a processor's cache on the way.
const PIECE_BYTES: u32 = 256 << 10;

/// At least so many pieces are what may be sorted in memory.
const PIECES_MIN: usize = 16;

/// How rows are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkLoadOptions {
    memory_bytes: usize,
}

impl BulkLoadOptions {
    /// Memory for sorting unless said otherwise: 64 MiB.
    pub const DEFAULT_MEMORY_BYTES: usize = 64 << 20;

    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            memory_bytes: Self::DEFAULT_MEMORY_BYTES,
        }
    }

    /// Rows that do not ascend are sorted in about this much memory, and on disk beyond it.
    #[must_use]
    pub const fn with_memory_bytes(mut self, memory_bytes: usize) -> Self {
        self.memory_bytes = memory_bytes;
        self
    }

    /// How much memory sorting takes, in bytes.
    #[must_use]
    pub const fn memory_bytes(self) -> usize {
        self.memory_bytes
    }
}

impl Default for BulkLoadOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Core {
    /// Loads `rows` into the tree as one commit.
    pub(crate) async fn bulk_load<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        self: &Arc<Self>,
        tree: &Arc<Tree>,
        rows: impl Iterator<Item = Result<(K, V)>>,
        options: BulkLoadOptions,
        mode: Mode,
    ) -> Result<CommitInfo> {
        self.check_writable()?;
        tree.check_kept()?;
        let Some(persistent) = &self.persistent else {
            return self.load_into_memory(tree, rows, mode).await;
        };
        let _running = persistent.loads.begin();
        persistent.manifest.take().await.check()?;
        let context = persistent.build_context(&self.closed, AtClose::GiveUp, mode);
        let table_bytes = self.shape().table_bytes;
        let mut loader = BulkLoader::new(context, tree, table_bytes, options.memory_bytes);
        let built = match self.gather(tree, rows, options, &mut loader, mode).await {
            Ok(()) => loader.finish().await,
            Err(error) => Err(error),
        };
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                loader.discard().await;
                return Err(error);
            }
        };
        if built.tables.is_empty() {
            return Ok(CommitInfo::new(self.commits.visible()));
        }
        self.commit_load(persistent, tree, built, mode).await
    }

    /// Hands `rows` to the loader, piece by piece; where it may block, and there may be threads, it works on one piece while
    /// the next comes.
    async fn gather<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        tree: &Tree,
        rows: impl Iterator<Item = Result<(K, V)>>,
        options: BulkLoadOptions,
        loader: &mut BulkLoader<'_>,
        mode: Mode,
    ) -> Result<()> {
        let share = u32::try_from(options.memory_bytes / PIECES_MIN).unwrap_or(u32::MAX);
        let mut pieces = self.pieces(tree, rows, PIECE_BYTES.min(share));
        let threads = mode == Mode::Blocking
            && self.options.background_worker_count > 0
            && self.options.runtime.capabilities().background_threads();
        if !threads {
            for piece in pieces {
                loader.add(piece?).await?;
            }
            return Ok(());
        }
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (loaded, gathered) = trine_platform::thread::both(
            "trine-load",
            || {
                let mut pieces = receiver.into_iter();
                pieces.try_for_each(|piece| block_on(loader.add(piece)))
            },
            // If it cannot be sent, the loader failed, and says why.
            move || pieces.try_for_each(|piece| sender.send(piece?).map_err(|_| Error::Closed)),
        )?;
        loaded.and(gathered)
    }

    /// The rows, checked, in pieces of so many bytes at the most, or of one row.
    fn pieces<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        tree: &Tree,
        mut rows: impl Iterator<Item = Result<(K, V)>>,
        piece_bytes: u32,
    ) -> impl Iterator<Item = Result<Rows>> {
        // What the piece before had no room for.
        let mut first = None;
        let mut fill = move |piece: &mut Rows| {
            while let Some(row) = first.take().map(Ok).or_else(|| rows.next()) {
                let (key, value) = row?;
                self.check_open()?;
                check_key(tree, key.as_ref())?;
                check_row(key.as_ref(), value.as_ref())?;
                if !piece.add(key.as_ref(), value.as_ref(), piece_bytes) {
                    first = Some((key, value));
                    break;
                }
            }
            Ok(())
        };
        std::iter::from_fn(move || {
            let mut piece = Rows::with_capacity(piece_bytes as usize);
            match fill(&mut piece) {
                Err(error) => Some(Err(error)),
                Ok(()) => (!piece.is_empty()).then_some(Ok(piece)),
            }
        })
    }

    /// One batch, as large as batches may be.
    async fn load_into_memory<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        tree: &Arc<Tree>,
        rows: impl Iterator<Item = Result<(K, V)>>,
        mode: Mode,
    ) -> Result<CommitInfo> {
        let prepared = self.prepare_one(tree, WriteOptions::default(), |batch| {
            for row in rows {
                let (key, value) = row?;
                check_key(tree, key.as_ref())?;
                batch.put(tree.id(), key.as_ref(), value.as_ref())?;
            }
            Ok(())
        })?;
        self.commit_here(prepared, mode).await
    }

    async fn commit_load(
        self: &Arc<Self>,
        persistent: &Persistent,
        tree: &Arc<Tree>,
        built: Built,
        mode: Mode,
    ) -> Result<CommitInfo> {
        let handed_over = Arc::new(AtomicBool::new(false));
        let committed = async {
            let view = tree.pin();
            if view
                .buffers()
                .any(|buffer| meets_memtable(buffer, &built.tables))
            {
                self.commits.run(Work::Freeze, mode).await?;
                self.flush_immutables(tree, mode).await?;
            }
            drop(view);
            // Before leading: nobody else flushes then.
            let _flushing = persistent.flushing.take().await;
            self.check_open()?;
            let load = self.load(persistent, tree, &built, &handed_over)?;
            self.commits.run(Work::Load(load), mode).await
        };
        let committed = committed.await;
        if committed.is_err() && !handed_over.load(Acquire) {
            persistent.discard(&built, mode).await;
        }
        self.maintenance.ring();
        committed.map(CommitInfo::new)
    }

    fn load(
        self: &Arc<Self>,
        persistent: &Persistent,
        tree: &Arc<Tree>,
        built: &Built,
        handed_over: &Arc<AtomicBool>,
    ) -> Result<Load> {
        let mut batch = EncodedBatch::default();
        let first = built.tables.first().map(|table| table.meta());
        let last = built.tables.last().map(|table| table.meta());
        let rows = built.tables.iter().map(|table| table.meta().entries).sum();
        if let (Some(first), Some(last)) = (first, last) {
            batch.loaded(tree.id(), &first.smallest, &last.largest, rows)?;
        }
        Ok(Load {
            tree: Arc::clone(tree),
            batch,
            // The tables survive power loss, so what was committed before must, as with a flush.
            durability: if persistent.storage.capabilities().durable_sync {
                DurabilityMode::SyncData
            } else {
                DurabilityMode::Flush
            },
            guest: Box::new(Install {
                core: Arc::clone(self),
                tree: Arc::clone(tree),
                built: built.clone(),
                handed_over: Arc::clone(handed_over),
            }),
        })
    }
}

/// What is to be installed, by whoever leads.
#[derive(Debug)]
struct Install {
    core: Arc<Core>,
    tree: Arc<Tree>,
    built: Built,
    /// Set when it is begun: from then on the files are its business.
    handed_over: Arc<AtomicBool>,
}

impl Guest for Install {
    fn install(self: Box<Self>, at: Sequence, mode: Mode) -> Installing {
        Box::pin(async move {
            self.handed_over.store(true, Release);
            let Some(persistent) = &self.core.persistent else {
                return Ok(());
            };
            if let Err(error) = self.flush_beneath(persistent, mode).await {
                persistent.discard(&self.built, mode).await;
                return Err(error);
            }
            self.make_part(persistent, at, mode).await
        })
    }
}

impl Install {
    /// Flushes memtables, from the oldest on, up to the newest that says anything of the loaded keys.
    async fn flush_beneath(&self, persistent: &Persistent, mode: Mode) -> Result<()> {
        let meets = |buffer: &_| meets_memtable(buffer, &self.built.tables);
        if meets(&self.tree.pin().active) {
            self.tree.freeze();
        }
        let view = self.tree.pin();
        let Some(newest) = view.immutables.iter().position(|buffer| meets(buffer)) else {
            return Ok(());
        };
        for buffer in view.immutables[newest..].iter().rev() {
            self.core
                .flush_synced(persistent, &self.tree, buffer, mode)
                .await?;
        }
        Ok(())
    }

    async fn make_part(&self, persistent: &Persistent, at: Sequence, mode: Mode) -> Result<()> {
        let tables = self.built.tables.iter().map(|table| table.loaded_at(at));
        let built = Built {
            tables: tables.collect(),
            ..self.built.clone()
        };
        let (level, _claim) = self.place(persistent, &built);
        let mut changes = added(&self.tree, level, &built);
        let last = persistent.manifest.take().await.state().last_sequence();
        changes.push(Change::LastSequence {
            sequence: last.max(at),
        });
        persistent.install(changes, &built, mode).await?;
        self.tree.install_compaction(&VersionChange {
            removed: Vec::new(),
            added: built
                .tables
                .into_iter()
                .map(|table| (level, table))
                .collect(),
            blobs: built.blobs,
        });
        self.core.note_progress(&self.tree);
        Ok(())
    }

    /// The deepest level that can take the tables, with what keeps compactions from putting older data there or above;
    /// level 0 if that is in one's hands.
    fn place<'a>(
        &self,
        persistent: &'a Persistent,
        built: &Built,
    ) -> (usize, Option<ClaimGuard<'a>>) {
        let Some(span) = Span::hull(built.tables.iter().map(|table| table.meta())) else {
            return (0, None);
        };
        let (pick, claim) = persistent.claims.claim(self.tree.id(), |claimed| {
            let level = deepest(&self.tree.pin().version, &built.tables);
            let place = Compaction {
                inputs: Vec::new(),
                output_level: level,
                moves: true,
                part: Part::default(),
                span,
                beneath: Vec::new(),
                neighbours: Vec::new(),
                collects: Arc::default(),
            };
            if level == 0 || claimed.meets(&place) {
                Pick::Nothing
            } else {
                Pick::Job(place)
            }
        });
        match pick {
            Pick::Job(place) => (place.output_level, claim),
            _ => (0, None),
        }
    }
}

macro_rules! bulk_load_methods {
    () => {
        /// Puts all of `rows` as one commit, several times faster than batches do: they are built straight into tables. Rows may
        /// come in any order; of several with one key the last counts.
        ///
        /// The load is atomic: no reader sees part of it, and after a crash all of it is there or nothing. Snapshots from before do not
        /// see it, transactions that read any of its keys conflict with it, and commits that come while rows are gathered are older than
        /// it. In memory it is one batch, within the limits of those.
        ///
        /// # Errors
        /// As [`put`](Self::put), and nothing is loaded. Where it fails after its sequence was logged, as for want of space, that
        /// commit changes nothing.
        ///
        /// # Durability
        /// It survives power loss when the call returns, whatever the options say.
        ///
        /// # Cancellation
        /// A future that was never polled does nothing; after its first poll the load happens anyway. Closing the database ends it
        /// with [`Error::Closed`](crate::Error::Closed), and waits for `rows` to give the next row.
        ///
        /// # Cost
        /// Rows that ascend are written once. Others are sorted in memory, and on disk beyond
        /// [`BulkLoadOptions::memory_bytes`](crate::BulkLoadOptions::memory_bytes), which writes them twice. Commits wait for two
        /// syncs at the end; and for a flush, if the bucket's memtable has some of the keys by then.
        ///
        /// # Examples
        /// ```
        /// # fn main() -> trine_kv::Result<()> {
        /// use trine_kv::{Db, DbOptions};
        /// # trine_kv::block_on(async {
        /// # let home = tempfile::tempdir()?;
        /// # let path = home.path().join("data");
        /// let db = Db::open(&path).await?;
        /// let rows = (0..1000_u32).map(|number| (number.to_be_bytes(), "value"));
        /// let commit = db.bulk_load(rows).await?;
        /// assert_eq!(commit.sequence(), db.last_committed_sequence());
        /// assert_eq!(db.get(&7_u32.to_be_bytes()).await?.as_deref(), Some(&b"value"[..]));
        /// # Ok(())
        /// # })
        /// # }
        /// ```
        pub async fn bulk_load<R, K, V>(&self, rows: R) -> Result<CommitInfo>
        where
            R: IntoIterator<Item = (K, V)> + Send + 'static,
            K: AsRef<[u8]>,
            V: AsRef<[u8]>,
        {
            let tree = Arc::clone(self.keyspace().tree());
            let load = move |core: Arc<Core>| async move {
                let rows = rows.into_iter().map(Ok);
                core.bulk_load(&tree, rows, BulkLoadOptions::new(), Mode::Blocking)
                    .await
            };
            self.core().offload(load).await
        }

        /// [`bulk_load`](Self::bulk_load) on this thread.
        ///
        /// # Errors
        /// As [`bulk_load`](Self::bulk_load).
        pub fn bulk_load_sync<R, K, V>(&self, rows: R) -> Result<CommitInfo>
        where
            R: IntoIterator<Item = (K, V)>,
            K: AsRef<[u8]>,
            V: AsRef<[u8]>,
        {
            self.try_bulk_load_sync(rows.into_iter().map(Ok), BulkLoadOptions::new())
        }

        /// [`bulk_load`](Self::bulk_load) of rows that may fail to come, with options. The first error is returned, and nothing is
        /// loaded.
        ///
        /// # Errors
        /// As [`bulk_load`](Self::bulk_load), and what `rows` gives.
        ///
        /// # Durability
        /// As [`bulk_load`](Self::bulk_load).
        ///
        /// # Cost
        /// As [`bulk_load`](Self::bulk_load).
        pub async fn try_bulk_load<R, K, V>(
            &self,
            rows: R,
            options: BulkLoadOptions,
        ) -> Result<CommitInfo>
        where
            R: IntoIterator<Item = Result<(K, V)>> + Send + 'static,
            K: AsRef<[u8]>,
            V: AsRef<[u8]>,
        {
            let tree = Arc::clone(self.keyspace().tree());
            let load = move |core: Arc<Core>| async move {
                core.bulk_load(&tree, rows.into_iter(), options, Mode::Blocking)
                    .await
            };
            self.core().offload(load).await
        }

        /// [`try_bulk_load`](Self::try_bulk_load) on this thread.
        ///
        /// # Errors
        /// As [`try_bulk_load`](Self::try_bulk_load).
        pub fn try_bulk_load_sync<R, K, V>(
            &self,
            rows: R,
            options: BulkLoadOptions,
        ) -> Result<CommitInfo>
        where
            R: IntoIterator<Item = Result<(K, V)>>,
            K: AsRef<[u8]>,
            V: AsRef<[u8]>,
        {
            let (core, tree) = (self.core(), self.keyspace().tree());
            block_on(core.bulk_load(tree, rows.into_iter(), options, Mode::Blocking))
        }
    };
}

impl Db {
    bulk_load_methods!();
}

impl Bucket {
    bulk_load_methods!();
}
