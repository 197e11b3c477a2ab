//! Removing backups.
//!
//! ```text
//! 1  the backups that stay are read, and the directory is synced: if that fails, nothing happens
//! 2  the files of those that go are removed, and the directory is synced    crash: fewer backups, each whole
//! 3  data files that none of those that stay names are removed              crash: some are left for the next time
//! ```

use std::collections::BTreeSet;

use trine_io::Mode;

use crate::db::backup::names::backup_name;
use crate::db::backup::store::Store;
use crate::db::backup::{BackupId, PruneReport};
use crate::error::{Error, Result};

impl Store {
    /// Removes all backups but the newest `keep`.
    pub(crate) async fn prune(&self, keep: usize, mode: Mode) -> Result<PruneReport> {
        if keep == 0 {
            return Err(Error::invalid_options("pruning keeps one backup or more"));
        }
        self.retain(mode, |all| {
            let stay = all.len().saturating_sub(keep);
            Ok(all.iter().skip(stay).copied().collect())
        })
        .await
    }

    /// Removes one backup.
    pub(super) async fn forget(&self, id: BackupId, mode: Mode) -> Result<PruneReport> {
        self.retain(mode, |all| {
            if !all.contains(&id) {
                return Err(Error::invalid_options(format!("there is no backup {id}")));
            }
            Ok(all.iter().copied().filter(|other| *other != id).collect())
        })
        .await
    }

    /// Removes all backups but those that `choose` chooses of all there are.
    async fn retain(
        &self,
        mode: Mode,
        choose: impl FnOnce(&[BackupId]) -> Result<BTreeSet<BackupId>>,
    ) -> Result<PruneReport> {
        let lock = self.enter(mode).await?;
        let contents = self.contents(mode).await?;
        let stay = choose(&contents.backups)?;
        let mut needed = BTreeSet::new();
        for id in &stay {
            needed.extend(self.read(*id, mode).await?.names());
        }
        // One whose making was cut short may be listed and not on disk.
        self.settle(mode).await?;
        let mut report = PruneReport::default();
        for id in contents.backups.iter().filter(|id| !stay.contains(id)) {
            self.remove(&backup_name(*id), mode).await?;
            report.backups += 1;
        }
        // None may come back after a power loss and miss its files.
        self.settle(mode).await?;
        for (source, crc) in contents.data {
            let name = source.stored_name(crc);
            if !needed.contains(&name) {
                self.remove(&name, mode).await?;
                report.files += 1;
            }
        }
        self.settle(mode).await?;
        drop(lock);
        Ok(report)
    }
}
