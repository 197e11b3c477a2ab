//! Backups in a directory. A file is written under another name, synced, and renamed: it is whole under its own.

use std::io::ErrorKind;

use trine_io::{File, Lock, Mode, Storage};

use crate::db::backup::names::UNFINISHED;
use crate::db::copy::copy;
use crate::db::recovery::refused;
use crate::error::{Error, Result};
use crate::file_name::LOCK;
use crate::open_files::missing_file;
use crate::tree::throttle::Throttle;

/// A directory of backups.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    storage: Storage,
}

impl Directory {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage }
    }

    pub(super) async fn enter(&self, mode: Mode) -> Result<Lock> {
        self.storage.create_directory(mode).await?;
        let lock = self.storage.lock(mode, LOCK).await.map_err(refused)?;
        // Nobody writes it now.
        self.remove(UNFINISHED, mode).await?;
        Ok(lock)
    }

    pub(super) async fn list(&self, mode: Mode) -> Result<Vec<String>> {
        match self.storage.list(mode).await {
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            listed => Ok(listed?),
        }
    }

    pub(super) async fn read(
        &self,
        name: &str,
        bytes_max: u64,
        mode: Mode,
    ) -> Result<Option<Vec<u8>>> {
        match self.storage.read_file(mode, name, bytes_max).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => match error.source.kind() {
                ErrorKind::NotFound => Ok(None),
                ErrorKind::InvalidData => Err(Error::Corruption {
                    message: error.to_string(),
                }),
                _ => Err(error.into()),
            },
        }
    }

    /// The length of a file, if it is there.
    pub(super) async fn length(&self, name: &str, mode: Mode) -> Result<Option<u64>> {
        match self.storage.open(mode, name).await {
            Ok(file) => Ok(Some(file.len(mode).await?)),
            Err(error) if error.source.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn fetch(
        &self,
        name: &str,
        bytes: u64,
        target: Option<&File>,
        throttle: Option<&Throttle<'_>>,
        mode: Mode,
    ) -> Result<u32> {
        let opened = self.storage.open(mode, name).await;
        let file = opened.map_err(|error| match error.source.kind() {
            ErrorKind::NotFound => missing_file(name),
            _ => error.into(),
        })?;
        copy(&file, target, bytes, throttle, mode).await
    }

    pub(super) async fn add(
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

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>, mode: Mode) -> Result<()> {
        let unfinished = self.storage.create(mode, UNFINISHED).await?;
        unfinished.write_at(mode, 0, bytes).await?;
        unfinished.sync_all(mode).await?;
        Ok(self.storage.rename(mode, UNFINISHED, name).await?)
    }

    pub(super) async fn remove(&self, name: &str, mode: Mode) -> Result<()> {
        match self.storage.remove(mode, name).await {
            Err(error) if error.source.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn settle(&self, mode: Mode) -> Result<()> {
        Ok(self.storage.sync_directory(mode).await?)
    }

    pub(super) async fn offload<T: Send + Unpin + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.storage.offload(Mode::Cooperative, job).await?
    }
}
