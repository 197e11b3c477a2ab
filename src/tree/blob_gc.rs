//! Which blob files of a tree hold too much garbage, and what a compaction moves out of them.
//!
//! What is collected is decided once, when a compaction is picked: the picker is told which files are stale and hands their numbers on
//! with the job. So each job that is picked for a file takes its tables' values out of it. Values that the job finds superseded
//! are known of when the next one is picked.

use std::sync::Arc;

use crate::blob::{BlobPolicy, Liveness};
use crate::table::Table;
use crate::tree::build::Built;
use crate::tree::picker::StaleFiles;
use crate::tree::version::{BlobShare, Version};
use trine_platform::sorted::{SortedMap, SortedSet};

/// What collecting garbage came to, in bytes of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    /// Zero, or one for a compaction that rewrote a file for its garbage.
    pub(crate) runs: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    pub(crate) discarded_bytes: u64,
}

impl BlobShare {
    fn liveness(&self) -> Liveness {
        let meta = self.file.meta();
        Liveness {
            file: meta.number,
            file_bytes: meta.bytes,
            value_bytes: meta.value_bytes,
            live_bytes: self.live_bytes,
        }
    }
}

/// The blob files whose garbage is reason enough to rewrite the tables that refer to them.
pub(crate) fn stale_files(version: &Version, policy: &BlobPolicy) -> StaleFiles {
    if policy.moves_nothing() || version.blobs().is_empty() {
        return StaleFiles::default();
    }
    let files: Vec<_> = version.blobs().iter().map(BlobShare::liveness).collect();
    let due = policy.due(&files);
    let pressing = policy.pressing(&files);
    let waits = |file: &&u64| policy.waits() && !pressing.contains(file);
    let busy_due: Vec<_> = due.iter().filter(|file| !waits(file)).copied().collect();
    let mut busy = worth_it(version, pressing);
    busy.extend(busy_due);
    let mut shape = worth_it(version, policy.crowding(&files));
    shape.extend(due.iter().copied());
    let mut range = policy.untidy(&files);
    range.extend(shape.iter().copied());
    StaleFiles {
        busy: Arc::new(busy),
        shape: Arc::new(shape),
        range: Arc::new(range),
    }
}

/// The files, unless more would have to be written of the tables that refer to them than is garbage in them.
fn worth_it(version: &Version, files: SortedSet<u64>) -> SortedSet<u64> {
    let is_chosen = |number: u64| files.contains(&number);
    let refers = |table: &&Arc<Table>| table.meta().blobs.iter().any(|used| is_chosen(used.file));
    let tables = version.tables().filter(refers);
    let tables: u64 = tables.map(|table| table.meta().bytes).sum();
    let shares = version.blobs().iter();
    let chosen = shares.filter(|share| is_chosen(share.file.meta().number));
    let garbage: u64 = chosen.map(BlobShare::stale_bytes).sum();
    if tables <= garbage {
        files
    } else {
        SortedSet::new()
    }
}

/// Of the files that `inputs` refer to, those that a merge of them brings together.
pub(crate) fn merged_files<'a>(
    version: &Version,
    policy: &BlobPolicy,
    inputs: impl Iterator<Item = &'a Arc<Table>>,
) -> SortedSet<u64> {
    let used = inputs.flat_map(|table| table.meta().blobs.iter());
    let used: SortedSet<u64> = used.map(|used| used.file).collect();
    let shares = used.iter().filter_map(|number| version.share(*number));
    let files: Vec<_> = shares.map(BlobShare::liveness).collect();
    policy.merged(&files)
}

/// What a compaction collected that `built` this in the place of the tables `gone`.
pub(crate) fn collected<'a>(
    version: &Version,
    policy: &BlobPolicy,
    gone: impl Iterator<Item = &'a Arc<Table>>,
    built: &Built,
) -> Collected {
    let stays = built
        .tables
        .iter()
        .flat_map(|table| table.meta().blobs.iter());
    let stays: SortedSet<u64> = stays.map(|used| used.file).collect();
    let mut used: SortedMap<u64, u64> = SortedMap::new();
    for file in gone.flat_map(|table| table.meta().blobs.iter()) {
        *used.get_or_default(file.file) += file.value_bytes;
    }
    let mut collected = Collected::default();
    for (number, used) in used.iter().filter(|(number, _)| !stays.contains(number)) {
        let Some(share) = version.share(*number) else {
            continue;
        };
        let moved = built.moved.get(number).copied().unwrap_or_default();
        let elsewhere = share.live_bytes.saturating_sub(*used);
        // As the compaction left it: what it dropped is garbage, too.
        let file = Liveness {
            live_bytes: elsewhere.saturating_add(moved),
            ..share.liveness()
        };
        if policy.due(&[file]).is_empty() {
            continue;
        }
        collected.runs = 1;
        collected.output_bytes += moved;
        // The rest of the file waits for the compaction that takes its last reference.
        if elsewhere == 0 {
            collected.input_bytes += file.value_bytes;
            collected.discarded_bytes += file.stale_bytes();
        }
    }
    collected
}
