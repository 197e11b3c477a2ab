//! Readers beside a writer in another process: what is there now, without a lock and without changing anything.
//!
//! - What a reader has found it keeps: its tables and blob files are all open, and what is open stays readable when
//!   it is removed. The log was read into memory. So nothing that a writer does reaches a reader.
//! - While it looks, a writer may flush, merge, remove files, use segments of the log again, crash and recover. What is seen then fits
//!   together if no segment was given up before all were read, and no edit was made where the log holds a load that the manifest did
//!   not know; else it is looked at again. So is damage that is not found a second time in the same place: it was a write under way.
//! - A later look takes over the files that are still there, and reads the log anew.

use std::io::ErrorKind;
use std::sync::Arc;

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::cache::BlockCache;
use crate::db::recovery::{KnownFiles, Recovered, check_names, check_without_manifest, find};
use crate::db::{Core, Db, Persistent, open};
use crate::error::{Error, Result};
use crate::manifest::{Manifest, ManifestState};
use crate::open_files::OpenFiles;
use crate::options::DbOptions;
use crate::tree::Trees;

/// How often is looked while a writer is faster.
const LOOKS_MAX: usize = 200;
/// How often the same damage is found before it is believed.
const SAME_DAMAGE: usize = 8;

impl Db {
    /// The database as it is now, for a handle that was opened [read-only](crate::DbOptions::read_only()) beside a
    /// writer in another process, or in this one: with everything that was committed before the call.
    ///
    /// This handle and its snapshots, buckets and iterators show what they showed. Files that both need are open once, and the
    /// block cache is one. A reader takes no lock and changes nothing in the directory.
    ///
    /// What a reader may count on, its *lease*: files that it has open, which are all it needs, stay readable for as
    /// long as it is there, though the writer removes them. On Unix the system keeps removed files until nobody has
    /// them open; on Windows the writer cannot remove a file that is mapped, and tries again later. So an old handle keeps
    /// room on the disk from being given back: drop it when there is a newer one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a database that is open for writing; [`Error::RuntimeBusy`] if the writer was faster than this
    /// reader many times; those of [`open`](Self::open); [`Error::Closed`].
    ///
    /// # Cost
    /// Reads the manifest, the log that is not in tables yet, and the front and end of files that are new.
    pub async fn refresh(&self) -> Result<Self> {
        self.core().check_open()?;
        if self.core().persistent.is_none() {
            self.core().check_follows()?;
            return open::open_async(self.options().clone()).await;
        }
        self.core()
            .offload(|core| async move { core.refresh(Mode::Blocking).await })
            .await
    }

    /// [`refresh`](Self::refresh) on this thread.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh).
    pub fn refresh_sync(&self) -> Result<Self> {
        block_on(self.core().refresh(Mode::Blocking))
    }
}

impl Core {
    /// Fails unless somebody else may be writing.
    fn check_follows(&self) -> Result<()> {
        if self.options.read_only {
            Ok(())
        } else {
            Err(Error::unsupported(
                "refreshing a database that is open for writing",
            ))
        }
    }

    pub(crate) async fn refresh(&self, mode: Mode) -> Result<Db> {
        self.check_open()?;
        self.check_follows()?;
        let options = self.options.clone();
        match &self.persistent {
            Some(before) => {
                let files = before.known_files(&self.trees.load()).await;
                let storage = before.storage.clone();
                open::reader(options, storage, &files, mode).await
            }
            // There was no database when it was opened.
            None => open::open(options, mode).await,
        }
    }
}

const MOVED_ON: &str = "the writer changes the directory faster than it can be read";

/// What a reader of the same directory had found.
#[derive(Debug)]
pub(crate) struct Before {
    files: Arc<OpenFiles>,
    state: ManifestState,
    known: KnownFiles,
}

impl Persistent {
    /// What a later look at the directory can take over.
    async fn known_files(&self, trees: &Trees) -> Before {
        let mut known = KnownFiles::default();
        for tree in trees.iter() {
            let version = tree.pin().version;
            let tables = version
                .tables()
                .map(|table| (table.meta().number, Arc::clone(table)));
            known.tables.extend(tables);
            let blobs = version.blobs().iter().map(|share| &share.file);
            let blobs = blobs.map(|file| (file.meta().number, Arc::clone(file)));
            known.blobs.extend(blobs);
        }
        Before {
            files: Arc::clone(&self.files),
            state: self.manifest.take().await.state().clone(),
            known,
        }
    }
}

impl Before {
    /// The files of `state` that are the ones that were there before: another database may have come to the directory.
    fn still_in(&self, state: &ManifestState) -> KnownFiles {
        let same = |number: &u64| state.session_of(*number) == self.state.session_of(*number);
        let tables = self.known.tables.iter().filter(|(number, _)| same(number));
        let blobs = self.known.blobs.iter().filter(|(number, _)| same(number));
        KnownFiles {
            tables: tables
                .map(|(number, table)| (*number, Arc::clone(table)))
                .collect(),
            blobs: blobs
                .map(|(number, file)| (*number, Arc::clone(file)))
                .collect(),
        }
    }
}

/// Finds what is in the directory now; `None` if there is no database.
pub(crate) async fn follow(
    options: &DbOptions,
    storage: &Storage,
    before: Option<&Before>,
    mode: Mode,
) -> Result<Option<Recovered>> {
    let mut doubt = Doubt::default();
    for _ in 1..LOOKS_MAX {
        match look(options, storage, before, mode).await {
            Err(error) => doubt.consider(error)?,
            found => return found,
        }
    }
    look(options, storage, before, mode).await
}

/// Looks once. [`Error::RuntimeBusy`] if what was found does not fit together, since a writer went on meanwhile.
async fn look(
    options: &DbOptions,
    storage: &Storage,
    before: Option<&Before>,
    mode: Mode,
) -> Result<Option<Recovered>> {
    let names = storage.list(mode).await?;
    check_names(options, &names)?;
    let Some(manifest) = Manifest::load(storage, mode).await? else {
        check_without_manifest(&names)?;
        return Ok(None);
    };
    let (files, known) = if let Some(before) = before {
        (Arc::clone(&before.files), before.still_in(manifest.state()))
    } else {
        let cache = Arc::new(BlockCache::new(options.block_cache_bytes));
        let files = OpenFiles::new(storage.clone(), cache, usize::MAX);
        (Arc::new(files), KnownFiles::default())
    };
    // All are opened: the writer may remove them at any time.
    let found = find(options, &names, manifest, files, &known, usize::MAX, mode).await?;
    if found.manifest.log_has_moved_on(mode).await? {
        return Err(Error::runtime_busy(MOVED_ON));
    }
    // A load that the manifest does not know failed, or was installed since. A value that is not there was lost, or its file was
    // flushed and is gone. The manifest says so.
    let is_doubtful = found.logs_a_load || found.adoption.lost().is_some();
    if is_doubtful && found.manifest.has_moved_on(mode).await? {
        return Err(Error::runtime_busy(MOVED_ON));
    }
    found.inserted.await?;
    found.adoption.attach(storage, &found.files);
    Ok(Some(Recovered {
        trees: found.trees,
        manifest: found.manifest,
        files: found.files,
        log: None,
        last: found.last,
    }))
}

/// Damage that may be none: what is written while it is read looks like it.
#[derive(Debug, Default)]
struct Doubt {
    last: String,
    times: usize,
}

impl Doubt {
    /// Gives the error back once there is no doubt.
    fn consider(&mut self, error: Error) -> Result<()> {
        let is_doubtful = match &error {
            Error::Corruption { .. } | Error::InvalidFormat { .. } => true,
            Error::Io(error) => error.kind() == ErrorKind::NotFound,
            Error::RuntimeBusy { .. } => return Ok(()),
            _ => false,
        };
        let text = error.to_string();
        self.times = if text == self.last { self.times + 1 } else { 1 };
        self.last = text;
        if is_doubtful && self.times < SAME_DAMAGE {
            Ok(())
        } else {
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::db::open::on_storage;
    use crate::options::DbOptions;
    use crate::runtime::RuntimeOptions;
    use crate::testing::simulated;

    fn options() -> DbOptions {
        DbOptions {
            background_worker_count: 0,
            runtime: RuntimeOptions::inline(),
            ..DbOptions::new("here")
        }
    }

    /// A refresh during which a load and a commit come after so many operations of the host; `None` if it has fewer.
    fn refresh_beside_a_load(operations: usize) -> Option<Db> {
        let (simulation, storage) = simulated();
        let open = |options| block_on(on_storage(options, storage.clone(), Mode::Blocking));
        let writer = open(options()).unwrap();
        writer.put_sync("a", "before").unwrap();
        let reader = open(options().read_only()).unwrap();
        simulation.defer();
        let context = &mut Context::from_waker(Waker::noop());
        let mut refresh = pin!(reader.core().refresh(Mode::Cooperative));
        let mut done = 0;
        loop {
            if done == operations {
                writer.bulk_load_sync([("b", "loaded")]).unwrap();
                writer.put_sync("c", "after").unwrap();
            }
            match refresh.as_mut().poll(context) {
                Poll::Ready(refreshed) => return (done >= operations).then(|| refreshed.unwrap()),
                Poll::Pending => assert!(simulation.step()),
            }
            done += 1;
        }
    }

    #[test]
    fn a_refresh_beside_a_load_shows_no_commit_behind_it_without_its_rows() {
        let mut seen = Vec::new();
        for operations in 0.. {
            let Some(reader) = refresh_beside_a_load(operations) else {
                break;
            };
            let has = |key: &str| reader.get_sync(key.as_bytes()).unwrap().is_some();
            assert!(has("a") && has("b") == has("c"), "after {operations}");
            seen.push(has("c"));
        }
        assert!(seen.contains(&true) && seen.contains(&false), "{seen:?}");
    }
}
