//! What Linux offers beyond the other unixes: writes that are durable when they return, early write-back, space
//! reserved ahead, and an answer to where a file system puts what is written over.
//!
//! What the calls' safety rests on:
//!
//! 1. The descriptor is open for the whole call: it is borrowed from a `File`.
//! 2. Pointers and counts come from one slice, or one structure of the host's own type, borrowed for the whole
//!    call: mutably where the host writes into it.
#![expect(
    unsafe_code,
    reason = "pwritev2, sync_file_range, fallocate and fstatfs are not in std"
)]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use rustix::fs::SeekFrom;

/// Writes all of `bytes` from `offset` on; they survive power loss when it returns.
///
/// # Errors
/// The host's: nothing is known then of what is in the file and what is durable.
pub fn write_all_durably_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let at = libc::off_t::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
        let piece = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: `file` is borrowed (1); `piece` is one element and lends `bytes`, which is only read (2).
        let count =
            unsafe { libc::pwritev2(file.as_raw_fd(), &raw const piece, 1, at, libc::RWF_DSYNC) };
        match usize::try_from(count) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == ErrorKind::Interrupted => {}
                // An old kernel, or a file system or sandbox without the call.
                error
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM)
                    ) =>
                {
                    super::write_all_at(file, bytes, offset)?;
                    return super::sync_data(file);
                }
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Starts writing a range to the disk, so that a later sync finds less to do. Promises nothing.
pub fn start_writeback(file: &File, offset: u64, length: u64) {
    if let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) {
        // SAFETY: `file` is borrowed (1). A failure is no concern: it shows again when the file is synced.
        unsafe {
            libc::sync_file_range(
                file.as_raw_fd(),
                offset,
                length,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
    }
}

/// Makes the file `length` long, at least, with space of its own for every byte, of which those never written read
/// as zeros; says whether that was so. Of a file that [overwrites in place](overwrites_in_place) the reserved bytes can
/// then be written, and stored to through a map, without new space.
///
/// # Errors
/// The host's: there may be no room.
pub fn reserve(file: &File, length: u64) -> io::Result<bool> {
    let length = libc::off_t::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
    loop {
        // SAFETY: `file` is borrowed (1).
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::Interrupted => {}
            error
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM)
                ) =>
            {
                return Ok(false);
            }
            error => return Err(error),
        }
    }
}

/// Where in a file of `length` bytes the part begins that was never written, and so reads as zeros, up to its end; `length`
/// if there is none, or the host does not say.
pub fn written_end(file: &File, length: u64) -> u64 {
    let mut end = 0;
    while end < length {
        // Nothing reads or writes at the file position that this moves.
        let data = match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => return end,
            Err(_) => return length,
        };
        match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > end => end = hole,
            _ => return length,
        }
    }
    length
}

/// Whether bytes of the file that were written once can be written over without new space, so that a store
/// into a map of them never fails for want of it. Known of a few file systems; the others, which may
/// copy on write, count as no.
pub fn overwrites_in_place(file: &File) -> bool {
    let mut found = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `file` is borrowed (1); the host fills the structure it is given (2).
    let result = unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) };
    if result != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so the structure is filled (2).
    let found = unsafe { found.assume_init() };
    [
        libc::EXT4_SUPER_MAGIC,
        libc::XFS_SUPER_MAGIC,
        libc::TMPFS_MAGIC,
    ]
    .contains(&found.f_type)
}
