//! What a table file consists of, as far as it can be read: for those who look at damage, or save what is left.
//!
//! - Nothing of the file is believed that its own checksum does not cover, and nothing else is needed: not the manifest.
//! - Where footer and index hold they say where the blocks are. Else the blocks are found one after the other: a frame's
//!   checksum covers its place, so a frame is where one holds.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use trine_io::{File, Mode};

use crate::block::Block;
use crate::block::frame::{BlockHandle, FRAME_BYTES, Frame};
use crate::block::iter::BlockCursor;
use crate::error::{Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::frame_search::FrameSearch;
use crate::range_tombstone::Fragments;
use crate::table::filter::Filter;
use crate::table::footer::{FOOTER_BYTES, Footer, TABLE, aligned};
use crate::table::index::{Index, IndexLayout};
use crate::table::properties::Properties;
use crate::table::tombstones;

/// What a part between data blocks and footer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    Filter,
    PrefixFilter,
    Index,
    Tombstones,
    Properties,
    /// It was found without a footer, and is none of those that tell what they are.
    Unnamed,
}

/// A part between data blocks and footer.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: PartKind,
    pub(crate) handle: BlockHandle,
    /// Its own bytes.
    pub(crate) bytes: std::result::Result<Vec<u8>, Fault>,
}

/// Where a data block lies, and above which keys nothing of it is, if the index says so.
#[derive(Debug)]
pub(crate) struct DataBlock {
    pub(crate) handle: BlockHandle,
    pub(crate) separator: Option<Vec<u8>>,
}

/// What was found of a table.
#[derive(Debug)]
pub(crate) struct Anatomy {
    pub(crate) file: File,
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) header: std::result::Result<(), Fault>,
    pub(crate) footer: std::result::Result<Footer, Fault>,
    pub(crate) parts: Vec<Part>,
    pub(crate) blocks: Vec<DataBlock>,
    /// Where no block was found, though there must have been some.
    pub(crate) lost: Vec<Range<u64>>,
    /// `None`: there may have been some.
    pub(crate) tombstones: Option<Fragments>,
    pub(crate) properties: Option<Properties>,
}

impl Anatomy {
    /// Looks at the table file of this number.
    ///
    /// # Errors
    /// `Io` only; `UnsupportedFormat` where header or footer are right and of another version.
    pub(crate) async fn of(file: File, number: u64, mode: Mode) -> Result<Self> {
        let bytes = file.len(mode).await?;
        let header = if bytes >= HEADER_BYTES as u64 {
            TABLE.check_header(&file.read_at(mode, 0, HEADER_BYTES).await?, number)
        } else {
            Err(short(HEADER_BYTES, bytes))
        };
        let footer = match bytes.checked_sub(FOOTER_BYTES as u64) {
            Some(start) => {
                let encoded = file.read_at(mode, start, FOOTER_BYTES).await?;
                Footer::decode(&encoded, number, bytes)
            }
            None => Err(short(FOOTER_BYTES, bytes)),
        };
        if let Err(fault @ Fault::Version(_)) = &footer {
            return Err(fault.clone().at(file.name(), bytes).into());
        }
        let mut anatomy = Self {
            file,
            number,
            bytes,
            header,
            footer,
            parts: Vec::new(),
            blocks: Vec::new(),
            lost: Vec::new(),
            tombstones: None,
            properties: None,
        };
        match anatomy.footer.clone() {
            Ok(footer) => anatomy.by_footer(&footer, mode).await?,
            Err(_) => anatomy.by_search(bytes, mode).await?,
        }
        Ok(anatomy)
    }

    /// The frame at `handle`, checked.
    async fn part(&mut self, kind: PartKind, handle: BlockHandle, mode: Mode) -> Result<()> {
        let bytes = self.frame(handle, mode).await?;
        self.parts.push(Part {
            kind,
            handle,
            bytes,
        });
        Ok(())
    }

    async fn frame(
        &self,
        handle: BlockHandle,
        mode: Mode,
    ) -> Result<std::result::Result<Vec<u8>, Fault>> {
        let (Some(length), Some(end)) = (handle.framed_bytes(), handle.end()) else {
            return Ok(Err(Fault::Field("block handle")));
        };
        if end > self.bytes {
            return Ok(Err(Fault::Length {
                claimed: end,
                available: self.bytes,
            }));
        }
        let framed = self.file.read_once_at(mode, handle.offset, length).await?;
        Ok(Frame::open(&framed, self.number, handle.offset).and_then(|frame| frame.decode()))
    }

    async fn by_footer(&mut self, footer: &Footer, mode: Mode) -> Result<()> {
        for (kind, handle) in [
            (PartKind::Filter, footer.filter),
            (PartKind::PrefixFilter, footer.prefix_filter),
        ] {
            match Filter::of(handle) {
                Ok(filter) => {
                    for partition in 0..filter.partitions() {
                        self.part(kind, filter.partition(partition), mode).await?;
                    }
                }
                Err(fault) => self.parts.push(Part {
                    kind,
                    handle,
                    bytes: Err(fault),
                }),
            }
        }
        self.part(PartKind::Index, footer.index, mode).await?;
        let index = self.parts.last().and_then(|part| part.bytes.as_ref().ok());
        let blocks = index.and_then(|bytes| by_index(bytes).ok());
        if footer.tombstones == BlockHandle::default() {
            self.tombstones = Some(Fragments::default());
        } else {
            self.part(PartKind::Tombstones, footer.tombstones, mode)
                .await?;
            self.tombstones = self.decoded(tombstones::decode);
        }
        self.part(PartKind::Properties, footer.properties, mode)
            .await?;
        self.properties = self.decoded(Properties::decode);
        match blocks {
            Some(blocks) => self.blocks = blocks,
            None => self.by_search(footer.data_end(), mode).await?,
        }
        Ok(())
    }

    /// What the last part says.
    fn decoded<T>(&self, decode: impl FnOnce(&[u8]) -> std::result::Result<T, Fault>) -> Option<T> {
        let bytes = self.parts.last()?.bytes.as_ref().ok()?;
        decode(bytes).ok()
    }

    /// Finds data blocks below `limit`, and, if there is no footer, the parts behind them.
    async fn by_search(&mut self, limit: u64, mode: Mode) -> Result<()> {
        let search = FrameSearch::new(&self.file, self.number, limit);
        let mut at = HEADER_BYTES as u64;
        let mut in_data = true;
        let mut found = Vec::new();
        while at.saturating_add(FRAME_BYTES as u64) <= limit {
            let next = aligned(at).unwrap_or(limit);
            let handle = match search.frame_at(at, mode).await? {
                Some(handle) => Some(handle),
                None if next > at => search.frame_at(next, mode).await?,
                None => None,
            };
            let handle = match handle {
                Some(handle) => handle,
                None => match search.first_frame_after(at, mode).await? {
                    Some(handle) => {
                        self.lost.push(at..handle.offset);
                        handle
                    }
                    None => break,
                },
            };
            at = handle.end().unwrap_or(limit);
            let bytes = self.frame(handle, mode).await?;
            in_data = in_data && bytes.as_ref().is_ok_and(|bytes| is_data(bytes));
            if in_data {
                self.blocks.push(DataBlock {
                    handle,
                    separator: None,
                });
            } else {
                found.push(Part {
                    kind: PartKind::Unnamed,
                    handle,
                    bytes,
                });
            }
        }
        if self.footer.is_err() {
            self.name(found);
        }
        Ok(())
    }

    /// Tells what the parts are that were found behind the data blocks, in the order of the file.
    fn name(&mut self, mut found: Vec<Part>) {
        let decoded = |part: &Part| Properties::decode(part.bytes.as_ref().ok()?).ok();
        if let Some(last) = found.last_mut()
            && let Some(properties) = decoded(last)
        {
            last.kind = PartKind::Properties;
            if properties.range_tombstones == 0 {
                self.tombstones = Some(Fragments::default());
            } else if let Some(part) = found.iter_mut().rev().nth(1) {
                let bytes = part.bytes.as_ref().ok();
                self.tombstones = bytes.and_then(|bytes| tombstones::decode(bytes).ok());
                part.kind = PartKind::Tombstones;
            }
            self.properties = Some(properties);
        }
        self.parts = found;
    }

    /// The entries of a block, to `visit`, in order.
    pub(crate) async fn entries(
        &self,
        block: &DataBlock,
        mut visit: impl FnMut(&crate::internal_key::Entry<'_>),
        mode: Mode,
    ) -> Result<std::result::Result<(), Fault>> {
        let bytes = self.frame(block.handle, mode).await?;
        Ok(bytes.and_then(|bytes| walk(&bytes, &mut visit)))
    }
}

/// The entries of a decoded block, in order.
fn walk(
    bytes: &[u8],
    visit: &mut impl FnMut(&crate::internal_key::Entry<'_>),
) -> std::result::Result<(), Fault> {
    let block = Block::parse(bytes)?;
    let mut cursor = BlockCursor::default();
    cursor.enter(block, 0)?;
    loop {
        let entry = cursor.entry(block).ok_or(Fault::Field("block entry"))?;
        visit(&entry);
        if !cursor.next(block)? {
            return Ok(());
        }
    }
}

/// Whether these are a data block's bytes: entries in order from end to end.
fn is_data(bytes: &[u8]) -> bool {
    let mut previous: Option<Vec<u8>> = None;
    let mut in_order = true;
    let walked = walk(bytes, &mut |entry| {
        in_order &= previous
            .as_deref()
            .is_none_or(|previous| previous <= entry.key);
        previous = Some(entry.key.to_vec());
    });
    walked.is_ok() && in_order
}

fn by_index(bytes: &[u8]) -> std::result::Result<Vec<DataBlock>, Fault> {
    let layout = IndexLayout::of(bytes)?;
    let index = Index::new(bytes, layout);
    let mut blocks = Vec::new();
    for number in 0..index.count() {
        blocks.push(DataBlock {
            handle: index.handle(number)?,
            separator: Some(index.separator(number)?),
        });
    }
    Ok(blocks)
}

fn short(claimed: usize, available: u64) -> Fault {
    Fault::Length {
        claimed: claimed as u64,
        available,
    }
}
