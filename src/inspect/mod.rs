//! What the files of a database consist of, piece by piece, damaged or not: for tools. Opens no database and takes no lock.
//!
//! Each piece is checked by its own checksum; nothing else of the database is needed.

mod blob;
mod log;
mod table;

use std::path::Path;

use trine_io::{File, Mode, Storage};
use trine_platform::block_on;

use crate::blob::BLOB_FILE;
use crate::error::{Error, Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::file_name::FileName;
use crate::record::LogKind;

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// How long it is in the file; zero for a part of the piece before.
    pub bytes: u64,
    /// What it is.
    pub what: &'static str,
    /// What it says.
    pub fields: Vec<(&'static str, Field)>,
    /// What is wrong with it; `None` if its checksum, and all that can be checked of it, is right.
    pub fault: Option<String>,
}

/// What a piece says under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// A count, a size, a sequence, an offset.
    Number(u64),
    /// A word of this format.
    Text(String),
    /// A key or a value.
    Bytes(Vec<u8>),
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&[u8]> for Field {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// How far a file is taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Headers, blocks, records, footers.
    Pieces,
    /// Also the entries of blocks and the operations of commits.
    Entries,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
    /// `"table"`, `"blob file"`, `"log"` or `"manifest"`.
    pub kind: &'static str,
    /// Its length.
    pub bytes: u64,
    /// How many pieces have a fault.
    pub faults: u64,
}

/// Takes a table, blob file, log segment or manifest apart, piece after piece in the order of the file.
///
/// # Errors
/// [`Error::InvalidOptions`] for a file that is none of these, [`Error::UnsupportedFormat`] for one of another version,
/// [`Error::Io`]. Damage is no error: it is told with the piece.
///
/// # Cost
/// Reads the file once; a log or manifest into memory as a whole.
pub fn read_file_sync(
    path: impl AsRef<Path>,
    detail: Detail,
    mut visit: impl FnMut(Piece),
) -> Result<FileReport> {
    let path = path.as_ref();
    let refused = || Error::invalid_options("not a file of a database, by its name");
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(refused)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let storage = Storage::portable_inline(directory);
    let mut faults = 0;
    let mut counted = |piece: Piece| {
        faults += u64::from(piece.fault.is_some());
        visit(piece);
    };
    let (kind, bytes) = block_on(read_in(&storage, name, detail, &mut counted))?;
    Ok(FileReport {
        kind,
        bytes,
        faults,
    })
}

/// As [`read_file_sync`], of a file of this storage.
pub(crate) async fn read_in(
    storage: &Storage,
    name: &str,
    detail: Detail,
    visit: &mut impl FnMut(Piece),
) -> Result<(&'static str, u64)> {
    const MODE: Mode = Mode::Blocking;
    let file = storage.open(MODE, name).await?;
    let bytes = file.len(MODE).await?;
    let kind = kind_of(&file, name, bytes).await?;
    match kind {
        Kind::Table(number) => table::read(file, number, detail, visit, MODE).await?,
        Kind::Blob(number) => blob::read(&file, number, visit, MODE).await?,
        Kind::Log(kind, number) => {
            let length = usize::try_from(bytes).map_err(|_| {
                let available = usize::MAX as u64;
                Fault::Length {
                    claimed: bytes,
                    available,
                }
                .at(name, 0)
            })?;
            let content = file.read_once_at(MODE, 0, length).await?;
            log::read(kind, number, &content, detail, visit);
        }
    }
    Ok((kind.name(), bytes))
}

/// What a file is by its name; where that does not say, by how it begins.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Table(u64),
    Blob(u64),
    Log(LogKind, u64),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Blob(_) => "blob file",
            Self::Log(LogKind::Wal, _) => "log",
            Self::Log(LogKind::Manifest, _) => "manifest",
        }
    }
}

async fn kind_of(file: &File, name: &str, bytes: u64) -> Result<Kind> {
    let refused = || Error::invalid_options("not a file of a database, by its name");
    match FileName::parse(name) {
        FileName::Table(number) => Ok(Kind::Table(number)),
        FileName::Blob(number) => Ok(Kind::Blob(number)),
        FileName::Wal(number) => Ok(Kind::Log(LogKind::Wal, number)),
        FileName::Manifest(number) => Ok(Kind::Log(LogKind::Manifest, number)),
        FileName::Unfinished => {
            let number = name
                .strip_prefix("unfinished-")
                .and_then(|text| text.parse().ok());
            let number = number.ok_or_else(refused)?;
            let length = HEADER_BYTES.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            let start = file.read_at(Mode::Blocking, 0, length).await?;
            if start.starts_with(&BLOB_FILE.header_magic) {
                Ok(Kind::Blob(number))
            } else {
                Ok(Kind::Table(number))
            }
        }
        _ => Err(refused()),
    }
}

/// Where the value of an entry lies that is in a blob file.
fn of_reference(encoded: &[u8]) -> Vec<(&'static str, Field)> {
    match crate::blob::BlobIndex::decode(encoded) {
        Ok(index) => vec![
            ("blob file", index.file.into()),
            ("offset", index.record.offset.into()),
            ("value bytes", u64::from(index.value_bytes).into()),
        ],
        Err(_) => Vec::new(),
    }
}

/// A piece whose fault, if it has one, is this.
fn piece(
    offset: u64,
    bytes: u64,
    what: &'static str,
    fields: Vec<(&'static str, Field)>,
    fault: Option<&Fault>,
) -> Piece {
    Piece {
        offset,
        bytes,
        what,
        fields,
        fault: fault.map(ToString::to_string),
    }
}
