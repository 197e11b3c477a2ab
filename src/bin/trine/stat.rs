//! What the database consists of.

use serde_json::json;

use crate::arguments::Place;
use crate::failure::Failure;
use crate::opening;
use crate::output::{self, Output};

pub(crate) fn show(asked: &Place, output: &mut Output) -> Result<(), Failure> {
    let db = opening::for_reading(&asked.directory, output)?;
    let stats = db.stats();
    let levels: Vec<_> = stats
        .level_tables
        .iter()
        .map(|level| json!({ "level": level.level, "tables": level.tables, "bytes": level.bytes }))
        .collect();
    let blob_bytes = stats.live_blob_bytes + stats.stale_blob_bytes;
    let report = json!({
        "directory": asked.directory,
        "writer": opening::writer_json(&asked.directory),
        "last_sequence": db.last_committed_sequence().get(),
        "buckets": stats.live_buckets,
        "tables": stats.total_tables,
        "table_bytes": stats.table_bytes,
        "levels": levels,
        "log_only_bytes": stats.memtable_bytes,
        "blob_files": stats.live_blob_files,
        "blob_bytes": blob_bytes,
        "stale_blob_bytes": stats.stale_blob_bytes,
    });
    output.report(&report, |output| {
        output.line(format_args!(
            "sequence        {}",
            db.last_committed_sequence().get()
        ))?;
        output.line(format_args!("buckets         {}", stats.live_buckets))?;
        output.line(format_args!(
            "in the log only {}",
            output::bytes(stats.memtable_bytes)
        ))?;
        output.line(format_args!(
            "blob files      {} of {}, {} of it stale",
            stats.live_blob_files,
            output::bytes(blob_bytes),
            output::bytes(stats.stale_blob_bytes)
        ))?;
        let rows = stats.level_tables.iter().map(|level| {
            vec![
                level.level.to_string(),
                level.tables.to_string(),
                output::bytes(level.bytes),
            ]
        });
        output.table(&["level", "tables", "bytes"], &[1, 2], rows.collect())
    })
}
