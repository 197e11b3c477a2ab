//! A database for one test, in memory or in a directory of its own, and short words for what tests do.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trine_kv::{Db, DbOptions, Error, Iter, KeyRange};

use crate::common::way::Way;

pub(crate) const BOTH_WAYS: [Way; 2] = [Way::Sync, Way::Async];

/// A directory that does not exist yet, inside one that goes with the test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("database")
    }

    /// No background worker: what happens, the test does.
    pub(crate) fn options(&self) -> DbOptions {
        DbOptions {
            background_worker_count: 0,
            ..DbOptions::new(self.path())
        }
    }

    pub(crate) fn open(&self) -> Db {
        Db::open_sync(self.options()).expect("the database")
    }

    pub(crate) fn open_read_only(&self) -> Db {
        Db::open_sync(self.options().read_only()).expect("the database")
    }
}

/// Runs a rule on a database in memory and on a persistent one.
pub(crate) fn everywhere(rule: impl Fn(&Db)) {
    rule(&Db::open_sync(DbOptions::memory()).expect("a database in memory"));
    let place = Place::new();
    rule(&place.open());
}

/// As [`everywhere`], each in both ways of calling.
pub(crate) fn everywhere_both_ways(rule: impl Fn(Way, &Db)) {
    for way in BOTH_WAYS {
        everywhere(|db| rule(way, db));
    }
}

/// Every place where committed rows can be: memtable, table, compacted table, reopened.
pub(crate) fn wherever_rows_lie(write: impl Fn(&Db), check: impl Fn(&Db)) {
    let memory = Db::open_sync(DbOptions::memory()).expect("a database in memory");
    write(&memory);
    check(&memory);
    let place = Place::new();
    let db = place.open();
    write(&db);
    check(&db);
    db.flush_sync().expect("a flush");
    check(&db);
    db.compact_range_sync(KeyRange::all())
        .expect("a compaction");
    check(&db);
    db.close_sync();
    let db = place.open();
    check(&db);
    db.close_sync();
    check(&place.open_read_only());
}

pub(crate) fn keys(iter: Iter) -> Vec<Vec<u8>> {
    Way::Sync
        .rows(iter)
        .expect("rows")
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

pub(crate) fn all_keys(db: &Db) -> Vec<Vec<u8>> {
    keys(db.range_sync(&KeyRange::all()).expect("a scan"))
}

pub(crate) fn put_all(db: &Db, keys: &[&[u8]]) {
    for key in keys {
        db.put_sync(*key, *key).expect("a put");
    }
}

/// The names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .expect("the directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

pub(crate) fn sequence(db: &Db) -> u64 {
    db.last_committed_sequence().get()
}

#[track_caller]
pub(crate) fn invalid_options<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::InvalidOptions { message }) => message,
        Err(error) => panic!("expected InvalidOptions, found {error:?}"),
        Ok(_) => panic!("expected InvalidOptions, found Ok"),
    }
}

#[track_caller]
pub(crate) fn corruption<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Corruption { message }) => message,
        Err(error) => panic!("expected Corruption, found {error:?}"),
        Ok(_) => panic!("expected Corruption, found Ok"),
    }
}

#[track_caller]
pub(crate) fn closed<T>(result: Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::Closed)),
        "expected Closed, found {:?}",
        result.err()
    );
}

#[track_caller]
pub(crate) fn refused_as_read_only<T>(result: Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::ReadOnly)),
        "expected ReadOnly, found {:?}",
        result.err()
    );
}
