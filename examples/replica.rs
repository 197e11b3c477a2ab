//! A second database kept in step by the change feed of the first.
//!
//! The replica stores how far it got in the same batch as what it got, so it can be stopped, or killed, at any moment, as the
//! primary can: it goes on where it was. Where the primary's log does not reach back that far any more, it is filled afresh.
//!
//! `cargo run --example replica`

use std::path::Path;

use trine_kv::{
    BucketName, ChangeOperation, CommittedBatch, Db, DbOptions, Error, KeyRange, Result, Sequence,
    WriteBatch, WriteOptions,
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

fn stage_put(batch: &mut WriteBatch, bucket: &str, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
    if bucket == "default" {
        batch.put(key, value);
        return Ok(());
    }
    batch.put_bucket(bucket, key, value)
}

/// Applies one commit of the primary, and remembers that.
pub(crate) fn apply(primary: &Db, replica: &Db, commit: CommittedBatch) -> Result<()> {
    let mut batch = WriteBatch::new();
    stage_position(&mut batch, commit.sequence())?;
    for operation in commit.into_operations() {
        let bucket = operation.bucket().to_owned();
        let is_default = bucket == "default";
        if !is_default {
            replica.bucket_sync(bucket.as_str())?;
        }
        match operation {
            ChangeOperation::Put { key, value, .. } => {
                stage_put(&mut batch, &bucket, key, value)?;
            }
            ChangeOperation::Delete { key, .. } if is_default => batch.delete(key),
            ChangeOperation::Delete { key, .. } => batch.delete_bucket(bucket, key)?,
            ChangeOperation::DeleteRange { range, .. } if is_default => batch.delete_range(range),
            ChangeOperation::DeleteRange { range, .. } => {
                batch.delete_range_bucket(bucket, range)?;
            }
            // The rows as they are now: what later commits did to them comes again, and changes nothing.
            ChangeOperation::BulkLoad { range, .. } => {
                let rows = if is_default {
                    primary.range_sync(&range)?
                } else {
                    primary.bucket_sync(bucket.as_str())?.range_sync(&range)?
                };
                for row in rows {
                    let row = row?;
                    stage_put(&mut batch, &bucket, row.key, row.value)?;
                }
            }
            _ => return Err(Error::unsupported("this kind of change")),
        }
    }
    replica.write_sync(batch, WriteOptions::default()).map(drop)
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
        let from = if name == "default" {
            primary.default_bucket_sync()?
        } else {
            replica.bucket_sync(name)?;
            primary.bucket_sync(name)?
        };
        let mut batch = WriteBatch::new();
        match name {
            "default" => batch.delete_range(KeyRange::all()),
            name => batch.delete_range_bucket(name, KeyRange::all())?,
        }
        for row in snapshot.range_sync(&from, &KeyRange::all())? {
            let row = row?;
            stage_put(&mut batch, name, row.key, row.value)?;
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
                at = commit.sequence();
                apply(primary, replica, commit)?;
            }
            Err(Error::ChangesLost { .. }) => {
                at = copy(primary, replica)?;
                changes = primary.changes(at)?;
            }
            Err(Error::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What a database that is followed is opened with.
pub(crate) fn primary_options(path: &Path) -> DbOptions {
    DbOptions {
        change_retention_bytes: 64 << 20,
        ..DbOptions::new(path)
    }
}

fn main() -> Result<()> {
    let home = tempfile::tempdir()?;
    let primary = Db::open_sync(primary_options(&home.path().join("primary")))?;
    let replica = Db::open_sync(home.path().join("replica"))?;
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| follow(&primary, &replica, |at| at.get() >= 102));
        for number in 0..100_u32 {
            primary.put_sync(number.to_be_bytes(), "value")?;
        }
        primary.bulk_load_sync((100..200_u32).map(|number| (number.to_be_bytes(), "loaded")))?;
        primary.delete_range_sync(KeyRange::half_open(
            50_u32.to_be_bytes(),
            150_u32.to_be_bytes(),
        ))?;
        follower.join().unwrap_or(Ok(()))
    })?;
    let rows = |db: &Db| db.range_sync(&KeyRange::all())?.collect::<Result<Vec<_>>>();
    assert_eq!(rows(&primary)?, rows(&replica)?);
    println!(
        "{} rows, up to commit {:?}",
        rows(&replica)?.len(),
        position(&replica)?
    );
    Ok(())
}
