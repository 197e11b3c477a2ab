//! What only counting can tell of maintenance. Each counter stands alone: relaxed.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::stats::{LevelTraffic, StallStats};
use crate::table::Table;
use crate::tree::blob_gc::Collected;
use crate::tree::build::Built;
use crate::tree::picker::Compaction;
use crate::tree::version::LEVELS_MAX;

/// The counters of one open database.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) budget_exhaustions: AtomicU64,
    pub(crate) compaction_runs: AtomicU64,
    pub(crate) compaction_input_tables: AtomicU64,
    pub(crate) compaction_output_tables: AtomicU64,
    pub(crate) compaction_input_bytes: AtomicU64,
    pub(crate) compaction_output_bytes: AtomicU64,
    pub(crate) blob_gc_runs: AtomicU64,
    pub(crate) blob_gc_input_bytes: AtomicU64,
    pub(crate) blob_gc_output_bytes: AtomicU64,
    pub(crate) blob_gc_discarded_bytes: AtomicU64,
    pub(crate) stalls: Stalls,
    levels: [Level; LEVELS_MAX],
}

/// Bytes that went into one level.
#[derive(Debug, Default)]
struct Level {
    read: AtomicU64,
    written: AtomicU64,
    moved: AtomicU64,
}

/// Writes that were held up.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    delays: AtomicU64,
    delay_nanos: AtomicU64,
    stops: AtomicU64,
    stop_nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

/// The bytes of these tables' files.
pub(crate) fn bytes_of<'a>(tables: impl IntoIterator<Item = &'a Arc<Table>>) -> u64 {
    tables.into_iter().map(|table| table.meta().bytes).sum()
}

impl Counters {
    /// Counts a finished compaction, which took these tables. One that only moved was taken and given back; of its bytes none
    /// were read or written.
    pub(crate) fn compacted(&self, tables: &[&Arc<Table>], compaction: &Compaction, built: &Built) {
        let level = &self.levels[compaction.output_level];
        self.compaction_runs.fetch_add(1, Relaxed);
        let input_bytes = bytes_of(tables.iter().copied());
        let taken = tables.len() as u64;
        self.compaction_input_tables.fetch_add(taken, Relaxed);
        if compaction.moves {
            level.moved.fetch_add(input_bytes, Relaxed);
            self.compaction_output_tables.fetch_add(taken, Relaxed);
            return;
        }
        let output_bytes = bytes_of(&built.tables);
        level.read.fetch_add(built.read_bytes, Relaxed);
        level.written.fetch_add(output_bytes, Relaxed);
        self.compaction_input_bytes.fetch_add(input_bytes, Relaxed);
        self.compaction_output_tables
            .fetch_add(built.tables.len() as u64, Relaxed);
        self.compaction_output_bytes
            .fetch_add(output_bytes, Relaxed);
    }

    /// Counts what a finished compaction did to garbage in blob files.
    pub(crate) fn collected(&self, collected: &Collected) {
        self.blob_gc_runs.fetch_add(collected.runs, Relaxed);
        self.blob_gc_input_bytes
            .fetch_add(collected.input_bytes, Relaxed);
        self.blob_gc_output_bytes
            .fetch_add(collected.output_bytes, Relaxed);
        self.blob_gc_discarded_bytes
            .fetch_add(collected.discarded_bytes, Relaxed);
    }

    /// Counts a finished flush.
    pub(crate) fn flushed(&self, outputs: &[Arc<Table>]) {
        self.levels[0].written.fetch_add(bytes_of(outputs), Relaxed);
    }

    /// The levels that anything went into.
    pub(crate) fn traffic(&self) -> Vec<LevelTraffic> {
        let traffic = (0..).zip(&self.levels).map(|(level, counts)| LevelTraffic {
            level,
            read_bytes: counts.read.load(Relaxed),
            written_bytes: counts.written.load(Relaxed),
            moved_bytes: counts.moved.load(Relaxed),
        });
        traffic
            .filter(|level| level.read_bytes + level.written_bytes + level.moved_bytes > 0)
            .collect()
    }
}

impl Stalls {
    /// Counts a write that was slowed.
    pub(crate) fn delayed(&self, by: Duration) {
        count(&self.delays, &self.delay_nanos, &self.longest_nanos, by);
    }

    /// Counts a write that had to wait.
    pub(crate) fn stopped(&self, by: Duration) {
        count(&self.stops, &self.stop_nanos, &self.longest_nanos, by);
    }

    pub(crate) fn stats(&self) -> StallStats {
        let micros = |nanos: &AtomicU64| nanos.load(Relaxed) / 1_000;
        StallStats {
            delays: self.delays.load(Relaxed),
            delay_micros: micros(&self.delay_nanos),
            stops: self.stops.load(Relaxed),
            stop_micros: micros(&self.stop_nanos),
            longest_micros: micros(&self.longest_nanos),
        }
    }
}

fn count(number: &AtomicU64, total: &AtomicU64, longest: &AtomicU64, by: Duration) {
    let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    number.fetch_add(1, Relaxed);
    total.fetch_add(nanos, Relaxed);
    longest.fetch_max(nanos, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_and_stops_are_counted_apart_and_the_longest_of_both_is_kept() {
        let stalls = Stalls::default();
        stalls.delayed(Duration::from_micros(5));
        stalls.delayed(Duration::from_micros(7));
        stalls.stopped(Duration::from_micros(6));
        let expected = StallStats {
            delays: 2,
            delay_micros: 12,
            stops: 1,
            stop_micros: 6,
            longest_micros: 7,
        };
        assert_eq!(stalls.stats(), expected);
    }
}
