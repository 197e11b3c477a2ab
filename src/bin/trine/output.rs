//! Standard output, in plain text or JSON, and notes beside it.

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Where results go.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    standard: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            standard: BufWriter::with_capacity(1 << 16, io::stdout().lock()),
        }
    }

    /// One line.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.standard, "{line}")?;
        Ok(())
    }

    /// The report in JSON if that was asked for, else what `text` writes.
    pub(crate) fn report(
        &mut self,
        json: &Value,
        text: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.json {
            self.line(format_args!("{json:#}"))
        } else {
            text(self)
        }
    }

    /// A table: its heads and rows; columns of numbers by their place.
    pub(crate) fn table(
        &mut self,
        heads: &[&str],
        numbers: &[usize],
        rows: Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(heads.iter().copied());
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        for number in numbers {
            if let Some(column) = table.column_mut(*number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.line(table.trim_fmt())
    }

    /// Something worth knowing that was not asked for.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            eprintln!("trine: {text}");
        }
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self) -> &mut impl Write {
        &mut self.standard
    }

    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.standard.flush()?;
        Ok(())
    }
}

/// Bytes as text; as `{"base64": ..}` if they are no text.
pub(crate) fn json_bytes(bytes: &[u8]) -> Value {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "base64": data_encoding::BASE64.encode(bytes) }),
    }
}

/// A size as people read it.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A number with its thousands apart.
pub(crate) fn count(count: u64) -> String {
    indicatif::HumanCount(count).to_string()
}
