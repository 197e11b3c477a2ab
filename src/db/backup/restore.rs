//! Reading backups: what there are, whether they are whole, and databases made of them.

use std::sync::Arc;

use trine_io::{File, Mode, Storage};

use crate::db::backup::generation::{Generation, Needed};
use crate::db::backup::store::Store;
use crate::db::backup::{BackupId, BackupInfo};
use crate::error::{Error, Fault, Result};
use crate::file_name::FileNumbers;
use crate::manifest::Manifest;
use crate::record::log_error;

impl Store {
    /// All backups by number.
    pub(super) async fn infos(&self, mode: Mode) -> Result<Vec<(BackupId, Result<BackupInfo>)>> {
        let mut infos = Vec::new();
        for id in self.contents(mode).await?.backups {
            let read = self.read(id, mode).await;
            infos.push((id, read.map(|generation| BackupInfo::new(id, &generation))));
        }
        Ok(infos)
    }

    /// Fails unless every byte of the backup is there.
    pub(crate) async fn verify(&self, id: BackupId, mode: Mode) -> Result<BackupInfo> {
        let generation = self.read(id, mode).await?;
        for (needed, crc) in &generation.files {
            self.check(needed, *crc, None, mode).await?;
        }
        Ok(BackupInfo::new(id, &generation))
    }

    /// Makes a database of the backup. Its manifest comes last: one that was cut short has no `CURRENT`.
    pub(crate) async fn restore(
        &self,
        id: BackupId,
        target: &Storage,
        mode: Mode,
    ) -> Result<BackupInfo> {
        let generation = self.read(id, mode).await?;
        target.create_directory(mode).await?;
        if !target.list(mode).await?.is_empty() {
            return Err(Error::invalid_options(
                "the directory to restore to is not empty",
            ));
        }
        for (needed, crc) in &generation.files {
            let file = target.create(mode, &needed.source.name()).await?;
            self.check(needed, *crc, Some(&file), mode).await?;
            file.sync_all(mode).await?;
        }
        target.sync_directory(mode).await?;
        let info = BackupInfo::new(id, &generation);
        let Generation { state, .. } = generation;
        let numbers = Arc::new(FileNumbers::starting_at(state.next_file()));
        Manifest::create(target, numbers, state, mode).await?;
        Ok(info)
    }

    /// Reads a data file, and writes it to `target` if there is one; fails unless it is what it was.
    async fn check(
        &self,
        needed: &Needed,
        stored: u32,
        target: Option<&File>,
        mode: Mode,
    ) -> Result<()> {
        let name = needed.source.stored_name(stored);
        let computed = self.fetch(&name, needed.bytes, target, None, mode).await?;
        if computed == stored {
            return Ok(());
        }
        let fault = Fault::Checksum { stored, computed };
        Err(log_error(fault.at(&name, 0)))
    }
}
