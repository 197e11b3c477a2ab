//! Which values a compaction moves: what is stale once it is through is counted before it begins, from the
//! entries alone, so that no value is kept or moved on a guess.

use std::sync::Arc;

use trine_io::Mode;

use crate::blob::{BlobIndex, BlobPolicy, Liveness};
use crate::error::Result;
use crate::internal_key::Kind;
use crate::table::Table;
use crate::tree::merge::Drain;
use crate::tree::picker::StaleFiles;
use crate::tree::retention::Retention;
use crate::tree::version::Version;
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

/// What a compaction does with the blob files that its inputs refer to.
#[derive(Debug, Default)]
pub(crate) struct BlobPlan {
    /// Their values go to new files.
    pub(crate) moved: SortedSet<u64>,
    pub(crate) collected: Collected,
}

/// The blob files whose garbage is reason enough to rewrite a table that refers to them.
pub(crate) fn stale_files(version: &Version, policy: &BlobPolicy) -> StaleFiles {
    let mut stale = StaleFiles::default();
    if policy.moves_nothing() {
        return stale;
    }
    for share in version.blobs() {
        let meta = share.file.meta();
        let file = Liveness {
            file: meta.number,
            file_bytes: meta.bytes,
            value_bytes: meta.value_bytes,
            elsewhere_bytes: 0,
            kept_bytes: share.live_bytes,
        };
        // Without garbage there is nothing to gain, whatever the policy: so collecting ends.
        if file.stale_bytes() > 0 && !policy.moved(&[file]).is_empty() {
            stale.range.insert(file.file);
        }
        if policy.gc.is_some_and(|gc| gc.is_due(&file)) {
            stale.shape.insert(file.file);
        }
    }
    stale
}

/// Plans the compaction of `inputs`, which `entries` and `retention` describe.
/// With each input comes whether it goes with the compaction.
pub(crate) async fn plan(
    version: &Version,
    policy: &BlobPolicy,
    inputs: impl Iterator<Item = (bool, &Arc<Table>)>,
    entries: impl Fn() -> Drain,
    retention: &Retention,
    mode: Mode,
) -> Result<BlobPlan> {
    let mut used: SortedMap<u64, u64> = SortedMap::new();
    for (goes, table) in inputs {
        for file in table.meta().blobs.iter() {
            let bytes = if goes { file.value_bytes } else { 0 };
            *used.get_or_default(file.file) += bytes;
        }
    }
    if used.is_empty() || policy.moves_nothing() {
        return Ok(BlobPlan::default());
    }
    let kept = kept_bytes(entries(), retention.clone(), mode).await?;
    let files: Vec<_> = used
        .iter()
        .filter_map(|(number, used)| {
            let share = version.share(*number)?;
            let meta = share.file.meta();
            Some(Liveness {
                file: *number,
                file_bytes: meta.bytes,
                value_bytes: meta.value_bytes,
                elsewhere_bytes: share.live_bytes.saturating_sub(*used),
                kept_bytes: kept.get(number).copied().unwrap_or_default(),
            })
        })
        .collect();
    let mut collected = Collected::default();
    for file in &files {
        if policy.gc.is_some_and(|gc| gc.is_due(file)) {
            collected.runs = 1;
            collected.output_bytes += file.kept_bytes;
            // The rest of the file waits for the compaction that takes its last reference.
            if file.elsewhere_bytes == 0 {
                collected.input_bytes += file.value_bytes;
                collected.discarded_bytes += file.stale_bytes();
            }
        }
    }
    Ok(BlobPlan {
        moved: policy.moved(&files),
        collected,
    })
}

/// Bytes of the values that stay, by blob file.
async fn kept_bytes(
    mut all: Drain,
    mut retention: Retention,
    mode: Mode,
) -> Result<SortedMap<u64, u64>> {
    let mut kept: SortedMap<u64, u64> = SortedMap::new();
    loop {
        let Some(entry) = all.next(mode).await? else {
            return Ok(kept);
        };
        if retention.fate(&entry).stays() && entry.kind == Kind::Blob {
            let index = BlobIndex::decode(entry.value).map_err(|fault| fault.at("table", 0))?;
            *kept.get_or_default(index.file) += u64::from(index.value_bytes);
        }
    }
}
