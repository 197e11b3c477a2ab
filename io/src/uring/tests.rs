//! The driver on a kernel that lets it work. Where none does, there is nothing to test but the refusal, which
//! `tests/forbidden_ring.rs` forces.

#![expect(
    clippy::disallowed_methods,
    reason = "what the page cache holds is nothing that a storage is asked"
)]

use trine_platform::block_on;

use super::*;
use crate::{Mode, PortableOptions, Storage};

const MODE: Mode = Mode::Cooperative;

fn bytes() -> Vec<u8> {
    (0..1_000_000u32).flat_map(u32::to_le_bytes).collect()
}

/// A directory with a file of `bytes` that the page cache does not hold, and its rings, if there are any.
fn storage(rings: usize) -> Option<(tempfile::TempDir, Storage)> {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable_with(directory.path(), PortableOptions::default());
    let file = block_on(storage.create(Mode::Blocking, "file")).unwrap();
    block_on(file.write_at(Mode::Blocking, 0, bytes())).unwrap();
    block_on(file.sync_all(Mode::Blocking)).unwrap();
    block_on(storage.start_rings(Mode::Blocking, "file", rings)).ok()?;
    Some((directory, storage))
}

/// Takes the file's pages out of memory, by reading them for the last time.
fn forget(directory: &tempfile::TempDir) {
    let file = std::fs::File::open(directory.path().join("file")).unwrap();
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
}

#[test]
fn many_reads_at_once_each_get_their_own_bytes() {
    for rings in [1, 2] {
        let Some((directory, storage)) = storage(rings) else {
            return;
        };
        assert!(storage.has_rings());
        let file = block_on(storage.open(MODE, "file")).unwrap();
        let expected = bytes();
        let places: Vec<_> = (0..200).map(|n| (n * 19_997, 4_096 + n)).collect();
        for _ in 0..3 {
            forget(&directory);
            let reads: Vec<_> = places
                .iter()
                .map(|(offset, length)| file.read_at(MODE, *offset as u64, *length))
                .collect();
            for (read, (offset, length)) in reads.into_iter().zip(&places) {
                assert_eq!(block_on(read).unwrap(), expected[*offset..offset + length]);
            }
        }
        let driven = storage.stats().driven_reads;
        assert_eq!(driven.submitted, driven.completed);
        assert_eq!(driven.queued, 0);
    }
}

#[test]
fn a_read_past_the_end_is_unexpected_eof() {
    let Some((directory, storage)) = storage(1) else {
        return;
    };
    forget(&directory);
    let file = block_on(storage.open(MODE, "file")).unwrap();
    let error = block_on(file.read_at(MODE, 3_999_990, 100)).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(error.offset, Some(3_999_990));
}

#[test]
fn answers_that_nobody_awaits_and_files_that_nobody_keeps_harm_nothing() {
    let Some((directory, storage)) = storage(1) else {
        return;
    };
    for round in 0..50 {
        forget(&directory);
        let file = block_on(storage.open(MODE, "file")).unwrap();
        for n in 0..64 {
            drop(file.read_at(MODE, (round * 64 + n) * 1_000, 16_384));
        }
    }
    // The last handles may go on the ring's own thread.
    drop(storage);
}

#[test]
fn dropping_the_driver_waits_until_all_is_reported() {
    let Some((directory, storage)) = storage(1) else {
        return;
    };
    let opened = std::fs::File::open(directory.path().join("file")).unwrap();
    let proof = Arc::new(PortableFile::alone("file", opened));
    let Ok(driver) = UringDriver::start(&proof) else {
        return;
    };
    let reported = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    forget(&directory);
    for n in 0..100 {
        let reported = Arc::clone(&reported);
        driver.submit(PendingRead {
            file: Arc::clone(&proof),
            offset: n * 30_000,
            bytes: vec![0; 8_192],
            filled: 0,
            report: Box::new(move |read| {
                assert_eq!(read.unwrap().len(), 8_192);
                reported.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(n % 10 != 3, "a panic of a waker is not the driver's");
            }),
        });
    }
    drop(driver);
    assert_eq!(reported.load(std::sync::atomic::Ordering::Relaxed), 100);
    drop(storage);
}
