//! What large values cost on the disk: how often each byte is written, and what is left after half of them
//! were overwritten twice.
//!
//! ```text
//! cargo run --example blob_space               2,000 values of 64 KiB
//! cargo run --example blob_space -- 500
//! ```
//!
//! Default options but for the threshold (16 KiB), a write buffer of 8 MiB, no compression and no background workers: maintenance
//! runs where the program says so. Nothing here depends on time.

use std::path::Path;

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, KeyRange, MaintenanceBudget,
};

type Error = Box<dyn std::error::Error>;

const VALUE_BYTES: u64 = 64 << 10;

/// Bytes of all files whose names start so.
fn bytes_of(directory: &Path, start: &str) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Bytes that this process has handed to `write`, where the host counts them.
fn written() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"))?;
    line.trim().parse().ok()
}

fn put(db: &Db, number: u64, round: u64) -> Result<(), Error> {
    let mut value = vec![0; usize::try_from(VALUE_BYTES)?];
    for (word, at) in value.chunks_mut(8).zip(0_u64..) {
        let mixed = (number ^ (round << 40) ^ (at << 20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
    }
    // Every key once in an order that is not theirs.
    let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok(db.put_sync(key.to_be_bytes(), value)?)
}

fn report(what: &str, directory: &Path, live: u64) -> Result<(), Error> {
    let (blobs, all) = (bytes_of(directory, "blob-")?, bytes_of(directory, "")?);
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = |bytes: u64| bytes as f64 / live as f64;
    println!(
        "| {what} | {} MiB | {:.2} | {:.2} |",
        blobs >> 20,
        ratio(blobs),
        ratio(all)
    );
    Ok(())
}

fn main() -> Result<(), Error> {
    let values = std::env::args()
        .nth(1)
        .map_or(Ok(2000), |text| text.parse())?;
    let live = values * VALUE_BYTES;
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let db = Db::open_sync(DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 8 << 20,
        durability: DurabilityMode::Buffered,
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 16 << 10,
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        },
        ..DbOptions::new(path)
    })?;
    let maintain = || -> Result<(), Error> {
        db.flush_sync()?;
        while db
            .run_maintenance_with_budget_sync(MaintenanceBudget::default())?
            .made_progress()
        {}
        Ok(())
    };
    let before = written();
    for number in 0..values {
        put(&db, number, 0)?;
    }
    db.flush_sync()?;
    if let (Some(before), Some(after)) = (before, written()) {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let times = (after - before) as f64 / live as f64;
        println!("{values} values of 64 KiB; loading wrote each byte {times:.2} times\n");
    }
    println!("| | blob files | / live | all files / live |\n|---|---|---|---|");
    report("loaded", path, live)?;
    for round in 1..=2 {
        for number in (0..values).step_by(2) {
            put(&db, number, round)?;
        }
    }
    report("half overwritten twice", path, live)?;
    maintain()?;
    report("after what is due on its own", path, live)?;
    db.compact_range_sync(KeyRange::all())?;
    report("after `compact_range`", path, live)?;
    db.verify_sync(|_| {})?;
    Ok(())
}
