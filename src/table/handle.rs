//! A table of a version: what the manifest says of it and, from its first use on, its open file.
//!
//! Nothing touches the file before somebody needs more than the manifest knows. A step that does gets
//! [`Missing`]; loading that opens the table. When it is closed again: [`crate::open_files`].

use std::sync::{Arc, Weak};

use trine_io::{File, Mode};

use crate::error::Result;
use crate::file_name::table_name;
use crate::open_files::{Handle, OpenFiles};
use crate::read_counters::ReadCounters;
use crate::sequence::Sequence;
use crate::table::reader::{OpenTable, Opened};
use crate::table::{Missing, TableMeta};

/// A table. Shared by every version of the tree that holds it.
#[derive(Debug)]
pub(crate) struct Table {
    meta: TableMeta,
    handle: Handle<Opened>,
}

impl Table {
    /// The table that `meta` describes. Its file is not touched.
    pub(crate) fn closed(meta: TableMeta, files: &Arc<OpenFiles>) -> Arc<Self> {
        Arc::new(Self {
            meta,
            handle: Handle::closed(files),
        })
    }

    /// As `closed`, and opens it at once: `file` is its file, whatever that is called at the moment.
    pub(crate) async fn open_in(
        file: &File,
        meta: &TableMeta,
        files: &Arc<OpenFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let opened = Opened::load(file, meta, files.cache(), mode).await?;
        let table = Self::closed(meta.clone(), files);
        table.handle.set(opened);
        Ok(table)
    }

    /// As `open_in`, on a backend that cannot map.
    #[cfg(test)]
    pub(crate) async fn open_unmapped(
        file: &File,
        meta: &TableMeta,
        files: &Arc<OpenFiles>,
        mode: Mode,
    ) -> Result<Arc<Self>> {
        let opened = Opened::load_unmapped(file, meta, files.cache(), mode).await?;
        let table = Self::closed(meta.clone(), files);
        table.handle.set(opened);
        Ok(table)
    }

    /// The same table as part of the commit `sequence`: it was written before that was known.
    pub(crate) fn loaded_at(&self, sequence: Sequence) -> Arc<Self> {
        let meta = TableMeta {
            smallest_sequence: sequence,
            largest_sequence: sequence,
            ..self.meta.clone()
        };
        Self::closed(meta, self.handle.files())
    }

    /// The same table, not open.
    pub(crate) fn fresh(&self) -> Arc<Self> {
        Arc::new(Self {
            meta: self.meta.clone(),
            handle: self.handle.fresh(),
        })
    }

    pub(crate) fn meta(&self) -> &TableMeta {
        &self.meta
    }

    pub(crate) fn handle(&self) -> &Handle<Opened> {
        &self.handle
    }

    /// Upgrades for as long as any handle of this table lives.
    pub(crate) fn identity(&self) -> Weak<()> {
        self.handle.identity()
    }

    /// The counters of the database's reads.
    #[inline]
    pub(crate) fn reads(&self) -> &ReadCounters {
        self.handle.files().cache().reads()
    }

    /// Its file, opened anew.
    pub(crate) async fn open_file(&self, mode: Mode) -> Result<File> {
        let number = self.meta.number;
        let files = self.handle.files();
        files.open(number, &table_name(number), mode).await
    }

    /// Its open file, if it is open.
    #[inline]
    pub(crate) fn opened(self: &Arc<Self>) -> Option<OpenTable<'_>> {
        let opened = self.handle.opened()?;
        Some(OpenTable::new(self, opened))
    }

    /// As `opened`, for a read: it is not idle.
    #[inline]
    pub(crate) fn read(self: &Arc<Self>) -> std::result::Result<OpenTable<'_>, Missing> {
        self.handle.touch();
        self.opened().ok_or_else(|| Missing::file(self))
    }

    /// Opens it, if it is not open, and verifies all of it but the data blocks.
    pub(crate) async fn open(self: &Arc<Self>, mode: Mode) -> Result<OpenTable<'_>> {
        if let Some(opened) = self.opened() {
            return Ok(opened);
        }
        let file = self.open_file(mode).await?;
        let cache = self.handle.files().cache();
        let opened = Opened::load(&file, &self.meta, cache, mode).await?;
        Ok(OpenTable::new(self, self.handle.set(opened)))
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
        let from = open.approximate_offset(start, mode).await;
        let to = match end {
            Some(end) => open.approximate_offset(end, mode).await,
            None => Ok(meta.bytes),
        };
        match (from, to) {
            (Ok(from), Ok(to)) => to.saturating_sub(from),
            _ => meta.bytes / 2,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.handle.is_open()
    }
}
