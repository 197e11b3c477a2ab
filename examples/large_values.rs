//! Values of several MiB: put them, list their keys without holding them all, read one.
//!
//! ```text
//! cargo run --example large_values
//! ```

use trine_kv::{BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, Result};

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

    // A lazy scan gives keys; a value is read when it is asked for.
    println!("pictures:");
    for row in pictures.prefix_lazy_sync("picture/")? {
        println!("  {}", String::from_utf8_lossy(&row?.key));
    }

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
    db.close_sync();
    Ok(())
}
