//! The newest version of each key that a sequence may see, deleted keys hidden.
//!
//! Stands on top of a merge. Forward, the first version not above the sequence decides a key, and
//! the row is lent from where it lies. In reverse a key's versions come oldest first, so the best
//! one so far is kept in a buffer until the key changes.

use std::ops::Bound;
use std::sync::Arc;

use trine_io::Mode;

use crate::cursor::{Halt, Moved};
use crate::direction::Direction;
use crate::error::Result;
use crate::internal_key::Kind;
use crate::key::{KeyRange, overlap};
use crate::range_tombstone::Fragments;
use crate::sequence::Sequence;
use crate::table::{Loaded, Missing, OpenTable, Table};
use crate::tree::merge::Merge;

/// Range tombstones of one source.
#[derive(Debug)]
pub(crate) enum Tombstones {
    Memtable(Arc<Fragments>),
    Table(Arc<Table>),
}

impl Tombstones {
    /// `None`: the table is not open.
    fn fragments(&self) -> Option<&Fragments> {
        match self {
            Self::Memtable(fragments) => Some(fragments),
            Self::Table(table) => table.opened().map(OpenTable::tombstones),
        }
    }

    /// Whether they can be read.
    fn check_open(&self) -> Moved<Missing> {
        match self {
            Self::Table(table) => table.read().map(drop).map_err(Halt::Needs),
            Self::Memtable(_) => Ok(()),
        }
    }

    /// Makes them readable.
    pub(crate) async fn open(&self, mode: Mode) -> Result<()> {
        match self {
            Self::Table(table) => table.open(mode).await.map(drop),
            Self::Memtable(_) => Ok(()),
        }
    }

    fn covering(&self, key: &[u8], at: Sequence) -> Option<Sequence> {
        self.fragments()?.covering(key, at)
    }

    /// Whether a tombstone above `above` deletes from `range`. They must be readable.
    pub(crate) fn meets(&self, range: &KeyRange, above: Sequence) -> bool {
        let fragments = self.fragments().map(Fragments::as_slice);
        fragments.unwrap_or_default().iter().any(|fragment| {
            fragment
                .sequences
                .first()
                .is_some_and(|newest| *newest > above)
                && overlap(range, &fragment.start, &fragment.end)
        })
    }
}

/// Rows visible at one sequence.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Visible {
    merge: Merge,
    direction: Direction,
    sequence: Sequence,
    /// Of those sources that have any.
    tombstones: Vec<Tombstones>,
    /// Forward: the key decided last, the row's if it stands on one. Reverse: the key being decided.
    key: Vec<u8>,
    /// Whether `key` holds one.
    has_key: bool,
    /// Reverse: the newest version of `key` so far, if it is not deleted. Kept from row to row for its memory.
    value: Vec<u8>,
    /// What the row's entry is. Reverse: what that version is.
    kind: Kind,
    /// Whether it stands on a row.
    on_row: bool,
    started: bool,
    /// A step of the merge was halted and must be made again first.
    stepping: bool,
}

impl Visible {
    pub(crate) fn new(
        merge: Merge,
        direction: Direction,
        sequence: Sequence,
        tombstones: Vec<Tombstones>,
    ) -> Self {
        Self {
            merge,
            direction,
            sequence,
            tombstones,
            key: Vec::new(),
            has_key: false,
            value: Vec::new(),
            kind: Kind::Tombstone,
            on_row: false,
            started: false,
            stepping: false,
        }
    }

    /// On to the next row, if there is one; forward the first move goes to the first row at or after `from`, in
    /// reverse to the last row below it. A halted move is made again with the same `from`.
    #[inline]
    pub(crate) fn step(&mut self, from: Option<&[u8]>) -> Moved<Missing> {
        if !self.started {
            self.start(from)?;
        }
        if self.stepping {
            self.step_merge()?;
        }
        match self.direction {
            Direction::Forward => self.step_forward(),
            Direction::Reverse => self.step_reverse(),
        }
    }

    #[cold]
    fn start(&mut self, from: Option<&[u8]>) -> Moved<Missing> {
        self.tombstones
            .iter()
            .try_for_each(Tombstones::check_open)?;
        // Before every version of the key, whichever way it is approached.
        self.merge
            .start(from.map(|key| (key, Sequence::new(u64::MAX))))?;
        self.started = true;
        Ok(())
    }

    /// The key of the row it stands on, and what kind of entry holds it.
    #[inline]
    pub(crate) fn key(&self) -> Option<(&[u8], Kind)> {
        self.on_row.then_some((&self.key, self.kind))
    }

    /// What the entry of the row holds, which is not the value if that is in a blob file.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        match self.direction {
            Direction::Forward => self.merge.entry().map_or(&[], |entry| entry.value),
            Direction::Reverse => &self.value,
        }
    }

    /// Between two rows, after a move that was halted and never made again: where to go on. Keys
    /// before the bound (after it, in reverse) are decided; `None` if no key is.
    pub(crate) fn resume(&self) -> Option<Bound<Vec<u8>>> {
        let key = self.has_key.then(|| self.key.clone())?;
        Some(match self.direction {
            Direction::Forward => Bound::Excluded(key),
            Direction::Reverse => Bound::Included(key),
        })
    }

    pub(crate) fn supply(&mut self, loaded: &Loaded) {
        self.merge.supply(loaded);
    }

    #[inline]
    fn step_merge(&mut self) -> Moved<Missing> {
        self.stepping = true;
        self.merge.step()?;
        self.stepping = false;
        Ok(())
    }

    fn step_forward(&mut self) -> Moved<Missing> {
        if self.on_row {
            self.on_row = false;
            self.step_merge()?;
        }
        while let Some(entry) = self.merge.entry() {
            let decided = self.has_key && entry.key == self.key.as_slice();
            if !decided && entry.sequence <= self.sequence {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                self.has_key = true;
                if entry.kind != Kind::Tombstone
                    && !hidden(&self.tombstones, entry.key, entry.sequence, self.sequence)
                {
                    self.kind = entry.kind;
                    self.on_row = true;
                    return Ok(());
                }
            }
            self.step_merge()?;
        }
        Ok(())
    }

    fn step_reverse(&mut self) -> Moved<Missing> {
        if self.on_row {
            self.on_row = false;
            self.has_key = false;
        }
        loop {
            match self.merge.entry() {
                Some(entry) if self.has_key && entry.key != self.key.as_slice() => {
                    if self.kind != Kind::Tombstone {
                        break;
                    }
                    self.has_key = false;
                }
                Some(entry) => {
                    if !self.has_key {
                        self.key.clear();
                        self.key.extend_from_slice(entry.key);
                        self.has_key = true;
                        self.kind = Kind::Tombstone;
                    }
                    if entry.sequence <= self.sequence {
                        let is_hidden =
                            hidden(&self.tombstones, entry.key, entry.sequence, self.sequence);
                        self.kind = if is_hidden {
                            Kind::Tombstone
                        } else {
                            entry.kind
                        };
                        if self.kind != Kind::Tombstone {
                            self.value.clear();
                            self.value.extend_from_slice(entry.value);
                        }
                    }
                    self.step_merge()?;
                }
                None => break,
            }
        }
        self.on_row = self.has_key && self.kind != Kind::Tombstone;
        self.has_key = self.on_row;
        Ok(())
    }
}

/// Whether a range tombstone visible at `at` hides the version `sequence` of `key`.
fn hidden(tombstones: &[Tombstones], key: &[u8], sequence: Sequence, at: Sequence) -> bool {
    tombstones.iter().any(|source| {
        source
            .covering(key, at)
            .is_some_and(|covering| covering > sequence)
    })
}
