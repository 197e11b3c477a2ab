//! A damaged database gives a typed error or right answers: never a panic, never wrong data.
//!
//! One small database (three buckets, tables from several flushes, a compaction, a WAL tail) is built,
//! then each of its files is cut at every length and changed at every byte, and what opens is
//! compared with the history:
//!
//! - a cut WAL may end the history earlier (that is what a torn tail is), but never before what
//!   had been flushed, and only between two commits;
//! - everything else yields the newest state or an error.
//!
//! Read-only opens do most of it, since they change nothing; writable opens take samples and check
//! that the evidence stays.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests damage files behind the engine's back"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

mod common {
    pub(crate) mod place;
}
use common::place;
use tempfile::TempDir;
use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, Error, KeyRange, WriteBatch,
    WriteOptions,
};

const BUCKETS: [&str; 3] = ["default", "second", "third"];
/// Where a file holds nothing but zeros from some point on, so many of them are damaged.
const ZEROS_TRIED: usize = 8;
/// Under an interpreted host every one would take minutes.
const SAMPLE: usize = if cfg!(target_family = "wasm") { 11 } else { 1 };
const WRITABLE_SAMPLE: usize = 61;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// The rows of each bucket.
type State = [Rows; 3];

fn options(path: &Path) -> DbOptions {
    DbOptions {
        durability: DurabilityMode::Buffered,
        default_bucket_options: bucket_options(0),
        ..place::options(path)
    }
}

/// Small blocks, so that tables have several; each bucket writes another shape.
fn bucket_options(bucket: usize) -> BucketOptions {
    BucketOptions {
        block_bytes: [64, 200, 4096][bucket],
        compression: [
            CompressionProfile::None,
            CompressionProfile::Fast,
            CompressionProfile::Fast,
        ][bucket],
        ..BucketOptions::default()
    }
}

/// Memory instead of a disk where the system has such a directory: thousands of small files.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = tempfile::Builder::new().prefix("trine-").tempdir_in(memory);
    in_memory.unwrap_or_else(|_| place::directory())
}

struct Built {
    directory: TempDir,
    /// The state after each commit; index 0 is the empty database.
    history: Vec<State>,
    /// Everything up to this commit is in tables.
    flushed: usize,
}

impl Built {
    fn path(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    fn commit(&mut self, db: &Db, writes: &[(usize, &str, Option<&str>)]) {
        let mut state = self.history.last().expect("a state").clone();
        let mut batch = WriteBatch::new();
        for &(bucket, key, value) in writes {
            match value {
                Some(value) => state[bucket].insert(key.into(), value.into()),
                None => state[bucket].remove(key.as_bytes()),
            };
            match (bucket, value) {
                (0, Some(value)) => batch.put(key, value),
                (0, None) => batch.delete(key),
                (_, Some(value)) => batch
                    .put_bucket(BUCKETS[bucket], key, value)
                    .expect("a name"),
                (_, None) => batch.delete_bucket(BUCKETS[bucket], key).expect("a name"),
            }
        }
        let info = db
            .write_sync(batch, WriteOptions::buffered())
            .expect("a commit");
        assert_eq!(info.sequence().get(), self.history.len() as u64);
        self.history.push(state);
    }

    fn delete_range(&mut self, db: &Db, start: &str, end: &str) {
        let mut state = self.history.last().expect("a state").clone();
        state[0]
            .retain(|key, _| key.as_slice() < start.as_bytes() || key.as_slice() >= end.as_bytes());
        db.delete_range_sync(KeyRange::half_open(start, end))
            .expect("a commit");
        self.history.push(state);
    }
}

fn open_for_build(path: &Path) -> Db {
    let db = Db::open_sync(options(path)).expect("the database");
    for (index, name) in BUCKETS.iter().enumerate().skip(1) {
        db.bucket_with_options_sync(*name, bucket_options(index))
            .expect("a bucket");
    }
    db
}

fn build() -> Built {
    let mut built = Built {
        directory: scratch(),
        history: vec![State::default()],
        flushed: 0,
    };
    let db = open_for_build(&built.path());
    let long = "long value ".repeat(12);
    for round in 0..4 {
        for index in 0..6 {
            let key = format!("key {:02}", (round * 3 + index) % 12);
            let value = format!("value {round} {index}");
            built.commit(
                &db,
                &[(0, &key, Some(&value)), (1 + index % 2, &key, Some(&long))],
            );
        }
        built.commit(&db, &[(0, "key 05", None), (1, "key 01", None)]);
        if round == 1 {
            built.delete_range(&db, "key 02", "key 04");
        }
        db.flush_sync().expect("a flush");
        if round == 2 {
            db.compact_range_sync(KeyRange::all())
                .expect("a compaction");
        }
    }
    built.flushed = built.history.len() - 1;
    for index in 0..4 {
        let value = format!("tail {index}");
        built.commit(
            &db,
            &[
                (0, "key 07", Some(&value)),
                (index % 3, "tail", Some(&value)),
            ],
        );
    }
    db.close_sync();
    built
}

/// The files of a directory, without those in subdirectories.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(path)
        .expect("the directory")
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().into_string().expect("an ASCII name");
            (name, fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

fn write_files(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let _ = fs::remove_dir_all(path);
    fs::create_dir_all(path).expect("a directory");
    for (name, bytes) in files {
        fs::write(path.join(name), bytes).expect("a file");
    }
}

fn content_end(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1)
}

/// All that any read shows, or the first error.
fn read_everything(options: DbOptions, expected: &State) -> Result<State, Error> {
    let db = Db::open_sync(options)?;
    let mut state = State::default();
    for (index, name) in BUCKETS.iter().enumerate() {
        let bucket = match index {
            0 => db.default_bucket_sync()?,
            _ => db.bucket_with_options_sync(*name, bucket_options(index))?,
        };
        for row in bucket.range_sync(&KeyRange::all())? {
            let row = row?;
            state[index].insert(row.key, row.value);
        }
        let mut backwards = Vec::new();
        for row in bucket.range_reverse_sync(&KeyRange::all())? {
            let row = row?;
            backwards.push((row.key, row.value));
        }
        backwards.reverse();
        let forwards: Vec<_> = state[index].clone().into_iter().collect();
        assert_eq!(backwards, forwards, "both directions of {name}");
        let absent = [b"key".to_vec(), b"zzz".to_vec()];
        for key in expected[index]
            .keys()
            .chain(state[index].keys())
            .chain(&absent)
        {
            let value = bucket.get_sync(key)?;
            assert_eq!(
                value.as_ref(),
                state[index].get(key),
                "point read against scan in {name}"
            );
        }
    }
    db.close_sync();
    Ok(state)
}

fn is_about_stored_bytes(error: &Error) -> bool {
    matches!(
        error,
        Error::Corruption { .. }
            | Error::InvalidFormat { .. }
            | Error::UnsupportedFormat { .. }
            | Error::CodecUnavailable { .. }
    )
}

/// Opens and reads; `Err` says in words what went wrong with the rules of this file.
fn judge(built: &Built, options: DbOptions, history_may_end_early: bool) -> Result<bool, String> {
    let newest = built.history.last().expect("a state");
    let read = catch_unwind(AssertUnwindSafe(|| read_everything(options, newest)));
    match read {
        Err(_) => Err("a panic, see above".into()),
        Ok(Err(error)) if is_about_stored_bytes(&error) => Ok(false),
        Ok(Err(error)) => Err(format!("an error of the wrong kind: {error:?}")),
        Ok(Ok(state)) if state == *newest => Ok(true),
        Ok(Ok(state)) => {
            let earlier = built.history[built.flushed..].contains(&state);
            if history_may_end_early && earlier {
                Ok(true)
            } else {
                let whole = built.history.iter().position(|known| *known == state);
                Err(format!(
                    "wrong data without an error (state of commit {whole:?})"
                ))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut(usize),
    Xor(usize, u8),
}

fn damages(bytes: &[u8]) -> Vec<Damage> {
    let end = content_end(bytes);
    let zeros = bytes.len() - end;
    let step = (zeros / ZEROS_TRIED).max(1);
    let positions: Vec<usize> = (0..end).chain((end..bytes.len()).step_by(step)).collect();
    // Cuts from long to short, so that a file only shrinks while they are tried.
    let cuts = positions.iter().rev().map(|&length| Damage::Cut(length));
    let flips = positions
        .iter()
        .flat_map(|&at| [Damage::Xor(at, 0xff), Damage::Xor(at, 1 << (at % 8))]);
    flips.chain(cuts).collect()
}

fn damaged(bytes: &[u8], damage: Damage) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match damage {
        Damage::Cut(length) => bytes.truncate(length),
        Damage::Xor(at, mask) => bytes[at] ^= mask,
    }
    bytes
}

fn is_log(name: &str) -> bool {
    name.starts_with("wal-") || name.starts_with("trine.wal")
}

fn change_byte(path: &Path, at: usize, byte: u8) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the file");
    file.seek(SeekFrom::Start(at as u64)).expect("a position");
    file.write_all(&[byte]).expect("a byte");
}

/// Every damage of the file `name`, read-only, in place on a copy. Returns what broke the rules.
fn sweep(built: &Built, all: &BTreeMap<String, Vec<u8>>, name: &str) -> Vec<String> {
    let copy = scratch();
    let path = copy.path().join("db");
    write_files(&path, all);
    let (file, bytes) = (path.join(name), &all[name]);
    let mut faults = Vec::new();
    for damage in damages(bytes).into_iter().step_by(SAMPLE) {
        match damage {
            Damage::Xor(at, mask) => change_byte(&file, at, bytes[at] ^ mask),
            Damage::Cut(length) => fs::OpenOptions::new()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_len(length as u64))
                .expect("a shorter file"),
        }
        let early = is_log(name) && matches!(damage, Damage::Cut(_));
        if let Err(fault) = judge(built, options(&path).read_only(), early) {
            faults.push(format!("{name}, {damage:?}: {fault}"));
        }
        if let Damage::Xor(at, _) = damage {
            change_byte(&file, at, bytes[at]);
        }
    }
    faults
}

fn report(faults: &[String]) {
    let shown: Vec<_> = faults.iter().take(40).map(String::as_str).collect();
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        shown.join("\n")
    );
}

#[test]
fn the_undamaged_database_reads_as_its_history() {
    let built = build();
    assert_eq!(
        judge(&built, options(&built.path()).read_only(), false),
        Ok(true)
    );
    assert_eq!(judge(&built, options(&built.path()), false), Ok(true));
}

#[test]
fn every_cut_and_every_changed_byte_is_an_error_or_right_data() {
    let built = build();
    let all = files(&built.path());
    // Largest first, over as many threads as there are processors.
    let mut names: Vec<&String> = all.keys().collect();
    names.sort_by_key(|name| content_end(&all[*name]));
    let queue = std::sync::Mutex::new(names);
    let faults = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let next = queue.lock().expect("the queue").pop();
            let Some(name) = next else { return };
            let found = sweep(&built, &all, name);
            faults.lock().expect("the faults").extend(found);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    report(&faults.into_inner().expect("the faults"));
}

#[test]
fn a_refused_writable_open_leaves_the_evidence_and_the_lock() {
    let built = build();
    let all = files(&built.path());
    let copy = scratch();
    let path = copy.path().join("db");
    let mut faults = Vec::new();
    let samples = all
        .iter()
        .flat_map(|(name, bytes)| damages(bytes).into_iter().map(move |damage| (name, damage)))
        .step_by(WRITABLE_SAMPLE);
    for (name, damage) in samples {
        let mut with_damage = all.clone();
        with_damage.insert(name.clone(), damaged(&all[name], damage));
        write_files(&path, &with_damage);
        let early = is_log(name) && matches!(damage, Damage::Cut(_));
        match judge(&built, options(&path), early) {
            Ok(true) => {}
            Ok(false) => {
                let after = fs::read(path.join(name)).expect("the damaged file");
                if after != with_damage[name] {
                    faults.push(format!("{name}, {damage:?}: the evidence was changed"));
                }
                // Not refused for the lock of the failed open.
                if let Err(Error::Corruption { message }) = Db::open_sync(options(&path))
                    && message.contains("lock")
                {
                    faults.push(format!("{name}, {damage:?}: the lock stayed"));
                }
            }
            Err(fault) => faults.push(format!("{name}, {damage:?}, writable: {fault}")),
        }
    }
    report(&faults);
}

#[test]
fn a_missing_file_is_noticed() {
    let built = build();
    let all = files(&built.path());
    let copy = scratch();
    let path = copy.path().join("db");
    let mut faults = Vec::new();
    for name in all.keys() {
        let mut without = all.clone();
        without.remove(name);
        write_files(&path, &without);
        if let Err(fault) = judge(&built, options(&path).read_only(), false) {
            faults.push(format!("without {name}: {fault}"));
        }
    }
    report(&faults);
}

#[test]
fn a_file_in_the_place_of_another_is_noticed() {
    let built = build();
    let all = files(&built.path());
    let copy = scratch();
    let path = copy.path().join("db");
    let mut faults = Vec::new();
    for name in all.keys() {
        for other in all.keys().filter(|other| *other != name) {
            let mut misplaced = all.clone();
            misplaced.insert(name.clone(), all[other].clone());
            write_files(&path, &misplaced);
            if let Err(fault) = judge(&built, options(&path).read_only(), false) {
                faults.push(format!("{other} in the place of {name}: {fault}"));
            }
        }
    }
    report(&faults);
}

/// A database whose last commit is one long record; the log's file, and where that record starts in it.
fn build_with_long_last_commit() -> (Built, String, usize) {
    let mut built = Built {
        directory: scratch(),
        history: vec![State::default()],
        flushed: 0,
    };
    let db = open_for_build(&built.path());
    for index in 0..5 {
        built.commit(&db, &[(0, &format!("key {index}"), Some("value"))]);
    }
    let before = files(&built.path());
    let long = "sector by sector ".repeat(120);
    built.commit(&db, &[(0, "long", Some(&long)), (1, "other", Some("end"))]);
    let after = files(&built.path());
    let (name, start) = after
        .iter()
        .filter(|(name, _)| is_log(name))
        .find_map(|(name, bytes)| {
            let old = before.get(name).map_or(&[][..], Vec::as_slice);
            let same = bytes
                .iter()
                .zip(old)
                .take_while(|(new, old)| new == old)
                .count();
            (bytes != old).then(|| (name.clone(), same))
        })
        .expect("the log that took the commit, which a buffered commit has handed to the system");
    // As a power loss would leave it: without the close.
    let crashed = built.directory.path().join("crashed");
    write_files(&crashed, &after);
    db.close_sync();
    fs::remove_dir_all(built.path()).expect("the closed database");
    fs::rename(crashed, built.path()).expect("the crashed database");
    (built, name, start)
}

fn expect_prefix(built: &Built, path: &Path, what: &str) {
    let newest = built.history.len() - 1;
    let state = read_everything(options(path).read_only(), &built.history[newest])
        .unwrap_or_else(|error| panic!("{what}: refused: {error:?}"));
    assert!(
        built.history[newest - 1..].contains(&state),
        "{what}: neither with nor without the last commit"
    );
}

#[test]
fn a_torn_last_commit_is_dropped_wherever_it_is_cut() {
    let (built, name, start) = build_with_long_last_commit();
    let mut all = files(&built.path());
    all.remove("LOCK");
    let bytes = all[&name].clone();
    let copy = scratch();
    let path = copy.path().join("db");
    write_files(&path, &all);
    for length in (start..=content_end(&bytes)).rev() {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(path.join(&name))
            .expect("the log");
        file.set_len(length as u64).expect("a shorter log");
        expect_prefix(
            &built,
            &path,
            &format!("{name} cut at {length}, the record starts at {start}"),
        );
    }
}

#[test]
fn sectors_of_the_last_commit_that_never_arrived_are_a_torn_tail() {
    let (built, name, start) = build_with_long_last_commit();
    let mut all = files(&built.path());
    all.remove("LOCK");
    let bytes = all[&name].clone();
    let end = content_end(&bytes);
    let copy = scratch();
    let path = copy.path().join("db");
    for sector in (start.next_multiple_of(512)..end).step_by(512) {
        // The rest of the file reads as zeros, as after a power loss on a file system that had
        // extended the file but not written its data.
        let mut zeroed = bytes.clone();
        zeroed[sector..].fill(0);
        all.insert(name.clone(), zeroed);
        write_files(&path, &all);
        expect_prefix(
            &built,
            &path,
            &format!("{name}, zeros from {sector}, the record starts at {start}"),
        );
    }
}
