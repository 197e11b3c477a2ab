//! What backups promise, in memory and on damaged directories.

use std::collections::BTreeMap;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::db::Db;
use crate::db::backup::names::Name;
use crate::db::backup::store::Store;
use crate::db::backup::{BackupId, BackupOptions, BackupReport};
use crate::db::open::on_storage;
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::{BucketOptions, CompressionProfile, DbOptions};

pub(super) const MODE: Mode = Mode::Blocking;

pub(super) fn open(storage: &Storage) -> Result<Db> {
    let options = DbOptions {
        background_worker_count: 0,
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 200,
            ..BucketOptions::default()
        },
        ..DbOptions::new("unused")
    };
    block_on(on_storage(options, storage.clone(), MODE))
}

pub(super) fn back_up(db: &Db, store: &Store) -> Result<BackupReport> {
    block_on(db.core().backup(store, BackupOptions::default(), 0, MODE))
}

pub(super) fn rows(db: &Db) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    rows.map(|row| row.map(|row| (row.key, row.value)).unwrap())
        .collect()
}

/// What the backup holds, restored and opened.
pub(super) fn restored(store: &Store, id: BackupId) -> Result<Db> {
    let target = Storage::memory();
    block_on(store.restore(id, &target, MODE))?;
    open(&target)
}

pub(super) fn ids(store: &Store) -> Vec<BackupId> {
    block_on(store.contents(MODE)).unwrap().backups
}

/// The names of the data files, sorted.
fn data_names(store: &Store) -> Vec<String> {
    let data = block_on(store.contents(MODE)).unwrap().data;
    let names = data.iter().map(|(source, crc)| source.stored_name(*crc));
    names.collect()
}

fn change_byte(storage: &Storage, name: &str, at: u64) {
    let file = block_on(storage.open_write(MODE, name)).unwrap();
    let byte = block_on(file.read_at(MODE, at, 1)).unwrap();
    block_on(file.write_at(MODE, at, vec![byte[0] ^ 0x10])).unwrap();
}

#[test]
fn each_backup_shows_what_was_there_when_it_was_made() {
    let (storage, store) = (Storage::memory(), Store::new(Storage::memory()));
    let db = open(&storage).unwrap();
    let mut expected = Vec::new();
    for round in 0..4_u8 {
        db.put_sync([round], vec![round; 10]).unwrap();
        db.put_sync(b"large", vec![round; 300]).unwrap();
        db.put_sync(b"same", "value").unwrap();
        db.delete_sync([round / 2]).unwrap();
        if round == 2 {
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
        let report = back_up(&db, &store).unwrap();
        assert_eq!(report.backup.sequence, db.last_committed_sequence());
        expected.push((report.backup, rows(&db)));
    }
    for (backup, rows_then) in expected {
        assert_eq!(block_on(store.verify(backup.id, MODE)).unwrap(), backup);
        let db = restored(&store, backup.id).unwrap();
        assert_eq!(rows(&db), rows_then);
        assert_eq!(db.last_committed_sequence(), backup.sequence);
        db.verify_sync(|_| ()).unwrap();
    }
}

#[test]
fn what_is_there_already_is_not_copied_again() {
    let (storage, store) = (Storage::memory(), Store::new(Storage::memory()));
    let db = open(&storage).unwrap();
    db.put_sync("a", "1").unwrap();
    let first = back_up(&db, &store).unwrap();
    assert_eq!(first.copied_files, 1);
    assert_eq!(first.copied_bytes, first.backup.bytes);
    let second = back_up(&db, &store).unwrap();
    assert_eq!((second.copied_files, second.copied_bytes), (0, 0));
    assert_eq!(second.backup.bytes, first.backup.bytes);
    db.put_sync("b", "1").unwrap();
    let third = back_up(&db, &store).unwrap();
    assert_eq!((third.copied_files, third.backup.files), (1, 2));
    // Also after a reopening.
    drop(db);
    let db = open(&storage).unwrap();
    assert_eq!(back_up(&db, &store).unwrap().copied_files, 0);
}

#[test]
fn buckets_and_their_options_are_restored() {
    let (storage, store) = (Storage::memory(), Store::new(Storage::memory()));
    let db = open(&storage).unwrap();
    let options = BucketOptions {
        compression: CompressionProfile::None,
        block_bytes: 1234,
        ..BucketOptions::default()
    };
    let bucket = db.bucket_with_options_sync("b", options.clone()).unwrap();
    bucket.put_sync("k", "v").unwrap();
    db.bucket_sync("empty").unwrap();
    let id = back_up(&db, &store).unwrap().backup.id;
    db.drop_bucket_sync("b").unwrap();
    let db = restored(&store, id).unwrap();
    let bucket = db.bucket_with_options_sync("b", options.clone()).unwrap();
    assert_eq!(*bucket.options(), options);
    assert_eq!(bucket.get_sync(b"k").unwrap().unwrap(), b"v");
    assert_eq!(db.bucket_names().len(), 2);
}

/// A restored database goes on with the same file numbers as the one that it came from.
#[test]
fn databases_that_went_different_ways_share_a_directory_without_mixing() {
    let (storage, store) = (Storage::memory(), Store::new(Storage::memory()));
    let left = open(&storage).unwrap();
    left.put_sync("a", "1").unwrap();
    let common = back_up(&left, &store).unwrap().backup.id;
    let right = restored(&store, common).unwrap();
    left.put_sync("c", "1").unwrap();
    left.flush_sync().unwrap();
    let mut expected = Vec::new();
    for (db, value) in [(&left, "left!"), (&right, "right")] {
        db.put_sync("b", value).unwrap();
        let report = back_up(db, &store).unwrap();
        expected.push((report.backup.id, rows(db)));
    }
    let numbers = data_names(&store);
    let numbers = numbers.iter().map(|name| match Name::parse(name) {
        Name::Data(source, _) => source.number,
        other => panic!("{other:?}"),
    });
    let numbers: Vec<_> = numbers.collect();
    assert!(
        numbers.windows(2).any(|pair| pair[0] == pair[1]),
        "the same number twice: {numbers:?}"
    );
    for (id, rows_then) in expected {
        assert_eq!(rows(&restored(&store, id).unwrap()), rows_then);
    }
}

#[test]
fn pruning_keeps_the_newest_and_all_that_they_need() {
    let (storage, store) = (Storage::memory(), Store::new(Storage::memory()));
    let db = open(&storage).unwrap();
    for round in 0..5_u8 {
        db.put_sync([round], "v").unwrap();
        if round % 2 == 0 {
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
        back_up(&db, &store).unwrap();
    }
    let before = data_names(&store).len();
    let report = block_on(store.prune(2, MODE)).unwrap();
    assert_eq!(report.backups, 3);
    assert_eq!(ids(&store), [4, 5].map(BackupId::new));
    let mut needed: Vec<_> = ids(&store)
        .iter()
        .flat_map(|id| {
            block_on(store.read(*id, MODE))
                .unwrap()
                .names()
                .collect::<Vec<_>>()
        })
        .collect();
    needed.sort();
    needed.dedup();
    assert_eq!(data_names(&store), needed);
    assert_eq!(before - needed.len(), report.files);
    assert_eq!(
        rows(&restored(&store, BackupId::new(5)).unwrap()),
        rows(&db)
    );
    assert!(matches!(
        block_on(store.prune(0, MODE)),
        Err(Error::InvalidOptions { .. })
    ));
    // Numbers go on.
    assert_eq!(back_up(&db, &store).unwrap().backup.id, BackupId::new(6));
}

#[test]
fn what_is_missing_or_changed_is_found_and_never_restored() {
    let (storage, target) = (Storage::memory(), Storage::memory());
    let store = Store::new(target.clone());
    let db = open(&storage).unwrap();
    db.put_sync("a", "1").unwrap();
    db.put_sync("large", vec![7; 300]).unwrap();
    let id = back_up(&db, &store).unwrap().backup.id;
    let names = data_names(&store);
    assert_eq!(names.len(), 2);
    for name in names {
        let bytes = block_on(target.read_file(MODE, &name, 1 << 20)).unwrap();
        for at in [0, bytes.len() as u64 / 2, bytes.len() as u64 - 1] {
            change_byte(&target, &name, at);
            for found in [
                block_on(store.verify(id, MODE)).map(drop),
                restored(&store, id).map(drop),
            ] {
                match found {
                    Err(Error::Corruption { message }) => assert!(message.contains(&name)),
                    other => panic!("{other:?}"),
                }
            }
            change_byte(&target, &name, at);
        }
        block_on(store.verify(id, MODE)).unwrap();
        let file = block_on(target.open_write(MODE, &name)).unwrap();
        for length in [bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
            block_on(file.set_len(MODE, length)).unwrap();
            let found = block_on(store.verify(id, MODE));
            assert!(matches!(found, Err(Error::Corruption { .. })), "{found:?}");
        }
        block_on(target.remove(MODE, &name)).unwrap();
        let found = block_on(store.verify(id, MODE));
        assert!(matches!(found, Err(Error::Corruption { .. })), "{found:?}");
        // What is gone, or has another length, is copied by the next backup, for the earlier ones too.
        assert_eq!(back_up(&db, &store).unwrap().copied_files, 1);
        block_on(store.verify(id, MODE)).unwrap();
    }
}

#[test]
fn a_backup_that_looks_closely_repairs_what_it_shares() {
    let (storage, target) = (Storage::memory(), Storage::memory());
    let store = Store::new(target.clone());
    let db = open(&storage).unwrap();
    db.put_sync("a", "1").unwrap();
    let id = back_up(&db, &store).unwrap().backup.id;
    change_byte(&target, &data_names(&store)[0], 30);
    let options = BackupOptions {
        check_shared: true,
        ..BackupOptions::default()
    };
    let report = block_on(db.core().backup(&store, options, 0, MODE)).unwrap();
    assert_eq!(report.copied_files, 1);
    block_on(store.verify(id, MODE)).unwrap();
    let report = block_on(db.core().backup(&store, options, 0, MODE)).unwrap();
    assert_eq!(report.copied_files, 0);
}

#[test]
fn a_backup_that_cannot_be_read_hides_no_other_and_stops_pruning() {
    let (storage, target) = (Storage::memory(), Storage::memory());
    let store = Store::new(target.clone());
    let db = open(&storage).unwrap();
    for round in 0..3_u8 {
        db.put_sync([round], "v").unwrap();
        back_up(&db, &store).unwrap();
    }
    change_byte(&target, "BACKUP-000002", 40);
    let listed = block_on(store.infos(MODE)).unwrap();
    let readable: Vec<_> = listed.iter().map(|(_, info)| info.is_ok()).collect();
    assert_eq!(readable, [true, false, true]);
    let before = data_names(&store);
    assert!(matches!(
        block_on(store.prune(2, MODE)),
        Err(Error::Corruption { .. })
    ));
    assert_eq!((ids(&store).len(), data_names(&store)), (3, before));
    block_on(store.forget(BackupId::new(2), MODE)).unwrap();
    assert_eq!(block_on(store.prune(1, MODE)).unwrap().backups, 1);
    assert_eq!(
        rows(&restored(&store, BackupId::new(3)).unwrap()),
        rows(&db)
    );
    let unknown = block_on(store.forget(BackupId::new(2), MODE));
    assert!(matches!(unknown, Err(Error::InvalidOptions { .. })));
}

#[test]
fn only_one_changes_a_directory_and_never_that_of_a_database() {
    let (storage, target) = (Storage::memory(), Storage::memory());
    let store = Store::new(target.clone());
    let db = open(&storage).unwrap();
    db.put_sync("a", "1").unwrap();
    let lock = block_on(store.enter(MODE)).unwrap();
    for refused in [
        back_up(&db, &store).map(drop),
        block_on(store.prune(1, MODE)).map(drop),
    ] {
        match refused {
            Err(Error::Corruption { message }) => assert!(message.contains("lock"), "{message}"),
            other => panic!("{other:?}"),
        }
    }
    drop(lock);
    back_up(&db, &store).unwrap();
    let found = back_up(&db, &Store::new(storage.clone()));
    assert!(matches!(found, Err(Error::InvalidOptions { .. })));
    // A database is not made where backups are.
    assert!(open(&target).is_err());
    // Nor restored over anything.
    let over = block_on(store.restore(BackupId::new(1), &storage, MODE));
    assert!(matches!(over, Err(Error::InvalidOptions { .. })));
}

#[test]
fn a_directory_that_is_missing_has_no_backups() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::new(Storage::portable_inline(&home.path().join("none")));
    assert!(block_on(store.infos(MODE)).unwrap().is_empty());
    let found = block_on(store.verify(BackupId::new(1), MODE));
    assert!(
        matches!(found, Err(Error::InvalidOptions { .. })),
        "{found:?}"
    );
    assert!(!home.path().join("none").exists());
}
