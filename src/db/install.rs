//! The one place where an edit of the tree becomes durable, then visible, and where what it made
//! obsolete goes away.
//!
//! ```text
//! 1  new tables are written and synced as unfinished-N        crash: swept by the next open
//! 2  the directory is synced                                  crash: as 1
//! 3  the edit that names them is appended and synced          crash: as 1
//! 4  they are renamed to their formal names                   crash: the next open renames them
//! 5  the view that holds them is published
//! ```
//!
//! So a formal name is in the directory only if the manifest names it, and what it names is complete.

use std::sync::{Arc, PoisonError};

use trine_io::Mode;

use crate::db::{Core, Persistent};
use crate::error::Result;
use crate::file_name::{table_name, unfinished_name};
use crate::manifest::{Change, VersionEdit};
use crate::table::Table;

impl Persistent {
    /// Makes `changes`, which name the tables `built`, durable. On failure the tables are removed,
    /// unless the edit that names them may have reached the disk.
    pub(crate) async fn install(
        &self,
        changes: Vec<Change>,
        built: &[Arc<Table>],
        mode: Mode,
    ) -> Result<()> {
        if !built.is_empty()
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
        for table in built {
            let number = table.meta().number;
            // A failure is harmless: whoever opens the directory next looks for the unfinished name, too.
            drop(
                self.storage
                    .rename(mode, &unfinished_name(number), &table_name(number))
                    .await,
            );
        }
        Ok(())
    }

    /// Removes tables that were built in vain. What cannot be removed now, the next open sweeps.
    async fn discard(&self, built: &[Arc<Table>], mode: Mode) {
        for table in built {
            drop(
                self.storage
                    .remove(mode, &unfinished_name(table.meta().number))
                    .await,
            );
        }
    }

    /// Notes tables that no version names any more.
    pub(crate) fn retire<'a>(&self, tables: impl Iterator<Item = &'a Arc<Table>>) {
        let mut obsolete = self.obsolete.lock().unwrap_or_else(PoisonError::into_inner);
        obsolete.extend(tables.map(|table| (table.meta().number, table.identity())));
    }
}

impl Core {
    /// Removes the files of obsolete tables that nobody can read any more. Failures leave them to a
    /// later call, or to the next open: the manifest lists them until they are gone.
    pub(crate) async fn remove_obsolete(&self, mode: Mode) {
        let Some(persistent) = &self.persistent else {
            return;
        };
        // Views that readers have left are freed when the epoch moves on; help it along.
        for _ in 0..3 {
            crossbeam_epoch::pin().flush();
        }
        let unreachable: Vec<u64> = {
            let mut obsolete = persistent
                .obsolete
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let (gone, live) = std::mem::take(&mut *obsolete)
                .into_iter()
                .partition::<Vec<_>, _>(|(_, table)| table.strong_count() == 0);
            *obsolete = live;
            gone.into_iter().map(|(number, _)| number).collect()
        };
        let mut changes = Vec::new();
        for number in unreachable {
            match persistent.storage.remove(mode, &table_name(number)).await {
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
