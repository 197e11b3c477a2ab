//! A process killed at a random moment loses nothing that it acknowledged, in any durability mode, under any executor,
//! with any way of reading files, with small values and with large ones whose blob files are collected.
//!
//! This binary starts itself again as the writer. Writer threads commit batches over two buckets and
//! print one line for each commit that returned; the parent counts lines, kills without warning,
//! reads what is left in the pipe, reopens and compares every row:
//!
//! - each thread's last commit is the last acknowledged one, or the one after it;
//! - a batch is there whole or not at all, in both buckets, with its deletes;
//! - every second commit merges into a counter that all threads share and into one of its own, which count exactly the commits that
//!   happened, and puts a value that expires at once and one that does not for long;
//! - beside them are loads, each of all rows of a third bucket: there whole or not at all;
//! - the sequence number is the number of commits: none was lost, none was applied twice; a load that was cut off may
//!   have taken one;
//! - each backup that is listed is whole, and none that was made is gone;
//! - the lock is free at once, and gone after a close, as is every file that was half made.
//!
//! Rounds of one workload share a directory, so crashes pile up on crashes. `TRINE_KILL_ROUNDS` sets how many
//! there are of each; `ci/kill.sh` makes thousands.
#![cfg(not(target_family = "wasm"))]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trine_kv::{
    BackupOptions, Backups, BlobGcRatio, BlobLevelMergePolicy, Bucket, BucketOptions, Db,
    DbOptions, DurabilityMode, FileReads, KeyRange, MergeOperator, Merged, RuntimeOptions,
    WriteBatch,
};

mod common {
    pub(crate) mod random;
}
use common::random::{Random, seed};

const DIRECTORY: &str = "TRINE_KILL_DIRECTORY";
const WORKLOAD: &str = "TRINE_KILL_WORKLOAD";
/// Of each workload, in the default suite.
const ROUNDS: u64 = 4;
/// Batches older than this many commits of the same thread are deleted again.
const WINDOW: u64 = 12;
/// The bucket of the loads, and how many rows each has.
const LOADED: &str = "loaded";
const LOADED_ROWS: u64 = 40;
/// The bucket of counters and of values that expire.
const COUNTED: &str = "counted";
const A_DAY: Duration = Duration::from_hours(24);
/// A writer whose parent is gone stops by itself.
const COMMITS_MAX: u64 = 20_000;

/// Who waits for commits.
#[derive(Clone, Copy, Debug)]
enum Caller {
    /// The threads that make them.
    Blocking,
    /// The threads that poll their futures, each its own.
    Bare,
    Tokio,
    Smol,
}

#[derive(Clone, Copy, Debug)]
struct Workload {
    threads: u64,
    durability: DurabilityMode,
    write_buffer_bytes: usize,
    workers: usize,
    /// A thread that flushes, compacts, loads and makes backups all the time.
    maintenance: bool,
    caller: Caller,
    runtime: RuntimeOptions,
    file_reads: FileReads,
    /// Most values go to blob files, which are collected as soon as they hold garbage.
    large_values: Option<BlobLevelMergePolicy>,
}

const fn workload(threads: u64, durability: DurabilityMode) -> Workload {
    Workload {
        threads,
        durability,
        write_buffer_bytes: 64 << 20,
        workers: 1,
        maintenance: false,
        caller: Caller::Blocking,
        runtime: RuntimeOptions::native_threads(),
        file_reads: FileReads::Mapped,
        large_values: None,
    }
}

const fn busy(threads: u64, durability: DurabilityMode, workers: usize) -> Workload {
    Workload {
        write_buffer_bytes: 4096,
        workers,
        maintenance: true,
        ..workload(threads, durability)
    }
}

const WORKLOADS: [Workload; 13] = [
    workload(1, DurabilityMode::SyncAll),
    workload(4, DurabilityMode::SyncAll),
    busy(1, DurabilityMode::SyncAll, 0),
    busy(4, DurabilityMode::SyncAll, 1),
    workload(3, DurabilityMode::SyncData),
    workload(1, DurabilityMode::Buffered),
    busy(4, DurabilityMode::Buffered, 1),
    busy(2, DurabilityMode::Flush, 0),
    Workload {
        caller: Caller::Tokio,
        large_values: Some(BlobLevelMergePolicy::Disabled),
        ..busy(8, DurabilityMode::Buffered, 1)
    },
    Workload {
        caller: Caller::Smol,
        large_values: Some(BlobLevelMergePolicy::Auto),
        ..busy(4, DurabilityMode::SyncData, 1)
    },
    Workload {
        caller: Caller::Bare,
        file_reads: FileReads::Copied,
        large_values: Some(BlobLevelMergePolicy::Always),
        ..busy(3, DurabilityMode::Flush, 1)
    },
    Workload {
        caller: Caller::Tokio,
        runtime: RuntimeOptions::platform_io(),
        file_reads: FileReads::Copied,
        large_values: Some(BlobLevelMergePolicy::Disabled),
        ..busy(8, DurabilityMode::SyncAll, 1)
    },
    Workload {
        runtime: RuntimeOptions::inline(),
        large_values: Some(BlobLevelMergePolicy::Disabled),
        ..busy(2, DurabilityMode::Buffered, 0)
    },
];

impl Workload {
    /// The database, its second bucket, and the bucket of counters.
    fn open(self, directory: &Path) -> (Db, [Bucket; 2]) {
        let mut bucket = BucketOptions::default();
        if let Some(policy) = self.large_values {
            bucket.blob_threshold_bytes = 100;
            bucket.blob_level_merge_policy = policy;
        }
        let options = DbOptions {
            durability: self.durability,
            write_buffer_bytes: self.write_buffer_bytes,
            background_worker_count: self.workers,
            runtime: self.runtime,
            file_reads: self.file_reads,
            blob_gc_min_file_bytes: 1,
            blob_gc_discardable_ratio: BlobGcRatio::from_millionths(300_000),
            ..DbOptions::new(directory)
                .with_default_bucket_options(bucket.clone())
                .with_merge_operator("sum", Sum)
        };
        let db = Db::open_sync(options).expect("a killed writer never blocks the next open");
        db.bucket_sync(LOADED).expect("the bucket of loads");
        let counted = bucket.clone().with_merge_operator("sum");
        let buckets = [("other", bucket), (COUNTED, counted)].map(|(name, options)| {
            let opened = db.bucket_with_options_sync(name, options);
            opened.expect("the same options as before")
        });
        (db, buckets)
    }
}

fn head(thread: u64) -> Vec<u8> {
    format!("head-{thread}").into_bytes()
}

/// The rows that commit `stamp` of `thread` puts into each bucket.
fn rows(thread: u64, stamp: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut random = Random(thread << 40 | stamp);
    let count = 1 + random.next() % 5;
    (0..count).map(move |index| {
        let key = format!("row-{thread}-{stamp:08}-{index}").into_bytes();
        // Some are long enough to go to a blob file with their commit, where values go to blob files.
        let least = if random.next().is_multiple_of(12) {
            5000
        } else {
            0
        };
        let length = usize::try_from(least + random.next() % 400).expect("a small length");
        let mut value = stamp.to_le_bytes().to_vec();
        value.resize(8 + length, stamp.to_le_bytes()[0]);
        (key, value)
    })
}

struct Sum;

fn sum<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Merged {
    let mut sum = 0;
    for number in numbers {
        sum += u64::from_le_bytes(number.try_into()?);
    }
    Ok(Some(sum.to_le_bytes().to_vec()))
}

impl MergeOperator for Sum {
    fn merge(&self, _: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
        sum(existing.into_iter().chain(operands.iter().copied()))
    }

    fn combine(&self, _: &[u8], operands: &[&[u8]]) -> Merged {
        sum(operands.iter().copied())
    }
}

/// What every second commit does beside: it counts itself, and puts values that expire.
fn count(batch: &mut WriteBatch, thread: u64, stamp: u64) -> trine_kv::Result<()> {
    batch.merge_bucket(COUNTED, "all", 1_u64.to_le_bytes())?;
    batch.merge_bucket(COUNTED, head(thread), 1_u64.to_le_bytes())?;
    let key = |name| format!("{name}-{thread}");
    let value = stamp.to_le_bytes();
    batch.put_with_ttl_bucket(COUNTED, key("kept"), value, A_DAY)?;
    batch.put_with_ttl_bucket(COUNTED, key("spent"), value, Duration::ZERO)
}

/// All that must be counted when the last commit of each thread is `heads[thread]`.
fn expected_counts(heads: &[u64]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut total = 0;
    for (thread, last) in (0_u64..).zip(heads).filter(|(_, last)| **last > 1) {
        let count = last / 2;
        total += count;
        all.insert(head(thread), count.to_le_bytes().to_vec());
        let kept = format!("kept-{thread}").into_bytes();
        all.insert(kept, (2 * count).to_le_bytes().to_vec());
        all.insert(b"all".to_vec(), total.to_le_bytes().to_vec());
    }
    all
}

fn batch(thread: u64, stamp: u64) -> WriteBatch {
    let mut batch = WriteBatch::new();
    if stamp.is_multiple_of(2) {
        count(&mut batch, thread, stamp).expect("a bucket's name");
    }
    for (key, value) in rows(thread, stamp) {
        batch.put(key.clone(), value.clone());
        batch
            .put_bucket("other", key, value)
            .expect("a bucket's name");
    }
    batch.put(head(thread), stamp.to_le_bytes());
    batch
        .put_bucket("other", head(thread), stamp.to_le_bytes())
        .expect("a bucket's name");
    if let Some(old) = stamp.checked_sub(WINDOW) {
        for (key, _) in rows(thread, old) {
            batch.delete(key.clone());
            batch.delete_bucket("other", key).expect("a bucket's name");
        }
    }
    batch
}

/// Everything that must be in each bucket when the last commit of each thread is `heads[thread]`.
fn expected(heads: &[u64]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (thread, &last) in (0_u64..).zip(heads) {
        for stamp in (1..=last)
            .rev()
            .take(usize::try_from(WINDOW).expect("a small window"))
        {
            all.extend(rows(thread, stamp));
        }
        if last > 0 {
            all.insert(head(thread), last.to_le_bytes().to_vec());
        }
    }
    all
}

fn found(bucket: &Bucket) -> BTreeMap<Vec<u8>, Vec<u8>> {
    bucket
        .range_sync(&KeyRange::all())
        .expect("a scan")
        .map(|row| row.expect("a row"))
        .map(|row| (row.key, row.value))
        .collect()
}

fn stored_heads(db: &Db, threads: u64) -> Vec<u64> {
    (0..threads)
        .map(|thread| match db.get_sync(&head(thread)).expect("a read") {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().expect("eight bytes")),
            None => 0,
        })
        .collect()
}

/// The loads that have happened: all rows are of the last one.
fn loads(db: &Db) -> u64 {
    let bucket = db.bucket_sync(LOADED).expect("the bucket of loads");
    let rows = bucket.range_sync(&KeyRange::all()).expect("a scan");
    let stamps: Vec<_> = rows.map(|row| row.expect("a row").value).collect();
    let Some(first) = stamps.first() else {
        return 0;
    };
    assert!(stamps.iter().all(|stamp| stamp == first), "{stamps:?}");
    assert_eq!(u64::try_from(stamps.len()), Ok(LOADED_ROWS));
    u64::from_le_bytes(first[..].try_into().expect("eight bytes"))
}

/// The backups of a database, beside it.
fn backups(directory: &Path) -> Backups {
    Backups::in_directory(directory.with_file_name("backups"))
}

/// Flushes, compacts, loads and makes backups. Loads are acknowledged like the commits of another thread, and backups of one more.
fn maintain(db: &Db, directory: &Path, thread: u64, stop: &AtomicBool) {
    let (mut stamp, backups) = (loads(db), backups(directory));
    let bucket = db.bucket_sync(LOADED).expect("the bucket of loads");
    while !stop.load(Ordering::Relaxed) {
        db.flush_sync().expect("a flush");
        stamp += 1;
        let rows = (0..LOADED_ROWS).map(|row| (row.to_be_bytes(), stamp.to_le_bytes()));
        bucket.bulk_load_sync(rows).expect("a load");
        acknowledge(thread, stamp);
        let made = db.backup_sync(&backups, BackupOptions::default());
        acknowledge(thread + 1, made.expect("a backup").backup.id.get());
        backups.prune_sync(2).expect("pruned backups");
        db.compact_range_sync(KeyRange::all())
            .expect("a compaction");
    }
}

/// The writer. Does nothing unless the parent started it.
#[test]
fn writer_that_gets_killed() {
    let Some(directory) = env::var_os(DIRECTORY) else {
        return;
    };
    let index: usize = env::var(WORKLOAD).unwrap().parse().unwrap();
    let workload = WORKLOADS[index];
    let (db, _) = workload.open(Path::new(&directory));
    let heads = stored_heads(&db, workload.threads);
    let stop = AtomicBool::new(false);
    // What the test runner printed so far has no line end.
    std::io::stdout().write_all(b"\n").unwrap();
    std::thread::scope(|scope| {
        if workload.maintenance {
            scope.spawn(|| maintain(&db, Path::new(&directory), workload.threads, &stop));
        }
        workload.caller.run(&db, &heads);
        stop.store(true, Ordering::Relaxed);
    });
}

fn acknowledge(thread: u64, stamp: u64) {
    // One `write` to the pipe for each line: lines of threads do not mix.
    let line = format!("ack {thread} {stamp}\n");
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the pipe");
    out.flush().expect("the pipe");
}

/// Commits one after the other, and reads what it committed.
async fn commit_all(db: Db, thread: u64, last: u64) {
    let options = trine_kv::WriteOptions::buffered();
    for stamp in last + 1..last + COMMITS_MAX {
        db.write(batch(thread, stamp), options)
            .await
            .expect("a commit");
        acknowledge(thread, stamp);
        let read = db.get(&head(thread)).await.expect("a read");
        assert_eq!(read.as_deref(), Some(&stamp.to_le_bytes()[..]));
    }
}

impl Caller {
    /// Lets one writer for each of the heads commit, all at once.
    fn run(self, db: &Db, heads: &[u64]) {
        let tasks = (0..).zip(heads.iter().copied());
        let tasks = tasks.map(|(thread, last)| (thread, last, db.clone()));
        match self {
            Self::Blocking => std::thread::scope(|scope| {
                for (thread, last, db) in tasks {
                    scope.spawn(move || {
                        let options = trine_kv::WriteOptions::buffered();
                        for stamp in last + 1..last + COMMITS_MAX {
                            db.write_sync(batch(thread, stamp), options)
                                .expect("a commit");
                            acknowledge(thread, stamp);
                        }
                    });
                }
            }),
            Self::Bare => std::thread::scope(|scope| {
                for (thread, last, db) in tasks {
                    scope.spawn(move || trine_kv::block_on(commit_all(db, thread, last)));
                }
            }),
            Self::Tokio => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .build()
                    .expect("a runtime");
                let tasks: Vec<_> = tasks
                    .map(|(thread, last, db)| runtime.spawn(commit_all(db, thread, last)))
                    .collect();
                for task in tasks {
                    runtime.block_on(task).expect("a task that ends");
                }
            }
            Self::Smol => {
                let tasks: Vec<_> = tasks
                    .map(|(thread, last, db)| smol::spawn(commit_all(db, thread, last)))
                    .collect();
                for task in tasks {
                    smol::block_on(task);
                }
            }
        }
    }
}

fn note_acknowledgement(line: &str, acknowledged: &mut [u64]) -> bool {
    let mut words = line.split(' ');
    let (Some("ack"), Some(thread), Some(stamp)) = (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let (Ok(thread), Ok(stamp)) = (thread.parse::<usize>(), stamp.trim_end().parse()) else {
        return false;
    };
    acknowledged[thread] = stamp;
    true
}

/// Runs a writer, kills it after `lines` acknowledgements and `spins`, returns what it acknowledged.
fn run_and_kill(directory: &Path, index: usize, heads: &[u64], lines: u64, spins: u64) -> Vec<u64> {
    let mut child = Command::new(env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "writer_that_gets_killed",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIRECTORY, directory)
        .env(WORKLOAD, index.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child process");
    let mut acknowledged = heads.to_vec();
    let mut out = BufReader::new(child.stdout.take().expect("the child's output"));
    let mut line = String::new();
    let mut count = 0;
    let mut ended = false;
    while count < lines && !ended {
        line.clear();
        ended = out.read_line(&mut line).expect("a line") == 0;
        count += u64::from(note_acknowledgement(&line, &mut acknowledged));
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().expect("the child can be killed");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("the rest of the pipe");
    for line in String::from_utf8_lossy(&rest).split_inclusive('\n') {
        // A line without its end was cut by the kill, after its commit returned; it proves nothing.
        if line.ends_with('\n') {
            note_acknowledgement(line, &mut acknowledged);
        }
    }
    let mut complaints = String::new();
    child
        .stderr
        .take()
        .expect("the child's errors")
        .read_to_string(&mut complaints)
        .expect("text");
    child.wait().expect("the child ends");
    assert!(
        !ended,
        "the writer ended before it was killed:\n{complaints}"
    );
    assert!(
        !complaints.contains("panicked"),
        "the writer failed:\n{complaints}"
    );
    acknowledged
}

/// The newest backup that was made is listed, or a later one, and all that are listed are whole.
fn check_backups(directory: &Path, acknowledged: u64) -> u64 {
    let backups = backups(directory);
    let listed = backups.list_sync().expect("the backups");
    for (id, info) in &listed {
        info.as_ref().expect("a backup's own file");
        backups.verify_sync(*id).expect("a whole backup");
    }
    let newest = listed.last().map_or(0, |(id, _)| id.get());
    assert!(newest >= acknowledged, "backup {acknowledged} is gone");
    newest
}

/// Gives back how far each thread was, the loads and the backups behind them. `interrupted` counts the loads that took a
/// sequence and nothing else.
fn check_after_kill(
    directory: &Path,
    workload: Workload,
    acknowledged: &[u64],
    interrupted: &mut u64,
) -> Vec<u64> {
    let (acknowledged, beside) = acknowledged.split_at(acknowledged.len() - 2);
    let (db, [other, counted]) = workload.open(directory);
    let mut heads = stored_heads(&db, workload.threads);
    let loads = loads(&db);
    assert!(
        loads == beside[0] || loads == beside[0] + 1,
        "loads: acknowledged {}, found {loads}",
        beside[0]
    );
    let newest = check_backups(directory, beside[1]);
    for (thread, (&last, &acknowledged)) in heads.iter().zip(acknowledged).enumerate() {
        assert!(
            last == acknowledged || last == acknowledged + 1,
            "thread {thread}: acknowledged {acknowledged}, found {last}"
        );
    }
    let expected = expected(&heads);
    assert_same(
        &found(&db.default_bucket_sync().expect("the default bucket")),
        &expected,
        "default",
    );
    assert_same(&found(&other), &expected, "other");
    assert_same(&found(&counted), &expected_counts(&heads), COUNTED);
    let commits = heads.iter().sum::<u64>() + loads + *interrupted;
    let sequence = db.last_committed_sequence().get();
    assert!(
        sequence == commits || workload.maintenance && sequence == commits + 1,
        "{commits} commits and one sequence number for each, not {sequence}"
    );
    *interrupted += sequence - commits;
    // A memtable's large values are in a file that is not finished before its flush.
    let flushed = commits.is_multiple_of(2);
    if flushed {
        db.flush_sync().expect("a flush");
    }
    db.close_sync();
    assert!(
        !directory.join("LOCK").exists(),
        "the lock is gone after a close"
    );
    let unfinished = std::fs::read_dir(directory)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .find(|name| name.to_string_lossy().starts_with("unfinished"));
    assert!(
        !flushed || unfinished.is_none(),
        "what was half made is gone: {unfinished:?}"
    );
    heads.extend([loads, newest]);
    heads
}

fn assert_same(
    found: &BTreeMap<Vec<u8>, Vec<u8>>,
    expected: &BTreeMap<Vec<u8>, Vec<u8>>,
    bucket: &str,
) {
    let text = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
    let lost: Vec<_> = expected
        .keys()
        .filter(|key| !found.contains_key(*key))
        .map(text)
        .collect();
    let extra: Vec<_> = found
        .keys()
        .filter(|key| !expected.contains_key(*key))
        .map(text)
        .collect();
    assert!(
        lost.is_empty() && extra.is_empty(),
        "bucket {bucket}: lost {lost:?}, not expected {extra:?}"
    );
    for (key, value) in expected {
        assert_eq!(
            found.get(key),
            Some(value),
            "bucket {bucket}, key {}",
            text(key)
        );
    }
}

fn rounds_of(index: usize) {
    let workload = WORKLOADS[index];
    let seed = seed(&format!("kill, workload {index} {workload:?}"));
    let mut random = Random(seed ^ u64::try_from(index).expect("a small index"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("db");
    // Of the threads, the loads and the backups.
    let mut heads = vec![0; usize::try_from(workload.threads).expect("few threads") + 2];
    let mut interrupted = 0;
    let rounds = env::var("TRINE_KILL_ROUNDS").map_or(ROUNDS, |text| {
        text.parse().expect("TRINE_KILL_ROUNDS is a number")
    });
    for round in 0..rounds {
        // Every fourth round kills while the database opens, before any commit returned.
        let lines = if round % 4 == 3 {
            0
        } else {
            1 + random.next() % 200
        };
        let spins = random.next() % if lines == 0 { 3_000_000 } else { 100_000 };
        eprintln!("kill: round {round}, after {lines} acknowledgements and {spins} spins");
        let acknowledged = run_and_kill(&path, index, &heads, lines, spins);
        heads = check_after_kill(&path, workload, &acknowledged, &mut interrupted);
    }
}

#[test]
fn sync_all_survives_a_kill() {
    rounds_of(0);
}

#[test]
fn sync_all_of_several_threads_survives_a_kill() {
    rounds_of(1);
}

#[test]
fn sync_all_survives_a_kill_during_flush_and_compaction() {
    rounds_of(2);
}

#[test]
fn sync_all_of_several_threads_survives_a_kill_during_flush_and_compaction() {
    rounds_of(3);
}

#[test]
fn sync_data_survives_a_kill() {
    rounds_of(4);
}

#[test]
fn buffered_survives_a_kill() {
    rounds_of(5);
}

#[test]
fn buffered_of_several_threads_survives_a_kill_during_flush_and_compaction() {
    rounds_of(6);
}

#[test]
fn flush_mode_survives_a_kill_during_flush_and_compaction() {
    rounds_of(7);
}

#[test]
fn tasks_of_tokio_survive_a_kill_while_blob_files_are_collected() {
    rounds_of(8);
}

#[test]
fn tasks_of_smol_survive_a_kill_while_blob_files_are_collected() {
    rounds_of(9);
}

#[test]
fn futures_polled_by_threads_survive_a_kill_without_maps() {
    rounds_of(10);
}

#[test]
fn reads_of_the_platform_survive_a_kill_while_blob_files_are_collected() {
    rounds_of(11);
}

#[test]
fn an_inline_runtime_survives_a_kill_while_blob_files_are_collected() {
    rounds_of(12);
}
