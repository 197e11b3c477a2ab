//! Moves a database as one file: `archive export DIRECTORY FILE`, `archive import FILE DIRECTORY`.
//!
//! Besides, for trying it out: `archive fill DIRECTORY ROWS`, and `archive list DIRECTORY`, a row to a line.
#![expect(
    clippy::disallowed_methods,
    reason = "the archive is a file of the program's"
)]

use std::fs::File;
use std::io::{Read, Write};

use trine_kv::{Db, DbOptions, KeyRange};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// This target's options for a directory.
fn at(directory: &str) -> DbOptions {
    if cfg!(target_os = "wasi") {
        DbOptions::wasi_persistent(directory)
    } else {
        DbOptions::new(directory)
    }
}

fn export(directory: &str, archive: &str) -> Result<()> {
    let mut file = File::create(archive)?;
    for portion in Db::open_sync(at(directory))?.export_sync()? {
        file.write_all(&portion?)?;
    }
    Ok(file.sync_all()?)
}

fn import(archive: &str, directory: &str) -> Result<()> {
    let mut file = File::open(archive)?;
    let mut import = Db::import_sync(at(directory))?;
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes)? {
            0 => break,
            count => import.write_sync(&bytes[..count])?,
        }
    }
    import.finish_sync()?;
    Ok(())
}

/// Rows of several sizes, some deleted again, in tables and in the log.
fn fill(directory: &str, rows: &str) -> Result<()> {
    let db = Db::open_sync(at(directory))?;
    let rows: u32 = rows.parse()?;
    for number in 0..rows {
        let value = number.to_string().repeat(1 + number as usize % 50);
        db.put_sync(format!("key {number:06}"), value)?;
        if number == rows / 2 {
            db.delete_range_sync(KeyRange::half_open("key 000010", "key 000020"))?;
            db.flush_sync()?;
        }
    }
    Ok(())
}

fn list(directory: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for row in Db::open_sync(at(directory))?.range_sync(&KeyRange::all())? {
        let row = row?;
        let text = String::from_utf8_lossy;
        writeln!(out, "{}\t{}", text(&row.key), text(&row.value))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["export", directory, archive] => export(directory, archive),
        ["import", archive, directory] => import(archive, directory),
        ["fill", directory, rows] => fill(directory, rows),
        ["list", directory] => list(directory),
        _ => Err("archive export DIRECTORY FILE | import FILE DIRECTORY | fill DIRECTORY ROWS | list DIRECTORY".into()),
    }
}
