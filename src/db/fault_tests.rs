//! Every change of the directory fails once, or is the last one before the process dies: what was
//! acknowledged is there, whole batches only, and the directory opens by itself.

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::commit::batch::WriteBatch;
use crate::db::Db;
use crate::db::open::on_storage;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::{BucketOptions, DbOptions, DurabilityMode, WriteOptions};
use crate::types::KeyValue;

const MODE: Mode = Mode::Blocking;

fn open(storage: &Storage) -> Result<Db> {
    open_with(storage, DurabilityMode::SyncData)
}

fn open_with(storage: &Storage, durability: DurabilityMode) -> Result<Db> {
    let options = DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 200,
        max_immutable_memtables: 2,
        max_l0_files: 2,
        target_table_bytes: 300,
        durability,
        blob_gc_min_file_bytes: 1,
        // The values of the rounds lie in blob files, their numbers in tables.
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 50,
            ..BucketOptions::default()
        },
        ..DbOptions::new("unused")
    };
    block_on(on_storage(options, storage.clone(), MODE))
}

/// What a run of calls has acknowledged.
#[derive(Debug, Default)]
struct Told {
    /// The newest acknowledged round.
    acknowledged: u8,
    /// The newest round that was tried.
    tried: u8,
}

/// Writes rounds one after the other, each one batch over two buckets: round n puts its number under
/// `last` in both, puts the key n, and deletes the keys below n - 3.
fn run(storage: &Storage, told: &mut Told) -> Result<()> {
    run_with(storage, told, DurabilityMode::SyncData)
}

fn run_with(storage: &Storage, told: &mut Told, durability: DurabilityMode) -> Result<()> {
    for _ in 0..2 {
        let db = open_with(storage, durability)?;
        db.bucket_sync("other")?;
        for _ in 0..6 {
            let round = told.tried + 1;
            let mut batch = WriteBatch::new();
            batch.put("last", [round]);
            batch.put_bucket("other", "last", [round]).unwrap();
            batch.put([round], vec![round; 60]);
            batch.delete_range(KeyRange::half_open([0], [round.saturating_sub(3)]));
            told.tried = round;
            db.write_sync(batch, WriteOptions::default())?;
            told.acknowledged = round;
            if round.is_multiple_of(5) {
                db.flush_sync()?;
            }
            if round.is_multiple_of(4) {
                db.compact_range_sync(KeyRange::all())?;
            }
        }
    }
    Ok(())
}

fn check(db: &Db, told: &Told, place: &str) {
    let last = db.get_sync(b"last").unwrap().map_or(0, |value| value[0]);
    assert!(
        (told.acknowledged..=told.tried).contains(&last),
        "{place}: {last} of {told:?}"
    );
    if last > 0 {
        let other = db.bucket_sync("other").unwrap();
        assert_eq!(other.get_sync(b"last").unwrap().unwrap(), [last], "{place}");
    }
    assert_eq!(
        db.last_committed_sequence().get(),
        u64::from(last),
        "{place}"
    );
    let rows: Vec<_> = db
        .range_sync(&KeyRange::all())
        .unwrap()
        .map(|row| row.unwrap())
        .filter(|row| row.key.len() == 1)
        .collect();
    let expected: Vec<_> = (last.saturating_sub(3).max(1)..=last)
        .filter(|round| *round > 0)
        .map(|round| KeyValue::new([round], vec![round; 60]))
        .collect();
    assert_eq!(rows, expected, "{place}: {last}");
    db.verify_sync(|_| {})
        .unwrap_or_else(|error| panic!("{place}: {error}"));
}

fn changes_of_a_run() -> u64 {
    let storage = Storage::memory();
    run(&storage, &mut Told::default()).unwrap();
    storage.fail_changes(0, 0)
}

#[test]
fn a_crash_between_any_two_changes_loses_nothing_acknowledged() {
    for after in 0..changes_of_a_run() {
        let place = format!("crash after {after}");
        let storage = Storage::memory();
        storage.fail_changes(after, u64::MAX / 2);
        let mut told = Told::default();
        assert!(
            run(&storage, &mut told).is_err() || told.acknowledged == 12,
            "{place}"
        );
        // The reader of what a crash left changes nothing.
        storage.fail_changes(0, 0);
        let db = open(&storage).unwrap_or_else(|error| panic!("{place}: {error}"));
        check(&db, &told, &place);
        db.put_sync("more", "v").unwrap();
        db.flush_sync().unwrap();
        drop(db);
        let db = open(&storage).unwrap_or_else(|error| panic!("{place}, again: {error}"));
        assert_eq!(db.get_sync(b"more").unwrap().as_deref(), Some(&b"v"[..]));
        let names = block_on(storage.list(MODE)).unwrap();
        assert!(
            !names.iter().any(|name| name.starts_with("unfinished")),
            "{place}: {names:?}"
        );
    }
}

#[test]
fn a_failure_of_any_change_is_told_and_loses_nothing_acknowledged() {
    for after in 0..changes_of_a_run() {
        let place = format!("failure after {after}");
        let storage = Storage::memory();
        storage.fail_changes(after, 1);
        let mut told = Told::default();
        drop(run(&storage, &mut told));
        // How many changes a run makes depends on when readers let go of obsolete tables: this one may
        // not have come as far.
        storage.fail_changes(0, 0);
        let db = open(&storage).unwrap_or_else(|error| panic!("{place}: {error}"));
        check(&db, &told, &place);
        drop(db);
        // Goes on after the failure without a reopen, as far as it can.
        let storage = Storage::memory();
        storage.fail_changes(after, 1);
        let mut told = Told::default();
        for _ in 0..3 {
            drop(run(&storage, &mut told));
        }
        storage.fail_changes(0, 0);
        let db = open(&storage).unwrap_or_else(|error| panic!("{place}, resumed: {error}"));
        assert!(told.acknowledged > 0, "{place}");
        let last = db.get_sync(b"last").unwrap().unwrap()[0];
        assert!((told.acknowledged..=told.tried).contains(&last), "{place}");
    }
}

#[test]
fn a_power_loss_between_any_two_changes_leaves_a_prefix() {
    for durability in [DurabilityMode::Buffered, DurabilityMode::SyncData] {
        for after in 0..changes_of_a_run() {
            let place = format!("{durability:?}, power loss after {after}");
            let storage = Storage::memory();
            storage.fail_changes(after, u64::MAX / 2);
            let mut told = Told::default();
            drop(run_with(&storage, &mut told, durability));
            storage.fail_changes(0, 0);
            storage.lose_unsynced();
            if durability == DurabilityMode::Buffered {
                told.acknowledged = 0;
            }
            let db = open(&storage).unwrap_or_else(|error| panic!("{place}: {error}"));
            check(&db, &told, &place);
            db.put_sync("more", "v").unwrap();
            drop(db);
            storage.lose_unsynced();
            let db = open(&storage).unwrap_or_else(|error| panic!("{place}, again: {error}"));
            assert_eq!(db.get_sync(b"more").unwrap().as_deref(), Some(&b"v"[..]));
        }
    }
}

#[test]
fn a_commit_that_the_log_has_no_room_for_fails_alone_and_takes_no_sequence() {
    for durability in [DurabilityMode::Buffered, DurabilityMode::SyncData] {
        let storage = Storage::memory();
        let db = open_with(&storage, durability).unwrap();
        for round in 0..5_u8 {
            db.put_sync([round], [round]).unwrap();
        }
        for _ in 0..3 {
            storage.fail_changes(0, 1);
            match db.put_sync("refused", "v") {
                Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
                other => panic!("{other:?}"),
            }
        }
        let stats = db.core().commits.stats();
        assert_eq!((stats.visible, stats.allocated, stats.skipped), (5, 5, 0));
        db.put_sync([5], [5]).unwrap();
        storage.fail_changes(0, u64::MAX / 2);
        assert!(db.put_sync("refused", "v").is_err());
        // It could not be taken back either: nothing is written until the next open.
        storage.fail_changes(0, 0);
        assert!(db.put_sync("refused", "v").is_err());
        assert_eq!(db.get_sync(&[5]).unwrap().unwrap(), [5]);
        drop(db);
        let db = open(&storage).unwrap();
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 6);
    }
}
