//! How long opening takes, and what memory an open database holds before anything is read.
//!
//! ```sh
//! cargo run --release --example opening -- DIRECTORY
//! ```
//!
//! Builds three databases in the directory, which must not exist: one bucket of a million rows, a thousand
//! buckets of a thousand, and one with 64 MiB of log that is in no table. Each is then opened by fresh processes.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use trine_kv::{Db, DbOptions, DurabilityMode, Error, KeyRange, Result, WriteBatch, WriteOptions};

const ROUNDS: usize = 9;

fn options(path: &Path) -> DbOptions {
    DbOptions {
        durability: DurabilityMode::Buffered,
        ..DbOptions::new(path)
    }
}

/// Sixteen bytes, scattered.
fn key(row: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&row.to_be_bytes());
    key
}

fn value(row: u64) -> [u8; 100] {
    let mut state = row | 1;
    std::array::from_fn(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
}

fn one_bucket(path: &Path) -> Result<()> {
    let db = Db::open_sync(options(path))?;
    for rows in 0..1_000 {
        let mut batch = WriteBatch::new();
        for row in rows * 1_000..(rows + 1) * 1_000 {
            batch.put(key(row), value(row));
        }
        db.write_sync(batch, WriteOptions::default())?;
    }
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    db.close_sync();
    Ok(())
}

fn many_buckets(path: &Path) -> Result<()> {
    let db = Db::open_sync(options(path))?;
    for number in 0..1_000 {
        let bucket = db.bucket_sync(format!("bucket {number}"))?;
        for row in 0..1_000 {
            bucket.put_sync(key(row), value(row))?;
        }
    }
    db.flush_sync()?;
    db.close_sync();
    Ok(())
}

fn log(path: &Path) -> Result<()> {
    let db = Db::open_sync(DbOptions {
        write_buffer_bytes: 1 << 30,
        ..options(path)
    })?;
    let mut row = 0;
    while db.stats().wal_bytes_accepted < 64 << 20 {
        for _ in 0..1_000 {
            db.put_sync(key(row), value(row))?;
            row += 1;
        }
    }
    db.close_sync();
    Ok(())
}

/// Opens once; says how long that took, and how much memory the process held before and after.
fn open(path: &Path) -> Result<()> {
    let before = resident_kib();
    let start = Instant::now();
    let db = Db::open_sync(DbOptions {
        write_buffer_bytes: 1 << 30,
        ..options(path)
    })?;
    let opened = start.elapsed();
    let after = resident_kib();
    let start = Instant::now();
    db.get_sync(&key(1))?;
    let read = start.elapsed();
    println!(
        "{} {} {}",
        opened.as_micros(),
        read.as_micros(),
        after.saturating_sub(before)
    );
    db.close_sync();
    Ok(())
}

/// Zero where the system does not say.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn measure(what: &str, path: &Path) -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..ROUNDS {
        let output = Command::new(std::env::current_exe()?)
            .args(["open".as_ref(), path.as_os_str()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        let [opened, read, kib] = numbers[..] else {
            return Err(Error::Io(std::io::Error::other("a run failed")));
        };
        runs.push((opened, read, kib));
    }
    runs.sort_unstable();
    let [first, .., last] = runs[..] else {
        return Ok(());
    };
    let median = runs[runs.len() / 2];
    let shown = |micros| Duration::from_micros(micros);
    println!(
        "{what}: opened in {:?} (median of {ROUNDS}; {:?} to {:?}), first read {:?}, {} KiB",
        shown(median.0),
        shown(first.0),
        shown(last.0),
        shown(median.1),
        median.2
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["open", path] => open(Path::new(path)),
        [directory] => {
            let directory = Path::new(directory);
            std::fs::create_dir(directory)?;
            for (name, build) in [
                (
                    "one bucket of 1,000,000 rows",
                    one_bucket as fn(&Path) -> Result<()>,
                ),
                ("1,000 buckets of 1,000 rows", many_buckets),
                ("64 MiB of log", log),
            ] {
                let path = directory.join(name.replace([' ', ','], "_"));
                build(&path)?;
                measure(name, &path)?;
            }
            Ok(())
        }
        _ => {
            eprintln!("usage: opening DIRECTORY");
            Ok(())
        }
    }
}
