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
use crate::tree::retention::{Beneath, Retention, is_deleted};
use crate::tree::split::Split;

/// Merges `inputs`, the tables that `compaction` names, in its order, and drops what no pinned sequence
/// can see. Tables that are deleted as a whole are not read.
pub(crate) async fn compact(
    tree: &Tree,
    compaction: &Compaction,
    inputs: &[(usize, Arc<Table>)],
    target_bytes: u64,
    pinned: Vec<Sequence>,
    context: BuildContext<'_>,
) -> Result<Vec<Arc<Table>>> {
    let mut tombstones = Vec::new();
    for (_, table) in inputs {
        if table.meta().range_tombstones > 0 {
            let open = table.open(context.mode).await?;
            tombstones.extend(open.tombstones().tombstones());
        }
    }
    let tombstones = Fragments::build(tombstones);
    let mut sources = Vec::new();
    let mut sorted: Vec<Arc<Table>> = Vec::new();
    let read = inputs
        .iter()
        .filter(|(_, table)| !is_deleted(table.meta(), &tombstones, &pinned));
    for (level, table) in read {
        if *level > 0 && *level == compaction.output_level {
            sorted.push(Arc::clone(table));
        } else {
            let cursor = TableCursor::new(Arc::clone(table), Counting::Nothing);
            sources.push(Source::Table(cursor));
        }
    }
    if !sorted.is_empty() {
        sources.push(Source::Level(LevelCursor::new(sorted, Counting::Nothing)));
    }
    // Within level 0 older tables stay where they are.
    let (split, beneath) = if compaction.output_level == 0 {
        (Split::never(), Beneath::Anything)
    } else {
        (
            Split::new(target_bytes, compaction.neighbours.clone()),
            Beneath::Spans(compaction.beneath.clone()),
        )
    };
    let retention = Retention::new(pinned, beneath, tombstones);
    let merge = Merge::new(sources, Direction::Forward);
    build_tables(context, &tree.table_options(), split, merge, retention).await
}
