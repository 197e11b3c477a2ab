//! Backups: made, listed, checked, restored, pruned.

use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use trine_kv::{BackupId, BackupInfo, BackupOptions, Backups};

use crate::arguments::{Backup, BackupCreate, BackupPlace, BackupPrune, BackupVerify, Restore};
use crate::failure::Failure;
use crate::interrupt;
use crate::opening;
use crate::output::{self, Output};
use crate::progress;

pub(crate) fn run(asked: &Backup, output: &mut Output) -> Result<(), Failure> {
    match asked {
        Backup::Create(asked) => create(asked, output),
        Backup::List(asked) => list(asked, output),
        Backup::Verify(asked) => verify(asked, output),
        Backup::Restore(asked) => restore(asked, output),
        Backup::Prune(asked) => prune(asked, output),
    }
}

fn create(asked: &BackupCreate, output: &mut Output) -> Result<(), Failure> {
    let backups = backups(&asked.backups)?;
    let db = opening::for_writing(&asked.place, false)?;
    let bar = progress::of_things(output, "copying", None);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    let options = BackupOptions {
        bytes_per_second: asked.limit_mib.map(|limit| limit << 20),
        check_shared: asked.check_shared,
    };
    // What an interrupt leaves half made the next backup uses.
    let made = db.backup_sync(&backups, options)?;
    bar.finish_and_clear();
    let mut report = json_of(&made.backup);
    report["copied_files"] = made.copied_files.into();
    report["copied_bytes"] = made.copied_bytes.into();
    output.report(&report, |output| {
        output.line(format_args!(
            "backup {}: {} in {} files, of which {} in {} were copied",
            made.backup.id,
            output::bytes(made.backup.bytes),
            made.backup.files,
            output::bytes(made.copied_bytes),
            made.copied_files
        ))
    })
}

fn json_of(backup: &BackupInfo) -> Value {
    json!({
        "id": backup.id.get(),
        "sequence": backup.sequence.get(),
        "created": seconds(backup.created),
        "files": backup.files,
        "bytes": backup.bytes,
    })
}

/// Since 1970.
fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// How long ago, roughly.
fn age(time: SystemTime) -> String {
    let age = SystemTime::now().duration_since(time).unwrap_or_default();
    format!("{} ago", indicatif::HumanDuration(age))
}

fn list(asked: &BackupPlace, output: &mut Output) -> Result<(), Failure> {
    let found = existing(asked)?.list_sync()?;
    let mut reports = Vec::new();
    let mut rows = Vec::new();
    for (id, backup) in &found {
        match backup {
            Ok(backup) => {
                reports.push(json_of(backup));
                rows.push(vec![
                    id.to_string(),
                    age(backup.created),
                    backup.sequence.get().to_string(),
                    backup.files.to_string(),
                    output::bytes(backup.bytes),
                ]);
            }
            Err(error) => {
                reports.push(json!({ "id": id.get(), "fault": error.to_string() }));
                rows.push(vec![id.to_string(), error.to_string()]);
            }
        }
    }
    output.report(&Value::from(reports), |output| {
        let heads = ["backup", "made", "sequence", "files", "bytes"];
        output.table(&heads, &[0, 2, 3, 4], rows)
    })
}

/// The backup that was named, or the newest.
fn chosen(backups: &Backups, id: Option<u64>) -> Result<BackupId, Failure> {
    if let Some(id) = id {
        return Ok(BackupId::new(id));
    }
    let newest = backups.list_sync()?.into_iter().map(|(id, _)| id).max();
    newest.ok_or_else(|| Failure::NotFound("there is no backup".to_owned()))
}

fn verify(asked: &BackupVerify, output: &mut Output) -> Result<(), Failure> {
    let backups = existing(&asked.place)?;
    let verified = backups.verify_sync(chosen(&backups, asked.id)?)?;
    output.report(&json_of(&verified), |output| {
        output.line(format_args!(
            "no damage: backup {}, {} in {} files",
            verified.id,
            output::bytes(verified.bytes),
            verified.files
        ))
    })
}

pub(crate) fn restore(asked: &Restore, output: &mut Output) -> Result<(), Failure> {
    let backups = existing(&asked.place)?;
    let id = chosen(&backups, asked.id)?;
    let existed = asked.target.exists();
    let target = asked.target.clone();
    let cleanup = move || {
        if !existed {
            interrupt::remove_directory(&target);
        }
    };
    let restored =
        interrupt::cleaning_up(cleanup.clone(), || backups.restore_sync(id, &asked.target));
    if restored.is_err() {
        cleanup();
    }
    let restored = restored?;
    output.report(&json_of(&restored), |output| {
        output.line(format_args!(
            "backup {} restored, as of sequence {}",
            restored.id,
            restored.sequence.get()
        ))
    })
}

fn prune(asked: &BackupPrune, output: &mut Output) -> Result<(), Failure> {
    let backups = existing(&asked.place)?;
    let removed = backups.prune_sync(asked.keep)?;
    let report = json!({ "backups": removed.backups, "files": removed.files });
    output.report(&report, |output| {
        output.line(format_args!(
            "{} backups removed, and {} files that no other needs",
            removed.backups, removed.files
        ))
    })
}

/// Backups in a directory, or at a URL in a store of objects.
fn backups(place: &Path) -> Result<Backups, Failure> {
    match place.to_str().filter(|place| place.contains("://")) {
        Some(url) => in_object_store(url),
        None => Ok(Backups::in_directory(place)),
    }
}

/// The same, if they are there: of a store of objects nobody can say that it is not.
fn existing(place: &BackupPlace) -> Result<Backups, Failure> {
    let place = &place.backups;
    let is_url = place.to_str().is_some_and(|place| place.contains("://"));
    if is_url || place.is_dir() {
        return backups(place);
    }
    let shown = place.display();
    Err(Failure::Usage(format!(
        "{shown}: there is no such directory"
    )))
}

/// Keys and regions come from the environment, under the names that each cloud's own tools have for them.
#[cfg(feature = "object-store")]
fn in_object_store(url: &str) -> Result<Backups, Failure> {
    let refuse = |error: &dyn std::error::Error| Failure::Usage(format!("{url}: {error}"));
    let parsed = url::Url::parse(url).map_err(|error| refuse(&error))?;
    let found = object_store::parse_url_opts(&parsed, std::env::vars());
    let (store, prefix) = found.map_err(|error| refuse(&error))?;
    Ok(Backups::in_object_store(store.into(), prefix)?)
}

#[cfg(not(feature = "object-store"))]
fn in_object_store(url: &str) -> Result<Backups, Failure> {
    Err(Failure::Usage(format!(
        "{url}: this program was built without stores of objects: build it with --features cli,object-store"
    )))
}
