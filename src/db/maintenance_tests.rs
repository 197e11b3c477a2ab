//! What maintenance does by itself, a rule each, end to end. Nothing here runs beside the test.

use std::pin::pin;
use std::task::{Context, Waker};

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::db::Db;
use crate::db::budget::MaintenanceBudget;
use crate::db::open::on_storage;
use crate::key::KeyRange;
use crate::options::{BucketOptions, CompressionProfile, DbOptions, DurabilityMode};

const KEYS: u32 = 1000;
const VALUE_BYTES: usize = 64;

/// Tables of about 8 KiB, a tenth of the rows each.
fn open() -> Db {
    open_in(&Storage::memory())
}

fn open_in(storage: &Storage) -> Db {
    let plain = BucketOptions {
        compression: CompressionProfile::None,
        block_bytes: 1 << 10,
        ..BucketOptions::default()
    };
    let options = DbOptions {
        background_worker_count: 0,
        target_table_bytes: 8 << 10,
        durability: DurabilityMode::Buffered,
        default_bucket_options: plain,
        ..DbOptions::new("unused")
    };
    block_on(on_storage(options, storage.clone(), Mode::Blocking)).expect("the database")
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn fill(db: &Db, keys: u32, byte: u8) {
    for number in 0..keys {
        db.put_sync(key(number), [byte; VALUE_BYTES]).unwrap();
    }
}

/// So many rows in one sorted level of small tables. What is merged is cut into tables, what is moved is not.
fn loaded(db: &Db, keys: u32) -> Vec<(u64, u64)> {
    for byte in 0..2 {
        fill(db, keys, byte);
        db.flush_sync().unwrap();
    }
    db.compact_range_sync(KeyRange::all()).unwrap();
    tables(db)
}

fn maintain(db: &Db) {
    db.flush_sync().unwrap();
    db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
        .unwrap();
}

/// Numbers and bytes of all tables of the default bucket, ascending by key where they do not overlap.
fn tables(db: &Db) -> Vec<(u64, u64)> {
    let trees = db.core().trees.load();
    let view = trees.by_name("default").unwrap().pin();
    let tables = view.version.tables().map(|table| table.meta());
    tables.map(|meta| (meta.number, meta.bytes)).collect()
}

fn bytes(tables: &[(u64, u64)]) -> u64 {
    tables.iter().map(|(_, bytes)| bytes).sum()
}

/// Tables after rows were deleted from the middle of one table to that of another, `beside` other writes.
fn delete_middle_half(beside: impl Fn(&Db)) {
    let db = open();
    let before = loaded(&db, KEYS);
    assert!(before.len() >= 8, "{before:?}");
    let middle = KeyRange::half_open(key(KEYS / 4), key(KEYS / 4 * 3));
    db.delete_range_sync(middle).unwrap();
    beside(&db);
    let read_before = db.stats().level_traffic[0].read_bytes;
    maintain(&db);
    let after = tables(&db);
    assert!(bytes(&after) * 100 <= bytes(&before) * 55, "{after:?}");
    for outer in [&before[..2], &before[before.len() - 2..]] {
        assert!(outer.iter().all(|table| after.contains(table)));
    }
    let read = db.stats().level_traffic[0].read_bytes - read_before;
    assert!(
        read * 2 <= bytes(&before),
        "whole tables go unread: {read}, {before:?}"
    );
    let rows = db.range_sync(&KeyRange::all()).unwrap().count();
    assert_eq!(rows, (KEYS / 2) as usize);
}

#[test]
fn a_range_delete_frees_whole_tables_and_parts_of_tables_and_leaves_the_rest_alone() {
    delete_middle_half(|_| {});
}

#[test]
fn a_range_delete_frees_as_much_if_it_shares_its_memtable() {
    delete_middle_half(|db| {
        let beside = KEYS / 4 * 3;
        for number in beside..beside + 5 {
            db.put_sync(key(number), [2; VALUE_BYTES]).unwrap();
        }
    });
}

#[test]
fn half_of_three_tables_is_freed_though_no_range_covers_more_than_one() {
    let db = open();
    let before = loaded(&db, KEYS / 4);
    assert_eq!(before.len(), 3);
    let middle = KeyRange::half_open(key(KEYS / 16), key(KEYS / 16 * 3));
    db.delete_range_sync(middle).unwrap();
    maintain(&db);
    assert!(bytes(&tables(&db)) * 100 <= bytes(&before) * 60);
}

#[test]
fn versions_kept_for_a_snapshot_go_after_it_and_maintenance_is_told() {
    let db = open();
    fill(&db, KEYS, 1);
    let snapshot = db.snapshot();
    fill(&db, KEYS, 2);
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let both = bytes(&tables(&db));
    maintain(&db);
    assert_eq!(bytes(&tables(&db)), both, "somebody reads them");
    let mut told = pin!(db.core().maintenance.next_ring());
    let mut context = Context::from_waker(Waker::noop());
    assert!(told.as_mut().poll(&mut context).is_pending());
    drop(snapshot);
    assert!(told.as_mut().poll(&mut context).is_ready());
    maintain(&db);
    let one = bytes(&tables(&db));
    assert!(one * 100 <= both * 60, "{one} of {both}");
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    assert!(
        rows.map(Result::unwrap)
            .all(|row| row.value[..] == [2; VALUE_BYTES])
    );
}

/// What a large merge of level 0 leaves at any moment, with writes that come in between.
fn merge_in_parts(storage: &Storage, after_each: impl Fn(Db) -> Db) {
    let mut db = open_in(storage);
    let loaded = bytes(&loaded(&db, KEYS));
    fill(&db, KEYS, 7);
    db.delete_range_sync(KeyRange::half_open(key(300), key(400)))
        .unwrap();
    db.flush_sync().unwrap();
    let mut expected: std::collections::BTreeMap<_, u8> =
        (0..KEYS).map(|number| (number, 7)).collect();
    expected.retain(|number, _| !(300..400).contains(number));
    let level_0 = |db: &Db| db.stats().l0_tables;
    let mut units = 0;
    loop {
        let before = db
            .stats()
            .level_traffic
            .iter()
            .map(|level| level.read_bytes)
            .sum::<u64>();
        let budget = MaintenanceBudget::single_unit();
        let outcome = db
            .compact_range_with_budget_sync(KeyRange::all(), budget)
            .unwrap();
        if !outcome.made_progress() {
            break;
        }
        units += 1;
        let read = db
            .stats()
            .level_traffic
            .iter()
            .map(|level| level.read_bytes)
            .sum::<u64>()
            - before;
        assert!(read < loaded, "{read} of {loaded} and as much in level 0");
        // Above what is merged, in parts that are done and parts that are not.
        let numbers = [units, KEYS - units].into_iter().filter(|_| units < 5);
        for number in numbers {
            db.put_sync(key(number), [8; VALUE_BYTES]).unwrap();
            expected.insert(number, 8);
            db.delete_sync(key(number + 50)).unwrap();
            expected.remove(&(number + 50));
        }
        db.flush_sync().unwrap();
        db = after_each(db);
        let row = |row: crate::error::Result<crate::types::KeyValue>| {
            let row = row.unwrap();
            (
                u32::from_be_bytes(row.key[..].try_into().unwrap()),
                row.value[0],
            )
        };
        let rows = || db.range_sync(&KeyRange::all()).unwrap();
        assert!(
            rows()
                .map(row)
                .eq(expected.iter().map(|(key, value)| (*key, *value)))
        );
        let reverse = db.range_reverse_sync(&KeyRange::all()).unwrap().map(row);
        assert!(reverse.eq(expected.iter().rev().map(|(key, value)| (*key, *value))));
        for number in [units, units + 50, 350, 500, KEYS - units] {
            let found = db.get_sync(&key(number)).unwrap().map(|value| value[0]);
            assert_eq!(found, expected.get(&number).copied());
        }
        assert!(units < 50, "it does not end");
    }
    assert!(units >= 3, "in {units} units");
    assert_eq!(level_0(&db), 0);
    assert!(bytes(&tables(&db)) <= loaded);
}

#[test]
fn a_large_merge_is_done_in_bounded_parts_between_which_everything_reads_the_same() {
    merge_in_parts(&Storage::memory(), |db| db);
}

#[test]
fn a_large_merge_that_was_forgotten_between_its_parts_begins_again() {
    let storage = Storage::memory();
    let forgotten = std::cell::Cell::new(0);
    merge_in_parts(&storage, |db| {
        if forgotten.get() == 2 {
            return db;
        }
        forgotten.set(forgotten.get() + 1);
        db.close_sync();
        open_in(&storage)
    });
}

#[test]
fn a_small_budget_serves_the_buckets_by_turns() {
    let db = open();
    let busy = db.bucket_sync("busy").unwrap();
    let quiet = db.bucket_sync("quiet").unwrap();
    let frozen = |bucket: &crate::db::bucket::Bucket| bucket.keyspace().tree().immutables();
    let freeze = || {
        block_on(
            db.core()
                .commits
                .run(crate::commit::Work::Freeze, Mode::Blocking),
        )
        .unwrap();
    };
    quiet.put_sync("k", "v").unwrap();
    busy.put_sync("k", "v").unwrap();
    freeze();
    let mut calls = 0;
    while frozen(&quiet) > 0 {
        busy.put_sync("k", "v").unwrap();
        freeze();
        db.run_maintenance_with_budget_sync(MaintenanceBudget::single_unit())
            .unwrap();
        calls += 1;
        assert!(calls <= 3, "there are three buckets");
    }
}
