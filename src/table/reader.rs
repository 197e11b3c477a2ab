//! The open file of a table: its parts in place, and how one of its blocks becomes readable.
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
use crate::file_kind::HEADER_BYTES;
use crate::file_name::table_name;
use crate::filter::bloom;
use crate::filter::prefix::SharedPrefix;
use crate::hash::KeyHash;
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::Fragments;
use crate::residency::Residency;
use crate::table::index::{Index, IndexLayout};
use crate::table::lookup::{Access, Pin, Resident};
use crate::table::parts::{Parts, within};
use crate::table::{Missing, Table, TableMeta};

/// What opening a table yields. [`OpenTable`] is how it is used.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    /// The whole file if mapped, else what lies between data blocks and footer. The ranges are into it.
    bytes: Bytes,
    mapped: bool,
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

/// A table that is open, for as long as its handle is borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenTable<'t> {
    table: &'t Arc<Table>,
    opened: &'t Opened,
}

impl Opened {
    /// Opens the table that `meta` describes and verifies all of it but the data blocks.
    pub(crate) async fn load(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Self> {
        let parts = Parts::load(file, meta, mode).await?;
        let map = file.map(mode, meta.bytes).await?;
        Self::assemble(file, meta, cache, parts, map)
    }

    /// As `load`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn load_unmapped(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Self> {
        let parts = Parts::load(file, meta, mode).await?;
        Self::assemble(file, meta, cache, parts, None)
    }

    fn assemble(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        parts: Parts,
        map: Option<Bytes>,
    ) -> Result<Self> {
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
        Ok(Self {
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
        })
    }
}

impl<'t> OpenTable<'t> {
    #[inline]
    pub(crate) fn new(table: &'t Arc<Table>, opened: &'t Opened) -> Self {
        Self { table, opened }
    }

    /// Its handle.
    #[inline]
    pub(crate) fn table(self) -> &'t Arc<Table> {
        self.table
    }

    /// Whether it may have a point entry of the key with this hash, as its filter says; `None` if it
    /// has no filter. Says nothing of range tombstones.
    #[inline]
    pub(crate) fn may_contain(self, hash: KeyHash) -> Option<bool> {
        let filter = self.bytes().get(self.opened.filter.clone())?;
        (!filter.is_empty()).then(|| bloom::may_contain(filter, hash))
    }

    /// Whether it may have a point entry whose key has this prefix, as its filter says; `None` if
    /// it has no filter of this extractor. Says nothing of range tombstones.
    pub(crate) fn may_contain_prefix(self, prefix: &SharedPrefix) -> Option<bool> {
        // Tables that were written with another extractor know nothing of this one's prefixes.
        if *prefix.extractor() != self.opened.extractor {
            return None;
        }
        let filter = self.bytes().get(self.opened.prefix_filter.clone())?;
        (!filter.is_empty()).then(|| prefix.may_be_in(filter))
    }

    #[inline]
    pub(crate) fn tombstones(self) -> &'t Fragments {
        &self.opened.tombstones
    }

    /// About how many bytes of the file lie before `key`. Needs nothing of the data blocks.
    pub(crate) fn approximate_offset(self, key: &[u8]) -> u64 {
        let index = self.index();
        index
            .find(key)
            .and_then(|number| index.handle(number))
            .map_or(self.opened.data_end, |handle| handle.offset)
    }

    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.table.meta().number
    }

    /// What the map, or what was read instead, holds.
    #[inline]
    pub(crate) fn bytes(self) -> &'t [u8] {
        &self.opened.bytes
    }

    /// The same, to be kept.
    pub(crate) fn shared_bytes(self) -> Bytes {
        self.opened.bytes.clone()
    }

    #[inline]
    pub(crate) fn index(self) -> Index<'t> {
        let index = self.bytes().get(self.opened.index.clone());
        Index::new(index.unwrap_or_default(), self.opened.index_layout)
    }

    /// The error for a fault in block `number`.
    #[cold]
    pub(crate) fn corrupt(self, number: u32, fault: Fault) -> Error {
        let handle = self.index().handle(number);
        let offset = handle.map_or(self.opened.data_end, |handle| handle.offset);
        // The file may have been opened while it was still called unfinished.
        fault.at(&table_name(self.number()), offset).into()
    }

    /// Asks for what a search for `hash` in block `number`, or for a position, reads first, while the way to
    /// it is still being found.
    #[inline]
    pub(crate) fn foresee(self, number: u32, hash: Option<KeyHash>) {
        if self.opened.compresses {
            self.opened.slots.foresee(number, hash);
        }
    }

    /// Block `number`, if it can be read without I/O.
    #[expect(clippy::inline_always, reason = "as `in_place`")]
    #[inline(always)]
    pub(crate) fn resident<'g>(
        self,
        index: Index<'g>,
        number: u32,
        supplied: Option<&'g Arc<CachedBlock>>,
        guard: &'g Guard,
    ) -> std::result::Result<Resident<'g>, Halt<Missing>>
    where
        't: 'g,
    {
        match self.ready(index, number, supplied, guard)? {
            Some(resident) => Ok(resident),
            None => self.first_use(index, number, guard),
        }
    }

    /// Block `number`, if it is verified and decoded already.
    #[expect(clippy::inline_always, reason = "as `in_place`")]
    #[inline(always)]
    pub(crate) fn ready<'g>(
        self,
        index: Index<'g>,
        number: u32,
        supplied: Option<&'g Arc<CachedBlock>>,
        guard: &'g Guard,
    ) -> Result<Option<Resident<'g>>>
    where
        't: 'g,
    {
        if let Some(supplied) = supplied
            && supplied.is(self.number(), number)
        {
            return Ok(Some(Resident {
                block: supplied.block(),
                pin: Pin::Supplied(supplied),
                access: Access::Supplied,
            }));
        }
        if !self.opened.compresses
            && let Some(resident) = self.in_place(index, number)?
        {
            return Ok(Some(resident));
        }
        if let Some(loan) = self.opened.slots.get(number, guard) {
            return Ok(Some(Resident {
                block: loan.get().block(),
                pin: Pin::Cached(loan),
                access: Access::Ready,
            }));
        }
        if self.opened.compresses {
            return self.in_place(index, number);
        }
        Ok(None)
    }

    #[expect(
        clippy::inline_always,
        reason = "a block's layout must not travel through memory"
    )]
    #[inline(always)]
    fn in_place<'g>(self, index: Index<'g>, number: u32) -> Result<Option<Resident<'g>>>
    where
        't: 'g,
    {
        let Some(trailer) = self.opened.residency.trailer(number) else {
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
        self,
        index: Index<'g>,
        number: u32,
        guard: &'g Guard,
    ) -> std::result::Result<Resident<'g>, Halt<Missing>>
    where
        't: 'g,
    {
        if !self.opened.residency.has(number) {
            return Err(Halt::Needs(Missing::new(self.table, number)));
        }
        let verified = self.data_handle(index, number).and_then(|handle| {
            let end = handle.end().unwrap_or(u64::MAX);
            let range = within(&(handle.offset..end), 0).ok_or(Fault::Field("block handle"))?;
            let start = range.start;
            let framed = self.bytes().get(range).unwrap_or_default();
            let frame = Frame::open(framed, self.number(), handle.offset)?;
            if frame.codec == Codec::None {
                let trailer = Trailer::of(frame.stored)?;
                let block = BlockRef::new(frame.stored, trailer.layout(frame.stored.len())?);
                self.opened.residency.verified(number, trailer);
                return Ok(Resident {
                    block,
                    pin: Pin::InPlace { start },
                    access: Access::FirstUse,
                });
            }
            let decoded = self.opened.slots.hold(frame.decode()?);
            let block = CachedBlock::new(self.number(), number, decoded)?;
            let loan = self.opened.slots.insert(block, guard);
            Ok(Resident {
                block: loan.get().block(),
                pin: Pin::Cached(loan),
                access: Access::FirstUse,
            })
        });
        verified.map_err(|fault| Halt::Failed(self.corrupt(number, fault)))
    }

    /// Its file.
    pub(crate) fn file(self) -> &'t File {
        &self.opened.file
    }

    /// What is believed of its blocks; of none, where the table is not mapped.
    pub(crate) fn residency(self) -> Option<&'t Residency> {
        self.opened.mapped.then_some(&self.opened.residency)
    }

    /// Its blocks' places in the cache.
    pub(crate) fn slots(self) -> &'t Slots {
        &self.opened.slots
    }

    /// The handle of block `number`, which lies where data blocks may.
    pub(crate) fn data_handle(
        self,
        index: Index<'_>,
        number: u32,
    ) -> std::result::Result<BlockHandle, Fault> {
        let handle = index.handle(number)?;
        let is_inside = handle.offset >= HEADER_BYTES as u64
            && handle.end().is_some_and(|end| end <= self.opened.data_end);
        if is_inside {
            Ok(handle)
        } else {
            Err(Fault::Field("block handle"))
        }
    }
}
