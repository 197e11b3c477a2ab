//! Values read without a copy: a loan from a reader, a closure over the bytes, a cursor over rows.
//!
//! ```text
//! cargo run --example borrowed_reads
//! ```

use trine_kv::{BucketOptions, CompressionProfile, Db, DbOptions, Direction, KeyRange, Result};

/// A thumbnail is a width, a height, and the pixels.
fn size(thumbnail: &[u8]) -> Option<(u8, u8)> {
    match thumbnail {
        [width, height, ..] => Some((*width, *height)),
        _ => None,
    }
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir()?;
    // What is not compressed is lent from the file's mapping; else from a block decoded once.
    let options = DbOptions::new(directory.path()).with_default_bucket_options(BucketOptions {
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    });
    let db = Db::open_sync(options)?;
    for number in 0..100_u8 {
        let mut thumbnail = vec![number; 20_000];
        thumbnail[..2].copy_from_slice(&[100, 200]);
        db.put_sync(format!("thumbnail/{number:03}"), thumbnail)?;
    }
    db.flush_sync()?;

    // One value, looked at where it lies. Shorter than this it does not get.
    let found = db.get_with_sync(b"thumbnail/007", size)?.flatten();
    println!("thumbnail 7 is {found:?}");

    // Several values that must live on: a reader lends them, bound to itself and to the snapshot.
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync()?;
    let reader = bucket.reader(&snapshot)?;
    let left = reader.get_ref_sync(b"thumbnail/001")?;
    let right = reader.get_ref_sync(b"thumbnail/002")?;
    // They stay what they were, whatever is deleted, flushed or compacted meanwhile.
    db.delete_range_sync(KeyRange::all())?;
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    if let (Some(left), Some(right)) = (&left, &right) {
        let differing = left.iter().zip(right.iter()).filter(|(l, r)| l != r);
        println!("they differ in {} bytes", differing.count());
    }

    // All values, at the snapshot, with no allocation for a row.
    let mut bytes = 0;
    let mut cursor = db.cursor_at(
        &snapshot,
        &KeyRange::prefix("thumbnail/"),
        Direction::Forward,
    )?;
    while cursor.advance_sync()? {
        bytes += cursor.value().len();
    }
    println!(
        "the snapshot has {bytes} bytes of thumbnails; now there are {}",
        db.range_sync(&KeyRange::all())?.count()
    );
    Ok(())
}
