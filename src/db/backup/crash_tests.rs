//! Every place where making, pruning or restoring backups can be cut off, and every operation that can fail there.
//!
//! Whatever is left: each backup that is listed is whole, each that was promised is listed, and the next one
//! is made.

use trine_io::simulation::{Disk, Failure, Faults, Simulation, Step};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::db::Db;
use crate::db::backup::store::Store;
use crate::db::backup::tests::{MODE, back_up, ids, open, restored, rows};
use crate::db::backup::{BackupId, BackupReport};
use crate::error::Result;
use crate::key::KeyRange;

const HERE: &str = "database";
const BACKUPS: &str = "backups";
const RESTORED: &str = "restored";

fn empty() -> Simulation {
    let mut disk = Disk::default();
    disk.apply(&Step::MakeDirectory { path: HERE.into() });
    Simulation::new(disk, 7)
}

fn store(simulation: &Simulation) -> Store {
    Store::new(simulation.storage(BACKUPS))
}

/// Rows whose presence tells how far the database had come.
fn write(db: &Db, round: u8) -> Result<()> {
    db.put_sync([round], vec![round; 20])?;
    db.put_sync(b"large", vec![round; 300])?;
    if round == 2 {
        db.compact_range_sync(KeyRange::all())?;
    }
    Ok(())
}

fn expect(db: &Db, round: u8) {
    let rows = rows(db);
    assert_eq!(rows.len(), usize::from(round) + 2);
    assert_eq!(rows[&b"large"[..]], vec![round; 300]);
}

/// What is listed is whole; what is promised is listed. Backup n holds round n - 1.
fn check(simulation: &Simulation, promised: &[u64]) {
    let store = store(simulation);
    let listed = ids(&store);
    for id in promised {
        assert!(listed.contains(&BackupId::new(*id)), "{id} of {promised:?}");
    }
    for id in listed {
        block_on(store.verify(id, MODE)).unwrap();
        let round = u8::try_from(id.get() - 1).unwrap();
        if promised.contains(&id.get()) {
            expect(&restored(&store, id).unwrap(), round);
        }
    }
}

/// What a crash can leave of a disk.
fn crashes(disk: &Disk, random: &mut Random) -> Vec<Disk> {
    vec![
        disk.process_end(),
        disk.power_loss(&mut |_| false),
        disk.power_loss(&mut |_| true),
        disk.power_loss(&mut |_| random.below(2) == 0),
        disk.power_loss(&mut |_| random.below(2) == 0),
    ]
}

/// Cuts the run after `first` changes off everywhere. `promised` tells which backups there must be after so many.
fn cut_everywhere(
    start: &Disk,
    simulation: &Simulation,
    first: usize,
    promised: impl Fn(usize) -> Vec<u64>,
    mut look: impl FnMut(&Simulation),
) {
    let mut random = Random::new(3);
    let mut disk = start.clone();
    for (done, step) in simulation.steps().iter().enumerate() {
        if done >= first {
            for left in crashes(&disk, &mut random) {
                let left = Simulation::new(left, 1);
                check(&left, &promised(done));
                look(&left);
            }
        }
        disk.apply(step);
    }
}

#[test]
fn a_crash_while_backups_are_made_and_pruned_leaves_whole_ones() {
    let simulation = empty();
    let start = simulation.disk();
    let (db, store) = (open(&simulation.storage(HERE)).unwrap(), store(&simulation));
    let mut promises = Vec::new();
    for round in 0..3_u8 {
        write(&db, round).unwrap();
        back_up(&db, &store).unwrap();
        promises.push((simulation.changes(), (1..=u64::from(round) + 1).collect()));
    }
    let pruning = simulation.changes();
    promises.push((pruning, vec![2, 3]));
    block_on(store.prune(2, MODE)).unwrap();
    let promised = |done: usize| -> Vec<u64> {
        let last = promises.iter().rfind(|(changes, _)| *changes <= done);
        last.map(|(_, ids)| ids.clone()).unwrap_or_default()
    };
    let mut looked = 0;
    cut_everywhere(&start, &simulation, 0, promised, |left| {
        looked += 1;
        // The next one is made, and what was left over goes.
        if looked % 8 == 0 {
            let store = Store::new(left.storage(BACKUPS));
            let db = open(&left.storage(HERE)).unwrap();
            let id = back_up(&db, &store).unwrap().backup.id;
            assert_eq!(rows(&restored(&store, id).unwrap()), rows(&db));
            block_on(store.prune(1, MODE)).unwrap();
            let generation = block_on(store.read(id, MODE)).unwrap();
            let data = block_on(store.contents(MODE)).unwrap().data.len();
            assert_eq!(data, generation.files.len());
        }
    });
    assert!(looked > 300, "{looked}");
}

#[test]
fn a_crash_while_restoring_leaves_the_backup_and_no_half_database() {
    let simulation = empty();
    let start = simulation.disk();
    let db = open(&simulation.storage(HERE)).unwrap();
    let store = store(&simulation);
    write(&db, 0).unwrap();
    let id = back_up(&db, &store).unwrap().backup.id;
    let first = simulation.changes();
    block_on(store.restore(id, &simulation.storage(RESTORED), MODE)).unwrap();
    let mut whole = 0;
    cut_everywhere(
        &start,
        &simulation,
        first,
        |_| vec![1],
        |left| {
            let storage = left.storage(RESTORED);
            let has_files = block_on(storage.list(MODE))
                .is_ok_and(|names| names.iter().any(|name| name.starts_with("table-")));
            match open(&storage) {
                Ok(db) if has_files => {
                    expect(&db, 0);
                    whole += 1;
                }
                // Nothing had been put there.
                Ok(db) => assert!(rows(&db).is_empty()),
                Err(error) => assert!(error.to_string().contains("CURRENT is missing"), "{error}"),
            }
        },
    );
    assert!(whole > 0);
    expect(&open(&simulation.storage(RESTORED)).unwrap(), 0);
}

/// A backup of the second round where all operations from number `first` on, so many of them, fail.
fn fail(first: u64, count: u64, failure: Failure) -> (Simulation, Result<BackupReport>) {
    let simulation = empty();
    let (db, store) = (open(&simulation.storage(HERE)).unwrap(), store(&simulation));
    write(&db, 0).unwrap();
    back_up(&db, &store).unwrap();
    write(&db, 1).unwrap();
    let first = simulation.operations() + first;
    simulation.set_faults(Faults::Numbered {
        first,
        count,
        failure,
    });
    let made = back_up(&db, &store);
    simulation.set_faults(Faults::None);
    (simulation, made)
}

#[test]
fn whatever_fails_while_a_backup_is_made_the_earlier_one_stays_and_the_next_works() {
    let mut failed = 0;
    for failure in [Failure::Io, Failure::Full] {
        for count in [1, u64::MAX] {
            let mut first = 0;
            loop {
                let (simulation, made) = fail(first, count, failure);
                check(&simulation, &[1]);
                if made.is_ok() && count == u64::MAX {
                    break;
                }
                failed += u32::from(made.is_err());
                // The flush may have failed for good: so the database is opened again.
                let db = open(&simulation.storage(HERE)).unwrap();
                let report = back_up(&db, &store(&simulation)).unwrap();
                let id = report.backup.id;
                expect(&restored(&store(&simulation), id).unwrap(), 1);
                if made.is_ok() && simulation.injected() == 0 {
                    break;
                }
                first += 1;
            }
        }
    }
    assert!(failed > 60, "{failed}");
}

#[test]
fn what_a_backup_that_was_cut_short_had_copied_is_used_again() {
    let mut reused = 0;
    for first in 0.. {
        let (simulation, made) = fail(first, u64::MAX, Failure::Dead);
        if made.is_ok() {
            break;
        }
        let left = Simulation::new(simulation.disk().process_end(), 1);
        let store = store(&left);
        let named = block_on(store.read(BackupId::new(1), MODE)).unwrap();
        let there = block_on(store.contents(MODE)).unwrap().data.len();
        let ready = there - named.files.len();
        let db = open(&left.storage(HERE)).unwrap();
        let report = back_up(&db, &store).unwrap();
        // A table and a blob file are new.
        let was_flushed = report.backup.files == 4 && report.copied_files <= 2;
        assert!(was_flushed, "{report:?}");
        assert_eq!(report.copied_files, 2 - ready.min(2));
        reused += ready;
    }
    assert!(reused > 0);
}
