//! After any byte of a small database was changed, salvage returns every record that the byte does not belong to, and
//! no value that its key never had.

use std::collections::{BTreeMap, BTreeSet};

use trine_io::Storage;
use trine_platform::block_on;

use super::*;
use crate::db::open::on_storage;
use crate::inspect::{Detail, Field, Piece, read_in};
use crate::key::KeyRange;

type Key = (String, Vec<u8>);

/// How many bytes of each file are changed, unless the environment asks for all.
const SAMPLES: usize = 16;

/// A database's files, what it holds, and all that its keys ever held.
struct Scene {
    files: BTreeMap<String, Vec<u8>>,
    rows: BTreeMap<Key, Vec<u8>>,
    ever: BTreeMap<Key, BTreeSet<Vec<u8>>>,
}

fn open(storage: &Storage, default: BucketOptions) -> Result<Db> {
    let options = DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 64 << 10,
        ..DbOptions::new("unused").with_default_bucket_options(default)
    };
    block_on(on_storage(options, storage.clone(), MODE))
}

fn small_blocks() -> BucketOptions {
    BucketOptions {
        block_bytes: 256,
        blob_threshold_bytes: 100,
        ..BucketOptions::default()
    }
}

fn files_of(storage: &Storage) -> BTreeMap<String, Vec<u8>> {
    let names = block_on(storage.list(MODE)).expect("no failure");
    let content =
        |name: &String| block_on(storage.read_file(MODE, name, 1 << 30)).expect("no failure");
    names
        .into_iter()
        .map(|name| (name.clone(), content(&name)))
        .collect()
}

fn storage_of(files: &BTreeMap<String, Vec<u8>>) -> Storage {
    let storage = Storage::memory();
    for (name, bytes) in files {
        let file = block_on(storage.create(MODE, name)).expect("no failure");
        block_on(file.write_at(MODE, 0, bytes.clone())).expect("no failure");
    }
    storage
}

fn rows_of(db: &Db) -> BTreeMap<Key, Vec<u8>> {
    let mut names = vec![DEFAULT_BUCKET.to_owned()];
    names.extend(
        db.bucket_names()
            .iter()
            .map(|name| name.as_str().to_owned()),
    );
    let mut rows = BTreeMap::new();
    for name in names {
        let bucket = db.existing_bucket(name.clone()).expect("no failure");
        for row in bucket.range_sync(&KeyRange::all()).expect("no failure") {
            let row = row.expect("no failure");
            rows.insert((name.clone(), row.key), row.value);
        }
    }
    rows
}

/// Versions in several tables and in the log, deletions of both kinds, values in blob files, two buckets.
fn scene() -> Scene {
    let storage = Storage::memory();
    let db = open(&storage, small_blocks()).expect("no failure");
    let other = db
        .bucket_with_options_sync("other", small_blocks())
        .expect("no failure");
    let mut ever: BTreeMap<Key, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for round in 0..5_u8 {
        for number in (0..40_u8)
            .skip(usize::from(round))
            .step_by(usize::from(round) + 1)
        {
            let key = format!("key {number:02}").into_bytes();
            let length = if number % 8 == 3 { 150 } else { 12 };
            let mut value = format!("{round} of {number}").into_bytes();
            value.resize(length, round);
            for (name, bucket) in [("default", db.keyspace()), ("other", &other)] {
                if name == "other" && number % 3 > 0 {
                    continue;
                }
                bucket
                    .put_sync(key.clone(), value.clone())
                    .expect("no failure");
                let all = ever.entry((name.to_owned(), key.clone())).or_default();
                all.insert(value.clone());
            }
        }
        db.delete_sync(format!("key {:02}", 30 + round))
            .expect("no failure");
        let from = 4 * round;
        let range = KeyRange::half_open(format!("key {from:02}"), format!("key {:02}", from + 2));
        db.delete_range_sync(range).expect("no failure");
        match round {
            0 | 1 | 3 => db.flush_sync().expect("no failure"),
            2 => db.compact_range_sync(KeyRange::all()).expect("no failure"),
            _ => {}
        }
    }
    let rows = rows_of(&db);
    db.close_sync();
    Scene {
        files: files_of(&storage),
        rows,
        ever,
    }
}

fn saved(files: &BTreeMap<String, Vec<u8>>) -> (SalvageReport, BTreeMap<Key, Vec<u8>>) {
    let (from, target) = (storage_of(files), Storage::memory());
    let open_target = |default| open(&target, default);
    let options = SalvageOptions::default();
    let report =
        block_on(salvage(&from, &target, open_target, &options, |_| {})).expect("no failure");
    let db = open(&target, small_blocks()).expect("no failure");
    (report, rows_of(&db))
}

/// The keys of the entries, operations and deleted ranges in each piece of a file, by where the piece begins.
fn keys_by_piece(scene: &Scene, name: &str) -> BTreeMap<u64, Vec<Piece>> {
    let storage = storage_of(&scene.files);
    let mut pieces: BTreeMap<u64, Vec<Piece>> = BTreeMap::new();
    let visit = &mut |piece: Piece| pieces.entry(piece.offset).or_default().push(piece);
    if block_on(read_in(&storage, name, Detail::Entries, visit)).is_err() {
        pieces.clear();
    }
    pieces
}

fn field<'p>(piece: &'p Piece, name: &str) -> Option<&'p Field> {
    piece
        .fields
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, field)| field)
}

fn touches(pieces: &[Piece], key: &[u8]) -> bool {
    pieces.iter().any(|piece| {
        let bytes = |name| match field(piece, name) {
            Some(Field::Bytes(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        match (bytes("start"), bytes("end")) {
            (Some(start), Some(end)) => start <= key && (end.is_empty() || key < end),
            _ => bytes("key") == Some(key),
        }
    })
}

/// The keys whose values lie in a blob file, by where.
fn keys_in_blobs(scene: &Scene) -> BTreeMap<(u64, u64), BTreeSet<Vec<u8>>> {
    let mut keys: BTreeMap<(u64, u64), BTreeSet<Vec<u8>>> = BTreeMap::new();
    for name in scene.files.keys().filter(|name| name.starts_with("table-")) {
        for piece in keys_by_piece(scene, name).values().flatten() {
            if let (
                Some(Field::Number(file)),
                Some(Field::Number(offset)),
                Some(Field::Bytes(key)),
            ) = (
                field(piece, "blob file"),
                field(piece, "offset"),
                field(piece, "key"),
            ) {
                keys.entry((*file, *offset))
                    .or_default()
                    .insert(key.clone());
            }
        }
    }
    keys
}

/// What `found` breaks of the rule, where `may_differ` says which keys the damage touches.
fn check(
    scene: &Scene,
    report: &SalvageReport,
    found: &BTreeMap<Key, Vec<u8>>,
    may_differ: impl Fn(&[u8]) -> bool,
) {
    for ((bucket, key), value) in found {
        let had = |bucket: &str| {
            let all = scene.ever.get(&(bucket.to_owned(), key.clone()));
            all.is_some_and(|all| all.contains(value))
        };
        let right = if bucket.starts_with("salvaged-") {
            had("default") || had("other")
        } else {
            had(bucket)
        };
        assert!(right, "{bucket} {key:?} never had {value:?}: {report:?}");
        let is_current = scene.rows.get(&(bucket.clone(), key.clone())) == Some(value);
        let is_apart = bucket.starts_with("salvaged-") || !report.manifest_complete;
        assert!(
            is_current || is_apart || may_differ(key),
            "{bucket} {key:?} has an old value: {report:?}"
        );
    }
    for ((bucket, key), value) in &scene.rows {
        let apart = |(name, other): &(&Key, &Vec<u8>)| {
            (name.0 == *bucket || name.0.starts_with("salvaged-"))
                && name.1 == *key
                && *other == value
        };
        assert!(
            may_differ(key) || found.iter().any(|row| apart(&row)),
            "{bucket} {key:?} is missing: {report:?}"
        );
    }
}

#[test]
fn what_is_whole_is_saved_as_it_is() {
    let scene = scene();
    assert!(scene.files.keys().any(|name| name.starts_with("blob-")));
    let (report, rows) = saved(&scene.files);
    assert_eq!(report.losses, []);
    assert!(report.manifest_complete);
    assert_eq!(rows, scene.rows);
    assert_eq!(report.rows(), rows.len() as u64);
}

#[test]
fn whatever_one_byte_does_not_touch_is_saved() {
    let scene = scene();
    let blobs = keys_in_blobs(&scene);
    let all = std::env::var_os("TRINE_SALVAGE_ALL").is_some();
    for (name, bytes) in &scene.files {
        let pieces = keys_by_piece(&scene, name);
        let number = name
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>();
        // Zeros that fill a log file ahead are one case.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 2);
        let used = used.min(bytes.len());
        let step = if all {
            1
        } else {
            used.div_ceil(SAMPLES).max(1)
        };
        for at in (0..used).step_by(step) {
            let mut files = scene.files.clone();
            if let Some(byte) = files.get_mut(name).and_then(|bytes| bytes.get_mut(at)) {
                *byte ^= 1 << (at % 8);
            }
            let (report, found) = saved(&files);
            let piece = pieces.range(..=at as u64).next_back();
            let in_blob = number.parse().ok().and_then(|file| {
                blobs
                    .range((file, 0)..=(file, at as u64))
                    .next_back()
                    .map(|(_, keys)| keys)
            });
            check(&scene, &report, &found, |key| {
                piece.is_some_and(|(_, pieces)| touches(pieces, key))
                    || name.starts_with("blob-") && in_blob.is_some_and(|keys| keys.contains(key))
            });
        }
    }
}

#[test]
fn a_missing_file_costs_what_was_in_it() {
    let scene = scene();
    for name in scene.files.keys() {
        let mut files = scene.files.clone();
        files.remove(name);
        let (report, found) = saved(&files);
        let pieces = keys_by_piece(&scene, name);
        let in_blobs = keys_in_blobs(&scene);
        let is_blob = name.starts_with("blob-");
        check(&scene, &report, &found, |key| {
            pieces.values().any(|pieces| touches(pieces, key))
                || is_blob && in_blobs.values().any(|keys| keys.contains(key))
        });
        let is_data = ["table-", "blob-"]
            .iter()
            .any(|kind| name.starts_with(kind));
        // Of a blob file there may be nothing left that counts.
        let is_told = report.lost_rows() || found == scene.rows;
        assert!(!is_data || is_told, "{name}: {report:?}");
    }
}

#[test]
fn without_a_manifest_rows_go_where_they_are_told_to() {
    let mut scene = scene();
    scene
        .files
        .retain(|name, _| name != "CURRENT" && !name.starts_with("MANIFEST"));
    let (report, found) = saved(&scene.files);
    assert!(!report.manifest_complete);
    assert!(
        found
            .keys()
            .any(|(bucket, _)| bucket.starts_with("salvaged-table-"))
    );
    let (from, target) = (storage_of(&scene.files), Storage::memory());
    let options = SalvageOptions::default().with_unknown_rows_into("mixed");
    let open_target = |default| open(&target, default);
    let report =
        block_on(salvage(&from, &target, open_target, &options, |_| {})).expect("no failure");
    assert!(
        report
            .buckets
            .iter()
            .any(|bucket| bucket.name == "mixed" && !bucket.is_known)
    );
}
