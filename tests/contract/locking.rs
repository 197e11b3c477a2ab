//! One writer for each directory.

use std::fs;
use std::process::Command;

use trine_kv::Db;

use crate::fixture::{BOTH_WAYS, Place, corruption, names};

const HELD: &str = "database lock is already held";
const DIRECTORY: &str = "TRINE_CONTRACT_DIRECTORY";

#[test]
fn a_second_writer_is_refused_until_the_first_closes() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let first = way.open(place.options()).unwrap();
        assert!(corruption(way.open(place.options())).contains(HELD));
        // The refusal did not harm the first.
        first.put_sync("key", "value").unwrap();
        way.close(&first).unwrap();
        let second = way.open(place.options()).unwrap();
        assert_eq!(second.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
    }
}

#[test]
fn a_second_path_to_the_same_directory_is_the_same_directory() {
    let place = Place::new();
    let _first = place.open();
    let detour = place
        .path()
        .join("..")
        .join(place.path().file_name().unwrap());
    assert!(corruption(Db::open_sync(detour)).contains(HELD));
}

/// Started by `a_writer_in_another_process_is_refused`; does nothing otherwise.
#[test]
fn other_process() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        assert!(corruption(Db::open_sync(directory)).contains(HELD));
        println!("refused as it must be");
    }
}

#[test]
fn a_writer_in_another_process_is_refused() {
    let place = Place::new();
    let _first = place.open();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "locking::other_process", "--nocapture"])
        .env(DIRECTORY, place.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("refused as it must be"),
        "{output:?}"
    );
}

#[test]
fn a_lock_file_of_somebody_else_is_respected_and_untouched() {
    for way in BOTH_WAYS {
        for existing in [false, true] {
            let place = Place::new();
            if existing {
                place.open().close_sync();
            } else {
                fs::create_dir_all(place.path()).unwrap();
            }
            let lock = place.path().join("LOCK");
            fs::write(&lock, "pid=stale\n").unwrap();
            for _ in 0..2 {
                assert!(corruption(way.open(place.options())).contains(HELD));
                assert_eq!(fs::read(&lock).unwrap(), b"pid=stale\n");
            }
            fs::remove_file(&lock).unwrap();
            way.open(place.options()).unwrap();
        }
    }
}

#[test]
fn dropping_the_last_handle_releases_the_lock() {
    let place = Place::new();
    let db = place.open();
    let bucket = db.bucket_sync("b").unwrap();
    let clone = db.clone();
    drop(db);
    drop(clone);
    assert!(
        place.path().join("LOCK").exists(),
        "a bucket keeps the database open"
    );
    bucket.put_sync("key", "value").unwrap();
    drop(bucket);
    assert!(!place.path().join("LOCK").exists());
    place.open();
}

#[test]
fn iterators_and_snapshots_do_not_hold_the_lock() {
    let place = Place::new();
    let db = place.open();
    db.put_sync("key", "value").unwrap();
    let iter = db.range_sync(&trine_kv::KeyRange::all()).unwrap();
    let snapshot = db.snapshot();
    drop(db);
    assert!(!place.path().join("LOCK").exists());
    let again = place.open();
    assert_eq!(iter.count(), 1);
    drop((snapshot, again));
}

#[test]
fn readers_stand_beside_a_writer_and_beside_each_other() {
    let place = Place::new();
    let writer = place.open();
    writer.put_sync("key", "value").unwrap();
    let one = place.open_read_only();
    let two = place.open_read_only();
    for reader in [&one, &two] {
        assert_eq!(reader.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
    }
    writer.put_sync("key", "newer").unwrap();
    writer.close_sync();
    let before = names(&place.path());
    let reader = place.open_read_only();
    assert_eq!(
        names(&place.path()),
        before,
        "a reader creates nothing, no lock either"
    );
    // A writer may open while readers live.
    place.open();
    drop(reader);
}
