//! The open file of a table: its parts in place, and how one of its blocks becomes readable.
//!
//! - Mapped, a block that is stored as it is is lent from the map once it is believed to be in memory and
//!   its checksum was verified, both by [`crate::residency`]. A compressed block is decoded once into
//!   the cache. Neither needs I/O; a block that is not believed to be in memory is [`Missing`].
//! - Not mapped, every block is loaded into the cache; one that is not there is [`Missing`]. So are the index and
//!   the partitions of filters, whose places there come after those of the data blocks.

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
use crate::cache::{BlockCache, CachedBlock, Class, Slots};
use crate::compression::Codec;
use crate::cursor::Halt;
use crate::error::{Error, Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::file_name::table_name;
use crate::filter::prefix::SharedPrefix;
use crate::hash::KeyHash;
use crate::prefetch::fetch_front;
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::Fragments;
use crate::residency::Residency;
use crate::sequence::Sequence;
use crate::table::filter::Filter;
use crate::table::index::{Index, IndexLayout};
use crate::table::lookup::{Access, Pin, Resident};
use crate::table::parts::{Parts, ends, index_layout, within};
use crate::table::{Missing, Table, TableMeta};

/// What opening a table yields. [`OpenTable`] is how it is used.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    /// The whole file if mapped, else none.
    bytes: Bytes,
    mapped: bool,
    /// Whether any block is compressed: then they are looked for in the cache first.
    compresses: bool,
    blocks: u32,
    filter: Filter,
    prefix_filter: Filter,
    index_handle: BlockHandle,
    /// Of the index in the map; if there is none, where no bytes are.
    index: Range<usize>,
    index_layout: IndexLayout,
    /// What is added to the sequences that its blocks name: that of its commit, if it was loaded in bulk.
    loaded_at: Sequence,
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
    /// Opens the table that `meta` describes and verifies all of it that stays in memory or is used in the map,
    /// but for the data blocks.
    pub(crate) async fn load(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        mode: Mode,
    ) -> Result<Self> {
        let footer = ends(file, meta, mode).await?;
        let map = file.map(mode, meta.bytes).await?;
        let map = map.filter(|map| map.len() as u64 == meta.bytes);
        let parts = Parts::load(file, meta, &footer, map.is_some(), mode).await?;
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
        let footer = ends(file, meta, mode).await?;
        let parts = Parts::load(file, meta, &footer, false, mode).await?;
        Self::assemble(file, meta, cache, parts, None)
    }

    fn assemble(
        file: &File,
        meta: &TableMeta,
        cache: &Arc<BlockCache>,
        parts: Parts,
        map: Option<Bytes>,
    ) -> Result<Self> {
        let mapped = map.is_some();
        let blocks = parts.properties.blocks;
        let places = if mapped { blocks } else { 0 };
        let residency = Residency::new(places, cache.clock());
        if !map.as_ref().is_some_and(Bytes::is_mapped) {
            // In memory for good.
            residency.mark(&(0..places));
        }
        let properties = parts.properties;
        let compresses = properties.stored_data_bytes < properties.raw_data_bytes;
        let index = match &parts.tail {
            Some(_) => {
                let start = parts.index.offset;
                let end = start.saturating_add(parts.index.length.into());
                within(&(start..end), 0).ok_or(Fault::Field("footer").at(file.name(), start))?
            }
            None => usize::MAX..usize::MAX,
        };
        let slots = match (mapped, compresses) {
            (true, true) => blocks,
            // All are lent from the map.
            (true, false) => 0,
            (false, _) => blocks
                .saturating_add(parts.filter.partitions())
                .saturating_add(parts.prefix_filter.partitions())
                .saturating_add(1),
        };
        Ok(Self {
            file: file.clone(),
            mapped,
            compresses,
            blocks,
            filter: parts.filter,
            prefix_filter: parts.prefix_filter,
            index_handle: parts.index,
            index,
            index_layout: parts.tail.map(|tail| tail.index_layout).unwrap_or_default(),
            loaded_at: properties.loaded_at(meta),
            data_end: parts.data_end,
            extractor: properties.extractor,
            tombstones: parts.tombstones,
            residency,
            slots: Slots::new(cache, slots),
            bytes: map.unwrap_or_else(|| Bytes::from_vec(Vec::new())),
        })
    }

    /// The place in the cache of a part that is not a data block, and where it is in the file.
    fn part(&self, part: Part) -> (u32, BlockHandle) {
        let (filters, prefix_filters) = (self.filter.partitions(), self.prefix_filter.partitions());
        let (before, partition, handle) = match part {
            Part::Filter(number) => (0, number, self.filter.partition(number)),
            Part::PrefixFilter(number) => (filters, number, self.prefix_filter.partition(number)),
            Part::Index => (filters.saturating_add(prefix_filters), 0, self.index_handle),
        };
        let place = self.blocks.saturating_add(before).saturating_add(partition);
        (place, handle)
    }
}

/// What of a table is in the cache if it is not mapped, beside its data blocks.
#[derive(Clone, Copy, Debug)]
enum Part {
    Filter(u32),
    PrefixFilter(u32),
    Index,
}

impl Part {
    fn class(self) -> Class {
        match self {
            Self::Filter(_) | Self::PrefixFilter(_) => Class::Filter,
            Self::Index => Class::Index,
        }
    }
}

impl<'t> OpenTable<'t> {
    #[inline]
    pub(crate) fn new(table: &'t Arc<Table>, opened: &'t Opened) -> Self {
        Self { table, opened }
    }

    /// Whether it may have a point entry of the key with this hash, as its filter says; `None` if it
    /// has no filter. Says nothing of range tombstones.
    ///
    /// `supplied` is what this same search missed before, or none.
    #[inline]
    pub(crate) fn may_contain(
        self,
        hash: KeyHash,
        supplied: &[Arc<CachedBlock>],
        guard: &Guard,
    ) -> std::result::Result<Option<bool>, Halt<Missing>> {
        let filter = self.opened.filter;
        if filter.is_none() {
            return Ok(None);
        }
        if let Some(says) = filter.may_contain(self.bytes(), 0, hash) {
            return Ok(Some(says));
        }
        let part = Part::Filter(filter.partition_of(hash));
        self.part_may_contain(filter, part, hash, supplied, guard)
    }

    /// Whether it may have a point entry whose key has this prefix, as its filter says; `None` if
    /// it has no filter of this extractor. Says nothing of range tombstones.
    pub(crate) fn may_contain_prefix(
        self,
        prefix: &SharedPrefix,
        supplied: &[Arc<CachedBlock>],
        guard: &Guard,
    ) -> std::result::Result<Option<bool>, Halt<Missing>> {
        let filter = self.opened.prefix_filter;
        // Tables that were written with another extractor know nothing of this one's prefixes.
        if filter.is_none() || *prefix.extractor() != self.opened.extractor {
            return Ok(None);
        }
        let Some(hash) = prefix.hash() else {
            return Ok(Some(true));
        };
        if let Some(says) = filter.may_contain(self.bytes(), 0, hash) {
            return Ok(Some(says));
        }
        let part = Part::PrefixFilter(filter.partition_of(hash));
        self.part_may_contain(filter, part, hash, supplied, guard)
    }

    #[cold]
    fn part_may_contain(
        self,
        filter: Filter,
        part: Part,
        hash: KeyHash,
        supplied: &[Arc<CachedBlock>],
        guard: &Guard,
    ) -> std::result::Result<Option<bool>, Halt<Missing>> {
        let partition = self.part(part, supplied, guard)?;
        Ok(Some(filter.partition_may_contain(partition.bytes(), hash)))
    }

    /// A part of a table that is not mapped.
    fn part<'g>(
        self,
        part: Part,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
    ) -> std::result::Result<&'g CachedBlock, Halt<Missing>> {
        let (number, handle) = self.opened.part(part);
        let mut supplied = supplied.iter();
        // It counted when it was missed.
        if let Some(block) = supplied.find(|block| block.is(self.number(), number)) {
            return Ok(block);
        }
        let found = self.opened.slots.get(number, guard);
        let reads = self.table.reads();
        reads.add_part(part.class() == Class::Index, found.is_some());
        match found {
            Some(loan) => Ok(loan.get()),
            None => Err(Halt::Needs(Missing::part(
                self.table,
                part.class(),
                number,
                handle,
            ))),
        }
    }

    #[inline]
    pub(crate) fn tombstones(self) -> &'t Fragments {
        &self.opened.tombstones
    }

    /// About how many bytes of the file lie before `key`. Needs nothing of the data blocks.
    pub(crate) async fn approximate_offset(self, key: &[u8], mode: Mode) -> Result<u64> {
        let mut supplied = Vec::new();
        loop {
            let missing = match self.index(&supplied, &crate::epoch::pin()) {
                Ok(index) => {
                    let handle = index.find(key).and_then(|number| index.handle(number));
                    return Ok(handle.map_or(self.opened.data_end, |handle| handle.offset));
                }
                Err(Halt::Needs(missing)) => missing,
                Err(Halt::Failed(error)) => return Err(error),
            };
            supplied = missing.load(mode).await?.blocks;
        }
    }

    #[inline]
    pub(crate) fn number(self) -> u64 {
        self.table.meta().number
    }

    /// What the map holds; nothing if there is none.
    #[inline]
    pub(crate) fn bytes(self) -> &'t [u8] {
        &self.opened.bytes
    }

    /// The same, to be kept.
    pub(crate) fn shared_bytes(self) -> Bytes {
        self.opened.bytes.clone()
    }

    /// How many data blocks it has.
    #[inline]
    pub(crate) fn blocks(self) -> u32 {
        self.opened.blocks
    }

    /// Its index. `supplied` is what this same search missed before, or none.
    #[inline]
    pub(crate) fn index<'g>(
        self,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
    ) -> std::result::Result<Index<'g>, Halt<Missing>>
    where
        't: 'g,
    {
        match self.bytes().get(self.opened.index.clone()) {
            Some(bytes) => Ok(Index::new(bytes, self.opened.index_layout)),
            None => self.cached_index(supplied, guard),
        }
    }

    #[cold]
    fn cached_index<'g>(
        self,
        supplied: &'g [Arc<CachedBlock>],
        guard: &'g Guard,
    ) -> std::result::Result<Index<'g>, Halt<Missing>> {
        let bytes = self.part(Part::Index, supplied, guard)?.bytes();
        match index_layout(bytes, self.opened.blocks) {
            Ok(layout) => Ok(Index::new(bytes, layout)),
            Err(fault) => Err(Halt::Failed(
                self.corrupt_at(self.opened.index_handle.offset, fault),
            )),
        }
    }

    /// The error for a fault in block `number`, which is where `index` says.
    #[cold]
    pub(crate) fn corrupt(self, index: Index<'_>, number: u32, fault: Fault) -> Error {
        let handle = index.handle(number);
        let offset = handle.map_or(self.opened.data_end, |handle| handle.offset);
        self.corrupt_at(offset, fault)
    }

    /// The error for a fault at an offset of the file.
    #[cold]
    pub(crate) fn corrupt_at(self, offset: u64, fault: Fault) -> Error {
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

    /// Asks for what a scan reads first that comes to block `number` next.
    pub(crate) fn foresee_front(self, index: Index<'_>, number: u32, guard: &Guard) {
        if self.opened.compresses {
            self.opened.slots.foresee_front(number, guard);
        } else if let Ok(handle) = index.handle(number)
            && let Ok(start) = usize::try_from(handle.offset)
        {
            fetch_front(self.bytes().as_ptr().wrapping_add(start));
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
            Err(fault) => Err(self.corrupt(index, number, fault)),
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
            return match self.data_handle(index, number) {
                Ok(handle) => Err(Halt::Needs(Missing::block(self.table, number, handle))),
                Err(fault) => Err(Halt::Failed(self.corrupt(index, number, fault))),
            };
        }
        let verified = self.data_handle(index, number).and_then(|handle| {
            let end = handle.end().unwrap_or(u64::MAX);
            let range = within(&(handle.offset..end), 0).ok_or(Fault::Field("block handle"))?;
            let start = range.start;
            let framed = self.bytes().get(range).unwrap_or_default();
            let frame = Frame::open(framed, self.number(), handle.offset)?;
            if frame.codec == Codec::None {
                let trailer = Trailer::of(frame.stored)?.loaded_at(self.loaded_at());
                let block = BlockRef::new(frame.stored, trailer.layout(frame.stored.len())?);
                self.opened.residency.verified(number, trailer);
                return Ok(Resident {
                    block,
                    pin: Pin::InPlace { start },
                    access: Access::FirstUse,
                });
            }
            let decoded = self.opened.slots.hold(frame.decode()?);
            let block = CachedBlock::new(self.number(), number, decoded, self.loaded_at())?;
            let loan = self.opened.slots.insert(block, guard);
            Ok(Resident {
                block: loan.get().block(),
                pin: Pin::Cached(loan),
                access: Access::FirstUse,
            })
        });
        verified.map_err(|fault| Halt::Failed(self.corrupt(index, number, fault)))
    }

    /// What is added to the sequences that its blocks name.
    pub(crate) fn loaded_at(self) -> Sequence {
        self.opened.loaded_at
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
