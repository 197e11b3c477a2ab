//! Flushes, compactions, checks and copies of whole databases.

use serde_json::json;
use trine_kv::{KeyRange, MaintenanceBudget};

use crate::arguments::{Checkpoint, Compact, Place};
use crate::failure::Failure;
use crate::interrupt::{self, Awaited};
use crate::opening;
use crate::output::{self, Output};
use crate::progress;
use crate::stat;

pub(crate) fn flush(asked: &Place, output: &mut Output) -> Result<(), Failure> {
    let db = opening::for_writing(asked, false)?;
    db.flush_sync()?;
    let sequence = db.last_committed_sequence().get();
    output.report(&json!({ "sequence": sequence }), |_| Ok(()))
}

pub(crate) fn compact(asked: &Compact, output: &mut Output) -> Result<(), Failure> {
    let _awaited = Awaited::begin();
    let db = opening::for_writing(&asked.place, false)?;
    let size = || stat::bytes(&db.stats());
    db.flush_sync()?;
    let before = size();
    let mut steps: u64 = 0;
    let bar = progress::of_things(output, "compacting", None);
    let unit = MaintenanceBudget::single_unit();
    let mut step = |outcome: trine_kv::MaintenanceOutcome| {
        steps += outcome.compactions as u64;
        bar.set_position(steps);
        if interrupt::requested() {
            return Err(Failure::Interrupted(format!(
                "interrupted after {steps} merges; all data is there, the rest can be merged later"
            )));
        }
        Ok(outcome.budget_exhausted && outcome.made_progress())
    };
    if asked.due {
        while step(db.run_maintenance_with_budget_sync(unit)?)? {}
    } else {
        while step(db.compact_range_with_budget_sync(KeyRange::all(), unit)?)? {}
    }
    bar.finish_and_clear();
    let after = size();
    let report = json!({ "merges": steps, "bytes_before": before, "bytes_after": after });
    output.report(&report, |output| {
        output.line(format_args!(
            "{} merges; {} before, {} now",
            steps,
            output::bytes(before),
            output::bytes(after)
        ))
    })
}

pub(crate) fn verify(asked: &Place, output: &mut Output) -> Result<(), Failure> {
    let _awaited = Awaited::begin();
    // Opening reads the manifest and the whole log, and checks both.
    let db = opening::for_reading(asked, output)?;
    let bar = progress::of_bytes(output, "verifying", Some(db.stats().table_bytes));
    let verified = db.verify_sync(|report| {
        bar.set_position(report.bytes);
        // Nothing was changed, so nothing has to be put right.
        if interrupt::requested() {
            std::process::exit(130);
        }
    });
    bar.finish_and_clear();
    let report = verified?;
    let json = json!({
        "tables": report.tables,
        "bytes": report.bytes,
        "entries": report.entries,
        "blob_values": report.blob_values,
        "blob_bytes": report.blob_bytes,
        "damage": null,
    });
    output.report(&json, |output| {
        output.line(format_args!(
            "no damage: {} tables of {} with {} entries, {} values of {} in blob files, and the log",
            report.tables,
            output::bytes(report.bytes),
            output::count(report.entries),
            output::count(report.blob_values),
            output::bytes(report.blob_bytes)
        ))
    })
}

pub(crate) fn checkpoint(asked: &Checkpoint, output: &mut Output) -> Result<(), Failure> {
    let db = opening::for_writing(&asked.place, false)?;
    let existed = asked.target.exists();
    let target = asked.target.clone();
    // Half a copy is not left behind: it would open as nothing but an error.
    let cleanup = move || {
        if !existed {
            interrupt::remove_directory(&target);
        }
    };
    let sequence = interrupt::cleaning_up(cleanup, || db.checkpoint_sync(&asked.target))?;
    let json = json!({ "sequence": sequence.get(), "directory": asked.target });
    output.report(&json, |output| {
        output.line(format_args!("copied as of sequence {}", sequence.get()))
    })
}
