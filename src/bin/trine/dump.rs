//! One file, taken apart.

use serde_json::{Map, Value, json};
use trine_kv::inspect::{self, Detail, Field, Piece};

use crate::arguments::Dump;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::text::shortened;

/// Longer keys and values are cut in what people read.
const SHOWN_BYTES: usize = 60;

pub(crate) fn dump(asked: &Dump, output: &mut Output) -> Result<(), Failure> {
    let detail = if asked.entries {
        Detail::Entries
    } else {
        Detail::Pieces
    };
    if !asked.file.is_file() {
        return Err(Failure::Usage(format!(
            "{}: there is no such file",
            asked.file.display()
        )));
    }
    let mut told = Ok(());
    let report = inspect::read_file_sync(&asked.file, detail, |piece| {
        if told.is_ok() {
            told = tell(&piece, output);
        }
    })?;
    told?;
    if !output.json {
        output.line(format_args!(
            "{} of {}, {} damaged parts",
            report.kind,
            output::bytes(report.bytes),
            report.faults
        ))?;
    }
    match report.faults {
        0 => Ok(()),
        faults => {
            output.finish()?;
            Err(Failure::Damage(format!(
                "{}: {faults} damaged parts",
                asked.file.display()
            )))
        }
    }
}

fn tell(piece: &Piece, output: &mut Output) -> Result<(), Failure> {
    if output.json {
        return output.line(report(piece));
    }
    // What has no place of its own belongs to the piece before.
    let mut line = if piece.bytes == 0 {
        format!("{:>22}  {}", "", piece.what)
    } else {
        format!("{:>10} {:>10}  {}", piece.offset, piece.bytes, piece.what)
    };
    for (name, field) in &piece.fields {
        let text = match field {
            Field::Number(number) => number.to_string(),
            Field::Text(text) => text.clone(),
            Field::Bytes(bytes) => shortened(bytes, SHOWN_BYTES),
            _ => continue,
        };
        line.extend(["  ", name, ": ", &text]);
    }
    match &piece.fault {
        Some(fault) => line.extend(["  DAMAGED: ", fault]),
        None if piece.bytes > 0 && piece.what != "end" => line.push_str("  ok"),
        None => {}
    }
    output.line(line)
}

fn report(piece: &Piece) -> Value {
    let mut fields = Map::new();
    for (name, field) in &piece.fields {
        let value = match field {
            Field::Number(number) => json!(number),
            Field::Text(text) => json!(text),
            Field::Bytes(bytes) => output::json_bytes(bytes),
            _ => continue,
        };
        fields.insert((*name).to_owned(), value);
    }
    json!({
        "offset": piece.offset,
        "bytes": piece.bytes,
        "what": piece.what,
        "fields": fields,
        "fault": piece.fault,
    })
}
