//! The workloads, each once for all engines. Only the work itself is timed; what was read is summed while
//! it is read and compared afterwards with what must have been there.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::data::{
    Data, LARGE_BYTES, PREFIX_BYTES, PREFIX_ROWS, Random, VALUE_BYTES, absent_key, key, touch,
};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};
use crate::measure::{Meter, Timing};

/// What a workload finds when it begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Empty,
    /// All rows, in tables. It may not change them.
    Rows,
    /// A copy of all rows, to change.
    RowsCopy,
    /// The large rows.
    Large,
    /// A copy of the large rows.
    LargeCopy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    FillSeq,
    FillRandom,
    FillSeqBatch,
    FillRandomBatch,
    FillSync,
    FillSync8,
    BatchSync,
    ReadRandom,
    ReadLent,
    ReadLent2,
    ReadMissing,
    Seek,
    SeekOwned,
    Scan,
    ScanReverse,
    ScanOwned,
    Prefix,
    ReadWhileWriting,
    Overwrite,
    DeleteRange,
    ReadCold,
    ReadCold64,
    OpenClean,
    OpenKilled,
    FillLarge,
    ReadLarge,
    OverwriteLarge,
}

/// In the order in which they run: what loads the rows comes before what reads them.
pub const ALL: [(Work, &str, &str, Source); 27] = [
    (
        Work::FillSeq,
        "fillseq",
        "puts one by one, ascending, unsynced",
        Source::Empty,
    ),
    (
        Work::FillRandom,
        "fillrandom",
        "puts one by one, random, unsynced",
        Source::Empty,
    ),
    (
        Work::FillSeqBatch,
        "fillseqbatch",
        "batches of 1,000, ascending, unsynced",
        Source::Empty,
    ),
    (
        Work::FillRandomBatch,
        "fillbatch",
        "batches of 1,000, random, unsynced",
        Source::Empty,
    ),
    (
        Work::FillSync,
        "fillsync",
        "synced puts, 1 thread",
        Source::Empty,
    ),
    (
        Work::FillSync8,
        "fillsync8",
        "synced puts, 8 threads",
        Source::Empty,
    ),
    (
        Work::BatchSync,
        "batchsync",
        "synced batches of 100, 1 thread (rows)",
        Source::Empty,
    ),
    (
        Work::ReadRandom,
        "readrandom",
        "random reads, copied out",
        Source::Rows,
    ),
    (
        Work::ReadLent,
        "readlent",
        "random reads, lent",
        Source::Rows,
    ),
    (
        Work::ReadLent2,
        "readlent2",
        "random reads, lent, 2 threads",
        Source::Rows,
    ),
    (
        Work::ReadMissing,
        "readmissing",
        "random reads of absent keys",
        Source::Rows,
    ),
    (
        Work::Seek,
        "seekrandom",
        "seek and next 10, lent (seeks)",
        Source::Rows,
    ),
    (
        Work::SeekOwned,
        "seekowned",
        "seek and next 10, owned pairs (seeks)",
        Source::Rows,
    ),
    (Work::Scan, "scan", "full scan, lent (rows)", Source::Rows),
    (
        Work::ScanReverse,
        "scanreverse",
        "full scan backwards, lent (rows)",
        Source::Rows,
    ),
    (
        Work::ScanOwned,
        "scanowned",
        "full scan, owned pairs (rows)",
        Source::Rows,
    ),
    (
        Work::Prefix,
        "prefix",
        "prefix scans of 128, lent (rows)",
        Source::Rows,
    ),
    (
        Work::ReadWhileWriting,
        "readwhilewriting",
        "reads beside 20,000 puts/s",
        Source::RowsCopy,
    ),
    (
        Work::Overwrite,
        "overwrite",
        "5 random overwrites of each row, unsynced",
        Source::RowsCopy,
    ),
    (
        Work::DeleteRange,
        "deleterange",
        "half the rows in 100 ranges, then scan (rows)",
        Source::RowsCopy,
    ),
    (
        Work::ReadCold,
        "readcold",
        "random reads from disk, one at a time",
        Source::Rows,
    ),
    (
        Work::ReadCold64,
        "readcold64",
        "random reads from disk, 64 at once",
        Source::Rows,
    ),
    (
        Work::OpenClean,
        "openclean",
        "open after a clean close",
        Source::Rows,
    ),
    (
        Work::OpenKilled,
        "openkilled",
        "open after a kill with 64 MiB of log",
        Source::RowsCopy,
    ),
    (
        Work::FillLarge,
        "filllarge",
        "64 KiB values, random, unsynced",
        Source::Empty,
    ),
    (
        Work::ReadLarge,
        "readlarge",
        "64 KiB values, random reads, lent",
        Source::Large,
    ),
    (
        Work::OverwriteLarge,
        "overwritelarge",
        "64 KiB values, 2 random overwrites of each",
        Source::LargeCopy,
    ),
];

const BATCH_ROWS: usize = 1000;
const SYNCED_BATCH_ROWS: usize = 100;
const SYNCING_THREADS: u64 = 8;
const READS_MAX: u64 = 2_000_000;
const COLD_READS: u64 = 4000;
const TOGETHER: usize = 64;
const SEEK_ROWS: usize = 10;
const DELETED_RANGES: u64 = 100;
const WRITES_PER_MS: u64 = 20;
const LOG_BYTES: u64 = 64 << 20;
const OPENINGS: usize = 5;
const WARM_READS_MAX: u64 = 3_000_000;

/// One run of one workload.
pub struct Run {
    pub work: Work,
    pub rows: u64,
    pub directory: PathBuf,
    /// After so long a workload that can stop does.
    pub limit: Duration,
    /// The second half of [`Work::OpenKilled`].
    pub was_killed: bool,
}

/// How long it took, and what is worth a remark.
pub struct Outcome {
    pub timing: Timing,
    pub note: String,
}

impl From<Timing> for Outcome {
    fn from(timing: Timing) -> Self {
        Self {
            timing,
            note: String::new(),
        }
    }
}

impl Work {
    fn large(self) -> bool {
        matches!(
            self,
            Self::FillLarge | Self::ReadLarge | Self::OverwriteLarge
        )
    }

    pub fn cold(self) -> bool {
        matches!(self, Self::ReadCold | Self::ReadCold64)
    }
}

/// Large rows: enough to outgrow memtables, few enough for the disk.
pub fn large_rows(rows: u64) -> u64 {
    (rows / 100).clamp(1000, 20_000)
}

impl Run {
    fn data(&self) -> Data {
        if self.work.large() {
            Data::new(large_rows(self.rows), LARGE_BYTES)
        } else {
            Data::new(self.rows, VALUE_BYTES)
        }
    }

    /// Equal for all engines. The cache holds the decoded rows twice, so that warm means warm.
    fn settings(&self, data: &Data) -> Settings {
        let raw = data.rows * (data.value_bytes as u64 + 16);
        let killed = self.work == Work::OpenKilled;
        Settings {
            cache_bytes: (2 * raw).max(256 << 20),
            write_buffer_bytes: if killed { 256 << 20 } else { 64 << 20 },
            map_bytes: (16 * raw).max(4 << 30),
            synced: matches!(
                self.work,
                Work::FillSync | Work::FillSync8 | Work::BatchSync
            ),
            large_values: self.work.large(),
            cold: self.work.cold(),
        }
    }

    pub fn on<E: Engine>(&self) -> Result<Outcome> {
        let data = self.data();
        let settings = self.settings(&data);
        if self.work == Work::OpenClean || self.was_killed {
            return self.open::<E>(&data, &settings);
        }
        let engine = E::open(&self.directory, &settings)?;
        let (outcome, expected) = self.work_on(&engine, &data)?;
        if let Some(expected) = expected {
            engine.settle()?;
            expected.check(&engine)?;
        }
        engine.close()?;
        Ok(outcome)
    }

    fn work_on<E: Engine>(&self, engine: &E, data: &Data) -> Result<(Outcome, Option<Rows>)> {
        let rows = data.rows;
        let reading = |timing: Timing| (Outcome::from(timing), None);
        let one_by_one =
            |operations, row: &dyn Fn(u64) -> u64| self.puts(engine, data, operations, row);
        Ok(match self.work {
            Work::FillSeq => {
                let timing = one_by_one(rows, &|index| index)?;
                let filled = timing.operations;
                (timing.into(), Some(Rows::of(0..filled, data)))
            }
            Work::FillRandom | Work::FillLarge | Work::FillSync => {
                let timing = one_by_one(rows, &|index| data.permuted(index))?;
                let filled = timing.operations;
                (
                    timing.into(),
                    Some(Rows::of(
                        (0..filled).map(|index| data.permuted(index)),
                        data,
                    )),
                )
            }
            Work::FillSeqBatch => {
                let timing =
                    self.batches(engine, data, BATCH_ROWS, &|index| index, Duration::MAX)?;
                (timing.into(), Some(Rows::of(0..rows, data)))
            }
            Work::FillRandomBatch => {
                let timing = self.batches(
                    engine,
                    data,
                    BATCH_ROWS,
                    &|index| data.permuted(index),
                    Duration::MAX,
                )?;
                (timing.into(), Some(Rows::of(0..rows, data)))
            }
            Work::BatchSync => {
                let row = |index| data.permuted(index);
                let timing = self.batches(engine, data, SYNCED_BATCH_ROWS, &row, self.limit)?;
                let filled = timing.operations;
                (timing.into(), Some(Rows::of((0..filled).map(row), data)))
            }
            Work::FillSync8 => self.puts_of_threads(engine, data)?,
            Work::Overwrite | Work::OverwriteLarge => {
                let rounds = if self.work == Work::Overwrite { 5 } else { 2 };
                let mut random = Random::new(rows);
                let picked = std::cell::RefCell::new(&mut random);
                let timing = one_by_one(rounds * rows, &|_| picked.borrow_mut().below(rows))?;
                (timing.into(), Some(Rows::of(0..rows, data)))
            }
            Work::ReadRandom | Work::ReadLent | Work::ReadLarge => {
                warm(engine, data)?;
                reading(self.reads(engine, data, 1)?)
            }
            Work::ReadLent2 => {
                warm(engine, data)?;
                let timings = std::thread::scope(|scope| {
                    let threads: Vec<_> = (1..=2)
                        .map(|seed| scope.spawn(move || self.reads(engine, data, seed)))
                        .collect();
                    threads.into_iter().map(join).collect::<Result<Vec<_>>>()
                })?;
                reading(Timing::side_by_side(timings)?)
            }
            Work::ReadMissing => {
                warm(engine, data)?;
                reading(self.absent(engine, data)?)
            }
            Work::Seek | Work::SeekOwned => {
                warm(engine, data)?;
                reading(self.seeks(engine, data)?)
            }
            Work::Scan | Work::ScanOwned => {
                warm(engine, data)?;
                reading(self.scans(engine, data, Direction::Forward)?)
            }
            Work::ScanReverse => {
                warm(engine, data)?;
                reading(self.scans(engine, data, Direction::Reverse)?)
            }
            Work::Prefix => {
                warm(engine, data)?;
                reading(self.prefixes(engine, data)?)
            }
            Work::ReadWhileWriting => {
                warm(engine, data)?;
                (self.reads_beside_writes(engine, data)?, None)
            }
            Work::DeleteRange => reading(delete_and_scan(engine, data)?),
            Work::ReadCold => reading(self.cold(engine, data)?),
            Work::ReadCold64 => reading(self.cold_together(engine, data)?),
            Work::OpenKilled => {
                let mut value = Vec::new();
                for extra in 0..log_rows() {
                    data.fill(rows + extra, &mut value);
                    engine.put(&key(rows + extra), &value)?;
                }
                rustix::process::kill_process(
                    rustix::process::getpid(),
                    rustix::process::Signal::KILL,
                )?;
                return Err("outlived its own kill".into());
            }
            Work::OpenClean => return Err("opened elsewhere".into()),
        })
    }

    fn puts<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
        operations: u64,
        row: &dyn Fn(u64) -> u64,
    ) -> Result<Timing> {
        let mut value = Vec::new();
        let mut meter = Meter::new(1, self.limit)?;
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

    fn puts_of_threads<E: Engine>(
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

    fn batches<E: Engine>(
        &self,
        engine: &E,
        data: &Data,
        batch: usize,
        row: &dyn Fn(u64) -> u64,
        limit: Duration,
    ) -> Result<Timing> {
        let mut meter = Meter::new(1, limit.min(Duration::from_secs(1 << 20)))?;
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

    fn reads<E: Engine>(&self, engine: &E, data: &Data, seed: u64) -> Result<Timing> {
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

    fn absent<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
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

    fn seeks<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
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

    fn scans<E: Engine>(&self, engine: &E, data: &Data, direction: Direction) -> Result<Timing> {
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

    fn prefixes<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
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

    fn reads_beside_writes<E: Engine>(&self, engine: &E, data: &Data) -> Result<Outcome> {
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

    fn cold<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
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
    fn cold_together<E: Engine>(&self, engine: &E, data: &Data) -> Result<Timing> {
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

    fn open<E: Engine>(&self, data: &Data, settings: &Settings) -> Result<Outcome> {
        let openings = if self.was_killed { 1 } else { OPENINGS };
        let mut times = Vec::new();
        let mut kept = 0;
        for opening in 0..openings {
            let meter = Meter::new(1, Duration::ZERO)?;
            let engine = E::open(&self.directory, settings)?;
            let first = engine.reader()?.get(&key(opening as u64), touch)?;
            times.push(meter.stop_after(1)?);
            check(
                "the first value",
                first.unwrap_or(0),
                data.touched(opening as u64, &mut Vec::new()),
            )?;
            if self.was_killed {
                let mut reader = engine.reader()?;
                for extra in 0..log_rows() {
                    kept += u64::from(reader.get(&key(data.rows + extra), |_| ())?.is_some());
                }
            }
            engine.close()?;
        }
        times.sort_unstable_by_key(|timing| timing.elapsed);
        let timing = times.swap_remove(openings / 2);
        let note = if self.was_killed {
            format!("{} % of the unsynced puts kept", kept * 100 / log_rows())
        } else {
            String::new()
        };
        Ok(Outcome { timing, note })
    }
}

fn log_rows() -> u64 {
    LOG_BYTES / (VALUE_BYTES as u64 + 16)
}

/// Reads enough rows at random, and all of them in order, for the caches to hold what they can.
fn warm<E: Engine>(engine: &E, data: &Data) -> Result<()> {
    let mut reader = engine.reader()?;
    let mut random = Random::new(10);
    for _ in 0..WARM_READS_MAX.min(data.rows) {
        reader.get_latest(&key(random.below(data.rows)), touch)?;
    }
    Ok(())
}

fn delete_and_scan<E: Engine>(engine: &E, data: &Data) -> Result<Timing> {
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

/// What a scan must find.
struct Rows {
    count: u64,
    sum: u64,
}

impl Rows {
    fn of(rows: impl Iterator<Item = u64>, data: &Data) -> Self {
        let mut count = 0;
        let sum = data.touched_by(rows.inspect(|_| count += 1));
        Self { count, sum }
    }

    fn check<E: Engine>(&self, engine: &E) -> Result<()> {
        let mut seen = Seen::new(Direction::Forward);
        engine
            .reader()?
            .scan(Range::ALL, Direction::Forward, |key, value| {
                seen.row(key, value);
                true
            })?;
        seen.check(self)
    }
}

/// What a scan found.
struct Seen {
    direction: Direction,
    last: Option<u64>,
    count: u64,
    sum: u64,
    disordered: u64,
}

impl Seen {
    fn new(direction: Direction) -> Self {
        Self {
            direction,
            last: None,
            count: 0,
            sum: 0,
            disordered: 0,
        }
    }

    #[inline]
    fn row(&mut self, key: &[u8], value: &[u8]) {
        let number = u64::from_be_bytes(first_word(key));
        let in_order = match (self.last, self.direction) {
            (None, _) => true,
            (Some(last), Direction::Forward) => last < number,
            (Some(last), Direction::Reverse) => last > number,
        };
        self.disordered += u64::from(!in_order);
        self.last = Some(number);
        self.count += 1;
        self.sum = self.sum.wrapping_add(touch(value));
    }

    fn check(&self, rows: &Rows) -> Result<()> {
        check("rows out of order", self.disordered, 0)?;
        check("rows", self.count, rows.count)?;
        check("sum of the rows", self.sum, rows.sum)
    }
}

fn first_word(key: &[u8]) -> [u8; 8] {
    key.first_chunk().copied().unwrap_or_default()
}

fn check(what: &str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found} instead of {expected}").into())
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err("a thread panicked".into()))
}
