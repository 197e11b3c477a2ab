//! A disk that is full, met in the middle of commits, flushes and compactions: errors that say so, nothing
//! acknowledged lost, reads that go on, and writes and background work that resume without a reopen.
//!
//! The disk is a small tmpfs, which takes root to mount: elsewhere there is nothing to test.
#![cfg(target_os = "linux")]
#![expect(
    clippy::disallowed_methods,
    reason = "what takes the space lies outside the engine"
)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use trine_kv::{
    BlobLevelMergePolicy, BucketOptions, CompressionProfile, Db, DbOptions, DurabilityMode, Error,
    KeyRange, MaintenanceBudget,
};

/// A mounted tmpfs.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => None,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0.path()).output());
    }
}

fn open(path: &Path, durability: DurabilityMode) -> Db {
    Db::open_sync(DbOptions {
        durability,
        write_buffer_bytes: 1 << 20,
        background_worker_count: 2,
        ..DbOptions::new(path)
    })
    .expect("an open database")
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Puts rows until one is refused, which must be for want of space. Gives back that one.
fn fill(db: &Db, rows: &mut Rows, round: u8) -> (Vec<u8>, Vec<u8>) {
    for index in 0_u32.. {
        let key = format!("{round} {:04}", index * 7 % 9973).into_bytes();
        // Of a length that leaves room for a refusal of part of a record, and that does not compress.
        let mut state = u64::from(index) + 1;
        let value: Vec<u8> = (0..5_000 + index % 4_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect();
        match db.put_sync(key.clone(), value.clone()) {
            Ok(()) => drop(rows.insert(key, value)),
            Err(Error::Io(error)) if error.kind() == ErrorKind::StorageFull => return (key, value),
            Err(other) => panic!("not a full disk: {other:?}"),
        }
    }
    unreachable!("a disk without end");
}

fn rows(db: &Db) -> Rows {
    db.range_sync(&KeyRange::all())
        .expect("a scan")
        .map(|row| row.map(|row| (row.key, row.value)))
        .collect::<Result<_, _>>()
        .expect("readable rows")
}

#[test]
fn a_compaction_leaves_the_space_that_unflushed_writes_need() {
    let Some(disk) = Disk::mount(64 << 20) else {
        return;
    };
    let ballast = disk.path("ballast");
    let db = Db::open_sync(DbOptions {
        durability: DurabilityMode::Buffered,
        background_worker_count: 0,
        default_bucket_options: BucketOptions {
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        },
        ..DbOptions::new(disk.path("db"))
    })
    .expect("an open database");
    let mut expected = Rows::new();
    for table in 0..4_u8 {
        for row in 0..400_u32 {
            let key = format!("{row:04} {table}").into_bytes();
            let value: Vec<u8> = (0..5_000_u32)
                .map(|place| (place.wrapping_mul(0x9e37_79b9) ^ row).to_be_bytes()[1] ^ table)
                .collect();
            db.put_sync(key.clone(), value.clone()).unwrap();
            expected.insert(key, value);
        }
        if table < 3 {
            db.flush_sync().unwrap();
        }
    }
    // Room for what is not flushed yet, and not for a merge beside it.
    let free = trine_platform::space::free_bytes(disk.0.path()).unwrap();
    let taken = usize::try_from(free.checked_sub(6 << 20).expect("a larger disk")).unwrap();
    std::fs::write(&ballast, vec![1; taken]).unwrap();
    let refused = db.compact_range_sync(KeyRange::all()).unwrap_err();
    assert!(matches!(&refused, Error::Io(error) if error.kind() == ErrorKind::StorageFull));
    db.flush_sync().unwrap();
    assert_eq!(rows(&db), expected);
    std::fs::remove_file(&ballast).unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    assert_eq!(rows(&db), expected);
}

#[test]
fn a_full_disk_stops_writes_until_there_is_space_and_loses_nothing() {
    for durability in [DurabilityMode::Buffered, DurabilityMode::SyncAll] {
        let Some(disk) = Disk::mount(48 << 20) else {
            return;
        };
        // Without it there is room for compactions of all rows.
        let ballast = disk.path("ballast");
        let path = disk.path("db");
        let mut expected = Rows::new();
        let db = open(&path, durability);
        for round in 0..2 {
            std::fs::write(&ballast, vec![1; 30 << 20]).unwrap_or_default();
            let refused = fill(&db, &mut expected, round);
            assert_eq!(rows(&db), expected);
            std::fs::remove_file(&ballast).unwrap();
            // What failed in the background meanwhile is told once, by a write.
            let resumed =
                (0..10).any(|_| db.put_sync(refused.0.clone(), refused.1.clone()).is_ok());
            assert!(resumed, "{durability:?}: writes do not go on");
            expected.insert(refused.0, refused.1);
            db.flush_sync().unwrap();
            if round == 0 {
                // Room for the next round.
                db.delete_range_sync(KeyRange::all()).unwrap();
                expected.clear();
                db.compact_range_sync(KeyRange::all()).unwrap();
            }
        }
        assert_eq!(rows(&db), expected);
        drop(db);
        let db = open(&path, durability);
        assert_eq!(rows(&db), expected);
    }
}

/// What may need space.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Commit,
    Flush,
    Compact,
    CompactAndCollect,
    Checkpoint,
    Open,
}

/// A value that does not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed + 1;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn small_options(path: &Path) -> DbOptions {
    DbOptions {
        durability: DurabilityMode::SyncData,
        background_worker_count: 0,
        write_buffer_bytes: 4 << 20,
        blob_gc_min_file_bytes: 1,
        default_bucket_options: BucketOptions {
            compression: CompressionProfile::None,
            blob_threshold_bytes: 8 << 10,
            blob_level_merge_policy: BlobLevelMergePolicy::Disabled,
            ..BucketOptions::default()
        },
        ..DbOptions::new(path)
    }
}

/// Rows in tables and blob files that a merge and a collection have work with, and in the log.
fn fill_every_place(db: &Db) -> Rows {
    let mut expected = Rows::new();
    for round in 0..3_u64 {
        for row in 0..60_u64 {
            let key = format!("{:02}", row + round).into_bytes();
            let length = if row % 4 == 0 { 16 << 10 } else { 1 << 10 };
            let value = noise(row * 7 + round, length);
            db.put_sync(key.clone(), value.clone()).expect("a put");
            expected.insert(key, value);
        }
        if round < 2 {
            db.flush_sync().expect("a flush");
        }
    }
    expected
}

impl Phase {
    fn run(self, db: &Db, disk: &Disk) -> Result<(), Error> {
        match self {
            Self::Commit => db.put_sync("big", noise(1, 2 << 20)),
            Self::Flush => db.flush_sync(),
            Self::Compact => db.compact_range_sync(KeyRange::all()),
            Self::CompactAndCollect => {
                db.compact_range_sync(KeyRange::all())?;
                db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
                    .map(drop)
            }
            Self::Checkpoint => {
                let copy = disk.path("copy");
                let made = db.checkpoint_sync(&copy).map(drop);
                if made.is_err() {
                    drop(std::fs::remove_dir_all(&copy));
                }
                made
            }
            Self::Open => Ok(()),
        }
    }
}

#[test]
fn each_phase_may_meet_a_full_disk_and_works_when_there_is_space() {
    for phase in [
        Phase::Commit,
        Phase::Flush,
        Phase::Compact,
        Phase::CompactAndCollect,
        Phase::Checkpoint,
        Phase::Open,
    ] {
        let mut refused = 0;
        for room in [0_usize, 200 << 10] {
            let Some(disk) = Disk::mount(24 << 20) else {
                return;
            };
            let (path, ballast) = (disk.path("db"), disk.path("ballast"));
            let mut db = Db::open_sync(small_options(&path)).expect("an open database");
            let mut expected = fill_every_place(&db);
            if matches!(phase, Phase::CompactAndCollect) {
                db.flush_sync().unwrap();
            }
            if matches!(phase, Phase::Open) {
                db.close_sync();
            }
            let free = trine_platform::space::free_bytes(disk.0.path()).unwrap();
            let taken = usize::try_from(free).unwrap().saturating_sub(room);
            std::fs::write(&ballast, vec![1; taken]).unwrap();
            let is_full = |error: &Error| matches!(error, Error::Io(error) if error.kind() == ErrorKind::StorageFull);
            if matches!(phase, Phase::Open) {
                match Db::open_sync(small_options(&path)) {
                    Ok(opened) => assert_eq!(rows(&opened), expected),
                    Err(error) => {
                        assert!(is_full(&error), "{phase:?} {room}: {error}");
                        refused += 1;
                    }
                }
                std::fs::remove_file(&ballast).unwrap();
                db = Db::open_sync(small_options(&path)).expect("an open database");
            } else {
                if let Err(error) = phase.run(&db, &disk) {
                    assert!(is_full(&error), "{phase:?} {room}: {error}");
                    refused += 1;
                } else if matches!(phase, Phase::Commit) {
                    expected.insert(b"big".to_vec(), noise(1, 2 << 20));
                }
                assert_eq!(rows(&db), expected, "{phase:?} {room}");
                std::fs::remove_file(&ballast).unwrap();
                drop(std::fs::remove_dir_all(disk.path("copy")));
            }
            // The same handle goes on.
            phase
                .run(&db, &disk)
                .unwrap_or_else(|error| panic!("{phase:?} {room}, with space again: {error}"));
            if matches!(phase, Phase::Commit) {
                expected.insert(b"big".to_vec(), noise(1, 2 << 20));
            }
            assert_eq!(rows(&db), expected, "{phase:?} {room}");
            drop(db);
            let db = Db::open_sync(small_options(&path)).expect("an open database");
            assert_eq!(rows(&db), expected, "{phase:?} {room}");
        }
        assert!(refused > 0, "{phase:?} never met a full disk");
    }
}
