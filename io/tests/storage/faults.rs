//! What the portable backend does about things that are in the way.
#![cfg(any(unix, windows))]
#![expect(
    clippy::disallowed_methods,
    reason = "the test puts things in the way directly"
)]

use std::io::ErrorKind;
use std::path::Path;

use tempfile::TempDir;
use trine_io::{LockRefusal, Mode, Operation, Storage};

use crate::bench::Bench;

/// A portable storage in each mode.
fn on_files(case: impl Fn(&Bench, &Path)) {
    crate::bench::on_every_backend(|bench| {
        if let Some(directory) = bench.directory.as_ref().map(TempDir::path) {
            case(bench, directory);
        }
    });
}

fn both_opens_refuse(bench: &Bench, name: &str) {
    let Bench { storage, mode, .. } = bench;
    for open in [storage.open(*mode, name), storage.open_write(*mode, name)] {
        let error = bench.done(open).unwrap_err();
        assert_eq!(error.operation, Operation::Open);
        assert_eq!(error.name, name);
        assert_eq!(error.source.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}

#[test]
fn directory_in_place_of_a_file_is_refused() {
    on_files(|bench, directory| {
        std::fs::create_dir(directory.join("f")).unwrap();
        both_opens_refuse(bench, "f");
        let taken = bench.done(bench.storage.create(bench.mode, "f"));
        assert_eq!(taken.unwrap_err().source.kind(), ErrorKind::AlreadyExists);
    });
}

#[cfg(unix)]
#[test]
fn link_in_place_of_a_file_is_refused_and_not_followed() {
    on_files(|bench, directory| {
        std::fs::write(directory.join("target"), "x").unwrap();
        std::os::unix::fs::symlink("target", directory.join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.join("dangling")).unwrap();
        both_opens_refuse(bench, "link");
        both_opens_refuse(bench, "dangling");
        let taken = bench.done(bench.storage.create(bench.mode, "dangling"));
        assert_eq!(taken.unwrap_err().source.kind(), ErrorKind::AlreadyExists);
        assert!(!directory.join("nowhere").exists());
    });
}

#[cfg(unix)]
#[test]
fn pipe_in_place_of_a_file_is_refused_without_waiting() {
    on_files(|bench, directory| {
        let made = std::process::Command::new("mkfifo")
            .arg(directory.join("pipe"))
            .status();
        assert!(made.unwrap().success());
        both_opens_refuse(bench, "pipe");
    });
}

#[test]
fn file_cut_by_somebody_else_is_a_short_read_at_its_offset() {
    on_files(|bench, directory| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1; 100])).unwrap();
        let other = std::fs::OpenOptions::new()
            .write(true)
            .open(directory.join("f"));
        other.unwrap().set_len(50).unwrap();
        let error = bench.done(file.read_at(*mode, 20, 40)).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::UnexpectedEof);
        assert_eq!((error.name.as_str(), error.offset), ("f", Some(20)));
        let error = bench.done(file.map(*mode, 100)).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn foreign_lock_is_told_apart_and_left_alone() {
    on_files(|bench, directory| {
        std::fs::write(directory.join("LOCK"), "pid=stale\n").unwrap();
        let error = bench
            .done(bench.storage.lock(bench.mode, "LOCK"))
            .unwrap_err();
        assert_eq!(error.lock_refusal(), Some(LockRefusal::Foreign));
        assert_eq!(error.source.kind(), ErrorKind::InvalidData);
        let left = std::fs::read(directory.join("LOCK")).unwrap();
        assert_eq!(left, b"pid=stale\n");
    });
}

#[test]
fn lock_in_a_missing_directory_is_no_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable(&directory.path().join("missing"));
    let error = crate::bench::now(storage.lock(Mode::Blocking, "LOCK")).unwrap_err();
    assert_eq!(error.lock_refusal(), None);
    assert_eq!(error.source.kind(), ErrorKind::NotFound);
}

#[test]
fn path_through_a_file_is_not_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("f"), "x").unwrap();
    for path in ["f", "f/below/that"] {
        let storage = Storage::portable(&directory.path().join(path));
        let error = crate::bench::now(storage.create_directory(Mode::Blocking)).unwrap_err();
        assert_eq!(error.operation, Operation::CreateDirectory);
        assert_eq!(error.source.kind(), ErrorKind::NotADirectory);
        assert!(error.name.ends_with(path));
    }
}

#[test]
fn empty_path_is_not_found() {
    let storage = Storage::portable(Path::new(""));
    let error = crate::bench::now(storage.create_directory(Mode::Blocking)).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::NotFound);
}

#[test]
fn missing_directory_fails_listing_and_creation() {
    on_files(|bench, directory| {
        let storage = Storage::portable(&directory.join("missing"));
        let error = bench.done(storage.list(bench.mode)).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::NotFound);
        assert!(error.name.ends_with("missing"));
        let error = bench.done(storage.create(bench.mode, "f")).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::NotFound);
        assert!(!directory.join("missing").exists());
    });
}
