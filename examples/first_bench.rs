//! This engine beside its last published version, in one process, on the same rows.
//!
//! ```text
//! cargo run --release --example first_bench             a million rows
//! cargo run --release --example first_bench -- 200000
//! ```
//!
//! 16-byte keys, 100-byte values that do not compress, batches of 1,000, `Buffered` on both sides, default
//! options otherwise. Every read is checked; making
//! and checking values costs both sides the same and pulls ratios towards 1. Each engine gets a fresh directory under the temporary
//! one and the sides alternate workload by workload, so that both meet the same machine. Prints a
//! Markdown table of operations a second; a ratio above 1 is in favour of this engine.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark stands outside the engine and reads the clock"
)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

type Error = Box<dyn std::error::Error>;

const ROWS: u64 = 1_000_000;
const BATCH_ROWS: u64 = 1000;
const SINGLE_PUTS_MAX: u64 = 200_000;
const READS_MAX: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;

/// One workload on one engine.
#[derive(Clone, Copy)]
struct Measured {
    operations: u64,
    took: Duration,
}

/// A bijection of `u64` (the finaliser of `SplitMix64`): random order without a list of keys.
fn scatter(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn value(number: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    for (index, chunk) in (0_u64..).zip(value.chunks_mut(8)) {
        let bytes = scatter(number ^ (index << 56)).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    value
}

/// The same source text for each engine: the names are the same, the crates are not.
macro_rules! engine {
    ($module:ident, $engine:ident) => {
        mod $module {
            use super::*;
            use $engine::{Db, DbOptions, DurabilityMode, KeyRange, WriteBatch, WriteOptions};

            pub(super) fn open(path: &Path) -> Result<Db, Error> {
                let options = DbOptions::new(path).with_durability(DurabilityMode::Buffered);
                Ok(Db::open_sync(options)?)
            }

            /// Puts `number(0)`, `number(1)`, .. in batches.
            pub(super) fn load(
                db: &Db,
                rows: u64,
                number: fn(u64) -> u64,
            ) -> Result<Measured, Error> {
                let started = Instant::now();
                let mut next = 0;
                while next < rows {
                    let mut batch = WriteBatch::new();
                    let end = rows.min(next + BATCH_ROWS);
                    for index in next..end {
                        batch.put(key(number(index)), value(number(index)));
                    }
                    db.write_sync(batch, WriteOptions::buffered())?;
                    next = end;
                }
                Ok(Measured {
                    operations: rows,
                    took: started.elapsed(),
                })
            }

            pub(super) fn put(db: &Db, puts: u64) -> Result<Measured, Error> {
                let started = Instant::now();
                for index in 0..puts {
                    let number = scatter(index);
                    db.put_sync(key(number), value(number))?;
                }
                Ok(Measured {
                    operations: puts,
                    took: started.elapsed(),
                })
            }

            /// Everything in tables, so that both sides read the same kind of thing.
            pub(super) fn settle(db: &Db) -> Result<Measured, Error> {
                let started = Instant::now();
                db.flush_sync()?;
                db.compact_range_sync(KeyRange::all())?;
                Ok(Measured {
                    operations: 1,
                    took: started.elapsed(),
                })
            }

            /// Random keys that are there, or with `hit` false, that are not.
            pub(super) fn get(
                db: &Db,
                rows: u64,
                reads: u64,
                hit: bool,
            ) -> Result<Measured, Error> {
                let started = Instant::now();
                for index in 0..reads {
                    let number = scatter(scatter(index) % rows + if hit { 0 } else { rows });
                    let found = db.get_sync(&key(number))?;
                    let right = match &found {
                        Some(bytes) => hit && bytes.as_slice() == value(number),
                        None => !hit,
                    };
                    if !right {
                        return Err(format!("wrong answer for key {number}").into());
                    }
                }
                Ok(Measured {
                    operations: reads,
                    took: started.elapsed(),
                })
            }

            pub(super) fn scan(db: &Db, rows: u64, reverse: bool) -> Result<Measured, Error> {
                let started = Instant::now();
                let all = KeyRange::all();
                let iter = if reverse {
                    db.range_reverse_sync(&all)?
                } else {
                    db.range_sync(&all)?
                };
                let mut last = None;
                let mut count = 0;
                for row in iter {
                    let row = row?;
                    let in_order = match &last {
                        None => true,
                        Some(last) if reverse => row.key < *last,
                        Some(last) => row.key > *last,
                    };
                    let number = u64::from_be_bytes(row.key[8..].try_into()?);
                    if !in_order || row.value.as_slice() != value(number) {
                        return Err(format!("wrong row for key {number}").into());
                    }
                    last = Some(row.key);
                    count += 1;
                }
                if count != rows {
                    return Err(format!("{count} rows instead of {rows}").into());
                }
                Ok(Measured {
                    operations: rows,
                    took: started.elapsed(),
                })
            }

            pub(super) fn reopen(db: Db, path: &Path) -> Result<(Db, Measured), Error> {
                db.close_sync();
                drop(db);
                let started = Instant::now();
                let db = open(path)?;
                Ok((
                    db,
                    Measured {
                        operations: 1,
                        took: started.elapsed(),
                    },
                ))
            }
        }
    };
}

engine!(this, trine_kv);
engine!(baseline, trine_kv_baseline);

struct Report<'out> {
    out: io::StdoutLock<'out>,
    terminal: bool,
}

impl Report<'_> {
    fn head(&mut self, rows: u64) -> io::Result<()> {
        writeln!(self.out, "{rows} rows, operations a second\n")?;
        writeln!(
            self.out,
            "| workload | this | 0.1.0 | ratio |\n|---|--:|--:|--:|"
        )
    }

    fn starting(&self, workload: &str) {
        if self.terminal {
            eprint!("\r\x1b[K{workload} ...");
        }
    }

    fn line(&mut self, workload: &str, this: Measured, baseline: Measured) -> io::Result<()> {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        // Both did the same number of operations, so times are what is compared.
        let hundredths = baseline.took.as_nanos() * 100 / this.took.as_nanos().max(1);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        let (this, baseline) = (rate(this), rate(baseline));
        writeln!(
            self.out,
            "| {workload} | {this} | {baseline} | {whole}.{part:02} |"
        )?;
        self.out.flush()
    }
}

fn rate(measured: Measured) -> String {
    if measured.operations == 1 {
        return format!("{:.1?}", measured.took);
    }
    let nanos = measured.took.as_nanos().max(1);
    (u128::from(measured.operations) * 1_000_000_000 / nanos).to_string()
}

fn run(rows: u64) -> Result<(), Error> {
    let home = tempfile::tempdir()?;
    let at = |name: &str| home.path().join(name);
    let terminal = io::IsTerminal::is_terminal(&io::stderr());
    let mut report = Report {
        out: io::stdout().lock(),
        terminal,
    };
    report.head(rows)?;

    let workload = "load, ascending keys, batches of 1,000";
    report.starting(workload);
    let (a, b) = (this::open(&at("this-1"))?, baseline::open(&at("base-1"))?);
    let measured = (
        this::load(&a, rows, |index| index)?,
        baseline::load(&b, rows, |index| index)?,
    );
    report.line(workload, measured.0, measured.1)?;
    this::scan(&a, rows, false)?;
    baseline::scan(&b, rows, false)?;
    a.close_sync();
    b.close_sync();

    let workload = "put one by one, random keys";
    report.starting(workload);
    let (a, b) = (this::open(&at("this-2"))?, baseline::open(&at("base-2"))?);
    let puts = rows.min(SINGLE_PUTS_MAX);
    report.line(workload, this::put(&a, puts)?, baseline::put(&b, puts)?)?;
    this::scan(&a, puts, false)?;
    baseline::scan(&b, puts, false)?;
    a.close_sync();
    b.close_sync();

    let workload = "load, random keys, batches of 1,000";
    report.starting(workload);
    let (a, b) = (this::open(&at("this-3"))?, baseline::open(&at("base-3"))?);
    report.line(
        workload,
        this::load(&a, rows, scatter)?,
        baseline::load(&b, rows, scatter)?,
    )?;

    let workload = "flush and compact all";
    report.starting(workload);
    report.line(workload, this::settle(&a)?, baseline::settle(&b)?)?;

    let reads = rows.min(READS_MAX);
    for (workload, hit) in [
        ("get, random, present", true),
        ("get, random, absent", false),
    ] {
        report.starting(workload);
        // Once to warm caches, once to measure.
        this::get(&a, rows, reads / 10, hit)?;
        let measured = this::get(&a, rows, reads, hit)?;
        baseline::get(&b, rows, reads / 10, hit)?;
        report.line(workload, measured, baseline::get(&b, rows, reads, hit)?)?;
    }
    for (workload, reverse) in [
        ("scan everything", false),
        ("scan everything, reverse", true),
    ] {
        report.starting(workload);
        report.line(
            workload,
            this::scan(&a, rows, reverse)?,
            baseline::scan(&b, rows, reverse)?,
        )?;
    }

    let workload = "reopen";
    report.starting(workload);
    let (a, this) = this::reopen(a, &at("this-3"))?;
    let (b, baseline) = baseline::reopen(b, &at("base-3"))?;
    report.line(workload, this, baseline)?;
    this::get(&a, rows, 1000.min(rows), true)?;
    baseline::get(&b, rows, 1000.min(rows), true)?;
    a.close_sync();
    b.close_sync();
    Ok(())
}

fn main() -> ExitCode {
    let rows = match std::env::args()
        .nth(1)
        .map(|word| word.replace('_', "").parse())
    {
        None => ROWS,
        Some(Ok(rows)) if rows > 0 => rows,
        Some(_) => {
            eprintln!("usage: first_bench [ROWS]");
            return ExitCode::FAILURE;
        }
    };
    match run(rows) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("first_bench: {error}");
            ExitCode::FAILURE
        }
    }
}
