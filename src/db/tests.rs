//! What only shows with the storage, or the moment, in the test's hand.

use std::ops::Bound;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};

use trine_io::{Mode, Operation, Storage};
use trine_platform::block_on;

use crate::cache::BlockCache;
use crate::commit::SEGMENTS_KEPT;
use crate::commit::batch::WriteBatch;
use crate::db::budget::MaintenanceBudget;
use crate::db::maintenance::{Turn, Unit};
use crate::db::open::on_storage;
use crate::db::read::get_in_view;
use crate::db::transaction::TransactionOptions;
use crate::db::{Core, Db};
use crate::direction::Direction;
use crate::error::Error;
use crate::file_name::table_name;
use crate::key::KeyRange;
use crate::open_files::OpenFiles;
use crate::options::{BucketOptions, CompressionProfile, DbOptions, DurabilityMode, WriteOptions};
use crate::sequence::Sequence;
use crate::table::Table;
use crate::tree::picker::Goal;
use crate::tree::scan::{Scan, ScanPlan};
use crate::tree::version::{Version, VersionChange};
use crate::tree::view::View;

const MODE: Mode = Mode::Blocking;

/// Freezes after each write, and does nothing by itself.
fn options() -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        write_buffer_bytes: 1,
        max_immutable_memtables: 100,
        durability: DurabilityMode::Buffered,
        ..DbOptions::new("unused")
    }
}

fn open(storage: &Storage) -> Db {
    block_on(on_storage(options(), storage.clone(), MODE)).expect("the database")
}

fn flush_one(core: &Core) -> crate::error::Result<Unit> {
    let trees = core.trees.load();
    let tree = trees.by_name("default").expect("the default bucket");
    block_on(core.flush_oldest(tree, Turn::Wait, MODE))
}

fn maintain(db: &Db) {
    db.run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
        .unwrap();
}

#[test]
fn close_waits_for_jobs_and_none_begins_after_it() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_sync("k", "v").unwrap();
    let core = db.core();
    {
        let trees = core.trees.load();
        let tree = trees.by_name("default").unwrap();
        assert_eq!(flush_one(core).unwrap(), Unit::Done);
        let job = core.claim_for_test(tree, &Goal::Range(KeyRange::all(), Sequence::new(u64::MAX)));
        let mut close = pin!(core.close(MODE));
        let mut second = pin!(core.close(MODE));
        let mut context = Context::from_waker(Waker::noop());
        assert!(close.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(block_on(storage.lock(MODE, "LOCK")).is_err());
        drop(job);
        assert!(close.as_mut().poll(&mut context).is_ready());
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
    let names = block_on(storage.list(MODE)).unwrap();
    assert!(matches!(flush_one(core), Err(Error::Closed)));
    assert_eq!(block_on(storage.list(MODE)).unwrap(), names);
    drop(block_on(storage.lock(MODE, "LOCK")).unwrap());
}

fn names(storage: &Storage, prefix: &str) -> Vec<String> {
    let mut names = block_on(storage.list(MODE)).unwrap();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

#[test]
fn a_table_stays_when_nobody_knows_whether_the_manifest_names_it() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_sync("k", "v").unwrap();
    let persistent = db.core().persistent.as_ref().unwrap();
    block_on(persistent.manifest.take()).refuse_writes();
    assert!(flush_one(db.core()).is_err());
    assert_eq!(names(&storage, "unfinished-").len(), 1);
    // Nor is one built that could not be named.
    assert!(flush_one(db.core()).is_err());
    assert_eq!(names(&storage, "unfinished-").len(), 1);
    assert_eq!(db.get_sync(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    drop(db);
    let db = open(&storage);
    assert_eq!(names(&storage, "unfinished-").len(), 0);
    assert_eq!(db.get_sync(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_failed_compaction_leaves_no_files() {
    let storage = Storage::memory();
    let db = open(&storage);
    let mut state = 1_u64;
    let mut value = || -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
            state.to_be_bytes()[0]
        };
        (0..30_000).map(|_| next()).collect()
    };
    let mut batch = WriteBatch::new();
    for key in ["a", "b", "c"] {
        batch.put(key, value());
    }
    for _ in 0..2 {
        db.write_sync(batch.clone(), WriteOptions::default())
            .unwrap();
        db.flush_sync().unwrap();
    }
    drop(db);
    let damaged = names(&storage, "table-").pop().unwrap();
    let file = block_on(storage.open_write(MODE, &damaged)).unwrap();
    // Not in the first block: something was written when it is met.
    block_on(file.write_at(MODE, 80_000, vec![0xff; 16])).unwrap();
    drop(file);
    let db = open(&storage);
    let before = names(&storage, "");
    assert!(db.compact_range_sync(KeyRange::all()).is_err());
    assert_eq!(names(&storage, ""), before);
}

#[test]
fn a_removal_is_durable_before_the_manifest_forgets_the_file() {
    let storage = Storage::memory();
    let db = open(&storage);
    for value in ["1", "2"] {
        db.put_sync("k", value).unwrap();
    }
    while flush_one(db.core()).unwrap() == Unit::Done {}
    let view = db.core().trees.load().by_name("default").unwrap().pin();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let obsolete = || {
        let persistent = db.core().persistent.as_ref().unwrap();
        block_on(persistent.manifest.take())
            .state()
            .obsolete()
            .len()
    };
    assert_eq!(obsolete(), 2);
    drop(view);
    let synced = || {
        let stats = storage.stats();
        stats.operation(trine_io::Operation::SyncDirectory).requests
    };
    let before = synced();
    while obsolete() > 0 {
        block_on(db.core().remove_obsolete(MODE));
    }
    assert!(synced() > before);
}

/// The thread that flushed deferred views which name the tables of that time, and then does nothing more.
#[test]
fn files_go_though_a_thread_that_published_views_sleeps() {
    let storage = Storage::memory();
    let db = open(&storage);
    let (flushed, awake) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in ["1", "2"] {
                db.put_sync("k", value).unwrap();
                db.flush_sync().unwrap();
            }
            flushed.wait();
            awake.wait();
        });
        flushed.wait();
        db.compact_range_sync(KeyRange::all()).unwrap();
        let tables = || {
            let mut names = block_on(storage.list(MODE)).unwrap();
            names.retain(|name| name.starts_with("table-"));
            names.len()
        };
        // Guards of other tests may be in the way of single attempts.
        let gone = (0..100_000).any(|_| {
            block_on(db.core().remove_obsolete(MODE));
            std::thread::yield_now();
            tables() == 1
        });
        awake.wait();
        assert!(gone);
    });
}

#[test]
fn what_was_committed_before_a_flushed_table_is_synced() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_with_options_sync("k", "v", WriteOptions::buffered())
        .unwrap();
    assert!(db.core().commits.stats().unsynced_bytes > 0);
    assert_eq!(flush_one(db.core()).unwrap(), Unit::Done);
    assert_eq!(db.core().commits.stats().unsynced_bytes, 0);
}

#[test]
fn a_deletion_stays_until_a_commit_whose_future_is_gone_was_validated() {
    let db = open(&Storage::memory());
    db.put_sync("k", "v").unwrap();
    let mut transaction = db.transaction(TransactionOptions::default());
    transaction.get_sync(b"k").unwrap();
    transaction.put("other", "v");
    db.delete_sync("k").unwrap();
    let reads = transaction.into_reads();
    db.flush_sync().unwrap();
    db.compact_range_sync(KeyRange::all()).unwrap();
    let validated = block_on(reads.validate(MODE));
    assert!(matches!(validated, Err(Error::Conflict { .. })));
}

#[test]
fn where_the_next_segment_cannot_be_created_the_log_goes_on_in_the_last() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_sync("k", "v").unwrap();
    // Stands in the way of the next segment.
    drop(block_on(storage.create(MODE, "wal-000002")).unwrap());
    db.flush_sync().unwrap();
    for round in 0..200_u8 {
        db.put_sync([round], vec![round; 1000]).unwrap();
    }
    db.put_sync("k", "w").unwrap();
    block_on(storage.remove(MODE, "wal-000002")).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(names(&storage, "wal-"), ["wal-000002"]);
    drop(db);
    let db = open(&storage);
    assert_eq!(db.get_sync(b"k").unwrap().as_deref(), Some(&b"w"[..]));
}

#[test]
fn a_quiet_bucket_does_not_keep_the_log_for_ever() {
    let storage = Storage::memory();
    let options = DbOptions {
        write_buffer_bytes: 64 << 10,
        ..options()
    };
    let db = block_on(on_storage(options, storage.clone(), MODE)).unwrap();
    db.bucket_sync("quiet").unwrap().put_sync("k", "v").unwrap();
    for round in 0..40_u8 {
        db.put_sync([round], vec![round; 60_000]).unwrap();
        maintain(&db);
        maintain(&db);
    }
    let kept = names(&storage, "wal-").len() as u64;
    assert!(kept <= SEGMENTS_KEPT + 2, "{kept}");
    drop(db);
    let db = open(&storage);
    let quiet = db.bucket_sync("quiet").unwrap();
    assert_eq!(quiet.get_sync(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn opens_do_not_gather_segments() {
    let storage = Storage::memory();
    let db = open(&storage);
    db.put_sync("k", "v").unwrap();
    drop(db);
    for _ in 0..20 {
        drop(open(&storage));
    }
    let db = open(&storage);
    maintain(&db);
    drop(db);
    for _ in 0..20 {
        drop(open(&storage));
    }
    assert_eq!(names(&storage, "wal-").len(), 1);
    let db = open(&storage);
    assert_eq!(db.last_committed_sequence().get(), 1);
    assert_eq!(db.get_sync(b"k").unwrap().as_deref(), Some(&b"v"[..]));
    db.put_sync("k", "w").unwrap();
    assert_eq!(db.last_committed_sequence().get(), 2);
}

/// The view's tables again, none mapped and none of their blocks kept.
fn without_map_and_cache(storage: &Storage, view: &View) -> View {
    let cache = Arc::new(BlockCache::new(0));
    let files = Arc::new(OpenFiles::new(storage.clone(), cache, 1));
    let reopen = |table: &Arc<Table>| {
        let file = block_on(storage.open(MODE, &table_name(table.meta().number))).unwrap();
        block_on(Table::open_unmapped(&file, table.meta(), &files, MODE)).unwrap()
    };
    let mut change = VersionChange::default();
    for (level, tables) in view.version.levels() {
        change
            .added
            .extend(tables.iter().map(|table| (level, reopen(table))));
    }
    View {
        version: Arc::new(Version::checked(&change).unwrap()),
        ..view.clone()
    }
}

#[test]
fn scans_and_lookups_get_on_without_map_and_cache() {
    let storage = Storage::memory();
    let options = DbOptions {
        target_table_bytes: 2_000,
        write_buffer_bytes: 1 << 20,
        max_l0_files: 10,
        default_bucket_options: BucketOptions {
            block_bytes: 150,
            compression: CompressionProfile::None,
            ..BucketOptions::default()
        },
        ..options()
    };
    let db = block_on(on_storage(options, storage.clone(), MODE)).unwrap();
    let mut snapshots = Vec::new();
    for round in 0..4_u8 {
        for key in 0..60_u8 {
            if key % 4 >= round {
                let key = [b'k', key];
                db.put_sync(key, [&key[..], &[round; 30]].concat()).unwrap();
            }
        }
        // Many versions of one key, over several blocks.
        for version in 0..20_u8 {
            db.put_sync([b'k', 30], [version; 40]).unwrap();
            snapshots.push(db.snapshot());
        }
        let from = round * 11;
        db.delete_range_sync(KeyRange::half_open([b'k', from], [b'k', from + 7]))
            .unwrap();
        snapshots.push(db.snapshot());
        db.flush_sync().unwrap();
        if round < 2 {
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
    }
    let tree = Arc::clone(db.core().trees.load().by_name("default").unwrap());
    let mapped = tree.pin();
    assert!(mapped.version.level(0).len() > 1 && mapped.version.level(1).len() > 2);
    let bare = without_map_and_cache(&storage, &mapped);
    let ranges = (0..62_u8).step_by(7).flat_map(|start| {
        (start..62).step_by(9).map(move |end| KeyRange {
            start: Bound::Excluded(vec![b'k', start]),
            end: Bound::Included(vec![b'k', end]),
        })
    });
    let ranges: Vec<_> = ranges.chain([KeyRange::all()]).collect();
    for snapshot in snapshots.iter().step_by(6) {
        let sequence = snapshot.read_sequence();
        for key in 0..62_u8 {
            let get = |view: &View| {
                get_in_view(view, &[b'k', key], sequence, MODE, |value| {
                    Ok(value.into_vec())
                })
                .here()
                .unwrap()
            };
            assert_eq!(get(&bare), get(&mapped), "{key} at {sequence:?}");
        }
        for direction in [Direction::Forward, Direction::Reverse] {
            for range in &ranges {
                let rows = |view: &View| {
                    let plan = ScanPlan {
                        range: range.clone(),
                        direction,
                        sequence,
                        prefix: None,
                    };
                    let mut scan = Scan::new(view.clone(), plan);
                    let mut rows = Vec::new();
                    while block_on(scan.advance(MODE)).unwrap() {
                        let (key, value) = scan.row().unwrap();
                        rows.push((key.to_vec(), value.to_vec()));
                        if rows.len() % 5 == 0 {
                            scan = scan.fork();
                        }
                    }
                    rows
                };
                assert_eq!(
                    rows(&bare),
                    rows(&mapped),
                    "{range:?} {direction:?} {sequence:?}"
                );
            }
        }
    }
}

/// Operations that make others wait for the disk's metadata.
const SLOW: [Operation; 6] = [
    Operation::Create,
    Operation::Rename,
    Operation::Remove,
    Operation::SetLen,
    Operation::SyncDirectory,
    Operation::SyncAll,
];

#[test]
fn whoever_leads_commits_makes_names_and_removes_no_file() {
    static SEEN: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    fn watch(operation: Operation) {
        if SLOW.contains(&operation) {
            SEEN[usize::from(crate::commit::LEADS.get())].fetch_add(1, Relaxed);
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable(directory.path());
    let options = DbOptions {
        background_worker_count: 2,
        write_buffer_bytes: 64 << 10,
        ..options()
    };
    let db = block_on(on_storage(options, storage.clone(), MODE)).unwrap();
    storage.watch(watch);
    std::thread::scope(|scope| {
        for thread in 0..2_u8 {
            let db = &db;
            scope.spawn(move || {
                for round in 0..150_u8 {
                    let durability = if round % 50 == 0 {
                        WriteOptions::sync_all()
                    } else {
                        WriteOptions::buffered()
                    };
                    db.put_with_options_sync([thread, round], vec![round; 2_000], durability)
                        .unwrap();
                    if round % 70 == 0 {
                        db.flush_sync().unwrap();
                    }
                }
            });
        }
    });
    let [elsewhere, leading] = [&SEEN[0], &SEEN[1]].map(|count| count.load(Relaxed));
    assert!(db.core().commits.supply().unwrap().current() > 3);
    assert!(elsewhere > 10, "{elsewhere}");
    assert_eq!(leading, 0);
}
