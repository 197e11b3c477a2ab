//! The pieces of a table.

use trine_io::{File, Mode};

use crate::block::frame::BlockHandle;
use crate::composite::{Base, Composite};
use crate::error::{Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::inspect::{Detail, Field, Piece, of_reference, piece};
use crate::internal_key::{Entry, Kind};
use crate::range_tombstone::Fragments;
use crate::table::{Anatomy, DataBlock, FOOTER_BYTES, PartKind};

pub(super) async fn read(
    file: File,
    number: u64,
    detail: Detail,
    visit: &mut impl FnMut(Piece),
    mode: Mode,
) -> Result<()> {
    let anatomy = Anatomy::of(file, number, mode).await?;
    let header = anatomy.header.as_ref().err();
    let named = vec![("file number", Field::Number(number))];
    visit(piece(0, HEADER_BYTES as u64, "header", named, header));
    for block in &anatomy.blocks {
        read_block(&anatomy, block, detail, visit, mode).await?;
    }
    for lost in &anatomy.lost {
        let fault = Fault::Field("block: none is found here");
        let bytes = lost.end.saturating_sub(lost.start);
        visit(piece(lost.start, bytes, "lost", Vec::new(), Some(&fault)));
    }
    for part in &anatomy.parts {
        let what = match part.kind {
            PartKind::Filter => "filter",
            PartKind::PrefixFilter => "prefix filter",
            PartKind::Index => "fence index",
            PartKind::Tombstones => "range tombstones",
            PartKind::Properties => "properties",
            PartKind::Unnamed => "part",
        };
        let fields = match part.kind {
            PartKind::Index => vec![("blocks", Field::Number(anatomy.blocks.len() as u64))],
            PartKind::Properties => properties(&anatomy),
            _ => Vec::new(),
        };
        let bytes = framed_bytes(part.handle);
        visit(piece(
            part.handle.offset,
            bytes,
            what,
            fields,
            part.bytes.as_ref().err(),
        ));
        if part.kind == PartKind::Tombstones
            && let Some(fragments) = &anatomy.tombstones
        {
            tombstones(part.handle.offset, fragments, visit);
        }
    }
    let offset = anatomy.bytes.saturating_sub(FOOTER_BYTES as u64);
    let footer = anatomy.footer.as_ref().err();
    visit(piece(
        offset,
        FOOTER_BYTES as u64,
        "footer",
        Vec::new(),
        footer,
    ));
    Ok(())
}

fn framed_bytes(handle: BlockHandle) -> u64 {
    let end = handle.end().unwrap_or(handle.offset);
    end.saturating_sub(handle.offset)
}

async fn read_block(
    anatomy: &Anatomy,
    block: &DataBlock,
    detail: Detail,
    visit: &mut impl FnMut(Piece),
    mode: Mode,
) -> Result<()> {
    let offset = block.handle.offset;
    let mut entries = Vec::new();
    let mut count: u64 = 0;
    let [mut first, mut last] = [Vec::new(), Vec::new()];
    let note = |entry: &Entry<'_>| {
        if count == 0 {
            first = entry.key.to_vec();
        }
        last = entry.key.to_vec();
        count += 1;
        if detail == Detail::Entries {
            entries.push(of_entry(offset, entry));
        }
    };
    let walked = anatomy.entries(block, note, mode).await?;
    let mut fields = vec![("entries", Field::Number(count))];
    if count > 0 {
        fields.push(("first key", first.as_slice().into()));
        fields.push(("last key", last.as_slice().into()));
    } else if let Some(separator) = &block.separator {
        fields.push(("keys up to", separator.as_slice().into()));
    }
    let bytes = framed_bytes(block.handle);
    visit(piece(
        offset,
        bytes,
        "data block",
        fields,
        walked.as_ref().err(),
    ));
    entries.into_iter().for_each(visit);
    Ok(())
}

fn of_entry(offset: u64, entry: &Entry<'_>) -> Piece {
    let kind = match entry.kind {
        Kind::Tombstone => "tombstone",
        Kind::Value => "value",
        Kind::Blob => "value in a blob file",
        Kind::Composite => "composite",
    };
    let mut fields: Vec<(_, Field)> = vec![
        ("key", entry.key.into()),
        ("sequence", entry.sequence.get().into()),
        ("kind", kind.into()),
    ];
    match entry.kind {
        Kind::Tombstone => {}
        Kind::Value => fields.push(("value", entry.value.into())),
        Kind::Composite => fields.extend(composite(entry.value)),
        Kind::Blob => fields.extend(of_reference(entry.value)),
    }
    piece(offset, 0, "entry", fields, None)
}

/// What a value has to be worked out from.
pub(super) fn composite(bytes: &[u8]) -> Vec<(&'static str, Field)> {
    let mut fields = Vec::new();
    let Ok(composite) = Composite::decode(bytes) else {
        return fields;
    };
    match composite.base {
        Base::Older => {}
        Base::Nothing => fields.push(("onto", "nothing".into())),
        Base::Value(value) => fields.push(("value", value.into())),
        Base::Expiring(at, value) => {
            fields.push(("value", value.into()));
            fields.push(("expires, ms since 1970", at.into()));
        }
    }
    let operands = composite.operands().flatten();
    fields.extend(operands.map(|operand| ("operand", operand.into())));
    fields
}

fn tombstones(offset: u64, fragments: &Fragments, visit: &mut impl FnMut(Piece)) {
    for fragment in fragments.as_slice() {
        for sequence in &fragment.sequences {
            let fields = vec![
                ("start", fragment.start.as_slice().into()),
                ("end", fragment.end.as_slice().into()),
                ("sequence", sequence.get().into()),
            ];
            visit(piece(offset, 0, "range tombstone", fields, None));
        }
    }
}

fn properties(anatomy: &Anatomy) -> Vec<(&'static str, Field)> {
    let Some(found) = &anatomy.properties else {
        return Vec::new();
    };
    vec![
        ("entries", found.entries.into()),
        ("tombstones", found.point_tombstones.into()),
        ("range tombstones", found.range_tombstones.into()),
        ("blocks", u64::from(found.blocks).into()),
        ("key bytes", found.key_bytes.into()),
        ("value bytes", found.value_bytes.into()),
        ("smallest key", found.smallest.as_slice().into()),
        ("largest key", found.largest.as_slice().into()),
        ("smallest sequence", found.smallest_sequence.get().into()),
        ("largest sequence", found.largest_sequence.get().into()),
    ]
}
