//! A database that asked for a ring works without it where the system forbids one, and says why.
//!
//! In a process of its own, because a seccomp filter stays until its process ends.
#![cfg(all(target_os = "linux", feature = "uring"))]
#![expect(unsafe_code, reason = "seccomp filters are installed by prctl")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::process::Command;
use std::sync::{Arc, Mutex};

use trine_kv::{Db, DbOptions, Event, RuntimeOptions};

const CHILD: &str = "TRINE_FORBIDDEN_RING";

/// Makes every later `io_uring_setup` of this process fail with `errno`.
fn forbid(errno: i32) {
    let statement = |code: u32, k: u32, jf: u8| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf,
        k,
    };
    let setup = u32::try_from(libc::SYS_io_uring_setup).unwrap();
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).unwrap();
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, setup, 1),
        statement(libc::BPF_RET | libc::BPF_K, refusal, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
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

#[test]
fn a_child_works_without_ring() {
    // What the test below starts; by itself it has nothing to do.
    let Ok(errno) = std::env::var(CHILD) else {
        return;
    };
    forbid(errno.parse().unwrap());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&reasons);
    let directory = tempfile::tempdir().unwrap();
    let options = DbOptions {
        runtime: RuntimeOptions::platform_io(),
        ..DbOptions::new(directory.path())
    };
    let options = options.with_listener(move |event: &Event<'_>| {
        if let Event::RingRefused { reason, .. } = event {
            heard.lock().unwrap().push(reason.to_string());
        }
    });
    let db = Db::open_sync(options).unwrap();
    db.put_sync("key", "value").unwrap();
    db.flush_sync().unwrap();
    let value = trine_kv::block_on(db.get(b"key")).unwrap();
    assert_eq!(value.as_deref(), Some(&b"value"[..]));
    assert!(!db.stats().storage_uses_platform_async_io);
    let reasons = reasons.lock().unwrap();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    let code = format!("os error {errno}");
    assert!(reasons[0].contains(&code), "{} in {}", code, reasons[0]);
}

#[test]
fn a_forbidden_ring_is_replaced_by_threads_and_the_listener_hears_why() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_works_without_ring"])
            .env(CHILD, errno.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
    }
}
