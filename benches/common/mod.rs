//! What the benchmarks share: rows, directories, how long to measure.
#![expect(
    dead_code,
    clippy::disallowed_methods,
    reason = "each benchmark uses a part; benchmarks stand outside the engine and read the clock"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, measurement::WallTime};

/// Rows of a loaded database.
pub(crate) const ROWS: u64 = 100_000;
/// Bytes of an ordinary value.
pub(crate) const VALUE_BYTES: usize = 100;
/// Rows of a batch that loads.
pub(crate) const BATCH_ROWS: u64 = 1000;

/// A bijection of `u64` (the finaliser of `SplitMix64`): random order without a list of keys.
pub(crate) fn scatter(index: u64) -> u64 {
    let mut mixed = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The key of row `index`; the keys between rows belong to nobody.
pub(crate) fn key(index: u64) -> [u8; 16] {
    numbered(2 * index)
}

/// A key that nobody wrote, right behind row `index`.
pub(crate) fn absent_key(index: u64) -> [u8; 16] {
    numbered(2 * index + 1)
}

fn numbered(number: u64) -> [u8; 16] {
    let mut key = [b'0'; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

/// A value that compresses to about a half.
pub(crate) fn value(index: u64, bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(bytes + 16);
    let mut word = index;
    while value.len() < bytes {
        word = scatter(word);
        value.extend_from_slice(&word.to_le_bytes());
        value.extend_from_slice(&[b'v'; 8]);
    }
    value.truncate(bytes);
    value
}

/// An endless sequence of rows below a number.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(scatter(seed))
    }

    pub(crate) fn below(&mut self, rows: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scatter(self.0) % rows
    }
}

/// A group in which each benchmark takes about a second and a half: enough for ratios, and the whole of
/// `cargo bench` stays within minutes. What was written before is on disk first: a row that syncs must not pay for one
/// that wrote as fast as it could and did not.
pub(crate) fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    #[cfg(target_os = "linux")]
    rustix::fs::sync();
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .throughput(Throughput::Elements(1));
    group
}

/// Drops the files of a directory from the page cache.
pub(crate) fn forget_pages(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let file = std::fs::File::open(entry.expect("an entry").path()).expect("a file");
        file.sync_all().expect("synced");
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("forgotten");
    }
}

/// How many rows a scan has.
pub(crate) fn count<T, E: std::fmt::Debug>(rows: impl Iterator<Item = Result<T, E>>) -> u64 {
    rows.fold(0, |count, row| {
        row.expect("a row");
        count + 1
    })
}

/// The time of `work`.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// The time that `threads` threads take for `work(thread, share)`, where the shares make up `operations`.
pub(crate) fn timed_threads(
    threads: u64,
    operations: u64,
    work: impl Fn(u64, u64) + Sync,
) -> Duration {
    let share = operations.div_ceil(threads);
    timed(|| {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let work = &work;
                scope.spawn(move || work(thread, share));
            }
        });
    })
}
