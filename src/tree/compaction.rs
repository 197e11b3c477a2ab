//! Chosen tables -> one sorted run of new ones.

use std::sync::Arc;

use crate::blob::BlobPolicy;
use crate::direction::Direction;
use crate::error::Result;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::{Counting, TableCursor};
use crate::tree::Tree;
use crate::tree::blob_gc::plan;
use crate::tree::build::{BuildContext, Built, build_tables};
use crate::tree::level::LevelCursor;
use crate::tree::merge::{Merge, Source};
use crate::tree::picker::Compaction;
use crate::tree::retention::Retention;

/// A table may have this many times its own target in a blob file of its own.
const BLOB_FACTOR: u64 = 4;

/// Merges the inputs, dropping what no pinned sequence can see. The output level is the last one, and
/// the inputs hold everything of it that they overlap: tombstones end here.
pub(crate) async fn compact(
    tree: &Tree,
    compaction: &Compaction,
    target_bytes: u64,
    pinned: Vec<Sequence>,
    context: BuildContext<'_>,
) -> Result<Built> {
    let tombstones = Fragments::build(
        compaction
            .inputs
            .iter()
            .flat_map(|(_, table)| table.tombstones().tombstones()),
    );
    let retention = Retention::new(pinned, true, tombstones);
    let mut separation = tree.separation(target_bytes.saturating_mul(BLOB_FACTOR));
    let policy = BlobPolicy {
        merge: tree.options().blob_level_merge_policy,
        gc: context.blob_gc,
    };
    let plan = plan(
        &separation.version,
        &policy,
        compaction.inputs.iter().map(|(_, table)| table),
        merge(compaction),
        retention.clone(),
        context.mode,
    )
    .await?;
    separation.moved = plan.moved;
    let built = build_tables(
        context,
        &tree.table_options(),
        target_bytes,
        merge(compaction),
        retention,
        separation,
    )
    .await?;
    Ok(Built {
        collected: plan.collected,
        ..built
    })
}

/// All entries of the inputs.
fn merge(compaction: &Compaction) -> Merge {
    let mut sources = Vec::new();
    let mut sorted = Vec::new();
    for (level, table) in &compaction.inputs {
        if *level == compaction.output_level {
            sorted.push(Arc::clone(table));
        } else {
            let cursor = TableCursor::new(Arc::clone(table), Counting::Nothing);
            sources.push(Source::Table(cursor));
        }
    }
    if !sorted.is_empty() {
        sources.push(Source::Level(LevelCursor::new(sorted, Counting::Nothing)));
    }
    Merge::new(sources, Direction::Forward)
}
