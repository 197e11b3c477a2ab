//! What a commit costs, beside what the operating system takes for the same bytes.
//!
//! ```sh
//! cargo run --release --example log_bench -- DIRECTORY [WHAT [COUNT]]
//! ```
//!
//! `WHAT` is one of the names below, or is left out for all of them, in turns within one process:
//!
//! - `write`: one `write` call for each record, without a sync: the floor of a log that hands commits over by calls
//! - `put`: unsynced puts one by one, random keys
//! - `dsync`: a bare loop of durable writes, each behind the last, into a file whose blocks exist
//! - `append`: the same into a file that grows
//! - `flush1`, `data1`: `Flush` and `SyncData` puts, one thread
//! - `sync1`, `sync8`: `SyncAll` puts of 1 and 8 threads
//! - `tasks1`, `tasks64`: `SyncAll` puts of 1 and 64 tasks, polled by two threads
//! - `batch100`: `SyncAll` batches of 100 puts, one thread

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use trine_kv::{Db, DbOptions, DurabilityMode, WriteBatch, WriteOptions};
use trine_platform::target::{write_all_at, write_all_durably_at};

const VALUE_BYTES: usize = 100;
/// What a put of a key of 16 and a value of 100 bytes takes in the log.
const RECORD_BYTES: usize = 144;
const NAMES: [&str; 11] = [
    "write", "put", "flush1", "dsync", "append", "data1", "sync1", "sync8", "tasks1", "tasks64",
    "batch100",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("a directory, please")?);
    let what = arguments.next();
    let count = match arguments.next() {
        Some(count) => Some(count.parse()?),
        None => None,
    };
    let rounds = if what.is_some() { 1 } else { 3 };
    for _ in 0..rounds {
        for name in NAMES {
            if what.as_deref().is_none_or(|what| what == name) {
                let count = count.unwrap_or(usual_count(name));
                let place = directory.join("log_bench");
                drop(fs::remove_dir_all(&place));
                fs::create_dir_all(&place)?;
                let nanos = run(name, &place, count)?;
                println!(
                    "{name:9} {count:8} commits, {:>12.0} a second, {:>9.2} us each",
                    1e9 / nanos,
                    nanos / 1e3
                );
                fs::remove_dir_all(&place)?;
            }
        }
    }
    Ok(())
}

fn usual_count(name: &str) -> u64 {
    match name {
        "write" | "put" => 1_000_000,
        "tasks64" => 200_000,
        "sync8" => 20_000,
        _ => 4_000,
    }
}

/// Nanoseconds for each of `count` commits.
fn run(name: &str, place: &Path, count: u64) -> Result<f64, Box<dyn std::error::Error>> {
    match name {
        "write" => bare(place, count, 0, write_all_at),
        "append" => bare(place, count, 0, write_all_durably_at),
        "dsync" => bare(
            place,
            count,
            count * RECORD_BYTES as u64,
            write_all_durably_at,
        ),
        "put" => threads(place, count, 1, WriteOptions::buffered(), 1),
        "flush1" => threads(place, count, 1, WriteOptions::flush(), 1),
        "data1" => threads(place, count, 1, WriteOptions::sync_data(), 1),
        "sync1" => threads(place, count, 1, WriteOptions::sync_all(), 1),
        "sync8" => threads(place, count, 8, WriteOptions::sync_all(), 1),
        "batch100" => threads(place, count, 1, WriteOptions::sync_all(), 100),
        "tasks1" => tasks(place, count, 1),
        "tasks64" => tasks(place, count, 64),
        _ => Err("no such workload".into()),
    }
}

fn bare(
    place: &Path,
    count: u64,
    prepared: u64,
    write: fn(&File, &[u8], u64) -> std::io::Result<()>,
) -> Result<f64, Box<dyn std::error::Error>> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(place.join("bare"))?;
    write_all_at(&file, &vec![0; usize::try_from(prepared)?], 0)?;
    file.sync_all()?;
    let record = [7; RECORD_BYTES];
    let start = Instant::now();
    for index in 0..count {
        write(&file, &record, index * RECORD_BYTES as u64)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

fn open(place: &Path) -> Result<Db, Box<dyn std::error::Error>> {
    Ok(Db::open_sync(DbOptions {
        durability: DurabilityMode::Buffered,
        ..DbOptions::new(place.join("db"))
    })?)
}

/// Keys in no order, without a generator's state to share.
fn key(index: u64) -> [u8; 16] {
    let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(mixed ^ mixed >> 29).to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Fills the log's first segments, which grow, so that what is measured is the steady state.
fn warm_up(db: &Db) -> Result<(), Box<dyn std::error::Error>> {
    for index in 0..3_000 {
        db.put_with_options_sync(key(!index), vec![1; 1_000], WriteOptions::buffered())?;
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    db.put_with_options_sync(key(0), vec![1; 1_000_000], WriteOptions::sync_all())?;
    Ok(())
}

fn threads(
    place: &Path,
    count: u64,
    threads: u64,
    options: WriteOptions,
    batch: u64,
) -> Result<f64, Box<dyn std::error::Error>> {
    let db = open(place)?;
    warm_up(&db)?;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> trine_kv::Result<()> {
                    loop {
                        let index = next.fetch_add(1, Relaxed);
                        if index >= count {
                            return Ok(());
                        }
                        if batch == 1 {
                            db.put_with_options_sync(key(index), vec![7; VALUE_BYTES], options)?;
                            continue;
                        }
                        let mut writes = WriteBatch::new();
                        for row in 0..batch {
                            writes.put(key(index * batch + row), vec![7; VALUE_BYTES]);
                        }
                        db.write_sync(writes, options)?;
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err(trine_kv::Error::Closed)))
    })?;
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

fn tasks(place: &Path, count: u64, tasks: u64) -> Result<f64, Box<dyn std::error::Error>> {
    let db = open(place)?;
    warm_up(&db)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    runtime.block_on(async {
        let running: Vec<_> = (0..tasks)
            .map(|_| {
                let (db, next) = (db.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let index = next.fetch_add(1, Relaxed);
                        if index >= count {
                            return trine_kv::Result::Ok(());
                        }
                        db.put_with_options(
                            key(index),
                            vec![7; VALUE_BYTES],
                            WriteOptions::sync_all(),
                        )
                        .await?;
                    }
                })
            })
            .collect();
        for task in running {
            task.await??;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}
