//! One key: read, written, deleted.

use std::io::{Read, Write, stdin};
use std::time::{Duration, SystemTime};

use serde_json::json;
use trine_kv::{Direction, KeyRange, WriteOptions};

use crate::arguments::{Delete, Form, Get, Merge, Put, Range};
use crate::failure::Failure;
use crate::opening;
use crate::output::Output;
use crate::rows::json_cell;
use crate::text::{Encoding, readable};

pub(crate) fn get(asked: &Get, output: &mut Output) -> Result<(), Failure> {
    let key = key(&asked.form, &asked.key)?;
    let db = opening::for_reading(&asked.place, output)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), false)?;
    let only = KeyRange::from_bounds(key.as_slice()..=key.as_slice());
    let mut row = bucket.cursor(&only, Direction::Forward)?;
    if !row.advance_sync()? {
        return Err(Failure::NotFound(format!("not found: {}", readable(&key))));
    }
    let expires = row.expires_millis();
    if output.json {
        let mut json = json!({ "bucket": bucket.name().as_str() });
        json_cell(&mut json, "key", asked.form.keys, &key);
        json_cell(&mut json, "value", asked.form.values, row.value());
        if let Some(at) = expires {
            json["expires_millis"] = at.into();
        }
        return output.line(json);
    }
    if let Some(at) = expires {
        output.note(format_args!("expires {}", time(at)));
    }
    let mut text = Vec::new();
    asked.form.values.encode(row.value(), &mut text);
    // Raw is for files and other programs.
    if asked.form.values != Encoding::Raw {
        text.push(b'\n');
    }
    output.bytes().write_all(&text)?;
    Ok(())
}

pub(crate) fn put(asked: &Put, output: &mut Output) -> Result<(), Failure> {
    let key = key(&asked.form, &asked.key)?;
    let value = value(&asked.form, "value", asked.value.as_deref())?;
    let db = opening::for_writing(&asked.place, asked.create)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), asked.create)?;
    let options = WriteOptions::sync_all();
    let commit = match asked.ttl {
        None => bucket.put_with_options_sync(key, value, options)?,
        Some(ttl) => bucket.put_with_ttl_and_options_sync(key, value, ttl, options)?,
    };
    tell_commit(output, commit.sequence().get())
}

pub(crate) fn merge(asked: &Merge, output: &mut Output) -> Result<(), Failure> {
    let key = key(&asked.form, &asked.key)?;
    let operand = value(&asked.form, "operand", asked.operand.as_deref())?;
    let db = opening::for_writing(&asked.place, asked.create)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), asked.create)?;
    let options = WriteOptions::sync_all();
    let commit = bucket.merge_with_options_sync(key, operand, options)?;
    tell_commit(output, commit.sequence().get())
}

/// What was given as text, or comes in as it is.
fn value(form: &Form, what: &str, given: Option<&str>) -> Result<Vec<u8>, Failure> {
    match given {
        None | Some("-") => {
            let mut value = Vec::new();
            stdin().lock().read_to_end(&mut value)?;
            Ok(value)
        }
        Some(text) => decoded(what, form.values, text),
    }
}

/// A time in milliseconds since 1970, as people read it.
fn time(millis: u64) -> String {
    // Nobody has to read of times that far away.
    const MILLIS_MAX: u64 = 4_000_000_000 * 1000;
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    match at.filter(|_| millis <= MILLIS_MAX) {
        Some(at) => format!("at {}", humantime::format_rfc3339_seconds(at)),
        None => "never, as far as one can see".to_owned(),
    }
}

pub(crate) fn delete(asked: &Delete, output: &mut Output) -> Result<(), Failure> {
    let options = WriteOptions::sync_all();
    let range = range(&asked.form, &asked.range)?;
    let key = asked
        .key
        .as_deref()
        .map(|text| key(&asked.form, text))
        .transpose()?;
    let db = opening::for_writing(&asked.place, false)?;
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
