//! Readers that follow a writer: each refresh shows a state that was there, with all that was committed before it,
//! while the writer flushes, merges, uses its log again, is killed and recovers.
//!
//! The writer of the last test is this binary, started again: it prints a line for each commit that returned.
#![cfg(not(any(target_family = "wasm", loom)))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests damage files behind the engine's back"
)]

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use trine_kv::{BucketOptions, Db, DbOptions, Error, KeyRange, WriteBatch, WriteOptions, block_on};

const DIRECTORY: &str = "TRINE_FOLLOWERS_DIRECTORY";
/// A writer whose reader is gone stops by itself.
const COMMITS_MAX: u64 = 50_000;
/// Rows older than so many commits are deleted again.
const WINDOW: u64 = 50;
/// Beside readers in the same process.
const COMMITS: u64 = 1_000;

/// Options under which everything happens after a few commits.
fn busy(path: &Path) -> DbOptions {
    DbOptions {
        write_buffer_bytes: 2_000,
        target_table_bytes: 2_000,
        max_l0_files: 2,
        blob_gc_min_file_bytes: 1,
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 300,
            ..BucketOptions::default()
        },
        ..DbOptions::new(path)
    }
}

fn reader(path: &Path) -> Db {
    Db::open_sync(DbOptions::persistent_read_only(path)).unwrap()
}

fn value(number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(7) { 400 } else { 30 };
    let mut value = number.to_be_bytes().repeat(length / 8);
    value.truncate(length);
    value
}

/// Commit `number`: a row in both buckets, and an old one gone from both.
fn commit(db: &Db, number: u64) {
    let mut batch = WriteBatch::new();
    for bucket in ["default", "other"] {
        let (new, old) = (
            number.to_be_bytes(),
            number.saturating_sub(WINDOW).to_be_bytes(),
        );
        if bucket == "default" {
            batch.put(new, value(number));
            batch.delete(old);
        } else {
            batch.put_bucket(bucket, new, value(number)).unwrap();
            batch.delete_bucket(bucket, old).unwrap();
        }
    }
    db.write_sync(batch, WriteOptions::default()).unwrap();
}

/// The last commit that a reader shows, after comparing all that it shows with what was there then.
fn check(db: &Db) -> u64 {
    let last = db.last_sync(&KeyRange::all()).unwrap().map_or(0, |row| {
        u64::from_be_bytes(row.key.as_slice().try_into().unwrap())
    });
    let expected: Vec<u64> = (last.saturating_sub(WINDOW - 1).max(1)..=last).collect();
    let mut buckets = vec![db.default_bucket_sync().unwrap()];
    for name in db.bucket_names() {
        buckets.push(db.bucket_sync(name).unwrap());
    }
    for bucket in buckets {
        let mut found = Vec::new();
        for row in bucket.range_sync(&KeyRange::all()).unwrap() {
            let row = row.unwrap();
            let number = u64::from_be_bytes(row.key.as_slice().try_into().unwrap());
            assert_eq!(row.value, value(number));
            found.push(number);
        }
        assert_eq!(found, expected, "after commit {last}");
    }
    last
}

fn names(path: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn a_refreshed_reader_shows_what_came_and_the_one_before_what_it_showed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let empty = reader(path);
    let writer = Db::open_sync(busy(path)).unwrap();
    writer.bucket_sync("other").unwrap();
    let mut readers = vec![(empty.refresh_sync().unwrap(), 0)];
    assert!(check(&empty) == 0 && empty.bucket_names().is_empty());
    for number in 1..=300 {
        commit(&writer, number);
        if number % 30 == 0 {
            let (newest, _) = readers.last().unwrap();
            let refreshed = if number % 60 == 0 {
                newest.refresh_sync()
            } else {
                block_on(newest.refresh())
            };
            readers.push((refreshed.unwrap(), number));
        }
    }
    writer.compact_range_sync(KeyRange::all()).unwrap();
    drop(writer);
    for (reader, number) in &readers {
        assert_eq!(check(reader), *number);
    }
}

#[test]
fn snapshots_and_iterators_outlive_the_files_that_they_read() {
    let directory = tempfile::tempdir().unwrap();
    let writer = Db::open_sync(busy(directory.path())).unwrap();
    writer.bucket_sync("other").unwrap();
    (1..=100).for_each(|number| commit(&writer, number));
    writer.flush_sync().unwrap();
    let old = reader(directory.path());
    let (snapshot, bucket) = (old.snapshot(), old.default_bucket_sync().unwrap());
    let mut rows = old.range_lazy_sync(&KeyRange::all()).unwrap();
    let first = rows.next_sync().unwrap().unwrap();
    let new = old.refresh_sync().unwrap();
    drop(old);
    (101..=300).for_each(|number| commit(&writer, number));
    writer.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(check(&new), 100);
    assert_eq!(
        snapshot
            .last_sync(&bucket, &KeyRange::all())
            .unwrap()
            .unwrap()
            .key,
        100_u64.to_be_bytes()
    );
    assert_eq!(rows.count() as u64, WINDOW - 1);
    drop(first);
    assert_eq!(check(&new.refresh_sync().unwrap()), 300);
}

#[test]
fn a_reader_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let writer = Db::open_sync(busy(directory.path())).unwrap();
    writer.bucket_sync("other").unwrap();
    (1..=20).for_each(|number| commit(&writer, number));
    drop(writer);
    let before = names(directory.path());
    let mut db = reader(directory.path());
    for _ in 0..3 {
        db = db.refresh_sync().unwrap();
        assert_eq!(check(&db), 20);
    }
    assert_eq!(names(directory.path()), before);
}

#[test]
fn only_readers_are_refreshed_and_what_is_damaged_is_said_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let writer = Db::open_sync(busy(path)).unwrap();
    assert!(matches!(
        writer.refresh_sync(),
        Err(Error::Unsupported { .. })
    ));
    let memory = Db::open_sync(DbOptions::memory()).unwrap();
    assert!(matches!(
        block_on(memory.refresh()),
        Err(Error::Unsupported { .. })
    ));
    let db = reader(path);
    std::fs::write(path.join("CURRENT"), "damaged").unwrap();
    assert!(matches!(db.refresh_sync(), Err(Error::Corruption { .. })));
    db.close_sync();
    assert!(matches!(db.refresh_sync(), Err(Error::Closed)));
}

#[test]
fn readers_follow_a_busy_writer_and_see_all_that_was_committed_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let writer = Db::open_sync(busy(path)).unwrap();
    writer.bucket_sync("other").unwrap();
    let committed = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=COMMITS {
                commit(&writer, number);
                committed.store(number, SeqCst);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let (mut db, mut before) = (reader(path), 0);
                while before < COMMITS {
                    let must = committed.load(SeqCst);
                    db = db.refresh_sync().unwrap();
                    let last = check(&db);
                    assert!(last >= must.max(before), "{last} after {must} and {before}");
                    before = last;
                }
            });
        }
    });
    writer.close_sync();
    assert_eq!(check(&reader(path)), COMMITS);
}

fn start(path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture"])
        .env(DIRECTORY, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: the writer that the next test starts.
#[test]
fn writer_process() {
    let Some(path) = env::var_os(DIRECTORY) else {
        return;
    };
    let db = Db::open_sync(busy(Path::new(&path))).unwrap();
    db.bucket_sync("other").unwrap();
    let mut out = std::io::stdout().lock();
    let first = check(&db) + 1;
    for number in first..first + COMMITS_MAX {
        commit(&db, number);
        if writeln!(out, "committed {number}").is_err() {
            return;
        }
    }
}

#[test]
fn a_reader_follows_writers_that_are_killed_and_recover() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let first = Db::open_sync(busy(path)).unwrap();
    first.bucket_sync("other").unwrap();
    drop(first);
    let (mut db, mut before) = (reader(path), 0);
    for round in 0..4 {
        let mut writer = start(path);
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut committed = before;
        for _ in 0..40 + 10 * round {
            let line = lines.next().unwrap().unwrap();
            if let Some(number) = line.strip_prefix("committed ") {
                committed = number.parse().unwrap();
                if committed % 3 == 0 {
                    db = db.refresh_sync().unwrap();
                    let last = check(&db);
                    assert!(last >= committed.max(before), "{last} after {committed}");
                    before = last;
                }
            }
        }
        writer.kill().unwrap();
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("committed ") {
                committed = number.parse().unwrap();
            }
        }
        writer.wait().unwrap();
        // Nobody writes now, and nobody recovers.
        db = db.refresh_sync().unwrap();
        let last = check(&db);
        assert!(last >= committed.max(before), "{last} after {committed}");
        before = last;
    }
}
