//! What is exported is what is imported, wherever; what is not all there is nothing.

use trine_io::simulation::{Simulation, Unsynced};
use trine_io::{Mode, Storage};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::db::Db;
use crate::db::archive::Import;
use crate::db::archive::format::{Encoder, Kind};
use crate::db::open::on_storage;
use crate::error::{Error, Result};
use crate::options::{BucketOptions, DbOptions, DurabilityMode};
use crate::testing::simulated;
use crate::types::{KeyRange, KeyValue};

const MODE: Mode = Mode::Blocking;

fn options() -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        // The most that a browser promises.
        durability: DurabilityMode::Flush,
        ..DbOptions::new("unused")
    }
}

fn open(storage: &Storage) -> Result<Db> {
    block_on(on_storage(options(), storage.clone(), MODE))
}

fn begin(storage: &Storage) -> Result<Import> {
    block_on(Import::into_storage(options(), storage.clone(), MODE))
}

fn large() -> BucketOptions {
    BucketOptions {
        blob_threshold_bytes: 100,
        ..BucketOptions::default()
    }
}

/// A database with several tables, a blob file, a range delete, and commits that are in the log only.
fn filled(storage: &Storage) -> Db {
    let db = open(storage).unwrap();
    let other = db.bucket_with_options_sync("large", large()).unwrap();
    for number in 0..300_u32 {
        db.put_sync(number.to_be_bytes(), vec![1; 20]).unwrap();
        if number % 100 == 0 {
            other.put_sync(number.to_be_bytes(), vec![2; 5000]).unwrap();
            db.flush_sync().unwrap();
        }
    }
    db.delete_range_sync(KeyRange::half_open(
        50_u32.to_be_bytes(),
        60_u32.to_be_bytes(),
    ))
    .unwrap();
    db
}

fn rows(db: &Db) -> Vec<KeyValue> {
    let other = db.bucket_with_options_sync("large", large()).unwrap();
    let rows = db.range_sync(&KeyRange::all()).unwrap();
    let rows = rows.chain(other.range_sync(&KeyRange::all()).unwrap());
    rows.collect::<Result<_>>().unwrap()
}

fn exported(db: &Db) -> Vec<u8> {
    let portions: Vec<_> = db.export_sync().unwrap().collect::<Result<_>>().unwrap();
    portions.concat()
}

#[test]
fn a_database_is_the_same_elsewhere_in_whatever_portions_it_comes() {
    let db = filled(&Storage::memory());
    let archive = exported(&db);
    for portion_bytes in [1, 1000, archive.len()] {
        for is_in_a_browser in [false, true] {
            let host = Storage::memory();
            let place = || {
                if is_in_a_browser {
                    Storage::image(&host).unwrap()
                } else {
                    host.clone()
                }
            };
            let mut import = begin(&place()).unwrap();
            for portion in archive.chunks(portion_bytes) {
                import.write_sync(portion).unwrap();
            }
            let copy = import.finish_sync().unwrap();
            assert_eq!(rows(&copy), rows(&db));
            assert_eq!(copy.last_committed_sequence(), db.last_committed_sequence());
            copy.verify_sync(|_| ()).unwrap();
            copy.put_sync("new", "row").unwrap();
            copy.close_sync();
            assert_eq!(rows(&open(&place()).unwrap()).len(), rows(&db).len() + 1);
        }
    }
}

#[test]
fn an_export_is_of_one_commit_whatever_is_written_meanwhile() {
    let db = filled(&Storage::memory());
    let before = rows(&db);
    let mut export = db.export_sync().unwrap();
    assert_eq!(export.sequence(), db.last_committed_sequence());
    let place = Storage::memory();
    let mut import = begin(&place).unwrap();
    while let Some(portion) = export.next_sync() {
        import.write_sync(&portion.unwrap()).unwrap();
        db.put_sync("meanwhile", "written").unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
    }
    assert_eq!(rows(&import.finish_sync().unwrap()), before);
}

#[test]
fn an_archive_that_ends_early_leaves_nothing_and_room_for_another() {
    let archive = exported(&filled(&Storage::memory()));
    let place = Storage::memory();
    for length in (0..archive.len()).step_by(997) {
        let mut import = begin(&place).unwrap();
        import.write_sync(&archive[..length]).unwrap();
        assert!(matches!(
            import.finish_sync(),
            Err(Error::InvalidFormat { .. })
        ));
    }
    let db = open(&place).unwrap();
    assert_eq!(rows(&db), []);
    assert!(
        matches!(begin(&place), Err(Error::Corruption { .. })),
        "held"
    );
    db.close_sync();
    assert!(matches!(begin(&place), Err(Error::InvalidOptions { .. })));
}

#[test]
fn damage_is_an_error_and_nothing_is_taken_after_it() {
    let archive = exported(&filled(&Storage::memory()));
    let mut random = Random::new(1);
    for _ in 0..200 {
        let mut damaged = archive.clone();
        let at = usize::try_from(random.below(archive.len() as u64)).unwrap();
        damaged[at] ^= 1 << random.below(8);
        let mut import = begin(&Storage::memory()).unwrap();
        assert!(import.write_sync(&damaged).is_err(), "byte {at}");
        assert!(matches!(import.write_sync(&archive), Err(Error::Closed)));
        assert!(matches!(import.finish_sync(), Err(Error::Closed)));
    }
}

#[test]
fn only_files_of_a_database_in_their_order_are_accepted() {
    let file = |name: &'static str| (Kind::File, name);
    let bytes = (Kind::Bytes, "bytes");
    let end = (Kind::End, "");
    for pieces in [
        &[file("../elsewhere")][..],
        &[file("LOCK")],
        &[file("wal-000001")],
        &[file("table-7.trinet")],
        &[file("")],
        &[bytes],
        &[end],
        &[file("table-000001.trinet"), bytes, end],
        &[file("CURRENT"), bytes, file("table-000001.trinet")],
        &[file("table-000001.trinet"), file("blob-000001.trineb")],
    ] {
        let mut encoder = Encoder::default();
        let mut archive = encoder.header().unwrap();
        for (kind, bytes) in pieces {
            archive.extend(encoder.piece(*kind, bytes.as_bytes()));
        }
        let mut import = begin(&Storage::memory()).unwrap();
        assert!(import.write_sync(&archive).is_err(), "{pieces:?}");
    }
}

#[test]
fn a_crash_at_any_step_of_an_import_leaves_all_of_it_or_nothing() {
    let db = filled(&Storage::memory());
    let (archive, all) = (exported(&db), rows(&db));
    let (simulation, place) = simulated();
    let start = simulation.disk();
    let mut import = begin(&place).unwrap();
    import.write_sync(&archive).unwrap();
    drop(import.finish_sync().unwrap());
    let steps = simulation.steps();
    let mut random = Random::new(1);
    let mut disk = start;
    let mut complete = 0;
    for step in &steps {
        disk.apply(step);
        let mut by_chance = |_: Unsynced| random.below(2) == 0;
        for left in [
            disk.process_end(),
            disk.power_loss(&mut |_| false),
            disk.power_loss(&mut by_chance),
        ] {
            let db = open(&Simulation::new(left, 0).storage("here")).unwrap();
            let found = rows(&db);
            assert!(found.is_empty() || found == all);
            complete += usize::from(!found.is_empty());
        }
    }
    assert!(complete > 0);
}
