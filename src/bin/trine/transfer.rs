//! Rows to and from files, as a stream: memory does not grow with them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::json;
use trine_kv::{Db, Direction, DurabilityMode, WriteBatch, WriteOptions};

use crate::arguments::{Export, Import};
use crate::failure::Failure;
use crate::interrupt::{self, Awaited};
use crate::opening;
use crate::output::{self, Output};
use crate::point;
use crate::progress;
use crate::rows::{Columns, Format, Row, RowReader, RowWriter};
use crate::scan::most_rows;

/// A batch of an import holds at most so much.
const BATCH_ROWS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

pub(crate) fn export(asked: &Export, output: &mut Output) -> Result<(), Failure> {
    let format = format(asked.format, &asked.file, output.json)?;
    let range = point::range(&asked.form, &asked.range)?;
    if asked.all && !format.names_buckets() {
        return Err(Failure::Usage(
            "--all needs a format with room for the bucket: jsonl or binary".to_owned(),
        ));
    }
    let db = opening::for_reading(&asked.place, output)?;
    let buckets = if asked.all {
        opening::buckets(&db)?
    } else {
        vec![opening::bucket(&db, asked.form.bucket.as_deref(), false)?]
    };
    let most = buckets.iter().map(most_rows).sum::<Option<u64>>();
    let bar = progress::of_things(output, "exporting", most);
    let (mut rows, mut expiring) = (0, 0);
    let mut write_all = |target: &mut dyn Write| -> Result<(), Failure> {
        let (keys, values) = (asked.form.keys, asked.form.values);
        let mut writer = RowWriter::new(format, keys, values, target)?;
        for bucket in &buckets {
            if asked.all {
                writer.bucket(bucket.name().as_str());
            }
            let mut cursor = bucket.cursor(&range, Direction::Forward)?;
            while cursor.advance_sync()? {
                let expires = cursor.expires_millis();
                writer.row(cursor.key(), cursor.value(), expires)?;
                rows += 1;
                expiring += u64::from(expires.is_some());
                if rows % 4096 == 0 {
                    bar.set_position(rows);
                }
            }
        }
        writer.finish()
    };
    if is_standard(&asked.file) {
        write_all(output.bytes())?;
        bar.finish_and_clear();
        note_expiring(output, format, expiring);
        return Ok(());
    }
    // A file under its name is whole.
    let unfinished = asked.file.with_added_extension("unfinished");
    let debris = unfinished.clone();
    let remove = move || drop(std::fs::remove_file(debris));
    let written = interrupt::cleaning_up(remove.clone(), || {
        let file = File::create(&unfinished).map_err(|error| Failure::at(&unfinished, &error))?;
        let mut target = BufWriter::with_capacity(1 << 18, file);
        write_all(&mut target)?;
        let file = target
            .into_inner()
            .map_err(|error| Failure::from(error.into_error()))?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &asked.file).map_err(|error| Failure::at(&asked.file, &error))
    });
    if written.is_err() {
        remove();
    }
    written?;
    bar.finish_and_clear();
    note_expiring(output, format, expiring);
    let bytes = std::fs::metadata(&asked.file).map_or(0, |file| file.len());
    output.report(&json!({ "rows": rows, "bytes": bytes }), |output| {
        output.line(format_args!(
            "{} rows, {}",
            output::count(rows),
            output::bytes(bytes)
        ))
    })
}

/// What a file with columns leaves out.
fn note_expiring(output: &Output, format: Format, rows: u64) {
    if rows > 0 && !format.names_buckets() {
        output.note(format_args!(
            "{} rows expire, which this form does not say: jsonl and binary do",
            output::count(rows)
        ));
    }
}

pub(crate) fn import(asked: &Import, output: &mut Output) -> Result<(), Failure> {
    let format = format(asked.format, &asked.file, false)?;
    let _awaited = Awaited::begin();
    let (source, length): (Box<dyn Read>, _) = if is_standard(&asked.file) {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&asked.file).map_err(|error| Failure::at(&asked.file, &error))?;
        let length = file.metadata().ok().map(|file| file.len());
        (Box::new(file), length)
    };
    let bar = progress::of_bytes(output, "importing", length);
    let source = BufReader::with_capacity(
        1 << 18,
        Counted {
            source,
            bar: bar.clone(),
        },
    );
    let columns = Columns {
        header: asked.header,
        key: asked.key_column,
        value: asked.value_column,
    };
    let reader = RowReader::new(format, asked.form.keys, asked.form.values, columns, source)?;
    let db = opening::for_writing(&asked.place, asked.create)?;
    let started = Instant::now();
    let mut source = Source {
        reader,
        bar: bar.clone(),
        ahead: None,
        rows: 0,
        ended: None,
    };
    // Whatever ends the rows: those that were read are in the database then, and on the disk.
    load(&db, asked, &mut source)?;
    db.persist_sync(DurabilityMode::SyncAll)?;
    let (rows, ended) = (source.rows, source.ended.map_or(Ok(()), Err));
    bar.finish_and_clear();
    match ended {
        Ok(()) => {}
        Err(Failure::Interrupted(_)) => {
            return Err(Failure::Interrupted(format!(
                "interrupted; the first {} rows are in the database",
                output::count(rows)
            )));
        }
        Err(Failure::Input(why)) => {
            return Err(Failure::Input(format!(
                "{}: {why}; the {} rows before are in the database",
                asked.file.display(),
                output::count(rows)
            )));
        }
        Err(other) => return Err(other),
    }
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let sequence = db.last_committed_sequence().get();
    let report = json!({ "rows": rows, "milliseconds": milliseconds, "sequence": sequence });
    output.report(&report, |output| {
        let rate = rows.saturating_mul(1000) / milliseconds.max(1);
        let rate = output::count(rate);
        output.line(format_args!(
            "{} rows, {rate} a second",
            output::count(rows)
        ))
    })
}

fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn format(said: Option<Format>, file: &Path, json: bool) -> Result<Format, Failure> {
    let found = said
        .or(json.then_some(Format::Jsonl))
        .or_else(|| Format::of(file));
    found.ok_or_else(|| {
        Failure::Usage(format!(
            "{}: which format? Name it with --format: tsv, csv, jsonl or binary",
            file.display()
        ))
    })
}

/// Moves the bar as bytes are read.
struct Counted<R> {
    source: R,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

/// Rows of a file, until one cannot be read or Ctrl-C was hit.
struct Source<R: BufRead> {
    reader: RowReader<R>,
    bar: ProgressBar,
    /// Read already.
    ahead: Option<Row>,
    rows: u64,
    ended: Option<Failure>,
}

impl<R: BufRead> Source<R> {
    fn next(&mut self) -> Option<Row> {
        if let Some(row) = self.ahead.take() {
            return Some(row);
        }
        if self.ended.is_none() && interrupt::requested() {
            self.ended = Some(Failure::Interrupted(String::new()));
        }
        if self.ended.is_some() {
            return None;
        }
        match self.reader.next_row() {
            Ok(Some(row)) => {
                self.rows += 1;
                Some(row)
            }
            Ok(None) => None,
            Err(failure) => {
                self.ended = Some(failure);
                None
            }
        }
    }

    /// What one commit may hold, and whether there may be more.
    fn batch(&mut self) -> (Vec<Row>, bool) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = self.next() {
            bytes += row.key.len() + row.value.len();
            rows.push(row);
            if rows.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
                return (rows, true);
            }
        }
        (rows, false)
    }

    /// The rows that follow in the same bucket, and do not expire.
    fn rest_of<'s>(&'s mut self, bucket: Option<&'s str>) -> impl Iterator<Item = Row> + 's {
        std::iter::from_fn(move || {
            let row = self.next();
            if let Some(row) = row {
                if row.bucket.as_deref() == bucket && row.expires_millis.is_none() {
                    return Some(row);
                }
                self.ahead = Some(row);
            } else {
                self.bar.set_message("building tables");
            }
            None
        })
    }
}

/// Loads what `source` has: many rows of one bucket at once, others in batches.
fn load<R: BufRead>(db: &Db, asked: &Import, source: &mut Source<R>) -> Result<(), Failure> {
    let default = asked.form.bucket.as_deref();
    loop {
        let (rows, is_full) = source.batch();
        let Some(first) = rows.first() else {
            return Ok(());
        };
        let bucket = first.bucket.clone();
        let is_one_load = |row: &Row| row.bucket == bucket && row.expires_millis.is_none();
        if is_full && !asked.in_batches && rows.iter().all(is_one_load) {
            let target = opening::bucket(db, bucket.as_deref().or(default), true)?;
            let rest = source.rest_of(bucket.as_deref());
            let rows = rows.into_iter().chain(rest);
            target.bulk_load_sync(rows.map(|row| (row.key, row.value)))?;
            continue;
        }
        let mut batch = WriteBatch::new();
        for row in rows {
            let name = row.bucket.as_deref().or(default);
            let name = name.filter(|name| *name != "default");
            if name.is_some() {
                opening::bucket(db, name, true)?;
            }
            match (name, row.expires_millis) {
                (None, None) => batch.put(row.key, row.value),
                (None, Some(at)) => batch.put_until(row.key, row.value, at),
                (Some(name), None) => batch.put_bucket(name, row.key, row.value)?,
                (Some(name), Some(at)) => batch.put_until_bucket(name, row.key, row.value, at)?,
            }
        }
        db.write_sync(batch, WriteOptions::buffered())?;
    }
}
