//! From a directory to a state: what is checked, what is swept, what is replayed.
//!
//! - What our own crashes leave (`unfinished-*`, segments and manifests that nothing names, files
//!   listed as obsolete) is debris: a writable open removes it and goes on.
//! - Everything else that should not be there, or should be and is not, is an error, and stays as it is.
//! - A read-only open changes nothing: [`crate::db::follow`].

use std::io::ErrorKind;
use std::sync::{Arc, Weak};

use trine_io::{Completion, Lock, Mode, Storage};

use crate::blob::BlobFile;
use crate::cache::BlockCache;
use crate::commit::batch::DEFAULT_BUCKET;
use crate::commit::encoding::{Encoded, Operation, is_load, operations};
use crate::commit::{How, SEGMENTS_KEPT, apply};
use crate::db::adoption::Adoption;
use crate::db::report::{RECOVERY_REPORT_FILE_NAME, RecoveryReport};
use crate::error::{Error, Result};
use crate::file_name::{
    CURRENT, FileName, FileNumbers, LOCK, blob_name, table_name, unfinished_name, wal_name,
};
use crate::hash_map::Set;
use crate::manifest::{BucketId, BucketState, Change, Manifest, ManifestState, VersionEdit};
use crate::open_files::{OpenFiles, missing_file};
use crate::options::{DbOptions, FailOnCorruptionPolicy};
use crate::sequence::Sequence;
use crate::table::Table;
use crate::tree::rules::Rules;
use crate::tree::version::{Version, VersionChange};
use crate::tree::{Registry, Tree, Trees};
use crate::wal::{
    LogWriter, Prepared, Replayed, SegmentWriter, Space, Start, cut_tail, kept_from, replay,
};
use trine_platform::sorted::{SortedMap, SortedSet, sort_few};

/// So many tables and blob files are opened, and so checked but for blocks and values, with the database, so
/// that damage of all but the largest shows at once; of more, and opening would cost more the more there are.
const FILES_CHECKED: usize = 64;

/// So many commits are inserted faster than a thread is woken to do it.
const COMMITS_HERE_MAX: u64 = 1_000;

/// The file name under which a recovery report is built.
const UNFINISHED_REPORT: &str = "unfinished-RECOVERY_REPORT";

/// What an open starts from.
pub(crate) struct Recovered {
    pub(crate) trees: Arc<Registry>,
    pub(crate) manifest: Manifest,
    pub(crate) files: Arc<OpenFiles>,
    /// `None` for a read-only open.
    pub(crate) log: Option<LogWriter>,
    pub(crate) last: Sequence,
}

fn corruption(message: impl Into<String>) -> Error {
    Error::Corruption {
        message: message.into(),
    }
}

/// Makes sure that the directory is there and, for a writer, that it is ours alone.
pub(crate) async fn enter(
    options: &DbOptions,
    storage: &Storage,
    mode: Mode,
) -> Result<Option<Lock>> {
    if !storage.exists(mode).await? {
        if options.read_only || !options.create_if_missing {
            return Err(Error::invalid_options("database path does not exist"));
        }
        storage.create_directory(mode).await?;
    }
    match storage.list(mode).await {
        Err(error) if error.source.kind() == ErrorKind::NotADirectory => {
            return Err(Error::invalid_options("database path is not a directory"));
        }
        listed => drop(listed?),
    }
    if options.read_only {
        return Ok(None);
    }
    match storage.lock(mode, LOCK).await {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => Err(refused(error)),
    }
}

/// Why a directory could not be had, by whom that is not its own fault told apart.
pub(crate) fn refused(error: trine_io::Error) -> Error {
    if error.lock_refusal().is_some() {
        corruption(format!("database lock is already held: {}", error.source))
    } else {
        error.into()
    }
}

/// Reads the directory's state and makes it fit to be written to.
pub(crate) async fn recover(
    options: &DbOptions,
    storage: &Storage,
    mode: Mode,
) -> Result<Recovered> {
    let names = storage.list(mode).await?;
    let temporaries = check_names(options, &names)?;
    let manifest = if let Some(manifest) = Manifest::load(storage, mode).await? {
        manifest
    } else {
        check_without_manifest(&names)?;
        sweep(storage, &names, None, mode).await?;
        initialise(options, storage, mode).await?
    };
    check_referenced(&names, manifest.state())?;
    let open_max = options.max_open_tables;
    let cache = Arc::new(BlockCache::new(options.block_cache_bytes));
    let files = Arc::new(OpenFiles::new(storage.clone(), cache, open_max));
    let checked_max = FILES_CHECKED.min(open_max);
    let no_tables = KnownFiles::default();
    let found = find(
        options,
        &names,
        manifest,
        files,
        &no_tables,
        checked_max,
        mode,
    )
    .await?;
    let Found {
        mut manifest,
        trees,
        files,
        adoption,
        replayed,
        inserted,
        last,
        ..
    } = found;
    // Everything was checked: from here on files are changed.
    manifest.adopt(mode).await?;
    let needed = first_needed(&trees.load());
    let retained = options.change_retention_bytes;
    // A log that nobody needs is left behind as it is.
    if let Some(replayed) = &replayed
        && (needed.is_some() || retained > 0)
    {
        cut_tail(storage, replayed, mode).await?;
    }
    repair(storage, temporaries, mode).await?;
    finish_renames(storage, &names, &manifest, mode).await?;
    let adopted = adoption.names();
    let swept: Vec<_> = names
        .into_iter()
        .filter(|name| !adopted.contains(name))
        .collect();
    sweep(storage, &swept, Some(&manifest), mode).await?;
    let numbers = Arc::clone(manifest.numbers());
    adoption.settle(storage, &files, &numbers, mode).await?;
    forget_obsolete(storage, &mut manifest, mode).await?;
    inserted.await?;
    let start = Start {
        first_sequence: last.next().unwrap_or(last),
        previous: replayed
            .and_then(|replayed| replayed.last_used)
            .unwrap_or(0),
        settled: true,
    };
    let log = start_log(storage, &mut manifest, &trees.load(), start, retained, mode).await?;
    // It may have rolled over, and nobody know to what; the next opening will.
    manifest.check()?;
    Ok(Recovered {
        trees,
        manifest,
        files,
        log: Some(log),
        last,
    })
}

/// What was found in a directory, in which nothing was changed.
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) trees: Arc<Registry>,
    pub(super) files: Arc<OpenFiles>,
    /// The files of values that only the log refers to.
    pub(super) adoption: Adoption,
    pub(super) replayed: Option<Replayed>,
    /// Whether the log holds a load that the manifest does not know: it failed, or its edit came later.
    pub(super) logs_a_load: bool,
    /// Ready when what was replayed can be read.
    pub(super) inserted: Completion<()>,
    pub(super) last: Sequence,
}

/// Files that an earlier reading of the same directory had, by number.
#[derive(Debug, Default)]
pub(super) struct KnownFiles {
    pub(super) tables: SortedMap<u64, Arc<Table>>,
    pub(super) blobs: SortedMap<u64, Arc<BlobFile>>,
}

/// Takes in what `manifest` names: the tables, of which at most `checked_max` are opened, then the log.
pub(super) async fn find(
    db_options: &DbOptions,
    names: &[String],
    manifest: Manifest,
    files: Arc<OpenFiles>,
    known: &KnownFiles,
    mut checked_max: usize,
    mode: Mode,
) -> Result<Found> {
    check_unreferenced(names, manifest.state())?;
    let mut opened = Vec::new();
    for (id, bucket) in manifest.state().buckets().iter() {
        let version = version(bucket, &files, known)?;
        for table in version.tables().take(checked_max) {
            table.open(mode).await?;
            checked_max -= 1;
        }
        for share in version.blobs().iter().take(checked_max) {
            share.file.open(mode).await?;
            checked_max -= 1;
        }
        opened.push((*id, version));
    }
    let (trees, adoption, (replayed, logs_a_load)) =
        replay_into(db_options, files.storage(), &manifest, &opened, mode).await?;
    let owner: Weak<Registry> = Arc::downgrade(&trees);
    files.set_owner(owner);
    // What takes long goes beside what is done to files now, much of which waits for the disk.
    let many = replayed
        .as_ref()
        .is_some_and(|replayed| replayed.commits > COMMITS_HERE_MAX);
    let beside = if many { Mode::Cooperative } else { mode };
    let inserted = files.storage().offload(beside, {
        let trees = Arc::clone(&trees);
        move || trees.load().iter().for_each(|tree| tree.insert_staged())
    });
    let last = replayed
        .as_ref()
        .map_or(Sequence::ZERO, |replayed| replayed.last_sequence)
        .max(manifest.state().last_sequence());
    Ok(Found {
        manifest,
        trees,
        files,
        adoption,
        replayed,
        logs_a_load,
        inserted,
        last,
    })
}

/// Makes sure that there is no database in the directory; sweeps what is left of one that never came to be.
pub(crate) async fn vacate(options: &DbOptions, storage: &Storage, mode: Mode) -> Result<()> {
    let names = storage.list(mode).await?;
    if names.iter().any(|name| name == CURRENT) {
        return Err(Error::invalid_options("there is a database already"));
    }
    check_names(options, &names)?;
    check_without_manifest(&names)?;
    sweep(storage, &names, None, mode).await
}

/// Fails on names that must not be there; gives back the temporary files that may be removed.
pub(super) fn check_names(options: &DbOptions, names: &[String]) -> Result<Vec<String>> {
    let mut temporaries = Vec::new();
    for name in names {
        match FileName::parse(name) {
            FileName::Malformed(phrase) => return Err(corruption(format!("{phrase}: {name}"))),
            FileName::ForeignTemporary => temporaries.push(name.clone()),
            _ => {}
        }
    }
    sort_few(&mut temporaries, Ord::cmp);
    let repair = options.fail_on_corruption == FailOnCorruptionPolicy::RepairSafeTemporaryFiles;
    if !temporaries.is_empty() && (options.read_only || !repair) {
        let list = temporaries.join(", ");
        return Err(corruption(format!(
            "safe temporary files require explicit repair: {list}"
        )));
    }
    Ok(temporaries)
}

/// Without a manifest there must be no data: the first one is durable before any.
pub(super) fn check_without_manifest(names: &[String]) -> Result<()> {
    let data = names.iter().find(|name| {
        matches!(
            FileName::parse(name),
            FileName::Table(_) | FileName::Blob(_) | FileName::Misspelt | FileName::Wal(_)
        )
    });
    match data {
        Some(name) => Err(corruption(format!(
            "CURRENT is missing, but there is data ({name})"
        ))),
        None => Ok(()),
    }
}

/// A formal name that the manifest does not know was not left by us: see `db::install`.
fn check_unreferenced(names: &[String], state: &ManifestState) -> Result<()> {
    let stray: Vec<&str> = names
        .iter()
        .filter(|name| match FileName::parse(name) {
            FileName::Table(number) => {
                !state.has_table(number) && !state.obsolete().contains(&number)
            }
            FileName::Blob(number) => {
                !state.has_blob(number) && !state.obsolete().contains(&number)
            }
            FileName::Misspelt => true,
            _ => false,
        })
        .map(String::as_str)
        .collect();
    if stray.is_empty() {
        return Ok(());
    }
    Err(corruption(format!(
        "unreferenced table/blob files: {}",
        stray.join(", ")
    )))
}

/// Every table that the manifest names is there, if only under the name that the crash of its writer left it.
/// What is in it is looked at here for a few, and for the rest when they are first read.
fn check_referenced(names: &[String], state: &ManifestState) -> Result<()> {
    let names: Set<&str> = names.iter().map(String::as_str).collect();
    let missing = state.tables().iter().find(|number| {
        !names.contains(&*table_name(**number)) && !names.contains(&*unfinished_name(**number))
    });
    match missing {
        Some(number) => Err(missing_file(&table_name(*number))),
        None => Ok(()),
    }
}

/// The first state of a database.
async fn initialise(options: &DbOptions, storage: &Storage, mode: Mode) -> Result<Manifest> {
    let mut state = ManifestState::default();
    let created = Change::BucketCreated {
        id: BucketId(0),
        name: DEFAULT_BUCKET.to_owned(),
        options: options.default_bucket_options.clone(),
    };
    state
        .apply(&VersionEdit {
            changes: vec![created],
        })
        .map_err(|fault| Error::from(fault.at("MANIFEST", 0)))?;
    Manifest::create(storage, Arc::new(FileNumbers::starting_at(1)), state, mode).await
}

/// The tables and blob files of a bucket, none of them open but those that were known.
fn version(bucket: &BucketState, files: &Arc<OpenFiles>, known: &KnownFiles) -> Result<Version> {
    let added = bucket.tables().map(|(level, meta)| {
        let table = known.tables.get(&meta.number).map(Arc::clone);
        let table = table.unwrap_or_else(|| Table::closed(meta.clone(), files));
        (level.into(), table)
    });
    let blobs = bucket.blobs().map(|meta| {
        let file = known.blobs.get(&meta.number).map(Arc::clone);
        file.unwrap_or_else(|| BlobFile::closed(meta, files))
    });
    let change = VersionChange {
        added: added.collect(),
        blobs: blobs.collect(),
        ..VersionChange::default()
    };
    Version::checked(&change)
        .ok_or_else(|| corruption(format!("levels of bucket {} do not fit", bucket.name)))
}

/// Gives files their formal names where the crash of their writer left them without.
async fn finish_renames(
    storage: &Storage,
    names: &[String],
    manifest: &Manifest,
    mode: Mode,
) -> Result<()> {
    let names: Set<&str> = names.iter().map(String::as_str).collect();
    let state = manifest.state();
    let tables = state.tables().iter();
    let tables = tables.map(|number| (*number, table_name(*number)));
    let blobs = state.blobs().map(|number| (number, blob_name(number)));
    for (number, name) in tables.chain(blobs) {
        let unfinished = unfinished_name(number);
        if names.contains(&*unfinished) && !names.contains(&*name) {
            storage.rename(mode, &unfinished, &name).await?;
        }
    }
    Ok(())
}

/// Trees of these versions, with what is only in the log in their memtables.
async fn replay_into(
    db_options: &DbOptions,
    storage: &Storage,
    manifest: &Manifest,
    versions: &[(BucketId, Version)],
    mode: Mode,
) -> Result<(Arc<Registry>, Adoption, (Option<Replayed>, bool))> {
    let mut lost = None;
    loop {
        let trees = Arc::new(Registry::default());
        trees.extend(versions.iter().filter_map(|(id, version)| {
            let bucket = manifest.state().buckets().get(id)?;
            let (name, options) = (bucket.name.clone(), bucket.options.clone());
            let rules = Rules::of(db_options, &name, &options);
            let tree = Tree::new(*id, name, options, version.clone(), rules);
            Some(Arc::new(tree))
        }));
        let adoption = Adoption::until(lost);
        let replayed = replay_log(storage, manifest, &trees, &adoption, mode).await?;
        match adoption.first_lost(storage, mode).await? {
            None => return Ok((trees, adoption, replayed)),
            // Once more, and no further than this: a memtable gives nothing back.
            first => lost = first,
        }
    }
}

/// Puts what is only in the log into memtables, up to where values of a commit are lost; readers find it once what was staged
/// there is inserted. Says whether there was a load that the manifest does not know.
async fn replay_log(
    storage: &Storage,
    manifest: &Manifest,
    trees: &Registry,
    adoption: &Adoption,
    mode: Mode,
) -> Result<(Option<Replayed>, bool)> {
    let Some(segments) = manifest.state().log_segments() else {
        return Ok((None, false));
    };
    let mut logs_a_load = false;
    let floor = *segments.start();
    let known = trees.load();
    let buckets = manifest.state().buckets();
    let replayed = replay(storage, segments, mode, |sequence, batch| {
        if adoption.lost() == Some(sequence) {
            return Ok(false);
        }
        let wanted = |id: BucketId| match buckets.get(&id) {
            Some(bucket) => sequence > bucket.flushed_through,
            // Dropped since; a number that was never given out is damage, which `apply` finds.
            None => id >= manifest.state().next_bucket(),
        };
        let batch = Encoded {
            bytes: batch,
            may_delete_ranges: true,
        };
        logs_a_load |= sequence > manifest.state().last_sequence() && is_load(batch.bytes);
        let find = |id| known.by_id(id);
        // Before any of it is staged: no batch may be in two memtables, of which one is flushed before the other.
        for operation in operations(batch.bytes) {
            if let Ok(Operation::PutBlob { bucket, index, .. }) = operation
                && wanted(bucket)
                && let Some(tree) = find(bucket)
            {
                adoption.note(tree, sequence, index);
            }
        }
        apply(find, sequence, &batch, floor, How::Staged, wanted).map(|()| true)
    });
    let replayed = replayed.await?;
    Ok((Some(replayed), logs_a_load))
}

/// Removes temporary files that the policy allows to be removed, and writes down which.
async fn repair(storage: &Storage, temporaries: Vec<String>, mode: Mode) -> Result<()> {
    if temporaries.is_empty() {
        return Ok(());
    }
    for name in &temporaries {
        storage.remove(mode, name).await?;
    }
    let report = RecoveryReport::new(temporaries);
    remove_if_there(storage, UNFINISHED_REPORT, mode).await?;
    let file = storage.create(mode, UNFINISHED_REPORT).await?;
    file.write_at(mode, 0, report.encode()).await?;
    file.sync_all(mode).await?;
    storage
        .rename(mode, UNFINISHED_REPORT, RECOVERY_REPORT_FILE_NAME)
        .await?;
    storage.sync_directory(mode).await?;
    Ok(())
}

async fn remove_if_there(storage: &Storage, name: &str, mode: Mode) -> Result<()> {
    match storage.remove(mode, name).await {
        Err(error) if error.source.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes the debris of a crash. Without a manifest nothing was ever committed, so all of ours is debris.
async fn sweep(
    storage: &Storage,
    names: &[String],
    manifest: Option<&Manifest>,
    mode: Mode,
) -> Result<()> {
    let obsolete: SortedSet<u64> = manifest
        .map(|manifest| manifest.state().obsolete().clone())
        .unwrap_or_default();
    let segments = manifest.and_then(|manifest| manifest.state().log_segments());
    let mut swept = false;
    for name in names {
        let debris = match FileName::parse(name) {
            FileName::Unfinished => true,
            FileName::Manifest(number) => {
                manifest.is_none_or(|manifest| manifest.number() != number)
            }
            FileName::Wal(number) => !segments
                .as_ref()
                .is_some_and(|segments| segments.contains(&number)),
            FileName::Table(number) | FileName::Blob(number) => obsolete.contains(&number),
            _ => false,
        };
        if debris {
            // A table may have been renamed from its unfinished name meanwhile.
            remove_if_there(storage, name, mode).await?;
            swept = true;
        }
    }
    if swept {
        storage.sync_directory(mode).await?;
    }
    Ok(())
}

/// Strikes swept files off the manifest's list.
async fn forget_obsolete(storage: &Storage, manifest: &mut Manifest, mode: Mode) -> Result<()> {
    let changes: Vec<_> = manifest
        .state()
        .obsolete()
        .iter()
        .map(|number| Change::ObsoleteGone { number: *number })
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    storage.sync_directory(mode).await?;
    manifest.append(&VersionEdit { changes }, mode).await
}

/// The first segment that active memtables need; what was frozen while it was read is older than what is in them.
fn first_needed(trees: &Trees) -> Option<u64> {
    trees.iter().filter_map(|tree| tree.first_segment()).min()
}

/// Starts a new segment: the old tail is never written to again.
async fn start_log(
    storage: &Storage,
    manifest: &mut Manifest,
    trees: &Trees,
    start: Start,
    retention: u64,
    mode: Mode,
) -> Result<LogWriter> {
    let old = manifest.state().log_segments();
    let number = old.as_ref().map_or(1, |segments| segments.end() + 1);
    remove_if_there(storage, &wal_name(number), mode).await?;
    let prepared = Prepared::create(storage, number, 0, Space::Reserved, mode).await?;
    // File numbers that were given out and lost may be given out again, in this session.
    let growing = trees.iter().flat_map(|tree| {
        let view = tree.pin();
        let files = view.buffers().filter_map(|buffer| buffer.values());
        files.map(|file| file.number()).collect::<Vec<_>>()
    });
    let growing = growing.collect();
    let sessions = manifest.state().sessions_with(storage.fresh_id(), &growing);
    let mut changes = vec![
        Change::LogStarted { segment: number },
        Change::Sessions { sessions },
    ];
    let needed = first_needed(trees);
    let floor = old.as_ref().map_or(number, |segments| *segments.start());
    // Without any, every segment so far holds only what is in tables.
    let kept = match needed {
        None => match kept_from(storage, floor, number, retention, mode).await? {
            // Without commits it tells nobody anything, and its header may count commits that were lost.
            kept if kept > start.previous => number,
            kept => kept,
        },
        Some(_) => floor,
    };
    if kept > floor || old.is_none() {
        changes.push(Change::LogFloor { segment: kept });
    }
    manifest.append(&VersionEdit { changes }, mode).await?;
    match needed {
        None => {
            for segment in floor..kept {
                // A failure leaves debris below the floor, which the next open removes.
                drop(storage.remove(mode, &wal_name(segment)).await);
            }
        }
        Some(needed) if needed.saturating_add(SEGMENTS_KEPT) <= number => {
            for tree in trees.iter().filter(|tree| tree.active_bytes() > 0) {
                tree.freeze();
            }
        }
        Some(_) => {}
    }
    let segment = SegmentWriter::start(prepared, start, mode).await;
    Ok(LogWriter::new(segment.map_err(|(_, error)| error)?))
}
