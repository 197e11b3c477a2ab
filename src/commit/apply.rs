//! A batch goes into memtables: the commit leader's, or those of recovery. No I/O.

use std::sync::Arc;

use crate::commit::encoding::{Encoded, Operation, operations};
use crate::error::{Error, Fault, Result};
use crate::internal_key::Kind;
use crate::manifest::BucketId;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::buffer::BufferWriter;

/// How a batch goes into memtables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Readable at once.
    Inserted,
    /// Readable once what was staged is inserted: for recovery.
    Staged,
}

/// Puts a batch into the memtables that `tree` finds. An operation that a later range delete of the same batch
/// covers is left out: at one sequence a point entry would win over the range tombstone. Only
/// `wanted` buckets are written to.
pub(crate) fn apply<'t>(
    tree: impl Fn(BucketId) -> Option<&'t Arc<Tree>>,
    sequence: Sequence,
    batch: &Encoded<'_>,
    segment: u64,
    how: How,
    wanted: impl Fn(BucketId) -> bool,
) -> Result<()> {
    let fault = |fault: Fault| Error::from(fault.at("batch", 0));
    let mut all = operations(batch.bytes).enumerate();
    let (first, second) = (all.next(), all.next());
    let mut rest = if batch.may_delete_ranges && second.is_some() {
        batch_ranges(batch.bytes).map_err(fault)?
    } else {
        Vec::new()
    };
    let guard = crate::epoch::pin();
    // Runs of operations on one bucket, nearly always all of them, share a writer.
    let mut current: Option<(BucketId, BufferWriter<'_>)> = None;
    for (index, operation) in first.into_iter().chain(second).chain(all) {
        let operation = operation.map_err(fault)?;
        rest.retain(|(at, _)| *at > index);
        let bucket = operation.bucket();
        let writer = match &mut current {
            Some((of, writer)) if *of == bucket => writer,
            _ if !wanted(bucket) => continue,
            _ => {
                let tree = tree(bucket).ok_or_else(|| fault(Fault::Field("bucket number")))?;
                // One writer ends before the next begins: each holds a lock.
                current = None;
                &mut current.insert((bucket, tree.writer(&guard, segment))).1
            }
        };
        let covered = |key: &[u8]| rest.iter().any(|(_, range)| range.touches(bucket, key));
        let (key, kind, value) = match operation {
            Operation::Put { key, .. }
            | Operation::PutBlob { key, .. }
            | Operation::Delete { key, .. }
            | Operation::Merge { key, .. }
                if covered(key) =>
            {
                continue;
            }
            Operation::Put { key, value, .. } => (key, Kind::Value, value),
            Operation::PutBlob { key, index, .. } => (key, Kind::Blob, index),
            Operation::Delete { key, .. } => (key, Kind::Tombstone, &[][..]),
            Operation::Merge { key, composite, .. } => (key, Kind::Composite, composite),
            Operation::DeleteRange { start, end, .. } => {
                writer.insert_range_tombstone(start, end, sequence);
                continue;
            }
            // Its rows are in tables already.
            Operation::Loaded { .. } => continue,
        };
        match how {
            How::Inserted => writer.insert(key, sequence, kind, value),
            How::Staged => writer.stage(key, sequence, kind, value),
        }
    }
    Ok(())
}

/// The range deletes of a batch, with their positions.
fn batch_ranges(batch: &[u8]) -> std::result::Result<Vec<(usize, Operation<'_>)>, Fault> {
    let mut ranges = Vec::new();
    for (index, operation) in operations(batch).enumerate() {
        let operation = operation?;
        if matches!(operation, Operation::DeleteRange { .. }) {
            ranges.push((index, operation));
        }
    }
    Ok(ranges)
}
