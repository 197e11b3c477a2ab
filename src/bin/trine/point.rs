//! One key: read, written, deleted.

use std::io::{Read, Write, stdin};

use serde_json::json;
use trine_kv::{KeyRange, WriteOptions};

use crate::arguments::{Delete, Form, Get, Put, Range};
use crate::failure::Failure;
use crate::opening;
use crate::output::Output;
use crate::rows::json_cell;
use crate::text::{Encoding, readable};

pub(crate) fn get(asked: &Get, output: &mut Output) -> Result<(), Failure> {
    let key = key(&asked.form, &asked.key)?;
    let db = opening::for_reading(&asked.place.directory, output)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), false)?;
    let Some(value) = bucket.get_sync(&key)? else {
        return Err(Failure::NotFound(format!("not found: {}", readable(&key))));
    };
    if output.json {
        let mut row = json!({ "bucket": bucket.name().as_str() });
        json_cell(&mut row, "key", asked.form.keys, &key);
        json_cell(&mut row, "value", asked.form.values, &value);
        return output.line(row);
    }
    let mut text = Vec::new();
    asked.form.values.encode(&value, &mut text);
    // Raw is for files and other programs.
    if asked.form.values != Encoding::Raw {
        text.push(b'\n');
    }
    output.bytes().write_all(&text)?;
    Ok(())
}

pub(crate) fn put(asked: &Put, output: &mut Output) -> Result<(), Failure> {
    let key = key(&asked.form, &asked.key)?;
    let value = match asked.value.as_deref() {
        None | Some("-") => {
            let mut value = Vec::new();
            stdin().lock().read_to_end(&mut value)?;
            value
        }
        Some(text) => decoded("value", asked.form.values, text)?,
    };
    let db = opening::for_writing(&asked.place.directory, asked.create)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), asked.create)?;
    let commit = bucket.put_with_options_sync(key, value, WriteOptions::sync_all())?;
    tell_commit(output, commit.sequence().get())
}

pub(crate) fn delete(asked: &Delete, output: &mut Output) -> Result<(), Failure> {
    let options = WriteOptions::sync_all();
    let range = range(&asked.form, &asked.range)?;
    let key = asked
        .key
        .as_deref()
        .map(|text| key(&asked.form, text))
        .transpose()?;
    let db = opening::for_writing(&asked.place.directory, false)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), false)?;
    let commit = match key {
        Some(key) => bucket.delete_with_options_sync(key, options)?,
        None => bucket.delete_range_with_options_sync(range, options)?,
    };
    tell_commit(output, commit.sequence().get())
}

fn tell_commit(output: &mut Output, sequence: u64) -> Result<(), Failure> {
    output.report(&json!({ "sequence": sequence }), |_| Ok(()))
}

pub(crate) fn key(form: &Form, text: &str) -> Result<Vec<u8>, Failure> {
    decoded("key", form.keys, text)
}

fn decoded(what: &str, encoding: Encoding, text: &str) -> Result<Vec<u8>, Failure> {
    encoding
        .decode(text.as_bytes())
        .map_err(|why| Failure::Usage(format!("the {what} {text:?}: {why}")))
}

/// The range that was asked for.
pub(crate) fn range(form: &Form, range: &Range) -> Result<KeyRange, Failure> {
    let decode = |text: &Option<String>| text.as_deref().map(|text| key(form, text)).transpose();
    if let Some(prefix) = decode(&range.prefix)? {
        return Ok(KeyRange::prefix(prefix));
    }
    Ok(match (decode(&range.from)?, decode(&range.to)?) {
        (None, None) => KeyRange::all(),
        (Some(from), None) => KeyRange::from_bounds(from..),
        (None, Some(to)) => KeyRange::from_bounds(..to),
        (Some(from), Some(to)) => KeyRange::half_open(from, to),
    })
}
