//! Point reads: the resident path as a plain call, the rest as a loop that loads what is missing.

use std::sync::Arc;

use trine_io::Mode;

use crate::cursor::Halt;
use crate::db::Core;
use crate::error::Result;
use crate::sequence::Sequence;
use crate::table::Missing;
use crate::tree::lookup;
use crate::tree::pins::Pin;
use crate::tree::{Tree, view::View};

impl Core {
    pub(crate) fn pin_newest(&self) -> Pin {
        self.pins.pin(|| self.commits.visible())
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
        match self.get_resident(tree, key, at, &mut read) {
            Ok(value) => Ok(value),
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Needs(_)) => {
                // The view is taken before the sequence, as on the resident path.
                let view = tree.pin();
                let sequence = at.unwrap_or_else(|| self.commits.visible());
                get_in_view(&view, key, sequence, mode, read).await
            }
        }
    }

    fn get_resident<R>(
        &self,
        tree: &Tree,
        key: &[u8],
        at: Option<Sequence>,
        read: &mut impl FnMut(&[u8]) -> R,
    ) -> std::result::Result<Option<R>, Halt<Missing>> {
        self.check_open()?;
        let guard = crossbeam_epoch::pin();
        // The view before the sequence: a compaction that this view shows dropped nothing that the
        // sequence, read later and so not older, could still see.
        let view = tree.view(&guard);
        let sequence = at.unwrap_or_else(|| self.commits.visible());
        Ok(lookup::get(view, key, sequence, &[], &guard)?.map(read))
    }
}

/// What `read` makes of the value of `key` in a view that the caller holds, loading block after block.
pub(crate) async fn get_in_view<R>(
    view: &View,
    key: &[u8],
    sequence: Sequence,
    mode: Mode,
    mut read: impl FnMut(&[u8]) -> R,
) -> Result<Option<R>> {
    let mut supplied = Vec::new();
    loop {
        let missing = {
            let guard = crossbeam_epoch::pin();
            match lookup::get(view, key, sequence, &supplied, &guard) {
                Ok(value) => return Ok(value.map(&mut read)),
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Needs(missing)) => missing,
            }
        };
        supplied.push(missing.load(mode).await?);
    }
}

/// The sequence that a snapshot of this database or a bare number reads at.
pub(crate) fn pin_at(core: &Arc<Core>, at: Option<Sequence>) -> Pin {
    core.pins
        .pin(|| at.unwrap_or_else(|| core.commits.visible()))
}
