//! Where backups are kept: named objects that appear whole under their names, are read, listed and removed. What the names
//! mean is decided here, once for every kind of place: a directory, or a store of objects.

use trine_io::{File, Mode, Storage};

use crate::db::backup::BackupId;
use crate::db::backup::directory::Directory;
use crate::db::backup::generation::Generation;
use crate::db::backup::names::{Name, Source, backup_name};
#[cfg(feature = "object-store")]
use crate::db::backup::objects::{Lease, Objects};
use crate::error::{Error, Fault, Result};
use crate::file_name::CURRENT;
use crate::open_files::missing_file;
use crate::record::log_error;
use crate::tree::throttle::Throttle;

/// The longest file of a backup's own that is read.
const MAX_BACKUP_BYTES: u64 = 4 << 30;

/// A place for backups.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    Directory(Directory),
    #[cfg(feature = "object-store")]
    Objects(Objects),
}

/// Nobody else changes the place while it lives.
#[derive(Debug)]
pub(crate) enum Held {
    Directory(#[expect(dead_code, reason = "it is released when it goes")] trine_io::Lock),
    #[cfg(feature = "object-store")]
    Objects(#[expect(dead_code, reason = "it is released when it goes")] Lease),
}

/// What is in a store, by what its names say.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Ascending.
    pub(crate) backups: Vec<BackupId>,
    /// Sorted.
    pub(crate) data: Vec<(Source, u32)>,
}

/// The same call for every kind of place.
macro_rules! at_place {
    ($store:expr, $place:ident => $call:expr) => {
        match $store {
            Store::Directory($place) => $call,
            #[cfg(feature = "object-store")]
            Store::Objects($place) => $call,
        }
    };
}

impl Store {
    /// In a directory.
    pub(crate) fn new(storage: Storage) -> Self {
        Self::Directory(Directory::new(storage))
    }

    /// Makes the place ready to be changed by whoever holds it, and by nobody else.
    pub(crate) async fn enter(&self, mode: Mode) -> Result<Held> {
        if self.list(mode).await?.iter().any(|name| name == CURRENT) {
            return Err(Error::invalid_options(
                "a database lies where backups should be",
            ));
        }
        match self {
            Self::Directory(place) => place.enter(mode).await.map(Held::Directory),
            #[cfg(feature = "object-store")]
            Self::Objects(place) => place.enter().await.map(Held::Objects),
        }
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
        at_place!(self, place => place.list(mode).await)
    }

    /// Backup `id`.
    pub(crate) async fn read(&self, id: BackupId, mode: Mode) -> Result<Generation> {
        let name = backup_name(id);
        let read = at_place!(self, place => place.read(&name, MAX_BACKUP_BYTES, mode).await);
        let bytes =
            read?.ok_or_else(|| Error::invalid_options(format!("there is no backup {id}")))?;
        Generation::decode(&bytes, id).map_err(|fault| log_error(fault.at(&name, 0)))
    }

    /// Fails unless a data file of `bytes` bytes is there.
    pub(crate) async fn check_length(&self, name: &str, bytes: u64, mode: Mode) -> Result<()> {
        let found = at_place!(self, place => place.length(name, mode).await);
        let available = found?.ok_or_else(|| missing_file(name))?;
        if available == bytes {
            return Ok(());
        }
        let claimed = bytes;
        let fault = Fault::Length { claimed, available };
        Err(log_error(fault.at(name, 0)))
    }

    /// Reads a data file of `bytes` bytes, and writes it to `target` if there is one. Gives back the CRC-32C.
    pub(crate) async fn fetch(
        &self,
        name: &str,
        bytes: u64,
        target: Option<&File>,
        throttle: Option<&Throttle<'_>>,
        mode: Mode,
    ) -> Result<u32> {
        self.check_length(name, bytes, mode).await?;
        at_place!(self, place => place.fetch(name, bytes, target, throttle, mode).await)
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
        at_place!(self, place => place.add(source, bytes, name, throttle, mode).await)
    }

    /// Adds a backup, which counts from then on. Everything that it names is there.
    pub(crate) async fn publish(
        &self,
        id: BackupId,
        generation: &Generation,
        mode: Mode,
    ) -> Result<()> {
        self.settle(mode).await?;
        let (name, bytes) = (backup_name(id), generation.encode(id));
        at_place!(self, place => place.put(&name, bytes, mode).await)?;
        self.settle(mode).await
    }

    /// Removes a file, if it is there.
    pub(crate) async fn remove(&self, name: &str, mode: Mode) -> Result<()> {
        at_place!(self, place => place.remove(name, mode).await)
    }

    /// What was added and removed stays so.
    pub(crate) async fn settle(&self, mode: Mode) -> Result<()> {
        match self {
            Self::Directory(place) => place.settle(mode).await,
            // Each call has done that.
            #[cfg(feature = "object-store")]
            Self::Objects(_) => Ok(()),
        }
    }

    /// Runs a job on a thread where it may block.
    pub(crate) async fn offload<T: Send + Unpin + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        at_place!(self, place => place.offload(job).await)
    }
}
