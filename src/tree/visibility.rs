//! The newest version of each key that a sequence may see, deleted keys hidden.
//!
//! Stands on top of a merge. Forward, the first version not above the sequence decides a key, and
//! the row is lent from where it lies. In reverse a key's versions come oldest first, so the best
//! one so far is kept in a buffer until the key changes.
//!
//! A row that has to be worked out is the versions that it is made of; whoever asks for the row does that.
//!
//! Where many entries of one block come next, as nearly always in data that was compacted, their rows are found
//! together (a *run*) and lent one after the other, whichever way the scan goes, without a look at the sources.

use std::ops::Bound;

use crate::cursor::{Halt, Moved};
use crate::direction::Direction;
use crate::internal_key::{Entry, Kind};
use crate::sequence::Sequence;
use crate::table::{Loaded, Missing, Pick, Run};
use crate::tree::hiding::{Hidden, Hiding, Tombstones};
use crate::tree::merge::Merge;
use crate::tree::rules::Stack;

/// How many entries ahead to look for the first run: a short scan needs no more. Each after it looks twice as far.
const RUN_ENTRIES_FIRST: u32 = 10;
const RUN_ENTRIES_MAX: u32 = 128;

/// What is known of the key that was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// No key was looked at.
    Nothing,
    /// Not all versions that may be the row.
    Part,
    /// Forward: it has a row if what is on the stack makes one, to which older versions may be added.
    Stack,
    /// Whether it has a row, and which.
    All,
}

/// Where the row is lent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// It stands on no row.
    Nowhere,
    /// Forward: the merge stands on the row. Reverse: behind it, and the row was copied.
    OnRow,
    InRun,
    /// The row has to be worked out from its versions, which were copied; the merge stands on the last of them or behind it.
    OnStack,
}

/// Rows visible at one sequence.
#[derive(Debug)]
pub(crate) struct Visible {
    merge: Merge,
    direction: Direction,
    sequence: Sequence,
    hiding: Hiding,
    /// What is hidden comes next and is being left out.
    skipping: Option<Hidden>,
    stands: Stands,
    /// Rows ahead that lie together. While it stands in them, the merge stands on the last entry of theirs.
    run: Run,
    /// How far ahead to look for the next ones.
    run_entries: u32,
    /// Whether everything was seen of the key of that last entry.
    run_decides: bool,
    /// The key looked at last; not kept up within a run.
    key: Vec<u8>,
    known: Known,
    /// Reverse: the newest version of `key` so far, if it is not deleted. Kept from row to row for its memory.
    value: Vec<u8>,
    /// What the row's entry is. Reverse: what that version is.
    kind: Kind,
    /// The versions of `key` that its row is made of, if it is a composite.
    stack: Stack,
    started: bool,
    /// The merge must be stepped before anything else: it stands on what is decided, or was halted.
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
            hiding: Hiding::new(tombstones, sequence),
            skipping: None,
            stands: Stands::Nowhere,
            run: Run::default(),
            run_entries: RUN_ENTRIES_FIRST,
            run_decides: false,
            key: Vec::new(),
            known: Known::Nothing,
            value: Vec::new(),
            kind: Kind::Tombstone,
            stack: Stack::default(),
            started: false,
            stepping: false,
        }
    }

    /// On to the next row, if there is one; forward the first move goes to the first row at or after `from`, in
    /// reverse to the last row below it. A halted move is made again with the same `from`.
    #[inline]
    pub(crate) fn step(&mut self, from: Option<&[u8]>) -> Moved<Missing> {
        if self.stands == Stands::InRun && self.run.advance(self.direction) {
            return Ok(());
        }
        self.step_sources(from)
    }

    fn step_sources(&mut self, from: Option<&[u8]>) -> Moved<Missing> {
        if !self.started {
            self.start(from)?;
        }
        if self.stands == Stands::InRun {
            self.leave_run();
        }
        if self.stepping {
            self.step_merge()?;
        }
        self.skip()?;
        if self.enter_run()? {
            return Ok(());
        }
        match self.direction {
            Direction::Forward => self.step_forward(),
            Direction::Reverse => self.step_reverse(),
        }
    }

    fn start(&mut self, from: Option<&[u8]>) -> Moved<Missing> {
        self.hiding.check_open()?;
        // Before every version of the key, whichever way it is approached.
        self.merge
            .start(from.map(|key| (key, Sequence::new(u64::MAX))))?;
        self.started = true;
        Ok(())
    }

    /// The key of the row it stands on, and what kind of entry holds it.
    #[inline]
    pub(crate) fn key(&self) -> Option<(&[u8], Kind)> {
        match self.stands {
            Stands::Nowhere => None,
            Stands::OnRow | Stands::OnStack => Some((&self.key, self.kind)),
            Stands::InRun => self.run.key(),
        }
    }

    /// What the entry of the row holds, which is not the value if that is in a blob file.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        match (self.stands, self.direction) {
            (Stands::InRun, _) => self.run.value().unwrap_or_default(),
            (_, Direction::Forward) => self.merge.entry().map_or(&[], |entry| entry.value),
            (_, Direction::Reverse) => &self.value,
        }
    }

    /// What the row it stands on has to be worked out from, if it is a composite.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Between two rows, after a move that was halted and never made again: where to go on. Keys
    /// before the bound (after it, in reverse) are decided; `None` if no key is.
    pub(crate) fn resume(&self) -> Option<Bound<Vec<u8>>> {
        match self.known {
            Known::Nothing => None,
            Known::Part | Known::Stack => Some(Bound::Included(self.key.clone())),
            Known::All => Some(Bound::Excluded(self.key.clone())),
        }
    }

    pub(crate) fn supply(&mut self, loaded: &Loaded) {
        self.merge.supply(loaded);
    }

    /// Stands on the first row of a run, if one begins here.
    fn enter_run(&mut self) -> std::result::Result<bool, Halt<Missing>> {
        let begins = match self.direction {
            Direction::Forward => self.stands == Stands::OnRow,
            Direction::Reverse => self.known != Known::Part,
        };
        if !begins {
            return Ok(false);
        }
        let (hiding, at, direction) = (&mut self.hiding, self.sequence, self.direction);
        let mut decided = true;
        let sees = |entry: &Entry<'_>, repeats: bool| {
            let before = decided;
            decided &= repeats;
            if decided || entry.sequence > at {
                return Pick::Not;
            }
            decided = true;
            if entry.kind == Kind::Tombstone || hiding.hides(entry) {
                return Pick::Not;
            }
            if entry.kind == Kind::Composite {
                // In reverse the rows behind it are taken, and its key counts as the first.
                decided = before || direction == Direction::Reverse;
                return Pick::Ends;
            }
            Pick::Row
        };
        if !self.merge.find_run(&mut self.run, self.run_entries, sees)? {
            return Ok(false);
        }
        self.run_decides = decided || self.direction == Direction::Reverse;
        self.run_entries = (self.run_entries * 2).min(RUN_ENTRIES_MAX);
        if self.run.advance(self.direction) {
            self.stands = Stands::InRun;
            return Ok(true);
        }
        self.leave_run();
        self.step_merge()?;
        Ok(false)
    }

    fn leave_run(&mut self) {
        if let Some(last) = self.merge.entry() {
            self.key.clear();
            self.key.extend_from_slice(last.key);
            self.known = if self.run_decides {
                Known::All
            } else {
                Known::Part
            };
        }
        self.run.end();
        self.stands = Stands::Nowhere;
        self.stepping = true;
    }

    fn step_merge(&mut self) -> Moved<Missing> {
        self.stepping = true;
        self.merge.step()?;
        self.stepping = false;
        Ok(())
    }

    /// Leaves out what is hidden, where much of it comes next. What is left out are only versions that a range
    /// tombstone hides: whatever was known of a key remains true.
    #[inline]
    fn skip(&mut self) -> Moved<Missing> {
        if self.skipping.is_none() && self.hiding.hides_much() {
            let entry = self.merge.entry();
            self.skipping = entry.and_then(|entry| self.hiding.ahead(entry.key, self.direction));
        }
        if let Some(hidden) = &self.skipping {
            self.merge.skip(hidden)?;
            self.skipping = None;
        }
        Ok(())
    }

    fn step_forward(&mut self) -> Moved<Missing> {
        if self.stands == Stands::OnRow {
            self.stands = Stands::Nowhere;
            self.step_merge()?;
        }
        self.stands = Stands::Nowhere;
        if self.known == Known::Stack {
            return self.stack_older();
        }
        loop {
            self.skip()?;
            let Some(entry) = self.merge.entry() else {
                return Ok(());
            };
            let decided = self.known == Known::All && entry.key == self.key.as_slice();
            if !decided && entry.sequence <= self.sequence {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                self.known = Known::All;
                if entry.kind != Kind::Tombstone && !self.hiding.hides(&entry) {
                    self.kind = entry.kind;
                    if entry.kind == Kind::Composite {
                        return self.stack_first();
                    }
                    self.stands = Stands::OnRow;
                    return Ok(());
                }
            }
            self.step_merge()?;
        }
    }

    /// Stands on the composite that it met, with all that it depends on.
    #[cold]
    fn stack_first(&mut self) -> Moved<Missing> {
        self.stack.clear();
        self.known = Known::Stack;
        self.stack_older()
    }

    /// Takes version after version of the key, down to the first that older ones do not matter to.
    fn stack_older(&mut self) -> Moved<Missing> {
        while let Some(entry) = self.merge.entry() {
            let goes_on = entry.key == self.key.as_slice()
                && !self.hiding.hides(&entry)
                && self.stack.push_older(&entry);
            if !goes_on {
                break;
            }
            self.step_merge()?;
        }
        self.known = Known::All;
        self.stands = Stands::OnStack;
        Ok(())
    }

    /// Puts the composite that it met onto the version before it, which is `older`.
    #[cold]
    fn stack_newer(&mut self, older: Kind) {
        let below = match older {
            Kind::Composite => None,
            Kind::Tombstone => {
                self.stack.clear();
                None
            }
            Kind::Value | Kind::Blob => {
                self.stack.clear();
                Some((older, self.value.as_slice()))
            }
        };
        if let Some(entry) = self.merge.entry() {
            self.stack.push_newer(entry.value, below);
        }
    }

    fn step_reverse(&mut self) -> Moved<Missing> {
        self.stands = Stands::Nowhere;
        loop {
            self.skip()?;
            let entry = self.merge.entry();
            let ends = entry.is_none_or(|entry| entry.key != self.key.as_slice());
            if self.known == Known::Part && ends {
                self.known = Known::All;
                if self.kind != Kind::Tombstone {
                    self.stands = if self.kind == Kind::Composite {
                        Stands::OnStack
                    } else {
                        Stands::OnRow
                    };
                    return Ok(());
                }
            }
            let Some(entry) = entry else { return Ok(()) };
            if self.known != Known::Part {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                self.known = Known::Part;
                self.kind = Kind::Tombstone;
            }
            if entry.sequence <= self.sequence {
                let older = self.kind;
                self.kind = if self.hiding.hides(&entry) {
                    Kind::Tombstone
                } else {
                    entry.kind
                };
                if self.kind == Kind::Composite {
                    self.stack_newer(older);
                } else if self.kind != Kind::Tombstone {
                    self.value.clear();
                    self.value.extend_from_slice(entry.value);
                }
            }
            self.step_merge()?;
        }
    }
}
