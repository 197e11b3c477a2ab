//! Files as each operating system has them. Picks exactly one of its modules, all with the same surface.
//!
//! - Positional reads and writes are whole: all bytes or an error (`UnexpectedEof` where the file ends
//!   before, `WriteZero` where the host takes no more). They do not depend on a file position, which on
//!   Windows they move.
//! - Only regular files are ever opened. A link, pipe, socket, device or directory in a file's place is
//!   refused with [`NotRegular`], without following it and without waiting for a pipe's other end.
//! - `sync_data` makes the bytes and the length they need survive power loss; `sync_all` all metadata
//!   too. Both need a file open for writing: Windows refuses otherwise. On macOS both flush the drive's
//!   cache (`F_FULLFSYNC`), since its plain `fsync` does not.
//! - `sync_directory` makes created, renamed and removed names survive power loss, where the host lets a
//!   program ask for that: see each module.
//!
//! `trine-io` and this crate's [`lock`](crate::lock) call this; nothing else should.

use std::io;
use std::path::Path;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as host;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub use linux::{overwrites_in_place, reserve, start_writeback, write_all_durably_at, written_end};
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod common;
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub use common::{
    overwrites_in_place, reserve, start_writeback, write_all_durably_at, written_end,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as host;

#[cfg(target_os = "wasi")]
mod wasi;
#[cfg(target_os = "wasi")]
use wasi as host;

#[cfg(not(any(unix, windows, target_os = "wasi")))]
mod fallback;
#[cfg(not(any(unix, windows, target_os = "wasi")))]
use fallback as host;

pub use host::{
    DURABLE_SYNC, create_new_regular, open_regular, read_exact_at, sync_all, sync_data,
    sync_directory, write_all_at,
};
pub(crate) use host::{OS_LOCKS, is_sharing_refused, open_for_lock, same_file};

/// What an opened file will be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads, writes, cuts and syncs.
    Write,
}

/// Something else than a regular file has the name. The inner error of an `InvalidInput` error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRegular;

impl std::fmt::Display for NotRegular {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a regular file")
    }
}

impl std::error::Error for NotRegular {}

impl NotRegular {
    /// Whether `error` is this refusal.
    pub fn is(error: &io::Error) -> bool {
        matches!(error.get_ref(), Some(inner) if inner.is::<Self>())
    }
}

#[cfg_attr(
    not(any(unix, windows, target_os = "wasi")),
    expect(dead_code, reason = "nothing opens there")
)]
mod regular {
    use std::fs::File;
    use std::io::{self, ErrorKind};
    use std::path::Path;

    use super::NotRegular;

    fn refusal() -> io::Error {
        io::Error::new(ErrorKind::InvalidInput, NotRegular)
    }

    /// What an open returned, refused unless it is a regular file.
    ///
    /// Hosts fail to open a link, pipe or socket with a variety of codes; whatever the code, if such a
    /// thing has the name then that is the reason.
    pub(super) fn only(path: &Path, opened: io::Result<File>) -> io::Result<File> {
        match opened {
            Ok(file) if file.metadata()?.is_file() => Ok(file),
            Ok(_) => Err(refusal()),
            Err(error) => Err(refused(path).err().unwrap_or(error)),
        }
    }

    /// Fails if something has the name and is not a regular file.
    pub(super) fn refused(path: &Path) -> io::Result<()> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => Err(refusal()),
            _ => Ok(()),
        }
    }
}

/// This process, for people who read a lock file; 0 where there are no processes (asking panics there).
pub(crate) fn process_id() -> u32 {
    if cfg!(target_family = "wasm") {
        0
    } else {
        std::process::id()
    }
}

/// The directory that holds the entry for `path`.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn bytes_come_back_from_where_they_were_written() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = create_new_regular(&directory.path().join("file"))?;
        write_all_at(&file, b"after", 5)?;
        write_all_at(&file, b"ahead", 0)?;
        let mut bytes = [0; 7];
        read_exact_at(&file, &mut bytes, 3)?;
        assert_eq!(&bytes, b"adafter");
        sync_data(&file)?;
        sync_all(&file)?;
        write_all_durably_at(&file, b"and", 9)?;
        start_writeback(&file, 0, 11);
        let mut bytes = [0; 12];
        read_exact_at(&file, &mut bytes, 0)?;
        assert_eq!(&bytes, b"aheadafteand");
        sync_directory(directory.path())
    }

    #[test]
    fn read_past_the_end_is_unexpected_eof() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = create_new_regular(&directory.path().join("file"))?;
        write_all_at(&file, b"four", 0)?;
        for offset in [1, 4, 100] {
            let error = read_exact_at(&file, &mut [0; 4], offset).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
        read_exact_at(&file, &mut [], 100)
    }

    #[test]
    fn taken_name_is_not_created_and_missing_one_not_opened() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("file");
        let missing = open_regular(&path, Access::Write).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        create_new_regular(&path)?;
        let taken = create_new_regular(&path).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        Ok(())
    }

    #[test]
    fn directory_is_refused() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        for access in [Access::Read, Access::Write] {
            let error = open_regular(directory.path(), access).unwrap_err();
            assert!(NotRegular::is(&error), "{error}");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn link_pipe_socket_and_device_are_refused_at_once() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        create_new_regular(&path("file"))?;
        std::os::unix::fs::symlink("file", path("link"))?;
        std::os::unix::fs::symlink("nowhere", path("dangling"))?;
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status()?;
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket"))?;
        let names = ["link", "dangling", "pipe", "socket"].map(path);
        for name in names
            .iter()
            .map(AsRef::as_ref)
            .chain([Path::new("/dev/null")])
        {
            for access in [Access::Read, Access::Write] {
                let error = open_regular(name, access).unwrap_err();
                assert!(NotRegular::is(&error), "{}: {error}", name.display());
            }
        }
        Ok(())
    }

    #[test]
    fn parent_of_a_bare_name_is_the_current_directory() {
        assert_eq!(parent(Path::new("name")), Path::new("."));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
    }
}
