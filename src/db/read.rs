//! Reads of one tree. Points: the resident path as a plain call, the rest as a loop that loads what is
//! missing. Scans: how one begins.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Bound;
use std::sync::Arc;

use crossbeam_epoch::Guard;
use trine_io::Mode;

use crate::blob::{BlobBytes, BlobValue};
use crate::cache::CachedBlock;
use crate::cursor::Halt;
use crate::db::Core;
use crate::db::attempt::Attempt;
use crate::db::bucket::Bucket;
use crate::db::latency::Call;
use crate::db::snapshot::Snapshot;
use crate::direction::Direction;
use crate::error::Result;
use crate::filter::prefix::SharedPrefix;
use crate::key::KeyRange;
use crate::sequence::Sequence;
use crate::table::Missing;
use crate::tree::lookup::{self, Hit, Indirect, Readable};
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
    pub(crate) fn get_with<R>(
        &self,
        tree: &Tree,
        key: &[u8],
        at: Option<Sequence>,
        mode: Mode,
        mut read: impl FnMut(&[u8]) -> R,
    ) -> Attempt<Result<Option<R>>, impl Future<Output = Result<Option<R>>>> {
        let mut read = move |value: Readable<'_, '_>| Ok(read(value.bytes()));
        let begun = self.latencies.begin();
        let now = self.in_newest_view(tree, at, |view, sequence, guard| {
            get_now(view, key, sequence, mode, guard, &mut read)
        });
        let later = match now {
            Ok(Now::Through(value)) => {
                self.latencies.end(Call::Get, begun);
                return Attempt::Through(Ok(value));
            }
            Err(error) => return Attempt::Through(Err(error)),
            Ok(Now::Later(later)) => later,
        };
        Attempt::waits(async move {
            // The view is taken before the sequence, as above.
            let view = tree.pin();
            let sequence = at.unwrap_or_else(|| self.commits.visible());
            let value = get_later(&view, key, sequence, later, mode, read).await;
            self.latencies.end(Call::Get, begun);
            value
        })
    }

    /// Whether there is a value of `key` now; one in a blob file is not read.
    pub(crate) fn contains(
        &self,
        tree: &Tree,
        key: &[u8],
        mode: Mode,
    ) -> Attempt<Result<bool>, impl Future<Output = Result<bool>>> {
        let now = self.in_newest_view(tree, None, |view, sequence, guard| {
            let at_hand = mode == Mode::Cooperative;
            match lookup::get(view, key, sequence, &[], guard, at_hand) {
                Ok(Some(hit)) if hit.is_composite() => Ok(Err(Later::Composite)),
                Ok(hit) => Ok(Ok(hit.is_some())),
                Err(Halt::Needs(missing)) => Ok(Err(Later::Missing(missing))),
                Err(Halt::Failed(error)) => Err(error),
            }
        });
        let later = match now {
            Ok(Ok(found)) => return Attempt::Through(Ok(found)),
            Err(error) => return Attempt::Through(Err(error)),
            Ok(Err(later)) => later,
        };
        Attempt::waits(async move {
            let view = tree.pin();
            let sequence = self.commits.visible();
            if let Later::Missing(missing) = later {
                let found = find_in_view(&view, key, sequence, missing, mode, |hit| {
                    Ok(hit.is_composite())
                });
                let found = found.await?;
                if found != Some(true) {
                    return Ok(found.is_some());
                }
            }
            Ok(work_out(&view, key, sequence, mode).await?.is_some())
        })
    }

    /// What `read` makes of the tree at `at`, or now, with nothing pinned but the epoch.
    #[inline]
    fn in_newest_view<R>(
        &self,
        tree: &Tree,
        at: Option<Sequence>,
        read: impl FnOnce(&View, Sequence, &Guard) -> Result<R>,
    ) -> Result<R> {
        self.check_open()?;
        tree.check_kept()?;
        let guard = crate::epoch::pin();
        // The view before the sequence: a compaction that this view shows dropped nothing that the
        // sequence, read later and so not older, could still see.
        let view = tree.view(&guard);
        let sequence = at.unwrap_or_else(|| self.commits.visible());
        read(view, sequence, &guard)
    }
}

/// What the public calls are made of.
impl Bucket {
    /// The values of `keys` at one sequence, that of `at` or the newest.
    pub(crate) async fn values<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        at: Option<&Snapshot>,
        mode: Mode,
    ) -> Result<Vec<Option<Value>>> {
        self.core().check_open()?;
        let begun = self.core().latencies.begin();
        let at = at.map(Snapshot::read_sequence);
        let pin = self.core().pin_at(at);
        let view = self.tree().pin();
        let keys: Vec<_> = keys.iter().map(AsRef::as_ref).collect();
        let values = get_all_in_view(&view, &keys, pin.sequence(), mode).await;
        self.core().latencies.end(Call::MultiGet, begun);
        values
    }

    pub(crate) fn value(
        &self,
        key: &[u8],
        at: Option<&Snapshot>,
        mode: Mode,
    ) -> Attempt<Result<Option<Value>>, impl Future<Output = Result<Option<Value>>>> {
        self.value_with(key, at, mode, <[u8]>::to_vec)
    }

    pub(crate) fn value_with<R>(
        &self,
        key: &[u8],
        at: Option<&Snapshot>,
        mode: Mode,
        read: impl FnMut(&[u8]) -> R,
    ) -> Attempt<Result<Option<R>>, impl Future<Output = Result<Option<R>>>> {
        let at = at.map(Snapshot::read_sequence);
        self.core().get_with(self.tree(), key, at, mode, read)
    }

    pub(crate) fn contains(
        &self,
        key: &[u8],
        mode: Mode,
    ) -> Attempt<Result<bool>, impl Future<Output = Result<bool>>> {
        self.core().contains(self.tree(), key, mode)
    }
}

/// How far a point read comes without waiting.
enum Now<R> {
    Through(Option<R>),
    Later(Later),
}

/// What a point read has to fetch first.
enum Later {
    Missing(Missing),
    /// The value, which was found.
    Blob(BlobValue),
    /// All that the value has to be worked out from.
    Composite,
}

impl Later {
    fn of(view: &View, indirect: Indirect<'_>) -> Result<Self> {
        match indirect {
            Indirect::Blob(index) => view.decode_blob(index).map(Self::Blob),
            Indirect::Composite => Ok(Self::Composite),
        }
    }
}

/// What `read` makes of the value of `key` in `view`, if all of it is in memory.
#[inline]
fn get_now<'v: 'g, 'g, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    mode: Mode,
    guard: &'g Guard,
    read: &mut impl FnMut(Readable<'v, 'g>) -> Result<R>,
) -> Result<Now<R>> {
    let at_hand = mode == Mode::Cooperative;
    Ok(
        match lookup::get(view, key, sequence, &[], guard, at_hand) {
            Ok(None) => Now::Through(None),
            Ok(Some(hit)) => match hit.indirect() {
                None => Now::Through(Some(read(Readable::Beside(hit))?)),
                Some(indirect) => Now::Later(Later::of(view, indirect)?),
            },
            Err(Halt::Needs(missing)) => Now::Later(Later::Missing(missing)),
            Err(Halt::Failed(error)) => return Err(error),
        },
    )
}

/// What `read` makes of the value of `key` in a view that the caller holds.
#[inline]
pub(crate) fn get_in_view<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    mode: Mode,
    mut read: impl FnMut(Readable<'v, '_>) -> Result<R>,
) -> Attempt<Result<Option<R>>, impl Future<Output = Result<Option<R>>>> {
    let now = get_now(view, key, sequence, mode, &crate::epoch::pin(), &mut read);
    match now {
        Ok(Now::Through(value)) => Attempt::Through(Ok(value)),
        Err(error) => Attempt::Through(Err(error)),
        Ok(Now::Later(later)) => Attempt::waits(get_later(view, key, sequence, later, mode, read)),
    }
}

/// As `get_in_view`, fetching what is missing, at first what the caller found to be.
async fn get_later<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    later: Later,
    mode: Mode,
    mut read: impl FnMut(Readable<'v, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let later = match later {
        Later::Missing(missing) => {
            let got = find_in_view(view, key, sequence, missing, mode, |hit| {
                match hit.indirect() {
                    None => read(Readable::Beside(hit)).map(Got::Read),
                    Some(indirect) => Later::of(view, indirect).map(Got::Later),
                }
            });
            match got.await? {
                None => return Ok(None),
                Some(Got::Read(value)) => return Ok(Some(value)),
                Some(Got::Later(later)) => later,
            }
        }
        later => later,
    };
    let value = match later {
        Later::Blob(value) => Some(value.read(mode).await?),
        Later::Composite | Later::Missing(_) => work_out(view, key, sequence, mode).await?,
    };
    value.map(|value| read(Readable::Blob(value))).transpose()
}

/// What became of a value that was found.
enum Got<R> {
    Read(R),
    /// It has to be fetched first.
    Later(Later),
}

/// The value of a key that has to be worked out: a scan of this one key meets all that it is made of.
async fn work_out(
    view: &View,
    key: &[u8],
    sequence: Sequence,
    mode: Mode,
) -> Result<Option<BlobBytes>> {
    let plan = ScanPlan {
        range: KeyRange::from_bounds(key..=key),
        direction: Direction::Forward,
        sequence,
        prefix: None,
    };
    let mut scan = Scan::new(view.clone(), plan);
    Ok(if scan.advance(mode).await? {
        let row = scan.row();
        row.map(|(_, value)| BlobBytes::Decoded(Arc::new(value.to_vec())))
    } else {
        None
    })
}

/// What `found` makes of the entry of `key`, loading block after block, first `missing`. A value in a blob
/// file is not fetched.
async fn find_in_view<'v, R>(
    view: &'v View,
    key: &[u8],
    sequence: Sequence,
    mut missing: Missing,
    mode: Mode,
    mut found: impl FnMut(Hit<'v, '_>) -> Result<R>,
) -> Result<Option<R>> {
    let mut supplied = Vec::new();
    let mut was_ready = true;
    loop {
        let loaded = missing.load(mode).await?;
        was_ready &= loaded.was_ready;
        supplied.extend(loaded.blocks);
        let guard = crate::epoch::pin();
        let at_hand = was_ready && mode == Mode::Cooperative;
        match lookup::get(view, key, sequence, &supplied, &guard, at_hand) {
            Ok(value) => return value.map(&mut found).transpose(),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(needed)) => missing = needed,
        }
    }
}

/// Copies of the values of `keys`, in their order, in a view that the caller holds. What all of them miss is
/// asked for at once; what has come is looked through while the rest is on its way.
pub(crate) async fn get_all_in_view(
    view: &View,
    keys: &[&[u8]],
    sequence: Sequence,
    mode: Mode,
) -> Result<Vec<Option<Value>>> {
    let mut values: Vec<Option<Value>> = vec![None; keys.len()];
    let mut together = Together {
        view,
        sequence,
        at_hand: mode == Mode::Cooperative,
        halted: BTreeMap::new(),
        later: Vec::new(),
    };
    for (key, value) in keys.iter().zip(&mut values) {
        together.answer(Unanswered {
            key,
            value,
            supplied: Vec::new(),
            was_ready: true,
        })?;
    }
    while !together.halted.is_empty() {
        let needed = std::mem::take(&mut together.halted).into_values();
        let (mut missing, lookups): (Vec<Missing>, Vec<_>) = needed.unzip();
        // Several reads take the time of one, for a caller that waits too: the host is asked for all of them before
        // the first is read, or others carry them out.
        let mode = if missing.len() > 1 && !missing.iter_mut().all(Missing::ask) {
            Mode::Cooperative
        } else {
            mode
        };
        // A blocking read is over when it has begun: each has its turn.
        let started: Result<Vec<_>> = match mode {
            Mode::Cooperative => missing.iter().map(|missing| missing.start(mode)).collect(),
            Mode::Blocking => Ok(Vec::new()),
        };
        let mut started = started?.into_iter();
        for (missing, lookups) in missing.iter().zip(lookups) {
            let loading = match started.next() {
                Some(loading) => loading,
                None => missing.start(mode)?,
            };
            let loaded = loading.finish().await?;
            for mut lookup in lookups {
                lookup.was_ready &= loaded.was_ready;
                lookup.supplied.extend(loaded.blocks.iter().map(Arc::clone));
                together.answer(lookup)?;
            }
        }
    }
    for (key, value, later) in together.later {
        *value = get_later(view, key, sequence, later, mode, |value| {
            Ok(value.into_vec())
        })
        .await?;
    }
    Ok(values)
}

/// Lookups of several keys in one view.
struct Together<'v> {
    view: &'v View,
    sequence: Sequence,
    /// An asynchronous call asks.
    at_hand: bool,
    /// What lookups miss, by its place, and which.
    halted: BTreeMap<(u64, Option<u32>), (Missing, Vec<Unanswered<'v>>)>,
    /// Values that were found and have to be fetched.
    later: Vec<(&'v [u8], &'v mut Option<Value>, Later)>,
}

impl<'v> Together<'v> {
    /// Answers the lookup if all that it needs is in memory.
    fn answer(&mut self, lookup: Unanswered<'v>) -> Result<()> {
        let guard = crate::epoch::pin();
        let at_hand = lookup.was_ready && self.at_hand;
        let (key, supplied) = (lookup.key, &lookup.supplied);
        match lookup::get(self.view, key, self.sequence, supplied, &guard, at_hand) {
            Ok(None) => {}
            Ok(Some(hit)) => match hit.indirect() {
                None => *lookup.value = Some(hit.bytes().to_vec()),
                Some(indirect) => {
                    let later = Later::of(self.view, indirect)?;
                    self.later.push((lookup.key, lookup.value, later));
                }
            },
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(missing)) => {
                let place = self.halted.entry(missing.place());
                place.or_insert((missing, Vec::new())).1.push(lookup);
            }
        }
        Ok(())
    }
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
