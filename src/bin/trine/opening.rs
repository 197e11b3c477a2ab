//! Opening databases: for reading without touching them, for writing only if there is one or the user wants it made.

use std::fs::{self, OpenOptions, TryLockError};
use std::path::Path;

use serde_json::Value;
use trine_kv::{Bucket, BucketOptions, Db, DbOptions, DurabilityMode};

use crate::arguments::Place;
use crate::failure::Failure;
use crate::output::Output;

/// Opens for reading, and says so if somebody writes meanwhile.
pub(crate) fn for_reading(place: &Place, output: &Output) -> Result<Db, Failure> {
    check_database(&place.directory)?;
    if let Some(writer) = writer(&place.directory) {
        output.note(format_args!(
            "{writer} has the database open for writing; this is how it was a moment ago"
        ));
    }
    for_watching(place)
}

/// Opens for reading what others may be writing.
pub(crate) fn for_watching(place: &Place) -> Result<Db, Failure> {
    check_database(&place.directory)?;
    let options = DbOptions::persistent_read_only(&place.directory);
    Ok(Db::open_sync(with_operators(options, place))?)
}

fn with_operators(options: DbOptions, place: &Place) -> DbOptions {
    let operators = place.operators.iter();
    operators.fold(options, |options, operator| {
        options.with_merge_operator(operator.name.as_str(), operator.kind)
    })
}

/// Opens for writing. Commits reach the disk when the call that makes them says so.
pub(crate) fn for_writing(place: &Place, create: bool) -> Result<Db, Failure> {
    let directory = &place.directory;
    if create {
        check_free(directory)?;
    } else {
        check_database(directory)?;
    }
    let options = DbOptions::new(directory).with_durability(DurabilityMode::Buffered);
    let options = with_operators(options, place);
    let options = DbOptions {
        create_if_missing: create,
        default_bucket_options: bucket_options(&options),
        ..options
    };
    Db::open_sync(options).map_err(|error| match Failure::from(error) {
        Failure::Locked(_) => Failure::Locked(format!(
            "{}: {} has the database open for writing",
            directory.display(),
            writer(directory).unwrap_or_else(|| "another process".to_owned())
        )),
        failure => failure,
    })
}

/// Of a bucket that is created: it merges with the operator that was named, if one was.
fn bucket_options(db: &DbOptions) -> BucketOptions {
    let mut names = db.merge_operators.names();
    match (names.next(), names.next()) {
        (Some(name), None) => BucketOptions::default().with_merge_operator(name),
        _ => BucketOptions::default(),
    }
}

/// The bucket of this name, or the default one. Only `create` makes one that is missing.
pub(crate) fn bucket(db: &Db, name: Option<&str>, create: bool) -> Result<Bucket, Failure> {
    let found = match name {
        None | Some("default") => db.default_bucket_sync(),
        Some(name) => match db.existing_bucket(name) {
            Err(trine_kv::Error::BucketMissing { .. }) if create => {
                db.bucket_with_options_sync(name, bucket_options(db.options()))
            }
            Err(trine_kv::Error::BucketMissing { .. }) => {
                let names = db.bucket_names();
                let names: Vec<_> = names.iter().map(trine_kv::BucketName::as_str).collect();
                return Err(Failure::NotFound(format!(
                    "there is no bucket {name:?}; there are: default {}",
                    names.join(" ")
                )));
            }
            found => found,
        },
    };
    Ok(found?)
}

/// All buckets, the default one first.
pub(crate) fn buckets(db: &Db) -> Result<Vec<Bucket>, Failure> {
    let mut buckets = vec![db.default_bucket_sync()?];
    for name in db.bucket_names() {
        buckets.push(db.existing_bucket(name)?);
    }
    Ok(buckets)
}

/// Who has the database open for writing.
pub(crate) fn writer(directory: &Path) -> Option<String> {
    let path = directory.join("LOCK");
    let text = fs::read_to_string(&path).ok()?;
    let file = OpenOptions::new().read(true).open(&path).ok()?;
    match file.try_lock_shared() {
        // Left by a process that died. The lock goes with the file.
        Ok(()) | Err(TryLockError::Error(_)) => None,
        Err(TryLockError::WouldBlock) => Some(
            match text.lines().find_map(|line| line.strip_prefix("pid=")) {
                Some(process) => format!("process {process}"),
                None => "another process".to_owned(),
            },
        ),
    }
}

/// The same for reports.
pub(crate) fn writer_json(directory: &Path) -> Value {
    writer(directory).map_or(Value::Null, Value::from)
}

/// Whether there is a database at all: an empty directory would open as an empty one.
pub(crate) fn check_database(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    let refuse = |why: &str| Err(Failure::Usage(format!("{shown}: {why}")));
    match fs::metadata(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse("there is no such directory")
        }
        Err(error) => Err(Failure::at(directory, &error)),
        Ok(found) if !found.is_dir() => refuse("this is a file; a database is a directory"),
        Ok(_) if is_database(directory)? => Ok(()),
        Ok(_) => refuse("there is no Trine KV database in this directory"),
    }
}

/// Whether a database is there or may be made there: not among other people's files.
fn check_free(directory: &Path) -> Result<(), Failure> {
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => {
            let is_empty = fs::read_dir(directory)
                .map_err(|error| Failure::at(directory, &error))?
                .all(|entry| entry.is_ok_and(|entry| entry.file_name() == "LOCK"));
            if is_empty {
                Ok(())
            } else {
                check_database(directory)
            }
        }
        Ok(_) => check_database(directory),
        Err(_) => Ok(()),
    }
}

/// Whether any file of a database is there; a damaged one may lack its first.
fn is_database(directory: &Path) -> Result<bool, Failure> {
    let entries = fs::read_dir(directory).map_err(|error| Failure::at(directory, &error))?;
    for entry in entries {
        let name = entry
            .map_err(|error| Failure::at(directory, &error))?
            .file_name();
        let name = name.to_string_lossy();
        let begins = |start| name.starts_with(start);
        if name == "CURRENT" || begins("MANIFEST-") || begins("wal-") || begins("table-") {
            return Ok(true);
        }
    }
    Ok(false)
}
