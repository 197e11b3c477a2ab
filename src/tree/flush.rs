//! One immutable memtable -> tables of level 0.

use std::sync::Arc;

use crate::direction::Direction;
use crate::error::Result;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::buffer::WriteBuffer;
use crate::tree::build::{BuildContext, Built, build_tables};
use crate::tree::covered::Older;
use crate::tree::folding::Folding;
use crate::tree::memtable::MemtableCursor;
use crate::tree::merge::{Drain, Merge, Source};
use crate::tree::picker::Part;
use crate::tree::retention::{Beneath, Retention};
use crate::tree::split::Split;

/// Writes `buffer` to at most one table, dropping versions that no pinned sequence can see.
pub(crate) async fn flush(
    tree: &Tree,
    buffer: &WriteBuffer,
    pinned: Vec<Sequence>,
    context: BuildContext<'_>,
) -> Result<Built> {
    let memtable = buffer.memtable();
    let source = Source::Memtable(MemtableCursor::new(Arc::clone(memtable)));
    let tombstones = memtable.tombstones().as_ref().clone();
    let retention = Retention::new(pinned, Beneath::Anything, tombstones);
    let merge = Merge::new(vec![source], Direction::Forward);
    // One blob file for the one table.
    let separation = tree.separation(u64::MAX);
    let folding = Folding::new(retention, tree.rules(), Arc::clone(&separation.version));
    build_tables(
        context,
        &tree.table_options(),
        Split::never(),
        Drain::new(merge, Part::default()),
        folding,
        Older::all(&tree.pin().version),
        separation,
    )
    .await
}
