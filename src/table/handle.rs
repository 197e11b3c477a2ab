//! A table of a version: what the manifest says of it and, from its first use on, its open file.
//!
//! - Nothing touches the file before somebody needs more than the manifest knows. A step that does gets
//!   [`Missing`]; loading that opens the table.
//! - A handle that was opened stays open for as long as it lives: reading through it takes a load, no count and
//!   no lock. A table is closed by giving the version a [`fresh`](Table::fresh) handle of it. Whoever still reads
//!   through the old one keeps its file and its map, as with a table that has left the version.
//! - A file may go once its database was closed: what is pinned then is opened before.
//! - How many are open is bounded by [`TableFiles`], which asks the owner of the versions to close the idle ones.
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
use crate::file_name::{table_name, unfinished_name};
use crate::read_counters::ReadCounters;
use crate::table::reader::{OpenTable, Opened};
use crate::table::{Missing, TableMeta};

/// Who holds the versions, and so can replace the handles in them.
pub(crate) trait ClosesTables:
    fmt::Debug + Send + Sync + UnwindSafe + RefUnwindSafe
{
    /// Closes those used least, if more than `open_max` are open, to some fewer than that.
    fn close_idle(&self, open_max: usize);
}

/// What the tables of a database share: where their files are, the cache of their blocks, and how many of
/// them may be open.
#[derive(Debug)]
pub(crate) struct TableFiles {
    storage: Storage,
    cache: Arc<BlockCache>,
    open_max: usize,
    open: AtomicUsize,
    /// Opened since the owner was asked to close some.
    opened: AtomicUsize,
    owner: OnceLock<Weak<dyn ClosesTables>>,
}

impl TableFiles {
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

    /// Who closes tables. Until it is known, none are.
    pub(crate) fn set_owner(&self, owner: Weak<dyn ClosesTables>) {
        // A second owner would be our own mistake, and harmless.
        drop(self.owner.set(owner));
    }

    pub(crate) fn cache(&self) -> &Arc<BlockCache> {
        &self.cache
    }

    /// How many tables are open, those included that are open for their readers only.
    pub(crate) fn open_tables(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Opens the file of a table that the manifest names, wherever the crash of its writer left it.
    pub(crate) async fn open_file(&self, number: u64, mode: Mode) -> Result<File> {
        let name = table_name(number);
        match self.storage.open(mode, &name).await {
            Err(error) if error.source.kind() == ErrorKind::NotFound => {}
            opened => return Ok(opened?),
        }
        match self.storage.open(mode, &unfinished_name(number)).await {
            Err(error) if error.source.kind() == ErrorKind::NotFound => Err(missing_table(&name)),
            opened => Ok(opened?),
        }
    }

    /// Some at a time: what closing costs, a walk over all tables, is spread over as many openings.
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

/// The error for a table that the manifest names and the directory does not have.
pub(crate) fn missing_table(name: &str) -> Error {
    Error::Corruption {
        message: format!("referenced table files are missing: {name}"),
    }
}

/// A table. Shared by every version of the tree that holds it.
#[derive(Debug)]
pub(crate) struct Table {
    meta: TableMeta,
    /// Read since idle tables were looked for last.
    used: AtomicBool,
    opened: OnceLock<Opened>,
    files: Arc<TableFiles>,
    /// Lives as long as any handle of this table does.
    identity: Arc<()>,
}

impl Table {
    /// The table that `meta` describes. Its file is not touched.
    pub(crate) fn closed(meta: TableMeta, files: &Arc<TableFiles>) -> Arc<Self> {
        Arc::new(Self {
            meta,
            used: AtomicBool::new(false),
            opened: OnceLock::new(),
            files: Arc::clone(files),
            identity: Arc::new(()),
        })
    }

    /// As `closed`, and opens it at once: `file` is its file, whatever that is called at the moment.
    pub(crate) async fn open_in(
        file: &File,
        meta: &TableMeta,
        files: &Arc<TableFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let opened = Opened::load(file, meta, &files.cache, mode).await?;
        let table = Self::closed(meta.clone(), files);
        table.set(opened);
        Ok(table)
    }

    /// As `open_in`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn open_unmapped(
        file: &File,
        meta: &TableMeta,
        files: &Arc<TableFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let opened = Opened::load_unmapped(file, meta, &files.cache, mode).await?;
        let table = Self::closed(meta.clone(), files);
        table.set(opened);
        Ok(table)
    }

    /// The same table, not open.
    pub(crate) fn fresh(&self) -> Arc<Self> {
        Arc::new(Self {
            meta: self.meta.clone(),
            used: AtomicBool::new(false),
            opened: OnceLock::new(),
            files: Arc::clone(&self.files),
            identity: Arc::clone(&self.identity),
        })
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    /// Upgrades for as long as any handle of this table lives.
    pub(crate) fn identity(&self) -> Weak<()> {
        Arc::downgrade(&self.identity)
    }

    /// The counters of the database's reads.
    #[inline]
    pub(crate) fn reads(&self) -> &ReadCounters {
        self.files.cache.reads()
    }

    pub(crate) fn files(&self) -> &TableFiles {
        &self.files
    }

    /// Its open file, if it is open.
    #[inline]
    pub(crate) fn opened(self: &Arc<Self>) -> Option<OpenTable<'_>> {
        let opened = self.opened.get()?;
        Some(OpenTable::new(self, opened))
    }

    /// As `opened`, for a read: it is not idle.
    #[inline]
    pub(crate) fn read(self: &Arc<Self>) -> std::result::Result<OpenTable<'_>, Missing> {
        // Looking first keeps the line shared between readers.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        self.opened().ok_or_else(|| Missing::file(self))
    }

    /// Opens it, if it is not open, and verifies all of it but the data blocks.
    pub(crate) async fn open(self: &Arc<Self>, mode: Mode) -> Result<OpenTable<'_>> {
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        let file = self.files.open_file(self.meta.number, mode).await?;
        let opened = Opened::load(&file, &self.meta, &self.files.cache, mode).await?;
        Ok(OpenTable::new(self, self.set(opened)))
    }

    /// About how many bytes of the table hold the keys from `start` to before `end`. Only what lies at an end of
    /// the range has to be looked up; of a table that cannot be opened for that, half is as good a guess as any.
    pub(crate) async fn bytes_within(
        self: &Arc<Self>,
        start: &[u8],
        end: Option<&[u8]>,
        mode: Mode,
    ) -> u64 {
        let meta = &self.meta;
        if meta.ends_before(start) || end.is_some_and(|end| end <= meta.smallest.as_slice()) {
            return 0;
        }
        let whole =
            start <= meta.smallest.as_slice() && end.is_none_or(|end| meta.ends_before(end));
        if whole {
            return meta.bytes;
        }
        let Ok(open) = self.open(mode).await else {
            return meta.bytes / 2;
        };
        let to = end.map_or(meta.bytes, |end| open.approximate_offset(end));
        to.saturating_sub(open.approximate_offset(start))
    }

    /// Of several that open it at the same time the first one's file stays.
    fn set(&self, opened: Opened) -> &Opened {
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

impl Drop for Table {
    fn drop(&mut self) {
        if self.opened.get().is_some() {
            self.files.open.fetch_sub(1, Relaxed);
        }
    }
}
