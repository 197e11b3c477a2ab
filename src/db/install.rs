//! The one place where an edit of the tree becomes durable, then visible, and where what it made
//! obsolete goes away.
//!
//! ```text
//! 1  new tables and blob files are written and synced as unfinished-N        crash: swept by the next open
//! 2  the directory is synced                                  crash: as 1
//! 3  the edit that names them is appended and synced          crash: as 1
//! 4  they are renamed to their formal names                   crash: the next open renames them
//! 5  the view that holds them is published
//! ```
//!
//! So a formal name is in the directory only if the manifest names it, and what it names is complete.

use std::sync::{Arc, PoisonError, Weak};

use trine_io::Mode;

use crate::blob::BlobFile;
use crate::db::{Core, Persistent};
use crate::error::Result;
use crate::file_name::{blob_name, table_name, unfinished_name};
use crate::manifest::{Change, VersionEdit};
use crate::table::Table;
use crate::tree::build::Built;

impl Persistent {
    /// Makes `changes`, which name what was `built`, durable. On failure that is removed,
    /// unless the edit that names them may have reached the disk.
    pub(crate) async fn install(
        &self,
        changes: Vec<Change>,
        built: &Built,
        mode: Mode,
    ) -> Result<()> {
        if !built.tables.is_empty()
            && let Err(error) = self.storage.sync_directory(mode).await
        {
            self.discard(built, mode).await;
            return Err(error.into());
        }
        let mut manifest = self.manifest.take().await;
        let appended = manifest.append(&VersionEdit { changes }, mode).await;
        let outcome_is_known = manifest.check().is_ok();
        drop(manifest);
        if let Err(error) = appended {
            if outcome_is_known {
                self.discard(built, mode).await;
            }
            return Err(error);
        }
        for (number, name) in names(built) {
            // A failure is harmless: whoever opens the directory next looks for the unfinished name, too.
            drop(
                self.storage
                    .rename(mode, &unfinished_name(number), &name)
                    .await,
            );
        }
        Ok(())
    }

    /// Removes what was built in vain. What cannot be removed now, the next open sweeps.
    pub(crate) async fn discard(&self, built: &Built, mode: Mode) {
        for (number, _) in names(built).filter(|(number, _)| built.growing != Some(*number)) {
            drop(self.storage.remove(mode, &unfinished_name(number)).await);
        }
    }

    /// Notes tables that no version names any more.
    pub(crate) fn retire<'a>(&self, tables: impl Iterator<Item = &'a Arc<Table>>) {
        let mut obsolete = self.obsolete.lock().unwrap_or_else(PoisonError::into_inner);
        obsolete
            .extend(tables.map(|table| (table.meta().number, Obsolete::Table(table.identity()))));
    }

    /// Notes blob files that no table of a version refers to any more.
    pub(crate) fn retire_blobs<'a>(&self, files: impl Iterator<Item = &'a Arc<BlobFile>>) {
        let mut obsolete = self.obsolete.lock().unwrap_or_else(PoisonError::into_inner);
        obsolete.extend(files.map(|file| {
            let way_out = Obsolete::Blob {
                file: file.handle().identity(),
                bytes: file.meta().bytes,
            };
            (file.meta().number, way_out)
        }));
    }

    /// How many files wait to be removed.
    pub(crate) fn obsolete_count(&self) -> usize {
        let obsolete = self.obsolete.lock().unwrap_or_else(PoisonError::into_inner);
        obsolete.len()
    }

    /// How many blob files wait to be removed, and their bytes.
    pub(crate) fn obsolete_blobs(&self) -> (usize, u64) {
        let obsolete = self.obsolete.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = obsolete.iter().filter_map(|(_, file)| match file {
            Obsolete::Table(_) => None,
            Obsolete::Blob { bytes, .. } => Some(*bytes),
        });
        bytes.fold((0, 0), |(files, sum), bytes| (files + 1, sum + bytes))
    }
}

/// Files that were built, by their numbers and formal names.
fn names(built: &Built) -> impl Iterator<Item = (u64, String)> {
    let tables = built.tables.iter().map(|table| table.meta().number);
    let blobs = built.blobs.iter().map(|file| file.meta().number);
    tables
        .map(|number| (number, table_name(number)))
        .chain(blobs.map(|number| (number, blob_name(number))))
}

/// A file on its way out, which goes when nobody can read it any more.
#[derive(Debug)]
pub(crate) enum Obsolete {
    Table(Weak<()>),
    Blob { file: Weak<()>, bytes: u64 },
}

impl Obsolete {
    fn is_unreachable(&self) -> bool {
        match self {
            Self::Table(table) => table.strong_count() == 0,
            Self::Blob { file, .. } => file.strong_count() == 0,
        }
    }

    fn name(&self, number: u64) -> String {
        match self {
            Self::Table(_) => table_name(number),
            Self::Blob { .. } => blob_name(number),
        }
    }
}

impl Core {
    /// Removes obsolete files that nobody can read any more. Failures leave them to a
    /// later call, or to the next open: the manifest lists them until they are gone.
    pub(crate) async fn remove_obsolete(&self, mode: Mode) {
        let Some(persistent) = &self.persistent else {
            return;
        };
        let obsolete = || {
            persistent
                .obsolete
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if obsolete().is_empty() {
            return;
        }
        // Views that readers have left are freed when the epoch moves on; help it along.
        for _ in 0..3 {
            crate::epoch::pin().flush();
        }
        let unreachable = {
            let mut obsolete = obsolete();
            let (gone, live) = std::mem::take(&mut *obsolete)
                .into_iter()
                .partition::<Vec<_>, _>(|(_, file)| file.is_unreachable());
            *obsolete = live;
            gone
        };
        let mut changes = Vec::new();
        for (number, file) in unreachable {
            match persistent.storage.remove(mode, &file.name(number)).await {
                Ok(()) => changes.push(Change::ObsoleteGone { number }),
                Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {
                    changes.push(Change::ObsoleteGone { number });
                }
                // Stays listed in the manifest: the next open tries again.
                Err(_) => {}
            }
        }
        // A file that came back after a power loss must still be listed: else it is a stray one.
        if !changes.is_empty() && persistent.storage.sync_directory(mode).await.is_ok() {
            drop(
                persistent
                    .manifest
                    .take()
                    .await
                    .append(&VersionEdit { changes }, mode)
                    .await,
            );
        }
    }
}
