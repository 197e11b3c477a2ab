//! A blob file and the values in it.
//!
//! - Its file is not touched before a value is read; what is wrong with its header or footer is found then.
//! - Mapped, a value that is stored as it is is lent from the map; one that is compressed is decoded each time
//!   it is read. Neither needs I/O. Not mapped, a value is read from the file.
//! - A record's checksum is verified when it is first read. If its value is lent from the map, that is remembered for the place of the record,
//!   and from then on nothing of it is touched but by whoever borrows the value.
//! - Whoever holds a [`BlobValue`] or [`BlobBytes`] keeps the file, on disk too: see `db::install`. Once the
//!   database is closed only an open file is safe.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use trine_io::{Bytes, File, Mode};

use crate::blob::footer::{BLOB_FILE, FOOTER_BYTES, check_footer, is_plausible};
use crate::blob::{BlobIndex, BlobMeta};
use crate::block::frame::{FRAME_BYTES, Frame};
use crate::compression::Codec;
use crate::error::{Error, Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::file_name::blob_name;
use crate::open_files::{Handle, OpenFiles};
use crate::prefetch::fetch_pages;
use crate::read_counters::ReadCounters;

/// A blob file of a version, opened when a value of it is first read. Shared by every version of the tree that refers to it.
#[derive(Debug)]
pub(crate) struct BlobFile {
    meta: BlobMeta,
    handle: Handle<Opened>,
}

/// What opening a blob file yields.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    map: Option<Bytes>,
    /// Where each record of a mapped file begins, in as many bits, if its value lies there as it is and its checksum was found right;
    /// else 0.
    verified: Box<[AtomicU32]>,
}

impl BlobFile {
    /// The file that `meta` describes. It is not touched.
    pub(crate) fn closed(meta: &BlobMeta, files: &Arc<OpenFiles>) -> Arc<Self> {
        Arc::new(Self {
            meta: *meta,
            handle: Handle::closed(files),
        })
    }

    /// As `closed`, and opens it at once: `file` is its file, whatever that is called at the moment.
    pub(crate) async fn open_in(
        file: &File,
        meta: &BlobMeta,
        files: &Arc<OpenFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let opened = Opened::load(file, meta, mode).await?;
        let blob_file = Self::closed(meta, files);
        blob_file.handle.set(opened);
        Ok(blob_file)
    }

    /// File `number`, which grows: whoever has an index to a value in it may read that from `file`.
    pub(crate) fn growing(number: u64, file: &File, files: &Arc<OpenFiles>) -> Arc<Self> {
        let meta = BlobMeta {
            number,
            bytes: u64::MAX,
            values: u64::MAX,
            value_bytes: 0,
        };
        let blob_file = Self::closed(&meta, files);
        blob_file.handle.set(Opened::new(file, &meta, None));
        blob_file
    }

    /// The same file once it is complete. It is not open: it may have to be completed once more, and a mapped file never changes.
    pub(crate) fn completed(&self, meta: &BlobMeta) -> Arc<Self> {
        Arc::new(Self {
            meta: *meta,
            handle: self.handle.fresh(),
        })
    }

    /// As `open_in`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn open_unmapped(
        file: &File,
        meta: &BlobMeta,
        files: &Arc<OpenFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        check(file, meta, mode).await?;
        let blob_file = Self::closed(meta, files);
        blob_file.handle.set(Opened::new(file, meta, None));
        Ok(blob_file)
    }

    /// The same file, not open.
    pub(crate) fn fresh(&self) -> Arc<Self> {
        Arc::new(Self {
            meta: self.meta,
            handle: self.handle.fresh(),
        })
    }

    pub(crate) fn meta(&self) -> &BlobMeta {
        &self.meta
    }

    pub(crate) fn handle(&self) -> &Handle<Opened> {
        &self.handle
    }

    async fn file(&self, mode: Mode) -> Result<File> {
        let number = self.meta.number;
        let files = self.handle.files();
        files.open(number, &blob_name(number), mode).await
    }

    /// Opens it, if it is not open, and checks its header and footer.
    pub(crate) async fn open(&self, mode: Mode) -> Result<&Opened> {
        self.handle.touch();
        if let Some(opened) = self.handle.opened() {
            return Ok(opened);
        }
        let file = self.file(mode).await?;
        let opened = Opened::load(&file, &self.meta, mode).await?;
        Ok(self.handle.set(opened))
    }

    /// Checks header and footer, in the file and not in memory.
    pub(crate) async fn verify(&self, mode: Mode) -> Result<()> {
        check(&self.file(mode).await?, &self.meta, mode).await
    }

    fn reads(&self) -> &ReadCounters {
        self.handle.files().cache().reads()
    }

    fn corrupt(&self, index: &BlobIndex, fault: Fault) -> Error {
        // The file may have been opened while it was still called unfinished.
        fault
            .at(&blob_name(self.meta.number), index.record.offset)
            .into()
    }

    /// Where the record lies, if it lies where records may.
    fn place(&self, index: &BlobIndex) -> std::result::Result<Range<usize>, Fault> {
        let limit = self.meta.bytes.saturating_sub(FOOTER_BYTES as u64);
        let end = index.record.end().filter(|end| *end <= limit);
        let inside = index.record.offset >= HEADER_BYTES as u64
            && index.file == self.meta.number
            && index.ordinal < self.meta.values;
        let range = end.filter(|_| inside).and_then(|end| {
            Some(usize::try_from(index.record.offset).ok()?..usize::try_from(end).ok()?)
        });
        range.ok_or(Fault::Field("blob index"))
    }

    /// The value in `map`, the open file's, verified.
    fn in_place(
        self: &Arc<Self>,
        opened: &Opened,
        map: &Bytes,
        index: &BlobIndex,
    ) -> std::result::Result<BlobBytes, Fault> {
        let misplaced = || Fault::Field("blob index");
        let range = self.place(index)?;
        let framed = map.get(range.clone()).ok_or_else(misplaced)?;
        fetch_pages(framed);
        let verified = usize::try_from(index.ordinal).ok();
        let verified = verified.and_then(|ordinal| opened.verified.get(ordinal));
        let (verified, place) = (verified.ok_or_else(misplaced)?, low_half(range.start));
        let lend = || BlobBytes::InPlace {
            file: Arc::clone(self),
            range: range.start..range.end.saturating_sub(FRAME_BYTES),
        };
        // Says nothing but that somebody found these immutable bytes right.
        let is_verified = place != 0 && verified.load(Relaxed) == place;
        if is_verified && index.record.length == index.value_bytes {
            return Ok(lend());
        }
        let frame = Frame::open(framed, self.meta.number, index.record.offset)?;
        agrees(&frame, index)?;
        if frame.codec == Codec::None {
            verified.store(place, Relaxed);
            Ok(lend())
        } else {
            Ok(BlobBytes::Decoded(Arc::new(frame.decode()?)))
        }
    }
}

/// Fails unless the file, read anew, is the one that `meta` describes.
async fn check(file: &File, meta: &BlobMeta, mode: Mode) -> Result<()> {
    let at = |fault: Fault, offset| Error::from(fault.at(&blob_name(meta.number), offset));
    let bytes = file.len(mode).await?;
    if bytes != meta.bytes || !is_plausible(meta) {
        let fault = Fault::Length {
            claimed: meta.bytes,
            available: bytes,
        };
        return Err(at(fault, 0));
    }
    let header = file.read_at(mode, 0, HEADER_BYTES).await?;
    BLOB_FILE
        .check_header(&header, meta.number)
        .map_err(|fault| at(fault, 0))?;
    let offset = bytes.saturating_sub(FOOTER_BYTES as u64);
    let footer = file.read_at(mode, offset, FOOTER_BYTES).await?;
    check_footer(&footer, meta).map_err(|fault| at(fault, offset))
}

impl Opened {
    /// Checks header and footer, and maps what can be mapped.
    async fn load(file: &File, meta: &BlobMeta, mode: Mode) -> Result<Self> {
        check(file, meta, mode).await?;
        let map = file.map(mode, meta.bytes).await?;
        Ok(Self::new(file, meta, map))
    }

    fn new(file: &File, meta: &BlobMeta, map: Option<Bytes>) -> Self {
        // No more records than the file has room for: `is_plausible`.
        let records = map.as_ref().map_or(0, |_| meta.values);
        Self {
            file: file.clone(),
            map,
            verified: (0..records).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// What is remembered of an offset: it cannot be mistaken for another one of a file below 4 GiB. 0, which a record may have only
/// behind that, is not taken for anything.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low_half(offset: usize) -> u32 {
    offset as u32
}

/// Fails unless the frame is of the value that `index` describes.
pub(super) fn agrees(frame: &Frame<'_>, index: &BlobIndex) -> std::result::Result<(), Fault> {
    if frame.raw_bytes == index.value_bytes {
        Ok(())
    } else {
        Err(Fault::Field("blob index"))
    }
}

/// A value that can be read from its file for as long as this lives.
#[derive(Clone, Debug)]
pub(crate) struct BlobValue {
    file: Arc<BlobFile>,
    index: BlobIndex,
}

impl BlobValue {
    pub(crate) fn new(file: Arc<BlobFile>, index: BlobIndex) -> Self {
        Self { file, index }
    }

    pub(crate) fn index(&self) -> &BlobIndex {
        &self.index
    }

    /// Opens the value's file, if it is not open. From then on the value can be read whatever becomes of the file.
    pub(crate) async fn open(&self, mode: Mode) -> Result<()> {
        self.file.open(mode).await.map(drop)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.handle.is_open()
    }

    /// The value's bytes.
    pub(crate) async fn read(&self, mode: Mode) -> Result<BlobBytes> {
        match self.resident()? {
            Some(bytes) => {
                if mode == Mode::Cooperative {
                    self.file.reads().add_ready_read();
                }
                Ok(bytes)
            }
            None => self.load(mode).await,
        }
    }

    /// The value's bytes, if that needs no I/O.
    pub(crate) fn resident(&self) -> Result<Option<BlobBytes>> {
        self.file.handle.touch();
        match self.file.handle.opened() {
            Some(opened) => self.mapped(opened),
            None => Ok(None),
        }
    }

    /// The value's bytes, if its file is mapped.
    fn mapped(&self, opened: &Opened) -> Result<Option<BlobBytes>> {
        let Some(map) = &opened.map else {
            return Ok(None);
        };
        let read = self.file.in_place(opened, map, &self.index);
        let bytes = read.map_err(|fault| self.file.corrupt(&self.index, fault))?;
        self.count();
        Ok(Some(bytes))
    }

    /// Opens the file, if it is not open, and reads the value from it unless it is mapped.
    pub(crate) async fn load(&self, mode: Mode) -> Result<BlobBytes> {
        let opened = self.file.open(mode).await?;
        if let Some(bytes) = self.mapped(opened)? {
            return Ok(bytes);
        }
        let value = self.with_record(mode, |record| record.decode()).await?;
        self.count();
        Ok(BlobBytes::Decoded(Arc::new(value)))
    }

    /// What `take` makes of the record, read from the file and verified whatever is in memory; not counted.
    pub(crate) async fn with_record<R>(
        &self,
        mode: Mode,
        take: impl FnOnce(Frame<'_>) -> std::result::Result<R, Fault>,
    ) -> Result<R> {
        let corrupt = |fault| self.file.corrupt(&self.index, fault);
        let range = self.file.place(&self.index).map_err(corrupt)?;
        let offset = self.index.record.offset;
        let file = &self.file.open(mode).await?.file;
        let framed = file.read_at(mode, offset, range.len()).await?;
        Frame::open(&framed, self.file.meta.number, offset)
            .and_then(|frame| {
                agrees(&frame, &self.index)?;
                take(frame)
            })
            .map_err(corrupt)
    }

    fn count(&self) {
        let bytes = u64::from(self.index.value_bytes);
        self.file.reads().add_blob(bytes);
    }
}

/// A value's bytes, and what keeps them.
#[derive(Clone, Debug)]
pub(crate) enum BlobBytes {
    InPlace {
        file: Arc<BlobFile>,
        range: Range<usize>,
    },
    Decoded(Arc<Vec<u8>>),
}

impl Deref for BlobBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace { file, range } => file
                .handle
                .opened()
                .and_then(|opened| opened.map.as_ref()?.get(range.clone()))
                .unwrap_or_default(),
            Self::Decoded(bytes) => bytes,
        }
    }
}

impl BlobBytes {
    /// A copy of its own, or the decoded bytes if nobody else holds them.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Decoded(bytes) => Arc::unwrap_or_clone(bytes),
            Self::InPlace { .. } => self.to_vec(),
        }
    }
}
