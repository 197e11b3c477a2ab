//! Workloads that read.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::check::{Rows, Seen, check, first_word, join};
use super::{Outcome, Run, Work};
use crate::data::{Data, PREFIX_BYTES, PREFIX_ROWS, Random, absent_key, key, touch};
use crate::engine::{Direction, Engine, Range, Reader, Result};
use crate::measure::{Meter, Timing};

const READS_MAX: u64 = 2_000_000;
const COLD_READS: u64 = 4000;
const TOGETHER: usize = 64;
const SEEK_ROWS: usize = 10;
const WRITES_PER_MS: u64 = 20;
const WARM_READS_MAX: u64 = 3_000_000;

impl Run {
    pub(super) fn reads<E: Engine>(&self, engine: &E, data: &Data, seed: u64) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let (mut random, mut sum, mut absent) = (Random::new(seed), 0_u64, 0);
        let mut meter = Meter::new(if self.work.large() { 1 } else { 16 }, self.limit)?;
        let reads = if self.work.large() {
            2 * data.rows
        } else {
            READS_MAX
        };
        for _ in 0..reads {
            let key = key(random.below(data.rows));
            let touched = if self.work == Work::ReadRandom {
                reader.get_owned(&key)?.map(|value| touch(&value))
            } else {
                reader.get(&key, touch)?
            };
            match touched {
                Some(touched) => sum = sum.wrapping_add(touched),
                None => absent += 1,
            }
            if !meter.lap() {
                break;
            }
        }
        let timing = meter.stop()?;
        let mut random = Random::new(seed);
        let expected = data.touched_by((0..timing.operations).map(|_| random.below(data.rows)));
        check("sum of the values read", sum, expected)?;
        check("rows not found", absent, 0)?;
        Ok(timing)
    }

    pub(super) fn absent<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let (mut random, mut found) = (Random::new(3), 0);
        let mut meter = Meter::new(16, self.limit)?;
        for _ in 0..READS_MAX {
            let key = absent_key(random.below(data.rows));
            found += u64::from(reader.get(&key, |_| ())?.is_some());
            if !meter.lap() {
                break;
            }
        }
        check("absent rows found", found, 0)?;
        meter.stop()
    }

    pub(super) fn seeks<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let (mut random, mut sum) = (Random::new(4), 0_u64);
        let mut meter = Meter::new(4, self.limit)?;
        for _ in 0..READS_MAX / 4 {
            let start = key(random.below(data.rows));
            if self.work == Work::SeekOwned {
                let end = key(u64::from_be_bytes(first_word(&start)) / 2 + SEEK_ROWS as u64);
                let range = Range {
                    start: &start,
                    end: Some(&end),
                };
                reader.scan_owned(range, |_, value| sum = sum.wrapping_add(touch(&value)))?;
            } else {
                let mut left = SEEK_ROWS;
                reader.scan(
                    Range {
                        start: &start,
                        end: None,
                    },
                    Direction::Forward,
                    |_, value| {
                        sum = sum.wrapping_add(touch(value));
                        left -= 1;
                        left > 0
                    },
                )?;
            }
            if !meter.lap() {
                break;
            }
        }
        let timing = meter.stop()?;
        let mut random = Random::new(4);
        let expected = data.touched_by((0..timing.operations).flat_map(|_| {
            let start = random.below(data.rows);
            start..(start + SEEK_ROWS as u64).min(data.rows)
        }));
        check("sum of the values after seeks", sum, expected)?;
        Ok(timing)
    }

    pub(super) fn scans<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
        direction: Direction,
    ) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let mut seen = Seen::new(direction);
        let meter = Meter::new(1, Duration::ZERO)?;
        if self.work == Work::ScanOwned {
            reader.scan_owned(Range::ALL, |key, value| seen.row(&key, &value))?;
        } else {
            reader.scan(Range::ALL, direction, |key, value| {
                seen.row(key, value);
                true
            })?;
        }
        let timing = meter.stop_after(data.rows)?;
        seen.check(&Rows::of(0..data.rows, data))?;
        Ok(timing)
    }

    pub(super) fn prefixes<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let (mut random, mut sum, mut rows) = (Random::new(5), 0_u64, 0);
        let prefixes = (data.rows / PREFIX_ROWS).max(1);
        let mut meter = Meter::new(1, self.limit)?;
        for _ in 0..READS_MAX / PREFIX_ROWS {
            let first = random.below(prefixes) * PREFIX_ROWS;
            let (start, end) = (key(first), key(first + PREFIX_ROWS));
            let range = Range {
                start: &start[..PREFIX_BYTES],
                end: Some(&end[..PREFIX_BYTES]),
            };
            reader.scan(range, Direction::Forward, |_, value| {
                sum = sum.wrapping_add(touch(value));
                rows += 1;
                true
            })?;
            if !meter.lap() {
                break;
            }
        }
        let mut timing = meter.stop()?;
        let mut random = Random::new(5);
        let expected = data.touched_by((0..timing.operations).flat_map(|_| {
            let first = random.below(prefixes) * PREFIX_ROWS;
            first..(first + PREFIX_ROWS).min(data.rows)
        }));
        check("sum of the values with prefixes", sum, expected)?;
        timing.operations = rows;
        Ok(timing)
    }

    pub(super) fn reads_beside_writes<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
    ) -> Result<Outcome> {
        let done = AtomicBool::new(false);
        let (timing, written) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut random, mut value, mut written) = (Random::new(6), Vec::new(), 0);
                let started = Instant::now();
                while !done.load(Ordering::Relaxed) {
                    let due = started.elapsed().as_millis() as u64 * WRITES_PER_MS;
                    while written < due && !done.load(Ordering::Relaxed) {
                        let row = random.below(data.rows);
                        data.fill(row, &mut value);
                        engine.put(&key(row), &value)?;
                        written += 1;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(written as f64 / started.elapsed().as_secs_f64())
            });
            let read = || {
                let mut reader = engine.reader()?;
                let (mut random, mut sum) = (Random::new(7), 0_u64);
                let mut meter = Meter::new(1, self.limit)?;
                while {
                    let touched = reader.get_latest(&key(random.below(data.rows)), touch)?;
                    sum = sum.wrapping_add(touched.unwrap_or(0));
                    meter.lap()
                } {}
                let timing = meter.stop()?;
                let mut random = Random::new(7);
                let rows = (0..timing.operations).map(|_| random.below(data.rows));
                check(
                    "sum of the values read beside writes",
                    sum,
                    data.touched_by(rows),
                )?;
                Ok(timing)
            };
            let timing: Result<Timing> = read();
            done.store(true, Ordering::Relaxed);
            Ok::<_, crate::engine::Error>((timing?, join(writer)?))
        })?;
        Ok(Outcome {
            timing,
            note: format!("{written:.0} puts/s beside"),
        })
    }

    pub(super) fn cold<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
        let mut reader = engine.reader()?;
        let (mut random, mut sum) = (Random::new(8), 0_u64);
        let mut meter = Meter::new(1, self.limit)?;
        for _ in 0..COLD_READS {
            let touched = reader.get(&key(random.below(data.rows)), touch)?;
            sum = sum.wrapping_add(touched.unwrap_or(0));
            if !meter.lap() {
                break;
            }
        }
        let timing = meter.stop()?;
        let mut random = Random::new(8);
        let expected = data.touched_by((0..timing.operations).map(|_| random.below(data.rows)));
        check("sum of the values read from disk", sum, expected)?;
        Ok(timing)
    }

    /// With the engine's own way of reading several keys at once, or else a thread for each.
    pub(super) fn cold_together<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
        let mut random = Random::new(9);
        let rows: Vec<_> = (0..4 * COLD_READS)
            .map(|_| random.below(data.rows))
            .collect();
        let expected = data.touched_by(rows.iter().copied());
        let mut sum = 0_u64;
        let meter = Meter::new(1, Duration::ZERO)?;
        let mut groups = rows.chunks(TOGETHER);
        let by_itself = groups.try_for_each(|group| {
            let keys: Vec<_> = group.iter().map(|&row| key(row)).collect();
            match engine.get_together(&keys, |value| sum = sum.wrapping_add(touch(value))) {
                Some(Ok(())) => ControlFlow::Continue(()),
                other => ControlFlow::Break(other.transpose()),
            }
        });
        match by_itself {
            ControlFlow::Continue(()) => {}
            ControlFlow::Break(Err(error)) => return Err(error),
            ControlFlow::Break(Ok(_)) => {
                sum = std::thread::scope(|scope| {
                    let threads: Vec<_> = rows
                        .chunks(rows.len().div_ceil(TOGETHER))
                        .map(|rows| {
                            scope.spawn(move || {
                                let (mut reader, mut sum) = (engine.reader()?, 0_u64);
                                for &row in rows {
                                    sum = sum
                                        .wrapping_add(reader.get(&key(row), touch)?.unwrap_or(0));
                                }
                                Ok(sum)
                            })
                        })
                        .collect();
                    threads.into_iter().map(join).try_fold(0_u64, |sum, part| {
                        Ok::<_, crate::engine::Error>(sum.wrapping_add(part?))
                    })
                })?;
            }
        }
        let timing = meter.stop_after(rows.len() as u64)?;
        check("sum of the values read together", sum, expected)?;
        Ok(timing)
    }
}

/// Reads enough rows at random, and all of them in order, for the caches to hold what they can.
pub(super) fn warm<E: Engine>(engine: &E, data: &Data) -> Result<()> {
    let mut reader = engine.reader()?;
    let mut random = Random::new(10);
    for _ in 0..WARM_READS_MAX.min(data.rows) {
        reader.get_latest(&key(random.below(data.rows)), touch)?;
    }
    Ok(())
}
