//! Everything of a table but its data blocks: read, checked and found.

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
use crate::filter::bloom;
use crate::range_tombstone::Fragments;
use crate::table::TableMeta;
use crate::table::footer::{FOOTER_BYTES, Footer, TABLE};
use crate::table::index::IndexLayout;
use crate::table::properties::Properties;
use crate::table::tombstones;

/// The checked parts. Ranges are of file offsets.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The bytes from `tail_start` to the footer.
    pub(crate) tail: Vec<u8>,
    pub(crate) tail_start: u64,
    /// Empty where the table has none; so is `prefix_filter`.
    pub(crate) filter: Range<u64>,
    pub(crate) prefix_filter: Range<u64>,
    pub(crate) index: Range<u64>,
    pub(crate) index_layout: IndexLayout,
    pub(crate) tombstones: Fragments,
    pub(crate) properties: Properties,
}

impl Parts {
    /// Reads and checks them. One read for header, footer and all that lies between data and footer each.
    pub(crate) async fn load(file: &File, meta: &TableMeta, mode: Mode) -> Result<Self> {
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

        // The footer's handles lie inside the file: what is allocated here is on disk.
        let range = footer.tail(bytes);
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| {
            Fault::Length {
                claimed: range.end,
                available: usize::MAX as u64,
            }
            .at(file.name(), range.start)
        })?;
        let tail = file.read_at(mode, range.start, length).await?;
        Self::parse(&footer, tail, range.start, meta)
            .map_err(|(fault, offset)| fault.at(file.name(), offset).into())
    }

    fn parse(
        footer: &Footer,
        tail: Vec<u8>,
        tail_start: u64,
        meta: &TableMeta,
    ) -> std::result::Result<Self, (Fault, u64)> {
        let section = |handle: BlockHandle| {
            section(&tail, tail_start, handle, meta.number).map_err(|fault| (fault, handle.offset))
        };
        let (filter, prefix_filter) = (section(footer.filter)?, section(footer.prefix_filter)?);
        let (tombstones, index) = (section(footer.tombstones)?, section(footer.index)?);
        let properties = section(footer.properties)?;

        bloom::check(filter).map_err(|fault| (fault, footer.filter.offset))?;
        bloom::check(prefix_filter).map_err(|fault| (fault, footer.prefix_filter.offset))?;
        let tombstones = if tombstones.is_empty() {
            Fragments::default()
        } else {
            tombstones::decode(tombstones).map_err(|fault| (fault, footer.tombstones.offset))?
        };
        let index_layout = IndexLayout::of(index).map_err(|fault| (fault, footer.index.offset))?;
        let properties = Properties::decode(properties)
            .and_then(|properties| {
                let agrees = properties.meta(meta.number, meta.bytes) == *meta
                    && properties.blocks == index_layout.count();
                agrees
                    .then_some(properties)
                    .ok_or(Fault::Field("table properties"))
            })
            .map_err(|fault| (fault, footer.properties.offset))?;
        Ok(Self {
            filter: range(footer.filter),
            prefix_filter: range(footer.prefix_filter),
            index: range(footer.index),
            index_layout,
            tombstones,
            properties,
            tail,
            tail_start,
        })
    }

    /// The bytes of `range` within the tail.
    pub(crate) fn bytes(&self, range: &Range<u64>) -> &[u8] {
        within(range, self.tail_start)
            .and_then(|range| self.tail.get(range))
            .unwrap_or_default()
    }
}

fn range(handle: BlockHandle) -> Range<u64> {
    handle.offset..handle.offset.saturating_add(u64::from(handle.length))
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
