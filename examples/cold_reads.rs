//! What reads cost that find nothing in memory: one by one, many tasks at once, many keys at once.
//!
//! ```sh
//! cargo run --release --example cold_reads -- DIRECTORY [ROUNDS [BLOCK_BYTES]]
//! ```
//!
//! Before each pass all files leave the page cache and the database is opened anew; no pass reads a block twice. Each
//! round takes all passes in turn:
//!
//! - `pread`: a bare loop of reads of a block's size out of the same files, one thread: the floor
//! - `single`: one key after the other, by the calling thread or by one task
//! - `tasks`: 32 tasks on two threads of an executor, beside one that wakes every millisecond: how late that is.
//!   `inline` calls the blocking read inside the tasks
//! - `multi`: 64 keys a call
//!
//! `threads` and `ring` are [`RuntimeOptions::native_threads`] and [`RuntimeOptions::platform_io`].

#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, KeyRange, RuntimeOptions,
    WriteBatch, WriteOptions, block_on,
};
use trine_platform::random::Random;
use trine_platform::target::read_exact_at;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const VALUE_BYTES: usize = 1000;
const ROWS: u64 = 600_000;
/// Rows from one key that is read to the next: more than a block has.
const APART: u64 = 20;
const TICK: Duration = Duration::from_millis(1);
const TASKS: u64 = 32;
const KEYS: usize = 64;

/// Reads that a pass makes before it measures: indexes and filters are in memory then.
const WARM_UP: usize = 2_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let place = PathBuf::from(arguments.next().ok_or("a directory, please")?).join("cold_reads");
    let rounds: u64 = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;
    let block_bytes = match arguments.next() {
        Some(bytes) => bytes.parse()?,
        None => BucketOptions::DEFAULT_BLOCK_BYTES,
    };
    drop(fs::remove_dir_all(&place));
    load(&place, block_bytes)?;
    for round in 0..rounds {
        println!("round {round}");
        bare(&place, round, block_bytes)?;
        timer_alone();
        let (threads, ring) = (
            RuntimeOptions::native_threads(),
            RuntimeOptions::platform_io(),
        );
        let single = one_by_one("single, blocking", &place, threads, round, |db, key| {
            db.get_sync(key)
        })?;
        for (name, runtime) in [("threads", threads), ("ring", ring)] {
            one_by_one(
                &format!("single, a task, {name}"),
                &place,
                runtime,
                round,
                |db, key| block_on(db.get(key)),
            )?;
        }
        let inline = tasks("inline", &place, threads, round)?;
        for (name, runtime) in [("threads", threads), ("ring", ring)] {
            let rate = tasks(name, &place, runtime, round)?;
            println!("{:38} {:.2} of inline", "", rate / inline);
        }
        for (name, runtime) in [("threads", threads), ("ring", ring)] {
            let what = format!("multi, blocking, {name}");
            at_once(&what, &place, runtime, round, single, |db, keys| {
                db.multi_get_sync(keys)
            })?;
            let what = format!("multi, a task, {name}");
            at_once(&what, &place, runtime, round, single, |db, keys| {
                block_on(db.multi_get(keys))
            })?;
        }
    }
    fs::remove_dir_all(&place)?;
    Ok(())
}

fn options(place: &Path, runtime: RuntimeOptions) -> DbOptions {
    DbOptions {
        durability: DurabilityMode::Buffered,
        default_bucket_options: BucketOptions {
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        },
        runtime,
        ..DbOptions::new(place)
    }
}

fn key(row: u64) -> [u8; 8] {
    row.to_be_bytes()
}

fn load(place: &Path, block_bytes: usize) -> Outcome<()> {
    let mut options = options(place, RuntimeOptions::default());
    options.default_bucket_options.block_bytes = block_bytes;
    let db = Db::open_sync(options)?;
    let mut random = Random::new(1);
    for start in (0..ROWS).step_by(1000) {
        let mut batch = WriteBatch::new();
        for row in start..start + 1000 {
            let mut value = vec![0; VALUE_BYTES];
            random.fill(&mut value);
            batch.put(key(row), value);
        }
        db.write_sync(batch, WriteOptions::buffered())?;
    }
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    Ok(())
}

/// All keys that a pass may read, one of each block at most, in an order of this round's own.
fn keys(round: u64) -> Vec<[u8; 8]> {
    let mut rows: Vec<u64> = (0..ROWS)
        .step_by(usize::try_from(APART).unwrap_or(8))
        .collect();
    let mut random = Random::new(round);
    for left in (1..rows.len()).rev() {
        rows.swap(
            left,
            usize::try_from(random.below(left as u64 + 1)).unwrap_or(0),
        );
    }
    rows.into_iter().map(key).collect()
}

fn files(place: &Path) -> Outcome<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "trinet")
        {
            files.push(File::open(path)?);
        }
    }
    Ok(files)
}

/// A database of which nothing is in memory but what its own warming up brings.
fn cold(place: &Path, runtime: RuntimeOptions, warm_up: &[[u8; 8]]) -> Outcome<Db> {
    for file in files(place)? {
        file.sync_all()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    let db = Db::open_sync(options(place, runtime))?;
    for keys in warm_up.chunks(KEYS) {
        db.multi_get_sync(keys)?;
    }
    Ok(db)
}

/// When a pass began.
#[derive(Clone, Copy)]
struct Started {
    time: Instant,
    disk_bytes: u64,
}

impl Started {
    fn now() -> Self {
        Self {
            time: Instant::now(),
            disk_bytes: disk_bytes(),
        }
    }
}

/// What this process has made the disk read so far, where the host says; read-ahead counts.
fn disk_bytes() -> u64 {
    let counters = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = counters
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// One line, and how many reads a second that was.
fn report(what: &str, reads: usize, started: Started, latencies: Vec<Duration>) -> f64 {
    let rate = reads as f64 / started.time.elapsed().as_secs_f64();
    let from_disk = disk_bytes() - started.disk_bytes;
    let [p50, p99] = percentiles(latencies);
    println!(
        "{what:28} {rate:>9.0} reads/s, each {:>8.1} us, p50 {:>8.1}, p99 {:>8.1}, {:.1} KiB from disk",
        1e6 / rate,
        p50 * 1e6,
        p99 * 1e6,
        from_disk as f64 / 1024.0 / reads as f64
    );
    rate
}

/// The median and the 99th percentile, in seconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| {
        let time = times.get(times.len() * percent / 100);
        time.map_or(0.0, Duration::as_secs_f64)
    })
}

fn bare(place: &Path, round: u64, block_bytes: usize) -> Outcome<()> {
    let files = files(place)?;
    drop(cold(place, RuntimeOptions::default(), &[])?);
    let mut random = Random::new(!round);
    let mut latencies = Vec::new();
    let mut bytes = vec![0; block_bytes];
    let started = Started::now();
    for _ in 0..4_000 {
        let file = &files[usize::try_from(random.below(files.len() as u64))?];
        let blocks = file.metadata()?.len() / block_bytes as u64;
        let offset = random.below(blocks) * block_bytes as u64;
        let start = Instant::now();
        read_exact_at(file, &mut bytes, offset)?;
        latencies.push(start.elapsed());
    }
    report("pread", 4_000, started, latencies);
    Ok(())
}

fn one_by_one(
    what: &str,
    place: &Path,
    runtime: RuntimeOptions,
    round: u64,
    get: impl Fn(&Db, &[u8]) -> trine_kv::Result<Option<Vec<u8>>>,
) -> Outcome<f64> {
    let keys = keys(round);
    let (warm_up, keys) = keys.split_at(WARM_UP);
    let db = cold(place, runtime, warm_up)?;
    let mut latencies = Vec::new();
    let started = Started::now();
    for key in &keys[..4_000] {
        let start = Instant::now();
        assert!(get(&db, key)?.is_some());
        latencies.push(start.elapsed());
    }
    Ok(report(what, 4_000, started, latencies))
}

fn at_once(
    what: &str,
    place: &Path,
    runtime: RuntimeOptions,
    round: u64,
    single: f64,
    get: impl Fn(&Db, &[[u8; 8]]) -> trine_kv::Result<Vec<Option<Vec<u8>>>>,
) -> Outcome<()> {
    let keys = keys(round);
    let (warm_up, keys) = keys.split_at(WARM_UP);
    let db = cold(place, runtime, warm_up)?;
    let mut latencies = Vec::new();
    let started = Started::now();
    for keys in keys[..16_000].chunks(KEYS) {
        let start = Instant::now();
        assert!(get(&db, keys)?.iter().all(Option::is_some));
        latencies.push(start.elapsed());
    }
    let rate = report(what, 16_000, started, latencies);
    println!("{:38} {:.2} of single", "", rate / single);
    Ok(())
}

/// Reads a second of tasks that share an executor of two threads with a timer.
fn tasks(name: &str, place: &Path, runtime: RuntimeOptions, round: u64) -> Outcome<f64> {
    const READS: u64 = 24_000;
    let keys = keys(round);
    let (warm_up, keys) = keys.split_at(WARM_UP);
    let db = cold(place, runtime, warm_up)?;
    let is_inline = name == "inline";
    let keys: Arc<[_]> = keys.into();
    let next = Arc::new(AtomicU64::new(0));
    let executor = Arc::new(smol::Executor::new());
    let (stop, stopped) = smol::channel::unbounded::<()>();
    let other = std::thread::spawn({
        let executor = Arc::clone(&executor);
        move || smol::block_on(executor.run(stopped.recv())).unwrap_or_default()
    });
    let started = Started::now();
    let readers: Vec<_> = (0..TASKS)
        .map(|_| {
            let (db, keys, next) = (db.clone(), Arc::clone(&keys), Arc::clone(&next));
            executor.spawn(async move {
                let mut latencies = Vec::new();
                while let index = next.fetch_add(1, Relaxed)
                    && index < READS
                    && let Some(key) = keys.get(usize::try_from(index).unwrap_or(usize::MAX))
                {
                    let start = Instant::now();
                    let found = if is_inline {
                        db.get_sync(key)
                    } else {
                        db.get(key).await
                    };
                    assert!(found.expect("a read").is_some());
                    latencies.push(start.elapsed());
                    // Without it a task that never waits would not let the others come.
                    smol::future::yield_now().await;
                }
                latencies
            })
        })
        .collect();
    let timer = executor.spawn({
        let next = Arc::clone(&next);
        async move { ticks(|| next.load(Relaxed) < READS).await }
    });
    let (latencies, late) = smol::block_on(executor.run(async {
        let mut latencies = Vec::new();
        for reader in readers {
            latencies.extend(reader.await);
        }
        (latencies, timer.await)
    }));
    let rate = report(
        &format!("tasks, {name}"),
        usize::try_from(READS)?,
        started,
        latencies,
    );
    drop(stop);
    drop(other.join());
    report_timer("", late);
    Ok(rate)
}

/// How late a timer of a millisecond is, again and again.
async fn ticks(go_on: impl Fn() -> bool) -> Vec<Duration> {
    let mut late = Vec::new();
    while go_on() {
        let due = Instant::now() + TICK;
        smol::Timer::at(due).await;
        late.push(due.elapsed());
    }
    late
}

fn report_timer(what: &str, late: Vec<Duration>) {
    let [p50, p99] = percentiles(late);
    println!(
        "{what:28} timer late by {:.0} us at p50, {:.0} us at p99",
        p50 * 1e6,
        p99 * 1e6
    );
}

/// The same without anything beside it.
fn timer_alone() {
    let end = Instant::now() + Duration::from_secs(1);
    let late = smol::block_on(ticks(|| Instant::now() < end));
    report_timer("nothing else", late);
}
