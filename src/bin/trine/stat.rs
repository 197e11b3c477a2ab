//! What the database consists of, why space is not freed, what maintenance would do next.

use serde_json::{Value, json};
use trine_kv::explain::{BucketSpace, Garbage, NextCompaction};
use trine_kv::{Db, DbStats};

use crate::arguments::Place;
use crate::failure::Failure;
use crate::opening;
use crate::output::{self, Output};

pub(crate) fn show(asked: &Place, output: &mut Output) -> Result<(), Failure> {
    let db = opening::for_reading(asked, output)?;
    output.report(&report(asked, &db), |output| tell(&db, output))
}

/// All bytes of tables and blob files.
pub(crate) fn bytes(stats: &DbStats) -> u64 {
    stats.table_bytes + stats.live_blob_bytes + stats.stale_blob_bytes
}

pub(crate) fn report(place: &Place, db: &Db) -> Value {
    let stats = db.stats();
    let space = db.space();
    let levels: Vec<_> = stats
        .level_tables
        .iter()
        .map(|level| json!({ "level": level.level, "tables": level.tables, "bytes": level.bytes }))
        .collect();
    json!({
        "directory": place.directory,
        "writer": opening::writer_json(&place.directory),
        "last_sequence": db.last_committed_sequence().get(),
        "buckets": space.buckets.iter().map(bucket).collect::<Vec<_>>(),
        "tables": stats.total_tables,
        "table_bytes": stats.table_bytes,
        "levels": levels,
        "log_only_bytes": stats.memtable_bytes,
        "blob_files": stats.live_blob_files,
        "blob_bytes": stats.live_blob_bytes + stats.stale_blob_bytes,
        "stale_blob_bytes": stats.stale_blob_bytes,
    })
}

fn bucket(space: &BucketSpace) -> Value {
    let garbage = |garbage: &Garbage| json!({ "freeable_bytes": garbage.freeable_bytes, "pinned_bytes": garbage.pinned_bytes });
    let next = match &space.next {
        NextCompaction::Tables {
            levels,
            tables,
            bytes,
            to,
            moves,
            ..
        } => {
            json!({ "levels": levels, "tables": tables, "bytes": bytes, "to": to, "moves": moves })
        }
        _ => Value::Null,
    };
    json!({
        "name": space.name,
        "table_bytes": space.table_bytes,
        "blob_bytes": space.blob_bytes,
        "garbage": {
            "tombstones": space.tombstones,
            "range_tombstones": space.range_tombstones,
            "superseded": garbage(&space.superseded),
            "hidden_by_range_deletes": garbage(&space.hidden),
            "stale_blob_bytes": space.stale_blob_bytes,
        },
        "next_compaction": next,
    })
}

pub(crate) fn tell(db: &Db, output: &mut Output) -> Result<(), Failure> {
    let stats = db.stats();
    let space = db.space();
    let sequence = db.last_committed_sequence().get();
    output.line(format_args!("sequence         {sequence}"))?;
    output.line(format_args!(
        "in the log only  {}",
        output::bytes(stats.memtable_bytes)
    ))?;
    output.line(format_args!(
        "blob files       {} of {}",
        stats.live_blob_files,
        output::bytes(stats.live_blob_bytes + stats.stale_blob_bytes),
    ))?;
    let rows = stats.level_tables.iter().map(|level| {
        let tables = level.tables.to_string();
        vec![level.level.to_string(), tables, output::bytes(level.bytes)]
    });
    output.line("")?;
    output.table(&["level", "tables", "bytes"], &[1, 2], rows.collect())?;
    output.line("\nspace that merging frees, by estimate, and what would be merged next")?;
    let rows = space.buckets.iter().map(|space| {
        vec![
            space.name.clone(),
            output::bytes(space.table_bytes + space.blob_bytes),
            output::count(space.tombstones + space.range_tombstones),
            output::bytes(space.superseded.freeable_bytes),
            output::bytes(space.hidden.freeable_bytes),
            output::bytes(space.stale_blob_bytes),
            next(&space.next),
        ]
    });
    let heads = [
        "bucket",
        "bytes",
        "deletions",
        "old versions",
        "range-deleted",
        "stale in blob files",
        "next",
    ];
    output.table(&heads, &[1, 2, 3, 4, 5], rows.collect())
}

fn next(next: &NextCompaction) -> String {
    match next {
        NextCompaction::Tables {
            levels,
            tables,
            bytes,
            to,
            moves,
            ..
        } => {
            let what = if *moves { "move" } else { "merge" };
            let levels: Vec<_> = levels.iter().map(ToString::to_string).collect();
            format!(
                "{what} {tables} tables, {}, of level {} to {to}",
                output::bytes(*bytes),
                levels.join(", ")
            )
        }
        _ => "nothing is due".to_owned(),
    }
}
