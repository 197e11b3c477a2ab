//! Values of several MiB: put them, list their keys without holding them all, read one.
//!
//! ```text
//! cargo run --example large_values
//! ```

use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, KeyRange, Result,
};

const MIB: usize = 1 << 20;

fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let db = Db::open_sync(
        // Loading in bulk: handed to the system at once, made durable once at the end.
        DbOptions::new(directory.path()).with_durability(DurabilityMode::Buffered),
    )?;
    // Pictures are compressed already.
    let options = BucketOptions {
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    };
    let pictures = db.bucket_with_options_sync("pictures", options)?;
    for number in 0..8_u8 {
        let value = vec![number; (1 + usize::from(number)) * MIB];
        pictures.put_sync(format!("picture/{number}"), value)?;
    }
    db.persist_sync(DurabilityMode::SyncAll)?;
    db.flush_sync()?;

    let stats = pictures.stats();
    println!(
        "{} MiB of values in {} blob file(s), {} bytes of tables",
        stats.live_blob_bytes / MIB as u64,
        stats.blob_files,
        stats.table_bytes
    );

    // A lazy scan gives keys; a value in a blob file is read when it is asked for.
    println!("pictures:");
    for row in pictures.prefix_lazy_sync("picture/")? {
        let row = row?;
        assert!(!row.value.is_inline());
        println!("  {}", String::from_utf8_lossy(&row.key));
    }
    println!("values read: {}", db.stats().blob_read_count);

    // Reading one: as a copy, or where it lies.
    let copy = pictures.get_sync(b"picture/5")?.unwrap_or_default();
    println!("picture/5 has {} MiB", copy.len() / MIB);
    let last = pictures.get_with_sync(b"picture/1", |value| value.last().copied())?;
    println!("the last byte of picture/1 is {:?}", last.flatten());

    // A reader lends values for as long as it lives, whatever happens to their rows meanwhile.
    let snapshot = db.snapshot();
    let reader = pictures.reader(&snapshot)?;
    let lent = reader.get_ref_sync(b"picture/7")?;
    pictures.delete_sync("picture/7")?;
    println!("deleted: {}", !pictures.contains_key_sync(b"picture/7")?);
    println!("still lent: {} MiB", lent.map_or(0, |v| v.len() / MIB));
    drop(reader);
    drop(snapshot);

    // What was deleted is garbage once its entry is gone. Compaction moves the rest and drops the file.
    for number in 0..4_u8 {
        pictures.delete_sync(format!("picture/{number}"))?;
    }
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    let stats = pictures.stats();
    println!(
        "left: {} MiB of values, {} MiB of garbage",
        stats.live_blob_bytes / MIB as u64,
        stats.stale_blob_bytes / MIB as u64
    );
    db.close_sync();
    Ok(())
}
