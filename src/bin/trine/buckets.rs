//! The list of buckets.

use serde_json::{Value, json};

use crate::arguments::Place;
use crate::failure::Failure;
use crate::opening;
use crate::output::{self, Output};

pub(crate) fn list(asked: &Place, output: &mut Output) -> Result<(), Failure> {
    let db = opening::for_reading(asked, output)?;
    let mut reports = Vec::new();
    let mut rows = Vec::new();
    for bucket in opening::buckets(&db)? {
        let stats = bucket.stats();
        let options = bucket.options();
        let blob_bytes = stats.live_blob_bytes + stats.stale_blob_bytes;
        reports.push(json!({
            "name": bucket.name().as_str(),
            "tables": stats.tables,
            "table_bytes": stats.table_bytes,
            "table_entries": stats.table_entries,
            "blob_files": stats.blob_files,
            "blob_bytes": blob_bytes,
            "memtable_bytes": stats.memtable_bytes,
            "options": {
                "compression": format!("{:?}", options.compression).to_lowercase(),
                "block_bytes": options.block_bytes,
                "filter_policy": format!("{:?}", options.filter_policy),
                "prefix_extractor": format!("{:?}", options.prefix_extractor),
                "blob_threshold_bytes": options.blob_threshold_bytes,
                "merge_operator": options.merge_operator,
            },
        }));
        rows.push(vec![
            bucket.name().as_str().to_owned(),
            stats.tables.to_string(),
            output::bytes(stats.table_bytes),
            output::count(stats.table_entries),
            output::bytes(blob_bytes),
            output::bytes(stats.memtable_bytes),
            format!("{:?}", options.compression).to_lowercase(),
            options.merge_operator.clone().unwrap_or_default(),
        ]);
    }
    output.report(&Value::from(reports), |output| {
        let heads = [
            "bucket",
            "tables",
            "bytes",
            "entries",
            "in blob files",
            "in memory",
            "compression",
            "merges with",
        ];
        output.table(&heads, &[1, 2, 3, 4, 5], rows)
    })
}
