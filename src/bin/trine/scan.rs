//! Rows of a range, printed or counted.

use serde_json::json;
use trine_kv::{Bucket, Direction, KeyRange, RowCursor};

use crate::arguments::{Count, Form, Listing, Place, Prefix, Scan};
use crate::failure::Failure;
use crate::opening;
use crate::output::{self, Output};
use crate::point;
use crate::progress;
use crate::rows::{Format, RowWriter};

pub(crate) fn scan(asked: &Scan, output: &mut Output) -> Result<(), Failure> {
    let range = point::range(&asked.form, &asked.range)?;
    print(&asked.place, &asked.form, &asked.listing, &range, output)
}

pub(crate) fn prefix(asked: &Prefix, output: &mut Output) -> Result<(), Failure> {
    let range = KeyRange::prefix(point::key(&asked.form, &asked.start)?);
    print(&asked.place, &asked.form, &asked.listing, &range, output)
}

fn print(
    place: &Place,
    form: &Form,
    listing: &Listing,
    range: &KeyRange,
    output: &mut Output,
) -> Result<(), Failure> {
    let db = opening::for_reading(place, output)?;
    let bucket = opening::bucket(&db, form.bucket.as_deref(), false)?;
    let direction = if listing.reverse {
        Direction::Reverse
    } else {
        Direction::Forward
    };
    let format = if output.json {
        Format::Jsonl
    } else {
        listing.format
    };
    let mut cursor = bucket.cursor(range, direction)?;
    let mut writer = RowWriter::new(format, form.keys, form.values, output.bytes())?;
    let mut left = listing.limit.unwrap_or(u64::MAX);
    while left > 0 && cursor.advance_sync()? {
        if listing.only_keys {
            writer.key(cursor.key())?;
        } else {
            writer.row(cursor.key(), cursor.value(), cursor.expires_millis())?;
        }
        left -= 1;
    }
    writer.finish()
}

pub(crate) fn count(asked: &Count, output: &mut Output) -> Result<(), Failure> {
    let range = point::range(&asked.form, &asked.range)?;
    let db = opening::for_reading(&asked.place, output)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), false)?;
    let mut rows: u64 = 0;
    let [mut key_bytes, mut value_bytes]: [u64; 2] = [0, 0];
    let bar = progress::of_things(output, "counting", most_rows(&bucket));
    let mut cursor: RowCursor = bucket.cursor(&range, Direction::Forward)?;
    while cursor.advance_sync()? {
        rows += 1;
        key_bytes += cursor.key().len() as u64;
        value_bytes += cursor.value().len() as u64;
        if rows.is_multiple_of(4096) {
            bar.set_position(rows);
        }
    }
    bar.finish_and_clear();
    let report = json!({ "rows": rows, "key_bytes": key_bytes, "value_bytes": value_bytes });
    output.report(&report, |output| output.line(rows))?;
    output.note(format_args!(
        "{} in keys, {} in values",
        output::bytes(key_bytes),
        output::bytes(value_bytes)
    ));
    Ok(())
}

/// No bucket has more rows than its tables have entries, unless there are more in its memtable.
pub(crate) fn most_rows(bucket: &Bucket) -> Option<u64> {
    let stats = bucket.stats();
    (stats.memtable_bytes == 0).then_some(stats.table_entries)
}
