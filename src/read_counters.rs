//! What reads do in tables, step by step, and its sum over all reads of a database.
//!
//! - A point read notes its steps where it runs and adds them in one go. What nearly every read does is
//!   apart from the rest, and what follows from other counts is not counted: a warm read pays for two
//!   additions to its thread's stripe.
//! - Compactions, conflict checks and verification are not reads.

use crate::counter::Counters;

/// Steps of a point read in tables, or of all point reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PointSteps {
    /// Tables asked for the key.
    pub(crate) tables: u64,
    /// Data blocks searched for it.
    pub(crate) blocks: u64,
    pub(crate) rare: RarePointSteps,
}

/// Those that most reads of warm tables do not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RarePointSteps {
    /// Tables that have no filter.
    pub(crate) unfiltered: u64,
    /// Tables that their filter ruled out.
    pub(crate) filter_misses: u64,
    /// Tables whose filter said "maybe", and which then had no version for the read.
    pub(crate) false_positives: u64,
    /// Of the blocks searched, those that were not ready when the read came to them.
    pub(crate) unready_blocks: u64,
    /// Blocks that had to be read, verified or decoded first.
    pub(crate) block_misses: u64,
    /// Asynchronous reads that met a table and had all that they needed of it at hand.
    pub(crate) ready_async_reads: u64,
}

/// Steps of scans in tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScanSteps {
    /// Blocks entered that were ready to be read.
    pub(crate) block_hits: u64,
    /// Blocks that had to be read, verified or decoded first.
    pub(crate) block_misses: u64,
    /// Prefix filters that said "maybe".
    pub(crate) filter_hits: u64,
    /// Prefix filters that ruled their table out.
    pub(crate) filter_misses: u64,
    /// Prefix filters that said "maybe" of a table in which then was nothing.
    pub(crate) false_positives: u64,
    /// Asynchronous steps over tables that had all that they needed at hand.
    pub(crate) ready_async_reads: u64,
}

/// What was wanted of tables that are not mapped, beside their blocks, and was in the cache, or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartSteps {
    pub(crate) index_hits: u64,
    pub(crate) index_misses: u64,
    pub(crate) filter_hits: u64,
    pub(crate) filter_misses: u64,
}

/// Counts a step.
#[inline]
pub(crate) fn one_more(steps: &mut u64) {
    *steps = steps.wrapping_add(1);
}

impl PointSteps {
    /// Tables whose filter said "maybe".
    pub(crate) fn filter_hits(&self) -> u64 {
        let others = self.rare.unfiltered.wrapping_add(self.rare.filter_misses);
        self.tables.saturating_sub(others)
    }

    /// Blocks searched that were ready to be read.
    pub(crate) fn block_hits(&self) -> u64 {
        self.blocks.saturating_sub(self.rare.unready_blocks)
    }
}

/// The sums of one database.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    common: Counters<2>,
    rare: Counters<6>,
    scans: Counters<6>,
    /// Values fetched from blob files, and their bytes.
    blobs: Counters<2>,
    /// Indexes and filters of tables that are not mapped: see [`PartSteps`].
    parts: Counters<4>,
}

impl ReadCounters {
    #[inline]
    pub(crate) fn add_point(&self, steps: &PointSteps) {
        self.common.add([steps.tables, steps.blocks]);
        if steps.rare != RarePointSteps::default() {
            self.add_rare(&steps.rare);
        }
    }

    pub(crate) fn add_rare(&self, steps: &RarePointSteps) {
        self.rare.add([
            steps.unfiltered,
            steps.filter_misses,
            steps.false_positives,
            steps.unready_blocks,
            steps.block_misses,
            steps.ready_async_reads,
        ]);
    }

    pub(crate) fn add_scan(&self, steps: &ScanSteps) {
        self.scans.add([
            steps.block_hits,
            steps.block_misses,
            steps.filter_hits,
            steps.filter_misses,
            steps.false_positives,
            steps.ready_async_reads,
        ]);
    }

    /// Counts an asynchronous read that had all that it needed at hand.
    pub(crate) fn add_ready_read(&self) {
        self.add_rare(&RarePointSteps {
            ready_async_reads: 1,
            ..RarePointSteps::default()
        });
    }

    /// Counts a value fetched from a blob file.
    pub(crate) fn add_blob(&self, bytes: u64) {
        self.blobs.add([1, bytes]);
    }

    /// Counts an index, else a partition of a filter, that was wanted and in the cache, or not.
    pub(crate) fn add_part(&self, is_index: bool, is_hit: bool) {
        let one = |counts: bool| u64::from(counts);
        self.parts.add([
            one(is_index && is_hit),
            one(is_index && !is_hit),
            one(!is_index && is_hit),
            one(!is_index && !is_hit),
        ]);
    }

    pub(crate) fn parts(&self) -> PartSteps {
        let [index_hits, index_misses, filter_hits, filter_misses] = self.parts.get();
        PartSteps {
            index_hits,
            index_misses,
            filter_hits,
            filter_misses,
        }
    }

    /// Values fetched from blob files, and their bytes.
    pub(crate) fn blobs(&self) -> [u64; 2] {
        self.blobs.get()
    }

    pub(crate) fn points(&self) -> PointSteps {
        // While others read, parts may exceed their whole for a moment: hence the saturating differences.
        let [
            unfiltered,
            filter_misses,
            false_positives,
            unready_blocks,
            block_misses,
            ready_async_reads,
        ] = self.rare.get();
        let [tables, blocks] = self.common.get();
        PointSteps {
            tables,
            blocks,
            rare: RarePointSteps {
                unfiltered,
                filter_misses,
                false_positives,
                unready_blocks,
                block_misses,
                ready_async_reads,
            },
        }
    }

    pub(crate) fn scans(&self) -> ScanSteps {
        let [
            block_hits,
            block_misses,
            filter_hits,
            filter_misses,
            false_positives,
            ready_async_reads,
        ] = self.scans.get();
        ScanSteps {
            block_hits,
            block_misses,
            filter_hits,
            filter_misses,
            false_positives,
            ready_async_reads,
        }
    }
}
