//! Key, tab, value, line end.

use std::io::{BufRead, Write};

use crate::failure::Failure;
use crate::rows::{Columns, Lines, Row};
use crate::text::Encoding;

#[derive(Debug)]
pub(crate) struct Writer<W> {
    keys: Encoding,
    values: Encoding,
    target: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(keys: Encoding, values: Encoding, target: W) -> Self {
        Self {
            keys,
            values,
            target,
            line: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Failure> {
        self.line.clear();
        self.keys.encode(key, &mut self.line);
        if let Some(value) = value {
            self.line.push(b'\t');
            self.values.encode(value, &mut self.line);
        }
        self.line.push(b'\n');
        self.target.write_all(&self.line)?;
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    keys: Encoding,
    values: Encoding,
    columns: Columns,
    lines: Lines<R>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(keys: Encoding, values: Encoding, columns: Columns, source: R) -> Self {
        Self {
            keys,
            values,
            columns,
            lines: Lines::new(source),
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        let skipped = u64::from(self.columns.header);
        loop {
            if !self.lines.advance()? {
                return Ok(None);
            }
            if self.lines.number > skipped {
                break;
            }
        }
        let column = |number: u32| {
            let text = self
                .lines
                .line
                .split(|byte| *byte == b'\t')
                .nth(number as usize - 1);
            text.ok_or_else(|| {
                self.lines
                    .refuse(format_args!("there is no column {number}"))
            })
        };
        let decode =
            |encoding: Encoding, text| encoding.decode(text).map_err(|why| self.lines.refuse(why));
        Ok(Some(Row {
            bucket: None,
            expires_millis: None,
            key: decode(self.keys, column(self.columns.key)?)?,
            value: decode(self.values, column(self.columns.value)?)?,
        }))
    }
}
