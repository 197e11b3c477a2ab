//! What a backup copies after a small change, and what it costs writers: `docs/benchmarks/backup.md` has its figures.
//!
//! ```text
//! cargo build --release --example backup_bench
//! target/release/examples/backup_bench <share|load> [directory] [keys]
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use trine_kv::{
    BackupOptions, Backups, BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode,
    KeyRange, Result, WriteBatch, WriteOptions,
};

mod rows;

use rows::{Random, key};

const KEYS: u64 = 1_000_000;
const BATCH: u64 = 100;
/// How long writes are counted without, and with, a backup.
const WINDOW: Duration = Duration::from_secs(4);
const WINDOWS: usize = 8;

fn open(directory: &Path) -> Result<Db> {
    let plain = BucketOptions {
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    };
    Db::open_sync(
        DbOptions::new(directory)
            .with_durability(DurabilityMode::Buffered)
            .with_default_bucket_options(plain),
    )
}

/// Puts the keys of these numbers, in batches.
fn put(db: &Db, numbers: impl Iterator<Item = u64>, random: &mut Random) -> Result<()> {
    let mut batch = WriteBatch::new();
    let mut count = 0;
    for number in numbers {
        batch.put(key(number), random.value());
        count += 1;
        if count == BATCH {
            db.write_sync(std::mem::take(&mut batch), WriteOptions::default())?;
            count = 0;
        }
    }
    db.write_sync(batch, WriteOptions::default()).map(drop)
}

/// Returns once nothing was compacted for a while.
fn rest(db: &Db) {
    let mut before = None;
    loop {
        let stats = db.stats();
        let now = Some((stats.compaction_runs, stats.l0_tables));
        if stats.immutable_memtables == 0 && now == before {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_secs(2));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio is told to a few digits"
)]
fn back_up(what: &str, db: &Db, backups: &Backups) -> Result<()> {
    let report = db.backup_sync(backups, BackupOptions::default())?;
    println!(
        "{what}: {} of {} files, {} of {} bytes, {:.2} %",
        report.copied_files,
        report.backup.files,
        report.copied_bytes,
        report.backup.bytes,
        100.0 * report.copied_bytes as f64 / report.backup.bytes as f64
    );
    Ok(())
}

fn share(directory: &Path, keys: u64) -> Result<()> {
    let db = open(&directory.join("data"))?;
    let backups = Backups::in_directory(directory.join("backups"));
    let mut random = Random(1);
    put(&db, 0..keys, &mut random)?;
    db.compact_range_sync(KeyRange::all())?;
    rest(&db);
    back_up("first", &db, &backups)?;
    back_up("nothing changed", &db, &backups)?;
    let changed = keys / 100;
    for round in 1..=3 {
        let start = random.next() % (keys - changed);
        put(&db, start..start + changed, &mut random)?;
        back_up(&format!("1 % in a range, {round}"), &db, &backups)?;
        rest(&db);
        back_up("  and what merges made of it", &db, &backups)?;
    }
    for round in 1..=8 {
        let mut numbers = Random(100 + round);
        put(
            &db,
            (0..changed).map(|_| numbers.next() % keys),
            &mut random,
        )?;
        back_up(&format!("1 % anywhere, {round}"), &db, &backups)?;
        rest(&db);
        back_up("  and what merges made of it", &db, &backups)?;
    }
    Ok(())
}

/// Batches of one thread, as fast as they go, with and without backups beside them, by turns.
#[expect(clippy::cast_precision_loss, reason = "a rate is told to a few digits")]
fn load(directory: &Path, keys: u64, bytes_per_second: Option<u64>) -> Result<()> {
    let db = open(&directory.join("data"))?;
    let mut random = Random(1);
    put(&db, 0..keys, &mut random)?;
    let (done, rows) = (AtomicBool::new(false), AtomicU64::new(0));
    let options = BackupOptions {
        bytes_per_second,
        ..BackupOptions::default()
    };
    let rates = std::thread::scope(|scope| -> Result<[Vec<f64>; 2]> {
        let writer = scope.spawn(|| -> Result<()> {
            let mut random = Random(2);
            while !done.load(Relaxed) {
                let mut batch = WriteBatch::new();
                for _ in 0..BATCH {
                    batch.put(key(random.next() % keys), random.value());
                }
                db.write_sync(batch, WriteOptions::default())?;
                rows.fetch_add(BATCH, Relaxed);
            }
            Ok(())
        });
        std::thread::sleep(WINDOW);
        let mut rates = [Vec::new(), Vec::new()];
        let mut copied = 0;
        for window in 0..WINDOWS {
            let (start, before) = (Instant::now(), rows.load(Relaxed));
            let beside = window % 2;
            if beside == 1 {
                let target = directory.join(format!("backups-{window}"));
                let backups = Backups::in_directory(&target);
                while start.elapsed() < WINDOW {
                    copied += db.backup_sync(&backups, options)?.copied_bytes;
                }
                let took = start.elapsed();
                rates[beside].push((rows.load(Relaxed) - before) as f64 / took.as_secs_f64());
                drop(std::fs::remove_dir_all(&target));
                // What removing leaves the disk to do is not counted for either.
                std::thread::sleep(WINDOW / 4);
            } else {
                std::thread::sleep(WINDOW);
                let took = start.elapsed();
                rates[beside].push((rows.load(Relaxed) - before) as f64 / took.as_secs_f64());
            }
        }
        done.store(true, Relaxed);
        writer.join().expect("the writer")?;
        println!("{copied} bytes were copied");
        Ok(rates)
    })?;
    let mut means = [0.0; 2];
    for (beside, what) in ["without a backup", "beside a backup"]
        .into_iter()
        .enumerate()
    {
        let each: Vec<_> = rates[beside]
            .iter()
            .map(|rate| format!("{rate:.0}"))
            .collect();
        means[beside] = rates[beside].iter().sum::<f64>() / rates[beside].len() as f64;
        println!(
            "{what}: {:.0} rows each second ({})",
            means[beside],
            each.join(", ")
        );
    }
    println!("ratio {:.3}", means[1] / means[0]);
    println!("{}", db.stats());
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let parent = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let keys = arguments.next().and_then(|keys| keys.parse().ok());
    let limit = arguments.next().and_then(|bytes| bytes.parse().ok());
    let directory = parent.join(format!("trine-backup-{}", std::process::id()));
    let keys = keys.unwrap_or(KEYS);
    let done = match what.as_str() {
        "share" => share(&directory, keys),
        "load" => load(&directory, keys, limit),
        _ => {
            println!("share or load?");
            return Ok(());
        }
    };
    drop(std::fs::remove_dir_all(&directory));
    done
}
