//! Large values of a group go to blob files before the group is logged; the log and the memtables get where they lie.
//!
//! - A value lies in the file of the memtable that its entry goes to. A memtable gets one when it already holds something, so
//!   that few values make no files, and when one is ready: until then values go the way of all others, through the log.
//! - What was handed to the operating system for a group that fails is garbage in its file, and counted as such.

use std::sync::Arc;

use trine_io::Mode;

use crate::blob::{BlobIndex, GrowingFile};
use crate::commit::group::{GroupContext, Stop};
use crate::commit::supply::LogSupply;
use crate::commit::{Commit, Touched};
use crate::error::Result;
use crate::manifest::BucketId;
use crate::sequence::Sequence;
use crate::tree::{Tree, WRITTEN_ONCE_BYTES};
use crate::wal::LogWriter;

/// A memtable gets a file of values when it holds this part of what it may.
const FILLED_DIVISOR: usize = 64;

/// Whether some value may be for a blob file.
pub(super) fn has_large_values(context: &GroupContext, commit: &Commit) -> bool {
    let longest = commit.batch.value_bytes_max();
    let is_long = |tree: &Arc<Tree>| {
        let least = tree.written_once_bytes();
        least.is_some_and(|least| longest >= least)
    };
    context.places_values && longest >= WRITTEN_ONCE_BYTES && commit.trees.iter().any(is_long)
}

/// Brings the large values of those of `commits` that go by `results` to blob files.
pub(super) async fn place_values(
    context: &GroupContext,
    log: &mut LogWriter,
    supply: &Arc<LogSupply>,
    commits: &mut [Commit],
    results: &[Result<Sequence>],
    mode: Mode,
) -> std::result::Result<(), Stop> {
    let mut files = Files {
        supply,
        filled_bytes: context
            .write_buffer_bytes
            .map_or(usize::MAX, |bytes| bytes / FILLED_DIVISOR),
        used: Vec::new(),
    };
    for (commit, result) in commits.iter_mut().zip(results) {
        if result.is_err() || !has_large_values(context, commit) {
            continue;
        }
        let trees = &commit.trees;
        let placed = commit
            .batch
            .with_blobs(|bucket, value| files.place(trees, bucket, value));
        commit.batch = placed?;
        files.write(false, mode).await?;
    }
    files.write(true, mode).await?;
    for file in &files.used {
        log.note_values(file);
    }
    Ok(())
}

/// The files that a group writes to.
struct Files<'a> {
    supply: &'a Arc<LogSupply>,
    filled_bytes: usize,
    used: Vec<Arc<GrowingFile>>,
}

impl Files<'_> {
    /// Puts the value into the file of its memtable, if it is for one and there is one.
    fn place(&mut self, trees: &Touched, bucket: BucketId, value: &[u8]) -> Option<BlobIndex> {
        let tree = trees.iter().find(|tree| tree.id() == bucket)?;
        if value.len() < tree.written_once_bytes()? {
            return None;
        }
        let file = tree.values_of_active(|filled| {
            let ready = filled >= self.filled_bytes;
            ready.then(|| self.supply.take_values()).flatten()
        })?;
        let index = file.add(value)?;
        if !self.used.iter().any(|used| Arc::ptr_eq(used, &file)) {
            self.used.push(file);
        }
        Some(index)
    }

    /// Hands over what waits: all of it, or where much does.
    async fn write(&self, all: bool, mode: Mode) -> std::result::Result<(), Stop> {
        for file in &self.used {
            if (all || file.is_due())
                && let Err(error) = file.write(mode).await
            {
                // Nothing refers to it.
                let for_ever = false;
                return Err(Stop { error, for_ever });
            }
        }
        Ok(())
    }
}
