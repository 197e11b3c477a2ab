//! Reads of one tree. Points: the resident path as a plain call, the rest as a loop that loads what is
//! missing. Scans: how one begins.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use trine_io::Mode;

use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::db::Core;
use crate::direction::Direction;
use crate::error::Result;
use crate::filter::prefix::SharedPrefix;
use crate::key::KeyRange;
use crate::sequence::Sequence;
use crate::table::Missing;
use crate::tree::lookup::{self, Hit};
use crate::tree::pins::Pin;
use crate::tree::scan::{Scan, ScanPlan};
use crate::tree::{Tree, view::View};

impl Core {
    pub(crate) fn pin_newest(&self) -> Pin {
        self.pins.pin(|| self.commits.visible())
    }

    /// A scan of `range` at `at`, or of what is committed now. Reads nothing yet.
    pub(crate) fn scan(
        &self,
        tree: &Tree,
        range: KeyRange,
        direction: Direction,
        at: Option<Sequence>,
    ) -> Result<(Scan, Pin)> {
        self.check_open()?;
        tree.check_kept()?;
        // The pin before the view: see `Pins`.
        let pin = self
            .pins
            .pin(|| at.unwrap_or_else(|| self.commits.visible()));
        let plan = ScanPlan {
            prefix: shared_prefix(tree, &range),
            range,
            direction,
            sequence: pin.sequence(),
        };
        Ok((Scan::new(tree.pin(), plan), pin))
    }

    /// What `read` makes of the value of `key` at `at` (or now), lent from where it lies.
    pub(crate) async fn get_with<R>(
        &self,
        tree: &Tree,
        key: &[u8],
        at: Option<Sequence>,
        mode: Mode,
        mut read: impl FnMut(&[u8]) -> R,
    ) -> Result<Option<R>> {
        match self.get_resident(tree, key, at, mode, &mut read) {
            Ok(value) => Ok(value),
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Needs(missing)) => {
                // The view is taken before the sequence, as on the resident path.
                let view = tree.pin();
                let sequence = at.unwrap_or_else(|| self.commits.visible());
                let read = |hit: Hit<'_, '_>| Ok(read(hit.bytes()));
                get_in_view(&view, key, sequence, Some(missing), mode, read).await
            }
        }
    }

    fn get_resident<R>(
        &self,
        tree: &Tree,
        key: &[u8],
        at: Option<Sequence>,
        mode: Mode,
        read: &mut impl FnMut(&[u8]) -> R,
    ) -> std::result::Result<Option<R>, Halt<Missing>> {
        self.check_open()?;
        tree.check_kept()?;
        let guard = crossbeam_epoch::pin();
        // The view before the sequence: a compaction that this view shows dropped nothing that the
        // sequence, read later and so not older, could still see.
        let view = tree.view(&guard);
        let sequence = at.unwrap_or_else(|| self.commits.visible());
        let hit = lookup::get(view, key, sequence, &[], &guard, mode == Mode::Cooperative)?;
        Ok(hit.map(|hit| read(hit.bytes())))
    }
}

/// What `read` makes of the value of `key` in a view that the caller holds, loading block after block,
/// first the one that the caller found `missing`.
pub(crate) async fn get_in_view<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    mut missing: Option<Missing>,
    mode: Mode,
    mut read: impl FnMut(Hit<'v, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let mut supplied = Vec::new();
    let mut was_ready = true;
    loop {
        if let Some(missing) = missing.take() {
            let loaded = missing.load(mode).await?;
            was_ready &= loaded.was_ready;
            supplied.extend(loaded.blocks);
        }
        let guard = crossbeam_epoch::pin();
        let at_hand = was_ready && mode == Mode::Cooperative;
        match lookup::get(view, key, sequence, &supplied, &guard, at_hand) {
            Ok(value) => return value.map(&mut read).transpose(),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(needed)) => missing = Some(needed),
        }
    }
}

/// What `read` makes of the values of `keys`, in their order, in a view that the caller holds. What all of
/// them miss is read at once, then they go on together.
pub(crate) async fn get_all_in_view<R>(
    view: &View,
    keys: &[&[u8]],
    sequence: Sequence,
    mode: Mode,
    mut read: impl FnMut(&[u8]) -> R,
) -> Result<Vec<Option<R>>> {
    let mut values: Vec<Option<R>> = keys.iter().map(|_| None).collect();
    let mut open: Vec<Unanswered<'_, R>> = keys
        .iter()
        .zip(&mut values)
        .map(|(key, value)| Unanswered {
            key,
            value,
            supplied: Vec::new(),
            was_ready: true,
        })
        .collect();
    loop {
        let mut halted: BTreeMap<_, (Missing, Vec<Unanswered<'_, R>>)> = BTreeMap::new();
        {
            let guard = crossbeam_epoch::pin();
            for lookup in open.drain(..) {
                let at_hand = lookup.was_ready && mode == Mode::Cooperative;
                let (key, supplied) = (lookup.key, &lookup.supplied);
                match lookup::get(view, key, sequence, supplied, &guard, at_hand) {
                    Ok(hit) => *lookup.value = hit.map(|hit| read(hit.bytes())),
                    Err(Halt::Failed(error)) => return Err(error),
                    Err(Halt::Needs(missing)) => {
                        let place = halted.entry(missing.place());
                        place.or_insert((missing, Vec::new())).1.push(lookup);
                    }
                }
            }
        }
        if halted.is_empty() {
            return Ok(values);
        }
        // Several reads take the time of one where others carry them out, for a caller that waits too.
        let mode = if halted.len() > 1 {
            Mode::Cooperative
        } else {
            mode
        };
        let halted: Vec<_> = halted.into_values().collect();
        let started = halted.iter().map(|(missing, _)| missing.start(mode));
        let started = started.collect::<Result<Vec<_>>>()?;
        let mut loaded = Vec::with_capacity(started.len());
        for loading in started {
            loaded.push(loading.finish().await?);
        }
        for ((_, lookups), loaded) in halted.into_iter().zip(loaded) {
            open.extend(lookups.into_iter().map(|mut lookup| {
                lookup.was_ready &= loaded.was_ready;
                lookup.supplied.extend(loaded.blocks.iter().map(Arc::clone));
                lookup
            }));
        }
    }
}

/// A key whose value is not known yet.
struct Unanswered<'v, R> {
    key: &'v [u8],
    value: &'v mut Option<R>,
    /// The blocks that its lookup missed.
    supplied: Vec<Arc<CachedBlock>>,
    was_ready: bool,
}

/// The extracted prefix that every key of the range has, if the range shows that there is one.
fn shared_prefix(tree: &Tree, range: &KeyRange) -> Option<Arc<SharedPrefix>> {
    let extractor = &tree.options().prefix_extractor;
    let Bound::Included(start) = &range.start else {
        return None;
    };
    let prefix = extractor.extract(start)?;
    // Only if no key of the range can have another prefix.
    let within = KeyRange::prefix(prefix);
    let contained = match (&range.end, &within.end) {
        (_, Bound::Unbounded) => true,
        (Bound::Excluded(end), Bound::Excluded(limit)) => end <= limit,
        (Bound::Included(end), Bound::Excluded(limit)) => end < limit,
        _ => false,
    };
    (contained && !prefix.is_empty())
        .then(|| Arc::new(SharedPrefix::new(extractor.clone(), prefix)))
}
