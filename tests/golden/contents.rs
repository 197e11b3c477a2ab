//! What the golden databases hold, and how they are written: the same for ever, since what released versions
//! wrote is compared with it. Shared with `examples/golden.rs`.

use std::collections::BTreeMap;

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, KeyRange, PrefixExtractor, Result,
    WriteBatch, WriteOptions,
};

pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The buckets, the default one first.
pub(crate) const PLAIN: [&str; 3] = ["default", "empty", "fast"];
/// Likewise, of the database that needs the feature `zstd`.
#[cfg_attr(
    not(feature = "zstd"),
    expect(dead_code, reason = "cannot be opened without the codec")
)]
pub(crate) const ZSTD: [&str; 2] = ["default", "zstd"];

/// Small blocks, tables and blob files, filters of both kinds.
pub(crate) fn bucket_options(name: &str) -> BucketOptions {
    BucketOptions {
        block_bytes: 256,
        compression: match name {
            "fast" => CompressionProfile::Fast,
            "zstd" => CompressionProfile::Zstd,
            _ => CompressionProfile::None,
        },
        blob_threshold_bytes: 300,
        prefix_extractor: PrefixExtractor::Separator(b'/'),
        ..BucketOptions::default()
    }
}

/// The options to write with, and to open with.
pub(crate) fn options(options: DbOptions) -> DbOptions {
    DbOptions {
        default_bucket_options: bucket_options("default"),
        target_table_bytes: 2048,
        background_worker_count: 0,
        ..options
    }
}

fn key(number: usize) -> Vec<u8> {
    match number % 19 {
        0 => vec![0xff, u8::try_from(number).unwrap_or_default()],
        1 => format!("{number}").into_bytes(),
        _ => format!("user/{:03}/name", number % 60).into_bytes(),
    }
}

/// Some compress well and some do not; some lie in blob files, some are empty.
fn value(number: usize) -> Vec<u8> {
    let length = [3, 0, 40, 120, 7, 350, 900][number % 7];
    let mut state = u32::try_from(number).unwrap_or_default();
    let next = |_| {
        if number.is_multiple_of(2) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        }
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Where the history is flushed, and where it is compacted; what comes after is in the log only.
const FLUSHED: [usize; 5] = [60, 110, 150, 190, 215];
const COMPACTED: usize = 150;
const STEPS: usize = 240;

/// Makes step `number` of the history: in `batch`, and in `rows`.
fn step(number: usize, bucket: &str, batch: &mut WriteBatch, rows: &mut Rows) -> Result<()> {
    let name = key(number * 7);
    let is_default = bucket == "default";
    if number % 23 == 22 {
        let end = key(number * 7 + 2).max(name.clone());
        rows.retain(|key, _| !(name <= *key && *key < end));
        let range = KeyRange::half_open(name, end);
        if is_default {
            batch.delete_range(range);
        } else {
            batch.delete_range_bucket(bucket, range)?;
        }
    } else if number % 5 == 4 {
        rows.remove(&name);
        if is_default {
            batch.delete(name);
        } else {
            batch.delete_bucket(bucket, name)?;
        }
    } else {
        rows.insert(name.clone(), value(number));
        if is_default {
            batch.put(name, value(number));
        } else {
            batch.put_bucket(bucket, name, value(number))?;
        }
    }
    Ok(())
}

/// What each bucket holds at the end.
pub(crate) fn expected(buckets: &[&'static str]) -> Vec<(&'static str, Rows)> {
    let mut all: Vec<_> = buckets.iter().map(|name| (*name, Rows::new())).collect();
    for number in 0..STEPS {
        for (name, rows) in all.iter_mut().filter(|(name, _)| *name != "empty") {
            let made = step(number, name, &mut WriteBatch::new(), rows);
            made.expect("a name");
        }
    }
    all
}

/// Writes a golden database.
#[cfg_attr(test, expect(dead_code, reason = "the example writes"))]
pub(crate) fn write(place: DbOptions, buckets: &[&str]) -> Result<()> {
    let db = Db::open_sync(options(place))?;
    for name in buckets.iter().filter(|name| **name != "default") {
        db.bucket_with_options_sync(*name, bucket_options(name))?;
    }
    drop(db.bucket_sync("dropped")?);
    db.drop_bucket_sync("dropped")?;
    for number in 0..STEPS {
        let mut batch = WriteBatch::new();
        for name in buckets.iter().filter(|name| **name != "empty") {
            step(number, name, &mut batch, &mut Rows::new())?;
        }
        db.write_sync(batch, WriteOptions::default())?;
        if FLUSHED.contains(&number) {
            db.flush_sync()?;
        }
        if number == COMPACTED {
            db.compact_range_sync(KeyRange::all())?;
        }
    }
    db.persist_sync(trine_kv::DurabilityMode::SyncAll)
}

/// The files of a directory in one: of each the name, a newline, its length in decimal, a newline, its bytes.
#[cfg_attr(test, expect(dead_code, reason = "the example packs"))]
pub(crate) fn pack(files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut packed = Vec::new();
    for (name, bytes) in files {
        packed.extend_from_slice(format!("{name}\n{}\n", bytes.len()).as_bytes());
        packed.extend_from_slice(bytes);
    }
    packed
}
