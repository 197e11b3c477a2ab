//! Reads every valid record of a log file, whatever lies in between: for those who look at damage, or save what is left.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use crate::error::Fault;
use crate::record::{End, FILE_HEADER_BYTES, FileHeader, LogKind, Next, RecordReader, Salt, Torn};

/// What is found in a log file, in its order.
#[derive(Debug)]
pub(crate) enum Walked<'a> {
    /// The header, unless it never reached the disk.
    Header(Result<FileHeader, Fault>),
    Record {
        offset: u64,
        payload: &'a [u8],
    },
    /// Here records were, or may have been.
    Lost {
        range: Range<u64>,
        fault: Fault,
    },
    /// The end of what was written; what follows, if it is torn, was promised to nobody.
    End {
        offset: u64,
        torn: Option<Torn>,
    },
}

/// Gives all there is to `visit`.
pub(crate) fn walk(kind: LogKind, number: u64, file: &[u8], mut visit: impl FnMut(Walked<'_>)) {
    if !FileHeader::is_missing(kind, file) {
        visit(Walked::Header(FileHeader::decode(kind, number, file)));
    }
    let salt = Salt::new(kind, number);
    let mut reader = RecordReader::new(file, salt, FILE_HEADER_BYTES, |_, _| 0);
    loop {
        let (from, fault) = match reader.next() {
            Ok(Next::Record { offset, payload }) => {
                visit(Walked::Record { offset, payload });
                continue;
            }
            Ok(Next::End(End::Clean)) => {
                let offset = reader.offset();
                return visit(Walked::End { offset, torn: None });
            }
            Ok(Next::End(End::Torn(torn))) => {
                let offset = reader.offset();
                if !reader.resume(offset) {
                    let torn = Some(torn);
                    return visit(Walked::End { offset, torn });
                }
                (offset, Fault::Field("record: a part of it is missing"))
            }
            Err((at, fault)) => {
                if !reader.resume(at) {
                    let range = at..file.len() as u64;
                    visit(Walked::Lost { range, fault });
                    let offset = reader.offset();
                    return visit(Walked::End { offset, torn: None });
                }
                (at, fault)
            }
        };
        let range = from..reader.offset();
        visit(Walked::Lost { range, fault });
    }
}
