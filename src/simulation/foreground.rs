//! What background work does at the host, commits do not wait for: at every place where a flush or a compaction waits
//! for an operation of the host, a commit that needs none is done at its first poll.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use trine_io::Mode;
use trine_io::simulation::Simulation;

use crate::db::Db;
use crate::db::maintenance::Turn;
use crate::epoch::alone;
use crate::error::Result;
use crate::key::KeyRange;
use crate::options::DbOptions;
use crate::sequence::Sequence;
use crate::simulation::{HERE, empty_disk, open_with, options};
use crate::tree::picker::Goal;

/// Room for what the test commits, so that no commit waits for maintenance itself.
fn roomy() -> DbOptions {
    DbOptions {
        write_buffer_bytes: 1 << 20,
        max_immutable_memtables: 1000,
        max_l0_files: 1000,
        ..options()
    }
}

/// Polls `work` to its end, with a commit wherever it waits. How often it waited.
fn commit_beside(db: &Db, simulation: &Simulation, work: impl Future<Output = Result<()>>) -> u64 {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    let mut waits = 0;
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            done.expect("nothing fails");
            return waits;
        }
        waits += 1;
        let key = format!("beside{waits}");
        let mut commit = pin!(db.put(key, "value"));
        let polled = commit.as_mut().poll(&mut context);
        assert!(
            matches!(polled, Poll::Ready(Ok(()))),
            "wait {waits}: {polled:?}"
        );
        assert!(simulation.step(), "something is under way");
    }
}

#[test]
fn a_commit_waits_for_nothing_that_a_flush_or_a_compaction_does_at_the_host() {
    alone(|| {
        let simulation = Simulation::new(empty_disk(), 1);
        let db = open_with(roomy(), &simulation, HERE).expect("an empty directory");
        let home = db.default_bucket_sync().expect("always there");
        let tree = home.tree();
        // Until the log lies in a file that was made ready, and mapped: commits store into it.
        for _ in 0..3 {
            db.put_sync("long", vec![0; 40 << 10])
                .expect("nothing fails");
        }
        db.flush_sync().expect("nothing fails");
        for table in 0..3 {
            for row in 0..20 {
                let key = format!("{row}");
                db.put_sync(key, format!("{table}")).expect("nothing fails");
            }
            tree.freeze();
            simulation.defer();
            let flush = async {
                let flushed = db.core().flush_oldest(tree, Turn::Wait, Mode::Cooperative);
                flushed.await.map(drop)
            };
            assert!(commit_beside(&db, &simulation, flush) > 5);
        }
        let compaction = async {
            let goal = Goal::Range(KeyRange::all(), Sequence::new(u64::MAX));
            let units = db
                .core()
                .compact_units(&goal, usize::MAX, Turn::Wait, Mode::Cooperative);
            units.await.map(drop)
        };
        assert!(commit_beside(&db, &simulation, compaction) > 5);
    });
}
