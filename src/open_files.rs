//! The immutable files of a database that are opened when somebody first reads them: tables and blob files.
//!
//! - A handle that was opened stays open for as long as it lives: reading through it takes a load, no count and
//!   no lock. A file is closed by giving the version a [`fresh`](Handle::fresh) handle of it. Whoever still reads
//!   through the old one keeps its file and its map, as with a file that has left the version.
//! - A file may go once its database was closed: what is pinned then is opened before.
//! - How many are open is bounded by [`OpenFiles`], which asks the owner of the versions to close the idle ones.
//!   What readers pinned stays open beyond the bound.

use std::fmt;
use std::io::ErrorKind;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock, Weak};

use trine_io::{File, Mode, Storage};

use crate::cache::BlockCache;
use crate::error::{Error, Result};
use crate::file_name::unfinished_name;

/// Who holds the versions, and so can replace the handles in them.
pub(crate) trait ClosesFiles: fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Closes those used least, if more than `open_max` are open, to some fewer than that.
    fn close_idle(&self, open_max: usize);
}

/// What the tables and blob files of a database share: where they are, the cache of their blocks, and how many
/// of them may be open.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    storage: Storage,
    cache: Arc<BlockCache>,
    open_max: usize,
    open: AtomicUsize,
    /// Opened since the owner was asked to close some.
    opened: AtomicUsize,
    owner: OnceLock<Weak<dyn ClosesFiles>>,
}

impl OpenFiles {
    pub(crate) fn new(storage: Storage, cache: Arc<BlockCache>, open_max: usize) -> Self {
        Self {
            storage,
            cache,
            open_max,
            open: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            owner: OnceLock::new(),
        }
    }

    /// Who closes files. Until it is known, none are.
    pub(crate) fn set_owner(&self, owner: Weak<dyn ClosesFiles>) {
        // A second owner would be our own mistake, and harmless.
        drop(self.owner.set(owner));
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(crate) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// How many are open, those included that are open for their readers only.
    pub(crate) fn open_count(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Opens the file that the manifest names, wherever the crash of its writer left it: under `name` or as
    /// unfinished file `number`.
    pub(crate) async fn open(&self, number: u64, name: &str, mode: Mode) -> Result<File> {
        for name in [name, &unfinished_name(number)] {
            match self.storage.open(mode, name).await {
                Err(error) if error.source.kind() == ErrorKind::NotFound => {}
                opened => return Ok(opened?),
            }
        }
        Err(missing_file(name))
    }

    /// Some at a time: what closing costs, a walk over all versions, is spread over as many openings.
    fn count_opened(&self) {
        let open = self.open.fetch_add(1, Relaxed).saturating_add(1);
        let opened = self.opened.fetch_add(1, Relaxed).saturating_add(1);
        if open > self.open_max && opened > self.open_max / 8 {
            self.opened.store(0, Relaxed);
            if let Some(owner) = self.owner.get().and_then(Weak::upgrade) {
                owner.close_idle(self.open_max);
            }
        }
    }
}

/// The error for a file that the manifest names and the directory does not have.
pub(crate) fn missing_file(name: &str) -> Error {
    Error::Corruption {
        message: format!("referenced files are missing: {name}"),
    }
}

/// A file of a version, and what opening it yields: `O`.
#[derive(Debug)]
pub(crate) struct Handle<O> {
    /// Read since idle files were looked for last.
    used: AtomicBool,
    opened: OnceLock<O>,
    files: Arc<OpenFiles>,
    /// Lives as long as any handle of this file does.
    identity: Arc<()>,
}

impl<O> Handle<O> {
    /// Of a file that nobody has opened.
    pub(crate) fn closed(files: &Arc<OpenFiles>) -> Self {
        Self {
            used: AtomicBool::new(false),
            opened: OnceLock::new(),
            files: Arc::clone(files),
            identity: Arc::new(()),
        }
    }

    /// Of the same file, not open.
    pub(crate) fn fresh(&self) -> Self {
        Self {
            used: AtomicBool::new(false),
            opened: OnceLock::new(),
            files: Arc::clone(&self.files),
            identity: Arc::clone(&self.identity),
        }
    }

    #[inline]
    pub(crate) fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    /// Upgrades for as long as any handle of this file lives.
    pub(crate) fn identity(&self) -> Weak<()> {
        Arc::downgrade(&self.identity)
    }

    /// What opening yielded, if it is open.
    #[inline]
    pub(crate) fn opened(&self) -> Option<&O> {
        self.opened.get()
    }

    /// Notes that it is not idle.
    #[inline]
    pub(crate) fn touch(&self) {
        // Looking first keeps the line shared between readers.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Of several that open it at the same time the first one's file stays.
    pub(crate) fn set(&self, opened: O) -> &O {
        let mut is_first = false;
        let opened = self.opened.get_or_init(|| {
            is_first = true;
            opened
        });
        if is_first {
            self.used.store(true, Relaxed);
            self.files.count_opened();
        }
        opened
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Whether it is open; and if so, whether it was read since this was asked last.
    pub(crate) fn take_use(&self) -> Option<bool> {
        self.opened.get()?;
        Some(self.used.load(Relaxed) && self.used.swap(false, Relaxed))
    }
}

impl<O> Drop for Handle<O> {
    fn drop(&mut self) {
        if self.is_open() {
            self.files.open.fetch_sub(1, Relaxed);
        }
    }
}
