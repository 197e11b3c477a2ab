//! Where a test keeps its files, and the options that open a database there on this target.

use std::path::Path;

use tempfile::TempDir;
use trine_kv::DbOptions;

/// A new directory. Under WASI it lies in the one that the runner opens for programs.
pub(crate) fn directory() -> TempDir {
    let made = if cfg!(target_os = "wasi") {
        tempfile::tempdir_in("/data")
    } else {
        tempfile::tempdir()
    };
    made.expect("a directory")
}

/// The target's own persistent options, without background workers.
pub(crate) fn options(path: &Path) -> DbOptions {
    let options = if cfg!(target_os = "wasi") {
        DbOptions::wasi_persistent(path)
    } else {
        DbOptions::new(path)
    };
    DbOptions {
        background_worker_count: 0,
        ..options
    }
}
