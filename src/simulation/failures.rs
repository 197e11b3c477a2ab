//! Every operation of the host failing, one run for each: by an error of the disk or for want of space, once and from
//! then on for good.
//!
//! While it fails, calls give typed errors and reads go on. When it has stopped, an opening finds what was promised,
//! also if the power went meanwhile, and every call and job finishes.

use trine_io::Mode;
use trine_io::simulation::{Failure, Faults, Simulation};
use trine_platform::block_on;
use trine_platform::random::Random;

use crate::db::open::on_storage;
use crate::error::Error;
use crate::key::KeyRange;
use crate::options::{DbOptions, DurabilityMode};
use crate::simulation::workload::{Act, Run};
use crate::simulation::workloads::{test_each_workload, workload};
use crate::simulation::{HERE, empty_disk, open_with, options};
use crate::testing::{fail_next, simulated};

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    runs: u64,
    injected: u64,
}

/// Every way in which operation `first`, and those after it, can fail.
fn faults(first: u64) -> impl Iterator<Item = Faults> {
    [Failure::Io, Failure::Full]
        .into_iter()
        .flat_map(move |failure| {
            [1, u64::MAX]
                .into_iter()
                .map(move |count| Faults::Numbered {
                    first,
                    count,
                    failure,
                })
        })
}

/// Whether the error tells of a failing host, and of nothing worse.
fn is_typed(error: &Error) -> bool {
    matches!(error, Error::Io(_))
}

/// A power loss now leaves what was promised, whatever of the rest survives.
fn survives_power_loss(run: &Run, random: &mut Random) -> Result<(), String> {
    let disk = run.simulation.disk();
    for one_in in [1, 2, u64::MAX] {
        let left = disk.power_loss(&mut |_| random.below(one_in) == 0);
        let db = open_with(run.options.clone(), &Simulation::new(left, 0), HERE)
            .map_err(|error| format!("refused: {error}"))?;
        run.history.check(&db, run.now(true))?;
    }
    Ok(())
}

/// A run whose host fails as told, and what comes after.
fn fail(acts: &[Act], faults: Faults, seed: u64) -> Result<Found, String> {
    let simulation = Simulation::new(empty_disk(), seed);
    let mut random = Random::new(seed);
    simulation.set_faults(faults);
    let mut run = Run::new(simulation.clone());
    for act in acts {
        if let Err(error) = run.act(act)
            && !is_typed(&error)
        {
            return Err(format!("{act:?}: {error}"));
        }
    }
    simulation.set_faults(Faults::None);
    if let Some(db) = &run.db {
        let seen = run.history.check(db, run.now(false));
        seen.map_err(|found| format!("while it is open: {found}"))?;
    }
    survives_power_loss(&run, &mut random).map_err(|found| format!("power lost: {found}"))?;
    run.close();
    survives_power_loss(&run, &mut random)
        .map_err(|found| format!("power lost, closed: {found}"))?;
    for act in acts.iter().filter(|act| **act != Act::Checkpoint) {
        run.act(act)
            .map_err(|error| format!("{act:?} after the failures: {error}"))?;
    }
    run.close();
    survives_power_loss(&run, &mut random)
        .map_err(|found| format!("power lost, again: {found}"))?;
    Ok(Found {
        runs: 1,
        injected: simulation.injected(),
    })
}

/// How many operations the workload takes where nothing fails.
fn operations(acts: &[Act]) -> u64 {
    let simulation = Simulation::new(empty_disk(), 0);
    let mut run = Run::new(simulation.clone());
    for act in acts {
        run.act(act)
            .unwrap_or_else(|error| panic!("{act:?}: {error}"));
    }
    run.close();
    simulation.operations()
}

/// In the default suite one operation in so many.
const ONE_IN: usize = 24;

fn every_operation_may_fail(name: &str) {
    let acts = workload(name);
    let mut found = Found::default();
    for first in (0..operations(&acts)).step_by(ONE_IN) {
        for faults in faults(first) {
            let one = fail(&acts, faults.clone(), first);
            let one = one.unwrap_or_else(|message| panic!("{name}, {faults:?}: {message}"));
            found.runs += one.runs;
            found.injected += one.injected;
        }
    }
    println!("{name}: {found:?}");
}

test_each_workload!(every_operation_may_fail);

#[test]
fn a_commit_that_the_log_has_no_room_for_fails_alone_and_takes_no_sequence() {
    for durability in [DurabilityMode::Buffered, DurabilityMode::SyncData] {
        let (simulation, storage) = simulated();
        let options = DbOptions {
            durability,
            ..options()
        };
        let open = || block_on(on_storage(options.clone(), storage.clone(), Mode::Blocking));
        let db = open().unwrap();
        for round in 0..5_u8 {
            db.put_sync([round], [round]).unwrap();
        }
        for _ in 0..3 {
            fail_next(&simulation, 1, Failure::Full);
            match db.put_sync("refused", "v") {
                Err(Error::Io(error)) => assert_eq!(error.kind(), std::io::ErrorKind::StorageFull),
                other => panic!("{other:?}"),
            }
        }
        let stats = db.core().commits.stats();
        assert_eq!((stats.visible, stats.allocated, stats.skipped), (5, 5, 0));
        db.put_sync([5], [5]).unwrap();
        fail_next(&simulation, u64::MAX, Failure::Full);
        assert!(db.put_sync("refused", "v").is_err());
        // It could not be taken back either: nothing is written until the next open.
        fail_next(&simulation, 0, Failure::Full);
        assert!(db.put_sync("refused", "v").is_err());
        assert_eq!(db.get_sync(&[5]).unwrap().unwrap(), [5]);
        drop(db);
        assert_eq!(
            open()
                .unwrap()
                .range_sync(&KeyRange::all())
                .unwrap()
                .count(),
            6
        );
    }
}

#[test]
fn after_a_removal_of_unknown_outcome_no_commit_is_acknowledged_that_it_would_take_away() {
    let mut failed = 0;
    for skipped in 0..4 {
        let (simulation, storage) = simulated();
        let options = DbOptions {
            durability: DurabilityMode::SyncAll,
            ..options()
        };
        let open = || block_on(on_storage(options.clone(), storage.clone(), Mode::Blocking));
        let db = open().unwrap();
        let bucket = db.bucket_sync("bucket").unwrap();
        simulation.set_faults(Faults::Numbered {
            first: simulation.operations() + skipped,
            count: 1,
            failure: Failure::Io,
        });
        let removed = db.drop_bucket_sync("bucket");
        simulation.set_faults(Faults::None);
        if removed.is_ok() {
            continue;
        }
        failed += 1;
        let acknowledged = bucket.put_sync("key", "value").is_ok();
        drop((bucket, db));
        let db = open().unwrap();
        let is_there = db
            .bucket_names()
            .iter()
            .any(|name| name.as_str() == "bucket");
        assert!(is_there || !acknowledged, "operation {skipped}");
    }
    assert!(failed > 1, "{failed} operations of a removal failed");
}

/// How long the manifest of the directory is.
fn manifest_bytes(simulation: &Simulation) -> u64 {
    let storage = simulation.storage(HERE);
    let names = block_on(storage.list(Mode::Blocking)).expect("nothing fails");
    let mut names = names.iter().filter(|name| name.starts_with("MANIFEST"));
    let name = names.next().expect("there is one");
    let file = block_on(storage.open(Mode::Blocking, name)).expect("nothing fails");
    block_on(file.len(Mode::Blocking)).expect("nothing fails")
}

/// Opens and closes.
fn pass(options: &DbOptions, simulation: &Simulation) {
    let db = open_with(options.clone(), simulation, HERE).expect("nothing fails");
    block_on(db.core().close(Mode::Blocking)).expect("nothing fails");
}

#[test]
fn what_was_opened_can_be_flushed_whatever_failed_meanwhile() {
    let simulation = Simulation::new(empty_disk(), 0);
    let options = options();
    pass(&options, &simulation);
    let first = manifest_bytes(&simulation);
    pass(&options, &simulation);
    let step = manifest_bytes(&simulation) - first;
    // Until the next opening's edit makes the manifest roll over.
    while manifest_bytes(&simulation) + step < 4096 {
        pass(&options, &simulation);
    }
    let before = simulation.disk();
    let operations = simulation.operations();
    pass(&options, &simulation);
    assert!(manifest_bytes(&simulation) < 4096, "it rolled over");
    let mut refused = 0;
    for first in 0..simulation.operations() - operations {
        let simulation = Simulation::new(before.clone(), first);
        simulation.set_faults(Faults::Numbered {
            first,
            count: 1,
            failure: Failure::Io,
        });
        let opened = open_with(options.clone(), &simulation, HERE);
        simulation.set_faults(Faults::None);
        match opened {
            Ok(db) => {
                db.put_sync("key", "value").unwrap();
                let flushed = db.flush_sync();
                flushed.unwrap_or_else(|error| panic!("operation {first}: {error}"));
            }
            Err(error) => {
                assert!(is_typed(&error), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 1, "{refused} openings failed");
}

#[test]
fn what_an_opening_finds_survives_power_loss_though_the_sync_of_it_had_failed() {
    let (simulation, storage) = simulated();
    let open = || block_on(on_storage(options(), storage.clone(), Mode::Blocking));
    drop(open().unwrap());
    let disk = simulation.disk();
    let open = |simulation: &Simulation| {
        let storage = simulation.storage("here");
        block_on(on_storage(options(), storage, Mode::Blocking)).unwrap()
    };
    let mut found_after_a_failure = 0;
    // What a failed sync forgets depends on the seed. A bucket is made by a write and a sync.
    for (seed, operation) in (0..64_u64).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let simulation = Simulation::new(disk.clone(), seed);
        let db = open(&simulation);
        // So that the edit that is lost ends in another sector than the next one begins in, now and then.
        for number in 0..seed % 4 {
            let name = format!("{number}{}", "a".repeat(100));
            db.bucket_sync(name.as_str()).unwrap();
        }
        let before = db.bucket_names().len();
        simulation.set_faults(Faults::Numbered {
            first: simulation.operations() + operation,
            count: 1,
            failure: Failure::Io,
        });
        assert!(db.bucket_sync("b".repeat(200).as_str()).is_err());
        simulation.set_faults(Faults::None);
        drop(db);
        let found = open(&simulation).bucket_names();
        found_after_a_failure += u32::from(found.len() > before);
        let left = simulation.disk().power_loss(&mut |_| false);
        let kept = open(&Simulation::new(left, 0)).bucket_names();
        assert_eq!(kept, found, "seed {seed}, operation {operation}");
    }
    assert!(found_after_a_failure > 0);
}
