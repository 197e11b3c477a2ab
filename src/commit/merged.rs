//! A batch with merges and values that expire, as the log takes it: one operation for each key.
//!
//! All that a batch does has one sequence, and entries of one key must differ in theirs. So what it does to a key, from
//! its last put or delete on, becomes one composite.

use std::collections::BTreeMap;

use trine_platform::sorted::SortedMap;

use crate::commit::batch::Staged;
use crate::commit::encoding::EncodedBatch;
use crate::commit::range_set::RangeSet;
use crate::composite::{Base, put_base, put_operand};
use crate::error::Result;
use crate::key::KeyRange;
use crate::manifest::BucketId;

enum Operation<'b> {
    Put(&'b [u8]),
    Delete,
    Composite(Vec<u8>),
}

/// The operations so far.
pub(crate) struct MergedBatch<'b> {
    /// Milliseconds since 1970-01-01 UTC.
    now: u64,
    buckets: SortedMap<BucketId, Writes<'b>>,
}

/// What is done to one bucket: its ranges first, then its keys, which are in none of them any more.
#[derive(Default)]
struct Writes<'b> {
    ranges: Vec<&'b KeyRange>,
    deleted: RangeSet,
    keys: BTreeMap<&'b [u8], Operation<'b>>,
}

impl<'b> MergedBatch<'b> {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            now,
            buckets: SortedMap::new(),
        }
    }

    /// Takes the next operation.
    pub(crate) fn add(&mut self, bucket: BucketId, staged: Staged<'b>) {
        let writes = self.buckets.get_or_default(bucket);
        match staged {
            Staged::Put(key, value) => drop(writes.keys.insert(key, Operation::Put(value))),
            Staged::PutExpiring(key, value, expiry) => {
                let mut composite = Vec::new();
                put_base(&mut composite, Base::Expiring(expiry.at(self.now), value));
                writes.keys.insert(key, Operation::Composite(composite));
            }
            Staged::Delete(key) => drop(writes.keys.insert(key, Operation::Delete)),
            Staged::Merge(key, operand) => writes.merge(key, operand),
            Staged::DeleteRange(range) => writes.delete_range(range),
        }
    }

    pub(crate) fn encode(self) -> Result<EncodedBatch> {
        let mut batch = EncodedBatch::default();
        for (bucket, writes) in self.buckets {
            for range in writes.ranges {
                batch.delete_range(bucket, range)?;
            }
            for (key, operation) in writes.keys {
                match operation {
                    Operation::Put(value) => batch.put(bucket, key, value)?,
                    Operation::Delete => batch.delete(bucket, key)?,
                    Operation::Composite(composite) => batch.merge(bucket, key, &composite)?,
                }
            }
        }
        Ok(batch)
    }
}

impl<'b> Writes<'b> {
    fn merge(&mut self, key: &'b [u8], operand: &[u8]) {
        let is_deleted = self.deleted.contains(key);
        let before = self.keys.remove(key);
        let mut composite = Vec::new();
        match before {
            Some(Operation::Composite(before)) => composite = before,
            Some(Operation::Put(value)) => put_base(&mut composite, Base::Value(value)),
            Some(Operation::Delete) => put_base(&mut composite, Base::Nothing),
            // A range delete hides only what has a lower sequence; the operand has the same.
            None if is_deleted => put_base(&mut composite, Base::Nothing),
            None => put_base(&mut composite, Base::Older),
        }
        put_operand(&mut composite, operand);
        self.keys.insert(key, Operation::Composite(composite));
    }

    fn delete_range(&mut self, range: &'b KeyRange) {
        self.ranges.push(range);
        if range.is_empty() {
            return;
        }
        self.keys.retain(|key, _| !range.contains(key));
        self.deleted.insert(range);
    }
}
