//! An open table: its parts in place, and how one of its blocks becomes readable.
//!
//! - Mapped, a block that is stored as it is is lent from the map once it is believed to be in memory and
//!   its checksum was verified, both by [`crate::residency`]. A compressed block is decoded once into
//!   the cache. Neither needs I/O; a block that is not believed to be in memory is [`Missing`].
//! - Not mapped, every block is loaded into the cache; one that is not there is [`Missing`].

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;
use std::sync::Arc;

use crossbeam_epoch::Guard;
use trine_io::{Bytes, File, Mode};

use crate::block::frame::{BlockHandle, Frame};
use crate::block::{BlockRef, Trailer};
use crate::cache::{BlockCache, CachedBlock, Slots};
use crate::compression::Codec;
use crate::cursor::Halt;
use crate::error::{Error, Fault, Result};
use crate::file_name::table_name;
use crate::filter::bloom;
use crate::filter::prefix::SharedPrefix;
use crate::hash::KeyHash;
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::Fragments;
use crate::read_counters::ReadCounters;
use crate::residency::Residency;
use crate::table::footer::HEADER_BYTES;
use crate::table::index::{Index, IndexLayout};
use crate::table::lookup::{Access, Pin, Resident};
use crate::table::parts::{Parts, within};
use crate::table::{Missing, TableMeta};

/// An open table. Shared by every version of the tree that holds it.
#[derive(Debug)]
pub(crate) struct Table {
    meta: TableMeta,
    file: File,
    /// Whether blocks are lent from `bytes`.
    mapped: bool,
    /// The whole file if mapped, else what lies between data blocks and footer. The ranges are into it.
    bytes: Bytes,
    /// Whether any block is compressed: then they are looked for in the cache first.
    compresses: bool,
    filter: Range<usize>,
    prefix_filter: Range<usize>,
    index: Range<usize>,
    index_layout: IndexLayout,
    /// File offset that no data block reaches beyond.
    data_end: u64,
    extractor: PrefixExtractor,
    tombstones: Fragments,
    /// A place for each block if mapped, else none.
    residency: Residency,
    slots: Slots,
}

impl Table {
    /// Opens the table that `meta` describes and verifies all of it but the data blocks.
    pub(crate) async fn open(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let parts = Parts::load(file, meta, mode).await?;
        let map = file.map(mode, meta.bytes).await?;
        Self::assemble(file, meta, cache, parts, map)
    }

    /// As `open`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn open_unmapped(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let parts = Parts::load(file, meta, mode).await?;
        Self::assemble(file, meta, cache, parts, None)
    }

    fn assemble(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        parts: Parts,
        map: Option<Bytes>,
    ) -> Result<Arc<Self>> {
        let map = map.filter(|map| map.len() as u64 == meta.bytes);
        let mapped = map.is_some();
        let start = if mapped { 0 } else { parts.tail_start };
        let find = |range: &Range<u64>| {
            within(range, start)
                .ok_or_else(|| Error::from(Fault::Field("footer").at(file.name(), range.start)))
        };
        let blocks = parts.index_layout.count();
        let places = if mapped { blocks } else { 0 };
        let residency = Residency::new(places, cache.clock());
        if !map.as_ref().is_some_and(Bytes::is_mapped) {
            // In memory for good.
            residency.mark(&(0..places));
        }
        let properties = &parts.properties;
        Ok(Arc::new(Self {
            meta: meta.clone(),
            file: file.clone(),
            mapped,
            compresses: properties.stored_data_bytes < properties.raw_data_bytes,
            filter: find(&parts.filter)?,
            prefix_filter: find(&parts.prefix_filter)?,
            index: find(&parts.index)?,
            index_layout: parts.index_layout,
            data_end: parts.tail_start,
            extractor: parts.properties.extractor,
            tombstones: parts.tombstones,
            residency,
            slots: Slots::new(cache, blocks),
            bytes: map.unwrap_or_else(|| Bytes::from_vec(parts.tail)),
        }))
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether it may have a point entry of the key with this hash, as its filter says; `None` if it
    /// has no filter. Says nothing of range tombstones.
    #[inline]
    pub(crate) fn may_contain(&self, hash: KeyHash) -> Option<bool> {
        let filter = self.bytes.get(self.filter.clone())?;
        (!filter.is_empty()).then(|| bloom::may_contain(filter, hash))
    }

    /// Whether it may have a point entry whose key has this prefix, as its filter says; `None` if
    /// it has no filter of this extractor. Says nothing of range tombstones.
    pub(crate) fn may_contain_prefix(&self, prefix: &SharedPrefix) -> Option<bool> {
        // Tables that were written with another extractor know nothing of this one's prefixes.
        if *prefix.extractor() != self.extractor {
            return None;
        }
        let filter = self.bytes.get(self.prefix_filter.clone())?;
        (!filter.is_empty()).then(|| prefix.may_be_in(filter))
    }

    /// The counters of the database's reads.
    #[inline]
    pub(crate) fn reads(&self) -> &ReadCounters {
        self.slots.cache().reads()
    }

    pub(crate) fn tombstones(&self) -> &Fragments {
        &self.tombstones
    }

    /// About how many bytes of the file lie before `key`. Needs nothing of the data blocks.
    pub(crate) fn approximate_offset(&self, key: &[u8]) -> u64 {
        let index = self.index(&self.bytes);
        index
            .find(key)
            .and_then(|number| index.handle(number))
            .map_or(self.data_end, |handle| handle.offset)
    }

    /// What the map, or what was read instead, holds.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn index<'a>(&self, bytes: &'a [u8]) -> Index<'a> {
        let index = bytes.get(self.index.clone()).unwrap_or_default();
        Index::new(index, self.index_layout)
    }

    /// The error for a fault in block `number`.
    #[cold]
    pub(crate) fn corrupt(&self, number: u32, fault: Fault) -> Error {
        let handle = self.index(&self.bytes).handle(number);
        let offset = handle.map_or(self.data_end, |handle| handle.offset);
        // The file may have been opened while it was still called unfinished.
        fault.at(&table_name(self.meta.number), offset).into()
    }

    /// Block `number`, if it can be read without I/O.
    #[expect(clippy::inline_always, reason = "as `in_place`")]
    #[inline(always)]
    pub(crate) fn resident<'g>(
        self: &'g Arc<Self>,
        index: Index<'g>,
        number: u32,
        supplied: Option<&'g Arc<CachedBlock>>,
        guard: &'g Guard,
    ) -> std::result::Result<Resident<'g>, Halt<Missing>> {
        match self.ready(index, number, supplied, guard)? {
            Some(resident) => Ok(resident),
            None => self.first_use(index, number, guard),
        }
    }

    /// Block `number`, if it is verified and decoded already.
    #[expect(clippy::inline_always, reason = "as `in_place`")]
    #[inline(always)]
    pub(crate) fn ready<'g>(
        self: &'g Arc<Self>,
        index: Index<'g>,
        number: u32,
        supplied: Option<&'g Arc<CachedBlock>>,
        guard: &'g Guard,
    ) -> Result<Option<Resident<'g>>> {
        if let Some(supplied) = supplied
            && supplied.is(self.meta.number, number)
        {
            return Ok(Some(Resident {
                block: supplied.block(),
                pin: Pin::Supplied(supplied),
                access: Access::Supplied,
            }));
        }
        if !self.compresses
            && let Some(resident) = self.in_place(index, number)?
        {
            return Ok(Some(resident));
        }
        if let Some(loan) = self.slots.get(number, guard) {
            return Ok(Some(Resident {
                block: loan.get().block(),
                pin: Pin::Cached(loan),
                access: Access::Ready,
            }));
        }
        if self.compresses {
            return self.in_place(index, number);
        }
        Ok(None)
    }

    #[expect(
        clippy::inline_always,
        reason = "a block's layout must not travel through memory"
    )]
    #[inline(always)]
    fn in_place<'g>(
        self: &'g Arc<Self>,
        index: Index<'g>,
        number: u32,
    ) -> Result<Option<Resident<'g>>> {
        let Some(trailer) = self.residency.trailer(number) else {
            return Ok(None);
        };
        let found = index.handle(number).and_then(|handle| {
            let start = usize::try_from(handle.offset).ok();
            let stored = start.and_then(|start| {
                let end = start.checked_add(usize::try_from(handle.length).ok()?)?;
                Some((start, self.bytes().get(start..end)?))
            });
            let (start, stored) = stored.ok_or(Fault::Field("block handle"))?;
            Ok(Resident {
                block: BlockRef::new(stored, trailer.layout(stored.len())?),
                pin: Pin::InPlace { start },
                access: Access::Ready,
            })
        });
        match found {
            Ok(resident) => Ok(Some(resident)),
            Err(fault) => Err(self.corrupt(number, fault)),
        }
    }

    /// Verifies block `number` in the map if it is in memory, or says that it must be read.
    #[cold]
    fn first_use<'g>(
        self: &'g Arc<Self>,
        index: Index<'g>,
        number: u32,
        guard: &'g Guard,
    ) -> std::result::Result<Resident<'g>, Halt<Missing>> {
        if !self.residency.has(number) {
            return Err(Halt::Needs(Missing::new(self, number)));
        }
        let verified = self.data_handle(index, number).and_then(|handle| {
            let end = handle.end().unwrap_or(u64::MAX);
            let range = within(&(handle.offset..end), 0).ok_or(Fault::Field("block handle"))?;
            let start = range.start;
            let framed = self.bytes().get(range).unwrap_or_default();
            let frame = Frame::open(framed, self.meta.number, handle.offset)?;
            if frame.codec == Codec::None {
                let trailer = Trailer::of(frame.stored)?;
                let block = BlockRef::new(frame.stored, trailer.layout(frame.stored.len())?);
                self.residency.verified(number, trailer);
                return Ok(Resident {
                    block,
                    pin: Pin::InPlace { start },
                    access: Access::FirstUse,
                });
            }
            let block = CachedBlock::new(self.meta.number, number, frame.decode()?)?;
            let loan = self.slots.insert(block, guard);
            Ok(Resident {
                block: loan.get().block(),
                pin: Pin::Cached(loan),
                access: Access::FirstUse,
            })
        });
        verified.map_err(|fault| Halt::Failed(self.corrupt(number, fault)))
    }

    /// What is believed of its blocks; of none, where the table is not mapped.
    pub(crate) fn residency(&self) -> Option<&Residency> {
        self.mapped.then_some(&self.residency)
    }

    /// Its blocks' places in the cache.
    pub(crate) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The handle of block `number`, which lies where data blocks may.
    pub(crate) fn data_handle(
        &self,
        index: Index<'_>,
        number: u32,
    ) -> std::result::Result<BlockHandle, Fault> {
        let handle = index.handle(number)?;
        let is_inside = handle.offset >= HEADER_BYTES as u64
            && handle.end().is_some_and(|end| end <= self.data_end);
        if is_inside {
            Ok(handle)
        } else {
            Err(Fault::Field("block handle"))
        }
    }
}
