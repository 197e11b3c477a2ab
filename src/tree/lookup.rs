//! Point reads across memtables, level 0 and one table of each deeper level.
//!
//! Sources are asked from the newest to the oldest. Every entry of an older source is older than
//! every entry *and every range tombstone* of a newer one that concerns the same key, so the first
//! source that knows the key decides.

use std::sync::Arc;

use crossbeam_epoch::Guard;

use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::hash::KeyHash;
use crate::internal_key::Kind;
use crate::sequence::Sequence;
use crate::table::{Missing, Table};
use crate::tree::view::View;

/// What a source knows of a key: its newest version not above a sequence.
#[derive(Clone, Copy, Debug)]
struct Known<'g> {
    sequence: Sequence,
    /// `None`: deleted.
    value: Option<&'g [u8]>,
}

/// The newest point entry and the newest range tombstone of one source, made one answer.
fn settle<'g>(
    entry: Option<(Sequence, Kind, &'g [u8])>,
    tombstone: Option<Sequence>,
) -> Option<Known<'g>> {
    match (entry, tombstone) {
        (Some((sequence, _, _)), Some(covering)) if covering > sequence => Some(Known {
            sequence: covering,
            value: None,
        }),
        (Some((sequence, kind, value)), _) => Some(Known {
            sequence,
            value: (kind == Kind::Value).then_some(value),
        }),
        (None, Some(covering)) => Some(Known {
            sequence: covering,
            value: None,
        }),
        (None, None) => None,
    }
}

/// Walks the sources of one view until one knows the key.
struct Lookup<'g, 'k> {
    key: &'k [u8],
    sequence: Sequence,
    /// Sources without a commit above this are not asked.
    above: Sequence,
    supplied: &'g [Arc<CachedBlock>],
    guard: &'g Guard,
}

impl<'g> Lookup<'g, '_> {
    fn run(&self, view: &'g View) -> Result<Option<Known<'g>>, Halt<Missing>> {
        for buffer in view.buffers() {
            let memtable = buffer.memtable();
            let entry = memtable
                .get(self.key, self.sequence)
                .map(|entry| (entry.sequence, entry.kind, entry.value));
            if let Some(known) = settle(entry, memtable.covering_tombstone(self.key, self.sequence))
            {
                return Ok(Some(known));
            }
        }
        let hash = KeyHash::of(self.key);
        for table in view.version.level(0) {
            if table.meta().spans(self.key)
                && let Some(known) = self.table(table, hash)?
            {
                return Ok(Some(known));
            }
        }
        for level in 1..view.version.depth() {
            if let Some(table) = view.version.find(level, self.key)
                && let Some(known) = self.table(table, hash)?
            {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn table(
        &self,
        table: &'g Arc<Table>,
        hash: KeyHash,
    ) -> Result<Option<Known<'g>>, Halt<Missing>> {
        if table.meta().largest_sequence <= self.above {
            return Ok(None);
        }
        let entry = if table.may_contain(hash) {
            // The newest one: the block that this table missed last.
            let own = self
                .supplied
                .iter()
                .rfind(|block| block.table() == table.meta().number);
            table.get(self.key, hash, self.sequence, own, self.guard)?
        } else {
            None
        };
        let tombstone = table.tombstones().covering(self.key, self.sequence);
        Ok(settle(
            entry.map(|entry| (entry.sequence, entry.kind, entry.value)),
            tombstone,
        ))
    }
}

/// The value of `key` at `sequence`; `supplied` are the blocks that this same lookup missed. Lent
/// for as long as the guard lives.
pub(crate) fn get<'g>(
    view: &'g View,
    key: &[u8],
    sequence: Sequence,
    supplied: &'g [Arc<CachedBlock>],
    guard: &'g Guard,
) -> Result<Option<&'g [u8]>, Halt<Missing>> {
    let lookup = Lookup {
        key,
        sequence,
        above: Sequence::ZERO,
        supplied,
        guard,
    };
    Ok(lookup.run(view)?.and_then(|known| known.value))
}

/// The newest commit that touched `key`, if it is above `above`.
pub(crate) fn newest_change(
    view: &View,
    key: &[u8],
    above: Sequence,
    supplied: &[Arc<CachedBlock>],
) -> Result<Option<Sequence>, Halt<Missing>> {
    let guard = crossbeam_epoch::pin();
    let lookup = Lookup {
        key,
        sequence: Sequence::new(u64::MAX),
        above,
        supplied,
        guard: &guard,
    };
    let newest = lookup.run(view)?.map(|known| known.sequence);
    Ok(newest.filter(|sequence| *sequence > above))
}
