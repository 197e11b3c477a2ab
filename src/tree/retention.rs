//! Which versions a flush or compaction may drop, given the sequences that somebody still reads at.
//!
//! The pinned sequences cut history into stripes: two versions are in one stripe if no pinned
//! sequence lies between them, so that no reader can tell whether the older one exists.
//!
//! ```text
//! pinned            10              20
//! versions of k  7      12  15  18      25
//! kept           7              18      25      (12 and 15 are shadowed by 18)
//! ```
//!
//! - Of each key, the newest version in each stripe stays, with the operands that are merged into it.
//! - A version under a range tombstone of its own stripe goes.
//! - A tombstone goes too where nothing older can be left for it to hide: in the oldest stripe, where
//!   nothing beneath the output may hold its keys.
//! - A table goes as a whole where a range tombstone of the stripe of all its entries covers it.

use crate::composite::Composite;
use crate::internal_key::{Entry, Kind};
use crate::range_tombstone::{Fragment, Fragments};
use crate::sequence::Sequence;
use crate::table::TableMeta;
use crate::tree::span::Span;

/// Where there may be data older than what is being written.
#[derive(Clone, Debug)]
pub(crate) enum Beneath {
    Anything,
    /// In these spans only: ascending, apart from each other.
    Spans(Vec<Span>),
}

impl Beneath {
    /// Whether something may be in `[start, end)`; an empty end is no end.
    fn meets(&self, start: &[u8], end: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Spans(spans) => {
                let next = spans.partition_point(|span| span.ends_before(start));
                spans
                    .get(next)
                    .is_some_and(|span| span.meets_half_open(start, end))
            }
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        match self {
            Self::Anything => true,
            Self::Spans(spans) => {
                let next = spans.partition_point(|span| span.ends_before(key));
                spans.get(next).is_some_and(|span| span.contains(key))
            }
        }
    }
}

/// Whether no reader, at any of the pinned sequences (ascending) or later, can tell if the table is
/// there, given range tombstones that are.
pub(crate) fn is_deleted(table: &TableMeta, tombstones: &Fragments, pinned: &[Sequence]) -> bool {
    let stripe = |sequence| pinned.partition_point(|pinned| *pinned < sequence);
    let oldest = stripe(table.smallest_sequence);
    let end = (!table.largest_exclusive).then(|| crate::key::successor(&table.largest));
    let end = end.as_deref().unwrap_or(&table.largest);
    tombstones.covers(&table.smallest, end, |sequences| {
        let newer = sequences.partition_point(|sequence| *sequence > table.largest_sequence);
        sequences
            .get(newer.wrapping_sub(1))
            .is_some_and(|covering| stripe(*covering) == oldest)
    })
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Goes,
    Stays,
    /// It goes with the last of those who read below this sequence.
    StaysUntil(Sequence),
}

impl Fate {
    /// Whether the entry must reach the output.
    pub(crate) fn stays(self) -> bool {
        self != Self::Goes
    }
}

/// Decides, entry by entry, in the engine's order.
#[derive(Clone, Debug)]
pub(crate) struct Retention {
    /// Ascending.
    pinned: Vec<Sequence>,
    beneath: Beneath,
    /// All range tombstones of the inputs.
    tombstones: Fragments,
    key: Vec<u8>,
    /// The sequence of the version of `key` that came last of those to which older ones do not matter, if any.
    newer: Option<Sequence>,
}

impl Retention {
    pub(crate) fn new(pinned: Vec<Sequence>, beneath: Beneath, tombstones: Fragments) -> Self {
        debug_assert!(pinned.is_sorted(), "pinned sequences ascend");
        Self {
            pinned,
            beneath,
            tombstones,
            key: Vec::new(),
            newer: None,
        }
    }

    /// Fed every entry once, in order.
    pub(crate) fn fate(&mut self, entry: &Entry<'_>) -> Fate {
        let stripe = self.stripe_of(entry.sequence);
        if self.key != entry.key {
            self.newer = None;
            self.key.clear();
            self.key.extend_from_slice(entry.key);
        }
        let newer = self.newer;
        let is_open = entry.kind == Kind::Composite && Composite::is_open(entry.value);
        if !is_open {
            self.newer = Some(entry.sequence);
        }
        let covering = self.tombstones.oldest_above(entry.key, entry.sequence);
        // The first that hides it: older readers see it, later ones do not.
        let hidden_by = newer.into_iter().chain(covering).min();
        let spent = entry.kind == Kind::Tombstone && self.is_spent(entry.key, entry.sequence);
        match hidden_by {
            _ if spent => Fate::Goes,
            Some(sequence) if self.stripe_of(sequence) == stripe => Fate::Goes,
            Some(sequence) => Fate::StaysUntil(sequence),
            None => Fate::Stays,
        }
    }

    /// Whether a tombstone would have nothing to hide.
    pub(crate) fn is_spent(&self, key: &[u8], sequence: Sequence) -> bool {
        self.stripe_of(sequence) == 0 && !self.beneath.holds(key)
    }

    /// Whether there may be versions of `key` older than all that is fed.
    pub(crate) fn may_be_beneath(&self, key: &[u8]) -> bool {
        self.beneath.holds(key)
    }

    /// Whether no reader can tell if the older of the two versions exists once the newer says what both say.
    pub(crate) fn are_in_one_stripe(&self, left: Sequence, right: Sequence) -> bool {
        self.stripe_of(left) == self.stripe_of(right)
    }

    /// The range tombstones that must reach the output.
    pub(crate) fn kept_tombstones(&self) -> Fragments {
        let kept = self.tombstones.as_slice().iter().filter_map(|fragment| {
            let mut sequences = fragment.sequences.clone();
            // Newest first: the first of each stripe is the newest of it.
            sequences.dedup_by_key(|sequence| self.stripe_of(*sequence));
            if !self.beneath.meets(&fragment.start, &fragment.end) {
                sequences.retain(|sequence| self.stripe_of(*sequence) > 0);
            }
            (!sequences.is_empty()).then(|| Fragment {
                sequences,
                ..fragment.clone()
            })
        });
        Fragments::from_sorted(kept.collect())
    }

    fn stripe_of(&self, sequence: Sequence) -> usize {
        self.pinned.partition_point(|pinned| *pinned < sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range_tombstone::RangeTombstone;
    use proptest::prelude::*;

    fn pins(sequences: &[u64]) -> Vec<Sequence> {
        sequences.iter().copied().map(Sequence::new).collect()
    }

    fn beneath(last_level: bool) -> Beneath {
        if last_level {
            Beneath::Spans(Vec::new())
        } else {
            Beneath::Anything
        }
    }

    fn kept(pinned: &[u64], last_level: bool, versions: &[(u64, Kind)]) -> Vec<u64> {
        let beneath = beneath(last_level);
        let mut retention = Retention::new(pins(pinned), beneath, Fragments::default());
        versions
            .iter()
            .filter(|(sequence, kind)| {
                let sequence = Sequence::new(*sequence);
                retention
                    .fate(&Entry {
                        key: b"k",
                        sequence,
                        kind: *kind,
                        value: b"",
                    })
                    .stays()
            })
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    #[test]
    fn the_newest_version_of_each_stripe_stays() {
        let versions = [25, 18, 15, 12, 7].map(|sequence| (sequence, Kind::Value));
        assert_eq!(kept(&[10, 20], false, &versions), [25, 18, 7]);
        assert_eq!(kept(&[], false, &versions), [25]);
        assert_eq!(kept(&[18], false, &versions), [25, 18]);
    }

    #[test]
    fn a_tombstone_goes_only_at_the_last_level_in_the_oldest_stripe() {
        let versions = [(9, Kind::Tombstone), (5, Kind::Value)];
        assert_eq!(kept(&[], true, &versions), []);
        assert_eq!(kept(&[], false, &versions), [9]);
        assert_eq!(kept(&[7], true, &versions), [9, 5]);
        assert_eq!(kept(&[9], true, &versions), []);
    }

    proptest! {
        /// What a reader sees at any pinned sequence, and at the newest, is the same before and after.
        #[test]
        fn no_reader_can_tell_what_was_dropped(
            mut versions in proptest::collection::btree_map(1u64..30, any::<bool>(), 0..10),
            ranges in proptest::collection::vec(1u64..30, 0..4),
            mut pinned in proptest::collection::vec(0u64..30, 0..4),
            last_level: bool,
        ) {
            pinned.sort_unstable();
            for range in &ranges {
                versions.remove(range);
            }
            let fragments = Fragments::build(ranges.iter().map(|sequence| RangeTombstone {
                start: b"a".to_vec(), end: b"z".to_vec(), sequence: Sequence::new(*sequence),
            }));
            let mut retention = Retention::new(pins(&pinned), beneath(last_level), fragments.clone());
            let after_ranges = retention.kept_tombstones();
            let kind = |value: &bool| if *value { Kind::Value } else { Kind::Tombstone };
            let fated: Vec<_> = versions.iter().rev().map(|(sequence, value)| {
                let entry = Entry { key: b"k", sequence: Sequence::new(*sequence), kind: kind(value), value: b"" };
                (*sequence, *value, retention.fate(&entry))
            }).collect();
            let stays = fated.iter().filter(|(_, _, fate)| fate.stays());
            let after: Vec<_> = stays.map(|(sequence, value, _)| (*sequence, *value)).collect();
            let before: Vec<_> = versions.iter().rev().map(|(sequence, value)| (*sequence, *value)).collect();
            let read = |versions: &[(u64, bool)], ranges: &Fragments, at: u64| {
                let newest = versions.iter().find(|(sequence, _)| *sequence <= at);
                let covering = ranges.covering(b"k", Sequence::new(at)).map_or(0, Sequence::get);
                newest.filter(|(sequence, value)| *value && *sequence > covering).map(|(sequence, _)| *sequence)
            };
            for (sequence, _, fate) in &fated {
                let Fate::StaysUntil(until) = fate else { continue };
                let later = pinned.iter().copied().filter(|pinned| *pinned >= until.get()).collect::<Vec<_>>();
                let mut retention = Retention::new(pins(&later), beneath(last_level), fragments.clone());
                let again = after.iter().find(|(other, other_value)| {
                    let stays = retention.fate(&Entry { key: b"k", sequence: Sequence::new(*other), kind: kind(other_value), value: b"" }).stays();
                    other == sequence && stays
                });
                prop_assert_eq!(again, None, "{} goes with the last reader before {:?}", sequence, until);
            }
            for at in pinned.iter().copied().chain([u64::MAX]) {
                prop_assert_eq!(read(&after, &after_ranges, at), read(&before, &fragments, at), "at {}", at);
            }
        }
    }
}
