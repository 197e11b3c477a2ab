//! What can be opened, what is created, what is found wrong.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use trine_kv::recovery::{RECOVERY_REPORT_FILE_NAME, read_recovery_report, recovery_report_path};
use trine_kv::{Db, DbOptions, DurabilityMode, Error, FailOnCorruptionPolicy, RuntimeOptions};

use crate::common::way::block_on;
use crate::fixture::{BOTH_WAYS, Place, all_keys, corruption, invalid_options, names, sequence};

#[test]
fn anything_that_is_a_path_opens_as_one() {
    let place = Place::new();
    let path = place.path();
    let text = path.to_str().unwrap();
    Db::open_sync(text)
        .unwrap()
        .put_sync("key", "value")
        .unwrap();
    assert_eq!(all_keys(&Db::open_sync(text.to_owned()).unwrap()), [b"key"]);
    assert_eq!(all_keys(&Db::open_sync(&path).unwrap()), [b"key"]);
    assert_eq!(all_keys(&Db::open_sync(path.as_path()).unwrap()), [b"key"]);
    assert_eq!(
        all_keys(&Db::open_sync(path.as_os_str()).unwrap()),
        [b"key"]
    );
    let db = block_on(Db::open(path.clone())).unwrap();
    assert_eq!(db.options(), &DbOptions::new(path));
}

#[test]
fn a_missing_path_is_created_with_its_parents() {
    for way in BOTH_WAYS {
        let place = Place::new();
        let path = place.path().join("a/b/c");
        let db = way.open(DbOptions::new(&path)).unwrap();
        assert_eq!((sequence(&db), all_keys(&db).len()), (0, 0));
        assert!(path.is_dir());
    }
}

#[test]
fn a_missing_path_is_not_created_unless_allowed() {
    for way in BOTH_WAYS {
        let place = Place::new();
        for options in [
            DbOptions {
                create_if_missing: false,
                ..place.options()
            },
            place.options().read_only(),
        ] {
            let message = invalid_options(way.open(options));
            assert!(
                message.contains("database path does not exist"),
                "{message}"
            );
            assert!(!place.path().exists());
        }
    }
}

#[test]
fn a_path_to_a_file_is_refused() {
    let place = Place::new();
    fs::write(place.path(), "a file").unwrap();
    for way in BOTH_WAYS {
        let message = invalid_options(way.open(place.options()));
        assert!(
            message.contains("database path is not a directory"),
            "{message}"
        );
    }
    assert_eq!(fs::read(place.path()).unwrap(), b"a file");
}

#[test]
fn an_empty_path_is_not_found() {
    for way in BOTH_WAYS {
        match way.open(DbOptions::new("")) {
            Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::NotFound),
            other => panic!("expected Io, found {:?}", other.err()),
        }
    }
}

#[test]
fn an_empty_directory_is_an_empty_database() {
    for way in BOTH_WAYS {
        let place = Place::new();
        fs::create_dir_all(place.path()).unwrap();
        let reader = way.open(place.options().read_only()).unwrap();
        assert!(all_keys(&reader).is_empty());
        assert!(names(&place.path()).is_empty(), "a reader writes nothing");
        let options = DbOptions {
            create_if_missing: false,
            ..place.options()
        };
        let writer = way.open(options).unwrap();
        writer.put_sync("key", "value").unwrap();
    }
}

#[test]
fn backends_of_other_targets_are_refused() {
    for way in BOTH_WAYS {
        for durability in [DurabilityMode::Flush, DurabilityMode::SyncAll] {
            let wasi = DbOptions::wasi_persistent("anywhere").with_durability(durability);
            match way.open(wasi) {
                Err(Error::UnsupportedBackend { feature }) => {
                    assert_eq!(feature, "WASI persistent storage backend");
                }
                other => panic!("expected UnsupportedBackend, found {:?}", other.err()),
            }
            let browser = DbOptions::browser_persistent().with_durability(durability);
            match way.open(browser) {
                Err(Error::UnsupportedBackend { feature }) => {
                    assert_eq!(feature, "browser persistent storage backend");
                }
                other => panic!("expected UnsupportedBackend, found {:?}", other.err()),
            }
        }
    }
}

#[test]
fn the_inline_runtime_is_synchronous_on_files() {
    let place = Place::new();
    let options = DbOptions {
        runtime: RuntimeOptions::inline(),
        ..place.options()
    };
    let refused = block_on(Db::open(options.clone()));
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{:?}",
        refused.err()
    );
    let db = Db::open_sync(options.clone()).unwrap();
    db.put_sync("key", "value").unwrap();
    db.close_sync();
    let workers = DbOptions {
        background_worker_count: 1,
        ..options
    };
    let message = invalid_options(Db::open_sync(workers));
    assert!(
        message.contains("background workers require runtime background threads"),
        "{message}"
    );
    let memory = DbOptions {
        runtime: RuntimeOptions::inline(),
        ..DbOptions::memory()
    };
    block_on(Db::open(memory)).unwrap();
}

/// A closed database with a table and a log tail.
fn written(place: &Place) {
    let db = place.open();
    db.put_sync("flushed", "1").unwrap();
    db.flush_sync().unwrap();
    db.put_sync("logged", "2").unwrap();
    db.close_sync();
}

fn with_policy(place: &Place, policy: FailOnCorruptionPolicy) -> DbOptions {
    DbOptions {
        fail_on_corruption: policy,
        ..place.options()
    }
}

const TEMPORARY: [&str; 8] = [
    "MANIFEST.tmp",
    "table-7.tmp",
    "table-7.trinet.tmp",
    "blob-7.tmp",
    "blob-7.trineb.tmp",
    "trine.wal.tmp",
    "trine.wal.shard-0001.tmp",
    "RECOVERY_REPORT.tmp",
];

#[test]
fn known_temporary_files_fail_a_closed_open_and_stay() {
    for name in TEMPORARY {
        let place = Place::new();
        written(&place);
        let file = place.path().join(name);
        fs::write(&file, "half").unwrap();
        for options in [place.options(), place.options().read_only()] {
            let message = corruption(Db::open_sync(options));
            assert!(message.contains(name), "{message}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"half");
        assert!(!recovery_report_path(&place.path()).exists());
        fs::remove_file(&file).unwrap();
        assert_eq!(all_keys(&place.open()).len(), 2);
    }
}

#[test]
fn the_repair_policy_removes_and_reports_them() {
    let place = Place::new();
    written(&place);
    for name in TEMPORARY {
        fs::write(place.path().join(name), "half").unwrap();
    }
    let repair = with_policy(&place, FailOnCorruptionPolicy::RepairSafeTemporaryFiles);
    // A reader repairs nothing.
    corruption(Db::open_sync(repair.clone().read_only()));
    let db = Db::open_sync(repair.clone()).unwrap();
    assert_eq!(all_keys(&db).len(), 2);
    db.close_sync();
    let mut sorted: Vec<_> = TEMPORARY.map(String::from).into();
    sorted.sort();
    let report = read_recovery_report(&place.path()).unwrap();
    assert_eq!(report.repaired_temporary_files(), sorted);
    assert!(!report.is_empty());
    assert!(
        TEMPORARY
            .iter()
            .all(|name| !place.path().join(name).exists())
    );
    // An open that repairs nothing leaves the report alone.
    Db::open_sync(repair).unwrap().close_sync();
    assert_eq!(read_recovery_report(&place.path()).unwrap(), report);
}

#[test]
fn a_report_that_is_not_there_is_not_found() {
    let place = Place::new();
    written(&place);
    assert_eq!(RECOVERY_REPORT_FILE_NAME, "RECOVERY_REPORT");
    assert_eq!(
        recovery_report_path(Path::new("d")),
        Path::new("d").join("RECOVERY_REPORT")
    );
    match read_recovery_report(&place.path()) {
        Err(Error::Io(error)) => assert_eq!(error.kind(), ErrorKind::NotFound),
        other => panic!("expected Io, found {other:?}"),
    }
}

#[test]
fn names_of_others_are_left_alone() {
    let place = Place::new();
    written(&place);
    let foreign = ["foo.txt", "foo.tmp", ".hidden", "MANIFEST.bak", "x.trinet"];
    for name in foreign {
        fs::write(place.path().join(name), "theirs").unwrap();
    }
    fs::create_dir(place.path().join("directory")).unwrap();
    for policy in [
        FailOnCorruptionPolicy::FailClosed,
        FailOnCorruptionPolicy::RepairSafeTemporaryFiles,
    ] {
        let db = Db::open_sync(with_policy(&place, policy)).unwrap();
        assert_eq!(all_keys(&db).len(), 2);
        db.flush_sync().unwrap();
        db.close_sync();
    }
    for name in foreign {
        assert_eq!(fs::read(place.path().join(name)).unwrap(), b"theirs");
    }
    assert!(place.path().join("directory").is_dir());
    assert!(!recovery_report_path(&place.path()).exists());
}

#[test]
fn formal_names_that_the_manifest_does_not_know_are_refused() {
    let cases = [
        ("table-999999.trinet", "unreferenced table/blob files"),
        ("blob-999999.trineb", "unreferenced table/blob files"),
        ("table-not-a-number.trinet", "invalid table file name"),
        ("blob-x.trineb", ""),
        ("trine.wal.shard-bad", "malformed WAL shard file name"),
    ];
    for (name, phrase) in cases {
        for policy in [
            FailOnCorruptionPolicy::FailClosed,
            FailOnCorruptionPolicy::RepairSafeTemporaryFiles,
        ] {
            let place = Place::new();
            written(&place);
            let file = place.path().join(name);
            fs::write(&file, "whose?").unwrap();
            let message = corruption(Db::open_sync(with_policy(&place, policy)));
            assert!(message.contains(phrase), "{name}: {message}");
            assert_eq!(fs::read(&file).unwrap(), b"whose?");
            assert!(!recovery_report_path(&place.path()).exists());
        }
    }
}

#[test]
fn a_referenced_table_that_is_missing_is_corruption() {
    let place = Place::new();
    written(&place);
    for name in names(&place.path())
        .iter()
        .filter(|name| name.starts_with("table-"))
    {
        fs::remove_file(place.path().join(name)).unwrap();
    }
    corruption(Db::open_sync(place.options()));
    corruption(Db::open_sync(place.options().read_only()));
}

#[test]
fn a_refused_open_leaves_no_lock_behind() {
    let place = Place::new();
    written(&place);
    let file = place.path().join("table-999999.trinet");
    fs::write(&file, "whose?").unwrap();
    corruption(Db::open_sync(place.options()));
    assert!(!place.path().join("LOCK").exists());
    fs::remove_file(&file).unwrap();
    assert_eq!(all_keys(&place.open()).len(), 2);
}
