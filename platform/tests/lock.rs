//! The directory lock, as writers, other processes and bystanders see it.
#![cfg(all(not(loom), any(unix, windows)))]
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "bystanders use the file system directly, and a test may panic"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use trine_platform::{DirectoryLock, LockError, thread};

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("LOCK");
    (directory, path)
}

#[test]
fn second_acquirer_is_refused_until_the_first_lets_go() {
    let (_directory, path) = directory();
    let first = DirectoryLock::acquire(&path).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            DirectoryLock::acquire(&path),
            Err(LockError::Held)
        ));
    }
    assert!(path.exists());
    drop(first);
    assert!(!path.exists());
    DirectoryLock::acquire(&path).unwrap();
}

#[cfg(unix)]
#[test]
fn file_names_its_holder() {
    let (_directory, path) = directory();
    let _lock = DirectoryLock::acquire(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        format!("trine-kv lock 1\npid={}\n", std::process::id())
    );
}

#[test]
fn foreign_content_is_refused_and_left_alone() {
    let (_directory, path) = directory();
    for foreign in [&b"pid=stale\n"[..], b"x", &[b'y'; 4096]] {
        std::fs::write(&path, foreign).unwrap();
        assert!(matches!(
            DirectoryLock::acquire(&path),
            Err(LockError::Foreign)
        ));
        assert_eq!(std::fs::read(&path).unwrap(), foreign);
    }
}

#[test]
fn directory_in_its_place_is_foreign() {
    let (_directory, path) = directory();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(
        DirectoryLock::acquire(&path),
        Err(LockError::Foreign)
    ));
    assert!(path.is_dir());
}

#[cfg(unix)]
#[test]
fn link_or_pipe_in_its_place_is_foreign() {
    let (directory, path) = directory();
    let target = directory.path().join("target");
    std::fs::write(&target, "trine-kv lock 1\n").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(matches!(
        DirectoryLock::acquire(&path),
        Err(LockError::Foreign)
    ));
    assert_eq!(std::fs::read(&target).unwrap(), b"trine-kv lock 1\n");
    std::fs::remove_file(&path).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    assert!(matches!(
        DirectoryLock::acquire(&path),
        Err(LockError::Foreign)
    ));
}

#[test]
fn left_over_of_ours_is_taken_over() {
    let (_directory, path) = directory();
    for left in ["", "trine-kv", "trine-kv lock 1\npid=4294967295\n"] {
        std::fs::write(&path, left).unwrap();
        drop(DirectoryLock::acquire(&path).unwrap());
        assert!(!path.exists());
    }
}

#[test]
fn missing_directory_is_an_io_error() {
    let (directory, _) = directory();
    let error = DirectoryLock::acquire(&directory.path().join("missing/LOCK")).unwrap_err();
    assert!(matches!(error, LockError::Io(error) if error.kind() == std::io::ErrorKind::NotFound));
}

#[cfg(unix)]
#[test]
fn file_of_a_later_owner_survives_an_earlier_one() {
    let (_directory, path) = directory();
    let first = DirectoryLock::acquire(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = DirectoryLock::acquire(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

/// Not a test of its own: what the child process of the next test runs.
#[test]
fn child_holds_the_lock_until_killed() {
    if let Some(path) = std::env::var_os("TRINE_TEST_LOCK") {
        let _lock = DirectoryLock::acquire(path.as_ref()).unwrap();
        std::io::stderr().write_all(b"locked\n").unwrap();
        // Until the parent kills us, or dies.
        let _ = std::io::stdin().read(&mut [0]);
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn lock_of_a_killed_process_is_taken_over() {
    let (_directory, path) = directory();
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_holds_the_lock_until_killed",
                "--nocapture",
            ])
            .env("TRINE_TEST_LOCK", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let said = BufReader::new(child.0.stderr.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "locked"));
    assert!(matches!(
        DirectoryLock::acquire(&path),
        Err(LockError::Held)
    ));
    drop(child);
    assert!(path.exists());
    drop(DirectoryLock::acquire(&path).unwrap());
    assert!(!path.exists());
}

#[test]
fn storm_of_acquirers_never_sees_two_holders() {
    let (_directory, path) = directory();
    let holders = Arc::new(AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (path, holders) = (path.clone(), Arc::clone(&holders));
            thread::spawn("storms", move || {
                let mut taken = 0;
                while taken < 200 {
                    match DirectoryLock::acquire(&path) {
                        Ok(lock) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(lock);
                            taken += 1;
                        }
                        Err(LockError::Held) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
            .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(!path.exists());
}
