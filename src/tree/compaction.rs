//! Chosen tables -> one sorted run of new ones.

use std::sync::Arc;

use crate::direction::Direction;
use crate::error::Result;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::{Counting, Table, TableCursor};
use crate::tree::Tree;
use crate::tree::build::{BuildContext, build_tables};
use crate::tree::level::LevelCursor;
use crate::tree::merge::{Merge, Source};
use crate::tree::picker::Compaction;
use crate::tree::retention::Retention;

/// Merges the inputs, dropping what no pinned sequence can see. The output level is the last one, and
/// the inputs hold everything of it that they overlap: tombstones end here.
pub(crate) async fn compact(
    tree: &Tree,
    compaction: &Compaction,
    target_bytes: u64,
    pinned: Vec<Sequence>,
    context: BuildContext<'_>,
) -> Result<Vec<Arc<Table>>> {
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
    let mut tombstones = Vec::new();
    for (_, table) in &compaction.inputs {
        if table.meta().range_tombstones > 0 {
            let open = table.open(context.mode).await?;
            tombstones.extend(open.tombstones().tombstones());
        }
    }
    let tombstones = Fragments::build(tombstones);
    let retention = Retention::new(pinned, true, tombstones);
    let merge = Merge::new(sources, Direction::Forward);
    build_tables(
        context,
        &tree.table_options(),
        target_bytes,
        merge,
        retention,
    )
    .await
}
