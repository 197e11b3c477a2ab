//! The pieces of a blob file. Its records have no keys: only tables know whose they are.

use trine_io::{File, Mode};

use crate::blob::{BLOB_FILE, BLOB_FOOTER_BYTES};
use crate::error::{Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::frame_search::FrameSearch;
use crate::inspect::{Field, Piece, piece};

pub(super) async fn read(
    file: &File,
    number: u64,
    visit: &mut impl FnMut(Piece),
    mode: Mode,
) -> Result<()> {
    let bytes = file.len(mode).await?;
    let read = |offset: u64, length: usize| async move {
        let left = usize::try_from(bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        file.read_at(mode, offset, length.min(left)).await
    };
    let header = read(0, HEADER_BYTES).await?;
    let header = BLOB_FILE.check_header(&header, number);
    let named = vec![("file number", Field::Number(number))];
    visit(piece(
        0,
        HEADER_BYTES as u64,
        "header",
        named,
        header.as_ref().err(),
    ));

    let limit = bytes.saturating_sub(BLOB_FOOTER_BYTES as u64);
    let search = FrameSearch::new(file, number, limit);
    let mut at = HEADER_BYTES as u64;
    let mut ordinal: u64 = 0;
    while at < limit {
        let found = match search.frame_at(at, mode).await? {
            Some(found) => Some(found),
            None => search.first_frame_after(at, mode).await?,
        };
        let start = found.map_or(limit, |found| found.offset);
        if start > at {
            let fault = Fault::Field("record: none is found here");
            visit(piece(
                at,
                start.saturating_sub(at),
                "lost",
                Vec::new(),
                Some(&fault),
            ));
        }
        let Some(found) = found else { break };
        let end = found.end().unwrap_or(limit);
        let fields = vec![
            ("record", Field::Number(ordinal)),
            ("stored bytes", u64::from(found.length).into()),
        ];
        visit(piece(
            start,
            end.saturating_sub(start),
            "value",
            fields,
            None,
        ));
        ordinal = ordinal.saturating_add(1);
        at = end;
    }

    let footer = read(limit, BLOB_FOOTER_BYTES).await?;
    let footer = BLOB_FILE.unseal(&footer, BLOB_FOOTER_BYTES).map(drop);
    visit(piece(
        limit,
        BLOB_FOOTER_BYTES as u64,
        "footer",
        Vec::new(),
        footer.as_ref().err(),
    ));
    Ok(())
}
