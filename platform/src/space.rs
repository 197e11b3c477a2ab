//! How much the file system of a directory can still take.
//!
//! An answer of the moment: who asks must still expect to be refused, and who is not told asks nobody else.
//! `trine-io` calls this; nothing else should.

use std::path::Path;

/// Bytes that this process may still write to new files in `directory`; `None` where nobody can tell.
#[cfg(target_os = "linux")]
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let host = rustix::fs::statvfs(directory).ok()?;
    host.f_bavail.checked_mul(host.f_frsize)
}

/// Bytes that this process may still write to new files in `directory`; `None` where nobody can tell.
#[cfg(not(target_os = "linux"))]
pub fn free_bytes(_directory: &Path) -> Option<u64> {
    None
}
