//! Why space is not freed: who reads old versions, what is garbage and why, what maintenance does next.

use std::time::Duration;

use crate::db::{Core, Db};
use crate::sequence::Sequence;
use crate::table::Freeable;
use crate::tree::Tree;
use crate::tree::picker::{Goal, Pick};
use crate::tree::version::Version;

/// What takes space, and what keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpaceReport {
    /// The sequences that somebody reads at, oldest first: nothing that they see is freed.
    pub pins: Vec<PinnedSequence>,
    /// Each bucket, by name.
    pub buckets: Vec<BucketSpace>,
    /// Files that are not part of the database any more and wait for readers that still have them.
    pub obsolete_files: usize,
}

/// A sequence that somebody reads at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PinnedSequence {
    /// Which.
    pub sequence: Sequence,
    /// By how many snapshots, iterators, readers and transactions.
    pub readers: usize,
    /// How many commits there were since.
    pub commits_since: u64,
    /// For how long at least: since the first flush, compaction or report that met it. Reads that are over soon are never
    /// timed.
    pub held_for: Duration,
}

/// The space of one bucket. Estimates where it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketSpace {
    /// Its name.
    pub name: String,
    /// Bytes of its tables.
    pub table_bytes: u64,
    /// Bytes of values in its blob files that something refers to.
    pub blob_bytes: u64,
    /// Of its tables' entries, those that delete a key.
    pub tombstones: u64,
    /// Range deletes in its tables, one for each part of each.
    pub range_tombstones: u64,
    /// Versions that were kept for readers who are gone.
    pub superseded: Garbage,
    /// What range deletes hide in older tables.
    pub hidden: Garbage,
    /// Values in blob files that nothing refers to.
    pub stale_blob_bytes: u64,
    /// Memtables that wait to be flushed.
    pub immutable_memtables: usize,
    /// What is merged next.
    pub next: NextCompaction,
}

/// Bytes that take space for nothing, by estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Garbage {
    /// What merging frees.
    pub freeable_bytes: u64,
    /// What merging frees once pinned sequences are gone.
    pub pinned_bytes: u64,
}

impl Garbage {
    fn add(&mut self, freeable: &Freeable, oldest_pin: Option<Sequence>) {
        let free = freeable.free_bytes(oldest_pin);
        self.freeable_bytes = self.freeable_bytes.saturating_add(free);
        let rest = freeable.bytes.saturating_sub(free);
        self.pinned_bytes = self.pinned_bytes.saturating_add(rest);
    }
}

/// The compaction that is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextCompaction {
    /// Nothing is.
    #[default]
    Nothing,
    /// One is, and waits for another that runs.
    Waiting,
    /// These tables.
    #[non_exhaustive]
    Tables {
        /// From which levels.
        levels: Vec<usize>,
        /// How many.
        tables: usize,
        /// Their bytes.
        bytes: u64,
        /// To which level.
        to: usize,
        /// Whether they only change their level, without being rewritten.
        moves: bool,
    },
}

impl Db {
    /// Why space is not freed, and what would be merged next under the options of this opening. May be called at any time.
    ///
    /// # Cost
    /// Walks the list of tables; no I/O.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// let db = Db::open_sync(DbOptions::memory())?;
    /// let snapshot = db.snapshot();
    /// db.put_sync("key", "value")?;
    /// let space = db.space();
    /// assert_eq!(space.pins[0].sequence, snapshot.read_sequence());
    /// assert_eq!(space.pins[0].commits_since, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn space(&self) -> SpaceReport {
        self.core().space()
    }
}

impl Core {
    fn space(&self) -> SpaceReport {
        let newest = self.commits.visible();
        let pins = self.pins.held(trine_platform::clock::now());
        let oldest = pins.first().map(|pin| pin.sequence);
        let trees = self.trees.load();
        let mut buckets: Vec<_> = trees
            .iter()
            .map(|tree| self.space_of(tree, oldest))
            .collect();
        buckets.sort_by(|left, right| left.name.cmp(&right.name));
        SpaceReport {
            pins: pins
                .into_iter()
                .map(|pin| PinnedSequence {
                    sequence: pin.sequence,
                    readers: pin.readers,
                    commits_since: newest.get().saturating_sub(pin.sequence.get()),
                    held_for: pin.held_for,
                })
                .collect(),
            buckets,
            obsolete_files: self
                .persistent
                .as_ref()
                .map_or(0, super::Persistent::obsolete_count),
        }
    }

    fn space_of(&self, tree: &Tree, oldest_pin: Option<Sequence>) -> BucketSpace {
        let view = tree.pin();
        let mut space = BucketSpace {
            name: tree.name().to_owned(),
            immutable_memtables: view.immutables.len(),
            ..BucketSpace::default()
        };
        for table in view.version.tables() {
            let meta = table.meta();
            space.table_bytes += meta.bytes;
            let points = meta.tombstones.saturating_sub(meta.range_tombstones);
            space.tombstones += points;
            space.range_tombstones += meta.range_tombstones;
            space.superseded.add(&meta.superseded, oldest_pin);
            space.hidden.add(&meta.covered, oldest_pin);
        }
        for share in view.version.blobs() {
            space.blob_bytes += share.live_bytes;
            space.stale_blob_bytes += share.stale_bytes();
        }
        space.next = next(&self.pick_next(tree, &Goal::Shape), &view.version);
        space
    }
}

fn next(pick: &Pick, version: &Version) -> NextCompaction {
    match pick {
        Pick::Nothing => NextCompaction::Nothing,
        Pick::Blocked => NextCompaction::Waiting,
        Pick::Job(compaction) => {
            let inputs = compaction.inputs.iter();
            let mut levels: Vec<_> = inputs.clone().map(|(level, _)| *level).collect();
            levels.dedup();
            NextCompaction::Tables {
                levels,
                tables: compaction.inputs.len(),
                bytes: inputs
                    .filter_map(|(level, number)| version.table(*level, *number))
                    .map(|table| table.meta().bytes)
                    .sum(),
                to: compaction.output_level,
                moves: compaction.moves,
            }
        }
    }
}
