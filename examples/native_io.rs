//! What reads cost on this machine: from memory, from the disk, one by one and together.
//!
//! ```text
//! cargo run --release --example native_io -- warm DIRECTORY    reads of rows that are in memory
//! cargo run --release --example native_io -- cold DIRECTORY    the page cache is dropped before each case
//! ```
//!
//! The directory is made, filled on the first run and used again by later ones: remove it afterwards.
//! `docs/benchmarks/native-io.md` has results. Prints Markdown; each ratio is of two cases of the same run.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use trine_kv::{
    Bucket, BucketOptions, CompressionProfile, Db, DbOptions, KeyRange,
};

type Error = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Error>;

/// Rows of the bucket `small`, of 100 bytes each.
const SMALL_ROWS: u64 = 200_000;
/// Rows of the bucket `large`, of 16 KiB each.
const LARGE_ROWS: u64 = 4_000;
const READS: u64 = 400_000;
/// A case is run this often, in turn with the others; the median counts.
const ROUNDS: usize = 5;

/// A bijection of `u64` (the finaliser of `SplitMix64`): random order without a list of keys.
fn scatter(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8 + 1)
        .flat_map(|word| scatter(number ^ (word << 40)).to_le_bytes())
        .take(bytes)
        .collect()
}

fn options(directory: &Path) -> DbOptions {
    DbOptions::new(directory)
}

fn bucket_options() -> BucketOptions {
    BucketOptions {
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    }
}

fn fill(bucket: &Bucket, rows: u64, bytes: usize) -> Result<()> {
    if bucket.get_sync(&key(rows - 1))?.is_some() {
        return Ok(());
    }
    for number in 0..rows {
        bucket.put_sync(key(number), value(number, bytes))?;
    }
    Ok(())
}

/// Nanoseconds for each of `reads` runs of `read`.
fn time(reads: u64, mut read: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    for index in 0..reads {
        read(index);
    }
    start.elapsed().as_nanos() as f64 / reads as f64
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn warm(directory: &Path) -> Result<()> {
    let db = Db::open_sync(options(directory))?;
    let small = db.bucket_with_options_sync("small", bucket_options())?;
    let large = db.bucket_with_options_sync("large", bucket_options())?;
    fill(&small, SMALL_ROWS, 100)?;
    fill(&large, LARGE_ROWS, 16 << 10)?;
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    let snapshot = db.snapshot();
    for (name, bucket, rows) in [
        ("100 B", &small, SMALL_ROWS),
        ("16 KiB", &large, LARGE_ROWS),
    ] {
        let reader = bucket.reader(&snapshot)?;
        let random = |index| key(scatter(index) % rows);
        for index in 0..rows {
            black_box(bucket.get_sync(&key(index))?);
        }
        let mut cases: [(&str, Vec<f64>); 4] =
            ["get_sync", "get", "reader.get_ref_sync", "reader.get_ref"]
                .map(|name| (name, Vec::new()));
        for _ in 0..ROUNDS {
            cases[0].1.push(time(READS, |index| {
                black_box(bucket.get_sync(&random(index)).is_ok());
            }));
            cases[2].1.push(time(READS, |index| {
                black_box(reader.get_ref_sync(&random(index)).is_ok());
            }));
        }
        let get = median(cases[0].1.clone());
        for (case, samples) in cases {
            if !samples.is_empty() {
                let nanos = median(samples);
                println!("| {name} | {case} | {nanos:.0} | {:.2} |", get / nanos);
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["warm", directory] => warm(Path::new(directory)),
        _ => Err("warm DIRECTORY, or cold DIRECTORY".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
