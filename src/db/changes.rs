//! The change feed: commits in order, read from the log behind whoever writes it.
//!
//! - Only what is visible is delivered, each commit once, in the order of sequences, without a gap.
//! - Nothing here keeps the log: a consumer that falls behind what is retained is told so ([`Error::ChangesLost`]).
//! - Commits pay nothing for it but a look at a flag under a lock that they take anyway; with somebody waiting, a wake-up.

use std::sync::Arc;

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::encoding::{Operation, operations};
use crate::composite::{Base, Composite};
use crate::db::{Core, Db, Persistent};
use crate::error::{Error, Fault, Result};
use crate::key::KeyRange;
use crate::sequence::Sequence;
use crate::types::Value;
use crate::wal::{SegmentTail, first_sequence};

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeOperation {
    /// A key got a value.
    Put {
        /// The bucket's name; `"default"` for the default bucket.
        bucket: String,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Value,
    },
    /// A key was deleted, whether it was there or not.
    Delete {
        /// The bucket's name.
        bucket: String,
        /// The key.
        key: Vec<u8>,
    },
    /// A key got a value that expires.
    PutUntil {
        /// The bucket's name.
        bucket: String,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Value,
        /// When it expires, in milliseconds since 1970-01-01 UTC.
        expires_millis: u64,
    },
    /// An operand was merged into a key.
    Merge {
        /// The bucket's name.
        bucket: String,
        /// The key.
        key: Vec<u8>,
        /// The operand.
        operand: Value,
    },
    /// Every key of a range was deleted.
    DeleteRange {
        /// The bucket's name.
        bucket: String,
        /// The range.
        range: KeyRange,
    },
    /// Rows of this range were loaded in bulk. The feed does not have them: read the range, which shows it as it is now, with what
    /// later commits made of it. They come next, and change nothing that was read of them already; but operands that later commits merged
    /// into these rows would be merged twice: who follows a bucket with a merge operator goes on behind a snapshot of it instead.
    BulkLoad {
        /// The bucket's name.
        bucket: String,
        /// From the first to the last key that was loaded.
        range: KeyRange,
        /// How many rows were loaded; more may be there.
        rows: u64,
    },
}

impl ChangeOperation {
    /// The name of the bucket it wrote to.
    #[must_use]
    pub fn bucket(&self) -> &str {
        match self {
            Self::Put { bucket, .. }
            | Self::Delete { bucket, .. }
            | Self::PutUntil { bucket, .. }
            | Self::Merge { bucket, .. }
            | Self::DeleteRange { bucket, .. }
            | Self::BulkLoad { bucket, .. } => bucket,
        }
    }
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBatch {
    sequence: Sequence,
    operations: Vec<ChangeOperation>,
}

impl CommittedBatch {
    /// The commit's sequence: the one after that of the batch before.
    #[must_use]
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Its writes in their order: the last one on a key wins. None of buckets that are gone since.
    #[must_use]
    pub fn operations(&self) -> &[ChangeOperation] {
        &self.operations
    }

    /// Its writes in their order.
    #[must_use]
    pub fn into_operations(self) -> Vec<ChangeOperation> {
        self.operations
    }
}

/// Commits, one after the other, and those to come. From [`Db::changes`].
///
/// It does not keep the database open.
#[derive(Debug)]
pub struct Changes {
    core: Arc<Core>,
    position: Sequence,
    segment: Option<SegmentTail>,
}

impl Db {
    /// Every commit after the one with sequence `after`, in order, and then those to come.
    ///
    /// Commits are read from the log, as far back as it reaches: to what is not in tables yet, and by
    /// [`DbOptions::change_retention_bytes`](crate::DbOptions::change_retention_bytes) beyond that. A commit of a durability
    /// that does not survive power loss may be seen here and be gone after one; its sequence is given out again then.
    ///
    /// Buckets that are created or dropped take no sequence and do not show: a bucket is first seen with its first write, and
    /// writes to one that was dropped since are left out.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if nothing was committed with that sequence yet. [`Error::Unsupported`] in memory, and for a
    /// read-only database. [`Error::Closed`].
    ///
    /// # Cost
    /// None until the first step.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{ChangeOperation, Db};
    /// # let home = tempfile::tempdir()?;
    /// # let path = home.path().join("data");
    /// let db = Db::open_sync(&path)?;
    /// db.put_sync("a", "1")?;
    /// let mut changes = db.changes(db.last_committed_sequence())?;
    /// db.put_sync("b", "2")?;
    /// let batch = changes.next_sync()?;
    /// assert_eq!(batch.sequence(), db.last_committed_sequence());
    /// assert!(matches!(&batch.operations()[0], ChangeOperation::Put { key, .. } if key == b"b"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&self, after: Sequence) -> Result<Changes> {
        let core = self.core();
        core.check_open()?;
        if core.persistent.is_none() {
            return Err(Error::unsupported("a change feed without a log"));
        }
        if core.options.read_only {
            return Err(Error::unsupported("a change feed of a read-only database"));
        }
        if after > core.commits.visible() {
            return Err(Error::invalid_options(format!(
                "changes after {} are asked for, which was not committed yet",
                after.get()
            )));
        }
        Ok(Changes {
            core: Arc::clone(core),
            position: after,
            segment: None,
        })
    }
}

impl Changes {
    /// The sequence of the batch that came last; before the first, the one asked for.
    #[must_use]
    pub const fn position(&self) -> Sequence {
        self.position
    }

    /// The next commit; waits for it if it was not made yet. A step that fails can be made again.
    ///
    /// # Errors
    /// [`Error::ChangesLost`] if the log does not reach back to it any more: start afresh from a copy. [`Error::Closed`] once the
    /// database is closed. [`Error::Io`], [`Error::Corruption`].
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    ///
    /// # Cost
    /// Reads the log, a quarter of a MiB at a time, and copies the batch. The first step looks for its place in a segment of the log,
    /// from the segment's beginning.
    pub async fn next(&mut self) -> Result<CommittedBatch> {
        self.next_in(Mode::Cooperative).await
    }

    /// [`next`](Self::next) on this thread.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_sync(&mut self) -> Result<CommittedBatch> {
        block_on(self.next_in(Mode::Blocking))
    }

    async fn next_in(&mut self, mode: Mode) -> Result<CommittedBatch> {
        let core = Arc::clone(&self.core);
        let Some(persistent) = &core.persistent else {
            return Err(Error::Closed);
        };
        let visible = loop {
            core.check_open()?;
            let visible = core.commits.visible();
            if visible > self.position {
                break visible;
            }
            // Looked at once more after it began to listen.
            let woken = core.commits.next_publication()?;
            if core.commits.visible() == visible {
                woken.await;
            }
        };
        let (sequence, batch) = self.read(persistent, visible, mode).await?;
        // Whoever drops this future, or fails in it, looks for the place again.
        let segment = self.segment.take();
        let operations = self.named(&batch, mode).await?;
        self.segment = segment;
        self.position = sequence;
        Ok(CommittedBatch {
            sequence,
            operations,
        })
    }

    /// The commit after the position, which is not above `visible`.
    async fn read(
        &mut self,
        persistent: &Persistent,
        visible: Sequence,
        mode: Mode,
    ) -> Result<(Sequence, Vec<u8>)> {
        let wanted = self.position.next().unwrap_or(self.position);
        let mut exhausted = None;
        loop {
            let mut segment = match self.segment.take() {
                Some(segment) => segment,
                None => self.find(persistent, wanted, exhausted, mode).await?,
            };
            let number = segment.number();
            match segment.next(wanted, visible, mode).await {
                Ok(Some((sequence, batch))) if sequence <= wanted => {
                    self.segment = Some(segment);
                    if sequence == wanted {
                        return Ok((sequence, batch));
                    }
                }
                // It is not in this segment, or that is not what it was any more.
                Ok(_) => exhausted = Some(number),
                Err(error) => {
                    self.check_retained(persistent, number, mode).await?;
                    return Err(error);
                }
            }
        }
    }

    /// The segment that holds the commit `wanted`: the last one that begins at it or before.
    async fn find(
        &self,
        persistent: &Persistent,
        wanted: Sequence,
        exhausted: Option<u64>,
        mode: Mode,
    ) -> Result<SegmentTail> {
        let segments = persistent.manifest.take().await.state().log_segments();
        let (floor, last) = segments.map_or((0, 0), std::ops::RangeInclusive::into_inner);
        let mut oldest = None;
        for number in (floor..=last).rev() {
            match first_sequence(&persistent.storage, number, mode).await? {
                Some(first) if first <= wanted => {
                    if exhausted == Some(number) {
                        self.check_retained(persistent, number, mode).await?;
                        return Err(Error::Corruption {
                            message: format!("commit {} is not in the log", wanted.get()),
                        });
                    }
                    return SegmentTail::open(&persistent.storage, number, mode).await;
                }
                Some(first) => oldest = Some(first),
                None => {}
            }
        }
        Err(self.lost(oldest.unwrap_or(wanted)))
    }

    /// Fails if the log does not reach back to segment `number` any more.
    async fn check_retained(&self, persistent: &Persistent, number: u64, mode: Mode) -> Result<()> {
        let segments = persistent.manifest.take().await.state().log_segments();
        let floor = segments.map_or(0, |segments| *segments.start());
        if number >= floor {
            return Ok(());
        }
        let oldest = first_sequence(&persistent.storage, floor, mode).await?;
        Err(self.lost(oldest.unwrap_or_else(|| self.core.commits.visible())))
    }

    fn lost(&self, oldest: Sequence) -> Error {
        Error::ChangesLost {
            after: self.position.get(),
            oldest: oldest.get(),
        }
    }

    /// The writes of a batch, with the names of their buckets.
    async fn named(&self, batch: &[u8], mode: Mode) -> Result<Vec<ChangeOperation>> {
        let trees = self.core.trees.load();
        let mut named = Vec::new();
        for operation in operations(batch) {
            let operation = operation.map_err(|fault: Fault| Error::from(fault.at("batch", 0)))?;
            let Some(tree) = trees.by_id(operation.bucket()) else {
                continue;
            };
            let bucket = tree.name().to_owned();
            named.push(match operation {
                Operation::Merge { key, composite, .. } => {
                    name_merge(&mut named, &bucket, key, composite)
                        .map_err(|fault| fault.at("batch", 0))?;
                    continue;
                }
                Operation::Put { key, value, .. } => ChangeOperation::Put {
                    bucket,
                    key: key.to_vec(),
                    value: value.to_vec(),
                },
                Operation::PutBlob { key, index, .. } => {
                    // A file of values goes once all that is in it was superseded, whatever the log has of it.
                    let Some(value) = tree.pin().find_blob(index)? else {
                        return Err(self.lost(self.core.commits.visible()));
                    };
                    ChangeOperation::Put {
                        bucket,
                        key: key.to_vec(),
                        value: value.read(mode).await?.into_vec(),
                    }
                }
                Operation::Delete { key, .. } => ChangeOperation::Delete {
                    bucket,
                    key: key.to_vec(),
                },
                Operation::DeleteRange { start, end, .. } => ChangeOperation::DeleteRange {
                    bucket,
                    range: if end.is_empty() {
                        KeyRange::from_bounds(start.to_vec()..)
                    } else {
                        KeyRange::half_open(start, end)
                    },
                },
                Operation::Loaded {
                    first, last, rows, ..
                } => ChangeOperation::BulkLoad {
                    bucket,
                    range: KeyRange::from_bounds(first.to_vec()..=last.to_vec()),
                    rows,
                },
            });
        }
        Ok(named)
    }
}

/// The writes that a composite was made of.
fn name_merge(
    named: &mut Vec<ChangeOperation>,
    bucket: &str,
    key: &[u8],
    composite: &[u8],
) -> std::result::Result<(), Fault> {
    let (bucket, key) = (|| bucket.to_owned(), || key.to_vec());
    let composite = Composite::decode(composite)?;
    match composite.base {
        Base::Older => {}
        Base::Nothing => named.push(ChangeOperation::Delete {
            bucket: bucket(),
            key: key(),
        }),
        Base::Expiring(expires_millis, value) => named.push(ChangeOperation::PutUntil {
            bucket: bucket(),
            key: key(),
            value: value.to_vec(),
            expires_millis,
        }),
        Base::Value(value) => named.push(ChangeOperation::Put {
            bucket: bucket(),
            key: key(),
            value: value.to_vec(),
        }),
    }
    for operand in composite.operands() {
        named.push(ChangeOperation::Merge {
            bucket: bucket(),
            key: key(),
            operand: operand?.to_vec(),
        });
    }
    Ok(())
}
