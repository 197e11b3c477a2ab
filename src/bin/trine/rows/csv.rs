//! Comma-separated rows, quoted as RFC 4180 has it.
//!
//! Text needs no escapes of ours here, and has none.

use std::io::{BufRead, Write};

use csv::ByteRecord;

use crate::failure::Failure;
use crate::rows::{Columns, Row};
use crate::text::{Encoding, readable};

#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    keys: Encoding,
    values: Encoding,
    target: csv::Writer<W>,
    cell: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(keys: Encoding, values: Encoding, target: W) -> Self {
        let target = csv::WriterBuilder::new().flexible(true).from_writer(target);
        Self {
            keys,
            values,
            target,
            cell: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Failure> {
        self.cell(self.keys, key)?;
        if let Some(value) = value {
            self.cell(self.values, value)?;
        }
        self.target.write_record(None::<&[u8]>).map_err(failed)
    }

    fn cell(&mut self, encoding: Encoding, bytes: &[u8]) -> Result<(), Failure> {
        let text = match encoding {
            Encoding::Utf8 if str::from_utf8(bytes).is_err() => {
                return Err(Failure::Failed(format!(
                    "not UTF-8: {}; take --keys and --values hex or base64, or another format",
                    readable(bytes)
                )));
            }
            Encoding::Utf8 | Encoding::Raw => bytes,
            Encoding::Hex | Encoding::Base64 => {
                self.cell.clear();
                encoding.encode(bytes, &mut self.cell);
                &self.cell
            }
        };
        self.target.write_field(text).map_err(failed)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.target.flush()?;
        Ok(())
    }
}

fn failed(error: csv::Error) -> Failure {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        other => Failure::Failed(format!("{other:?}")),
    }
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    keys: Encoding,
    values: Encoding,
    columns: Columns,
    source: csv::Reader<R>,
    record: ByteRecord,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(keys: Encoding, values: Encoding, columns: Columns, source: R) -> Self {
        let source = csv::ReaderBuilder::new()
            .has_headers(columns.header)
            .flexible(true)
            .from_reader(source);
        Self {
            keys,
            values,
            columns,
            source,
            record: ByteRecord::new(),
        }
    }

    pub(super) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        match self.source.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                let text = error.to_string();
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) => error.into(),
                    _ => Failure::Input(text),
                });
            }
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        let refuse = |why: String| Failure::Input(format!("line {line}: {why}"));
        let cell = |encoding, number: u32| {
            let text = self.record.get(number as usize - 1);
            let text = text.ok_or_else(|| refuse(format!("there is no column {number}")))?;
            match encoding {
                Encoding::Utf8 | Encoding::Raw => Ok(text.to_vec()),
                Encoding::Hex | Encoding::Base64 => encoding.decode(text).map_err(refuse),
            }
        };
        Ok(Some(Row {
            bucket: None,
            expires_millis: None,
            key: cell(self.keys, self.columns.key)?,
            value: cell(self.values, self.columns.value)?,
        }))
    }
}
