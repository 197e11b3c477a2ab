//! What reads of rows in memory cost: copied and lent, blocking and asynchronous, on one thread and on two.
//!
//! ```sh
//! cargo run --release --example warm_reads -- DIRECTORY [COUNT]
//! ```
//!
//! Values of 100 bytes and of 16 KiB in compacted tables, uncompressed, read in no order. Three rounds take all of it in turn,
//! through maps of the files and by copies of their blocks (`FileReads`), which the cache has room for.
//! With `COUNT`, `get_ref` of 100 bytes alone is called so many times on one thread: for counting system calls.

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use trine_kv::{
    BucketOptions, BucketReader, CompressionProfile, Db, DbOptions, DurabilityMode, FileReads,
    KeyRange, Result, WriteBatch, WriteOptions, block_on,
};

/// Bytes of a value, rows, reads of a pass by each thread.
const SIZES: [(usize, u64, u64); 2] = [(100, 100_000, 1_000_000), (16 << 10, 4_000, 200_000)];
const WAYS: [&str; 4] = ["get_sync", "get", "get_ref_sync", "get_ref"];

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let place = PathBuf::from(arguments.next().ok_or("a directory, please")?).join("warm_reads");
    let count: Option<u64> = arguments.next().map(|count| count.parse()).transpose()?;
    drop(fs::remove_dir_all(&place));
    let mut loaded = Vec::new();
    for (bytes, rows, reads) in SIZES {
        if count.is_none() || loaded.is_empty() {
            let db = load(&place.join(bytes.to_string()), bytes, rows)?;
            loaded.push((db, bytes, rows, reads));
        }
    }
    for (db, bytes, rows, reads) in &loaded {
        if let Some(count) = count {
            println!("{:.0} ns each", pass(db, "get_ref", 1, *rows, count)?);
            continue;
        }
        for round in 0..3 {
            for threads in [1, 2] {
                let line = line(db, threads, *rows, *reads)?;
                println!("round {round}, {bytes:5} bytes, {threads} threads, mapped:{line}");
            }
        }
    }
    drop(loaded);
    if count.is_none() {
        for (bytes, rows, reads) in SIZES {
            let db = open(&place.join(bytes.to_string()), FileReads::Copied)?;
            for round in 0..3 {
                let line = line(&db, 1, rows, reads)?;
                println!("round {round}, {bytes:5} bytes, 1 threads, copied:{line}");
            }
        }
    }
    fs::remove_dir_all(&place)?;
    Ok(())
}

fn key(row: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&row.to_be_bytes());
    key
}

/// What each way takes.
fn line(
    db: &Db,
    threads: u64,
    rows: u64,
    reads: u64,
) -> std::result::Result<String, Box<dyn std::error::Error>> {
    let mut line = String::new();
    for way in WAYS {
        let nanos = pass(db, way, threads, rows, reads)?;
        write!(line, "  {way} {nanos:6.0} ns")?;
    }
    Ok(line)
}

fn open(place: &Path, file_reads: FileReads) -> Result<Db> {
    Db::open_sync(DbOptions {
        durability: DurabilityMode::Buffered,
        block_cache_bytes: 128 << 20,
        file_reads,
        default_bucket_options: BucketOptions {
            compression: CompressionProfile::None,
            blob_threshold_bytes: usize::MAX,
            ..BucketOptions::default()
        },
        ..DbOptions::new(place)
    })
}

fn load(
    place: &Path,
    bytes: usize,
    rows: u64,
) -> std::result::Result<Db, Box<dyn std::error::Error>> {
    fs::create_dir_all(place)?;
    let db = open(place, FileReads::Mapped)?;
    for start in (0..rows).step_by(1000) {
        let mut batch = WriteBatch::new();
        for row in start..start + 1000 {
            batch.put(key(row), vec![row.to_le_bytes()[0]; bytes]);
        }
        db.write_sync(batch, WriteOptions::buffered())?;
    }
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    Ok(db)
}

/// Nanoseconds from one read to the next, over all threads.
fn pass(db: &Db, way: &str, threads: u64, rows: u64, reads: u64) -> Result<f64> {
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync()?;
    let reader = bucket.reader(&snapshot)?;
    for row in 0..rows {
        assert!(reader.get_ref_sync(&key(row))?.is_some());
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let reader = &reader;
                scope.spawn(move || {
                    let keys = (0..reads).map(|index| {
                        let mixed = (index + thread * reads).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                        key((mixed ^ mixed >> 31) % rows)
                    });
                    block_on(read(db, reader, way, keys))
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err(trine_kv::Error::Closed)))
    })?;
    Ok(start.elapsed().as_nanos() as f64 / (threads * reads) as f64)
}

/// One loop for each way, so that none decides in it which it is.
async fn read(
    db: &Db,
    reader: &BucketReader<'_>,
    way: &str,
    keys: impl Iterator<Item = [u8; 16]>,
) -> Result<()> {
    match way {
        "get_sync" => {
            for key in keys {
                black_box(db.get_sync(&key)?);
            }
        }
        "get" => {
            for key in keys {
                black_box(db.get(&key).await?);
            }
        }
        "get_ref_sync" => {
            for key in keys {
                black_box(reader.get_ref_sync(&key)?.as_deref());
            }
        }
        _ => {
            for key in keys {
                black_box(reader.get_ref(&key).await?.as_deref());
            }
        }
    }
    Ok(())
}
