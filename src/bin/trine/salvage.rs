//! What is left of a damaged database, into a new one.

use serde_json::{Value, json};
use trine_kv::salvage::{self, Loss, SalvageOptions, SalvageReport};

use crate::arguments::Salvage;
use crate::failure::Failure;
use crate::interrupt;
use crate::opening;
use crate::output::{self, Output};
use crate::progress;
use crate::text::shortened;

/// Longer keys are cut in what people read.
const SHOWN_BYTES: usize = 40;

pub(crate) fn salvage(asked: &Salvage, output: &mut Output) -> Result<(), Failure> {
    let directory = &asked.place.directory;
    opening::check_database(directory)?;
    if let Some(writer) = opening::writer(directory) {
        return Err(Failure::Locked(format!(
            "{}: {writer} has the database open for writing",
            directory.display()
        )));
    }
    let mut options = SalvageOptions::default();
    if let Some(bucket) = &asked.unknown_into {
        options = options.with_unknown_rows_into(bucket);
    }
    let bar = progress::of_things(output, "saving rows", None);
    let existed = asked.target.exists();
    let target = asked.target.clone();
    // Half of what can be saved must not be taken for all of it.
    let cleanup = move || {
        if !existed {
            interrupt::remove_directory(&target);
        }
    };
    let report = interrupt::cleaning_up(cleanup, || {
        salvage::salvage_sync(directory, &asked.target, &options, |far| {
            bar.set_position(far.rows);
        })
    })?;
    bar.finish_and_clear();
    output.report(&json_of(&report), |output| tell(&report, output))
}

fn json_of(report: &SalvageReport) -> Value {
    let buckets: Vec<_> = report
        .buckets
        .iter()
        .map(|bucket| {
            json!({
                "name": bucket.name,
                "rows": bucket.rows,
                "tables": bucket.tables,
                "is_known": bucket.is_known,
            })
        })
        .collect();
    json!({
        "rows": report.rows(),
        "lost_rows": report.lost_rows(),
        "manifest_complete": report.manifest_complete,
        "buckets": buckets,
        "losses": report.losses.iter().map(loss).collect::<Vec<_>>(),
    })
}

fn loss(loss: &Loss) -> Value {
    json!({
        "file": loss.file,
        "offset": loss.offset,
        "bytes": loss.bytes,
        "what": loss.what,
        "fault": loss.fault,
        "bucket": loss.bucket,
        "keys_after": loss.keys.as_ref().map(|(after, _)| output::json_bytes(after)),
        "keys_through": loss.keys.as_ref().map(|(_, last)| output::json_bytes(last)),
        "costs_rows": loss.costs_rows,
    })
}

fn tell(report: &SalvageReport, output: &mut Output) -> Result<(), Failure> {
    for bucket in &report.buckets {
        let origin = if bucket.is_known {
            ""
        } else {
            "  (nothing told whose these are)"
        };
        output.line(format_args!(
            "{}: {} rows from {} tables and the log{origin}",
            bucket.name,
            output::count(bucket.rows),
            bucket.tables
        ))?;
    }
    for loss in &report.losses {
        let keys = match &loss.keys {
            None => String::new(),
            Some((after, last)) if after.is_empty() => {
                format!(", keys through {}", shortened(last, SHOWN_BYTES))
            }
            Some((after, last)) => format!(
                ", keys after {} through {}",
                shortened(after, SHOWN_BYTES),
                shortened(last, SHOWN_BYTES)
            ),
        };
        let cost = if loss.costs_rows {
            "lost"
        } else {
            "damaged, costs no rows"
        };
        output.line(format_args!(
            "{cost}: {} at {}: {}{keys}: {}",
            loss.file, loss.offset, loss.what, loss.fault
        ))?;
    }
    if report.losses.is_empty() {
        output.line("nothing was lost")?;
    }
    if !report.manifest_complete {
        output.note("the manifest is damaged: rows that were deleted or overwritten may be back");
    }
    Ok(())
}
