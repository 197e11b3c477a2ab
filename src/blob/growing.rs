//! A blob file that takes values as they are committed, before any table refers to them.
//!
//! - It belongs to one memtable, whose entries refer to its values, and so does the log. The memtable's flush completes it and
//!   names it in the manifest, with the table that takes the references over.
//! - The commit leader alone adds values and hands them to the operating system, before their commit is logged.
//! - What was handed over never changes. A write that fails ends the file: later values go elsewhere.
//! - Syncing it comes before any sync of a segment of the log that refers to it: `wal::file`. A sync that failed is never tried again.
//!
//! docs/format.md, "Blob files"; docs/decisions/0017-values-written-once.md.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::{File, Mode, Operation, Storage};
use trine_platform::baton::Baton;

use crate::blob::reader::agrees;
use crate::blob::{BlobFile, BlobIndex, BlobMeta, BlobWriter};
use crate::block::frame::Frame;
use crate::compression::Codec;
use crate::error::{Fault, Result};
use crate::file_name::unfinished_name;
use crate::open_files::OpenFiles;

/// What reaches the disk whole or not at all.
const SECTOR_BYTES: usize = 512;

/// How much is gathered before it is written.
const PIECE_BYTES: usize = 1 << 20;

/// What became of a value that was committed and perhaps not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueState {
    Whole,
    /// A sector of it never arrived.
    Lost,
    /// It is there, and is not what was written.
    Damaged(Fault),
}

impl ValueState {
    /// Of the value that `index` leads to, where `framed` was found. A sector that never arrived reads as zeros, since the
    /// file was new.
    pub(crate) fn of(index: &BlobIndex, framed: &[u8]) -> Self {
        let offset = index.record.offset;
        let frame = Frame::open(framed, index.file, offset);
        match frame.and_then(|frame| agrees(&frame, index)) {
            Ok(()) => Self::Whole,
            Err(fault) => {
                let first = offset
                    .next_multiple_of(SECTOR_BYTES as u64)
                    .saturating_sub(offset);
                let first = usize::try_from(first).unwrap_or_default().min(framed.len());
                let (first, rest) = framed.split_at(first);
                let mut sectors = std::iter::once(first).chain(rest.chunks(SECTOR_BYTES));
                let is_blank =
                    |sector: &[u8]| !sector.is_empty() && sector.iter().all(|byte| *byte == 0);
                if sectors.any(is_blank) {
                    Self::Lost
                } else {
                    Self::Damaged(fault)
                }
            }
        }
    }
}

/// A blob file under construction by commits.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    storage: Storage,
    number: u64,
    file: File,
    reader: Arc<BlobFile>,
    /// Guards what is produced; held for a copy, never across I/O.
    state: Mutex<State>,
    /// Bytes below are with the operating system; its release publishes them to whoever syncs.
    written: AtomicU64,
    synced: Baton<Synced>,
}

#[derive(Debug)]
struct State {
    writer: BlobWriter,
    /// As of the last write that worked.
    meta: BlobMeta,
    ended: bool,
}

#[derive(Debug, Default)]
struct Synced {
    /// Bytes below are on disk.
    bytes: u64,
    /// The directory entry is.
    entered: bool,
    failed: bool,
}

impl GrowingFile {
    /// A new file `number`.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn create(
        storage: &Storage,
        files: &Arc<OpenFiles>,
        number: u64,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let file = storage.create(mode, &unfinished_name(number)).await?;
        let writer = BlobWriter::new(number);
        Ok(Self::new(storage, files, file, writer, 0))
    }

    fn new(
        storage: &Storage,
        files: &Arc<OpenFiles>,
        file: File,
        writer: BlobWriter,
        synced: u64,
    ) -> Arc<Self> {
        // Nothing is handed over yet, the header included, but what is on disk.
        let meta = BlobMeta {
            bytes: synced,
            ..writer.meta()
        };
        let ended = synced > 0;
        Arc::new(Self {
            storage: storage.clone(),
            number: meta.number,
            reader: BlobFile::growing(meta.number, &file, files),
            file,
            written: AtomicU64::new(synced),
            state: Mutex::new(State {
                writer,
                meta,
                ended,
            }),
            synced: Baton::new(Synced {
                bytes: synced,
                entered: ended,
                failed: false,
            }),
        })
    }

    /// The file that an earlier life left, of which `meta` is all that is referred to, and is on disk. It takes no more values.
    pub(crate) fn left(
        storage: &Storage,
        files: &Arc<OpenFiles>,
        file: File,
        meta: BlobMeta,
    ) -> Arc<Self> {
        Self::new(storage, files, file, BlobWriter::resume(meta), meta.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// For readers of what was handed over.
    pub(crate) fn reader(&self) -> &Arc<BlobFile> {
        &self.reader
    }

    /// How long it has become.
    pub(crate) fn bytes(&self) -> u64 {
        self.written.load(Acquire)
    }

    /// Takes a value, to be handed over by [`write`](Self::write); `None` once a write has failed. Commit leader only.
    pub(crate) fn add(&self, value: &[u8]) -> Option<BlobIndex> {
        let mut state = self.state();
        (!state.ended).then(|| state.writer.add(value, Codec::None))
    }

    /// Whether so much waits that it should be handed over.
    pub(crate) fn is_due(&self) -> bool {
        self.state().writer.pending_bytes() >= PIECE_BYTES
    }

    /// Hands what was taken to the operating system. Commit leader only.
    ///
    /// # Errors
    /// `Io`: nothing refers to what was taken since the last call, and the file takes no more values.
    pub(crate) async fn write(&self, mode: Mode) -> Result<()> {
        let (offset, piece) = {
            let mut state = self.state();
            // Whoever drops this future leaves the file ended.
            state.ended = true;
            (state.writer.taken(), state.writer.take_pending())
        };
        let buffer = self.file.write_at(mode, offset, piece).await?;
        let mut state = self.state();
        state.writer.reuse(buffer);
        state.meta = state.writer.meta();
        state.ended = false;
        self.written.store(state.meta.bytes, Release);
        Ok(())
    }

    /// Makes all that was handed over survive power loss.
    ///
    /// # Errors
    /// `Io`, from whoever tried it, and for ever after: a sync is never retried.
    pub(crate) async fn sync(&self, mode: Mode) -> trine_io::Result<()> {
        let mut synced = self.synced.take().await;
        if synced.failed {
            return Err(self.earlier());
        }
        let written = self.bytes();
        if synced.bytes >= written {
            return Ok(());
        }
        // An abandoned sync counts as failed: what it did is not known.
        synced.failed = true;
        self.file.sync_data(mode).await?;
        if !synced.entered {
            self.storage.sync_directory(mode).await?;
            synced.entered = true;
        }
        synced.bytes = written;
        synced.failed = false;
        Ok(())
    }

    fn earlier(&self) -> trine_io::Error {
        trine_io::Error {
            operation: Operation::SyncData,
            name: self.file.name().to_owned(),
            offset: None,
            source: std::io::Error::other("an earlier sync of it failed"),
        }
    }

    /// What completes it, for the flush of its memtable, which nobody adds to any more.
    pub(crate) fn complete(&self) -> (File, BlobWriter) {
        let meta = self.state().meta;
        (self.file.clone(), BlobWriter::resume(meta))
    }

    /// It is not needed, or not any more.
    pub(crate) async fn remove(&self, mode: Mode) {
        // A failure leaves debris, which the next open removes.
        drop(
            self.storage
                .remove(mode, &unfinished_name(self.number))
                .await,
        );
    }
}
