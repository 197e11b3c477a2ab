//! A second directory that opens as this database was at one commit.
//!
//! - Everything committed before is put into tables first, all buckets at the same commit; while the
//!   tables are collected no flush or compaction changes which those are. Reads and commits go on.
//! - Tables and blob files never change, so the copy shares them by hard links; where the file system cannot link,
//!   they are copied.
//! - The manifest comes last: a checkpoint that was interrupted is a directory without `CURRENT`.

use std::path::Path;
use std::sync::Arc;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::commit::Work;
use crate::db::copy::copy;
use crate::db::{Core, Db, Persistent};
use crate::error::{Error, Result};
use crate::file_name::{FileNumbers, blob_name, table_name};
use crate::manifest::{Manifest, ManifestState};
use crate::sequence::Sequence;
use crate::tree::version::Version;

impl Db {
    /// Makes a copy of the database in the directory `path`, as of one commit that includes everything
    /// committed before the call. The copy opens as a database of its own. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if the directory exists and is not empty, [`Error::Unsupported`] for a
    /// database in memory, [`Error::ReadOnly`], [`Error::Closed`], [`Error::Io`]. What an interrupted
    /// checkpoint leaves behind opens as nothing but an error: remove it.
    ///
    /// # Durability
    /// The copy survives power loss when the call returns.
    ///
    /// # Cost
    /// A flush; then a hard link for each table and blob file, or a copy where the file system cannot link.
    pub async fn checkpoint(&self, path: impl AsRef<Path>) -> Result<Sequence> {
        let path = path.as_ref().to_owned();
        self.core()
            .offload(move |core| async move {
                core.checkpoint(&Storage::portable_inline(&path), Mode::Blocking)
                    .await
            })
            .await
    }

    /// [`checkpoint`](Self::checkpoint) on this thread. Gives back the newest commit in the copy.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_sync(&self, path: impl AsRef<Path>) -> Result<Sequence> {
        let target = Storage::portable_inline(path.as_ref());
        block_on(self.core().checkpoint(&target, Mode::Blocking))
    }
}

impl Core {
    /// Makes a copy of the database in the directory `target`.
    pub(crate) async fn checkpoint(&self, target: &Storage, mode: Mode) -> Result<Sequence> {
        self.check_writable()?;
        let Some(persistent) = &self.persistent else {
            return Err(Error::unsupported("checkpoint of a database in memory"));
        };
        target.create_directory(mode).await?;
        if !target.list(mode).await?.is_empty() {
            return Err(Error::invalid_options(
                "the checkpoint directory is not empty",
            ));
        }
        // The pinned versions keep the tables' files while they are linked.
        let (through, state, pinned) = self.tables_of_now(persistent, mode).await?;
        for (number, name) in data_files(&state) {
            persistent.link_or_copy(target, number, &name, mode).await?;
        }
        drop(pinned);
        target.sync_directory(mode).await?;
        let numbers = Arc::new(FileNumbers::starting_at(persistent.numbers.bound()));
        Manifest::create(target, numbers, state, mode).await?;
        Ok(through)
    }

    /// Puts everything committed so far into tables. Gives back the newest commit in them, the state
    /// that names just those tables, and versions that keep their files.
    pub(crate) async fn tables_of_now(
        &self,
        persistent: &Persistent,
        mode: Mode,
    ) -> Result<(Sequence, ManifestState, Vec<Arc<Version>>)> {
        // Held before the freeze: nobody else flushes, so no bucket gets ahead of the others.
        let _compacting = persistent.claims.pause().await;
        let _flushing = persistent.flushing.take().await;
        let through = self.commits.run(Work::Freeze, mode).await?;
        let trees = self.trees.load();
        for tree in trees.iter() {
            let view = tree.pin();
            let old = view.immutables.iter().rev();
            for buffer in old.filter(|buffer| buffer.last_sequence() <= through) {
                self.flush_buffer(persistent, tree, buffer, mode).await?;
            }
        }
        let state = persistent.manifest.take().await.state().detached(through);
        Ok((
            through,
            state,
            trees.iter().map(|tree| tree.pin().version).collect(),
        ))
    }
}

/// The tables and blob files that a state names.
pub(crate) fn data_files(state: &ManifestState) -> impl Iterator<Item = (u64, String)> {
    state.buckets().values().flat_map(|bucket| {
        let tables = bucket.tables().map(|(_, meta)| meta.number);
        let blobs = bucket.blobs().map(|meta| meta.number);
        tables
            .map(|number| (number, table_name(number)))
            .chain(blobs.map(|number| (number, blob_name(number))))
    })
}

impl Persistent {
    /// Shares a data file with the directory `to`, or copies it there.
    async fn link_or_copy(&self, to: &Storage, number: u64, name: &str, mode: Mode) -> Result<()> {
        if self.storage.link(mode, name, to).await.is_ok() {
            return Ok(());
        }
        let source = self.files.open(number, name, mode).await?;
        let bytes = source.len(mode).await?;
        let target = to.create(mode, name).await?;
        copy(&source, Some(&target), bytes, None, mode).await?;
        target.sync_all(mode).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::open::on_storage;
    use crate::file_name::unfinished_name;
    use crate::options::DbOptions;

    const MODE: Mode = Mode::Blocking;

    fn open(storage: &Storage) -> Db {
        let options = DbOptions {
            background_worker_count: 0,
            ..DbOptions::new("unused")
        };
        block_on(on_storage(options, storage.clone(), MODE)).unwrap()
    }

    #[test]
    fn a_file_that_could_not_be_renamed_is_copied_too() {
        let (storage, target) = (Storage::memory(), Storage::memory());
        let db = open(&storage);
        db.put_sync("key", "value").unwrap();
        db.flush_sync().unwrap();
        let view = db.core().trees.load().iter().next().unwrap().pin();
        let number = view.version.tables().next().unwrap().meta().number;
        block_on(storage.rename(MODE, &table_name(number), &unfinished_name(number))).unwrap();
        block_on(db.core().checkpoint(&target, MODE)).unwrap();
        assert_eq!(
            open(&target).get_sync(b"key").unwrap().as_deref(),
            Some(&b"value"[..])
        );
    }
}
