//! Large values that were brought to a blob file by their commits, and what an opening makes of what a crash left of them.

use std::sync::Arc;

use trine_io::simulation::{Failure, Faults, Simulation, Unsynced};
use trine_io::{Mode, Storage};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::commit::Work;
use crate::commit::batch::DEFAULT_BUCKET;
use crate::db::changes::{ChangeOperation, Changes};
use crate::db::maintenance::Turn;
use crate::db::open::on_storage;
use crate::db::{Db, MaintenanceBudget};
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::{BucketOptions, DbOptions, DurabilityMode};
use crate::testing::simulated;

const MODE: Mode = Mode::Blocking;
const VALUE_BYTES: usize = 3000;

fn options(durability: DurabilityMode) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 64 << 10,
        default_bucket_options: BucketOptions {
            blob_threshold_bytes: 1000,
            ..BucketOptions::default()
        },
        durability,
        ..DbOptions::new("unused")
    }
}

fn open(storage: &Storage, durability: DurabilityMode) -> Result<Db> {
    block_on(on_storage(options(durability), storage.clone(), MODE))
}

fn large(seed: u8) -> Vec<u8> {
    vec![seed; VALUE_BYTES]
}

/// A database of which the memtable has a file of values: with `a` and `b` in it, and `c`, a small value, after them.
fn filled(storage: &Storage, durability: DurabilityMode) -> Db {
    let db = open(storage, durability).unwrap();
    fill(&db);
    db
}

fn fill(db: &Db) {
    // The memtable has to hold something, and a file to be made, before values go there.
    db.put_sync("filler", vec![9; 2000]).unwrap();
    db.put_sync("asked", large(8)).unwrap();
    db.put_sync("a", large(1)).unwrap();
    db.put_sync("b", large(2)).unwrap();
    db.put_sync("c", "small").unwrap();
}

fn grown(storage: &Storage) -> Vec<String> {
    let names = block_on(storage.list(MODE)).unwrap();
    let grows = |name: &String| name.starts_with("unfinished-");
    names.into_iter().filter(grows).collect()
}

fn contents(storage: &Storage, name: &str) -> Vec<u8> {
    block_on(storage.read_file(MODE, name, u64::MAX)).unwrap()
}

/// What a process that dies now leaves, as `change` changes its file of values.
fn after_crash(storage: &Storage, change: impl Fn(&mut Vec<u8>)) -> Storage {
    let left = Storage::memory();
    for name in block_on(storage.list(MODE)).unwrap() {
        if name == "LOCK" {
            continue;
        }
        let mut bytes = contents(storage, &name);
        // The next file that is made ready is empty.
        if name.starts_with("unfinished-") && !bytes.is_empty() {
            change(&mut bytes);
        }
        let file = block_on(left.create(MODE, &name)).unwrap();
        block_on(file.write_at(MODE, 0, bytes)).unwrap();
    }
    left
}

/// Where in a file of values the value lies.
fn place(bytes: &[u8], seed: u8) -> usize {
    let value = large(seed);
    let found = bytes
        .windows(VALUE_BYTES)
        .position(|window| window == value);
    found.expect("the value is in the file")
}

fn values(db: &Db) -> Vec<(Vec<u8>, usize)> {
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    rows.map(|row| row.map(|row| (row.key, row.value.len())).unwrap())
        .collect()
}

#[test]
fn a_value_that_its_commit_brought_to_a_file_is_read_from_there_and_not_in_the_log() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    let files = grown(&storage);
    let file = contents(&storage, &files[0]);
    place(&file, 1);
    place(&file, 2);
    for name in block_on(storage.list(MODE)).unwrap() {
        let log = contents(&storage, &name);
        // The log has a mark in each sector: no longer piece of a value is in one.
        let piece = [2; 400];
        let is_there = log.windows(piece.len()).any(|window| window == piece);
        assert_eq!(is_there, name == files[0], "{name}");
    }
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
    assert_eq!(
        db.multi_get_sync(&["b", "a"]).unwrap(),
        [Some(large(2)), Some(large(1))]
    );
    let found = values(&db);
    assert_eq!(found.len(), 5);
    assert_eq!(found[0], (b"a".to_vec(), VALUE_BYTES));
    let before = db.snapshot();
    db.put_sync("a", large(3)).unwrap();
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(3)));
    let old = db.get_at_sync(&before, b"a").unwrap();
    assert_eq!(old, Some(large(1)));
    db.flush_sync().unwrap();
    assert_eq!(db.stats().live_blob_files, 1);
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(3)));
    assert_eq!(db.get_sync(b"asked").unwrap(), Some(large(8)));
    db.verify_sync(|_| {}).unwrap();
}

#[test]
fn what_a_process_leaves_is_found_again_however_often_it_dies() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    let expected = values(&db);
    let mut left = after_crash(&storage, |_| {});
    for _ in 0..2 {
        let db = open(&left, DurabilityMode::Buffered).unwrap();
        assert_eq!(values(&db), expected);
        left = after_crash(&left, |_| {});
    }
    let db = open(&left, DurabilityMode::Buffered).unwrap();
    db.put_sync("d", large(4)).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(values(&db).len(), 6);
    db.close_sync();
    assert!(grown(&left).is_empty(), "{:?}", grown(&left));
    let db = open(&left, DurabilityMode::Buffered).unwrap();
    assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
    db.verify_sync(|_| {}).unwrap();
}

#[test]
fn files_that_follow_one_another_are_found_again() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    // Four write buffers of values and more: other memtables, other files.
    for number in 0..250_u8 {
        db.put_sync([b'n', number], large(number)).unwrap();
    }
    let expected = values(&db);
    let left = after_crash(&storage, |_| {});
    let again = open(&left, DurabilityMode::Buffered).unwrap();
    assert_eq!(values(&again), expected);
    again.flush_sync().unwrap();
    assert_eq!(again.get_sync(&[b'n', 77]).unwrap(), Some(large(77)));
    again.verify_sync(|_| {}).unwrap();
}

#[test]
fn a_value_that_never_reached_the_disk_ends_the_log_before_its_commit() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    let lost_sector = |bytes: &mut Vec<u8>| {
        let sector = (place(bytes, 2) + 1000) / 512 * 512;
        bytes[sector..sector + 512].fill(0);
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(place(bytes, 2) + 100);
    for left in [
        after_crash(&storage, lost_sector),
        after_crash(&storage, cut),
    ] {
        let db = open(&left, DurabilityMode::Buffered).unwrap();
        assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
        assert_eq!(db.get_sync(b"b").unwrap(), None);
        assert_eq!(db.get_sync(b"c").unwrap(), None);
        db.put_sync("b", "again").unwrap();
        db.flush_sync().unwrap();
        assert_eq!(db.get_sync(b"a").unwrap(), Some(large(1)));
        db.verify_sync(|_| {}).unwrap();
    }
    drop(db);
}

#[test]
fn a_value_that_is_not_what_was_written_is_damage() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    let left = after_crash(&storage, |bytes| {
        let at = place(bytes, 2) + 1000;
        bytes[at] ^= 1;
    });
    let refused = open(&left, DurabilityMode::Buffered);
    assert!(
        matches!(
            refused,
            Err(Error::Corruption { .. } | Error::InvalidFormat { .. })
        ),
        "{refused:?}"
    );
    drop(db);
}

#[test]
fn a_value_that_had_been_synced_and_is_gone_is_damage() {
    let storage = Storage::memory();
    // Each commit says that those before it are on disk.
    let db = filled(&storage, DurabilityMode::SyncAll);
    let left = after_crash(&storage, |bytes| {
        let at = place(bytes, 2);
        bytes[at..at + VALUE_BYTES].fill(0);
    });
    let refused = open(&left, DurabilityMode::Buffered);
    assert!(
        matches!(refused, Err(Error::Corruption { .. })),
        "{refused:?}"
    );
    drop(db);
}

/// The next commit of the feed: its one key and value.
fn next(changes: &mut Changes) -> Result<(Vec<u8>, Vec<u8>)> {
    let mut operations = changes.next_sync()?.into_operations();
    match operations.pop() {
        Some(ChangeOperation::Put { key, value, .. }) => Ok((key, value)),
        other => panic!("{other:?}"),
    }
}

/// Flushes the default bucket and no other: what the log has of those keeps all of it.
fn flush_default(db: &Db) {
    let core = db.core();
    block_on(core.commits.run(Work::Freeze, MODE)).unwrap();
    let tree = core.trees.load().by_name(DEFAULT_BUCKET).map(Arc::clone);
    block_on(core.flush_oldest(&tree.unwrap(), Turn::Wait, MODE)).unwrap();
}

#[test]
fn a_change_feed_delivers_values_wherever_they_lie_and_says_when_they_are_gone() {
    let expected = [
        ("filler", vec![9; 2000]),
        ("asked", large(8)),
        ("a", large(1)),
        ("b", large(2)),
        ("c", b"small".to_vec()),
    ];
    let start = || {
        let db = open(&Storage::memory(), DurabilityMode::Buffered).unwrap();
        db.bucket_sync("other").unwrap().put_sync("k", "v").unwrap();
        let changes = db.changes(db.last_committed_sequence()).unwrap();
        fill(&db);
        (db, changes)
    };
    for flushed in [false, true] {
        let (db, mut changes) = start();
        if flushed {
            flush_default(&db);
        }
        for (key, value) in &expected {
            let row = (key.as_bytes().to_vec(), value.clone());
            assert_eq!(next(&mut changes).unwrap(), row);
        }
    }
    let (db, mut changes) = start();
    db.delete_range_sync(KeyRange::all()).unwrap();
    flush_default(&db);
    assert_eq!(db.stats().live_blob_files, 0);
    for (key, _) in &expected[..2] {
        assert_eq!(next(&mut changes).unwrap().0, key.as_bytes());
    }
    for _ in 0..2 {
        let lost = next(&mut changes);
        assert!(matches!(lost, Err(Error::ChangesLost { .. })), "{lost:?}");
    }
}

#[test]
fn a_log_that_is_kept_for_its_readers_has_the_values() {
    let storage = Storage::memory();
    let options = DbOptions {
        change_retention_bytes: 1 << 20,
        ..options(DurabilityMode::Buffered)
    };
    let db = block_on(on_storage(options, storage.clone(), MODE)).unwrap();
    for number in 0..100_u8 {
        db.put_sync([number], large(number)).unwrap();
    }
    db.flush_sync().unwrap();
    db.delete_range_sync(KeyRange::all()).unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
        .unwrap();
    assert_eq!(db.stats().live_blob_files, 0);
    let mut changes = db.changes(crate::Sequence::ZERO).unwrap();
    for number in 0..100_u8 {
        assert_eq!(next(&mut changes).unwrap(), (vec![number], large(number)));
    }
}

#[test]
fn a_reader_beside_the_writer_finds_values_wherever_they_lie_and_keeps_them() {
    let storage = Storage::memory();
    let db = filled(&storage, DurabilityMode::Buffered);
    let reader = || {
        let options = DbOptions {
            read_only: true,
            ..options(DurabilityMode::Buffered)
        };
        block_on(on_storage(options, storage.clone(), MODE)).unwrap()
    };
    let expected = values(&db);
    let first = reader();
    db.flush_sync().unwrap();
    let second = reader();
    db.delete_range_sync(KeyRange::all()).unwrap();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
        .unwrap();
    assert_eq!(db.stats().live_blob_files, 0);
    for reader in [&first, &second] {
        assert_eq!(values(reader), expected);
        assert_eq!(reader.get_sync(b"a").unwrap(), Some(large(1)));
    }
    assert!(values(&reader()).is_empty());
}

#[test]
fn a_write_of_the_log_that_is_taken_back_proves_nothing_of_values_that_are_not_on_disk() {
    for skipped in 0..4 {
        let (simulation, storage) = simulated();
        simulation.set_maps_logs(false);
        let db = filled(&storage, DurabilityMode::Buffered);
        simulation.set_faults(Faults::Numbered {
            first: simulation.operations() + skipped,
            count: 1,
            failure: Failure::Full,
        });
        for key in ["d", "e", "f"] {
            // One of them fails; what comes after it says what is on disk.
            drop(db.put_sync(key, "small"));
        }
        simulation.set_faults(Faults::None);
        let disk = simulation.disk();
        let mut random = Random::new(skipped);
        for round in 0..20 {
            let left =
                disk.power_loss(&mut |part| part != Unsynced::Sector || random.below(2) == 0);
            let storage = Simulation::new(left, 0).storage("here");
            let opened = open(&storage, DurabilityMode::Buffered);
            opened.unwrap_or_else(|error| panic!("{skipped}, {round}: {error}"));
        }
    }
}

#[test]
fn operands_are_merged_into_a_value_that_lies_in_the_file_of_its_memtable() {
    let append = |_: &[u8], old: Option<&[u8]>, new: &[&[u8]]| -> crate::Merged {
        Ok(Some([old.unwrap_or_default(), &new.concat()].concat()))
    };
    let storage = Storage::memory();
    let mut options = options(DurabilityMode::Buffered).with_merge_operator("append", append);
    options.default_bucket_options.merge_operator = Some("append".to_owned());
    let open =
        |storage: &Storage| block_on(on_storage(options.clone(), storage.clone(), MODE)).unwrap();
    let db = open(&storage);
    fill(&db);
    db.merge_sync("b", "more").unwrap();
    let expected = [large(2), b"more".to_vec()].concat();
    let left = after_crash(&storage, |_| {});
    for db in [db, open(&left)] {
        assert_eq!(db.get_sync(b"b").unwrap(), Some(expected.clone()));
        db.flush_sync().unwrap();
        assert_eq!(db.get_sync(b"b").unwrap(), Some(expected.clone()));
        db.compact_range_sync(KeyRange::all()).unwrap();
        assert_eq!(db.get_sync(b"b").unwrap(), Some(expected.clone()));
        db.verify_sync(|_| {}).unwrap();
    }
}
