//! Where new data may go beside what is there: pure.
//!
//! Everything in a level is older, key by key, than everything above it, and everything in tables than everything in memtables.
//! So the newest data of all may lie in any level that nothing above or in it has to do with its keys.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::sequence::Sequence;
use crate::table::Table;
use crate::tree::buffer::WriteBuffer;
use crate::tree::memtable::MemtableCursor;
use crate::tree::span::Span;
use crate::tree::version::Version;

/// The deepest level that can take `tables`, which are disjoint and newer than everything in the version.
pub(crate) fn deepest(version: &Version, tables: &[Arc<Table>]) -> usize {
    let spans: Vec<_> = tables.iter().map(|table| Span::of(table.meta())).collect();
    let meets = |there: &Arc<Table>, span: &Span| Span::of(there.meta()).meets(span);
    let met = version.levels().position(|(level, there)| {
        spans.iter().any(|span| {
            if level == 0 {
                return there.iter().any(|table| meets(table, span));
            }
            let next = there.partition_point(|table| table.meta().ends_before(span.start()));
            there.get(next).is_some_and(|table| meets(table, span))
        })
    });
    match met {
        Some(level) => level.saturating_sub(1),
        None => version.depth().saturating_sub(1).max(1),
    }
}

/// Whether the memtable says anything of keys that `tables` may hold.
pub(crate) fn meets_memtable(buffer: &WriteBuffer, tables: &[Arc<Table>]) -> bool {
    let memtable = buffer.memtable();
    if memtable.is_empty() {
        return false;
    }
    let tombstones = memtable.tombstones();
    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    tables
        .iter()
        .map(|table| Span::of(table.meta()))
        .any(|span| {
            let newest = Sequence::new(u64::MAX);
            // In memory it cannot fail.
            drop(cursor.seek(span.start(), newest));
            cursor.entry().is_some_and(|entry| span.contains(entry.key))
                || tombstones
                    .as_slice()
                    .iter()
                    .any(|fragment| span.meets_half_open(&fragment.start, &fragment.end))
        })
}
