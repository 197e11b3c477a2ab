//! A database without background workers: what happens, the test does.

use tempfile::TempDir;
use trine_kv::{CompressionProfile, Db, DbOptions};

/// A database in a directory that goes with it.
pub(crate) struct Opened {
    pub(crate) db: Db,
    _directory: TempDir,
}

impl std::ops::Deref for Opened {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Opened {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut DbOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = DbOptions::new(directory.path().join("database"));
        options.background_worker_count = 0;
        change(&mut options);
        let db = Db::open_sync(options).unwrap();
        Self {
            db,
            _directory: directory,
        }
    }

    /// With so many rows in one table of the default bucket.
    pub(crate) fn with_table(compression: CompressionProfile, rows: usize) -> Self {
        let opened = Self::with(|options| {
            options.default_bucket_options.compression = compression;
            options.default_bucket_options.block_bytes = 512;
        });
        for i in 0..rows {
            opened.put_sync(key(i), [7; 50]).unwrap();
        }
        opened.flush_sync().unwrap();
        opened
    }

    pub(crate) fn blocks(&self) -> (u64, u64) {
        let stats = self.stats();
        (stats.block_cache_hits, stats.block_cache_misses)
    }
}

pub(crate) const CODECS: [CompressionProfile; 2] =
    [CompressionProfile::None, CompressionProfile::Fast];

pub(crate) fn key(i: usize) -> Vec<u8> {
    format!("key{i:05}").into_bytes()
}
