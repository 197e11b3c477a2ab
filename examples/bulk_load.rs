//! Rates of loading rows: in batches of a thousand, and in bulk, in order and not.
//!
//! `cargo run --release --example bulk_load -- [rows] [value bytes] [directory] [case]`
//!
//! Batches are not synced one by one: the last one is, so that the rows survive power loss when the clock stops, as those of a
//! bulk load do.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use trine_kv::{Db, DbOptions, DurabilityMode, KeyRange, Result, WriteBatch, WriteOptions};

const BATCH: u64 = 1000;

/// The row with this number: ascending keys, or keys all over the place.
fn key(number: u64, scattered: bool) -> [u8; 16] {
    // An odd multiplier: each key once.
    let place = if scattered {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    } else {
        number
    };
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&place.to_be_bytes());
    key
}

fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut value = number
        .wrapping_mul(0x2545_f491_4f6c_dd1d)
        .to_le_bytes()
        .repeat(bytes / 8 + 1);
    value.truncate(bytes);
    value
}

fn in_batches(db: &Db, rows: u64, bytes: usize, scattered: bool) -> Result<()> {
    let mut batch = WriteBatch::new();
    for number in 0..rows {
        batch.put(key(number, scattered), value(number, bytes));
        if batch.len() as u64 == BATCH {
            db.write_sync(std::mem::take(&mut batch), WriteOptions::buffered())?;
        }
    }
    db.write_sync(batch, WriteOptions::buffered())?;
    db.persist_sync(DurabilityMode::SyncData)
}

fn in_bulk(db: &Db, rows: u64, bytes: usize, scattered: bool) -> Result<()> {
    let rows = (0..rows).map(|number| (key(number, scattered), value(number, bytes)));
    db.bulk_load_sync(rows).map(drop)
}

type Load = fn(&Db, u64, usize, bool) -> Result<()>;

fn measure(
    home: &Path,
    name: &str,
    rows: u64,
    bytes: usize,
    scattered: bool,
    load: Load,
) -> Result<()> {
    let directory = home.join("bulk-load-example");
    drop(std::fs::remove_dir_all(&directory));
    let db = Db::open_sync(DbOptions::new(&directory).with_durability(DurabilityMode::Buffered))?;
    let start = Instant::now();
    load(&db, rows, bytes, scattered)?;
    let loaded = start.elapsed().as_secs_f64();
    // What batches leave to be done, a bulk load has done already.
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    let at_rest = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is printed")]
    let rate = |seconds: f64| rows as f64 / seconds;
    println!(
        "{name:24} {:>12.0} rows/s    {:>12.0} rows/s with all merging",
        rate(loaded),
        rate(at_rest)
    );
    db.close_sync();
    drop(std::fs::remove_dir_all(&directory));
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let bytes = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100);
    let home = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let wanted = arguments.next().unwrap_or_default();
    let cases: [(&str, bool, Load); 4] = [
        ("ascending, batches", false, in_batches),
        ("ascending, in bulk", false, in_bulk),
        ("scattered, batches", true, in_batches),
        ("scattered, in bulk", true, in_bulk),
    ];
    for (name, scattered, load) in cases {
        if name.contains(&wanted) {
            measure(&home, name, rows, bytes, scattered, load)?;
        }
    }
    Ok(())
}
