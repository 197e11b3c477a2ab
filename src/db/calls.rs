//! The calls on a whole database: batches, durability, flush, compaction, maintenance.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::batch::WriteBatch;
use crate::db::budget::{MaintenanceBudget, MaintenanceOutcome};
use crate::db::maintenance::Turn;
use crate::db::{Core, Db};
use crate::error::Result;
use crate::key::KeyRange;
use crate::options::{DurabilityMode, WriteOptions};
use crate::types::CommitInfo;

impl Db {
    /// Commits a batch: all of it or nothing, over all its buckets.
    ///
    /// # Errors
    /// [`Error::BucketMissing`](crate::Error::BucketMissing) if it names an unknown bucket, and as
    /// [`put_with_options`](Self::put_with_options): nothing of the batch is applied then.
    ///
    /// # Durability
    /// The stronger of `options` and the database's own, before the future is ready.
    ///
    /// # Cancellation
    /// A future that was never polled does nothing. Its first poll hands the batch over; from then on
    /// it is committed whether the future is kept or not.
    ///
    /// # Cost
    /// Copies each value into the log and the memtable; encodes a batch of several buckets once more. Commits that come at the same
    /// time share one write and one sync.
    #[must_use = "nothing is written until the future is polled"]
    pub fn write(
        &self,
        batch: WriteBatch,
        options: WriteOptions,
    ) -> impl Future<Output = Result<CommitInfo>> + Send + 'static {
        let handle = Arc::clone(self.keyspace().handle());
        async move {
            let prepared = handle.prepare_batch(batch, None, options)?;
            handle.commit_async(prepared).await
        }
    }

    /// [`write`](Self::write) on this thread.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_sync(&self, batch: WriteBatch, options: WriteOptions) -> Result<CommitInfo> {
        let prepared = self.core().prepare_batch(batch, None, options)?;
        self.core().commit_blocking(prepared)
    }

    /// Makes everything committed before the call as durable as `mode` says. Flushes no memtable.
    ///
    /// # Errors
    /// [`Error::UnsupportedDurability`](crate::Error::UnsupportedDurability),
    /// [`Error::Closed`](crate::Error::Closed); [`Error::Io`](crate::Error::Io), after which nothing is
    /// written until the database is reopened.
    ///
    /// # Cost
    /// At most one sync of the log; none if it is that durable already.
    ///
    /// # Durability
    /// Everything committed before the call, as `mode` says.
    pub async fn persist(&self, mode: DurabilityMode) -> Result<()> {
        self.core()
            .offload(move |core| async move { core.persist(mode, Mode::Blocking).await })
            .await
    }

    /// [`persist`](Self::persist) on this thread.
    ///
    /// # Errors
    /// As [`persist`](Self::persist).
    pub fn persist_sync(&self, mode: DurabilityMode) -> Result<()> {
        block_on(self.core().persist(mode, Mode::Blocking))
    }

    /// Puts everything committed before the call into tables and releases its log.
    ///
    /// # Errors
    /// [`Error::ReadOnly`](crate::Error::ReadOnly), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Io`](crate::Error::Io): what was not flushed stays in memory and in the log.
    ///
    /// # Cost
    /// Writes and syncs one table for each bucket with data in memory. In memory mode, nothing.
    ///
    /// # Durability
    /// The tables are synced before the call returns, whatever the durability of the commits was.
    pub async fn flush(&self) -> Result<()> {
        self.core()
            .offload(|core| async move { core.flush_all(Mode::Blocking).await })
            .await
    }

    /// [`flush`](Self::flush) on this thread.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn flush_sync(&self) -> Result<()> {
        block_on(self.core().flush_all(Mode::Blocking))
    }

    /// From now on, flushes and compactions together write at most so many bytes in a second, so that they
    /// leave the device to readers; zero, which holds after opening, sets no limit. A limit below the rate of
    /// writes slows these down sooner or later. In memory it has no effect.
    pub fn limit_background_writes(&self, bytes_per_second: u64) {
        if let Some(persistent) = &self.core().persistent {
            persistent.background_limit.store(bytes_per_second, Relaxed);
        }
    }

    /// Merges the tables that overlap `range`, in every bucket. Visible data never changes.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and for damaged tables [`Error::Corruption`](crate::Error::Corruption)
    /// or [`Error::InvalidFormat`](crate::Error::InvalidFormat). The tables stay as they were.
    ///
    /// # Cost
    /// Reads and rewrites those tables. Memtables are not flushed first.
    pub async fn compact_range(&self, range: KeyRange) -> Result<()> {
        self.core()
            .offload(move |core| async move {
                core.compact_range_in(&range, usize::MAX, Turn::Wait, Mode::Blocking)
                    .await
                    .map(drop)
            })
            .await
    }

    /// [`compact_range`](Self::compact_range) on this thread.
    ///
    /// # Errors
    /// As [`compact_range`](Self::compact_range).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the contract takes ranges by value"
    )]
    pub fn compact_range_sync(&self, range: KeyRange) -> Result<()> {
        block_on(
            self.core()
                .compact_range_in(&range, usize::MAX, Turn::Wait, Mode::Blocking),
        )
        .map(drop)
    }

    /// As [`compact_range`](Self::compact_range), within a budget, and without waiting for others.
    ///
    /// # Errors
    /// As [`compact_range`](Self::compact_range).
    ///
    /// # Cost
    /// Reads and writes the tables of as many units as the budget allows.
    pub async fn compact_range_with_budget(
        &self,
        range: KeyRange,
        budget: MaintenanceBudget,
    ) -> Result<MaintenanceOutcome> {
        self.core()
            .offload(move |core| async move {
                core.compact_range_budgeted(&range, budget, Mode::Blocking)
                    .await
            })
            .await
    }

    /// [`compact_range_with_budget`](Self::compact_range_with_budget) on this thread.
    ///
    /// # Errors
    /// As [`compact_range`](Self::compact_range).
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the contract takes ranges by value"
    )]
    pub fn compact_range_with_budget_sync(
        &self,
        range: KeyRange,
        budget: MaintenanceBudget,
    ) -> Result<MaintenanceOutcome> {
        block_on(
            self.core()
                .compact_range_budgeted(&range, budget, Mode::Blocking),
        )
    }

    /// Flushes memtables that are already immutable, then compacts what is due, within a budget and
    /// without waiting for others. For hosts without background threads, and for
    /// `background_worker_count = 0`.
    ///
    /// # Errors
    /// As [`compact_range`](Self::compact_range).
    ///
    /// # Cost
    /// Writes one table for each flush, and reads and writes the tables of each compaction, within the budget.
    pub async fn run_maintenance_with_budget(
        &self,
        budget: MaintenanceBudget,
    ) -> Result<MaintenanceOutcome> {
        self.core()
            .offload(
                move |core| async move { core.maintain_budgeted(budget, Mode::Blocking).await },
            )
            .await
    }

    /// [`run_maintenance_with_budget`](Self::run_maintenance_with_budget) on this thread.
    ///
    /// # Errors
    /// As [`compact_range`](Self::compact_range).
    pub fn run_maintenance_with_budget_sync(
        &self,
        budget: MaintenanceBudget,
    ) -> Result<MaintenanceOutcome> {
        block_on(self.core().maintain_budgeted(budget, Mode::Blocking))
    }
}

impl Core {
    async fn compact_range_budgeted(
        &self,
        range: &KeyRange,
        budget: MaintenanceBudget,
        mode: Mode,
    ) -> Result<MaintenanceOutcome> {
        let units = budget.max_compaction_inputs();
        self.compact_range_in(range, units, Turn::Try, mode)
            .await
            .map(|outcome| self.counted(outcome))
    }

    async fn maintain_budgeted(
        &self,
        budget: MaintenanceBudget,
        mode: Mode,
    ) -> Result<MaintenanceOutcome> {
        self.maintain(budget, Turn::Try, mode)
            .await
            .map(|outcome| self.counted(outcome))
    }

    fn counted(&self, outcome: MaintenanceOutcome) -> MaintenanceOutcome {
        if outcome.budget_exhausted {
            self.counters.budget_exhaustions.fetch_add(1, Relaxed);
        }
        outcome
    }
}
