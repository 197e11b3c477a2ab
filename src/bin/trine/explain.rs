//! What a read touches.

use serde_json::{Value, json};
use trine_kv::explain::{GetAnswer, GetExplanation, GetSource, GetStep, ValuePlace};

use crate::arguments::Get;
use crate::failure::Failure;
use crate::opening;
use crate::output::{self, Output};
use crate::point;

pub(crate) fn get(asked: &Get, output: &mut Output) -> Result<(), Failure> {
    let key = point::key(&asked.form, &asked.key)?;
    let db = opening::for_reading(&asked.place, output)?;
    let bucket = opening::bucket(&db, asked.form.bucket.as_deref(), false)?;
    let explanation = bucket.explain_get_sync(&key)?;
    output.report(&report(&explanation), |output| tell(&explanation, output))
}

fn report(explanation: &GetExplanation) -> Value {
    json!({
        "sequence": explanation.sequence.get(),
        "steps": explanation.steps.iter().map(step).collect::<Vec<_>>(),
        "tables_left_out": explanation.tables_left_out,
        "value": explanation.value.as_ref().map(place),
    })
}

fn step(step: &GetStep) -> Value {
    let mut report = match &step.source {
        GetSource::Memtable { immutable, .. } => json!({ "memtable": { "immutable": immutable } }),
        GetSource::Table {
            file,
            level,
            filter,
            blocks,
            ..
        } => {
            let blocks: Vec<_> = blocks
                .iter()
                .map(|block| {
                    json!({
                        "number": block.number,
                        "offset": block.offset,
                        "bytes": block.bytes,
                        "was_missing": block.was_missing,
                    })
                })
                .collect();
            json!({ "table": { "file": file, "level": level, "filter": filter, "blocks": blocks } })
        }
        _ => json!({}),
    };
    let (answer, sequence) = match step.answer {
        GetAnswer::Value(sequence) => ("value", Some(sequence.get())),
        GetAnswer::Merged(sequence) => ("merged", Some(sequence.get())),
        GetAnswer::Deleted(sequence) => ("deleted", Some(sequence.get())),
        _ => ("nothing", None),
    };
    report["answer"] = answer.into();
    report["since"] = sequence.into();
    report
}

fn place(value: &ValuePlace) -> Value {
    match value {
        ValuePlace::Beside { bytes, .. } => json!({ "bytes": bytes }),
        ValuePlace::Merged { bytes, .. } => json!({ "operands": { "bytes": bytes } }),
        ValuePlace::Blob {
            file,
            offset,
            stored_bytes,
            bytes,
            ..
        } => {
            json!({ "bytes": bytes, "blob": { "file": file, "offset": offset, "stored_bytes": stored_bytes } })
        }
        _ => Value::Null,
    }
}

fn tell(explanation: &GetExplanation, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!(
        "reads as of sequence {}",
        explanation.sequence.get()
    ))?;
    for step in &explanation.steps {
        match &step.source {
            GetSource::Memtable {
                immutable: true, ..
            } => output.line("immutable memtable")?,
            GetSource::Memtable { .. } => output.line("memtable")?,
            GetSource::Table {
                file,
                level,
                filter,
                blocks,
                ..
            } => {
                let filter = match filter {
                    None => "no filter",
                    Some(true) => "its filter says maybe",
                    Some(false) => "its filter rules the key out",
                };
                output.line(format_args!("{file}, level {level}: {filter}"))?;
                for block in blocks {
                    let missing = if block.was_missing {
                        ", had to be read"
                    } else {
                        ""
                    };
                    output.line(format_args!(
                        "    block {} at {}, {} as stored{missing}",
                        block.number,
                        block.offset,
                        output::bytes(block.bytes.into())
                    ))?;
                }
            }
            _ => {}
        }
        match step.answer {
            GetAnswer::Value(sequence) => {
                output.line(format_args!("    has a value since {}", sequence.get()))?;
            }
            GetAnswer::Merged(sequence) => {
                output.line(format_args!("    merged into by {}", sequence.get()))?;
            }
            GetAnswer::Deleted(sequence) => {
                output.line(format_args!("    deleted by {}", sequence.get()))?;
            }
            _ => output.line("    knows nothing of it")?,
        }
    }
    output.line(format_args!(
        "{} tables left out: their bounds exclude the key, or something newer knew it",
        explanation.tables_left_out
    ))?;
    match &explanation.value {
        None => output.line("there is no value"),
        Some(ValuePlace::Blob {
            file,
            offset,
            stored_bytes,
            bytes,
            ..
        }) => output.line(format_args!(
            "the value, {}, lies in {file} at {offset}, {} as stored",
            output::bytes(*bytes),
            output::bytes((*stored_bytes).into())
        )),
        Some(ValuePlace::Beside { bytes, .. }) => output.line(format_args!(
            "the value, {}, lies beside its key",
            output::bytes(*bytes)
        )),
        Some(ValuePlace::Merged { bytes, .. }) => output.line(format_args!(
            "the value is worked out from operands, the newest of which take {}, and what they are merged into",
            output::bytes(*bytes)
        )),
        Some(_) => Ok(()),
    }
}
