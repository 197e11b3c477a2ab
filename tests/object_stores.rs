//! Backups in stores of objects, of the feature `object-store`.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use trine_kv::{BackupId, BackupOptions, Backups, Db, DbOptions, Error, block_on};

fn database(path: &Path) -> Db {
    let db = Db::open_sync(DbOptions::new(path)).unwrap();
    for number in 0..100_u8 {
        db.put_sync([number], vec![number; 100]).unwrap();
    }
    db
}

fn back_up(db: &Db, backups: &Backups) -> trine_kv::BackupReport {
    db.backup_sync(backups, BackupOptions::default()).unwrap()
}

/// The names of all objects, sorted.
fn names(store: &dyn ObjectStore) -> Vec<String> {
    let prefix = "some/where".into();
    let listed = block_on(store.list_with_delimiter(Some(&prefix))).unwrap();
    let names = listed.objects.iter();
    let mut names: Vec<_> = names.map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

fn stores(home: &Path) -> Vec<Arc<dyn ObjectStore>> {
    let directory = home.join("objects");
    std::fs::create_dir(&directory).unwrap();
    vec![
        Arc::new(InMemory::new()),
        Arc::new(LocalFileSystem::new_with_prefix(directory).unwrap()),
    ]
}

#[test]
fn backups_share_what_they_have_in_common_and_each_is_restored_by_itself() {
    let home = tempfile::tempdir().unwrap();
    for (round, store) in (0..).zip(stores(home.path())) {
        let at = |name: &str| home.path().join(format!("{name}-{round}"));
        let db = database(&at("db"));
        let backups = Backups::in_object_store(Arc::clone(&store), "some/where").unwrap();
        assert!(backups.list_sync().unwrap().is_empty());
        let first = back_up(&db, &backups);
        db.put_sync([50, 0], "value").unwrap();
        let second = block_on(db.backup(&backups, BackupOptions::default())).unwrap();
        assert_eq!((first.copied_files, second.copied_files), (1, 1));
        assert_eq!((first.backup.files, second.backup.files), (1, 2));
        let checked = BackupOptions {
            check_shared: true,
            ..BackupOptions::default()
        };
        assert_eq!(db.backup_sync(&backups, checked).unwrap().copied_files, 0);

        let listed = block_on(backups.list()).unwrap();
        assert_eq!(listed.len(), 3);
        for (id, info) in listed {
            assert_eq!(backups.verify_sync(id).unwrap(), info.unwrap());
        }
        for (id, rows) in [(1, 100), (2, 101)] {
            let path = at(&format!("restored-{id}"));
            block_on(backups.restore(BackupId::new(id), &path)).unwrap();
            let restored = Db::open_sync(&path).unwrap();
            let range = trine_kv::KeyRange::all();
            assert_eq!(restored.range_sync(&range).unwrap().count(), rows);
        }
        db.compact_range_sync(trine_kv::KeyRange::all()).unwrap();
        back_up(&db, &backups);
        let pruned = backups.prune_sync(1).unwrap();
        assert_eq!((pruned.backups, pruned.files), (3, 2));
        // No lock, nothing unfinished: a backup and its table.
        assert_eq!(names(&*store).len(), 2, "{:?}", names(&*store));
        assert!(backups.verify_sync(BackupId::new(1)).is_err());
        backups.verify_sync(BackupId::new(4)).unwrap();
    }
}

#[test]
fn values_of_many_parts_come_back_whole() {
    let home = tempfile::tempdir().unwrap();
    let db = database(&home.path().join("db"));
    let large: Vec<u8> = (0..9_u32 << 20)
        .map(|at| at.to_le_bytes()[at as usize % 3])
        .collect();
    db.put_sync("large", large.as_slice()).unwrap();
    let backups = Backups::in_object_store(Arc::new(InMemory::new()), "").unwrap();
    let id = back_up(&db, &backups).backup.id;
    let path = home.path().join("restored");
    backups.restore_sync(id, &path).unwrap();
    let restored = Db::open_sync(&path).unwrap();
    assert!(restored.get_sync(b"large").unwrap().as_deref() == Some(&large[..]));
}

#[test]
fn only_one_changes_backups_at_a_time() {
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let db = database(&home.path().join("db"));
    let backups = Backups::in_object_store(Arc::clone(&store), "some/where").unwrap();
    let lock = object_store::path::Path::from("some/where/LOCK");
    block_on(store.put(&lock, PutPayload::from_static(b"somebody"))).unwrap();
    for refused in [
        db.backup_sync(&backups, BackupOptions::default()).map(drop),
        backups.prune_sync(1).map(drop),
    ] {
        let Err(Error::Corruption { message }) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            message.contains("remove the object some/where/LOCK"),
            "{message}"
        );
    }
    assert!(
        backups.list_sync().unwrap().is_empty(),
        "readers take no lock"
    );
    block_on(store.delete(&lock)).unwrap();
    back_up(&db, &backups);
    assert!(!names(&*store).contains(&lock.to_string()));
}

#[test]
fn every_damaged_or_missing_object_is_found() {
    let home = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let db = database(&home.path().join("db"));
    let backups = Backups::in_object_store(Arc::clone(&store), "some/where").unwrap();
    let id = back_up(&db, &backups).backup.id;
    for name in names(&*store) {
        let path = object_store::path::Path::from(name.as_str());
        let whole = block_on(block_on(store.get(&path)).unwrap().bytes()).unwrap();
        let mut changed = whole.to_vec();
        changed[whole.len() / 2] ^= 1;
        for damaged in [changed, whole[1..].to_vec()] {
            block_on(store.put(&path, damaged.into())).unwrap();
            let verified = backups.verify_sync(id);
            assert!(
                matches!(verified, Err(Error::Corruption { .. })),
                "{name}: {verified:?}"
            );
            assert!(
                backups
                    .restore_sync(id, home.path().join(format!("to-{}", names(&*store).len())))
                    .is_err()
            );
            drop(std::fs::remove_dir_all(home.path().join("to-2")));
        }
        block_on(store.delete(&path)).unwrap();
        assert!(backups.verify_sync(id).is_err(), "{name}");
        block_on(store.put(&path, whole.into())).unwrap();
        backups.verify_sync(id).unwrap();
    }
}
