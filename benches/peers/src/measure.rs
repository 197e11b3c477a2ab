//! What one run cost: time and latencies by the clock, memory, processor time and bytes by the kernel.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::engine::Result;

/// Ticks of `/proc/self/stat` in a second; Linux has had 100 in every ABI.
const TICKS: u64 = 100;

/// Up to an hour, in nanoseconds, to a thousandth.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?)
}

/// Counts operations, takes the latency of every `sample`th, and says when to stop.
pub struct Meter {
    histogram: Histogram<u64>,
    started: Instant,
    mark: Instant,
    deadline: Instant,
    operations: u64,
    sample: u64,
    cpu_before: f64,
}

impl Meter {
    /// `sample` is a power of two: reading the clock must not weigh on what takes less than it.
    pub fn new(sample: u64, limit: Duration) -> Result<Self> {
        let cpu_before = Usage::now()?.cpu_seconds;
        let now = Instant::now();
        Ok(Self {
            histogram: histogram()?,
            started: now,
            mark: now,
            deadline: now + limit,
            operations: 0,
            sample,
            cpu_before,
        })
    }

    /// After each operation; false once the time is over.
    #[inline]
    pub fn lap(&mut self) -> bool {
        self.operations += 1;
        if self.sample == 1 {
            let now = Instant::now();
            self.record(now);
            self.mark = now;
            return now < self.deadline;
        }
        match self.operations & (self.sample - 1) {
            0 => self.mark = Instant::now(),
            1 if self.operations > 1 => {
                let now = Instant::now();
                self.record(now);
                return now < self.deadline;
            }
            _ => {}
        }
        true
    }

    fn record(&mut self, now: Instant) {
        let nanos = u64::try_from((now - self.mark).as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanos);
    }

    pub fn stop(self) -> Result<Timing> {
        let elapsed = self.started.elapsed();
        Ok(Timing {
            operations: self.operations,
            elapsed,
            cpu_seconds: Usage::now()?.cpu_seconds - self.cpu_before,
            histogram: self.histogram,
        })
    }

    /// [`stop`](Self::stop) after so many operations that nobody lapped.
    pub fn stop_after(mut self, operations: u64) -> Result<Timing> {
        self.operations = operations;
        self.stop()
    }
}

/// A finished measurement.
pub struct Timing {
    pub operations: u64,
    pub elapsed: Duration,
    /// Of all threads of the process.
    pub cpu_seconds: f64,
    pub histogram: Histogram<u64>,
}

impl Timing {
    /// Threads that ran side by side: operations add up, the longest time counts.
    pub fn side_by_side(timings: Vec<Timing>) -> Result<Self> {
        let mut all = Self {
            operations: 0,
            elapsed: Duration::ZERO,
            cpu_seconds: 0.0,
            histogram: histogram()?,
        };
        for timing in timings {
            all.operations += timing.operations;
            all.elapsed = all.elapsed.max(timing.elapsed);
            all.cpu_seconds = all.cpu_seconds.max(timing.cpu_seconds);
            all.histogram.add(&timing.histogram)?;
        }
        Ok(all)
    }
}

/// What the kernel knows about this process.
#[derive(Clone, Copy)]
pub struct Usage {
    pub cpu_seconds: f64,
    /// Bytes that this process caused to be written, when the kernel took the dirty pages.
    pub written: u64,
}

impl Usage {
    pub fn now() -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let io = fs::read_to_string("/proc/self/io")?;
        Ok(Self {
            cpu_seconds: (ticks(11) + ticks(12)) as f64 / TICKS as f64,
            written: field(&io, "write_bytes:"),
        })
    }
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Most memory that this process ever had resident, mapped files included.
pub fn peak_resident_bytes() -> Result<u64> {
    Ok(field(&fs::read_to_string("/proc/self/status")?, "VmHWM:") << 10)
}

/// Runs `work` and says how much memory of its own the process had at the most, mapped files excluded.
pub fn watching_memory<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(own_bytes(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
    .map(|result| (result, peak.load(Ordering::Relaxed)))
}

fn own_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm
        .split_whitespace()
        .map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * 4096
}

/// Bytes that the files of a directory occupy: a map that is mostly a hole counts for what it holds.
pub fn occupied_bytes(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() {
            occupied_bytes(&entry.path())?
        } else {
            data.blocks() * 512
        };
    }
    Ok(bytes)
}
