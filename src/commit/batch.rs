//! A batch of writes, as a caller stages it: encoded as it comes, so that most batches go to the log as they are.

use std::sync::OnceLock;
use std::time::Duration;

use crate::coding::{Reader, put_bytes, put_varint};
use crate::commit::encoding::{
    BATCH_BYTES_MAX, DELETE, DELETE_RANGE, EncodedBatch, HEADER_BYTES_MAX, KEY_BYTES_MAX, MERGE,
    PUT, VALUE_BYTES_MAX, put_start, spare, start,
};
use crate::error::{Error, Fault, Result};
use crate::key::KeyRange;
use crate::manifest::BucketId;
use crate::types::Value;

/// The name that default-bucket operations carry.
pub(crate) const DEFAULT_BUCKET: &str = "default";

/// Puts of values that expire, after a time or at one, while they are staged: the log has composites.
const PUT_FOR: u8 = u8::MAX;
const PUT_UNTIL: u8 = u8::MAX - 1;

/// And their number.
const DEFAULT: BucketId = BucketId(0);

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
/// Operations apply in call order: the last one on a key wins, and operands are merged into what the operations before
/// them made of it. Nothing happens until the batch is
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
#[derive(Clone, Default)]
pub struct WriteBatch {
    /// Encoded as it comes, so that a batch for the default bucket goes to the log as it is. Buckets go by their place in
    /// `buckets`; a range delete is its tag, its bucket, and nothing: it is the next one of `ranges`.
    staged: Vec<u8>,
    len: usize,
    /// The named ones, from number 1 on; 0 is the default one.
    buckets: Vec<String>,
    ranges: Vec<KeyRange>,
    longest_key: usize,
    longest_value: usize,
    has_empty_key: bool,
    has_composites: bool,
    /// The same as a list, from when somebody first asks for it on.
    listed: OnceLock<Vec<BatchOperation>>,
}

impl PartialEq for WriteBatch {
    fn eq(&self, other: &Self) -> bool {
        // Buckets are numbered as they come up, so equal operations have equal bytes.
        self.staged == other.staged && self.buckets == other.buckets && self.ranges == other.ranges
    }
}

impl Eq for WriteBatch {}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBatch")
            .field("operations", &self.operations())
            .finish()
    }
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            staged: Vec::new(),
            len: 0,
            buckets: Vec::new(),
            ranges: Vec::new(),
            longest_key: 0,
            longest_value: 0,
            has_empty_key: false,
            has_composites: false,
            listed: OnceLock::new(),
        }
    }

    /// Stages a put in the default bucket.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Value>) {
        self.stage_put(DEFAULT, key.into(), value.into());
    }

    /// Stages a put in the default bucket of a value that expires so long after the commit began; see
    /// [`Db::put_with_ttl`](crate::Db::put_with_ttl).
    pub fn put_with_ttl(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        ttl: Duration,
    ) {
        let expiry = Expiry::After(millis(ttl));
        self.stage_expiring(DEFAULT, key.into(), value.into(), expiry);
    }

    /// Stages a put in the default bucket of a value that expires at this time, in milliseconds since 1970-01-01 UTC: what
    /// [`RowCursor::expires_millis`](crate::RowCursor::expires_millis) and
    /// [`ChangeOperation::PutUntil`](crate::ChangeOperation::PutUntil) say of a row that goes to another database.
    pub fn put_until(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        expires_millis: u64,
    ) {
        let expiry = Expiry::At(expires_millis);
        self.stage_expiring(DEFAULT, key.into(), value.into(), expiry);
    }

    /// Stages an operand for a key of the default bucket; see [`Db::merge`](crate::Db::merge).
    pub fn merge(&mut self, key: impl Into<Vec<u8>>, operand: impl Into<Value>) {
        self.stage_merge(DEFAULT, &key.into(), &operand.into());
    }

    /// Stages a delete in the default bucket.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.stage_delete(DEFAULT, key.into());
    }

    /// Stages a range delete in the default bucket.
    pub fn delete_range(&mut self, range: KeyRange) {
        self.stage_delete_range(DEFAULT, range);
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
        let bucket = self.number(bucket.into())?;
        self.stage_put(bucket, key.into(), value.into());
        Ok(())
    }

    /// Stages a put in a named bucket of a value that expires; see [`put_with_ttl`](Self::put_with_ttl). Whether it exists is checked at
    /// commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    pub fn put_with_ttl_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        ttl: Duration,
    ) -> Result<()> {
        let bucket = self.number(bucket.into())?;
        let expiry = Expiry::After(millis(ttl));
        self.stage_expiring(bucket, key.into(), value.into(), expiry);
        Ok(())
    }

    /// Stages a put in a named bucket of a value that expires at a time; see [`put_until`](Self::put_until). Whether the bucket exists is
    /// checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    pub fn put_until_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        value: impl Into<Value>,
        expires_millis: u64,
    ) -> Result<()> {
        let bucket = self.number(bucket.into())?;
        let expiry = Expiry::At(expires_millis);
        self.stage_expiring(bucket, key.into(), value.into(), expiry);
        Ok(())
    }

    /// Stages an operand for a key of a named bucket; see [`Bucket::merge`](crate::Bucket::merge). Whether it exists, and
    /// has a merge operator, is checked at commit.
    ///
    /// # Errors
    /// As [`put_bucket`](Self::put_bucket).
    pub fn merge_bucket(
        &mut self,
        bucket: impl Into<String>,
        key: impl Into<Vec<u8>>,
        operand: impl Into<Value>,
    ) -> Result<()> {
        let bucket = self.number(bucket.into())?;
        self.stage_merge(bucket, &key.into(), &operand.into());
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
        let bucket = self.number(bucket.into())?;
        self.stage_delete(bucket, key.into());
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
        let bucket = self.number(bucket.into())?;
        self.stage_delete_range(bucket, range);
        Ok(())
    }

    /// Whether nothing is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many operations are staged.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The staged operations, in call order. What is merged is not among them; a put says nothing of its expiry.
    ///
    /// # Cost
    /// The first call makes the list, which is then kept beside what is staged.
    #[must_use]
    pub fn operations(&self) -> &[BatchOperation] {
        self.listed.get_or_init(|| self.list())
    }

    /// The staged operations, in call order. What is merged is not among them; a put says nothing of its expiry.
    #[must_use]
    pub fn into_operations(mut self) -> Vec<BatchOperation> {
        self.listed.take().unwrap_or_else(|| self.list())
    }

    /// The number of a named bucket in this batch.
    fn number(&mut self, bucket: String) -> Result<BucketId> {
        let bucket = named(bucket)?;
        let known = self.buckets.iter().rposition(|name| *name == bucket);
        let place = known.unwrap_or_else(|| {
            self.buckets.push(bucket);
            self.buckets.len() - 1
        });
        let number = u32::try_from(place + 1);
        Ok(BucketId(number.map_err(|_| {
            Error::invalid_options("too many buckets in a batch")
        })?))
    }

    fn name(&self, bucket: BucketId) -> &str {
        let place = usize::try_from(bucket.0).ok();
        let named = place.and_then(|number| self.buckets.get(number.checked_sub(1)?));
        named.map_or(DEFAULT_BUCKET, String::as_str)
    }

    fn stage_put(&mut self, bucket: BucketId, key: Vec<u8>, value: Value) {
        if self.staged.capacity() == 0 {
            self.staged = spare();
        }
        self.staged
            .reserve(key.len() + value.len() + HEADER_BYTES_MAX);
        put_start(&mut self.staged, PUT, bucket);
        put_bytes(&mut self.staged, &key);
        put_bytes(&mut self.staged, &value);
        self.longest_value = self.longest_value.max(value.len());
        self.note_key(&key);
        self.also_list(bucket, |bucket| BatchOperation::Put { bucket, key, value });
    }

    fn stage_delete(&mut self, bucket: BucketId, key: Vec<u8>) {
        put_start(&mut self.staged, DELETE, bucket);
        put_bytes(&mut self.staged, &key);
        self.note_key(&key);
        self.also_list(bucket, |bucket| BatchOperation::Delete { bucket, key });
    }

    fn stage_expiring(&mut self, bucket: BucketId, key: Vec<u8>, value: Value, expiry: Expiry) {
        let (tag, millis) = match expiry {
            Expiry::After(millis) => (PUT_FOR, millis),
            Expiry::At(millis) => (PUT_UNTIL, millis),
        };
        put_start(&mut self.staged, tag, bucket);
        put_bytes(&mut self.staged, &key);
        put_bytes(&mut self.staged, &value);
        put_varint(&mut self.staged, millis);
        self.has_composites = true;
        self.also_list(bucket, |bucket| BatchOperation::Put { bucket, key, value });
    }

    fn stage_merge(&mut self, bucket: BucketId, key: &[u8], operand: &[u8]) {
        put_start(&mut self.staged, MERGE, bucket);
        put_bytes(&mut self.staged, key);
        put_bytes(&mut self.staged, operand);
        self.has_composites = true;
        self.len += 1;
    }

    fn stage_delete_range(&mut self, bucket: BucketId, range: KeyRange) {
        put_start(&mut self.staged, DELETE_RANGE, bucket);
        self.ranges.push(range.clone());
        self.also_list(bucket, |bucket| BatchOperation::DeleteRange {
            bucket,
            range,
        });
    }

    fn note_key(&mut self, key: &[u8]) {
        self.longest_key = self.longest_key.max(key.len());
        self.has_empty_key |= key.is_empty();
    }

    fn also_list(&mut self, bucket: BucketId, operation: impl FnOnce(String) -> BatchOperation) {
        self.len += 1;
        if let Some(mut listed) = self.listed.take() {
            listed.push(operation(self.name(bucket).to_owned()));
            self.listed = OnceLock::from(listed);
        }
    }

    fn list(&self) -> Vec<BatchOperation> {
        let mut listed = Vec::with_capacity(self.len);
        let each = self.each(|name, operation| {
            let bucket = name.to_owned();
            listed.push(match operation {
                Staged::Merge(..) => return Ok(()),
                Staged::Put(key, value) | Staged::PutExpiring(key, value, _) => {
                    BatchOperation::Put {
                        bucket,
                        key: key.to_vec(),
                        value: value.to_vec(),
                    }
                }
                Staged::Delete(key) => BatchOperation::Delete {
                    bucket,
                    key: key.to_vec(),
                },
                Staged::DeleteRange(range) => BatchOperation::DeleteRange {
                    bucket,
                    range: range.clone(),
                },
            });
            Ok(())
        });
        debug_assert!(each.is_ok(), "it was encoded here");
        listed
    }

    /// Gives each operation to `visit`, in call order, with the name of its bucket.
    pub(crate) fn each<'b>(
        &'b self,
        mut visit: impl FnMut(&'b str, Staged<'b>) -> Result<()>,
    ) -> Result<()> {
        let fault = |fault: Fault| Error::from(fault.at("batch", 0));
        let mut ranges = self.ranges.iter();
        let mut reader = Reader::new(&self.staged);
        while !reader.is_empty() {
            let (tag, bucket) = start(&mut reader).map_err(fault)?;
            let operation = match tag {
                PUT => {
                    let key = reader.bytes().map_err(fault)?;
                    Staged::Put(key, reader.bytes().map_err(fault)?)
                }
                DELETE => Staged::Delete(reader.bytes().map_err(fault)?),
                PUT_FOR | PUT_UNTIL => {
                    let key = reader.bytes().map_err(fault)?;
                    let value = reader.bytes().map_err(fault)?;
                    let millis = reader.varint().map_err(fault)?;
                    let expiry = if tag == PUT_FOR {
                        Expiry::After(millis)
                    } else {
                        Expiry::At(millis)
                    };
                    Staged::PutExpiring(key, value, expiry)
                }
                MERGE => {
                    let key = reader.bytes().map_err(fault)?;
                    Staged::Merge(key, reader.bytes().map_err(fault)?)
                }
                _ => match ranges.next() {
                    Some(range) => Staged::DeleteRange(range),
                    None => return Err(fault(Fault::Tag(tag))),
                },
            };
            visit(self.name(bucket), operation)?;
        }
        Ok(())
    }

    /// Whether operands, or values that expire, are staged.
    pub(crate) fn has_composites(&self) -> bool {
        self.has_composites
    }

    /// The batch as the log takes it, if that is what is staged: keys of the default bucket only, none of which is
    /// empty, nothing too long, no range deletes, no merges, and nothing that expires.
    pub(crate) fn take_encoded(&mut self) -> Option<EncodedBatch> {
        let plain = self.buckets.is_empty()
            && self.ranges.is_empty()
            && !self.has_empty_key
            && !self.has_composites
            && self.longest_key <= KEY_BYTES_MAX
            && self.longest_value <= VALUE_BYTES_MAX
            && self.staged.len() <= BATCH_BYTES_MAX - HEADER_BYTES_MAX;
        plain.then(|| {
            EncodedBatch::of(
                std::mem::take(&mut self.staged),
                self.len,
                self.longest_value,
            )
        })
    }
}

/// One staged write, lent from a [`WriteBatch`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Staged<'b> {
    Put(&'b [u8], &'b [u8]),
    PutExpiring(&'b [u8], &'b [u8], Expiry),
    Delete(&'b [u8]),
    Merge(&'b [u8], &'b [u8]),
    DeleteRange(&'b KeyRange),
}

/// When a value expires, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    /// So long after its commit began.
    After(u64),
    /// At this time since 1970-01-01 UTC.
    At(u64),
}

impl Expiry {
    /// At which time, in a commit that began at `now`.
    pub(crate) fn at(self, now: u64) -> u64 {
        match self {
            Self::After(millis) => now.saturating_add(millis),
            Self::At(millis) => millis,
        }
    }
}

/// So many milliseconds, at most as many as there can be.
pub(crate) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_operations_grows_with_the_batch() {
        let mut asked_first = WriteBatch::new();
        let mut asked_last = WriteBatch::new();
        assert!(asked_first.operations().is_empty());
        for batch in [&mut asked_first, &mut asked_last] {
            batch.put("a", "1");
            batch.put_bucket("one", "b", "2").unwrap();
            batch.delete_range(KeyRange::half_open("b", "a"));
            batch.delete_bucket("two", "c").unwrap();
            batch.delete_bucket("one", "").unwrap();
            batch.delete_range_bucket("two", KeyRange::all()).unwrap();
        }
        assert_eq!(asked_first.operations(), asked_last.operations());
        assert_eq!(asked_first, asked_last);
        assert_eq!(asked_last.len(), 6);
        let names: Vec<_> = asked_last
            .operations()
            .iter()
            .map(BatchOperation::bucket)
            .collect();
        assert_eq!(names, ["default", "one", "default", "two", "one", "two"]);
        assert_eq!(
            asked_first.clone().into_operations(),
            asked_first.operations()
        );
    }

    #[test]
    fn what_is_staged_for_the_default_bucket_is_what_the_log_takes() {
        let mut batch = WriteBatch::new();
        batch.put("k", "v");
        batch.delete("other");
        let mut encoded = EncodedBatch::default();
        encoded.put(DEFAULT, b"k", b"v").unwrap();
        encoded.delete(DEFAULT, b"other").unwrap();
        assert_eq!(batch.take_encoded().unwrap().as_bytes(), encoded.as_bytes());
    }
}
