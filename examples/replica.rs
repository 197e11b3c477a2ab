//! A second database kept in step by the change feed of the first.
//!
//! The replica stores how far it got in the same batch as what it got, so it can be stopped, or killed, at any moment, as the
//! primary can: it goes on where it was. Where the primary's log does not reach back that far any more, it is filled afresh; and so it is
//! after a bulk load into a bucket with a merge operator, whose rows the feed does not have: as they are now they hold what
//! later commits merged into them, which must not be merged twice.
//!
//! Rows expire in both at the same time. Of a row that expires and was merged into, a fresh copy has the value, which expires as a whole.
//!
//! `cargo run --example replica`

use std::path::Path;

use trine_kv::{
    Bucket, BucketName, BucketOptions, ChangeOperation, CommittedBatch, Db, DbOptions, Direction,
    Error, KeyRange, Merged, Result, RowCursor, Sequence, WriteBatch, WriteOptions,
};

/// Where in the replica its position is.
const POSITION_BUCKET: &str = "replica";
const POSITION: &[u8] = b"position";

/// How many rows a batch of a fresh copy has.
const ROWS: usize = 1000;

/// What the replica has all commits up to, or nothing if it has no whole state.
pub(crate) fn position(replica: &Db) -> Result<Option<Sequence>> {
    let stored = replica.bucket_sync(POSITION_BUCKET)?.get_sync(POSITION)?;
    let number = stored.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    Ok(number.map(Sequence::new))
}

fn stage_position(batch: &mut WriteBatch, position: Sequence) -> Result<()> {
    let number = position.get().to_le_bytes();
    batch.put_bucket(POSITION_BUCKET, POSITION, number)
}

/// Writes to a bucket by its name.
struct Stage<'a> {
    batch: &'a mut WriteBatch,
    /// `None`: the default one.
    bucket: Option<&'a str>,
}

impl<'a> Stage<'a> {
    fn new(batch: &'a mut WriteBatch, bucket: &'a str) -> Self {
        let bucket = Some(bucket).filter(|name| *name != "default");
        Self { batch, bucket }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, expires_millis: Option<u64>) -> Result<()> {
        match (self.bucket, expires_millis) {
            (None, None) => self.batch.put(key, value),
            (None, Some(at)) => self.batch.put_until(key, value, at),
            (Some(name), None) => self.batch.put_bucket(name, key, value)?,
            (Some(name), Some(at)) => self.batch.put_until_bucket(name, key, value, at)?,
        }
        Ok(())
    }

    fn put_row(&mut self, row: &RowCursor) -> Result<()> {
        let (key, value) = (row.key().to_vec(), row.value().to_vec());
        self.put(key, value, row.expires_millis())
    }

    fn merge(&mut self, key: Vec<u8>, operand: Vec<u8>) -> Result<()> {
        match self.bucket {
            None => self.batch.merge(key, operand),
            Some(name) => self.batch.merge_bucket(name, key, operand)?,
        }
        Ok(())
    }

    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        match self.bucket {
            None => self.batch.delete(key),
            Some(name) => self.batch.delete_bucket(name, key)?,
        }
        Ok(())
    }

    fn delete_range(&mut self, range: KeyRange) -> Result<()> {
        match self.bucket {
            None => self.batch.delete_range(range),
            Some(name) => self.batch.delete_range_bucket(name, range)?,
        }
        Ok(())
    }
}

fn existing(db: &Db, name: &str) -> Result<Bucket> {
    match name {
        "default" => db.default_bucket_sync(),
        name => db.existing_bucket(name),
    }
}

/// Makes the replica have the bucket, as the primary has it. The default ones are what both were opened with.
fn create_in(replica: &Db, primary: &Db, name: &str) -> Result<()> {
    if !matches!(existing(replica, name), Err(Error::BucketMissing { .. })) {
        return Ok(());
    }
    let options = existing(primary, name).map(|bucket| bucket.options().clone());
    let options = options.unwrap_or_default();
    replica.bucket_with_options_sync(name, options).map(drop)
}

/// Applies one commit of the primary, and remembers that. False, and nothing is done, if only a fresh copy can tell what it did.
pub(crate) fn apply(primary: &Db, replica: &Db, commit: CommittedBatch) -> Result<bool> {
    let mut batch = WriteBatch::new();
    stage_position(&mut batch, commit.sequence())?;
    for operation in commit.into_operations() {
        let bucket = operation.bucket().to_owned();
        create_in(replica, primary, &bucket)?;
        let mut stage = Stage::new(&mut batch, &bucket);
        match operation {
            ChangeOperation::Put { key, value, .. } => stage.put(key, value, None)?,
            ChangeOperation::PutUntil {
                key,
                value,
                expires_millis,
                ..
            } => stage.put(key, value, Some(expires_millis))?,
            ChangeOperation::Merge { key, operand, .. } => stage.merge(key, operand)?,
            ChangeOperation::Delete { key, .. } => stage.delete(key)?,
            ChangeOperation::DeleteRange { range, .. } => stage.delete_range(range)?,
            ChangeOperation::BulkLoad { range, .. } => {
                let loaded = match existing(primary, &bucket) {
                    // It was removed since, with all its rows.
                    Err(Error::BucketMissing { .. }) => continue,
                    loaded => loaded?,
                };
                if loaded.options().merge_operator.is_some() {
                    return Ok(false);
                }
                // The rows as they are now: what later commits did to them comes again, and changes nothing.
                let mut rows = loaded.cursor(&range, Direction::Forward)?;
                while rows.advance_sync()? {
                    stage.put_row(&rows)?;
                }
            }
            _ => return Err(Error::unsupported("this kind of change")),
        }
    }
    replica.write_sync(batch, WriteOptions::default())?;
    Ok(true)
}

/// Fills the replica with what the primary holds now.
pub(crate) fn copy(primary: &Db, replica: &Db) -> Result<Sequence> {
    // Without a position it starts afresh after whatever interrupts this.
    replica
        .bucket_sync(POSITION_BUCKET)?
        .delete_sync(POSITION)?;
    let snapshot = primary.snapshot();
    let named = primary.bucket_names();
    let named = named.iter().map(BucketName::as_str);
    for name in named.chain(["default"]) {
        create_in(replica, primary, name)?;
        let from = existing(primary, name)?;
        let mut batch = WriteBatch::new();
        Stage::new(&mut batch, name).delete_range(KeyRange::all())?;
        let mut rows = from.cursor_at(&snapshot, &KeyRange::all(), Direction::Forward)?;
        while rows.advance_sync()? {
            Stage::new(&mut batch, name).put_row(&rows)?;
            if batch.len() == ROWS {
                replica.write_sync(std::mem::take(&mut batch), WriteOptions::default())?;
            }
        }
        replica.write_sync(batch, WriteOptions::default())?;
    }
    let mut batch = WriteBatch::new();
    stage_position(&mut batch, snapshot.read_sequence())?;
    replica.write_sync(batch, WriteOptions::default())?;
    Ok(snapshot.read_sequence())
}

/// Follows the primary until `is_enough` says so of a position, or the primary is closed.
pub(crate) fn follow(
    primary: &Db,
    replica: &Db,
    is_enough: impl Fn(Sequence) -> bool,
) -> Result<()> {
    let mut at = match position(replica)? {
        Some(position) => position,
        None => copy(primary, replica)?,
    };
    let mut changes = primary.changes(at)?;
    while !is_enough(at) {
        match changes.next_sync() {
            Ok(commit) => {
                let sequence = commit.sequence();
                if apply(primary, replica, commit)? {
                    at = sequence;
                    continue;
                }
            }
            Err(Error::ChangesLost { .. }) => {}
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
        at = copy(primary, replica)?;
        changes = primary.changes(at)?;
    }
    Ok(())
}

fn sum(_: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
    let mut sum = 0_u64;
    for number in existing.into_iter().chain(operands.iter().copied()) {
        sum = sum.wrapping_add(u64::from_le_bytes(number.try_into()?));
    }
    Ok(Some(sum.to_le_bytes().to_vec()))
}

/// What buckets are created with that count.
pub(crate) fn counters() -> BucketOptions {
    BucketOptions::default().with_merge_operator("sum")
}

/// What both are opened with: who follows merges needs the same operators.
pub(crate) fn options(path: &Path) -> DbOptions {
    DbOptions::new(path).with_merge_operator("sum", sum)
}

/// What a database that is followed is opened with.
pub(crate) fn primary_options(path: &Path) -> DbOptions {
    DbOptions {
        change_retention_bytes: 64 << 20,
        ..options(path)
    }
}

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let primary = Db::open_sync(primary_options(&home.path().join("primary")))?;
    let replica = Db::open_sync(options(&home.path().join("replica")))?;
    let visits = primary.bucket_with_options_sync("visits", counters())?;
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&primary, &replica, |at| at.get() >= 104));
        for number in 0..100_u32 {
            primary.put_sync(number.to_be_bytes(), "value")?;
        }
        primary.bulk_load_sync((100..200_u32).map(|number| (number.to_be_bytes(), "loaded")))?;
        primary.delete_range_sync(KeyRange::half_open(
            50_u32.to_be_bytes(),
            150_u32.to_be_bytes(),
        ))?;
        visits.merge_sync("today", 1_u64.to_le_bytes())?;
        visits.merge_sync("today", 41_u64.to_le_bytes())?;
        follower.join().unwrap_or(Ok(()))
    })?;
    let rows = |db: &Db| db.range_sync(&KeyRange::all())?.collect::<Result<Vec<_>>>();
    assert_eq!(rows(&primary)?, rows(&replica)?);
    let today = replica.existing_bucket("visits")?.get_sync(b"today")?;
    assert_eq!(today, Some(42_u64.to_le_bytes().to_vec()));
    println!(
        "{} rows, up to commit {:?}",
        rows(&replica)?.len(),
        position(&replica)?
    );
    Ok(())
}
