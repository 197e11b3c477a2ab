//! WASI preview 1, on a preopened directory.
//!
//! std's positional calls are unstable here, so `pread` and `pwrite` of the C library are called. What
//! their safety rests on:
//!
//! 1. The descriptor is open for the whole call: it is borrowed from a `File`.
//! 2. The pointer and the count come from one slice, which is borrowed for the whole call: mutably where
//!    the host writes into it.
//!
//! A link in a file's place is refused by looking at the name first; there is no other way to ask. Some
//! hosts cannot sync a directory; they write entries through, or promise nothing. There are no locks.
#![expect(
    unsafe_code,
    reason = "pread and pwrite are not in std's stable surface here"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::{Access, regular};

/// Preview 1 says nothing about power loss: a sync is passed on to the host, whatever that does with it.
pub const DURABLE_SYNC: bool = false;
/// The system has no locks: see [`lock`](crate::lock).
pub(crate) const OS_LOCKS: bool = false;

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    options
}

/// The host's offset, which is signed.
fn host_offset(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| ErrorKind::InvalidInput.into())
}

/// How many bytes a call moved: `None` if it was interrupted. A negative count is an error in `errno`.
fn moved(count: isize) -> io::Result<Option<usize>> {
    match usize::try_from(count) {
        Ok(count) => Ok(Some(count)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}

/// Fills `bytes` from `offset` on.
///
/// # Errors
/// `UnexpectedEof` if the file ends before; else the host's error.
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let (descriptor, at) = (file.as_raw_fd(), host_offset(offset)?);
        // SAFETY: `file` is borrowed (1); pointer and length are those of `bytes`, borrowed mutably (2).
        let count = unsafe { libc::pread(descriptor, bytes.as_mut_ptr().cast(), bytes.len(), at) };
        match moved(count)? {
            Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Some(count) => {
                bytes = &mut bytes[count..];
                offset = offset.saturating_add(count as u64);
            }
            None => {}
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
        let (descriptor, at) = (file.as_raw_fd(), host_offset(offset)?);
        // SAFETY: `file` is borrowed (1); pointer and length are those of `bytes`, borrowed (2).
        let count = unsafe { libc::pwrite(descriptor, bytes.as_ptr().cast(), bytes.len(), at) };
        match moved(count)? {
            Some(0) => return Err(ErrorKind::WriteZero.into()),
            Some(count) => {
                bytes = &bytes[count..];
                offset = offset.saturating_add(count as u64);
            }
            None => {}
        }
    }
    Ok(())
}

/// Makes the file's bytes survive power loss, as far as the host does.
///
/// # Errors
/// The host's. What was not durable before may be lost for good: syncing again proves nothing.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Makes the file's bytes and metadata survive power loss, as far as the host does.
///
/// # Errors
/// As [`sync_data`].
pub fn sync_all(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// Asks the host to make the directory's entries survive power loss; a host that cannot is let off.
///
/// # Errors
/// The directory is not there.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match options()
        .open(path)
        .and_then(|directory| directory.sync_all())
    {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
pub(crate) fn open_for_lock(path: &Path) -> io::Result<File> {
    regular::refused(path)?;
    let opened = options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    regular::only(path, opened)
}

/// Whether `path` still names `file`. Nobody else is excluded here, so only the name is looked at.
pub(crate) fn same_file(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Whether an open failed because another handle does not share the file. Here every handle does.
pub(crate) fn is_sharing_refused(_error: &io::Error) -> bool {
    false
}
