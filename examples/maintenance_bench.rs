//! What maintenance costs and gives back: `docs/benchmarks/maintenance.md` has its figures.
//!
//! ```text
//! cargo build --release --example maintenance_bench
//! target/release/examples/maintenance_bench <overwrite|sequential|range-delete> [directory] [keys]
//! ```
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DbStats, DurabilityMode, KeyRange, Result,
};

mod rows;

use rows::{KEY_BYTES, Random, VALUE_BYTES, key};

const KEYS: u64 = 1_000_000;
const ROUNDS: u64 = 5;

/// How long calls took, by powers of two of a microsecond.
#[derive(Default)]
struct Histogram {
    counts: [u64; 32],
    longest: Duration,
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = usize::try_from(u64::BITS - micros.leading_zeros()).unwrap_or(31);
        self.counts[bucket.min(31)] += 1;
        self.longest = self.longest.max(took);
    }

    fn print(&self) {
        println!("write latency, below so many microseconds:");
        for (bucket, count) in self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
        {
            println!("  {:>10} {count:>10}", 1_u64 << bucket);
        }
        println!("longest write: {:.1} ms", self.longest.as_secs_f64() * 1e3);
    }
}

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
        std::thread::sleep(Duration::from_secs(3));
    }
}

fn directory_bytes(directory: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(directory)?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio is told to a few digits"
)]
fn report(db: &Db, directory: &Path, live_keys: u64) -> Result<()> {
    let live = live_keys * (KEY_BYTES + VALUE_BYTES) as u64;
    let stats = db.stats();
    println!("{stats}");
    println!(
        "tables hold {:.3} bytes for each live one; the directory has {:.3}",
        stats.table_bytes as f64 / live as f64,
        directory_bytes(directory)? as f64 / live as f64
    );
    println!(
        "written to tables for each byte committed: {:.3}\n",
        stats.write_amplification().unwrap_or_default()
    );
    Ok(())
}

fn overwrite(directory: &Path, keys: u64) -> Result<()> {
    let db = open(directory)?;
    let mut random = Random(1);
    let mut latency = Histogram::default();
    let start = Instant::now();
    for _ in 0..keys * ROUNDS {
        let (key, value) = (key(random.next() % keys), random.value());
        let before = Instant::now();
        db.put_sync(key, value)?;
        latency.add(before.elapsed());
    }
    println!(
        "{} writes of {keys} keys at random: {:.1} s",
        keys * ROUNDS,
        start.elapsed().as_secs_f64()
    );
    latency.print();
    rest(&db);
    // All but e to the minus five of them were written.
    let live = db.range_sync(&KeyRange::all())?.count() as u64;
    report(&db, directory, live)
}

fn load(db: &Db, keys: u64) -> Result<()> {
    let mut random = Random(1);
    let mut latency = Histogram::default();
    for number in 0..keys {
        let value = random.value();
        let before = Instant::now();
        db.put_sync(key(number), value)?;
        latency.add(before.elapsed());
    }
    latency.print();
    Ok(())
}

fn sequential(directory: &Path, keys: u64) -> Result<()> {
    let db = open(directory)?;
    println!("{keys} keys in order");
    load(&db, keys)?;
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    report(&db, directory, keys)
}

fn read_bytes(stats: &DbStats) -> u64 {
    stats
        .level_traffic
        .iter()
        .map(|level| level.read_bytes)
        .sum()
}

fn range_delete(directory: &Path, keys: u64) -> Result<()> {
    let db = open(directory)?;
    println!("{keys} keys in order, then a range delete of half of them");
    load(&db, keys)?;
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    report(&db, directory, keys)?;
    let before = db.stats();
    db.delete_range_sync(KeyRange::half_open(key(keys / 4), key(keys / 4 * 3)))?;
    db.flush_sync()?;
    rest(&db);
    let after = db.stats();
    println!(
        "compactions after it took {} bytes of tables, read {} and wrote {}",
        after.compaction_input_bytes - before.compaction_input_bytes,
        read_bytes(&after) - read_bytes(&before),
        after.compaction_output_bytes - before.compaction_output_bytes
    );
    report(&db, directory, keys - keys / 2)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let directory = arguments.next().map_or_else(
        || std::env::temp_dir().join("trine-maintenance"),
        PathBuf::from,
    );
    let keys = arguments
        .next()
        .and_then(|keys| keys.parse().ok())
        .unwrap_or(KEYS);
    if directory.exists() {
        eprintln!("{} exists", directory.display());
        std::process::exit(1);
    }
    let result = match what.as_str() {
        "overwrite" => overwrite(&directory, keys),
        "sequential" => sequential(&directory, keys),
        "range-delete" => range_delete(&directory, keys),
        _ => {
            eprintln!("overwrite, sequential or range-delete?");
            std::process::exit(1);
        }
    };
    drop(std::fs::remove_dir_all(&directory));
    result
}
