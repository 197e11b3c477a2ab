//! Windows.
//!
//! - Files are shared for reading, writing and deletion, so that an open file can be renamed and removed.
//! - A link in a file's place is refused by looking at the name first. Someone who may create links in
//!   the directory could slip one in between; who may do that may replace the files anyway.
//! - There is no sync of a directory: NTFS logs its own entries, in order.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::{Access, regular};

/// Files exist here, and syncing them reaches the device.
pub const DURABLE_SYNC: bool = true;
/// The system's locks exclude other processes and die with theirs.
pub(crate) const OS_LOCKS: bool = true;

// Win32: share modes of CreateFileW, and the error that they cause.
const FILE_SHARE_READ: u32 = 1;
const FILE_SHARE_WRITE: u32 = 2;
const FILE_SHARE_DELETE: u32 = 4;
const ERROR_SHARING_VIOLATION: i32 = 32;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE);
    options
}

/// Fills `bytes` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` if the file ends before; else the host's error.
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_read(bytes, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes = &mut bytes[count..];
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes all of `bytes` from `offset` on.
///
/// # Errors
/// The host's. Some of the bytes may have been written.
pub fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, offset) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes the file's bytes survive power loss.
///
/// # Errors
/// The host's. What was not durable before may be lost for good: syncing again proves nothing.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Makes the file's bytes and metadata survive power loss.
///
/// # Errors
/// As [`sync_data`].
pub fn sync_all(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Does nothing: see this module's header.
///
/// # Errors
/// None.
pub fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens an existing regular file.
///
/// # Errors
/// `NotFound`; `InvalidInput` with [`NotRegular`](super::NotRegular) inside; else the host's.
pub fn open_regular(path: &Path, access: Access) -> io::Result<File> {
    regular::refused(path)?;
    let opened = options().write(access == Access::Write).open(path);
    regular::only(path, opened)
}

/// Creates a regular file that was not there, open for reading and writing.
///
/// # Errors
/// `AlreadyExists` if anything has the name; else the host's.
pub fn create_new_regular(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Opens or creates a regular file, for reading and writing, leaving its bytes as they are.
///
/// Not shared for writing: while this handle lives no second one like it can be had, so nobody waits on
/// a file that its owner is about to remove. Shared for deletion, for that owner.
pub(crate) fn open_for_lock(path: &Path) -> io::Result<File> {
    regular::refused(path)?;
    let opened = options()
        .write(true)
        .create(true)
        .truncate(false)
        .share_mode(FILE_SHARE_READ | FILE_SHARE_DELETE)
        .open(path);
    regular::only(path, opened)
}

/// Whether `path` still names `file`. The share mode of [`open_for_lock`] leaves nothing to compare.
pub(crate) fn same_file(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Whether an open failed because another handle does not share the file.
pub(crate) fn is_sharing_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_SHARING_VIOLATION)
}
