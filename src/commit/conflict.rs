//! Validation of what a transaction read: has anyone committed to it since?
//!
//! Optimistic concurrency control with backward validation (Kung and Robinson, TODS 1981). The
//! commit leader validates one transaction at a time, against everything applied and against the
//! members of its own group that come before it, so that no commit slips in between.

use std::sync::Arc;

use trine_io::Mode;

use crate::commit::batch::{Operation, operations};
use crate::cursor::Halt;
use crate::error::{Error, Result};
use crate::key::{KeyRange, overlap};
use crate::tree::Tree;
use crate::tree::lookup::newest_change;
use crate::tree::pins::Pin;
use crate::tree::scan::newest_change_in;

/// What a transaction read, and at which sequence.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// The sequence read at. Keeps every later change of what was read, deletions too, until it is validated: the
    /// transaction's future may be gone by then.
    pub(crate) pin: Pin,
    pub(crate) points: Vec<(Arc<Tree>, Vec<u8>)>,
    pub(crate) ranges: Vec<(Arc<Tree>, KeyRange)>,
}

fn point_conflict(tree: &Tree) -> Error {
    Error::Conflict {
        message: format!("point read conflict in bucket {}", tree.name()),
    }
}

fn range_conflict(tree: &Tree) -> Error {
    Error::Conflict {
        message: format!("range read conflict in bucket {}", tree.name()),
    }
}

impl Reads {
    /// Against everything applied to the trees.
    pub(crate) async fn validate(&self, mode: Mode) -> Result<()> {
        for (tree, key) in &self.points {
            let view = tree.pin();
            let mut supplied = Vec::new();
            let newest = loop {
                match newest_change(&view, key, self.pin.sequence(), &supplied) {
                    Ok(newest) => break newest,
                    Err(Halt::Needs(missing)) => supplied.push(missing.load(mode).await?),
                    Err(Halt::Failed(error)) => return Err(error),
                }
            };
            if newest.is_some() {
                return Err(point_conflict(tree));
            }
        }
        for (tree, range) in &self.ranges {
            if newest_change_in(tree.pin(), range, self.pin.sequence(), mode).await? {
                return Err(range_conflict(tree));
            }
        }
        Ok(())
    }

    /// Against a batch of the same group that is not applied yet.
    pub(crate) fn validate_against(&self, batch: &[u8]) -> Result<()> {
        for operation in operations(batch).flatten() {
            for (tree, key) in &self.points {
                if operation.touches(tree.id(), key) {
                    return Err(point_conflict(tree));
                }
            }
            for (tree, range) in &self.ranges {
                if operation.bucket() == tree.id() && meets(&operation, range) {
                    return Err(range_conflict(tree));
                }
            }
        }
        Ok(())
    }
}

/// Whether the operation writes inside `range`.
fn meets(operation: &Operation<'_>, range: &KeyRange) -> bool {
    match operation {
        Operation::Put { key, .. } | Operation::Delete { key, .. } => range.contains(key),
        Operation::DeleteRange { start, end, .. } => overlap(range, start, end),
    }
}
