//! What reads do in tables, step by step, and its sum over all reads of a database.
//!
//! A lookup notes its steps where it runs and adds them in one go, so that a warm read pays for one
//! visit of its thread's stripe. Compactions, conflict checks and verification are not reads.

use crate::counter::Counters;

/// Steps in tables: of one read, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadSteps {
    /// Tables asked for a key.
    pub(crate) tables: u64,
    /// Of these, tables whose filter said "maybe".
    pub(crate) filter_hits: u64,
    /// Tables that their filter ruled out.
    pub(crate) filter_misses: u64,
    /// Tables whose filter said "maybe", and which then had no version for the read.
    pub(crate) false_positives: u64,
    /// Data blocks searched for a key.
    pub(crate) blocks: u64,
    /// Blocks that were ready to be read, by lookups and cursors.
    pub(crate) block_hits: u64,
    /// Blocks that had to be read, verified or decoded first.
    pub(crate) block_misses: u64,
    /// Asynchronous reads that met a table and had all that they needed of it at hand.
    pub(crate) ready_async_reads: u64,
}

/// Counts a step.
#[inline]
pub(crate) fn one_more(steps: &mut u64) {
    *steps = steps.wrapping_add(1);
}

/// What prefix filters told scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PrefixSteps {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) false_positives: u64,
}

/// The sums of one database.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    steps: Counters<8>,
    prefixes: Counters<3>,
}

impl ReadCounters {
    #[inline]
    pub(crate) fn add(&self, steps: &ReadSteps) {
        self.steps.add([
            steps.tables,
            steps.filter_hits,
            steps.filter_misses,
            steps.false_positives,
            steps.blocks,
            steps.block_hits,
            steps.block_misses,
            steps.ready_async_reads,
        ]);
    }

    pub(crate) fn add_prefix(&self, steps: &PrefixSteps) {
        self.prefixes
            .add([steps.hits, steps.misses, steps.false_positives]);
    }

    pub(crate) fn steps(&self) -> ReadSteps {
        let [
            tables,
            filter_hits,
            filter_misses,
            false_positives,
            blocks,
            block_hits,
            block_misses,
            ready_async_reads,
        ] = self.steps.get();
        ReadSteps {
            tables,
            filter_hits,
            filter_misses,
            false_positives,
            blocks,
            block_hits,
            block_misses,
            ready_async_reads,
        }
    }

    pub(crate) fn prefixes(&self) -> PrefixSteps {
        let [hits, misses, false_positives] = self.prefixes.get();
        PrefixSteps {
            hits,
            misses,
            false_positives,
        }
    }
}
