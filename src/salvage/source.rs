//! Which files a damaged directory consists of, and whose they are: what is left of the manifest says it, and else the files themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use trine_io::{File, Mode, Storage};

use crate::error::{Error, Fault, Result};
use crate::file_name::{CURRENT, FileName, blob_name, manifest_name, table_name, unfinished_name};
use crate::manifest::{BucketId, Change, ManifestState, VersionEdit, read_current};
use crate::options::BucketOptions;
use crate::record::{LogKind, Walked, walk};
use crate::salvage::report::Loss;
use crate::sequence::Sequence;

/// The longest log file that is read.
const LOG_BYTES_MAX: u64 = 4 << 30;

/// A bucket that the manifest knows.
#[derive(Clone, Debug)]
pub(super) struct KnownBucket {
    pub(super) name: String,
    pub(super) options: BucketOptions,
    /// Commits of the log up to here are in its tables.
    pub(super) flushed_through: Sequence,
}

/// What is left of the manifest.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) buckets: BTreeMap<BucketId, KnownBucket>,
    dropped: BTreeSet<BucketId>,
    /// Whose each table is.
    tables: BTreeMap<u64, BucketId>,
    /// Tables that are not part of the database any more.
    removed: BTreeSet<u64>,
    /// The segments of the log that count; `None`: whatever there is.
    log: Option<RangeInclusive<u64>>,
    /// Every record of the manifest was read.
    pub(super) complete: bool,
}

/// A table file.
#[derive(Debug)]
pub(super) struct TableFile {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) bucket: Option<BucketId>,
}

/// A loss that has no keys and no bucket.
pub(super) fn loss(
    file: &str,
    range: (u64, Option<u64>),
    what: &'static str,
    fault: impl Into<String>,
    costs_rows: bool,
) -> Loss {
    Loss {
        file: file.to_owned(),
        offset: range.0,
        bytes: range.1,
        what,
        fault: fault.into(),
        bucket: None,
        keys: None,
        costs_rows,
    }
}

/// A whole log file.
pub(super) async fn content(storage: &Storage, name: &str, mode: Mode) -> Result<Vec<u8>> {
    Ok(storage.read_file(mode, name, LOG_BYTES_MAX).await?)
}

impl Source {
    pub(super) async fn read(
        storage: &Storage,
        names: &[String],
        losses: &mut Vec<Loss>,
        mode: Mode,
    ) -> Result<Self> {
        let manifests = names.iter().filter_map(|name| match FileName::parse(name) {
            FileName::Manifest(number) => Some(number),
            _ => None,
        });
        let newest = manifests.max();
        let named = match read_current(storage, mode).await {
            Ok(named) => named,
            Err(error @ (Error::Corruption { .. } | Error::InvalidFormat { .. })) => {
                losses.push(loss(
                    CURRENT,
                    (0, None),
                    "name of the manifest",
                    error.to_string(),
                    false,
                ));
                None
            }
            Err(error) => return Err(error),
        };
        let there = |number: &u64| names.contains(&manifest_name(*number));
        let Some(number) = named.filter(there).or(newest) else {
            losses.push(loss(
                "MANIFEST",
                (0, None),
                "manifest",
                "there is none",
                false,
            ));
            return Ok(Self::default());
        };
        let name = manifest_name(number);
        let bytes = content(storage, &name, mode).await?;
        Ok(Self::of_manifest(number, &name, &bytes, losses))
    }

    fn of_manifest(number: u64, name: &str, bytes: &[u8], losses: &mut Vec<Loss>) -> Self {
        let mut edits = Vec::new();
        let mut fits = true;
        let mut lost = |range, what, fault: &Fault| {
            losses.push(loss(name, range, what, fault.to_string(), false));
        };
        walk(LogKind::Manifest, number, bytes, |walked| match walked {
            Walked::Record { offset, payload } => match VersionEdit::decode(payload) {
                Ok(edit) => edits.push(edit),
                Err(fault) => {
                    fits = false;
                    lost((offset, None), "manifest record", &fault);
                }
            },
            Walked::Lost { range, fault } => {
                fits = false;
                let range = (range.start, range.end.checked_sub(range.start));
                lost(range, "manifest records", &fault);
            }
            Walked::Header(Ok(_)) | Walked::End { .. } => {}
            Walked::Header(Err(fault)) => lost((0, None), "header", &fault),
        });
        fits &= !edits.is_empty();
        let mut source = Self::default();
        let mut state = ManifestState::default();
        for edit in edits {
            for change in &edit.changes {
                source.note(change);
            }
            fits = fits && state.replay(edit).is_ok();
        }
        if fits {
            source.complete = true;
            source.log = state.log_segments();
        }
        source
    }

    fn note(&mut self, change: &Change) {
        match change {
            Change::BucketCreated { id, name, options } => {
                let bucket = KnownBucket {
                    name: name.clone(),
                    options: options.clone(),
                    flushed_through: Sequence::ZERO,
                };
                self.buckets.insert(*id, bucket);
            }
            Change::BucketDropped { id } => {
                self.buckets.remove(id);
                self.dropped.insert(*id);
                let gone = self.tables.extract_if(.., |_, bucket| bucket == id);
                self.removed.extend(gone.map(|(number, _)| number));
            }
            Change::TableAdded { bucket, meta, .. } => {
                self.tables.insert(meta.number, *bucket);
            }
            Change::TableRemoved { number, .. } | Change::FileObsolete { number } => {
                self.tables.remove(number);
                self.removed.insert(*number);
            }
            Change::TableMoved { bucket, number, .. } => {
                self.tables.insert(*number, *bucket);
            }
            Change::Flushed { bucket, through } => {
                if let Some(bucket) = self.buckets.get_mut(bucket) {
                    bucket.flushed_through = *through;
                }
            }
            _ => {}
        }
    }

    /// Whether a commit of the log is not in the bucket's tables.
    pub(super) fn is_wanted(&self, id: BucketId, sequence: Sequence) -> bool {
        match self.buckets.get(&id) {
            Some(bucket) => sequence > bucket.flushed_through,
            None => !self.complete && !self.dropped.contains(&id),
        }
    }

    /// The segments of the log to be read, those that are not there among them.
    pub(super) fn segments(&self, names: &[String]) -> BTreeSet<u64> {
        let there = names.iter().filter_map(|name| match FileName::parse(name) {
            FileName::Wal(number) => Some(number),
            _ => None,
        });
        match &self.log {
            Some(segments) => segments.clone().collect(),
            None if self.complete => BTreeSet::new(),
            None => there.collect(),
        }
    }

    /// All tables that belong, or may belong, to the database.
    pub(super) async fn table_files(
        &self,
        storage: &Storage,
        names: &[String],
        losses: &mut Vec<Loss>,
        mode: Mode,
    ) -> Result<Vec<TableFile>> {
        let mut numbers: BTreeSet<u64> = self.tables.keys().copied().collect();
        if !self.complete {
            numbers.extend(names.iter().filter_map(|name| match FileName::parse(name) {
                FileName::Table(number) => Some(number),
                FileName::Unfinished => name.strip_prefix("unfinished-")?.parse().ok(),
                _ => None,
            }));
        }
        let mut files = Vec::new();
        for number in numbers.difference(&self.removed).copied() {
            let bucket = self.tables.get(&number).copied();
            let is_formal = names.contains(&table_name(number));
            match open_either(storage, names, &table_name(number), number, mode).await? {
                Some(file) if is_formal || bucket.is_some() || is_table(&file, mode).await? => {
                    files.push(TableFile {
                        number,
                        file,
                        bucket,
                    });
                }
                Some(_) => {}
                None => losses.push(Loss {
                    bucket: bucket.and_then(|id| Some(self.buckets.get(&id)?.name.clone())),
                    ..loss(
                        &table_name(number),
                        (0, None),
                        "table",
                        "the file is missing",
                        true,
                    )
                }),
            }
        }
        Ok(files)
    }
}

/// Whether an unfinished file is a table.
async fn is_table(file: &File, mode: Mode) -> Result<bool> {
    let magic = crate::table::TABLE.header_magic;
    Ok(file.len(mode).await? >= magic.len() as u64
        && file.read_at(mode, 0, magic.len()).await? == magic)
}

/// The file of this name, or called as while it was written.
async fn open_either(
    storage: &Storage,
    names: &[String],
    name: &str,
    number: u64,
    mode: Mode,
) -> Result<Option<File>> {
    for name in [name.to_owned(), unfinished_name(number)] {
        if names.contains(&name) {
            return Ok(Some(storage.open(mode, &name).await?));
        }
    }
    Ok(None)
}

/// Blob files, opened when something is first read of them.
#[derive(Debug)]
pub(super) struct Blobs<'s> {
    storage: &'s Storage,
    names: &'s [String],
    files: BTreeMap<u64, Option<File>>,
}

impl<'s> Blobs<'s> {
    pub(super) fn new(storage: &'s Storage, names: &'s [String]) -> Self {
        Self {
            storage,
            names,
            files: BTreeMap::new(),
        }
    }

    /// The value that an entry refers to; if it is damaged, what was lost.
    pub(super) async fn read(
        &mut self,
        encoded: &[u8],
        mode: Mode,
    ) -> Result<std::result::Result<Vec<u8>, Loss>> {
        use crate::blob::BlobIndex;
        use crate::block::frame::Frame;
        let index = match BlobIndex::decode(encoded) {
            Ok(index) => index,
            Err(fault) => {
                return Ok(Err(loss(
                    "",
                    (0, None),
                    "reference to a value",
                    fault.to_string(),
                    true,
                )));
            }
        };
        let name = blob_name(index.file);
        if !self.files.contains_key(&index.file) {
            let file = open_either(self.storage, self.names, &name, index.file, mode).await?;
            self.files.insert(index.file, file);
        }
        let range = (index.record.offset, Some(u64::from(index.record.length)));
        let lost = |fault: &dyn ToString| loss(&name, range, "value", fault.to_string(), true);
        let Some(Some(file)) = self.files.get(&index.file) else {
            return Ok(Err(lost(&"the file is missing")));
        };
        let bytes = file.len(mode).await?;
        let (Some(length), Some(end)) = (index.record.framed_bytes(), index.record.end()) else {
            return Ok(Err(lost(&Fault::Field("blob index"))));
        };
        if end > bytes {
            let fault = Fault::Length {
                claimed: end,
                available: bytes,
            };
            return Ok(Err(lost(&fault)));
        }
        let framed = file.read_once_at(mode, index.record.offset, length).await?;
        let value = Frame::open(&framed, index.file, index.record.offset)
            .and_then(|frame| frame.decode())
            .and_then(|value| {
                let is_whole = value.len() as u64 == u64::from(index.value_bytes);
                is_whole
                    .then_some(value)
                    .ok_or(Fault::Field("value length"))
            });
        Ok(value.map_err(|fault| lost(&fault)))
    }
}
