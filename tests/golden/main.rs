//! Databases that released versions wrote open, and hold what was put into them, on every target.
//!
//! `tests/golden/*.pack` are directories in one file each: tables with each codec and several levels, range
//! tombstones, blob files, a log that was not flushed, several buckets. Written on a little-endian host by
//! `ci/golden.sh`; a released version's are never written again.
#![expect(
    clippy::disallowed_methods,
    reason = "the test puts files where the engine finds them"
)]

use std::fs;
use std::path::Path;

use trine_kv::{Bucket, BucketName, Db, DbOptions, Direction, KeyRange, Result};

mod contents;
#[path = "../common/place.rs"]
mod place;
use contents::Rows;

/// Takes the next line off.
fn line<'p>(packed: &mut &'p [u8]) -> &'p str {
    let end = packed
        .iter()
        .position(|byte| *byte == b'\n')
        .expect("a line");
    let (line, rest) = packed.split_at(end);
    *packed = &rest[1..];
    std::str::from_utf8(line).expect("text")
}

fn unpack(mut packed: &[u8], to: &Path) {
    while !packed.is_empty() {
        let name = line(&mut packed);
        let length: usize = line(&mut packed).parse().expect("a length");
        let (bytes, rest) = packed.split_at(length);
        fs::write(to.join(name), bytes).expect("a file");
        packed = rest;
    }
}

fn bucket(db: &Db, name: &str) -> Result<Bucket> {
    match name {
        "default" => db.default_bucket_sync(),
        name => db.bucket_with_options_sync(name, contents::bucket_options(name)),
    }
}

fn check(db: &Db, expected: &[(&str, Rows)]) -> Result<()> {
    // In order; the default bucket is not among them.
    let names = expected.iter().skip(1).map(|(name, _)| *name);
    assert!(db.bucket_names().iter().map(BucketName::as_str).eq(names));
    for (name, rows) in expected {
        let bucket = bucket(db, name)?;
        for direction in [Direction::Forward, Direction::Reverse] {
            let found = match direction {
                Direction::Forward => bucket.range_sync(&KeyRange::all())?,
                Direction::Reverse => bucket.range_reverse_sync(&KeyRange::all())?,
            };
            let mut found: Vec<_> = found.collect::<Result<_>>()?;
            if direction == Direction::Reverse {
                found.reverse();
            }
            assert_eq!(found.len(), rows.len(), "{name}");
            for (row, (key, value)) in found.iter().zip(rows) {
                assert_eq!((&row.key, &row.value), (key, value), "{name}");
            }
        }
        for (key, value) in rows {
            assert_eq!(
                bucket.get_sync(key)?.as_ref(),
                Some(value),
                "{name} {key:?}"
            );
            let mut absent = key.clone();
            absent.push(0);
            assert_eq!(bucket.get_sync(&absent)?, None, "{name} {absent:?}");
        }
        let users = rows.keys().filter(|key| key.starts_with(b"user/")).count();
        assert_eq!(bucket.prefix_sync("user/")?.count(), users, "{name}");
    }
    db.verify_sync(|_| {}).map(drop)
}

fn holds(packed: &[u8], expected: &[(&str, Rows)]) -> Result<()> {
    let place = place::directory();
    unpack(packed, place.path());
    let options = || contents::options(place::options(place.path()));
    let read_only = DbOptions {
        read_only: true,
        ..options()
    };
    check(&Db::open_sync(read_only)?, expected)?;
    let mut expected = expected.to_vec();
    let db = Db::open_sync(options())?;
    check(&db, &expected)?;
    for (name, rows) in &mut expected {
        rows.insert(b"user/new".to_vec(), b"row".to_vec());
        bucket(&db, name)?.put_sync("user/new", "row")?;
    }
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    check(&db, &expected)?;
    drop(db);
    check(&Db::open_sync(options())?, &expected)
}

#[test]
fn what_0_2_0_wrote_opens_and_is_all_there() -> Result<()> {
    let packed = include_bytes!("0.2.0.pack");
    holds(packed, &contents::expected(&contents::PLAIN))
}

#[cfg(feature = "zstd")]
#[test]
fn what_0_2_0_compressed_with_zstd_opens_and_is_all_there() -> Result<()> {
    let packed = include_bytes!("0.2.0-zstd.pack");
    holds(packed, &contents::expected(&contents::ZSTD))
}
