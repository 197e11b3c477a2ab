//! Writes: checked and encoded by the caller, then given to the commit path.

use std::sync::Arc;
use std::task::Poll;

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::backpressure::Pressure;
use crate::commit::batch::{DEFAULT_BUCKET, Staged, WriteBatch};
use crate::commit::conflict::Reads;
use crate::commit::encoding::EncodedBatch;
use crate::commit::merged::MergedBatch;
use crate::commit::{Commit, Touched, Work};
use crate::db::Core;
use crate::db::latency::Call;
use crate::error::{Error, Result};
use crate::options::{DurabilityMode, WriteOptions};
use crate::sequence::Sequence;
use crate::tree::Tree;
use crate::types::CommitInfo;

/// Everything that a commit needs, checked as far as a caller can.
pub(crate) struct Prepared(Commit);

impl Prepared {
    /// Conflicts with whatever touches what was read.
    pub(crate) fn reading(mut self, reads: Reads) -> Self {
        self.0.reads = Some(reads);
        self
    }
}

impl Core {
    /// Checks a write of one tree and encodes it.
    pub(crate) fn prepare_one(
        &self,
        tree: &Arc<Tree>,
        options: WriteOptions,
        stage: impl FnOnce(&mut EncodedBatch) -> Result<()>,
    ) -> Result<Prepared> {
        self.check_writable()?;
        let mut batch = EncodedBatch::default();
        stage(&mut batch)?;
        self.prepared(batch, Touched::One(Arc::clone(tree)), None, options)
    }

    /// Checks a batch and encodes it, unless it is encoded already.
    pub(crate) fn prepare_batch(
        &self,
        mut batch: WriteBatch,
        reads: Option<Reads>,
        options: WriteOptions,
    ) -> Result<Prepared> {
        self.check_open()?;
        if !batch.is_empty() {
            self.check_writable()?;
        }
        let known = self.trees.load();
        let find = |name: &str| {
            known.by_name(name).ok_or_else(|| Error::BucketMissing {
                name: name.to_owned(),
            })
        };
        if let Some(encoded) = batch.take_encoded() {
            let trees = if encoded.is_empty() {
                Touched::Many(Vec::new())
            } else {
                Touched::One(Arc::clone(find(DEFAULT_BUCKET)?))
            };
            return self.prepared(encoded, trees, reads, options);
        }
        let mut encoded = EncodedBatch::default();
        let mut merged = MergedBatch::new(if batch.has_composites() {
            self.options.clock.now()
        } else {
            0
        });
        let mut trees: Vec<Arc<Tree>> = Vec::new();
        batch.each(|name, operation| {
            let tree = find(name)?;
            if !trees.iter().any(|other| other.id() == tree.id()) {
                trees.push(Arc::clone(tree));
            }
            match operation {
                Staged::Put(key, _) | Staged::PutExpiring(key, ..) | Staged::Delete(key) => {
                    check_key(tree, key)?;
                }
                Staged::Merge(key, _) => {
                    check_key(tree, key)?;
                    check_operator(tree)?;
                }
                Staged::DeleteRange(_) => {}
            }
            if batch.has_composites() {
                merged.add(tree.id(), operation);
                return Ok(());
            }
            match operation {
                Staged::Put(key, value) => encoded.put(tree.id(), key, value),
                Staged::Delete(key) => encoded.delete(tree.id(), key),
                Staged::DeleteRange(range) => encoded.delete_range(tree.id(), range),
                Staged::PutExpiring(..) | Staged::Merge(..) => Ok(()),
            }
        })?;
        if batch.has_composites() {
            encoded = merged.encode()?;
        }
        self.prepared(encoded, Touched::Many(trees), reads, options)
    }

    fn prepared(
        &self,
        batch: EncodedBatch,
        trees: Touched,
        reads: Option<Reads>,
        options: WriteOptions,
    ) -> Result<Prepared> {
        let durability = self.options.durability.stronger(options.durability);
        self.check_durability(durability)?;
        self.check_background()?;
        Ok(Prepared(Commit {
            batch,
            trees,
            reads,
            durability,
        }))
    }

    /// Whether the backend can promise this.
    pub(crate) fn check_durability(&self, durability: DurabilityMode) -> Result<()> {
        let syncs = matches!(
            durability,
            DurabilityMode::SyncData | DurabilityMode::SyncAll
        );
        match &self.persistent {
            Some(persistent) if syncs && !persistent.storage.capabilities().durable_sync => {
                Err(Error::unsupported_durability(durability))
            }
            _ => Ok(()),
        }
    }

    /// Commits on this thread, which may block: without a future where nothing waits, as nearly always.
    pub(crate) fn commit_blocking(&self, prepared: Prepared) -> Result<CommitInfo> {
        let begun = self.latencies.begin();
        let committed = self.commit_without_future(prepared);
        self.latencies.end(Call::Commit, begun);
        committed
    }

    fn commit_without_future(&self, prepared: Prepared) -> Result<CommitInfo> {
        let pressure = self.pressure_on(&prepared.0.trees);
        let wants_segment = self
            .commits
            .supply()
            .is_some_and(|supply| supply.is_wanting());
        if pressure == Pressure::Stop || wants_segment {
            return block_on(self.commit_here(prepared, Mode::Blocking));
        }
        match self.commits.commit_at_once(&prepared.0) {
            None => block_on(self.commit_here(prepared, Mode::Blocking)),
            Some(committed) => {
                let committed = committed?;
                if pressure > Pressure::None {
                    let bytes = prepared.0.batch.as_bytes().len();
                    block_on(self.slow_down(pressure, bytes, Mode::Blocking));
                }
                Ok(CommitInfo::new(committed))
            }
        }
    }

    /// Commits on this thread.
    pub(crate) async fn commit_here(&self, prepared: Prepared, mode: Mode) -> Result<CommitInfo> {
        if let Some(supply) = self.commits.supply().filter(|supply| supply.is_wanting()) {
            Box::pin(supply.make_wanted(mode)).await;
        }
        let (pressure, bytes) = self.admitted(&prepared.0, mode).await?;
        let committed = self.commits.run(Work::Commit(prepared.0), mode).await?;
        self.slow_down(pressure, bytes, mode).await;
        Ok(CommitInfo::new(committed))
    }

    /// Commits on the log thread, where the runtime has threads. The first poll hands the write over
    /// and is always pending; from then on the commit happens whether the future is kept or not.
    pub(crate) async fn commit_async(self: &Arc<Self>, prepared: Prepared) -> Result<CommitInfo> {
        let begun = self.latencies.begin();
        let committed = self.commit_elsewhere(prepared).await;
        self.latencies.end(Call::Commit, begun);
        committed
    }

    async fn commit_elsewhere(self: &Arc<Self>, prepared: Prepared) -> Result<CommitInfo> {
        if !self.options.runtime.capabilities().background_threads() {
            return self.commit_here(prepared, Mode::Cooperative).await;
        }
        let mode = Mode::Cooperative;
        let (pressure, bytes) = if self.pressure_on(&prepared.0.trees) < Pressure::Stop
            || self.has_workers()
        {
            self.admitted(&prepared.0, mode).await?
        } else {
            // The writer has to do work that blocks.
            let (trees, bytes) = (prepared.0.trees.clone(), prepared.0.batch.as_bytes().len());
            let room =
                |core: Arc<Self>| async move { core.wait_for_room(&trees, Mode::Blocking).await };
            self.offload(room).await?;
            (Pressure::None, bytes)
        };
        let handed_over = self.commits.hand_over(Work::Commit(prepared.0))?;
        pend_once().await;
        let committed = handed_over.wait().await?;
        self.slow_down(pressure, bytes, mode).await;
        Ok(CommitInfo::new(committed))
    }

    /// Waits until the commit's buckets take it. What it will be slowed down by, and its bytes.
    async fn admitted(&self, commit: &Commit, mode: Mode) -> Result<(Pressure, usize)> {
        let mut pressure = self.pressure_on(&commit.trees);
        if pressure == Pressure::Stop {
            Box::pin(self.wait_for_room(&commit.trees, mode)).await?;
            pressure = self.pressure_on(&commit.trees);
        }
        Ok((pressure, commit.batch.as_bytes().len()))
    }

    /// Makes everything committed so far as durable as asked.
    pub(crate) async fn persist(&self, durability: DurabilityMode, mode: Mode) -> Result<()> {
        self.check_open()?;
        self.check_durability(durability)?;
        if self.options.read_only || self.persistent.is_none() {
            return Ok(());
        }
        self.commits
            .run(Work::Persist(durability), mode)
            .await
            .map(|_: Sequence| ())
    }
}

/// Whether the bucket takes this key.
pub(crate) fn check_key(tree: &Tree, key: &[u8]) -> Result<()> {
    if key.is_empty() && !tree.options().allow_empty_keys {
        return Err(Error::invalid_options(format!(
            "bucket {} does not allow empty keys",
            tree.name()
        )));
    }
    Ok(())
}

/// Whether operands can be merged into the bucket.
pub(crate) fn check_operator(tree: &Tree) -> Result<()> {
    if tree.options().merge_operator.is_none() {
        return Err(Error::invalid_options(format!(
            "bucket {} has no merge operator",
            tree.name()
        )));
    }
    Ok(())
}

/// Whether a name means the default bucket.
pub(crate) fn is_default(name: &str) -> bool {
    name == DEFAULT_BUCKET
}

/// Pending at its first poll, having asked to be polled again.
async fn pend_once() {
    let mut pended = false;
    std::future::poll_fn(|context| {
        if pended {
            return Poll::Ready(());
        }
        pended = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
