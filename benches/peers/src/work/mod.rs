//! The workloads, each once for all engines. Only the work itself is timed; what was read is summed while
//! it is read and compared afterwards with what must have been there.

mod check;
mod read;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use check::{Rows, check};
use read::warm;
use write::delete_and_scan;

use crate::data::{Data, LARGE_BYTES, Random, VALUE_BYTES, key, touch};
use crate::engine::{Direction, Engine, Reader, Result, Settings};
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
const LOG_BYTES: u64 = 64 << 20;
const NO_LIMIT: Duration = Duration::from_secs(1 << 20);
const OPENINGS: usize = 5;

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
                let timing = self.batches(engine, data, BATCH_ROWS, &|index| index, NO_LIMIT)?;
                (timing.into(), Some(Rows::of(0..rows, data)))
            }
            Work::FillRandomBatch => {
                let timing = self.batches(
                    engine,
                    data,
                    BATCH_ROWS,
                    &|index| data.permuted(index),
                    NO_LIMIT,
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
                    threads
                        .into_iter()
                        .map(check::join)
                        .collect::<Result<Vec<_>>>()
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
