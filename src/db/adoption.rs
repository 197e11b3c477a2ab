//! Large values that only the log refers to: what replay does with the files that commits had brought them to.
//!
//! - Each such file belongs to one memtable again, as in the life that wrote it: replay freezes a memtable before a commit that
//!   refers to another file.
//! - A commit counts only if its values are there. A value that never reached the disk ends the log before its commit, like a
//!   missing sector of its record. One that is there and is not what was written is damage.
//! - What an opening reads may be in the operating system's memory only, so a writer writes it again, and syncs it.
//!
//! docs/decisions/0017-values-written-once.md.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::{File, Mode, Storage};
use trine_platform::sorted::SortedMap;

use crate::blob::{BlobIndex, BlobMeta, GrowingFile, ValueState};
use crate::error::{Error, Result};
use crate::file_name::{FileNumbers, blob_name, unfinished_name};
use crate::manifest::BucketId;
use crate::open_files::OpenFiles;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::buffer::WriteBuffer;

/// What the log refers to, by file.
#[derive(Default)]
pub(crate) struct Adoption {
    found: Mutex<Found>,
    lost: Option<Sequence>,
}

#[derive(Default)]
struct Found {
    files: SortedMap<u64, Referred>,
    /// The first thing that no log of ours says.
    fault: Option<Error>,
}

/// A file that commits refer to.
struct Referred {
    bucket: BucketId,
    buffer: Arc<WriteBuffer>,
    /// In the order of commits.
    values: Vec<(Sequence, BlobIndex)>,
    /// Once it was looked for.
    file: Option<File>,
}

impl Adoption {
    /// Of a log that ends before the commit `lost`.
    pub(crate) fn until(lost: Option<Sequence>) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// The commit that the log ends before, since values of it never reached the disk.
    pub(crate) fn lost(&self) -> Option<Sequence> {
        self.lost
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_files(&self) -> SortedMap<u64, Referred> {
        std::mem::take(&mut self.found().files)
    }

    /// Takes note of a value of the commit `sequence`, of which nothing is staged yet.
    pub(crate) fn note(&self, tree: &Tree, sequence: Sequence, index: &[u8]) {
        let noted = match BlobIndex::decode(index) {
            Ok(index) => self.refer(tree, sequence, index),
            Err(fault) => Err(fault.at("log", 0).into()),
        };
        if let Err(error) = noted {
            self.found().fault.get_or_insert(error);
        }
    }

    fn refer(&self, tree: &Tree, sequence: Sequence, index: BlobIndex) -> Result<()> {
        let files = &mut self.found().files;
        let own = |referred: &Referred| referred.bucket == tree.id();
        // Files of one bucket come in the order of their numbers.
        let last = files.iter().rev().find(|(_, referred)| own(referred));
        let last = last.map(|(number, _)| *number);
        if last == Some(index.file)
            && let Some(referred) = files.get_mut(&index.file)
        {
            referred.values.push((sequence, index));
            return Ok(());
        }
        if last.is_some_and(|last| last > index.file) || files.contains_key(&index.file) {
            let name = unfinished_name(index.file);
            return Err(Error::Corruption {
                message: format!("the log refers to {name} out of turn"),
            });
        }
        if last.is_some() {
            tree.insert_staged();
            tree.freeze();
        }
        let referred = Referred {
            bucket: tree.id(),
            buffer: tree.pin().active,
            values: vec![(sequence, index)],
            file: None,
        };
        files.insert(index.file, referred);
        Ok(())
    }

    /// The first commit of which a value never reached the disk.
    ///
    /// # Errors
    /// `Corruption` for a value that is not what was written, `Io`.
    pub(crate) async fn first_lost(
        &self,
        storage: &Storage,
        mode: Mode,
    ) -> Result<Option<Sequence>> {
        if let Some(error) = self.found().fault.take() {
            return Err(error);
        }
        let mut files = self.take_files();
        let mut lost: Option<Sequence> = None;
        for (number, referred) in files.iter_mut() {
            referred.file = find(storage, *number, mode).await?;
            for (sequence, index) in &referred.values {
                if lost.is_some_and(|lost| lost <= *sequence) {
                    break;
                }
                let is_lost = match &referred.file {
                    Some(file) => is_lost(file, index, mode).await?,
                    None => true,
                };
                if is_lost {
                    lost = Some(*sequence);
                }
            }
        }
        self.found().files = files;
        Ok(lost)
    }

    /// Gives the files to their memtables, to be read only.
    pub(crate) fn attach(&self, storage: &Storage, files: &Arc<OpenFiles>) {
        for (number, mut referred) in self.take_files() {
            if let Some(file) = referred.file.take() {
                let values = GrowingFile::left(storage, files, file, referred.meta(number));
                referred.buffer.set_values(values);
            }
        }
    }

    /// The names of the files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.found()
            .files
            .keys()
            .map(|number| unfinished_name(*number))
            .collect()
    }

    /// Makes what was found safe to build on: writes it again, and cuts off what nothing refers to. Then gives the files to
    /// their memtables.
    ///
    /// # Errors
    /// `Io`; the next open finds the same and tries again.
    pub(crate) async fn settle(
        &self,
        storage: &Storage,
        files: &Arc<OpenFiles>,
        numbers: &FileNumbers,
        mode: Mode,
    ) -> Result<()> {
        if self.found().files.is_empty() {
            return Ok(());
        }
        // Names that were found need not be on disk either.
        storage.sync_directory(mode).await?;
        for (number, referred) in self.take_files() {
            numbers.skip(number);
            let meta = referred.meta(number);
            let file = storage.open_write(mode, &unfinished_name(number)).await?;
            file.write_again(mode, 0, meta.bytes).await?;
            file.set_len(mode, meta.bytes).await?;
            file.sync_all(mode).await?;
            let values = GrowingFile::left(storage, files, file, meta);
            referred.buffer.set_values(values);
        }
        Ok(())
    }
}

impl Referred {
    /// The file, as far as anything refers to it.
    fn meta(&self, number: u64) -> BlobMeta {
        let mut meta = BlobMeta {
            number,
            bytes: 0,
            values: 0,
            value_bytes: 0,
        };
        for (_, index) in &self.values {
            meta.bytes = meta.bytes.max(index.record.end().unwrap_or(u64::MAX));
            meta.values = meta.values.max(index.ordinal.saturating_add(1));
            meta.value_bytes = meta.value_bytes.saturating_add(index.value_bytes.into());
        }
        meta
    }
}

/// The file, wherever a flush beside a reader left it; `None`: it is gone, or never was.
async fn find(storage: &Storage, number: u64, mode: Mode) -> Result<Option<File>> {
    for name in [unfinished_name(number), blob_name(number)] {
        match storage.open(mode, &name).await {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {}
            opened => return Ok(Some(opened?)),
        }
    }
    Ok(None)
}

/// Whether the value never reached the disk.
async fn is_lost(file: &File, index: &BlobIndex, mode: Mode) -> Result<bool> {
    let (offset, length) = (index.record.offset, index.record.framed_bytes());
    let end = index.record.end();
    let (Some(length), Some(end)) = (length, end) else {
        return Ok(true);
    };
    if file.len(mode).await? < end {
        return Ok(true);
    }
    let framed = file.read_at(mode, offset, length).await?;
    match ValueState::of(index, &framed) {
        ValueState::Whole => Ok(false),
        ValueState::Lost => Ok(true),
        ValueState::Damaged(fault) => Err(fault.at(&blob_name(index.file), offset).into()),
    }
}
