//! Reads of one tree. Points: the resident path as a plain call, the rest as a loop that loads what is
//! missing. Scans: how one begins.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use trine_io::Mode;

use crate::blob::BlobValue;
use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::db::Core;
use crate::direction::Direction;
use crate::error::Result;
use crate::filter::prefix::SharedPrefix;
use crate::key::KeyRange;
use crate::sequence::Sequence;
use crate::table::Missing;
use crate::tree::lookup::{self, Hit, Readable};
use crate::tree::pins::Pin;
use crate::tree::scan::{Scan, ScanPlan};
use crate::tree::{Tree, view::View};
use crate::types::Value;

impl Core {
    pub(crate) fn pin_newest(&self) -> Pin {
        self.pin_at(None)
    }

    /// Pins `at`, or the newest visible sequence.
    pub(crate) fn pin_at(&self, at: Option<Sequence>) -> Pin {
        self.pins
            .pin(|| at.unwrap_or_else(|| self.commits.visible()))
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
        let pin = self.pin_at(at);
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
            Ok(Some(Got::Blob(value))) => Ok(Some(read(&value.read(mode).await?))),
            Ok(Some(Got::Read(value))) => Ok(Some(value)),
            Ok(None) => Ok(None),
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Needs(missing)) => {
                // The view is taken before the sequence, as on the resident path.
                let view = tree.pin();
                let sequence = at.unwrap_or_else(|| self.commits.visible());
                let read = |value: Readable<'_, '_>| Ok(read(value.bytes()));
                get_in_view(&view, key, sequence, Some(missing), mode, read).await
            }
        }
    }

    /// Whether there is a value of `key` now; one in a blob file is not read.
    pub(crate) async fn contains(&self, tree: &Tree, key: &[u8], mode: Mode) -> Result<bool> {
        let found = match self.get_resident(tree, key, None, mode, &mut |_| ()) {
            Ok(found) => found.is_some(),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(missing)) => {
                let view = tree.pin();
                let sequence = self.commits.visible();
                let found = |_: Hit<'_, '_>| Ok(());
                find_in_view(&view, key, sequence, Some(missing), mode, found)
                    .await?
                    .is_some()
            }
        };
        Ok(found)
    }

    fn get_resident<R>(
        &self,
        tree: &Tree,
        key: &[u8],
        at: Option<Sequence>,
        mode: Mode,
        read: &mut impl FnMut(&[u8]) -> R,
    ) -> std::result::Result<Option<Got<R>>, Halt<Missing>> {
        self.check_open()?;
        tree.check_kept()?;
        let guard = crate::epoch::pin();
        // The view before the sequence: a compaction that this view shows dropped nothing that the
        // sequence, read later and so not older, could still see.
        let view = tree.view(&guard);
        let sequence = at.unwrap_or_else(|| self.commits.visible());
        let at_hand = mode == Mode::Cooperative;
        let Some(hit) = lookup::get(view, key, sequence, &[], &guard, at_hand)? else {
            return Ok(None);
        };
        Ok(Some(match hit.blob() {
            None => Got::Read(read(hit.bytes())),
            Some(index) => Got::Blob(view.version.decode_blob(index)?),
        }))
    }
}

/// What became of a value that was found.
enum Got<R> {
    Read(R),
    /// It has to be fetched first.
    Blob(BlobValue),
}

/// What `read` makes of the value of `key` in a view that the caller holds, loading block after block,
/// first the one that the caller found `missing`.
pub(crate) async fn get_in_view<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    missing: Option<Missing>,
    mode: Mode,
    mut read: impl FnMut(Readable<'v, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let got = find_in_view(view, key, sequence, missing, mode, |hit| match hit.blob() {
        None => read(Readable::Beside(hit)).map(Got::Read),
        Some(index) => view.version.decode_blob(index).map(Got::Blob),
    });
    match got.await? {
        None => Ok(None),
        Some(Got::Read(value)) => Ok(Some(value)),
        Some(Got::Blob(value)) => read(Readable::Blob(value.read(mode).await?)).map(Some),
    }
}

/// As `get_in_view`, of what the entry holds: a value in a blob file is not fetched.
async fn find_in_view<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    mut missing: Option<Missing>,
    mode: Mode,
    mut found: impl FnMut(Hit<'v, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let mut supplied = Vec::new();
    let mut was_ready = true;
    loop {
        if let Some(missing) = missing.take() {
            let loaded = missing.load(mode).await?;
            was_ready &= loaded.was_ready;
            supplied.extend(loaded.blocks);
        }
        let guard = crate::epoch::pin();
        let at_hand = was_ready && mode == Mode::Cooperative;
        match lookup::get(view, key, sequence, &supplied, &guard, at_hand) {
            Ok(value) => return value.map(&mut found).transpose(),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(needed)) => missing = Some(needed),
        }
    }
}

/// Copies of the values of `keys`, in their order, in a view that the caller holds. What all of them miss is
/// read at once, then they go on together.
pub(crate) async fn get_all_in_view(
    view: &View,
    keys: &[&[u8]],
    sequence: Sequence,
    mode: Mode,
) -> Result<Vec<Option<Value>>> {
    let mut values: Vec<Option<Value>> = vec![None; keys.len()];
    let mut blobs = Vec::new();
    let mut open: Vec<Unanswered<'_>> = keys
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
        let mut halted: BTreeMap<_, (Missing, Vec<Unanswered<'_>>)> = BTreeMap::new();
        {
            let guard = crate::epoch::pin();
            for lookup in open.drain(..) {
                let at_hand = lookup.was_ready && mode == Mode::Cooperative;
                let (key, supplied) = (lookup.key, &lookup.supplied);
                match lookup::get(view, key, sequence, supplied, &guard, at_hand) {
                    Ok(None) => {}
                    Ok(Some(hit)) => match hit.blob() {
                        None => *lookup.value = Some(hit.bytes().to_vec()),
                        Some(index) => blobs.push((lookup.value, view.version.decode_blob(index)?)),
                    },
                    Err(Halt::Failed(error)) => return Err(error),
                    Err(Halt::Needs(missing)) => {
                        let place = halted.entry(missing.place());
                        place.or_insert((missing, Vec::new())).1.push(lookup);
                    }
                }
            }
        }
        if halted.is_empty() {
            break;
        }
        let mut halted: Vec<_> = halted.into_values().collect();
        // Several reads take the time of one, for a caller that waits too: the host is asked for all of them before
        // the first is read, or others carry them out.
        let mode = if halted.len() > 1 && !halted.iter_mut().all(|(missing, _)| missing.ask()) {
            Mode::Cooperative
        } else {
            mode
        };
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
    for (value, blob) in blobs {
        *value = Some(blob.read(mode).await?.into_vec());
    }
    Ok(values)
}

/// A key whose value is not known yet.
struct Unanswered<'v> {
    key: &'v [u8],
    value: &'v mut Option<Value>,
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
