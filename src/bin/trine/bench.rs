//! The well-known workloads of LevelDB's `db_bench`, on a directory that is thrown away.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trine_kv::{Db, DbOptions, Direction, DurabilityMode, KeyRange, WriteBatch, WriteOptions};

use crate::arguments::{Bench, Workload};
use crate::failure::Failure;
use crate::interrupt::{self, Awaited};
use crate::output::{self, Output};
use crate::progress;

/// Rows that a seek reads.
const SEEK_ROWS: usize = 10;

pub(crate) fn run(asked: &Bench, output: &mut Output) -> Result<(), Failure> {
    let _awaited = Awaited::begin();
    let home = Home::new(asked)?;
    let options = DbOptions::new(home.0.join("database")).with_durability(DurabilityMode::Buffered);
    let mut bench = Running {
        db: Db::open_sync(options)?,
        asked,
        random: asked.seed | 1,
        value: Vec::new(),
    };
    bench.value = (0..asked.value_bytes).map(|_| bench.byte()).collect();
    let mut done = Vec::new();
    for workload in asked.workloads() {
        let result = bench.measure(workload, output)?;
        let Some(result) = result else {
            return Err(Failure::Interrupted("interrupted".to_owned()));
        };
        if !output.json {
            output.line(result.text())?;
            output.finish()?;
        }
        done.push(result.report());
    }
    bench.db.close_sync();
    if output.json {
        output.line(format_args!("{:#}", Value::from(done)))?;
    }
    Ok(())
}

/// The directory, removed at the end.
struct Home(PathBuf);

impl Home {
    fn new(asked: &Bench) -> Result<Self, Failure> {
        let parent = asked.directory.clone().unwrap_or_else(std::env::temp_dir);
        let path = parent.join(format!("trine-bench-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| Failure::at(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Running<'a> {
    db: Db,
    asked: &'a Bench,
    random: u64,
    value: Vec<u8>,
}

/// What a workload took.
struct Measured {
    workload: &'static str,
    operations: u64,
    bytes: u64,
    found: Option<u64>,
    took: Duration,
    /// Of single operations, in nanoseconds, sorted; a sample.
    times: Vec<u64>,
}

impl Measured {
    fn per_second(&self) -> u64 {
        per_second(self.operations, self.took)
    }

    fn time(&self, permille: usize) -> u64 {
        let at = self.times.len().saturating_sub(1) * permille / 1000;
        self.times.get(at).copied().unwrap_or_default()
    }

    fn text(&self) -> String {
        let found = self
            .found
            .map_or_else(String::new, |found| format!("  {found} found"));
        format!(
            "{:<14} {:>12} op/s  {:>12}/s  p50 {} ns  p99 {} ns  p99.9 {} ns{found}",
            self.workload,
            output::count(self.per_second()),
            output::bytes(per_second(self.bytes, self.took)),
            self.time(500),
            self.time(990),
            self.time(999),
        )
    }

    fn report(&self) -> Value {
        json!({
            "workload": self.workload,
            "operations": self.operations,
            "per_second": self.per_second(),
            "bytes_per_second": per_second(self.bytes, self.took),
            "nanoseconds": { "p50": self.time(500), "p99": self.time(990), "p99.9": self.time(999) },
            "found": self.found,
        })
    }
}

fn per_second(count: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    let rate = u128::from(count) * 1_000_000_000 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

impl Running<'_> {
    /// Xorshift: the same keys for the same seed.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Half of the bytes of values are letters of a few: they compress to about a half.
    fn byte(&mut self) -> u8 {
        let [first, second, ..] = self.next().to_le_bytes();
        if first & 1 == 0 {
            second
        } else {
            b'a' + (first >> 1) % 4
        }
    }

    fn any(&mut self) -> u64 {
        self.next() % self.asked.rows.max(1)
    }

    fn key(number: u64) -> [u8; 16] {
        let mut key = [b'0'; 16];
        let mut rest = number;
        for digit in key.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        key
    }

    /// `None`: interrupted.
    fn measure(
        &mut self,
        workload: Workload,
        output: &Output,
    ) -> Result<Option<Measured>, Failure> {
        let operations = self.asked.operations(workload);
        let bar = progress::of_things(output, workload.name(), Some(operations));
        let mut measured = Measured {
            workload: workload.name(),
            operations,
            bytes: 0,
            found: None,
            took: Duration::ZERO,
            times: Vec::new(),
        };
        let mut found = 0;
        let started = Instant::now();
        match workload {
            Workload::Readseq | Workload::Readreverse => {
                let direction = if workload == Workload::Readseq {
                    Direction::Forward
                } else {
                    Direction::Reverse
                };
                let mut cursor = self.db.cursor(&KeyRange::all(), direction)?;
                let mut rows = 0;
                while rows < operations && cursor.advance_sync()? {
                    measured.bytes += (cursor.key().len() + cursor.value().len()) as u64;
                    rows += 1;
                }
                measured.operations = rows;
            }
            Workload::Compact => self.db.compact_range_sync(KeyRange::all())?,
            _ => {
                for number in 0..operations {
                    // The clock is asked for one in eight: asking takes about as long as a warm read.
                    let timed = number % 8 == 0;
                    let begun = timed.then(Instant::now);
                    let bytes = self.operation(workload, number)?;
                    if let Some(begun) = begun {
                        let nanos = u64::try_from(begun.elapsed().as_nanos());
                        measured.times.push(nanos.unwrap_or(u64::MAX));
                    }
                    found += u64::from(bytes.is_some());
                    measured.bytes += bytes.unwrap_or_default();
                    if number % 1024 == 0 {
                        bar.set_position(number);
                        if interrupt::requested() {
                            return Ok(None);
                        }
                    }
                }
            }
        }
        measured.took = started.elapsed();
        bar.finish_and_clear();
        measured.times.sort_unstable();
        let reads = matches!(
            workload,
            Workload::Readrandom | Workload::Readmissing | Workload::Seekrandom
        );
        measured.found = reads.then_some(found);
        Ok(Some(measured))
    }

    /// How many bytes of keys and values it read or wrote; `None` if nothing was there.
    fn operation(&mut self, workload: Workload, number: u64) -> Result<Option<u64>, Failure> {
        let row_bytes = 16 + self.value.len() as u64;
        Ok(match workload {
            Workload::Fillseq => {
                self.put(number, WriteOptions::buffered())?;
                Some(row_bytes)
            }
            Workload::Fillrandom | Workload::Overwrite => {
                let any = self.any();
                self.put(any, WriteOptions::buffered())?;
                Some(row_bytes)
            }
            Workload::Fillsync => {
                let any = self.any();
                self.put(any, WriteOptions::sync_all())?;
                Some(row_bytes)
            }
            Workload::Fillbatch => {
                let mut batch = WriteBatch::new();
                for row in 0..1000 {
                    batch.put(Self::key(number * 1000 + row), self.value.as_slice());
                }
                self.db.write_sync(batch, WriteOptions::buffered())?;
                Some(row_bytes * 1000)
            }
            Workload::Readrandom => {
                let key = Self::key(self.any());
                let length = self.db.get_with_sync(&key, <[u8]>::len)?;
                length.map(|length| 16 + length as u64)
            }
            Workload::Readmissing => {
                let mut key = Self::key(self.any()).to_vec();
                key.push(b'.');
                let length = self.db.get_with_sync(&key, <[u8]>::len)?;
                length.map(|length| 16 + length as u64)
            }
            Workload::Seekrandom => {
                let range = KeyRange::from_bounds(Self::key(self.any()).as_slice()..);
                let mut cursor = self.db.cursor(&range, Direction::Forward)?;
                let (mut rows, mut bytes) = (0, 0);
                while rows < SEEK_ROWS && cursor.advance_sync()? {
                    bytes += (cursor.key().len() + cursor.value().len()) as u64;
                    rows += 1;
                }
                (rows > 0).then_some(bytes)
            }
            Workload::Deleterandom => {
                let key = Self::key(self.any()).to_vec();
                self.db
                    .delete_with_options_sync(key, WriteOptions::buffered())?;
                Some(16)
            }
            Workload::Readseq | Workload::Readreverse | Workload::Compact => None,
        })
    }

    fn put(&self, number: u64, options: WriteOptions) -> Result<(), Failure> {
        let key = Self::key(number).to_vec();
        self.db
            .put_with_options_sync(key, self.value.as_slice(), options)?;
        Ok(())
    }
}
