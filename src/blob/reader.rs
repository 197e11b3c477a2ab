//! An open blob file, and the values in it.
//!
//! - Mapped, a value that is stored as it is is lent from the map; one that is compressed is decoded each time
//!   it is read. Neither needs I/O. Not mapped, a value is read from the file.
//! - A record's checksum is verified when it is first read; mapped, a bit remembers that.
//! - Whoever holds a [`BlobValue`] or [`BlobBytes`] keeps the file, on disk too: see `db::install`.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use trine_io::{Bytes, File, Mode};

use crate::blob::footer::{BLOB_FILE, FOOTER_BYTES, check_footer, is_plausible};
use crate::blob::{BlobIndex, BlobMeta};
use crate::block::frame::Frame;
use crate::cache::BlockCache;
use crate::compression::Codec;
use crate::error::{Error, Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::file_name::blob_name;

/// An open blob file. Shared by every version of the tree that refers to it.
#[derive(Debug)]
pub(crate) struct BlobFile {
    meta: BlobMeta,
    file: File,
    map: Option<Bytes>,
    /// A bit for each record of a mapped file whose checksum was found right.
    verified: Box<[AtomicU64]>,
    cache: Arc<BlockCache>,
}

impl BlobFile {
    /// Opens the file that `meta` describes and checks its header and footer.
    pub(crate) async fn open(
        file: &File,
        meta: &BlobMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        Self::check(file, meta, mode).await?;
        let map = file.map(mode, meta.bytes).await?;
        Ok(Self::assemble(file, meta, cache, map))
    }

    /// As `open`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn open_unmapped(
        file: &File,
        meta: &BlobMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        Self::check(file, meta, mode).await?;
        Ok(Self::assemble(file, meta, cache, None))
    }

    fn assemble(
        file: &File,
        meta: &BlobMeta,
        cache: &Arc<BlockCache>,
        map: Option<Bytes>,
    ) -> Arc<Self> {
        // No more records than the file has room for: `is_plausible`.
        let words = map.as_ref().map_or(0, |_| meta.values.div_ceil(64));
        Arc::new(Self {
            meta: *meta,
            file: file.clone(),
            map,
            verified: (0..words).map(|_| AtomicU64::new(0)).collect(),
            cache: Arc::clone(cache),
        })
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

    pub(crate) fn meta(&self) -> &BlobMeta {
        &self.meta
    }

    /// Checks header and footer once more, in the file and not in memory.
    pub(crate) async fn verify(&self, mode: Mode) -> Result<()> {
        Self::check(&self.file, &self.meta, mode).await
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

    /// The record's frame in the map, verified.
    fn in_place<'a>(
        &self,
        map: &'a Bytes,
        index: &BlobIndex,
    ) -> std::result::Result<Frame<'a>, Fault> {
        let framed = map
            .get(self.place(index)?)
            .ok_or(Fault::Field("blob index"))?;
        let word = usize::try_from(index.ordinal / 64)
            .ok()
            .and_then(|word| self.verified.get(word))
            .ok_or(Fault::Field("blob index"))?;
        let bit = 1u64 << (index.ordinal % 64);
        // Says nothing but that somebody found these immutable bytes right.
        let frame = if word.load(Relaxed) & bit == 0 {
            let frame = Frame::open(framed, self.meta.number, index.record.offset)?;
            word.fetch_or(bit, Relaxed);
            frame
        } else {
            Frame::parse(framed)?
        };
        agrees(&frame, index)?;
        Ok(frame)
    }
}

fn agrees(frame: &Frame<'_>, index: &BlobIndex) -> std::result::Result<(), Fault> {
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

    /// The value's bytes.
    pub(crate) async fn read(&self, mode: Mode) -> Result<BlobBytes> {
        match self.resident()? {
            Some(bytes) => {
                if mode == Mode::Cooperative {
                    self.file.cache.reads().add_ready_read();
                }
                Ok(bytes)
            }
            None => self.load(mode).await,
        }
    }

    /// The value's bytes, if that needs no I/O.
    pub(crate) fn resident(&self) -> Result<Option<BlobBytes>> {
        let Some(map) = &self.file.map else {
            return Ok(None);
        };
        let read = self.file.in_place(map, &self.index).and_then(|frame| {
            Ok(if frame.codec == Codec::None {
                let start = usize::try_from(self.index.record.offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(frame.stored.len());
                BlobBytes::InPlace {
                    file: Arc::clone(&self.file),
                    range: start..end,
                }
            } else {
                BlobBytes::Decoded(Arc::new(frame.decode()?))
            })
        });
        let bytes = read.map_err(|fault| self.file.corrupt(&self.index, fault))?;
        self.count();
        Ok(Some(bytes))
    }

    /// Reads the value from the file.
    pub(crate) async fn load(&self, mode: Mode) -> Result<BlobBytes> {
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
        let framed = self.file.file.read_at(mode, offset, range.len()).await?;
        Frame::open(&framed, self.file.meta.number, offset)
            .and_then(|frame| {
                agrees(&frame, &self.index)?;
                take(frame)
            })
            .map_err(corrupt)
    }

    fn count(&self) {
        self.file
            .cache
            .reads()
            .add_blob(u64::from(self.index.value_bytes));
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
                .map
                .as_ref()
                .and_then(|map| map.get(range.clone()))
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
