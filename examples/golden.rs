//! Writes the databases that `tests/golden/main.rs` opens, packed, into the directory that the first argument names.
//! For `ci/golden.sh`: the files of a released version are never written again.
#![expect(
    clippy::disallowed_methods,
    reason = "the program copies files, behind the engine's back"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs, process};

use trine_kv::DbOptions;

#[path = "../tests/golden/contents.rs"]
mod contents;

fn write(name: &str, buckets: &[&'static str]) -> Result<(), Box<dyn std::error::Error>> {
    let place = env::temp_dir().join(format!("{name}-{}", process::id()));
    contents::write(DbOptions::new(&place), buckets)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&place)? {
        let entry = entry?;
        files.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs::read(entry.path())?,
        );
    }
    fs::remove_dir_all(&place)?;
    for (name, bytes) in &files {
        println!("{:>8} {name}", bytes.len());
    }
    let directory = PathBuf::from(env::args_os().nth(1).ok_or("which directory?")?);
    fs::write(directory.join(name), contents::pack(&files))?;
    // That the history is one that the test knows.
    assert!(
        contents::expected(buckets)
            .iter()
            .any(|(_, rows)| !rows.is_empty())
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let version = env!("CARGO_PKG_VERSION");
    write(&format!("{version}.pack"), &contents::PLAIN)?;
    write(&format!("{version}-zstd.pack"), &contents::ZSTD)
}
