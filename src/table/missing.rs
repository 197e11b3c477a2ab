//! Blocks that a step needs and that are not in memory, and how they get there.
//!
//! - A mapped block is only brought into memory, with one read for all of its pages; the step that is
//!   made again then borrows it from the map. A map is never touched where it would wait for the disk.
//! - Any other block is read, verified and decoded, into the cache if that keeps it, and supplied.
//! - What is read once, by compaction, is supplied too, and kept out of the block cache and, where the host
//!   can, out of the page cache: a merge of everything leaves readers what they had.
//! - A run of blocks is read by one call.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::ops::Range;
use std::sync::Arc;

use trine_io::{Completion, Mode, Warmth};

use crate::block::frame::{BlockHandle, Frame};
use crate::cache::{CachedBlock, Class};
use crate::compression::Codec;
use crate::error::{Error, Fault, Result};
use crate::table::index::Index;
use crate::table::parts::index_layout;
use crate::table::{OpenTable, Table};

/// What must be read from the file of a table first: a block and the run of blocks to be read with it, another
/// part, or what opening the table takes.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    table: Arc<Table>,
    class: Class,
    /// Its place among the table's blocks; `None`: the table is not open.
    block: Option<u32>,
    /// Of the first block of the run, and where each of the run is.
    first: u32,
    handles: Vec<BlockHandle>,
    once: bool,
    /// The host was asked for it: that it is in memory now says nothing about before.
    asked: bool,
}

/// What was missing, on its way into memory.
#[derive(Debug)]
pub(crate) struct Loading<'a> {
    missing: &'a Missing,
    reading: Reading<'a>,
}

#[derive(Debug)]
enum Reading<'a> {
    /// What opening the table takes; begun when it is awaited.
    Opening(Mode),
    /// Into the page cache, which the map shows.
    InPlace(OpenTable<'a>, Completion<Warmth>),
    /// Bytes that lie at this offset.
    Copy(OpenTable<'a>, u64, Completion<Vec<u8>>),
}

/// What loading came to.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// To be supplied; none where the blocks can be borrowed from the map now, or the table is open now.
    pub(crate) blocks: Vec<Arc<CachedBlock>>,
    /// The blocks were in memory: no thread was asked, nobody waited.
    pub(crate) was_ready: bool,
}

impl Missing {
    /// The file of a table that is not open.
    #[cold]
    pub(crate) fn file(table: &Arc<Table>) -> Self {
        Self {
            table: Arc::clone(table),
            class: Class::Data,
            block: None,
            first: 0,
            handles: Vec::new(),
            once: false,
            asked: false,
        }
    }

    /// Data block `number` alone, which lies at `handle`.
    pub(crate) fn block(table: &Arc<Table>, number: u32, handle: BlockHandle) -> Self {
        Self::part(table, Class::Data, number, handle)
    }

    /// A data block, for somebody who reads it once.
    pub(crate) fn once(table: &Arc<Table>, number: u32, handle: BlockHandle) -> Self {
        Self {
            once: true,
            ..Self::block(table, number, handle)
        }
    }

    /// What has place `number` among the blocks.
    pub(crate) fn part(table: &Arc<Table>, class: Class, number: u32, handle: BlockHandle) -> Self {
        Self {
            table: Arc::clone(table),
            class,
            block: Some(number),
            first: number,
            handles: vec![handle],
            once: false,
            asked: false,
        }
    }

    /// What tells it from others.
    pub(crate) fn place(&self) -> (u64, Option<u32>) {
        (self.table.meta().number, self.block)
    }

    /// The data block, if it is one.
    pub(crate) fn data_block(&self) -> Option<u32> {
        self.block.filter(|_| self.class == Class::Data)
    }

    /// Whether it counts as a missing data block neither now nor ever, or only when the step that is made again
    /// meets the block for the first time.
    pub(crate) fn is_counted_later(&self) -> bool {
        let is_mapped = |open: OpenTable<'_>| open.residency().is_some();
        self.data_block().is_none() || !self.once && self.table.opened().is_some_and(is_mapped)
    }

    /// The numbers of the run.
    fn blocks(&self) -> Range<u32> {
        let count = u32::try_from(self.handles.len()).unwrap_or(u32::MAX);
        self.first..self.first.saturating_add(count)
    }

    /// Reads blocks after it (or before it) as well, as many as `bytes` reach over.
    pub(crate) fn with_run(mut self, index: Index<'_>, bytes: u64, forward: bool) -> Self {
        let Some(open) = self.table.opened() else {
            return self;
        };
        let Some(own) = self.handles.first().copied() else {
            return self;
        };
        let handle = |number| open.data_handle(index, number).ok();
        let (mut start, mut end) = (own.offset, own.end());
        let mut blocks = self.blocks();
        let mut others = Vec::new();
        // Handles of a damaged index may not touch: the run ends there.
        while let Some(reached) = end.filter(|end| end.saturating_sub(start) < bytes) {
            if forward {
                match handle(blocks.end) {
                    Some(next) if next.offset == reached => {
                        end = next.end();
                        blocks.end = blocks.end.saturating_add(1);
                        others.push(next);
                    }
                    _ => break,
                }
            } else {
                let before = blocks.start.checked_sub(1);
                match before.and_then(|number| Some((number, handle(number)?))) {
                    Some((number, before)) if before.end() == Some(start) => {
                        (start, blocks.start) = (before.offset, number);
                        others.push(before);
                    }
                    _ => break,
                }
            }
        }
        if forward {
            self.handles.append(&mut others);
        } else {
            others.reverse();
            others.append(&mut self.handles);
            self.handles = others;
        }
        self.first = blocks.start;
        self
    }

    /// Opens the table, or reads the blocks, as far as they are not in memory. What fails beside the block
    /// that is needed fails nobody: who comes to it will learn.
    pub(crate) async fn load(&self, mode: Mode) -> Result<Loaded> {
        let loaded = match self.start(mode) {
            Ok(loading) => loading.finish().await,
            Err(error) => Err(error),
        };
        match (loaded, self.own()) {
            (Err(_), Some((block, handle))) if self.handles.len() > 1 => {
                let alone = Self {
                    first: block,
                    handles: vec![handle],
                    ..self.clone()
                };
                alone.start(mode)?.finish().await
            }
            (loaded, _) => loaded,
        }
    }

    /// Asks the host for the blocks, for a caller that waits for several. `false`: it cannot be asked.
    pub(crate) fn ask(&mut self) -> bool {
        if let (Some(_), Some(open)) = (self.block, self.table.opened())
            && let Ok((start, length)) = self.range()
        {
            self.asked = open.file().will_need(start, length);
        }
        self.asked
    }

    /// Begins to read the blocks; in cooperative mode that goes on whether it is awaited or not.
    pub(crate) fn start(&self, mode: Mode) -> Result<Loading<'_>> {
        let reading = match (self.block, self.table.opened()) {
            (Some(_), Some(open)) => {
                let range = self.range();
                let (start, length) = range.map_err(|fault| self.corrupt(open, fault))?;
                let file = open.file();
                if self.once {
                    Reading::Copy(open, start, file.read_once_at(mode, start, length))
                } else if open.residency().is_some() {
                    Reading::InPlace(open, file.warm(mode, start, length))
                } else {
                    Reading::Copy(open, start, file.read_at(mode, start, length))
                }
            }
            _ => Reading::Opening(mode),
        };
        Ok(Loading {
            missing: self,
            reading,
        })
    }

    /// The block itself, and where it is.
    fn own(&self) -> Option<(u32, BlockHandle)> {
        let block = self.block?;
        let at = block.checked_sub(self.first)?;
        Some((block, *self.handles.get(at as usize)?))
    }

    fn corrupt(&self, open: OpenTable<'_>, fault: Fault) -> Error {
        open.corrupt_at(self.own().map_or(0, |(_, handle)| handle.offset), fault)
    }

    /// Where the run lies in the file.
    fn range(&self) -> std::result::Result<(u64, usize), Fault> {
        let ends = self.handles.first().zip(self.handles.last());
        let (first, last) = ends.ok_or(Fault::Field("block handle"))?;
        let length = last.end().and_then(|end| end.checked_sub(first.offset));
        length
            .and_then(|length| usize::try_from(length).ok())
            .map(|length| (first.offset, length))
            .ok_or(Fault::Field("block handle"))
    }

    /// The blocks in `bytes`, which lie at `start` of the file.
    fn decode(&self, table: OpenTable<'_>, bytes: &[u8], start: u64) -> Result<Loaded> {
        let decoded = self.blocks().zip(&self.handles).map(|(number, handle)| {
            let loaded = self
                .decode_one(table, number, *handle, bytes, start)
                .map_err(|fault| table.corrupt_at(handle.offset, fault))?;
            if self.once {
                return Ok(loaded);
            }
            let guard = crate::epoch::pin();
            Ok(table.slots().insert(loaded, &guard).share())
        });
        Ok(Loaded {
            blocks: decoded.collect::<Result<_>>()?,
            was_ready: false,
        })
    }

    fn decode_one(
        &self,
        table: OpenTable<'_>,
        number: u32,
        handle: BlockHandle,
        bytes: &[u8],
        start: u64,
    ) -> std::result::Result<Arc<CachedBlock>, Fault> {
        let framed = handle
            .offset
            .checked_sub(start)
            .and_then(|from| bytes.get(usize::try_from(from).ok()?..))
            .and_then(|bytes| bytes.get(..handle.framed_bytes()?))
            .ok_or(Fault::Field("block handle"))?;
        let frame = Frame::open(framed, table.number(), handle.offset)?;
        if self.class == Class::Data {
            let decoded = frame.decode()?;
            return if self.once {
                CachedBlock::new(table.number(), number, decoded, table.loaded_at())
            } else {
                let held = table.slots().hold(decoded);
                CachedBlock::new(table.number(), number, held, table.loaded_at())
            };
        }
        if frame.codec != Codec::None {
            return Err(Fault::Field("codec"));
        }
        if self.class == Class::Index {
            index_layout(frame.stored, table.blocks())?;
        }
        let stored = frame.stored.to_vec();
        Ok(CachedBlock::part(
            table.number(),
            number,
            self.class,
            stored,
        ))
    }
}

impl Loading<'_> {
    /// Waits for it.
    pub(crate) async fn finish(self) -> Result<Loaded> {
        let Missing { table, .. } = self.missing;
        let (open, warmth) = match self.reading {
            Reading::Opening(mode) => {
                table.open(mode).await?;
                return Ok(Loaded::default());
            }
            Reading::Copy(open, start, bytes) => {
                return self.missing.decode(open, &bytes.await?, start);
            }
            Reading::InPlace(open, warmth) => (open, warmth.await?),
        };
        let was_ready = warmth == Warmth::Resident && !self.missing.asked;
        if let Some(residency) = open.residency() {
            let blocks = self.missing.blocks();
            if was_ready || warmth == Warmth::Unknown {
                residency.mark(&blocks);
            } else {
                residency.fetched(&blocks);
            }
        }
        Ok(Loaded {
            blocks: Vec::new(),
            was_ready,
        })
    }
}

#[cfg(test)]
mod tests {
    use trine_io::{PortableOptions, Storage};
    use trine_platform::block_on;

    use super::*;
    use crate::cache::BlockCache;
    use crate::compression::Codec;
    use crate::cursor::{Cursor, Halt};
    use crate::hash::KeyHash;
    use crate::open_files::OpenFiles;
    use crate::read_counters::PointSteps;
    use crate::sequence::Sequence;
    use crate::table::{Counting, TableCursor, TableOptions, TableWriter};
    use crate::testing::{Owned, entry, owned, value};

    const ROWS: usize = 400;

    fn rows() -> Vec<Owned> {
        let row = |n| value(&format!("key {n:04}"), 1, &format!("{n:0400}"));
        (0..ROWS).map(row).collect()
    }

    /// A table of some 40 blocks in a directory of the host, and what keeps it there.
    fn table(codec: Codec, map: bool) -> (tempfile::TempDir, Arc<BlockCache>, Arc<Table>) {
        let mut writer = TableWriter::new(
            1,
            TableOptions {
                compression: codec,
                block_bytes: 4096,
                filter_bits_per_key: None,
                prefix: None,
            },
        );
        for row in rows() {
            writer.add(entry(&row));
        }
        let (bytes, meta) = writer.finish();
        let directory = tempfile::tempdir().unwrap();
        let options = PortableOptions {
            map,
            ..PortableOptions::default()
        };
        let storage = Storage::portable_with(directory.path(), options);
        let mode = Mode::Blocking;
        let file = block_on(storage.create(mode, "table-000001.trinet")).unwrap();
        block_on(file.write_at(mode, 0, bytes)).unwrap();
        let cache = Arc::new(BlockCache::new(1 << 20));
        let files = Arc::new(OpenFiles::new(storage, Arc::clone(&cache), usize::MAX));
        let table = block_on(Table::open_in(&file, &meta, &files, mode)).unwrap();
        (directory, cache, table)
    }

    fn is_mapped(table: &Arc<Table>) -> bool {
        table.opened().unwrap().residency().is_some()
    }

    /// Whether a block had to be loaded first, for each key in turn.
    fn misses(table: &Arc<Table>, keys: impl Iterator<Item = usize>, mode: Mode) -> Vec<bool> {
        let miss = |n: usize| {
            let (key, sequence, _, expected) = &rows()[n];
            let (open, mut supplied) = (table.opened().unwrap(), Vec::new());
            let mut missed = false;
            loop {
                let guard = crate::epoch::pin();
                let mut steps = PointSteps::default();
                let (hash, at) = (KeyHash::of(key), Sequence::new(*sequence));
                match open.get(key, hash, at, &supplied, &guard, &mut steps) {
                    Ok(found) => {
                        assert_eq!(found.unwrap().value, expected);
                        return missed;
                    }
                    Err(Halt::Needs(missing)) => {
                        let is_data = missing.data_block().is_some();
                        assert!(!missed || !is_data, "once is enough");
                        missed |= is_data;
                        let loaded = block_on(missing.load(mode)).unwrap().blocks;
                        assert_eq!(loaded.is_empty(), is_mapped(table));
                        supplied.extend(loaded);
                    }
                    Err(Halt::Failed(error)) => panic!("{error}"),
                }
            }
        };
        keys.map(miss).collect()
    }

    /// The runs that a cursor asked for on its way through the table.
    fn runs(table: &Arc<Table>, counting: Counting, forward: bool) -> Vec<Range<u32>> {
        let mut cursor = TableCursor::new(Arc::clone(table), counting);
        let (mut runs, mut seen, mut started) = (Vec::new(), Vec::new(), false);
        loop {
            let moved = match (started, forward) {
                (false, true) => cursor.seek_first(),
                (false, false) => cursor.seek_last(),
                (true, true) => cursor.next(),
                (true, false) => cursor.previous(),
            };
            match moved {
                Ok(()) => match cursor.entry() {
                    Some(entry) => seen.push(owned(entry)),
                    None => break,
                },
                Err(Halt::Needs(missing)) => {
                    if missing.data_block().is_some() {
                        runs.push(missing.blocks());
                    }
                    for block in &block_on(missing.load(Mode::Blocking)).unwrap().blocks {
                        cursor.supply(block);
                    }
                    continue;
                }
                Err(Halt::Failed(error)) => panic!("{error}"),
            }
            started = true;
        }
        if !forward {
            seen.reverse();
        }
        assert_eq!(seen, rows());
        runs
    }

    #[test]
    fn a_mapped_block_is_read_once_before_it_is_touched() {
        for codec in [Codec::None, Codec::Lz4] {
            for mode in [Mode::Blocking, Mode::Cooperative] {
                let (_directory, _cache, table) = table(codec, true);
                let keys = [0, 1, 200, 0, 200, 399];
                let missed = misses(&table, keys.into_iter(), mode);
                if is_mapped(&table) {
                    assert_eq!(missed[..1], [true]);
                    assert_eq!(missed[3..5], [false, false]);
                }
                assert_eq!(misses(&table, keys.into_iter(), mode), [false; 6]);
            }
        }
    }

    #[test]
    fn without_maps_a_block_is_loaded_into_the_cache() {
        let (_directory, cache, table) = table(Codec::None, false);
        assert!(!is_mapped(&table));
        assert!(misses(&table, [7].into_iter(), Mode::Cooperative)[0]);
        assert!(!misses(&table, [7].into_iter(), Mode::Cooperative)[0]);
        assert!(cache.bytes() > 0);
    }

    #[test]
    fn runs_grow_as_a_scan_goes_on_in_either_direction() {
        for map in [true, false] {
            for forward in [true, false] {
                let (_directory, _cache, table) = table(Codec::None, map);
                let runs = runs(&table, Counting::Blocks, forward);
                let lengths: Vec<_> = runs.iter().map(ExactSizeIterator::len).collect();
                assert_eq!(lengths[0], 1, "who seeks may want no more");
                assert!(lengths.len() <= 6, "{lengths:?}");
                let but_last = &lengths[..lengths.len() - 1];
                assert!(but_last.is_sorted(), "{lengths:?}");
                assert_eq!(misses(&table, 0..ROWS, Mode::Blocking), [false; ROWS]);
            }
        }
    }

    #[test]
    fn what_is_read_once_is_read_in_one_piece_and_not_kept() {
        for map in [true, false] {
            for codec in [Codec::None, Codec::Lz4] {
                let (_directory, cache, table) = table(codec, map);
                assert_eq!(runs(&table, Counting::Once, true).len(), 1);
                // Not mapped, the table's index stays.
                assert!(cache.bytes() <= if is_mapped(&table) { 0 } else { 3_000 });
                assert!(misses(&table, [9].into_iter(), Mode::Blocking)[0]);
            }
        }
    }
}
