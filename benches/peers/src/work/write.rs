//! Workloads that write.

use std::time::Duration;

use super::check::{Rows, Seen, join};
use super::{NO_LIMIT, Outcome, Run, Work};
use crate::data::{Data, key};
use crate::engine::{Direction, Engine, Range, Reader, Result};
use crate::measure::{Meter, Timing};

const SYNCING_THREADS: u64 = 8;
const DELETED_RANGES: u64 = 100;

impl Run {
    pub(super) fn puts<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
        operations: u64,
        row: &dyn Fn(u64) -> u64,
    ) -> Result<Timing> {
        let mut value = Vec::new();
        // What others read must be complete.
        let limit = if self.work == Work::FillLarge {
            NO_LIMIT
        } else {
            self.limit
        };
        let mut meter = Meter::new(1, limit)?;
        for index in 0..operations {
            let row = row(index);
            data.fill(row, &mut value);
            engine.put(&key(row), &value)?;
            if !meter.lap() {
                break;
            }
        }
        meter.stop()
    }

    pub(super) fn puts_of_threads<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
    ) -> Result<(Outcome, Option<Rows>)> {
        let timings = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..SYNCING_THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let row = |index| data.permuted(index * SYNCING_THREADS + thread);
                        self.puts(engine, data, data.rows / SYNCING_THREADS, &row)
                    })
                })
                .collect();
            threads.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        let filled: Vec<_> = (0..SYNCING_THREADS)
            .zip(&timings)
            .flat_map(|(thread, timing)| {
                (0..timing.operations).map(move |index| index * SYNCING_THREADS + thread)
            })
            .collect();
        let expected = Rows::of(filled.into_iter().map(|index| data.permuted(index)), data);
        Ok((Timing::side_by_side(timings)?.into(), Some(expected)))
    }

    pub(super) fn batches<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
        batch: usize,
        row: &dyn Fn(u64) -> u64,
        limit: Duration,
    ) -> Result<Timing> {
        let mut meter = Meter::new(1, limit)?;
        let mut rows = Vec::with_capacity(batch);
        let mut done = 0;
        while done < data.rows {
            rows.clear();
            rows.extend((done..data.rows).take(batch).map(row));
            engine.put_rows(data, &rows)?;
            done += rows.len() as u64;
            if !meter.lap() {
                break;
            }
        }
        let mut timing = meter.stop()?;
        timing.operations = done;
        Ok(timing)
    }
}

pub(super) fn delete_and_scan<E: Engine>(engine: &E, data: &Data) -> Result<Timing> {
    let stripe = (data.rows / DELETED_RANGES).max(2);
    let kept = |row: &u64| row % stripe >= stripe / 2 || row / stripe >= DELETED_RANGES;
    let meter = Meter::new(1, Duration::ZERO)?;
    for range in 0..DELETED_RANGES.min(data.rows / stripe) {
        engine.delete_range(&key(range * stripe), &key(range * stripe + stripe / 2))?;
    }
    let mut seen = Seen::new(Direction::Forward);
    engine
        .reader()?
        .scan(Range::ALL, Direction::Forward, |key, value| {
            seen.row(key, value);
            true
        })?;
    let timing = meter.stop_after(data.rows)?;
    seen.check(&Rows::of((0..data.rows).filter(kept), data))?;
    Ok(timing)
}
