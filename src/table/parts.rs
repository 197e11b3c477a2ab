//! Everything of a table but its data blocks: read, checked and found.
//!
//! The last parts are small and kept by whoever opens the table; filters and index are read where they are used in
//! the map or verified.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;

use trine_io::{File, Mode};

use crate::block::frame::{BlockHandle, Frame};
use crate::compression::Codec;
use crate::error::{Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::range_tombstone::Fragments;
use crate::table::TableMeta;
use crate::table::filter::Filter;
use crate::table::footer::{FOOTER_BYTES, Footer, TABLE};
use crate::table::index::{Index, IndexLayout, holds};
use crate::table::properties::Properties;
use crate::table::tombstones;

/// The checked parts.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) filter: Filter,
    pub(crate) prefix_filter: Filter,
    pub(crate) index: BlockHandle,
    /// File offset that no data block reaches beyond.
    pub(crate) data_end: u64,
    pub(crate) tombstones: Fragments,
    pub(crate) properties: Properties,
    /// Filters and index, if they were asked for.
    pub(crate) tail: Option<Tail>,
}

/// The bytes between data blocks and footer, filters and index found right.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) bytes: Vec<u8>,
    /// Where they lie in the file.
    pub(crate) start: u64,
    pub(crate) index_layout: IndexLayout,
}

impl Tail {
    /// The index, which lies at `handle`.
    pub(crate) fn index(&self, handle: BlockHandle) -> Option<Index<'_>> {
        let end = handle.offset.checked_add(handle.length.into())?;
        let bytes = self.bytes.get(within(&(handle.offset..end), self.start)?)?;
        Some(Index::new(bytes, self.index_layout))
    }
}

/// Reads and checks header and footer of the table that `meta` describes.
pub(crate) async fn ends(file: &File, meta: &TableMeta, mode: Mode) -> Result<Footer> {
    let bytes = file.len(mode).await?;
    let footer_offset = bytes.checked_sub(FOOTER_BYTES as u64);
    let (Some(footer_offset), true) = (footer_offset, bytes == meta.bytes) else {
        let fault = Fault::Length {
            claimed: meta.bytes,
            available: bytes,
        };
        return Err(fault.at(file.name(), 0).into());
    };
    let encoded = file.read_at(mode, footer_offset, FOOTER_BYTES).await?;
    let footer = Footer::decode(&encoded, meta.number, bytes)
        .map_err(|fault| fault.at(file.name(), footer_offset))?;
    let header = file.read_at(mode, 0, HEADER_BYTES).await?;
    TABLE
        .check_header(&header, meta.number)
        .map_err(|fault| fault.at(file.name(), 0))?;
    Ok(footer)
}

impl Parts {
    /// Reads and checks those between data blocks and `footer`, by one read; filters and index only if they
    /// are `wanted` too.
    pub(crate) async fn load(
        file: &File,
        meta: &TableMeta,
        footer: &Footer,
        wanted: bool,
        mode: Mode,
    ) -> Result<Self> {
        let start = if wanted {
            footer.data_end()
        } else {
            footer.kept_start()
        };
        // The footer's handles lie inside the file: what is allocated here is on disk.
        let end = meta.bytes.saturating_sub(FOOTER_BYTES as u64);
        let length = usize::try_from(end.saturating_sub(start)).map_err(|_| {
            Fault::Length {
                claimed: end,
                available: usize::MAX as u64,
            }
            .at(file.name(), start)
        })?;
        let bytes = file.read_at(mode, start, length).await?;
        let parsed = Self::parse(footer, &bytes, start, meta).and_then(|mut parts| {
            if wanted {
                let index_layout = parts.check_rest(&bytes, start, meta)?;
                parts.tail = Some(Tail {
                    bytes,
                    start,
                    index_layout,
                });
            }
            Ok(parts)
        });
        parsed.map_err(|(fault, offset)| fault.at(file.name(), offset).into())
    }

    fn parse(
        footer: &Footer,
        bytes: &[u8],
        start: u64,
        meta: &TableMeta,
    ) -> std::result::Result<Self, (Fault, u64)> {
        let section = |handle: BlockHandle| {
            section(bytes, start, handle, meta.number).map_err(|fault| (fault, handle.offset))
        };
        let tombstones = section(footer.tombstones)?;
        let properties = section(footer.properties)?;
        let filter =
            |handle: BlockHandle| Filter::of(handle).map_err(|fault| (fault, handle.offset));
        let tombstones = if tombstones.is_empty() {
            Fragments::default()
        } else {
            tombstones::decode(tombstones).map_err(|fault| (fault, footer.tombstones.offset))?
        };
        let properties = Properties::decode(properties)
            .and_then(|properties| {
                let agrees =
                    properties.meta_at(meta) == *meta && holds(footer.index, properties.blocks);
                agrees
                    .then_some(properties)
                    .ok_or(Fault::Field("table properties"))
            })
            .map_err(|fault| (fault, footer.properties.offset))?;
        Ok(Self {
            filter: filter(footer.filter)?,
            prefix_filter: filter(footer.prefix_filter)?,
            index: footer.index,
            data_end: footer.data_end(),
            tombstones,
            properties,
            tail: None,
        })
    }

    /// Checks filters and index.
    fn check_rest(
        &self,
        bytes: &[u8],
        start: u64,
        meta: &TableMeta,
    ) -> std::result::Result<IndexLayout, (Fault, u64)> {
        let section = |handle: BlockHandle| {
            section(bytes, start, handle, meta.number).map_err(|fault| (fault, handle.offset))
        };
        for filter in [self.filter, self.prefix_filter] {
            for number in 0..filter.partitions() {
                section(filter.partition(number))?;
            }
        }
        index_layout(section(self.index)?, self.properties.blocks)
            .map_err(|fault| (fault, self.index.offset))
    }
}

/// Where the parts of an index of a table of so many blocks are.
pub(crate) fn index_layout(bytes: &[u8], blocks: u32) -> std::result::Result<IndexLayout, Fault> {
    let layout = IndexLayout::of(bytes)?;
    if layout.count() == blocks {
        Ok(layout)
    } else {
        Err(Fault::Field("fence index"))
    }
}

/// A range of file offsets as one of bytes that begin at `start` of the file.
pub(crate) fn within(range: &Range<u64>, start: u64) -> Option<Range<usize>> {
    let relative = |offset: u64| usize::try_from(offset.checked_sub(start)?).ok();
    if range.is_empty() {
        return Some(0..0);
    }
    Some(relative(range.start)?..relative(range.end)?)
}

/// The checked bytes of a part; none for a zero handle.
fn section(
    tail: &[u8],
    tail_start: u64,
    handle: BlockHandle,
    number: u64,
) -> std::result::Result<&[u8], Fault> {
    if handle == BlockHandle::default() {
        return Ok(&[]);
    }
    let framed = handle
        .end()
        .and_then(|end| within(&(handle.offset..end), tail_start))
        .and_then(|range| tail.get(range))
        .ok_or(Fault::Field("footer"))?;
    let frame = Frame::open(framed, number, handle.offset)?;
    if frame.codec == Codec::None {
        Ok(frame.stored)
    } else {
        Err(Fault::Field("codec"))
    }
}
