//! Hosts whose standard library has no files (the browser): everything is `Unsupported`.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Access;

/// There are no files here.
pub const DURABLE_SYNC: bool = false;
/// There is nothing to lock.
pub(crate) const OS_LOCKS: bool = true;

fn unsupported<T>() -> io::Result<T> {
    Err(ErrorKind::Unsupported.into())
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn read_exact_at(_file: &File, _bytes: &mut [u8], _offset: u64) -> io::Result<()> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn write_all_at(_file: &File, _bytes: &[u8], _offset: u64) -> io::Result<()> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn sync_data(_file: &File) -> io::Result<()> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn sync_all(_file: &File) -> io::Result<()> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn sync_directory(_path: &Path) -> io::Result<()> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn open_regular(_path: &Path, _access: Access) -> io::Result<File> {
    unsupported()
}

/// Fails.
///
/// # Errors
/// `Unsupported`.
pub fn create_new_regular(_path: &Path) -> io::Result<File> {
    unsupported()
}

/// Fails.
pub(crate) fn open_for_lock(_path: &Path) -> io::Result<File> {
    unsupported()
}

/// Fails.
pub(crate) fn same_file(_file: &File, _path: &Path) -> io::Result<bool> {
    unsupported()
}

/// Nothing opens, so nothing refuses to share.
pub(crate) fn is_sharing_refused(_error: &io::Error) -> bool {
    false
}
