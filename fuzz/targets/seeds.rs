//! Writes the inputs to begin with into the directory that the first argument names, one directory for each target.

use std::{env, fs, path::PathBuf};

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(env::args_os().nth(1).unwrap_or_default());
    for (target, name, bytes) in trine_kv::fuzzing::seeds() {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
