//! What a transaction's own writes say of a key.
//!
//! An index over the staged operations, brought up to date only when it is asked: a transaction that
//! never reads its own writes pays nothing for it, and one that does pays a search for each read.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::commit::batch::BatchOperation;
use crate::commit::range_set::RangeSet;
use trine_platform::sorted::SortedMap;

/// The last staged write of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Staged<'b> {
    Put(&'b [u8]),
    Deleted,
}

/// The index. It belongs to one list of operations, which only ever grows at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct StagedIndex {
    buckets: SortedMap<String, BucketIndex>,
    /// How many operations are in it.
    indexed: usize,
}

#[derive(Clone, Debug, Default)]
struct BucketIndex {
    /// The number of the last operation on each key; without keys that a later range delete covers.
    points: BTreeMap<Vec<u8>, usize>,
    /// All range deletes.
    deleted: RangeSet,
}

impl BucketIndex {
    fn add(&mut self, number: usize, operation: &BatchOperation) {
        match operation {
            BatchOperation::Put { key, .. } | BatchOperation::Delete { key, .. } => {
                self.points.insert(key.clone(), number);
            }
            BatchOperation::DeleteRange { range, .. } if range.is_empty() => {}
            BatchOperation::DeleteRange { range, .. } => {
                let (start, end) = range.to_half_open();
                let end = end.map_or(Bound::Unbounded, Bound::Excluded);
                let covered = self
                    .points
                    .extract_if((Bound::Included(start), end), |_, _| true);
                covered.for_each(drop);
                self.deleted.insert(range);
            }
        }
    }
}

impl StagedIndex {
    /// What `operations` do last to `key`; `None` if they do nothing to it.
    pub(crate) fn find<'b>(
        &mut self,
        operations: &'b [BatchOperation],
        bucket: &str,
        key: &[u8],
    ) -> Option<Staged<'b>> {
        for (number, operation) in operations.iter().enumerate().skip(self.indexed) {
            let name = operation.bucket();
            if let Some(index) = self.buckets.get_mut(name) {
                index.add(number, operation);
            } else {
                let index = self.buckets.get_or_default(name.to_owned());
                index.add(number, operation);
            }
        }
        self.indexed = operations.len();
        let index = self.buckets.get(bucket)?;
        match index.points.get(key).map(|number| &operations[*number]) {
            Some(BatchOperation::Put { value, .. }) => Some(Staged::Put(value)),
            Some(_) => Some(Staged::Deleted),
            None => index.deleted.contains(key).then_some(Staged::Deleted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::batch::WriteBatch;
    use crate::key::KeyRange;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Write {
        Put(u8),
        Delete(u8),
        DeleteRange(u8, u8),
    }

    fn write() -> impl Strategy<Value = Write> {
        prop_oneof![
            (0u8..8).prop_map(Write::Put),
            (0u8..8).prop_map(Write::Delete),
            (0u8..8, 0u8..8).prop_map(|(start, end)| Write::DeleteRange(start, end)),
        ]
    }

    proptest! {
        #[test]
        fn the_last_write_of_a_key_decides(writes in proptest::collection::vec(write(), 0..20)) {
            let mut batch = WriteBatch::new();
            let mut index = StagedIndex::default();
            let mut model = [None; 8];
            for (number, write) in (0u8..).zip(writes) {
                match write {
                    Write::Put(key) => {
                        batch.put([key], [number]);
                        model[usize::from(key)] = Some(Some([number]));
                    }
                    Write::Delete(key) => {
                        batch.delete([key]);
                        model[usize::from(key)] = Some(None);
                    }
                    Write::DeleteRange(start, end) => {
                        batch.delete_range(KeyRange::half_open([start], [end]));
                        for key in start..end {
                            model[usize::from(key)] = Some(None);
                        }
                    }
                }
                for (key, expected) in (0u8..).zip(&model) {
                    let expected = expected.as_ref().map(|value: &Option<[u8; 1]>| {
                        value.as_ref().map_or(Staged::Deleted, |value| Staged::Put(value))
                    });
                    prop_assert_eq!(index.find(batch.operations(), "default", &[key]), expected);
                }
            }
            prop_assert_eq!(index.find(batch.operations(), "other", &[0]), None);
        }
    }
}
