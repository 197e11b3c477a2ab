//! The bytes of a batch, as the log and the memtables take them.
//!
//! ```text
//! batch     := operation*
//! operation := 0 bucket:varint key:bytes value:bytes     put
//!            | 1 bucket:varint key:bytes                 delete
//!            | 2 bucket:varint start:bytes end:bytes     delete [start, end); an empty end is no end
//!            | 3 bucket:varint first:bytes last:bytes rows:varint    a bulk load, whose rows are in tables
//!            | 4 bucket:varint key:bytes index:bytes     put of a value that lies in a blob file
//!            | 5 bucket:varint key:bytes composite:bytes       merge; see `composite`
//! bytes     := length:varint byte*
//! ```
//!
//! A range delete that can hold no key is not encoded. Operations keep their order: the last one on
//! a key wins. The default bucket is number 0 in every database.

use std::cell::Cell;

use crate::blob::BlobIndex;
use crate::coding::{Reader, put_bytes, put_varint};
use crate::composite::Composite;
use crate::error::{Error, Fault, Result};
use crate::key::KeyRange;
use crate::manifest::BucketId;

/// Tags of operations. They reach the disk: never renumber.
pub(super) const PUT: u8 = 0;
pub(super) const DELETE: u8 = 1;
pub(super) const DELETE_RANGE: u8 = 2;
const LOADED: u8 = 3;
const PUT_BLOB: u8 = 4;
pub(super) const MERGE: u8 = 5;

/// What an operation takes besides its key and value, at most.
pub(super) const HEADER_BYTES_MAX: usize = 1 + 5 + 10 + 10;

/// Keys up to 32 MiB.
pub(crate) const KEY_BYTES_MAX: usize = 32 << 20;
pub(crate) use crate::internal_key::VALUE_BYTES_MAX;
/// A whole batch, encoded, up to 768 MiB: it becomes one log record.
pub(crate) const BATCH_BYTES_MAX: usize = 768 << 20;

/// One write, lent from an encoded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Put {
        bucket: BucketId,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A put whose value the commit path has brought to a blob file.
    PutBlob {
        bucket: BucketId,
        key: &'a [u8],
        /// Where it lies, encoded.
        index: &'a [u8],
    },
    Delete {
        bucket: BucketId,
        key: &'a [u8],
    },
    /// All that the batch does to the key.
    Merge {
        bucket: BucketId,
        key: &'a [u8],
        composite: &'a [u8],
    },
    DeleteRange {
        bucket: BucketId,
        start: &'a [u8],
        end: &'a [u8],
    },
    /// So many rows from the first to the last key were put, and are in tables.
    Loaded {
        bucket: BucketId,
        first: &'a [u8],
        last: &'a [u8],
        rows: u64,
    },
}

impl Operation<'_> {
    pub(crate) fn bucket(&self) -> BucketId {
        match self {
            Self::Put { bucket, .. }
            | Self::PutBlob { bucket, .. }
            | Self::Delete { bucket, .. }
            | Self::Merge { bucket, .. }
            | Self::DeleteRange { bucket, .. }
            | Self::Loaded { bucket, .. } => *bucket,
        }
    }

    /// Whether it writes `key` of `bucket`.
    pub(crate) fn touches(&self, bucket: BucketId, key: &[u8]) -> bool {
        self.bucket() == bucket
            && match self {
                Self::Put { key: own, .. }
                | Self::PutBlob { key: own, .. }
                | Self::Delete { key: own, .. }
                | Self::Merge { key: own, .. } => *own == key,
                Self::DeleteRange { start, end, .. } => covers(start, end, key),
                Self::Loaded { first, last, .. } => *first <= key && key <= *last,
            }
    }
}

/// Whether `[start, end)` holds `key`; an empty end is no end.
fn covers(start: &[u8], end: &[u8], key: &[u8]) -> bool {
    start <= key && (end.is_empty() || key < end)
}

/// A batch as bytes, its limits checked.
#[derive(Debug, Default)]
pub(crate) struct EncodedBatch {
    bytes: Vec<u8>,
    operations: usize,
    deletes_ranges: bool,
    /// No value is longer.
    value_bytes_max: usize,
}

impl Drop for EncodedBatch {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        if (1..=SPARE_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            // While a thread ends it keeps nothing any more.
            SPARE.try_with(|spare| spare.set(bytes)).unwrap_or_default();
        }
    }
}

thread_local! {
    /// The memory of the thread's last batch, for its next one: a batch of some size would else come to fresh pages.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// More than this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 1 << 20;

pub(super) fn spare() -> Vec<u8> {
    SPARE.try_with(Cell::take).unwrap_or_default()
}

/// The bytes of a batch, with what need not be looked for in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    /// Without a range delete, no operation covers another.
    pub(crate) may_delete_ranges: bool,
}

impl EncodedBatch {
    /// So many operations that are encoded already, without range deletes, their limits checked.
    pub(super) fn of(bytes: Vec<u8>, operations: usize, value_bytes_max: usize) -> Self {
        Self {
            bytes,
            operations,
            deletes_ranges: false,
            value_bytes_max,
        }
    }

    pub(crate) fn put(&mut self, bucket: BucketId, key: &[u8], value: &[u8]) -> Result<()> {
        within("value", value.len(), VALUE_BYTES_MAX)?;
        self.start(PUT, bucket, key, value.len())?;
        put_bytes(&mut self.bytes, value);
        self.value_bytes_max = self.value_bytes_max.max(value.len());
        Ok(())
    }

    /// A put of a value that lies where `index` says.
    fn put_blob(&mut self, bucket: BucketId, key: &[u8], index: &[u8]) -> Result<()> {
        self.start(PUT_BLOB, bucket, key, index.len())?;
        put_bytes(&mut self.bytes, index);
        Ok(())
    }

    /// The batch with blob indexes in the place of those values for which `place` has one.
    pub(super) fn with_blobs<'b>(
        &'b self,
        mut place: impl FnMut(BucketId, &'b [u8]) -> Option<BlobIndex>,
    ) -> Result<Self> {
        let mut batch = Self::default();
        batch.deletes_ranges = self.deletes_ranges;
        let mut encoded = Vec::new();
        for operation in operations(&self.bytes) {
            match operation.map_err(|fault| Error::from(fault.at("batch", 0)))? {
                Operation::Put { bucket, key, value } => match place(bucket, value) {
                    Some(index) => {
                        encoded.clear();
                        index.encode(&mut encoded);
                        batch.put_blob(bucket, key, &encoded)?;
                    }
                    None => batch.put(bucket, key, value)?,
                },
                Operation::PutBlob { bucket, key, index } => batch.put_blob(bucket, key, index)?,
                Operation::Delete { bucket, key } => batch.delete(bucket, key)?,
                Operation::Merge {
                    bucket,
                    key,
                    composite,
                } => batch.merge(bucket, key, composite)?,
                Operation::DeleteRange { bucket, start, end } => {
                    batch.start(DELETE_RANGE, bucket, start, end.len())?;
                    put_bytes(&mut batch.bytes, end);
                }
                Operation::Loaded {
                    bucket,
                    first,
                    last,
                    rows,
                } => batch.loaded(bucket, first, last, rows)?,
            }
        }
        Ok(batch)
    }

    /// No value is longer.
    pub(super) fn value_bytes_max(&self) -> usize {
        self.value_bytes_max
    }

    /// One operation for all that the batch does to the key.
    pub(crate) fn merge(&mut self, bucket: BucketId, key: &[u8], composite: &[u8]) -> Result<()> {
        within("merge", composite.len(), VALUE_BYTES_MAX)?;
        self.start(MERGE, bucket, key, composite.len())?;
        put_bytes(&mut self.bytes, composite);
        Ok(())
    }

    pub(crate) fn delete(&mut self, bucket: BucketId, key: &[u8]) -> Result<()> {
        self.start(DELETE, bucket, key, 0)
    }

    pub(crate) fn delete_range(&mut self, bucket: BucketId, range: &KeyRange) -> Result<()> {
        if range.is_empty() {
            self.operations += 1;
            return Ok(());
        }
        let (start, end) = range.to_half_open();
        let end = end.unwrap_or_default();
        within("range bound", end.len(), KEY_BYTES_MAX)?;
        self.start(DELETE_RANGE, bucket, &start, end.len())?;
        self.deletes_ranges = true;
        put_bytes(&mut self.bytes, &end);
        Ok(())
    }

    /// The one operation of a load's commit.
    pub(crate) fn loaded(
        &mut self,
        bucket: BucketId,
        first: &[u8],
        last: &[u8],
        rows: u64,
    ) -> Result<()> {
        const ROWS_BYTES_MAX: usize = 10;
        self.start(LOADED, bucket, first, last.len() + ROWS_BYTES_MAX)?;
        put_bytes(&mut self.bytes, last);
        put_varint(&mut self.bytes, rows);
        Ok(())
    }

    fn start(&mut self, tag: u8, bucket: BucketId, key: &[u8], more: usize) -> Result<()> {
        within("key", key.len(), KEY_BYTES_MAX)?;
        let grown = self.bytes.len() + key.len() + more + HEADER_BYTES_MAX;
        within("batch", grown, BATCH_BYTES_MAX)?;
        if self.bytes.capacity() == 0 {
            self.bytes = spare();
        }
        self.bytes.reserve(key.len() + more + HEADER_BYTES_MAX);
        put_start(&mut self.bytes, tag, bucket);
        put_bytes(&mut self.bytes, key);
        self.operations += 1;
        Ok(())
    }

    /// Whether nothing was staged; a commit of it takes no sequence.
    pub(crate) fn is_empty(&self) -> bool {
        self.operations == 0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn encoded(&self) -> Encoded<'_> {
        Encoded {
            bytes: &self.bytes,
            may_delete_ranges: self.deletes_ranges,
        }
    }
}

pub(super) fn put_start(out: &mut Vec<u8>, tag: u8, bucket: BucketId) {
    out.push(tag);
    put_varint(out, u64::from(bucket.0));
}

pub(super) fn start(reader: &mut Reader<'_>) -> std::result::Result<(u8, BucketId), Fault> {
    let tag = reader.u8()?;
    let bucket = u32::try_from(reader.varint()?).map_err(|_| Fault::Field("bucket number"))?;
    Ok((tag, BucketId(bucket)))
}

/// Whether a row of these lengths can be stored.
pub(crate) fn check_row(key: &[u8], value: &[u8]) -> Result<()> {
    within("key", key.len(), KEY_BYTES_MAX)?;
    within("value", value.len(), VALUE_BYTES_MAX)
}

fn within(what: &str, bytes: usize, limit: usize) -> Result<()> {
    if bytes > limit {
        return Err(Error::invalid_options(format!(
            "{what} of {bytes} bytes exceeds the limit of {limit}"
        )));
    }
    Ok(())
}

/// The operations of an encoded batch, in order; stops after the first fault.
pub(crate) fn operations(
    bytes: &[u8],
) -> impl Iterator<Item = std::result::Result<Operation<'_>, Fault>> {
    let mut reader = Some(Reader::new(bytes));
    std::iter::from_fn(move || {
        let mut rest = reader.take().filter(|rest| !rest.is_empty())?;
        let operation = decode(&mut rest);
        if operation.is_ok() {
            reader = Some(rest);
        }
        Some(operation)
    })
}

fn decode<'a>(reader: &mut Reader<'a>) -> std::result::Result<Operation<'a>, Fault> {
    let (tag, bucket) = start(reader)?;
    match tag {
        PUT => Ok(Operation::Put {
            bucket,
            key: reader.bytes()?,
            value: reader.bytes()?,
        }),
        DELETE => Ok(Operation::Delete {
            bucket,
            key: reader.bytes()?,
        }),
        DELETE_RANGE => {
            let (start, end) = (reader.bytes()?, reader.bytes()?);
            if !end.is_empty() && start >= end {
                return Err(Fault::Order);
            }
            Ok(Operation::DeleteRange { bucket, start, end })
        }
        LOADED => {
            let (first, last) = (reader.bytes()?, reader.bytes()?);
            if first > last {
                return Err(Fault::Order);
            }
            Ok(Operation::Loaded {
                bucket,
                first,
                last,
                rows: reader.varint()?,
            })
        }
        PUT_BLOB => Ok(Operation::PutBlob {
            bucket,
            key: reader.bytes()?,
            index: reader.bytes()?,
        }),
        MERGE => {
            let (key, composite) = (reader.bytes()?, reader.bytes()?);
            Composite::decode(composite)?;
            Ok(Operation::Merge {
                bucket,
                key,
                composite,
            })
        }
        other => Err(Fault::Tag(other)),
    }
}

/// Whether the batch is a load, which has nothing else in it.
pub(crate) fn is_load(batch: &[u8]) -> bool {
    matches!(operations(batch).next(), Some(Ok(Operation::Loaded { .. })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Codec;

    #[test]
    fn operations_come_back_in_order() {
        let mut batch = EncodedBatch::default();
        batch.put(BucketId(0), b"k", b"v").unwrap();
        batch.delete(BucketId(300), b"").unwrap();
        batch
            .delete_range(BucketId(1), &KeyRange::half_open("a", "b"))
            .unwrap();
        batch
            .delete_range(BucketId(1), &KeyRange::half_open("b", "a"))
            .unwrap();
        batch.delete_range(BucketId(1), &KeyRange::all()).unwrap();
        let decoded: Vec<_> = operations(batch.as_bytes())
            .map(std::result::Result::unwrap)
            .collect();
        assert_eq!(
            decoded,
            [
                Operation::Put {
                    bucket: BucketId(0),
                    key: b"k",
                    value: b"v"
                },
                Operation::Delete {
                    bucket: BucketId(300),
                    key: b""
                },
                Operation::DeleteRange {
                    bucket: BucketId(1),
                    start: b"a",
                    end: b"b"
                },
                Operation::DeleteRange {
                    bucket: BucketId(1),
                    start: b"",
                    end: b""
                },
            ]
        );
    }

    /// Also the worked example of docs/format.md, "Write batch".
    #[test]
    fn the_bytes_of_a_batch_are_fixed() {
        let mut batch = EncodedBatch::default();
        batch.put(BucketId(0), b"k", b"v").unwrap();
        batch.delete(BucketId(300), b"").unwrap();
        batch.delete_range(BucketId(1), &KeyRange::all()).unwrap();
        let bytes = [0, 0, 1, b'k', 1, b'v', 1, 0xac, 2, 0, 2, 1, 0, 0];
        assert_eq!(batch.as_bytes(), bytes);
        let value = b"abc";
        let mut batch = EncodedBatch::default();
        batch.put(BucketId(0), b"k", value).unwrap();
        assert_eq!(batch.value_bytes_max(), 3);
        let index = crate::blob::BlobWriter::new(7).add(value, Codec::None);
        let batch = batch.with_blobs(|_, _| Some(index)).unwrap();
        let bytes = [4, 0, 1, b'k', 5, 7, 0, 0x18, 3, 3];
        assert_eq!(batch.as_bytes(), bytes);
    }

    #[test]
    fn values_that_find_no_place_stay_in_their_batch_and_all_else_does() {
        let mut batch = EncodedBatch::default();
        batch.put(BucketId(0), b"short", b"v").unwrap();
        batch.delete(BucketId(1), b"gone").unwrap();
        batch
            .delete_range(BucketId(1), &KeyRange::half_open("a", "b"))
            .unwrap();
        batch.put(BucketId(2), b"long", &[7; 100]).unwrap();
        let same = batch.with_blobs(|_, _| None).unwrap();
        assert_eq!(same.as_bytes(), batch.as_bytes());
        assert!(same.encoded().may_delete_ranges);
        let index = crate::blob::BlobWriter::new(7).add(&[7; 100], Codec::None);
        let placed = batch
            .with_blobs(|_, value| (value.len() == 100).then_some(index))
            .unwrap();
        let mut before: Vec<_> = operations(batch.as_bytes())
            .map(std::result::Result::unwrap)
            .collect();
        let mut after: Vec<_> = operations(placed.as_bytes())
            .map(std::result::Result::unwrap)
            .collect();
        let mut encoded = Vec::new();
        index.encode(&mut encoded);
        let at_its_place = Operation::PutBlob {
            bucket: BucketId(2),
            key: b"long",
            index: &encoded,
        };
        assert_eq!(after.pop(), Some(at_its_place));
        before.pop();
        assert_eq!(after, before);
        assert!(placed.value_bytes_max() == 1);
    }

    #[test]
    fn damage_stops_the_iteration_with_a_fault() {
        let mut batch = EncodedBatch::default();
        batch.put(BucketId(0), b"key", b"value").unwrap();
        batch.put(BucketId(0), b"other", b"value").unwrap();
        for cut in 1..batch.as_bytes().len() {
            let decoded: Vec<_> = operations(&batch.as_bytes()[..cut]).collect();
            assert!(decoded.len() <= 2);
        }
        assert_eq!(
            operations(&[9]).collect::<Vec<_>>(),
            [Err(Fault::Length {
                claimed: 1,
                available: 0
            })]
        );
    }

    #[test]
    fn a_key_above_the_limit_is_refused_and_stages_nothing() {
        let mut batch = EncodedBatch::default();
        let key = vec![0; KEY_BYTES_MAX + 1];
        assert!(matches!(
            batch.put(BucketId(0), &key, b""),
            Err(Error::InvalidOptions { .. })
        ));
        assert!(batch.is_empty());
    }
}
