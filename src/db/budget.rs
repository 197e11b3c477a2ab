//! How much maintenance one call may do, and what it did.

/// A limit for one call of maintenance, in units of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaintenanceBudget {
    max_flush_inputs: usize,
    max_compaction_inputs: usize,
}

impl MaintenanceBudget {
    /// Memtables flushed by one call.
    pub const DEFAULT_MAX_FLUSH_INPUTS: usize = 1;
    /// Compaction units (one bucket's work at one level, or a part of it of about ten tables) done by one call.
    pub const DEFAULT_MAX_COMPACTION_INPUTS: usize = 1;

    /// These limits; zero becomes one.
    #[must_use]
    pub const fn new(max_flush_inputs: usize, max_compaction_inputs: usize) -> Self {
        Self {
            max_flush_inputs: if max_flush_inputs == 0 {
                1
            } else {
                max_flush_inputs
            },
            max_compaction_inputs: if max_compaction_inputs == 0 {
                1
            } else {
                max_compaction_inputs
            },
        }
    }

    /// One flush and one compaction unit.
    #[must_use]
    pub const fn single_unit() -> Self {
        Self::new(
            Self::DEFAULT_MAX_FLUSH_INPUTS,
            Self::DEFAULT_MAX_COMPACTION_INPUTS,
        )
    }

    /// Everything there is to do.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }

    /// How many immutable memtables one call flushes at the most.
    #[must_use]
    pub const fn max_flush_inputs(self) -> usize {
        self.max_flush_inputs
    }

    /// How many compaction units one call does at the most.
    #[must_use]
    pub const fn max_compaction_inputs(self) -> usize {
        self.max_compaction_inputs
    }
}

impl Default for MaintenanceBudget {
    fn default() -> Self {
        Self::single_unit()
    }
}

/// What one call of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaintenanceOutcome {
    /// Memtables flushed.
    pub flushes: usize,
    /// Compaction units done.
    pub compactions: usize,
    /// The budget ended while there was work left.
    pub budget_exhausted: bool,
    /// Somebody else was at the work.
    pub busy: bool,
}

impl MaintenanceOutcome {
    /// Whether anything was done.
    #[must_use]
    pub const fn made_progress(self) -> bool {
        self.flushes > 0 || self.compactions > 0
    }

    /// Whether the budget ended while there was work left.
    #[must_use]
    pub const fn budget_exhausted(self) -> bool {
        self.budget_exhausted
    }

    /// Whether somebody else was at the work.
    #[must_use]
    pub const fn busy(self) -> bool {
        self.busy
    }
}
