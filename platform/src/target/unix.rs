//! Linux, macOS and the other unixes.
//!
//! A descriptor never reaches a child process (`O_CLOEXEC`, set by std), never follows a link in the
//! last place of its path (`O_NOFOLLOW`) and never waits for a pipe's other end (`O_NONBLOCK`, which
//! means nothing for a regular file once open).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Access, regular};

/// Files exist here, and syncing them reaches the device.
pub const DURABLE_SYNC: bool = true;
/// The system's locks exclude other processes and die with theirs.
pub(crate) const OS_LOCKS: bool = true;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    options
}

/// Fills `bytes` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` if the file ends before; else the host's error.
pub fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(bytes, offset)
}

/// Writes all of `bytes` from `offset` on.
///
/// # Errors
/// The host's. Some of the bytes may have been written.
pub fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Makes the file's bytes survive power loss.
///
/// # Errors
/// The host's. What was not durable before may be lost for good: syncing again proves nothing.
pub fn sync_data(file: &File) -> io::Result<()> {
    // On Apple's systems only the full sync reaches past the drive's cache. Say so here, rather than
    // rely on std, which does the same in `sync_data` today.
    if cfg!(target_vendor = "apple") {
        file.sync_all()
    } else {
        file.sync_data()
    }
}

/// Makes the file's bytes and metadata survive power loss.
///
/// # Errors
/// As [`sync_data`].
pub fn sync_all(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Makes the directory's entries survive power loss.
///
/// # Errors
/// The host's. A file system that knows no sync of a directory (`EINVAL`, as some network ones and some
/// in user space) has nothing to promise: that is no error.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(path)?;
    match directory.sync_all() {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        synced => synced,
    }
}

/// Opens an existing regular file.
///
/// # Errors
/// `NotFound`; `InvalidInput` with [`NotRegular`](super::NotRegular) inside; else the host's.
pub fn open_regular(path: &Path, access: Access) -> io::Result<File> {
    let opened = options().write(access == Access::Write).open(path);
    regular::only(path, opened)
}

/// Creates a regular file that was not there, open for reading and writing.
///
/// # Errors
/// `AlreadyExists` if anything has the name, a dangling link too; else the host's.
pub fn create_new_regular(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Opens or creates a regular file, for reading and writing, leaving its bytes as they are.
pub(crate) fn open_for_lock(path: &Path) -> io::Result<File> {
    let opened = options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    regular::only(path, opened)
}

/// Whether `path` still names `file`.
pub(crate) fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an open failed because another handle does not share the file. Here every handle does.
pub(crate) fn is_sharing_refused(_error: &io::Error) -> bool {
    false
}
