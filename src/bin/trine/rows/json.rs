//! JSON lines: an object for each row.
//!
//! A cell's name says how it is written: `key` is text, `key_hex` and `key_base64` are bytes. Text that is not
//! UTF-8 becomes base 64 by itself.

use std::io::{BufRead, Write};

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::rows::{Lines, Row};
use crate::text::Encoding;

/// Puts the cell `name` into an object.
pub(crate) fn cell(row: &mut Value, name: &str, encoding: Encoding, bytes: &[u8]) {
    let encoded = |encoding: Encoding| {
        let mut text = Vec::new();
        encoding.encode(bytes, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    let (name, text) = match (encoding, str::from_utf8(bytes)) {
        (Encoding::Hex, _) => (format!("{name}_hex"), encoded(Encoding::Hex)),
        (Encoding::Utf8 | Encoding::Raw, Ok(text)) => (name.to_owned(), text.to_owned()),
        _ => (format!("{name}_base64"), encoded(Encoding::Base64)),
    };
    if let Value::Object(row) = row {
        row.insert(name, text.into());
    }
}

#[derive(Debug)]
pub(crate) struct Writer<W> {
    keys: Encoding,
    values: Encoding,
    bucket: Option<String>,
    target: W,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(keys: Encoding, values: Encoding, target: W) -> Self {
        Self {
            keys,
            values,
            bucket: None,
            target,
        }
    }

    pub(super) fn bucket(&mut self, name: &str) {
        self.bucket = Some(name.to_owned());
    }

    pub(super) fn row(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        expires_millis: Option<u64>,
    ) -> Result<(), Failure> {
        let mut row = match &self.bucket {
            Some(name) => json!({ "bucket": name }),
            None => json!({}),
        };
        cell(&mut row, "key", self.keys, key);
        if let Some(value) = value {
            cell(&mut row, "value", self.values, value);
        }
        if let Some(at) = expires_millis {
            row["expires_millis"] = at.into();
        }
        writeln!(self.target, "{row}")?;
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    lines: Lines<R>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            lines: Lines::new(source),
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        loop {
            if !self.lines.advance()? {
                return Ok(None);
            }
            if !self.lines.line.trim_ascii().is_empty() {
                break;
            }
        }
        let row: Map<String, Value> =
            serde_json::from_slice(&self.lines.line).map_err(|error| self.lines.refuse(error))?;
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let cell = |name: &str| {
            let forms = [
                (name.to_owned(), Encoding::Raw),
                (format!("{name}_hex"), Encoding::Hex),
                (format!("{name}_base64"), Encoding::Base64),
            ];
            let mut found = forms
                .iter()
                .filter_map(|(name, encoding)| Some((text(name)?, *encoding)));
            match found.next() {
                Some((text, encoding)) => encoding
                    .decode(text.as_bytes())
                    .map_err(|why| self.lines.refuse(why)),
                None => Err(self.lines.refuse(format_args!("there is no text {name:?}"))),
            }
        };
        let expires_millis = match row.get("expires_millis") {
            None | Some(Value::Null) => None,
            Some(at) => Some(at.as_u64().ok_or_else(|| {
                self.lines
                    .refuse(format_args!("\"expires_millis\" is no time: {at}"))
            })?),
        };
        Ok(Some(Row {
            expires_millis,
            bucket: text("bucket").map(str::to_owned),
            key: cell("key")?,
            value: cell("value")?,
        }))
    }
}
