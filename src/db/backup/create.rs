//! Making a backup, while writes go on.
//!
//! ```text
//! 1  everything committed so far is put into tables, which are pinned      crash: nothing was begun
//! 2  files that are not there yet are copied, synced, then named           crash: whole files that the next backup uses
//! 3  the directory is synced
//! 4  the backup's own file is written, synced, then named                  crash: as 2
//! 5  the directory is synced                                               crash: there, or as 2
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use trine_io::Mode;
use trine_platform::pace::Pace;

use crate::db::backup::generation::{Generation, Needed, needed};
use crate::db::backup::names::Source;
use crate::db::backup::store::Store;
use crate::db::backup::{BackupId, BackupInfo, BackupOptions, BackupReport};
use crate::db::{Core, Persistent};
use crate::error::{Error, Result};
use crate::file_name::CURRENT;
use crate::record::log_error;
use crate::tree::throttle::{AtClose, Throttle};

impl Core {
    /// Adds a backup to `store`, made at this time.
    pub(crate) async fn backup(
        &self,
        store: &Store,
        options: BackupOptions,
        created_ms: u64,
        mode: Mode,
    ) -> Result<BackupReport> {
        self.check_writable()?;
        let Some(persistent) = &self.persistent else {
            return Err(Error::unsupported("backup of a database in memory"));
        };
        let lock = store.enter(mode).await?;
        let contents = store.contents(mode).await?;
        let newest = contents.backups.last().map_or(0, |id| id.get());
        let id = newest.checked_add(1).map(BackupId::new);
        let id = id.ok_or_else(|| Error::invalid_options("no number is left for a backup"))?;
        let throttle = Throttle {
            pace: &Pace::default(),
            bytes_per_second: &AtomicU64::new(options.bytes_per_second.unwrap_or(0)),
            closed: &self.closed,
            at_close: AtClose::GiveUp,
        };
        let mut job = Job {
            persistent,
            store,
            present: contents.data.into_iter().collect(),
            check_shared: options.check_shared,
            throttle,
            copied_files: 0,
            copied_bytes: 0,
        };
        // The pinned versions keep the files while they are copied.
        let (_, state, pinned) = self.tables_of_now(persistent, mode).await?;
        let mut files = Vec::new();
        for needed in needed(&state).map_err(|fault| log_error(fault.at(CURRENT, 0)))? {
            let crc = job.have(&needed, mode).await?;
            files.push((needed, crc));
        }
        drop(pinned);
        let generation = Generation {
            created_ms,
            state,
            files,
        };
        store.publish(id, &generation, mode).await?;
        drop(lock);
        Ok(BackupReport {
            backup: BackupInfo::new(id, &generation),
            copied_files: job.copied_files,
            copied_bytes: job.copied_bytes,
        })
    }
}

/// A backup that is being made.
struct Job<'a> {
    persistent: &'a Persistent,
    store: &'a Store,
    /// The files that are there, with the checksums that they had.
    present: BTreeMap<Source, u32>,
    check_shared: bool,
    throttle: Throttle<'a>,
    copied_files: usize,
    copied_bytes: u64,
}

impl Job<'_> {
    /// Makes sure that a file is there. Gives back its checksum.
    async fn have(&mut self, needed: &Needed, mode: Mode) -> Result<u32> {
        let Needed { source, bytes } = needed;
        if let Some(crc) = self.present.get(source)
            && self.is_intact(needed, *crc, mode).await?
        {
            return Ok(*crc);
        }
        let files = &self.persistent.files;
        let file = files.open(source.number, &source.name(), mode).await?;
        let name = |crc| source.stored_name(crc);
        let crc = self.store.add(&file, *bytes, name, &self.throttle, mode);
        let crc = crc.await?;
        self.copied_files += 1;
        self.copied_bytes += bytes;
        Ok(crc)
    }

    /// Whether what is there is the file, as far as that is to be looked into.
    async fn is_intact(&self, needed: &Needed, crc: u32, mode: Mode) -> Result<bool> {
        let name = needed.source.stored_name(crc);
        let checked = if self.check_shared {
            let throttle = Some(&self.throttle);
            let found = self.store.fetch(&name, needed.bytes, None, throttle, mode);
            found.await.map(|found| found == crc)
        } else {
            let length = self.store.check_length(&name, needed.bytes, mode);
            length.await.map(|()| true)
        };
        match checked {
            Err(Error::Corruption { .. }) => Ok(false),
            checked => checked,
        }
    }
}
