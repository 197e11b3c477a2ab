//! Where the system forbids rings, reads go on without one.
//!
//! Each way of forbidding runs in a process of its own, because a seccomp filter stays until its process ends.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "seccomp filters are installed by prctl")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "what fails here fails the test; what the page cache holds is nothing a storage is asked"
)]

use std::process::Command;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

const CHILD: &str = "TRINE_FORBIDDEN_RING";

/// Makes every later `io_uring_setup` (425), and what goes with it, of this process fail with `errno`.
fn forbid(first: u32, errno: i32) {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, first, 0, 2),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 428, 1, 0),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap(),
            0,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: it takes integers only.
    let alone = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `program` points to a filter of its length, which the kernel copies before it returns.
    let filtered = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!((alone, filtered), (0, 0));
}

/// Reads what the ring would have read, and returns why there is none.
fn read_without_ring() -> std::io::ErrorKind {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable(directory.path());
    let written: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    let file = block_on(storage.create(Mode::Blocking, "file")).unwrap();
    block_on(file.write_at(Mode::Blocking, 0, written.clone())).unwrap();
    block_on(file.sync_all(Mode::Blocking)).unwrap();
    let refused = block_on(storage.start_rings(Mode::Blocking, "file", 1)).unwrap_err();
    assert!(!storage.has_rings());
    let opened = std::fs::File::open(directory.path().join("file")).unwrap();
    let _ = rustix::fs::fadvise(&opened, 0, None, rustix::fs::Advice::DontNeed);
    let read = block_on(file.read_at(Mode::Cooperative, 4_000, 8_000)).unwrap();
    assert_eq!(read, written[4_000..12_000]);
    assert_eq!(storage.stats().driven_reads.submitted, 0);
    refused.source.kind()
}

#[test]
fn a_child_reads_without_ring() {
    // What the tests below start; by itself it has nothing to do.
    let Ok(how) = std::env::var(CHILD) else {
        return;
    };
    let (first, errno, expected) = match how.as_str() {
        // As the profiles of containers and `kernel.io_uring_disabled` do.
        "forbidden" => (425, libc::EPERM, std::io::ErrorKind::PermissionDenied),
        "no such call" => (425, libc::ENOSYS, std::io::ErrorKind::Unsupported),
        // The ring is made, and nothing can be submitted to it.
        "mute" => (426, libc::EPERM, std::io::ErrorKind::PermissionDenied),
        other => panic!("{other}"),
    };
    forbid(first, errno);
    let expected = if trine_io::RINGS {
        expected
    } else {
        std::io::ErrorKind::Unsupported
    };
    assert_eq!(read_without_ring(), expected);
}

fn reads_without_ring_if(how: &str) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_reads_without_ring"])
        .env(CHILD, how)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_ring_that_the_system_forbids_is_replaced_by_threads() {
    reads_without_ring_if("forbidden");
}

#[test]
fn a_ring_that_the_kernel_does_not_know_is_replaced_by_threads() {
    reads_without_ring_if("no such call");
}

#[test]
fn a_ring_that_takes_nothing_is_replaced_by_threads() {
    reads_without_ring_if("mute");
}
