//! A batch of writes: what a caller stages, and its bytes as the log and the memtables take them.
//!
//! ```text
//! batch     := operation*
//! operation := 0 bucket:varint key:bytes value:bytes     put
//!            | 1 bucket:varint key:bytes                 delete
//!            | 2 bucket:varint start:bytes end:bytes     delete [start, end); an empty end is no end
//!            | 3 bucket:varint first:bytes last:bytes rows:varint    a bulk load, whose rows are in tables
//! bytes     := length:varint byte*
//! ```
//!
//! A range delete that can hold no key is not encoded. Operations keep their order: the last one on
//! a key wins.

use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::{Error, Fault, Result};
use crate::key::KeyRange;
use crate::manifest::BucketId;
use crate::types::Value;

/// The name that default-bucket operations carry.
pub(crate) const DEFAULT_BUCKET: &str = "default";

/// Keys up to 32 MiB.
pub(crate) const KEY_BYTES_MAX: usize = 32 << 20;
/// Values up to 128 MiB. With its key, a value fits a table's block.
pub(crate) const VALUE_BYTES_MAX: usize = 128 << 20;
/// A whole batch, encoded, up to 768 MiB: it becomes one log record.
pub(crate) const BATCH_BYTES_MAX: usize = 768 << 20;

/// One staged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOperation {
    /// Sets a key's value.
    Put {
        /// Bucket name; `"default"` for the default bucket.
        bucket: String,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Value,
    },
    /// Deletes a key.
    Delete {
        /// Bucket name; `"default"` for the default bucket.
        bucket: String,
        /// The key.
        key: Vec<u8>,
    },
    /// Deletes every key of a range.
    DeleteRange {
        /// Bucket name; `"default"` for the default bucket.
        bucket: String,
        /// The range.
        range: KeyRange,
    },
}

impl BatchOperation {
    /// The name of the bucket it writes to.
    #[must_use]
    pub fn bucket(&self) -> &str {
        match self {
            Self::Put { bucket, .. }
            | Self::Delete { bucket, .. }
            | Self::DeleteRange { bucket, .. } => bucket,
        }
    }
}

/// Writes to any number of buckets that become visible, and durable, together or not at all.
///
/// Operations apply in call order: the last one on a key wins. Nothing happens until the batch is
/// given to [`Db::write`](crate::Db::write).
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{Db, DbOptions, WriteBatch, WriteOptions};
/// let db = Db::open_sync(DbOptions::memory())?;
/// db.bucket_sync("index")?;
/// let mut batch = WriteBatch::new();
/// batch.put("user:1", "Ada");
/// batch.put_bucket("index", "Ada", "user:1")?;
/// db.write_sync(batch, WriteOptions::default())?;
/// assert_eq!(db.get_sync(b"user:1")?.as_deref(), Some(&b"Ada"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteBatch {
    operations: Vec<BatchOperation>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            operations: Vec::new(),
        }
    }

    /// Stages a put in the default bucket.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Value>) {
        let bucket = DEFAULT_BUCKET.to_owned();
        self.operations.push(BatchOperation::Put {
            bucket,
            key: key.into(),
            value: value.into(),
        });
    }

    /// Stages a delete in the default bucket.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        let bucket = DEFAULT_BUCKET.to_owned();
        self.operations.push(BatchOperation::Delete {
            bucket,
            key: key.into(),
        });
    }

    /// Stages a range delete in the default bucket.
    pub fn delete_range(&mut self, range: KeyRange) {
        let bucket = DEFAULT_BUCKET.to_owned();
        self.operations
            .push(BatchOperation::DeleteRange { bucket, range });
    }

    /// Stages a put in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if the name is empty or `"default"`; the batch is unchanged.
    pub fn put_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
    ) -> Result<()> {
        let bucket = named(bucket.into())?;
        self.operations.push(BatchOperation::Put {
            bucket,
            key: key.into(),
            value: value.into(),
        });
        Ok(())
    }

    /// Stages a delete in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    pub fn delete_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
    ) -> Result<()> {
        let bucket = named(bucket.into())?;
        self.operations.push(BatchOperation::Delete {
            bucket,
            key: key.into(),
        });
        Ok(())
    }

    /// Stages a range delete in a named bucket. Whether it exists is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    pub fn delete_range_bucket(
        &mut self,
        bucket: impl Into<String>,
        range: KeyRange,
    ) -> Result<()> {
        let bucket = named(bucket.into())?;
        self.operations
            .push(BatchOperation::DeleteRange { bucket, range });
        Ok(())
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations are staged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// The staged operations, in call order.
    #[must_use]
    pub fn operations(&self) -> &[BatchOperation] {
        &self.operations
    }

    /// The staged operations, in call order.
    #[must_use]
    pub fn into_operations(self) -> Vec<BatchOperation> {
        self.operations
    }
}

fn named(bucket: String) -> Result<String> {
    match bucket.as_str() {
        "" => Err(Error::invalid_options("bucket name cannot be empty")),
        DEFAULT_BUCKET => Err(Error::invalid_options(
            "default bucket writes use default batch methods",
        )),
        _ => Ok(bucket),
    }
}

/// One write, lent from an encoded batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Put {
        bucket: BucketId,
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        bucket: BucketId,
        key: &'a [u8],
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
            | Self::Delete { bucket, .. }
            | Self::DeleteRange { bucket, .. }
            | Self::Loaded { bucket, .. } => *bucket,
        }
    }

    /// Whether it writes `key` of `bucket`.
    pub(crate) fn touches(&self, bucket: BucketId, key: &[u8]) -> bool {
        self.bucket() == bucket
            && match self {
                Self::Put { key: own, .. } | Self::Delete { key: own, .. } => *own == key,
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
}

/// The bytes of a batch, with what need not be looked for in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) bytes: &'a [u8],
    /// Without a range delete, no operation covers another.
    pub(crate) may_delete_ranges: bool,
}

impl EncodedBatch {
    pub(crate) fn put(&mut self, bucket: BucketId, key: &[u8], value: &[u8]) -> Result<()> {
        within("value", value.len(), VALUE_BYTES_MAX)?;
        self.start(0, bucket, key, value.len())?;
        put_bytes(&mut self.bytes, value);
        Ok(())
    }

    pub(crate) fn delete(&mut self, bucket: BucketId, key: &[u8]) -> Result<()> {
        self.start(1, bucket, key, 0)
    }

    pub(crate) fn delete_range(&mut self, bucket: BucketId, range: &KeyRange) -> Result<()> {
        if range.is_empty() {
            self.operations += 1;
            return Ok(());
        }
        let (start, end) = range.to_half_open();
        let end = end.unwrap_or_default();
        within("range bound", end.len(), KEY_BYTES_MAX)?;
        self.start(2, bucket, &start, end.len())?;
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
        self.start(3, bucket, first, last.len() + ROWS_BYTES_MAX)?;
        put_bytes(&mut self.bytes, last);
        put_varint(&mut self.bytes, rows);
        Ok(())
    }

    fn start(&mut self, tag: u8, bucket: BucketId, key: &[u8], more: usize) -> Result<()> {
        const HEADER_BYTES_MAX: usize = 1 + 5 + 10 + 10;
        within("key", key.len(), KEY_BYTES_MAX)?;
        let grown = self.bytes.len() + key.len() + more + HEADER_BYTES_MAX;
        within("batch", grown, BATCH_BYTES_MAX)?;
        self.bytes.reserve(key.len() + more + HEADER_BYTES_MAX);
        self.bytes.push(tag);
        put_varint(&mut self.bytes, u64::from(bucket.0));
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
    let tag = reader.u8()?;
    let bucket = u32::try_from(reader.varint()?)
        .map(BucketId)
        .map_err(|_| Fault::Field("bucket number"))?;
    match tag {
        0 => Ok(Operation::Put {
            bucket,
            key: reader.bytes()?,
            value: reader.bytes()?,
        }),
        1 => Ok(Operation::Delete {
            bucket,
            key: reader.bytes()?,
        }),
        2 => {
            let (start, end) = (reader.bytes()?, reader.bytes()?);
            if !end.is_empty() && start >= end {
                return Err(Fault::Order);
            }
            Ok(Operation::DeleteRange { bucket, start, end })
        }
        3 => {
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
        other => Err(Fault::Tag(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
