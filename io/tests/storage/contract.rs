//! What every backend promises in either mode: the rules of the crate's header.

use std::io::ErrorKind;

use trine_io::{Error, LockRefusal, Mode, Operation, Result, Storage};

use crate::bench::{Bench, now, on_every_backend};

/// An error's parts, for comparison.
fn parts<T>(result: Result<T>) -> (Operation, String, Option<u64>, ErrorKind) {
    match result {
        Ok(_) => panic!("the operation must fail"),
        Err(error) => {
            let Error {
                operation,
                name,
                offset,
                source,
            } = error;
            (operation, name, offset, source.kind())
        }
    }
}

fn failure(
    operation: Operation,
    name: &str,
    offset: Option<u64>,
    kind: ErrorKind,
) -> (Operation, String, Option<u64>, ErrorKind) {
    (operation, name.to_owned(), offset, kind)
}

#[test]
fn bytes_come_back_from_where_they_were_written() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        assert_eq!(file.name(), "f");
        let buffer = bench.done(file.write_at(*mode, 3, b"abc".to_vec()));
        assert_eq!(buffer.unwrap(), b"abc");
        assert_eq!(bench.done(file.len(*mode)).unwrap(), 6);
        assert_eq!(bench.done(file.read_at(*mode, 0, 6)).unwrap(), b"\0\0\0abc");
        bench.done(file.sync_data(*mode)).unwrap();
        bench.done(file.sync_all(*mode)).unwrap();
        bench.done(storage.sync_directory(*mode)).unwrap();
        let again = bench.done(storage.open(*mode, "f")).unwrap();
        assert_eq!(bench.done(again.read_at(*mode, 4, 2)).unwrap(), b"bc");
    });
}

#[test]
fn range_past_the_end_is_unexpected_eof() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1; 10])).unwrap();
        for (offset, length) in [
            (0, 11),
            (10, 1),
            (5, 1_u64 << 40),
            (1 << 50, 1),
            (u64::MAX, 1),
        ] {
            let Ok(length) = usize::try_from(length) else {
                continue;
            };
            assert_eq!(
                parts(bench.done(file.read_at(*mode, offset, length))),
                failure(Operation::Read, "f", Some(offset), ErrorKind::UnexpectedEof)
            );
        }
        assert!(bench.done(file.read_at(*mode, 99, 0)).unwrap().is_empty());
    });
}

#[test]
fn offset_that_no_file_reaches_is_refused() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        assert_eq!(
            parts(bench.done(file.write_at(*mode, u64::MAX, vec![1]))),
            failure(
                Operation::Write,
                "f",
                Some(u64::MAX),
                ErrorKind::FileTooLarge
            )
        );
        assert_eq!(bench.done(file.len(*mode)).unwrap(), 0);
    });
}

#[test]
fn writing_nothing_extends_nothing() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 7, Vec::new())).unwrap();
        assert_eq!(bench.done(file.len(*mode)).unwrap(), 0);
    });
}

#[test]
fn set_len_cuts_and_extends_with_zeros() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1; 4])).unwrap();
        bench.done(file.set_len(*mode, 2)).unwrap();
        bench.done(file.set_len(*mode, 4)).unwrap();
        assert_eq!(bench.done(file.read_at(*mode, 0, 4)).unwrap(), [1, 1, 0, 0]);
    });
}

#[test]
fn file_opened_for_reading_is_not_changed() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        bench.done(storage.create(*mode, "f")).unwrap();
        let file = bench.done(storage.open(*mode, "f")).unwrap();
        let denied = ErrorKind::PermissionDenied;
        assert_eq!(
            parts(bench.done(file.write_at(*mode, 0, vec![1]))),
            failure(Operation::Write, "f", Some(0), denied)
        );
        assert_eq!(
            parts(bench.done(file.set_len(*mode, 1))),
            failure(Operation::SetLen, "f", None, denied)
        );
        assert_eq!(
            parts(bench.done(file.sync_data(*mode))),
            failure(Operation::SyncData, "f", None, denied)
        );
        assert_eq!(
            parts(bench.done(file.sync_all(*mode))),
            failure(Operation::SyncAll, "f", None, denied)
        );
        let file = bench.done(storage.open_write(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1])).unwrap();
        bench.done(file.sync_all(*mode)).unwrap();
    });
}

#[test]
fn taken_name_is_not_created_and_missing_one_not_found() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let (missing, taken) = (ErrorKind::NotFound, ErrorKind::AlreadyExists);
        for open in [storage.open(*mode, "f"), storage.open_write(*mode, "f")] {
            assert_eq!(
                parts(bench.done(open)),
                failure(Operation::Open, "f", None, missing)
            );
        }
        assert_eq!(
            parts(bench.done(storage.remove(*mode, "f"))),
            failure(Operation::Remove, "f", None, missing)
        );
        assert_eq!(
            parts(bench.done(storage.rename(*mode, "f", "g"))),
            failure(Operation::Rename, "f", None, missing)
        );
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1])).unwrap();
        assert_eq!(
            parts(bench.done(storage.create(*mode, "f"))),
            failure(Operation::Create, "f", None, taken)
        );
        assert_eq!(bench.done(file.len(*mode)).unwrap(), 1);
    });
}

#[test]
fn rename_replaces_and_open_handles_follow_the_file() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let new = bench.done(storage.create(*mode, "new")).unwrap();
        bench.done(new.write_at(*mode, 0, b"new".to_vec())).unwrap();
        let old = bench.done(storage.create(*mode, "name")).unwrap();
        bench.done(old.write_at(*mode, 0, b"old".to_vec())).unwrap();
        bench.done(storage.rename(*mode, "new", "name")).unwrap();
        assert_eq!(bench.done(storage.list(*mode)).unwrap(), ["name"]);
        let named = bench.done(storage.open(*mode, "name")).unwrap();
        assert_eq!(named.name(), "name");
        assert_eq!(bench.done(named.read_at(*mode, 0, 3)).unwrap(), b"new");
        assert_eq!(bench.done(old.read_at(*mode, 0, 3)).unwrap(), b"old");
        assert_eq!(new.name(), "new");
        bench.done(storage.rename(*mode, "name", "name")).unwrap();
        assert_eq!(bench.done(storage.list(*mode)).unwrap(), ["name"]);
    });
}

#[test]
fn removed_file_stays_readable_where_it_is_open_or_mapped() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![7; 9])).unwrap();
        let map = bench.done(file.map(*mode, 9)).unwrap();
        bench.done(storage.remove(*mode, "f")).unwrap();
        assert!(bench.done(storage.list(*mode)).unwrap().is_empty());
        assert_eq!(bench.done(file.read_at(*mode, 0, 9)).unwrap(), [7; 9]);
        drop(file);
        if let Some(map) = map {
            assert_eq!(*map.clone(), [7; 9]);
        }
    });
}

#[test]
fn map_covers_the_exact_length_or_fails() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        assert!(bench.done(file.map(*mode, 0)).unwrap().is_none());
        bench.done(file.write_at(*mode, 0, vec![7; 5000])).unwrap();
        for length in [0, 4999, 5001, u64::MAX] {
            assert_eq!(
                parts(bench.done(file.map(*mode, length))),
                failure(Operation::Map, "f", None, ErrorKind::UnexpectedEof)
            );
        }
        let map = bench.done(file.map(*mode, 5000)).unwrap();
        assert_eq!(map.is_some(), storage.capabilities().map);
        if let Some(map) = map {
            assert_eq!(*map, [7; 5000]);
            assert_eq!(map.is_mapped(), bench.directory.is_some());
        }
    });
}

#[test]
fn memory_never_changes_bytes_that_were_handed_out() {
    let storage = Storage::memory();
    let file = now(storage.create(Mode::Blocking, "f")).unwrap();
    now(file.write_at(Mode::Blocking, 0, vec![1; 4])).unwrap();
    let map = now(file.map(Mode::Blocking, 4)).unwrap().unwrap();
    now(file.write_at(Mode::Blocking, 1, vec![2])).unwrap();
    now(file.set_len(Mode::Blocking, 3)).unwrap();
    assert_eq!(*map, [1; 4]);
    assert_eq!(now(file.read_at(Mode::Blocking, 0, 3)).unwrap(), [1, 2, 1]);
}

#[test]
fn name_that_is_a_path_is_refused_by_every_call() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        bench.done(storage.create(*mode, "f")).unwrap();
        for name in ["", ".", "..", "../f", "a/b", "/f", "a\\b", "C:f", "f\0"] {
            let refused = |operation| failure(operation, name, None, ErrorKind::InvalidInput);
            assert_eq!(
                parts(bench.done(storage.create(*mode, name))),
                refused(Operation::Create)
            );
            for open in [storage.open(*mode, name), storage.open_write(*mode, name)] {
                assert_eq!(parts(bench.done(open)), refused(Operation::Open));
            }
            for rename in [
                storage.rename(*mode, "f", name),
                storage.rename(*mode, name, "g"),
            ] {
                assert_eq!(parts(bench.done(rename)), refused(Operation::Rename));
            }
            assert_eq!(
                parts(bench.done(storage.remove(*mode, name))),
                refused(Operation::Remove)
            );
            assert_eq!(
                parts(bench.done(storage.lock(*mode, name))),
                refused(Operation::Lock)
            );
        }
        assert_eq!(bench.done(storage.list(*mode)).unwrap(), ["f"]);
    });
}

#[test]
fn lock_is_held_once_and_released_by_drop() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let lock = bench.done(storage.lock(*mode, "LOCK")).unwrap();
        let refused = bench.done(storage.clone().lock(*mode, "LOCK")).unwrap_err();
        assert_eq!(refused.lock_refusal(), Some(LockRefusal::Held));
        assert_eq!(
            parts::<()>(Err(refused)),
            failure(Operation::Lock, "LOCK", None, ErrorKind::WouldBlock)
        );
        drop(lock);
        assert!(bench.done(storage.list(*mode)).unwrap().is_empty());
        drop(bench.done(storage.lock(*mode, "LOCK")).unwrap());
    });
}

#[test]
fn whole_file_is_read_up_to_a_limit() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![5; 10])).unwrap();
        let read = |limit| trine_platform::block_on(storage.read_file(*mode, "f", limit));
        assert_eq!(read(10).unwrap(), [5; 10]);
        assert_eq!(
            parts(read(9)),
            failure(Operation::Read, "f", None, ErrorKind::InvalidData)
        );
    });
}

#[test]
fn dropped_completion_abandons_the_answer_only() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        drop(storage.create(*mode, "f"));
        // One thread runs what another handed over: wait for the effect, not for the order.
        let file = loop {
            match bench.done(storage.open_write(*mode, "f")) {
                Ok(file) => break file,
                Err(error) => assert_eq!(error.source.kind(), ErrorKind::NotFound),
            }
        };
        drop(file.write_at(*mode, 0, vec![1]));
        while bench.done(file.len(*mode)).unwrap() == 0 {
            std::thread::yield_now();
        }
        drop(storage.lock(*mode, "LOCK"));
        while let Err(error) = bench.done(storage.lock(*mode, "LOCK")) {
            assert_eq!(error.lock_refusal(), Some(LockRefusal::Held));
        }
    });
}

#[test]
fn job_runs_inline_or_on_a_thread_of_its_own() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let own = std::thread::current().id();
        let (inside, mode_inside) = (storage.clone(), *mode);
        let job = move || {
            let file = now(inside.create(Mode::Blocking, "f")).unwrap();
            now(file.write_at(Mode::Blocking, 0, vec![1])).unwrap();
            // Even asked to cooperate, nothing is handed over from here.
            now(file.read_at(mode_inside, 0, 1)).unwrap();
            std::thread::current().id()
        };
        let ran_on = bench.done(storage.offload(*mode, job)).unwrap();
        let stats = storage.stats();
        let elsewhere = *mode == Mode::Cooperative
            && bench.directory.is_some()
            && storage.capabilities().cooperative;
        assert_eq!(ran_on != own, elsewhere);
        assert_eq!(stats.offloaded_jobs.submitted, u64::from(elsewhere));
        assert_eq!(stats.offloaded_jobs.completed, u64::from(elsewhere));
        assert_eq!(stats.offloaded_operations.submitted, 0);
        assert_eq!(stats.operation(Operation::Job).requests, 1);
    });
}

#[test]
fn every_operation_is_counted_where_it_ran() {
    on_every_backend(|bench| {
        let Bench { storage, mode, .. } = bench;
        let file = bench.done(storage.create(*mode, "f")).unwrap();
        bench.done(file.write_at(*mode, 0, vec![1; 8])).unwrap();
        for _ in 0..3 {
            bench.done(file.read_at(*mode, 0, 8)).unwrap();
        }
        assert!(bench.done(file.read_at(*mode, 8, 1)).is_err());
        let stats = storage.stats();
        assert_eq!(stats.operation(Operation::Create).requests, 1);
        assert_eq!(stats.operation(Operation::Write).requests, 1);
        assert_eq!(stats.operation(Operation::Read).requests, 4);
        assert_eq!(stats.operation(Operation::Remove).requests, 0);
        assert_eq!(stats.inline + stats.offloaded_operations.submitted, 6);
        assert_eq!(
            stats.offloaded_operations.completed,
            stats.offloaded_operations.submitted
        );
        assert_eq!(stats.offloaded_operations.queued, 0);
        if *mode == Mode::Blocking {
            assert_eq!(stats.inline, 6);
        }
    });
}

#[test]
fn missing_directories_are_made_and_made_again() {
    on_every_backend(|bench| {
        let mode = bench.mode;
        let storage = match &bench.directory {
            Some(directory) => Storage::portable(&directory.path().join("a/b/c")),
            None => bench.storage.clone(),
        };
        let before = bench.done(storage.exists(mode)).unwrap();
        assert_eq!(before, bench.directory.is_none());
        for _ in 0..2 {
            bench.done(storage.create_directory(mode)).unwrap();
            assert!(bench.done(storage.exists(mode)).unwrap());
        }
        bench.done(storage.create(mode, "f")).unwrap();
    });
}
