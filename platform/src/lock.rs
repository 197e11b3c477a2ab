//! One writer per directory, by the operating system's lock on a file in it.
//!
//! - The lock dies with the process: what a killed one leaves is a file, which the next acquirer takes over.
//! - The file holds our identity text. Whatever else has its name, or is in it, is [`LockError::Foreign`]
//!   and stays as it is, byte for byte.
//! - The file is removed before the lock is released, so it is there exactly while somebody holds it
//!   (or died holding it). Who locks a file that was removed meanwhile notices, and starts over.
//! - Two acquirers in one process exclude each other as two processes do.
//!
//! WASI has no such locks: there a list of paths in this process keeps its own acquirers apart, and
//! nothing keeps other processes out. Paths are compared as written, so use one spelling.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::target::{self, NotRegular};

/// What our lock files begin with.
const IDENTITY: &str = "trine-kv lock 1\npid=";
/// The identity, the longest process number, a line end, with room to spare.
const IDENTITY_BYTES_MAX: u64 = 64;
/// How often a lock may turn out to be on a removed file before we call it held. Each time another
/// owner has come and gone in between.
const ATTEMPTS_MAX: u32 = 1000;

/// Why a lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it, in this process or another.
    Held,
    /// Something that we did not write has its name. It was left as it is.
    Foreign,
    /// The host failed.
    Io(io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held => f.write_str("the lock is held by another writer"),
            Self::Foreign => f.write_str("the lock file was not written by this crate"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Held | Self::Foreign => None,
            Self::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        if NotRegular::is(&error) {
            Self::Foreign
        } else {
            Self::Io(error)
        }
    }
}

/// The right to write in a directory, until dropped.
///
/// Dropping removes the lock file and releases the lock: two short system calls on the dropping thread.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    /// Open, and so locked, until after `drop` has removed the name.
    file: File,
    #[cfg(any(test, target_os = "wasi"))]
    _in_process: Option<registry::Entry>,
}

impl DirectoryLock {
    /// Takes the lock whose file is `path`, without waiting.
    ///
    /// # Errors
    /// [`LockError`] says why not. Nothing was changed, except that an empty file may have been left
    /// where none was.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        #[cfg(any(test, target_os = "wasi"))]
        let in_process = if target::OS_LOCKS {
            None
        } else {
            Some(registry::Entry::new(path).ok_or(LockError::Held)?)
        };
        let file = lock_file(path)?;
        take_over(&file)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            #[cfg(any(test, target_os = "wasi"))]
            _in_process: in_process,
        })
    }
}

impl Drop for DirectoryLock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the lock file is not one of a storage's files"
    )]
    fn drop(&mut self) {
        // Somebody may have removed the file by hand and a new owner made another: that one is not ours.
        // If it cannot be removed it stays behind like a dead process's, for the next to take over.
        if matches!(target::same_file(&self.file, &self.path), Ok(true)) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The file at `path`, locked, and still at `path`.
fn lock_file(path: &Path) -> Result<File, LockError> {
    for _ in 0..ATTEMPTS_MAX {
        let file = match target::open_for_lock(path) {
            Err(error) if target::is_sharing_refused(&error) => return Err(LockError::Held),
            opened => opened?,
        };
        if target::OS_LOCKS {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(LockError::Held),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        // The owner before us may have removed it between our open and our lock: then a lock on it
        // excludes nobody.
        if target::same_file(&file, path)? {
            return Ok(file);
        }
    }
    Err(LockError::Held)
}

/// Writes our identity into the locked file, unless something of somebody else is in it.
fn take_over(file: &File) -> Result<(), LockError> {
    let length = file.metadata()?.len();
    let Some(length) = usize::try_from(length)
        .ok()
        .filter(|_| length <= IDENTITY_BYTES_MAX)
    else {
        return Err(LockError::Foreign);
    };
    let mut found = vec![0; length];
    match target::read_exact_at(file, &mut found, 0) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(LockError::Foreign),
        read => read?,
    }
    if !is_ours(&found) {
        return Err(LockError::Foreign);
    }
    // Emptied first, so that a crash in between leaves a prefix of one identity, never a mixture.
    file.set_len(0)?;
    let identity = format!("{IDENTITY}{}\n", target::process_id());
    target::write_all_at(file, identity.as_bytes(), 0)?;
    Ok(())
}

/// Whether a process of ours wrote this, wholly or up to where it died.
///
/// All zeros count: after power loss a file may have its length and not its bytes, and nobody puts
/// zeros there on purpose.
fn is_ours(found: &[u8]) -> bool {
    if IDENTITY.as_bytes().starts_with(found) || found.iter().all(|&byte| byte == 0) {
        return true;
    }
    let Some(number) = found.strip_prefix(IDENTITY.as_bytes()) else {
        return false;
    };
    let number = number.strip_suffix(b"\n").unwrap_or(number);
    (1..=10).contains(&number.len()) && number.iter().all(u8::is_ascii_digit)
}

/// Paths locked in this process, for hosts without locks of their own.
#[cfg(any(test, target_os = "wasi"))]
mod registry {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Held for single insertions and removals only.
    static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

    fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
        HELD.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path in the list, until dropped.
    #[derive(Debug)]
    pub(super) struct Entry(PathBuf);

    impl Entry {
        /// `None` if the path is in the list.
        pub(super) fn new(path: &Path) -> Option<Self> {
            // Without `.` and doubled separators.
            let path: PathBuf = path.components().collect();
            // Not `then_some`: its `Self` would be made, and dropped, for a refused path too.
            held().insert(path.clone()).then(|| Self(path))
        }
    }

    impl Drop for Entry {
        fn drop(&mut self) {
            held().remove(&self.0);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn identity_and_its_torn_forms_are_ours() {
        let whole = b"trine-kv lock 1\npid=4294967295\n";
        for length in 0..=whole.len() {
            assert!(is_ours(&whole[..length]), "{length} bytes");
        }
        assert!(is_ours(&[0; 21]));
        assert!(whole.len() as u64 <= IDENTITY_BYTES_MAX);
    }

    #[test]
    fn anything_else_is_foreign() {
        for foreign in [
            &b"pid=stale\n"[..],
            b"\n",
            b"trine-kv lock 2\npid=1\n",
            b"trine-kv lock 1\npid=\n",
            b"trine-kv lock 1\npid=x\n",
            b"trine-kv lock 1\npid=1\n\n",
            b"trine-kv lock 1\npid=1\nmore",
            b"trine-kv lock 1\npid=12345678901\n",
            b"\0\0x",
        ] {
            assert!(!is_ours(foreign), "{foreign:?}");
        }
    }

    #[test]
    fn registry_knows_a_path_once() {
        let first = registry::Entry::new(Path::new("registry/./LOCK"));
        assert!(first.is_some());
        assert!(registry::Entry::new(Path::new("registry//LOCK")).is_none());
        drop(first);
        assert!(registry::Entry::new(Path::new("registry/LOCK")).is_some());
    }
}
