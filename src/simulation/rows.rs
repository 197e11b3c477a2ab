//! What writes come to: a bucket as a map, in which operands are put together, values expire, and a filter may have acted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::commit::batch::{DEFAULT_BUCKET, WriteBatch};
use crate::db::changes::ChangeOperation;
use crate::error::Result;
use crate::key::KeyRange;
use crate::operator::Verdict;

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Put {
        key: Vec<u8>,
        length: usize,
    },
    /// It expires so long after its commit was asked for.
    PutFor {
        key: Vec<u8>,
        length: usize,
        millis: u64,
    },
    Delete {
        key: Vec<u8>,
    },
    /// Appends.
    Merge {
        key: Vec<u8>,
        length: usize,
    },
    DeleteRange {
        start: Vec<u8>,
        end: Vec<u8>,
    },
}

/// Of a commit: its number, and the time at which it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) number: usize,
    pub(super) millis: u64,
}

/// The value that commit `number` gives a key: nothing like any other's, at times full of zeros.
fn value(number: usize, length: usize) -> Vec<u8> {
    let byte = u8::try_from(number % 5 * 50).unwrap_or_default();
    let mut value = vec![byte; length];
    for (place, digit) in value.iter_mut().zip(number.to_le_bytes()) {
        *place = digit;
    }
    value
}

/// From so many bytes on no two commits give the same value.
const UNIQUE_BYTES: usize = size_of::<usize>();

/// A filter that removes some values and changes others; what it has changed it keeps.
pub(super) fn filter(_: &[u8], value: &[u8]) -> Verdict {
    const CHANGED: &[u8] = b"filtered";
    if value.len() < UNIQUE_BYTES || value.starts_with(CHANGED) {
        return Verdict::Keep;
    }
    match value[0] % 8 {
        3 => Verdict::Remove,
        5 => Verdict::Change([CHANGED, value].concat()),
        _ => Verdict::Keep,
    }
}

impl Write {
    /// Whether it is left out of batches.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::DeleteRange { start, end } if start >= end)
    }

    /// Whether all that its batch does to a key becomes one.
    pub(super) fn is_composite(&self) -> bool {
        matches!(self, Self::Merge { .. } | Self::PutFor { .. })
    }

    /// What a feed gives of it, if it wrote to the default bucket.
    pub(super) fn fed(&self, stamp: Stamp) -> ChangeOperation {
        let bucket = DEFAULT_BUCKET.into();
        let value = |length| value(stamp.number, length);
        match self.clone() {
            Self::Put { key, length } => ChangeOperation::Put {
                bucket,
                key,
                value: value(length),
            },
            Self::PutFor {
                key,
                length,
                millis,
            } => ChangeOperation::PutUntil {
                bucket,
                key,
                value: value(length),
                expires_millis: stamp.millis + millis,
            },
            Self::Delete { key } => ChangeOperation::Delete { bucket, key },
            Self::Merge { key, length } => ChangeOperation::Merge {
                bucket,
                key,
                operand: value(length),
            },
            Self::DeleteRange { start, end } => ChangeOperation::DeleteRange {
                bucket,
                range: KeyRange::half_open(start, end),
            },
        }
    }

    /// Stages it as one of commit `number`.
    pub(super) fn stage(&self, number: usize, bucket: &str, batch: &mut WriteBatch) -> Result<()> {
        let is_default = bucket == DEFAULT_BUCKET;
        let value = |length| value(number, length);
        match self.clone() {
            Self::Put { key, length } if is_default => batch.put(key, value(length)),
            Self::Put { key, length } => {
                return batch.put_bucket(bucket, key, value(length));
            }
            Self::PutFor {
                key,
                length,
                millis,
            } => {
                let (value, ttl) = (value(length), Duration::from_millis(millis));
                if !is_default {
                    return batch.put_with_ttl_bucket(bucket, key, value, ttl);
                }
                batch.put_with_ttl(key, value, ttl);
            }
            Self::Delete { key } if is_default => batch.delete(key),
            Self::Delete { key } => return batch.delete_bucket(bucket, key),
            Self::Merge { key, length } if is_default => batch.merge(key, value(length)),
            Self::Merge { key, length } => return batch.merge_bucket(bucket, key, value(length)),
            Self::DeleteRange { start, end } if is_default => {
                batch.delete_range(KeyRange::half_open(start, end));
            }
            Self::DeleteRange { start, end } => {
                return batch.delete_range_bucket(bucket, KeyRange::half_open(start, end));
            }
        }
        Ok(())
    }
}

/// What is found in a bucket.
pub(super) type Found = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the value of a key is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    /// With the time until which it is one, if it expires.
    base: Option<(Vec<u8>, Option<u64>)>,
    /// One behind the other.
    operands: Option<Vec<u8>>,
}

impl Row {
    fn put(value: Vec<u8>, until: Option<u64>) -> Self {
        Self {
            base: Some((value, until)),
            operands: None,
        }
    }

    fn value(&self, now: u64) -> Option<Vec<u8>> {
        let base = self.base.as_ref();
        let base = base.filter(|(_, until)| until.is_none_or(|until| now < until));
        let base = base.map(|(value, _)| value);
        match &self.operands {
            None => base.cloned(),
            Some(operands) => Some(
                base.into_iter()
                    .chain([operands])
                    .flatten()
                    .copied()
                    .collect(),
            ),
        }
    }
}

/// A bucket's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(BTreeMap<Vec<u8>, Row>);

impl Rows {
    /// Rows of all keys that writes may name, unlike all that writes make.
    fn some() -> Self {
        let row = |byte| (vec![b'k', byte], Row::put(b"before".to_vec(), None));
        Self((0..=u8::MAX).map(row).collect())
    }

    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.0.insert(key.to_vec(), Row::put(value, None));
    }

    /// Makes the change, whatever bucket it names.
    pub(super) fn apply(&mut self, change: ChangeOperation) {
        match change {
            ChangeOperation::Put { key, value, .. } => {
                drop(self.0.insert(key, Row::put(value, None)));
            }
            ChangeOperation::PutUntil {
                key,
                value,
                expires_millis,
                ..
            } => drop(self.0.insert(key, Row::put(value, Some(expires_millis)))),
            ChangeOperation::Delete { key, .. } => drop(self.0.remove(&key)),
            ChangeOperation::Merge { key, operand, .. } => {
                let operands = &mut self.0.entry(key).or_default().operands;
                operands.get_or_insert_default().extend(operand);
            }
            ChangeOperation::DeleteRange { range, .. } => {
                self.0.retain(|key, _| !range.contains(key));
            }
            ChangeOperation::BulkLoad { .. } => {}
        }
    }

    /// The values at that time.
    pub(super) fn values(&self, now: u64) -> Found {
        let rows = self.0.iter();
        rows.filter_map(|(key, row)| Some((key.clone(), row.value(now)?)))
            .collect()
    }

    /// For every key of which `found` shows that [`filter`] acted on it, the value that it acted on.
    pub(super) fn filtered(&self, found: &Found) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.0.iter().filter_map(|(key, row)| match row {
            Row {
                base: Some((value, None)),
                operands: None,
            } => {
                let acted = match filter(key, value) {
                    Verdict::Keep => false,
                    Verdict::Remove => !found.contains_key(key),
                    Verdict::Change(changed) => found.get(key) == Some(&changed),
                };
                acted.then(|| (key.clone(), value.clone()))
            }
            _ => None,
        })
    }

    /// The filter has acted on these.
    pub(super) fn act_on<'a>(
        &mut self,
        filtered: impl IntoIterator<Item = &'a (Vec<u8>, Vec<u8>)>,
    ) {
        for (key, value) in filtered {
            let row = self.0.get_mut(key);
            let Some(row) = row.filter(|row| **row == Row::put(value.clone(), None)) else {
                continue;
            };
            match filter(key, value) {
                Verdict::Keep => {}
                Verdict::Remove => drop(self.0.remove(key)),
                Verdict::Change(changed) => *row = Row::put(changed, None),
            }
        }
    }
}

/// Whether both do the same to any rows.
pub(super) fn same_effect(one: &[ChangeOperation], other: &[ChangeOperation]) -> bool {
    let [one, other] = [one, other].map(|changes| {
        let mut rows = Rows::some();
        for change in changes {
            rows.apply(change.clone());
        }
        rows
    });
    one == other
}
