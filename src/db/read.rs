//! Reads of one tree. Points: the resident path as a plain call, the rest as a loop that loads what is
//! missing. Scans: how one begins.

use std::ops::Bound;
use std::sync::Arc;

use trine_io::Mode;

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
        let hit = lookup::get(view, key, sequence, &[], &guard, mode)?;
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
    loop {
        if let Some(missing) = missing.take() {
            supplied.extend(missing.load(mode).await?);
        }
        let guard = crossbeam_epoch::pin();
        match lookup::get(view, key, sequence, &supplied, &guard, mode) {
            Ok(value) => return value.map(&mut read).transpose(),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(needed)) => missing = Some(needed),
        }
    }
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
