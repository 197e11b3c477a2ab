//! Reads a whole table from its file and checks everything that can be: not what is in memory.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use trine_io::Mode;

use crate::blob::{BlobIndex, BlobValue};
use crate::block::frame::{BlockHandle, Frame};
use crate::block::iter::BlockCursor;
use crate::block::{Answer, Block, BlockRef};
use crate::composite::Composite;
use crate::error::{Fault, Result};
use crate::file_kind::HEADER_BYTES;
use crate::filter::prefix;
use crate::hash::KeyHash;
use crate::internal_key::{Kind, compare};
use crate::sequence::Sequence;
use crate::table::Table;
use crate::table::filter::Filter;
use crate::table::footer::aligned;
use crate::table::index::Index;
use crate::table::parts::{Parts, Tail, ends};
use crate::table::properties::Properties;

/// What has been seen so far.
struct Seen<'a> {
    parts: &'a Parts,
    tail: &'a Tail,
    index: Index<'a>,
    recount: Properties,
    /// Of the last entry.
    key: Vec<u8>,
    sequence: Sequence,
    /// Of the block read last.
    blobs: Vec<BlobIndex>,
}

impl Table {
    /// Fails unless every checksum holds, all entries are in order and are found by index, filters
    /// and fences, their values in blob files, which `find_blob` finds, are right, and the properties
    /// are what a recount gives.
    pub(crate) async fn verify(
        &self,
        find_blob: impl Fn(BlobIndex) -> Result<BlobValue>,
        mode: Mode,
    ) -> Result<()> {
        let file = self.open_file(mode).await?;
        let name = file.name();
        let footer = ends(&file, self.meta(), mode).await?;
        let parts = Parts::load(&file, self.meta(), &footer, true, mode).await?;
        let fault = || Fault::Field("footer").at(name, parts.data_end);
        let tail = parts.tail.as_ref().ok_or_else(fault)?;
        let index = tail.index(parts.index).ok_or_else(fault)?;
        let mut seen = Seen {
            parts: &parts,
            tail,
            index,
            recount: Properties::default(),
            key: Vec::new(),
            sequence: Sequence::ZERO,
            blobs: Vec::new(),
        };
        let mut end = HEADER_BYTES as u64;
        for number in 0..index.count() {
            let (handle, length) = adjacent(index, number, end, parts.data_end)
                .map_err(|fault| fault.at(name, end))?;
            let framed = file.read_at(mode, handle.offset, length).await?;
            seen.check_block(&framed, number, handle, self.meta().number)
                .map_err(|fault| fault.at(name, handle.offset))?;
            end = handle.end().unwrap_or(u64::MAX);
            for index in seen.blobs.drain(..) {
                let value = find_blob(index)?;
                value
                    .with_record(mode, |frame| frame.decode().map(drop))
                    .await?;
            }
        }
        let Seen {
            mut recount, key, ..
        } = seen;
        recount.bound(key, &parts.tombstones);
        recount.extractor = parts.properties.extractor.clone();
        // What other tables and readers were there is not in the table.
        recount.superseded = parts.properties.superseded;
        recount.covered = parts.properties.covered;
        if aligned(end) == Some(parts.data_end) && recount == parts.properties {
            Ok(())
        } else {
            Err(Fault::Field("table properties")
                .at(name, parts.data_end)
                .into())
        }
    }
}

/// The handle of block `number` and its frame's length, if it starts at `start` and ends by `limit`.
fn adjacent(
    index: Index<'_>,
    number: u32,
    start: u64,
    limit: u64,
) -> std::result::Result<(BlockHandle, usize), Fault> {
    let handle = index.handle(number)?;
    match handle.framed_bytes() {
        Some(length) if handle.offset == start && handle.end().is_some_and(|end| end <= limit) => {
            Ok((handle, length))
        }
        _ => Err(Fault::Field("block handle")),
    }
}

impl Seen<'_> {
    fn check_block(
        &mut self,
        framed: &[u8],
        number: u32,
        handle: BlockHandle,
        table: u64,
    ) -> std::result::Result<(), Fault> {
        let raw = Frame::open(framed, table, handle.offset)?.decode()?;
        let block = Block::parse(&raw)?;
        self.recount.count_block(raw.len(), handle.length);

        let separator = self.index.separator(number)?;
        let found = self.index.find(&separator)?;
        let previous = match number.checked_sub(1) {
            Some(previous) => Some(self.index.separator(previous)?),
            None => None,
        };
        // Equal separators: versions of one key fill whole blocks.
        let is_first = found == number || previous.as_ref() == Some(&separator);
        if found > number || !is_first {
            return Err(Fault::Order);
        }
        let mut cursor = BlockCursor::default();
        cursor.enter(block, 0)?;
        let continues = self.recount.entries > 0
            && cursor
                .entry(block)
                .is_some_and(|first| first.key == self.key);
        if let Some(previous) = previous
            && let Some(first) = cursor.entry(block)
        {
            let is_above = if continues {
                previous == first.key
            } else {
                previous.as_slice() < first.key
            };
            if !is_above {
                return Err(Fault::Order);
            }
        }
        loop {
            self.check_entry(block, &cursor)?;
            if !cursor.next(block)? {
                break;
            }
        }
        if self.key > separator {
            return Err(Fault::Order);
        }
        Ok(())
    }

    fn check_entry(
        &mut self,
        block: BlockRef<'_>,
        cursor: &BlockCursor,
    ) -> std::result::Result<(), Fault> {
        let entry = cursor.entry(block).ok_or(Fault::Field("block entry"))?;
        if self.recount.entries > 0
            && !compare((&self.key, self.sequence), (entry.key, entry.sequence)).is_lt()
        {
            return Err(Fault::Order);
        }
        let hash = KeyHash::of(entry.key);
        match block.get(entry.key, hash, entry.sequence)? {
            Answer::Found(found)
                if found.sequence == entry.sequence && block.value(&found) == entry.value => {}
            _ => return Err(Fault::Field("hash index")),
        }
        if block.lower_bound(entry.key, entry.sequence)? != cursor.ordinal() {
            return Err(Fault::Field("block heads"));
        }
        let may_have = |filter: Filter, hash| {
            let Tail { bytes, start, .. } = self.tail;
            filter.is_none() || filter.may_contain(bytes, *start, hash) == Some(true)
        };
        let prefix = prefix::hash_of(&self.parts.properties.extractor, entry.key);
        if !may_have(self.parts.filter, hash)
            || !prefix.is_none_or(|prefix| may_have(self.parts.prefix_filter, prefix))
        {
            return Err(Fault::Field("filter"));
        }
        if entry.kind == Kind::Composite {
            let composite = Composite::decode(entry.value)?;
            composite
                .operands()
                .try_for_each(|operand| operand.map(drop))?;
        }
        self.recount.count(&entry);
        if entry.kind == Kind::Blob {
            let index = BlobIndex::decode(entry.value)?;
            self.recount.count_blob(&index);
            self.blobs.push(index);
        }
        self.key.clear();
        self.key.extend_from_slice(entry.key);
        self.sequence = entry.sequence;
        Ok(())
    }
}
