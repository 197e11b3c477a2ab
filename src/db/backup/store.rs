//! Where backups are kept: files that appear whole under their names, are read, listed and removed.

use std::io::ErrorKind;

use trine_io::{File, Lock, Mode, Storage};

use crate::db::backup::BackupId;
use crate::db::backup::generation::Generation;
use crate::db::backup::names::{Name, Source, UNFINISHED, backup_name};
use crate::db::copy::copy;
use crate::db::recovery::refused;
use crate::error::{Error, Fault, Result};
use crate::file_name::{CURRENT, LOCK};
use crate::open_files::missing_file;
use crate::record::log_error;
use crate::tree::throttle::Throttle;

/// The longest file of a backup's own that is read.
const MAX_BACKUP_BYTES: u64 = 4 << 30;

/// A directory of backups.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    storage: Storage,
}

/// What is in a store, by what its names say.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Ascending.
    pub(crate) backups: Vec<BackupId>,
    /// Sorted.
    pub(crate) data: Vec<(Source, u32)>,
}

impl Store {
    pub(crate) fn new(storage: Storage) -> Self {
        Self { storage }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Makes the directory ready to be changed by whoever holds the lock, and by nobody else.
    pub(crate) async fn enter(&self, mode: Mode) -> Result<Lock> {
        self.storage.create_directory(mode).await?;
        if self.list(mode).await?.iter().any(|name| name == CURRENT) {
            return Err(Error::invalid_options(
                "a database lies where backups should be",
            ));
        }
        let lock = self.storage.lock(mode, LOCK).await.map_err(refused)?;
        // Nobody writes it now.
        self.remove(UNFINISHED, mode).await?;
        Ok(lock)
    }

    /// What is there. A directory that is missing has nothing in it.
    pub(crate) async fn contents(&self, mode: Mode) -> Result<Contents> {
        let mut contents = Contents::default();
        for name in self.list(mode).await? {
            match Name::parse(&name) {
                Name::Backup(id) => contents.backups.push(id),
                Name::Data(source, crc) => contents.data.push((source, crc)),
                Name::Unfinished | Name::Other => {}
            }
        }
        contents.backups.sort_unstable();
        contents.data.sort_unstable();
        Ok(contents)
    }

    async fn list(&self, mode: Mode) -> Result<Vec<String>> {
        match self.storage.list(mode).await {
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => Ok(listed?),
        }
    }

    /// Backup `id`.
    pub(crate) async fn read(&self, id: BackupId, mode: Mode) -> Result<Generation> {
        let name = backup_name(id);
        let read = self.storage.read_file(mode, &name, MAX_BACKUP_BYTES).await;
        let bytes = read.map_err(|error| match error.source.kind() {
            ErrorKind::NotFound => Error::invalid_options(format!("there is no backup {id}")),
            ErrorKind::InvalidData => Error::Corruption {
                message: error.to_string(),
            },
            _ => error.into(),
        })?;
        Generation::decode(&bytes, id).map_err(|fault| log_error(fault.at(&name, 0)))
    }

    /// Opens a data file of `bytes` bytes.
    pub(crate) async fn open(&self, name: &str, bytes: u64, mode: Mode) -> Result<File> {
        let opened = self.storage.open(mode, name).await;
        let file = opened.map_err(|error| match error.source.kind() {
            ErrorKind::NotFound => missing_file(name),
            _ => error.into(),
        })?;
        let available = file.len(mode).await?;
        if available == bytes {
            return Ok(file);
        }
        let claimed = bytes;
        let fault = Fault::Length { claimed, available };
        Err(log_error(fault.at(name, 0)))
    }

    /// Adds a file, a copy of `bytes` bytes of `source` under the name that `name` makes of their checksum.
    pub(crate) async fn add(
        &self,
        source: &File,
        bytes: u64,
        name: impl FnOnce(u32) -> String,
        throttle: &Throttle<'_>,
        mode: Mode,
    ) -> Result<u32> {
        let unfinished = self.storage.create(mode, UNFINISHED).await?;
        let crc = copy(source, Some(&unfinished), bytes, Some(throttle), mode).await?;
        unfinished.sync_all(mode).await?;
        self.storage.rename(mode, UNFINISHED, &name(crc)).await?;
        Ok(crc)
    }

    /// Adds a backup, which counts from then on. Everything that it names is there.
    pub(crate) async fn publish(
        &self,
        id: BackupId,
        generation: &Generation,
        mode: Mode,
    ) -> Result<()> {
        self.storage.sync_directory(mode).await?;
        let unfinished = self.storage.create(mode, UNFINISHED).await?;
        unfinished.write_at(mode, 0, generation.encode(id)).await?;
        unfinished.sync_all(mode).await?;
        let name = backup_name(id);
        self.storage.rename(mode, UNFINISHED, &name).await?;
        self.storage.sync_directory(mode).await?;
        Ok(())
    }

    /// Removes a file, if it is there.
    pub(crate) async fn remove(&self, name: &str, mode: Mode) -> Result<()> {
        match self.storage.remove(mode, name).await {
            Err(error) if error.source.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What was removed stays removed.
    pub(crate) async fn settle(&self, mode: Mode) -> Result<()> {
        Ok(self.storage.sync_directory(mode).await?)
    }
}
