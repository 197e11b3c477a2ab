//! Where each value of a table under construction goes: beside its key, or to a blob file.
//!
//! A blob file is begun for the first value that needs one, and ends with its table, so that a table's
//! own file of values is wholly its own. It is written like a table: as `unfinished-N`, in large pieces, synced, opened.

use std::sync::Arc;

use trine_io::File;

use crate::blob::{BlobFile, BlobIndex, BlobWriter, GrowingFile};
use crate::compression::Codec;
use crate::error::Result;
use crate::file_name::unfinished_name;
use crate::internal_key::{Entry, Kind};
use crate::tree::build::{BuildContext, PIECE_BYTES};
use crate::tree::version::Version;
use trine_platform::sorted::{SortedMap, SortedSet};

/// What is to be done with values.
#[derive(Clone, Debug)]
pub(crate) struct Separation {
    /// Values of this length and longer go to blob files.
    pub(crate) threshold_bytes: usize,
    pub(crate) codec: Codec,
    /// A table whose own blob file has grown to this is full.
    pub(crate) blob_bytes_max: u64,
    /// Holds the blob files that the inputs refer to.
    pub(crate) version: Arc<Version>,
    /// Values in these go to new ones.
    pub(crate) moved: SortedSet<u64>,
    /// What the values of a flushed memtable lie in already: the rest of them joins these.
    pub(crate) growing: Option<Arc<GrowingFile>>,
}

/// Values to blob files, one file after the other.
pub(crate) struct Separator<'a> {
    context: BuildContext<'a>,
    separation: Separation,
    output: Option<Output>,
    pub(crate) built: Vec<Arc<BlobFile>>,
    /// Of the files created.
    pub(crate) numbers: Vec<u64>,
    /// Bytes of the values that moved, by the file they left.
    pub(crate) moved_bytes: SortedMap<u64, u64>,
}

/// A file under construction.
struct Output {
    writer: BlobWriter,
    number: u64,
    file: File,
    offset: u64,
    /// What it is while it is not complete.
    growing: Option<Arc<GrowingFile>>,
}

impl<'a> Separator<'a> {
    pub(crate) fn new(context: BuildContext<'a>, separation: Separation) -> Self {
        let output = separation.growing.as_ref().map(|growing| {
            let (file, writer) = growing.complete();
            Output {
                number: growing.number(),
                offset: writer.taken(),
                writer,
                file,
                growing: Some(Arc::clone(growing)),
            }
        });
        Self {
            context,
            separation,
            output,
            built: Vec::new(),
            numbers: Vec::new(),
            moved_bytes: SortedMap::new(),
        }
    }

    /// Whether the table should end for the sake of its values.
    pub(crate) fn is_full(&self) -> bool {
        self.output
            .as_ref()
            .is_some_and(|output| output.writer.bytes() >= self.separation.blob_bytes_max)
    }

    /// Where the value of the entry lies now, if it is in a blob file.
    pub(crate) async fn place(&mut self, entry: &Entry<'_>) -> Result<Option<BlobIndex>> {
        let index = match entry.kind {
            Kind::Tombstone | Kind::Composite => return Ok(None),
            Kind::Value if entry.value.len() < self.separation.threshold_bytes => return Ok(None),
            Kind::Value => {
                let codec = self.separation.codec;
                self.output().await?.writer.add(entry.value, codec)
            }
            Kind::Blob => {
                let index = BlobIndex::decode(entry.value).map_err(|fault| fault.at("table", 0))?;
                if !self.separation.moved.contains(&index.file) {
                    return Ok(Some(index));
                }
                *self.moved_bytes.get_or_default(index.file) += u64::from(index.value_bytes);
                let value = self.separation.version.blob(index)?;
                let mode = self.context.mode;
                let output = self.output().await?;
                value
                    .with_record(mode, |record| Ok(output.writer.add_stored(&record)))
                    .await?
            }
        };
        self.write_pending(PIECE_BYTES).await?;
        Ok(Some(index))
    }

    async fn output(&mut self) -> Result<&mut Output> {
        let output = if let Some(output) = self.output.take() {
            output
        } else {
            let number = self.context.numbers.take();
            self.numbers.push(number);
            let name = unfinished_name(number);
            Output {
                writer: BlobWriter::new(number),
                number,
                file: self
                    .context
                    .storage
                    .create(self.context.mode, &name)
                    .await?,
                offset: 0,
                growing: None,
            }
        };
        Ok(self.output.insert(output))
    }

    /// Writes what waits, if that is `least_bytes` or more.
    async fn write_pending(&mut self, least_bytes: usize) -> Result<()> {
        if let Some(output) = &mut self.output
            && output.writer.pending_bytes() >= least_bytes
        {
            let piece = output.writer.take_pending();
            let length = piece.len() as u64;
            let (mode, offset) = (self.context.mode, output.offset);
            self.context.throttle.pass(piece.len(), mode).await?;
            output.file.write_at(mode, offset, piece).await?;
            output.offset += length;
        }
        Ok(())
    }

    /// The table ends: so does its blob file, if it has one.
    pub(crate) async fn end_table(&mut self) -> Result<()> {
        let Some(output) = self.output.take() else {
            return Ok(());
        };
        let mode = self.context.mode;
        let (rest, meta) = output.writer.finish();
        self.context.throttle.pass(rest.len(), mode).await?;
        output.file.write_at(mode, output.offset, rest).await?;
        if output.growing.is_some() {
            // A write that failed may have left more behind.
            output.file.set_len(mode, meta.bytes).await?;
        }
        output.file.sync_all(mode).await?;
        let built = if let Some(growing) = output.growing {
            growing.reader().completed(&meta)
        } else {
            let name = unfinished_name(output.number);
            let file = self.context.storage.open(mode, &name).await?;
            BlobFile::open_in(&file, &meta, self.context.files, mode).await?
        };
        self.built.push(built);
        Ok(())
    }
}
