//! What reading from disk does to a service that shares its one thread with it.
//!
//! One executor on one thread serves eight clients, each of which reads rows that are on disk only, and
//! ticks every millisecond beside them. Printed is how late the ticks came: for `Db::get`, and for a
//! service that calls the blocking `Db::get_sync` inside its tasks.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

mod common;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{BATCH_ROWS, Random, VALUE_BYTES, forget_pages, key, value};
use trine_kv::{Db, DbOptions, DurabilityMode, WriteBatch, WriteOptions};

const ROWS: u64 = 400_000;
const CLIENTS: u64 = 8;
const READS_PER_CLIENT: u64 = 500;
const TICK: Duration = Duration::from_millis(1);

fn open(path: &Path) -> Db {
    let options = DbOptions::new(path).with_durability(DurabilityMode::Buffered);
    Db::open_sync(options).expect("opened")
}

/// How late ticks were, and how many rows were read in a second.
struct Service {
    worst: Duration,
    late: u64,
    ticks: u64,
    rate: f64,
}

fn serve(path: &Path, blocking: bool) -> Service {
    forget_pages(path);
    let db = open(path);
    let executor = smol::LocalExecutor::new();
    let running = Rc::new(Cell::new(CLIENTS));
    let started = Instant::now();
    for client in 0..CLIENTS {
        let (db, running) = (db.clone(), Rc::clone(&running));
        executor
            .spawn(async move {
                let mut random = Random::new(client);
                for _ in 0..READS_PER_CLIENT {
                    let row = random.below(ROWS);
                    let found = if blocking {
                        db.get_sync(&key(row)).expect("read")
                    } else {
                        db.get(&key(row)).await.expect("read")
                    };
                    assert_eq!(found, Some(value(row, VALUE_BYTES)));
                    smol::future::yield_now().await;
                }
                running.set(running.get() - 1);
            })
            .detach();
    }
    let mut service = Service {
        worst: Duration::ZERO,
        late: 0,
        ticks: 0,
        rate: 0.0,
    };
    smol::block_on(executor.run(async {
        while running.get() > 0 {
            let due = Instant::now() + TICK;
            smol::Timer::at(due).await;
            let lateness = due.elapsed();
            service.worst = service.worst.max(lateness);
            service.late += u64::from(lateness > TICK);
            service.ticks += 1;
        }
    }));
    let reads = u32::try_from(CLIENTS * READS_PER_CLIENT).expect("a count");
    service.rate = f64::from(reads) / started.elapsed().as_secs_f64();
    db.close_sync();
    service
}

fn main() {
    // `cargo test --benches` asks for a look, not for a measurement.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let db = open(home.path());
    let mut batch = WriteBatch::new();
    for index in 0..ROWS {
        let row = index * 7919 % ROWS;
        batch.put(key(row), value(row, VALUE_BYTES));
        if batch.len() as u64 == BATCH_ROWS {
            let full = std::mem::take(&mut batch);
            db.write_sync(full, WriteOptions::buffered())
                .expect("written");
        }
    }
    db.write_sync(batch, WriteOptions::buffered())
        .expect("written");
    db.flush_sync().expect("flushed");
    db.close_sync();
    drop(db);
    println!(
        "\n| service | longest stall | ticks late by more than 1 ms | reads/s |\n|---|--:|--:|--:|"
    );
    for (name, blocking) in [("`get`", false), ("blocking `get_sync`", true)] {
        let service = serve(home.path(), blocking);
        println!(
            "| {name} | {:.2} ms | {} of {} | {:.0} |",
            service.worst.as_secs_f64() * 1e3,
            service.late,
            service.ticks,
            service.rate
        );
    }
}
