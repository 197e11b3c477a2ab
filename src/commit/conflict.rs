//! Validation of what a transaction read: has anyone committed to it since?
//!
//! Optimistic concurrency control with backward validation (Kung and Robinson, TODS 1981). The
//! commit leader validates one transaction at a time, against everything applied and against the
//! members of its own group that come before it, so that no commit slips in between.
//!
//! Reads are kept sorted and once each: recording one, and asking whether a write concerns one, costs
//! a search, so a commit of many reads beside a group of many writes stays far from their product.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use trine_io::Mode;

use crate::commit::encoding::{Operation, operations};
use crate::commit::range_set::RangeSet;
use crate::cursor::Halt;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::manifest::BucketId;
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::tree::lookup::newest_change;
use crate::tree::pins::Pin;
use crate::tree::scan::newest_change_in;
use trine_platform::sorted::SortedMap;

/// What a transaction read, and at which sequence.
#[derive(Clone, Debug)]
pub(crate) struct Reads {
    /// The sequence read at. Keeps every later change of what was read, deletions too, until it is validated: the
    /// transaction's future may be gone by then.
    pin: Pin,
    buckets: SortedMap<BucketId, BucketReads>,
}

#[derive(Clone, Debug)]
struct BucketReads {
    tree: Arc<Tree>,
    points: BTreeSet<Vec<u8>>,
    ranges: RangeSet,
}

impl Reads {
    /// No reads yet, at the pinned sequence.
    pub(crate) fn new(pin: Pin) -> Self {
        Self {
            pin,
            buckets: SortedMap::new(),
        }
    }

    /// Records a read of `key`.
    pub(crate) fn add_point(&mut self, tree: &Arc<Tree>, key: &[u8]) {
        let points = &mut self.of(tree).points;
        if !points.contains(key) {
            points.insert(key.to_vec());
        }
    }

    /// Records a read of everything in `range`.
    pub(crate) fn add_range(&mut self, tree: &Arc<Tree>, range: &KeyRange) {
        self.of(tree).ranges.insert(range);
    }

    fn of(&mut self, tree: &Arc<Tree>) -> &mut BucketReads {
        self.buckets.get_or_insert_with(tree.id(), || BucketReads {
            tree: Arc::clone(tree),
            points: BTreeSet::new(),
            ranges: RangeSet::default(),
        })
    }

    /// Against everything applied to the trees.
    pub(crate) async fn validate(&self, mode: Mode) -> Result<()> {
        for reads in self.buckets.values() {
            reads.validate(self.pin.sequence(), mode).await?;
        }
        Ok(())
    }

    /// Against a batch of the same group that is not applied yet.
    pub(crate) fn validate_against(&self, batch: &[u8]) -> Result<()> {
        for operation in operations(batch).flatten() {
            if let Some(reads) = self.buckets.get(&operation.bucket()) {
                reads.validate_against(&operation)?;
            }
        }
        Ok(())
    }
}

impl BucketReads {
    async fn validate(&self, since: Sequence, mode: Mode) -> Result<()> {
        // One view for all: nothing is applied while the leader, who alone applies, is here.
        let view = self.tree.pin();
        if !view.has_changes_above(since) {
            return Ok(());
        }
        for key in &self.points {
            let mut supplied = Vec::new();
            let newest = loop {
                match newest_change(&view, key, since, &supplied) {
                    Ok(newest) => break newest,
                    Err(Halt::Needs(missing)) => supplied.extend(missing.load(mode).await?.blocks),
                    Err(Halt::Failed(error)) => return Err(error),
                }
            };
            if newest.is_some() {
                return Err(self.point_conflict());
            }
        }
        for range in self.ranges.iter() {
            if newest_change_in(view.clone(), &range, since, mode).await? {
                return Err(self.range_conflict());
            }
        }
        Ok(())
    }

    fn validate_against(&self, operation: &Operation<'_>) -> Result<()> {
        let (point, range) = match operation {
            Operation::Put { key, .. }
            | Operation::PutBlob { key, .. }
            | Operation::Delete { key, .. }
            | Operation::Merge { key, .. } => {
                (self.points.contains(*key), self.ranges.contains(key))
            }
            Operation::DeleteRange { start, end, .. } => {
                let below = if end.is_empty() {
                    Bound::Unbounded
                } else {
                    Bound::Excluded(*end)
                };
                let mut covered = self
                    .points
                    .range::<[u8], _>((Bound::Included(*start), below));
                (covered.next().is_some(), self.ranges.meets(start, end))
            }
            // It is no member of a group: what it brought is in the tree already.
            Operation::Loaded { .. } => (false, false),
        };
        if point {
            return Err(self.point_conflict());
        }
        if range {
            return Err(self.range_conflict());
        }
        Ok(())
    }

    fn point_conflict(&self) -> Error {
        Error::Conflict {
            message: format!("point read conflict in bucket {}", self.tree.name()),
        }
    }

    fn range_conflict(&self) -> Error {
        Error::Conflict {
            message: format!("range read conflict in bucket {}", self.tree.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::encoding::EncodedBatch;
    use crate::key::overlap;
    use crate::options::BucketOptions;
    use crate::tree::pins::Pins;
    use crate::tree::rules::Rules;
    use crate::tree::version::Version;
    use proptest::prelude::*;

    fn tree(id: u32) -> Arc<Tree> {
        let options = BucketOptions::default();
        let name = format!("bucket {id}");
        Arc::new(Tree::new(
            BucketId(id),
            name,
            options,
            Version::default(),
            Rules::default(),
        ))
    }

    fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(0u8..5, 1..3), 0..5)
    }

    fn ranges() -> impl Strategy<Value = Vec<KeyRange>> {
        let range = (0u8..5, 0u8..6, any::<bool>()).prop_map(|(start, end, ends)| KeyRange {
            start: Bound::Included(vec![start]),
            end: if ends {
                Bound::Excluded(vec![end])
            } else {
                Bound::Unbounded
            },
        });
        proptest::collection::vec(range, 0..3)
    }

    proptest! {
        #[test]
        fn a_batch_conflicts_if_one_of_its_operations_concerns_one_of_the_reads(
            points in keys(), read in ranges(), puts in keys(), deletes in keys(),
            deleted in ranges(), bucket in 0u32..2,
        ) {
            let tree = tree(0);
            let mut reads = Reads::new(Arc::new(Pins::default()).pin(|| Sequence::ZERO));
            for key in &points {
                reads.add_point(&tree, key);
            }
            for range in &read {
                reads.add_range(&tree, range);
            }
            let bucket = BucketId(bucket);
            let mut batch = EncodedBatch::default();
            for key in &puts {
                batch.put(bucket, key, b"value").unwrap();
            }
            for key in &deletes {
                batch.delete(bucket, key).unwrap();
            }
            for range in &deleted {
                batch.delete_range(bucket, range).unwrap();
            }
            let mut written = puts.iter().chain(&deletes);
            let conflict = written.any(|key| {
                points.contains(key) || read.iter().any(|range| range.contains(key))
            }) || deleted.iter().filter(|range| !range.is_empty()).any(|range| {
                let (start, end) = range.to_half_open();
                let end = end.unwrap_or_default();
                points.iter().any(|key| range.contains(key))
                    || read.iter().any(|read| overlap(read, &start, &end))
            });
            let expected = conflict && bucket == tree.id();
            prop_assert_eq!(reads.validate_against(batch.as_bytes()).is_err(), expected);
        }
    }
}
