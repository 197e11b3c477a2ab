//! The pieces of a log segment or a manifest.

use crate::commit::encoding::{Operation, operations};
use crate::error::Fault;
use crate::inspect::{Detail, Field, Piece, of_reference, piece};
use crate::manifest::{Change, VersionEdit};
use crate::record::{FILE_HEADER_BYTES, LogKind, RECORD_HEADER_BYTES, Walked, walk};
use crate::wal::{Payload, decode};

pub(super) fn read(
    kind: LogKind,
    number: u64,
    content: &[u8],
    detail: Detail,
    visit: &mut impl FnMut(Piece),
) {
    walk(kind, number, content, |walked| match walked {
        Walked::Header(header) => {
            let fields = match (&header, kind) {
                (Ok(header), LogKind::Wal) => vec![
                    ("segment", header.number.into()),
                    ("first sequence", header.first_sequence.get().into()),
                    ("previous segment", header.previous.into()),
                    ("settled", u64::from(header.settled).into()),
                ],
                _ => vec![("file number", Field::Number(number))],
            };
            visit(piece(
                0,
                FILE_HEADER_BYTES as u64,
                "header",
                fields,
                header.as_ref().err(),
            ));
        }
        Walked::Record { offset, payload } => match kind {
            LogKind::Wal => record(offset, payload, detail, visit),
            LogKind::Manifest => edit(offset, payload, detail, visit),
        },
        Walked::Lost { range, fault } => {
            let bytes = range.end.saturating_sub(range.start);
            visit(piece(range.start, bytes, "lost", Vec::new(), Some(&fault)));
        }
        Walked::End { offset, torn } => {
            let how = if torn.is_some() {
                "torn: what follows was promised to nobody"
            } else {
                "clean"
            };
            let rest = (content.len() as u64).saturating_sub(offset);
            visit(piece(offset, rest, "end", vec![("how", how.into())], None));
        }
    });
}

/// A record's length without the marks of the sectors that it crosses.
fn bytes_of(payload: &[u8]) -> u64 {
    payload.len().saturating_add(RECORD_HEADER_BYTES) as u64
}

fn record(offset: u64, payload: &[u8], detail: Detail, visit: &mut impl FnMut(Piece)) {
    let bytes = bytes_of(payload);
    match decode(payload) {
        Ok(Payload::Commit(sequence, batch)) => {
            let all: Vec<_> = operations(batch).collect();
            let fault = all.iter().find_map(|operation| operation.as_ref().err());
            let fields = vec![
                ("sequence", sequence.get().into()),
                ("operations", Field::Number(all.len() as u64)),
            ];
            visit(piece(offset, bytes, "commit", fields, fault));
            if detail == Detail::Entries {
                for operation in all.iter().flatten() {
                    visit(of_operation(offset, operation));
                }
            }
        }
        Ok(Payload::SyncMark(through)) => {
            let fields = vec![("synced through", through.into())];
            visit(piece(offset, bytes, "sync mark", fields, None));
        }
        Err(fault) => visit(piece(offset, bytes, "record", Vec::new(), Some(&fault))),
    }
}

fn of_operation(offset: u64, operation: &Operation<'_>) -> Piece {
    let mut fields: Vec<(_, Field)> = vec![("bucket", u64::from(operation.bucket().0).into())];
    let what = match operation {
        Operation::Put { key, value, .. } => {
            fields.push(("key", (*key).into()));
            fields.push(("value", (*value).into()));
            "put"
        }
        Operation::PutBlob { key, index, .. } => {
            fields.push(("key", (*key).into()));
            fields.extend(of_reference(index));
            "put of a value in a blob file"
        }
        Operation::Delete { key, .. } => {
            fields.push(("key", (*key).into()));
            "delete"
        }
        Operation::Merge { key, composite, .. } => {
            fields.push(("key", (*key).into()));
            fields.extend(super::table::composite(composite));
            "merge"
        }
        Operation::DeleteRange { start, end, .. } => {
            fields.push(("start", (*start).into()));
            fields.push(("end", (*end).into()));
            "delete range"
        }
        Operation::Loaded {
            first, last, rows, ..
        } => {
            fields.push(("first key", (*first).into()));
            fields.push(("last key", (*last).into()));
            fields.push(("rows", (*rows).into()));
            "bulk load, its rows in tables"
        }
    };
    piece(offset, 0, what, fields, None)
}

fn edit(offset: u64, payload: &[u8], detail: Detail, visit: &mut impl FnMut(Piece)) {
    let bytes = bytes_of(payload);
    match VersionEdit::decode(payload) {
        Ok(edit) => {
            let changes = Field::Number(edit.changes.len() as u64);
            visit(piece(
                offset,
                bytes,
                "edit",
                vec![("changes", changes)],
                None,
            ));
            if detail == Detail::Entries {
                edit.changes
                    .iter()
                    .for_each(|change| visit(of_change(offset, change)));
            }
        }
        Err(fault) => visit(damaged(offset, bytes, &fault)),
    }
}

fn damaged(offset: u64, bytes: u64, fault: &Fault) -> Piece {
    piece(offset, bytes, "edit", Vec::new(), Some(fault))
}

fn of_change(offset: u64, change: &Change) -> Piece {
    let (what, fields): (_, Vec<(_, Field)>) = match change {
        Change::BucketCreated { id, name, options } => (
            "bucket created",
            vec![
                ("bucket", u64::from(id.0).into()),
                ("name", name.as_str().into()),
                ("options", format!("{options:?}").into()),
            ],
        ),
        Change::BucketDropped { id } => {
            ("bucket dropped", vec![("bucket", u64::from(id.0).into())])
        }
        Change::TableAdded {
            bucket,
            level,
            meta,
        } => (
            "table added",
            vec![
                ("bucket", u64::from(bucket.0).into()),
                ("level", u64::from(*level).into()),
                ("table", meta.number.into()),
                ("file bytes", meta.bytes.into()),
                ("entries", meta.entries.into()),
                ("smallest key", meta.smallest.as_slice().into()),
                ("largest key", meta.largest.as_slice().into()),
                ("smallest sequence", meta.smallest_sequence.get().into()),
                ("largest sequence", meta.largest_sequence.get().into()),
            ],
        ),
        Change::TableRemoved {
            bucket,
            level,
            number,
        } => (
            "table removed",
            vec![
                ("bucket", u64::from(bucket.0).into()),
                ("level", u64::from(*level).into()),
                ("table", (*number).into()),
            ],
        ),
        Change::TableMoved {
            bucket,
            number,
            from,
            to,
        } => (
            "table moved",
            vec![
                ("bucket", u64::from(bucket.0).into()),
                ("table", (*number).into()),
                ("from level", u64::from(*from).into()),
                ("to level", u64::from(*to).into()),
            ],
        ),
        Change::BlobAdded { bucket, meta } => (
            "blob file added",
            vec![
                ("bucket", u64::from(bucket.0).into()),
                ("blob file", meta.number.into()),
                ("file bytes", meta.bytes.into()),
                ("values", meta.values.into()),
            ],
        ),
        Change::FileObsolete { number } => ("file obsolete", vec![("file", (*number).into())]),
        Change::ObsoleteGone { number } => ("obsolete file gone", vec![("file", (*number).into())]),
        Change::Flushed { bucket, through } => (
            "flushed",
            vec![
                ("bucket", u64::from(bucket.0).into()),
                ("through", through.get().into()),
            ],
        ),
        Change::LogStarted { segment } => ("log started", vec![("segment", (*segment).into())]),
        Change::LogFloor { segment } => ("log floor", vec![("segment", (*segment).into())]),
        Change::NextFile { number } => ("next file", vec![("file", (*number).into())]),
        Change::LastSequence { sequence } => {
            ("last sequence", vec![("sequence", sequence.get().into())])
        }
        Change::Sessions { sessions } => (
            "sessions",
            vec![("count", Field::Number(sessions.len() as u64))],
        ),
        Change::NextBucket { id } => ("next bucket", vec![("bucket", u64::from(id.0).into())]),
    };
    piece(offset, 0, what, fields, None)
}
