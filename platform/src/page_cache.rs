//! Positional reads that know of the operating system's page cache.
//!
//! - [`read_cached_at`] takes what is in memory and never waits for the disk. On Linux a miss has started
//!   the disk's read by the time it returns, so it is probe, hit and submission in one call.
//! - [`read_once_at`] reads what nobody will want again soon, and leaves in memory what was there before,
//!   not more, where the host lets it.
//! - [`will_need`] asks for bytes that will be read soon.
//!
//! Where a host cannot say what is in memory, nothing is: the first reads no bytes, the second reads as
//! any other, the third says that it does nothing. `trine-io` calls this; nothing else should.

use std::fs::File;
use std::io;

/// Whether this host says what is in memory.
pub const TELLS: bool = cfg!(target_os = "linux");

/// Fills the front of `bytes` with what is in memory from `offset` on, without waiting for the disk.
///
/// Returns how many bytes that was: fewer than asked if the next one is not in memory, or if the file
/// ends there, or if nobody can tell.
///
/// # Errors
/// The host's, if reading itself failed.
pub fn read_cached_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    host::read_cached_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` on, keeping in memory no more than was there before.
///
/// # Errors
/// `UnexpectedEof` if the file ends before; else the host's error.
pub fn read_once_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    host::read_once_at(file, bytes, offset)
}

/// Asks the host to bring `length` bytes from `offset` on into memory, without waiting for them. `false`: it
/// cannot be asked.
pub fn will_need(file: &File, offset: u64, length: u64) -> bool {
    host::will_need(file, offset, length)
}

#[cfg(target_os = "linux")]
mod host {
    use std::fs::File;
    use std::io::{self, IoSliceMut};
    use std::num::NonZeroU64;
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use crate::target;

    /// `RWF_DONTCACHE` (Linux 6.14): pages that this read brings in go again once it has copied them.
    const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    /// Set once a kernel or file system refused `RWF_DONTCACHE`. It publishes nothing else.
    static CANNOT_DROP: AtomicBool = AtomicBool::new(false);

    pub(super) fn read_cached_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            match preadv2(
                file,
                &mut [IoSliceMut::new(rest)],
                at,
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(0) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    pub(super) fn read_once_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while !CANNOT_DROP.load(Ordering::Relaxed)
            && let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty())
        {
            let at = offset.saturating_add(filled as u64);
            match preadv2(file, &mut [IoSliceMut::new(rest)], at, DONT_CACHE) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                    CANNOT_DROP.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        read_and_drop(file, rest, offset.saturating_add(filled as u64))
    }

    /// As `RWF_DONTCACHE` does: what was in memory stays, what comes in for this read goes.
    fn read_and_drop(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let cached = read_cached_at(file, bytes, offset)?;
        let rest = bytes.get_mut(cached..).unwrap_or_default();
        let length = rest.len() as u64;
        let from = offset.saturating_add(cached as u64);
        target::read_exact_at(file, rest, from)?;
        if let Some(length) = NonZeroU64::new(length) {
            // Advice: whoever does not take it keeps the pages, and reads the same bytes.
            let _ = fadvise(file, from, Some(length), Advice::DontNeed);
        }
        Ok(())
    }

    pub(super) fn will_need(file: &File, offset: u64, length: u64) -> bool {
        let length = NonZeroU64::new(length);
        length.is_none_or(|length| fadvise(file, offset, Some(length), Advice::WillNeed).is_ok())
    }
}

#[cfg(not(target_os = "linux"))]
mod host {
    use std::fs::File;
    use std::io;

    use crate::target;

    #[expect(clippy::unnecessary_wraps, reason = "the same surface on every host")]
    pub(super) fn read_cached_at(
        _file: &File,
        _bytes: &mut [u8],
        _offset: u64,
    ) -> io::Result<usize> {
        Ok(0)
    }

    pub(super) fn read_once_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        target::read_exact_at(file, bytes, offset)
    }

    pub(super) fn will_need(_file: &File, _offset: u64, _length: u64) -> bool {
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::target::{create_new_regular, sync_all, write_all_at};

    #[test]
    fn every_way_reads_the_same_bytes() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = create_new_regular(&directory.path().join("file"))?;
        let written: Vec<u8> = (0..100_000u32).map(|n| n.to_le_bytes()[1]).collect();
        write_all_at(&file, &written, 0)?;
        sync_all(&file)?;
        for (offset, length) in [(0, 100_000), (5, 4_096), (99_999, 1), (70_000, 0)] {
            let expected = &written[offset..offset + length];
            let mut bytes = vec![0; length];
            will_need(&file, offset as u64, length as u64);
            let cached = read_cached_at(&file, &mut bytes, offset as u64)?;
            assert_eq!(&bytes[..cached], &expected[..cached]);
            bytes.fill(0);
            read_once_at(&file, &mut bytes, offset as u64)?;
            assert_eq!(bytes, expected);
        }
        Ok(())
    }

    #[test]
    fn what_lies_beyond_the_end_is_not_cached_and_cannot_be_read() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = create_new_regular(&directory.path().join("file"))?;
        write_all_at(&file, b"four", 0)?;
        assert!(read_cached_at(&file, &mut [0; 8], 0)? <= 4);
        let error = read_once_at(&file, &mut [0; 8], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        Ok(())
    }
}
