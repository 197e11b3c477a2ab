//! The same tour with the synchronous interface: no futures, no executor.
//!
//! ```text
//! cargo run --release --example sync_quickstart
//! ```

use std::process::ExitCode;

use trine_kv::{Db, DbOptions, KeyRange, Result, WriteBatch, WriteOptions};

fn main() -> ExitCode {
    let directory = std::env::temp_dir().join(format!("trine-sync-{}", std::process::id()));
    let outcome = run(&directory);
    let removed = std::fs::remove_dir_all(&directory);
    match outcome.and(removed.map_err(Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sync_quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &std::path::Path) -> Result<()> {
    // A persistent database syncs each commit unless told otherwise.
    let db = Db::open_sync(DbOptions::new(directory))?;

    // Single writes, and a batch that is there whole or not at all, over several buckets.
    db.put_sync("fruit/apple", "red")?;
    let stock = db.bucket_sync("stock")?;
    let mut batch = WriteBatch::new();
    batch.put("fruit/lemon", "yellow");
    batch.put("fruit/plum", "blue");
    batch.put_bucket("stock", "plum", "12")?;
    let commit = db.write_sync(batch, WriteOptions::sync_all())?;
    println!("batch committed as {}", commit.sequence().get());

    // Point reads, prefix scans, ranges, either way round.
    println!("apple is {:?}", text(db.get_sync(b"fruit/apple")?));
    println!("plums in stock: {:?}", text(stock.get_sync(b"plum")?));
    for row in db.prefix_reverse_sync("fruit/")? {
        let row = row?;
        println!("  {} = {}", lossy(&row.key), lossy(&row.value));
    }
    let to_lemon = KeyRange::half_open("fruit/", "fruit/m");
    println!("rows before m: {}", db.range_sync(&to_lemon)?.count());

    // A snapshot keeps its view beside newer writes.
    let before = db.snapshot();
    db.delete_range_sync(KeyRange::half_open("fruit/a", "fruit/m"))?;
    println!("apple now: {:?}", text(db.get_sync(b"fruit/apple")?));
    println!(
        "apple at the snapshot: {:?}",
        text(db.get_at_sync(&before, b"fruit/apple")?)
    );

    // Close and reopen.
    db.close_sync();
    let db = Db::open_sync(directory)?;
    println!(
        "after reopening: {} rows",
        db.range_sync(&KeyRange::all())?.count()
    );
    db.close_sync();
    Ok(())
}

fn text(value: Option<Vec<u8>>) -> Option<String> {
    value.map(|bytes| lossy(&bytes))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
