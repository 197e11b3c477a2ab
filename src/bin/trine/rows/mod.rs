//! Rows in files: tab-separated, comma-separated, JSON lines, and a binary form of ours.
//!
//! Each form is read and written row by row. `docs/cli.md` describes them.

mod binary;
mod csv;
mod json;
mod tsv;

use std::io::{BufRead, Write};
use std::path::Path;

use clap::ValueEnum;

pub(crate) use json::cell as json_cell;

use crate::failure::Failure;
use crate::text::Encoding;

/// The form of a file of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Key, tab, value, line end
    Tsv,
    /// Key, comma, value, as spreadsheets write it
    Csv,
    /// One object for each row: {"key": .., "value": ..}
    Jsonl,
    /// With checksums; the smallest and fastest
    Binary,
}

impl Format {
    /// The one that the file's name ends with.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            "tsv" | "txt" => Some(Self::Tsv),
            "csv" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "trows" => Some(Self::Binary),
            _ => None,
        }
    }

    /// Whether each row can say which bucket it belongs to, and when it expires.
    pub(crate) fn names_buckets(self) -> bool {
        matches!(self, Self::Jsonl | Self::Binary)
    }
}

/// One row as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// If the file says so.
    pub(crate) bucket: Option<String>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// When it expires, in milliseconds since 1970, if it does and the file says so.
    pub(crate) expires_millis: Option<u64>,
}

/// Where key and value stand, in forms with columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) header: bool,
    /// From 1.
    pub(crate) key: u32,
    pub(crate) value: u32,
}

/// Writes rows to `W`.
#[derive(Debug)]
pub(crate) enum RowWriter<W: Write> {
    Tsv(tsv::Writer<W>),
    Csv(Box<csv::Writer<W>>),
    Json(json::Writer<W>),
    Binary(binary::Writer<W>),
}

impl<W: Write> RowWriter<W> {
    pub(crate) fn new(
        format: Format,
        keys: Encoding,
        values: Encoding,
        target: W,
    ) -> Result<Self, Failure> {
        Ok(match format {
            Format::Tsv => Self::Tsv(tsv::Writer::new(keys, values, target)),
            Format::Csv => Self::Csv(Box::new(csv::Writer::new(keys, values, target))),
            Format::Jsonl => Self::Json(json::Writer::new(keys, values, target)),
            Format::Binary => Self::Binary(binary::Writer::new(target)?),
        })
    }

    /// The rows that follow belong to this bucket. Only where [`Format::names_buckets`].
    pub(crate) fn bucket(&mut self, name: &str) {
        match self {
            Self::Tsv(_) | Self::Csv(_) => {}
            Self::Json(writer) => writer.bucket(name),
            Self::Binary(writer) => writer.bucket(name),
        }
    }

    /// When it expires, forms with columns do not say.
    pub(crate) fn row(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_millis: Option<u64>,
    ) -> Result<(), Failure> {
        match self {
            Self::Tsv(writer) => writer.row(key, Some(value)),
            Self::Csv(writer) => writer.row(key, Some(value)),
            Self::Json(writer) => writer.row(key, Some(value), expires_millis),
            Self::Binary(writer) => writer.row(key, value, expires_millis),
        }
    }

    /// A key without its value; the binary form has an empty one.
    pub(crate) fn key(&mut self, key: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Tsv(writer) => writer.row(key, None),
            Self::Csv(writer) => writer.row(key, None),
            Self::Json(writer) => writer.row(key, None, None),
            Self::Binary(writer) => writer.row(key, b"", None),
        }
    }

    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Tsv(_) | Self::Json(_) => Ok(()),
            Self::Csv(writer) => writer.finish(),
            Self::Binary(writer) => writer.finish(),
        }
    }
}

/// Reads rows from `R`.
#[derive(Debug)]
pub(crate) enum RowReader<R: BufRead> {
    Tsv(tsv::Reader<R>),
    Csv(Box<csv::Reader<R>>),
    Json(json::Reader<R>),
    Binary(binary::Reader<R>),
}

impl<R: BufRead> RowReader<R> {
    pub(crate) fn new(
        format: Format,
        keys: Encoding,
        values: Encoding,
        columns: Columns,
        source: R,
    ) -> Result<Self, Failure> {
        Ok(match format {
            Format::Tsv => Self::Tsv(tsv::Reader::new(keys, values, columns, source)),
            Format::Csv => Self::Csv(Box::new(csv::Reader::new(keys, values, columns, source))),
            Format::Jsonl => Self::Json(json::Reader::new(source)),
            Format::Binary => Self::Binary(binary::Reader::new(source)?),
        })
    }

    /// The next one.
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, Failure> {
        match self {
            Self::Tsv(reader) => reader.next_row(),
            Self::Csv(reader) => reader.next_row(),
            Self::Json(reader) => reader.next_row(),
            Self::Binary(reader) => reader.next_row(),
        }
    }
}

/// A line of a source without its end; `None` at the end of the source. Lines are numbered for messages.
#[derive(Debug)]
struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: u64,
}

/// The longest line: a key and a value of the largest kind, each byte as four.
const LINE_BYTES_MAX: u64 = 1 << 30;

impl<R: BufRead> Lines<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            line: Vec::new(),
            number: 0,
        }
    }

    fn advance(&mut self) -> Result<bool, Failure> {
        self.line.clear();
        self.number += 1;
        let mut limited = std::io::Read::take(&mut self.source, LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if self.line.len() as u64 == LINE_BYTES_MAX {
            return Err(self.refuse("the line is too long"));
        }
        Ok(true)
    }

    fn refuse(&self, why: impl std::fmt::Display) -> Failure {
        Failure::Input(format!("line {}: {why}", self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, encoding: Encoding, rows: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = RowWriter::new(format, encoding, encoding, &mut file).unwrap();
        for (number, (key, value)) in rows.iter().enumerate() {
            if number == 2 {
                writer.bucket("other");
            }
            writer.row(key, value, expiry(format, number)).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    /// When the row with this number expires.
    fn expiry(format: Format, number: usize) -> Option<u64> {
        (format.names_buckets() && number == 1).then_some(u64::MAX)
    }

    fn read(format: Format, encoding: Encoding, file: &[u8]) -> Result<Vec<Row>, Failure> {
        let columns = Columns {
            header: false,
            key: 1,
            value: 2,
        };
        let mut reader = RowReader::new(format, encoding, encoding, columns, file)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row);
        }
        Ok(rows)
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let all: Vec<u8> = (0..=255).collect();
        let rows: [(&[u8], &[u8]); 4] = [
            (b"plain", b"value"),
            (b"", b""),
            (b"a\tb\"c,d\r\ne", "\u{1F600}\\".as_bytes()),
            (&all, &all),
        ];
        for format in Format::value_variants() {
            for encoding in [Encoding::Utf8, Encoding::Hex, Encoding::Base64] {
                // Comma-separated text has no way to say what is not text.
                let is_text = *format == Format::Csv && encoding == Encoding::Utf8;
                let rows = &rows[..if is_text { 3 } else { 4 }];
                let found = read(*format, encoding, &written(*format, encoding, rows)).unwrap();
                assert_eq!(found.len(), rows.len());
                for (number, (row, (key, value))) in found.iter().zip(rows).enumerate() {
                    assert_eq!(
                        (&*row.key, &*row.value),
                        (*key, *value),
                        "{format:?} {encoding:?}"
                    );
                    let bucket = (format.names_buckets() && number >= 2).then_some("other");
                    assert_eq!(row.bucket.as_deref(), bucket);
                    assert_eq!(row.expires_millis, expiry(*format, number));
                }
            }
        }
    }

    #[test]
    fn any_flipped_or_missing_byte_of_the_binary_form_is_noticed() {
        let file = written(
            Format::Binary,
            Encoding::Raw,
            &[(b"key", b"value"), (b"l", b"w")],
        );
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            let read_damaged = read(Format::Binary, Encoding::Raw, &damaged);
            assert!(matches!(read_damaged, Err(Failure::Input(_))), "byte {at}");
            let cut = read(Format::Binary, Encoding::Raw, &file[..at]);
            assert!(matches!(cut, Err(Failure::Input(_))), "{at} bytes");
        }
    }
}
