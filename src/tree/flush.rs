//! One immutable memtable -> tables of level 0.

use std::sync::Arc;

use crate::direction::Direction;
use crate::error::Result;
use crate::sequence::Sequence;
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::buffer::WriteBuffer;
use crate::tree::build::{BuildContext, Built, build_tables};
use crate::tree::covered::Older;
use crate::tree::folding::Folding;
use crate::tree::memtable::MemtableCursor;
use crate::tree::merge::{Drain, Merge, Source};
use crate::tree::picker::Part;
use crate::tree::retention::{Beneath, Retention};
use crate::tree::separation::Separation;
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
    // One blob file for the one table: the memtable's own, if it has one.
    let separation = Separation {
        growing: buffer.values().map(Arc::clone),
        ..tree.separation(u64::MAX)
    };
    let folding = Folding::new(retention, tree.rules(), &separation);
    let mut built = build_tables(
        context,
        &tree.table_options(),
        Split::never(),
        Drain::new(merge, Part::default()),
        folding,
        Older::all(&tree.pin().version),
        separation,
    )
    .await?;
    if let Some(growing) = buffer.values() {
        let number = growing.number();
        let uses = |table: &Arc<Table>| table.meta().blobs.iter().any(|used| used.file == number);
        if built.tables.iter().any(uses) {
            built.growing = Some(number);
        } else {
            // Every value in it was superseded. Readers of the memtable have it open.
            built.blobs.retain(|file| file.meta().number != number);
        }
    }
    Ok(built)
}
