//! Chosen tables -> one sorted run of new ones.

use std::sync::Arc;

use crate::direction::Direction;
use crate::error::Result;
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::{Counting, Table, TableCursor};
use crate::tree::Tree;
use crate::tree::blob_gc::{collected, merged_files};
use crate::tree::build::{BuildContext, Built, build_tables};
use crate::tree::covered::Older;
use crate::tree::folding::Folding;
use crate::tree::level::LevelCursor;
use crate::tree::merge::{Drain, Merge, Source};
use crate::tree::picker::Compaction;
use crate::tree::retention::{Beneath, Retention, is_deleted};
use crate::tree::split::Split;

/// A table may have this many times its own target in a blob file of its own.
const BLOB_FACTOR: u64 = 4;

/// At `pinned` somebody reads, or may begin to; up to `newest_pin` somebody does already.
///
/// Merges its part of `inputs`, the tables that `compaction` names, in its order, and drops what no pinned sequence
/// can see. Tables that are deleted as a whole are not read.
pub(crate) async fn compact(
    tree: &Tree,
    compaction: &Compaction,
    inputs: &[(usize, Arc<Table>)],
    target_bytes: u64,
    pinned: Vec<Sequence>,
    newest_pin: Sequence,
    context: BuildContext<'_>,
) -> Result<Built> {
    let mut tombstones = Vec::new();
    for (_, table) in inputs {
        if table.meta().range_tombstones > 0 {
            let open = table.open(context.mode).await?;
            tombstones.extend(open.tombstones().tombstones());
        }
    }
    let tombstones = Fragments::build(tombstones);
    let read: Vec<_> = inputs
        .iter()
        .filter(|(_, table)| {
            let meta = table.meta();
            compaction.part.meets(meta) && !is_deleted(meta, &tombstones, &pinned)
        })
        .collect();
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
    let mut separation = tree.separation(target_bytes.saturating_mul(BLOB_FACTOR));
    let policy = tree.blob_policy(context.blob_gc);
    let part = &compaction.part;
    separation.moved = merged_files(
        &separation.version,
        &policy,
        inputs.iter().map(|(_, table)| table),
    );
    separation.moved.extend(compaction.collects.iter().copied());
    let options = tree.table_options();
    let older = Older::beneath(&tree.pin().version, compaction.output_level, inputs);
    let folding = Folding::new(retention, tree.rules(), &separation).filtering(newest_pin);
    let entries = Drain::new(merge(&read, compaction.output_level), part.clone());
    let version = Arc::clone(&separation.version);
    let built = build_tables(
        context, &options, split, entries, folding, older, separation,
    )
    .await?;
    let mut read_bytes = 0;
    for (_, table) in &read {
        let bytes = table.bytes_within(&part.from, part.until.as_deref(), context.mode);
        read_bytes += bytes.await;
    }
    let gone = inputs
        .iter()
        .filter(|(level, _)| compaction.takes(*level))
        .map(|(_, table)| table);
    Ok(Built {
        collected: collected(&version, &policy, gone, &built),
        read_bytes,
        ..built
    })
}

/// All entries of the tables, which have the levels beside them.
fn merge(tables: &[&(usize, Arc<Table>)], output_level: usize) -> Merge {
    let mut sources = Vec::new();
    let mut sorted: Vec<Arc<Table>> = Vec::new();
    for (level, table) in tables {
        if *level > 0 && *level == output_level {
            sorted.push(Arc::clone(table));
        } else {
            let cursor = TableCursor::new(Arc::clone(table), Counting::Once);
            sources.push(Source::Table(cursor));
        }
    }
    if !sorted.is_empty() {
        sources.push(Source::Level(LevelCursor::new(sorted, Counting::Once)));
    }
    Merge::new(sources, Direction::Forward)
}
