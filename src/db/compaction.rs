//! Compaction as jobs: one unit is one pick, claimed, merged or moved, and installed.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use trine_io::Mode;
use trine_platform::clock;

use crate::db::budget::MaintenanceOutcome;
use crate::db::counters::bytes_of;
use crate::db::maintenance::{Turn, Unit, added, level_tag};
use crate::db::{Core, Persistent};
use crate::error::{Error, Result};
use crate::event::{Event, Job as Span};
use crate::key::KeyRange;
use crate::manifest::Change;
use crate::sequence::Sequence;
use crate::table::Table;
use crate::tree::Tree;
use crate::tree::blob_gc::stale_files;
use crate::tree::build::Built;
use crate::tree::claims::{ClaimGuard, Claimed};
use crate::tree::compaction::compact;
use crate::tree::picker::{Compaction, Goal, Pick, Picker, Shape};
use crate::tree::throttle::AtClose;
use crate::tree::version::VersionChange;
use crate::tree::view::View;

/// A compaction with its tables, which nobody else works on.
struct Job<'a> {
    compaction: Compaction,
    inputs: Vec<(usize, Arc<Table>)>,
    claim: ClaimGuard<'a>,
}

impl Job<'_> {
    /// The tables that are gone after it.
    fn taken(&self) -> impl Iterator<Item = &(usize, Arc<Table>)> {
        let taken = |(level, _): &&(usize, _)| self.compaction.takes(*level);
        self.inputs.iter().filter(taken)
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.taken().map(|(_, table)| table)
    }
}

impl Core {
    /// One compaction of the tree towards `goal`, if there is anything to do.
    pub(crate) async fn compact_once(
        &self,
        tree: &Tree,
        goal: &Goal,
        when: Turn,
        mode: Mode,
    ) -> Result<Unit> {
        let Some(persistent) = &self.persistent else {
            return Ok(Unit::Idle);
        };
        let mut freed = None;
        loop {
            self.check_open()?;
            if tree.check_kept().is_err() {
                return Ok(Unit::Idle);
            }
            let (pick, job) = self.claim(persistent, tree, goal)?;
            if let Some(job) = job {
                let span = Span::Compaction {
                    bucket: tree.name(),
                    level: job.compaction.output_level,
                };
                let work = self.carry_out(persistent, tree, job, mode);
                self.observer.within(span, work).await?;
                self.remove_obsolete(mode).await;
                return Ok(Unit::Done);
            }
            match (pick, when) {
                (Pick::Blocked, Turn::Try) => return Ok(Unit::Busy),
                // Looked at once more after it began to listen: what it waits for may just have come.
                (Pick::Blocked, Turn::Wait) => match freed.take() {
                    None => freed = Some(persistent.claims.freed()),
                    Some(freed) => {
                        freed.await;
                    }
                },
                _ => return Ok(Unit::Idle),
            }
        }
    }

    /// Compacts towards `goal` in every bucket by turns, up to `units` units.
    pub(crate) async fn compact_units(
        &self,
        goal: &Goal,
        units: usize,
        when: Turn,
        mode: Mode,
    ) -> Result<MaintenanceOutcome> {
        let mut outcome = MaintenanceOutcome::default();
        let mut waiting = self.compacted.order(&self.trees.load());
        while outcome.compactions < units
            && let Some(tree) = waiting.pop_front()
        {
            let unit = self.compact_once(&tree, goal, when, mode).await;
            if !matches!(unit, Ok(Unit::Idle | Unit::Busy)) {
                // Workers may have wanted what it had claimed; also if it failed.
                self.maintenance.ring();
                self.compacted.served(tree.id());
            }
            match unit? {
                Unit::Done => {
                    outcome.compactions += 1;
                    waiting.push_back(tree);
                }
                Unit::Idle => {}
                Unit::Busy => outcome.busy = true,
            }
        }
        outcome.budget_exhausted = waiting.iter().any(|tree| self.is_due(tree, goal));
        Ok(outcome)
    }

    /// Compacts towards `goal` in every bucket, until `stop`. Whether there was anything to do. For
    /// background workers.
    pub(crate) async fn compact_due(
        &self,
        goal: &Goal,
        stop: &dyn Fn() -> bool,
        mode: Mode,
    ) -> Result<bool> {
        let mut compacted = false;
        loop {
            let mut found = false;
            let mut failure = Ok(());
            // One after the other: a bucket that always has something to do, or always fails, must not
            // hold up the rest.
            for tree in self.trees.load().iter() {
                if !stop() {
                    match self.compact_once(tree, goal, Turn::Try, mode).await {
                        Ok(unit) => found |= unit == Unit::Done,
                        Err(error) => failure = failure.and(Err(error)),
                    }
                }
            }
            failure?;
            if !found {
                // Also what a reader still held when its files became obsolete.
                self.remove_obsolete(mode).await;
                return Ok(compacted);
            }
            compacted = true;
        }
    }

    /// Compacts what overlaps `range` in every bucket down to its last level, up to `units` units.
    pub(crate) async fn compact_range_in(
        &self,
        range: &KeyRange,
        units: usize,
        when: Turn,
        mode: Mode,
    ) -> Result<MaintenanceOutcome> {
        self.check_writable()?;
        // What is written meanwhile does not keep the call from ending.
        let goal = Goal::Range(range.clone(), self.commits.visible());
        self.compact_units(&goal, units, when, mode).await
    }

    /// What would be done next towards `goal`.
    pub(crate) fn pick_next(&self, tree: &Tree, goal: &Goal) -> Pick {
        let Some(persistent) = &self.persistent else {
            return Pick::Nothing;
        };
        persistent.claims.read(tree.id(), |claimed| {
            self.picker(tree, &tree.pin(), claimed).pick(goal)
        })
    }

    /// Whether something waits to be done towards `goal`.
    fn is_due(&self, tree: &Tree, goal: &Goal) -> bool {
        self.pick_next(tree, goal) != Pick::Nothing
    }

    fn claim<'a>(
        &self,
        persistent: &'a Persistent,
        tree: &Tree,
        goal: &Goal,
    ) -> Result<(Pick, Option<Job<'a>>)> {
        let mut view = None;
        let mut awaited = None;
        let (pick, claim) = persistent.claims.claim(tree.id(), |claimed| {
            let now = view.insert(tree.pin());
            let picker = self.picker(tree, now, claimed);
            let pick = picker.pick(goal);
            if pick == Pick::Nothing {
                awaited = picker.awaited();
            }
            pick
        });
        if let Some(sequence) = awaited {
            self.pins.ring_above(sequence);
        }
        let (Pick::Job(compaction), Some(claim), Some(view)) = (&pick, claim, view) else {
            return Ok((pick, None));
        };
        let inputs: Option<Vec<_>> = compaction
            .inputs
            .iter()
            .map(|(level, number)| {
                let table = view.version.table(*level, *number)?;
                Some((*level, Arc::clone(table)))
            })
            .collect();
        let job = inputs.map(|inputs| Job {
            compaction: compaction.clone(),
            inputs,
            claim,
        });
        match job {
            Some(job) => Ok((pick, Some(job))),
            None => Err(Error::Corruption {
                message: "a compaction names a table that is not there".to_owned(),
            }),
        }
    }

    /// Refuses a merge that could take the space which the memtables of now need: nothing else gives their log back,
    /// and until its inputs can go a merge only takes.
    fn check_space(&self, persistent: &Persistent, job: &Job<'_>) -> Result<()> {
        let Some(free) = persistent.storage.free_bytes() else {
            return Ok(());
        };
        if job.compaction.moves {
            return Ok(());
        }
        let merged: u64 = job.tables().map(|table| table.meta().bytes).sum();
        let values = job.tables().flat_map(|table| table.meta().blobs.iter());
        let moved = values.filter(|used| job.compaction.collects.contains(&used.file));
        let moved: u64 = moved.map(|used| used.value_bytes).sum();
        let trees = self.trees.load();
        let unflushed = |tree: &Arc<Tree>| -> usize {
            let view = tree.pin();
            view.buffers().map(|buffer| buffer.bytes()).sum()
        };
        let unflushed: usize = trees.iter().map(unflushed).sum();
        let needed = merged
            .saturating_add(moved)
            .saturating_add(unflushed as u64);
        if free >= needed {
            return Ok(());
        }
        let text = format!(
            "a compaction beside unflushed writes may need {needed} bytes, {free} are free"
        );
        Err(Error::Io(std::io::Error::new(ErrorKind::StorageFull, text)))
    }

    async fn carry_out(
        &self,
        persistent: &Persistent,
        tree: &Tree,
        job: Job<'_>,
        mode: Mode,
    ) -> Result<()> {
        let began = clock::now();
        persistent.manifest.take().await.check()?;
        self.check_space(persistent, &job)?;
        let to = job.compaction.output_level;
        let (built, outputs, changes) = if job.compaction.moves {
            let moved = job.inputs.iter().map(|(from, table)| Change::TableMoved {
                bucket: tree.id(),
                number: table.meta().number,
                from: level_tag(*from),
                to: level_tag(to),
            });
            let tables = job.tables().map(Arc::clone).collect();
            (Built::default(), tables, moved.collect())
        } else {
            let built = compact(
                tree,
                &job.compaction,
                &job.inputs,
                self.shape().table_bytes,
                self.readable(),
                self.pins.newest(),
                persistent.build_context(&self.closed, AtClose::GiveUp, mode),
            )
            .await?;
            let removed = job.taken().map(|(level, table)| Change::TableRemoved {
                bucket: tree.id(),
                level: level_tag(*level),
                number: table.meta().number,
            });
            let changes: Vec<_> = removed.chain(added(tree, to, &built)).collect();
            let tables = built.tables.clone();
            (built, tables, changes)
        };
        persistent.install(changes, &built, mode).await?;
        self.counters
            .compacted(&job.tables().collect::<Vec<_>>(), &job.compaction, &built);
        self.counters.collected(&built.collected);
        let took = began.elapsed();
        self.tell_compacted(tree, &job, &built, took);
        let removed = job.tables().map(|table| table.meta().number).collect();
        let added = outputs.into_iter().map(|table| (to, table)).collect();
        let unreferenced = tree.install_compaction(&VersionChange {
            removed,
            added,
            blobs: built.blobs,
        });
        tree.note_compacted(&job.compaction);
        self.note_progress(tree);
        persistent.retire_blobs(unreferenced.iter());
        drop(unreferenced);
        if !job.compaction.moves {
            persistent.retire(job.tables());
        }
        let Job { inputs, claim, .. } = job;
        drop(inputs);
        // Last: whoever claims next must find the result.
        drop(claim);
        Ok(())
    }

    fn tell_compacted(&self, tree: &Tree, job: &Job<'_>, built: &Built, took: Duration) {
        let bucket = tree.name();
        let moved = job.compaction.moves;
        let input_bytes = bytes_of(job.tables());
        let output_bytes = if moved {
            input_bytes
        } else {
            bytes_of(&built.tables)
        };
        self.observer.tell(&Event::Compacted {
            bucket,
            level: job.compaction.output_level,
            moved,
            input_bytes,
            output_bytes,
            took,
        });
        let collected = &built.collected;
        if collected.runs > 0 {
            self.observer.tell(&Event::BlobsCollected {
                bucket,
                input_bytes: collected.input_bytes,
                output_bytes: collected.output_bytes,
                discarded_bytes: collected.discarded_bytes,
            });
        }
    }

    fn picker<'a>(&self, tree: &Tree, view: &'a View, claimed: Claimed<'a>) -> Picker<'a> {
        let version = &view.version;
        let gc = self.persistent.as_ref().and_then(|it| it.blob_gc);
        let mut shape = self.shape();
        if tree.rules().change_entries() {
            // Between its parts a merge shows what it has merged twice, which must say the same.
            shape.part_bytes = u64::MAX;
        }
        Picker::new(version, shape, claimed, self.pins.oldest())
            .with_unfinished(tree.unfinished())
            .with_first_unflushed(view.first_unflushed())
            .with_stale(stale_files(version, &tree.blob_policy(gc)))
    }

    /// Notes how much merging would bring the tree into form.
    pub(crate) fn note_pending_bytes(&self, tree: &Tree) {
        if let Some(persistent) = &self.persistent {
            // Pinned and noted under one lock: else the debt of an older version could be noted last, and
            // writes wait for ever for work that is done.
            persistent.claims.read(tree.id(), |claimed| {
                let pending = self.picker(tree, &tree.pin(), claimed).debt_bytes();
                tree.note_pending_bytes(pending);
            });
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape::of(&self.options)
    }

    /// The sequences at which somebody reads, or may begin to.
    pub(crate) fn readable(&self) -> Vec<Sequence> {
        let now = trine_platform::clock::now();
        self.pins.sequences(now, || self.commits.visible())
    }

    /// A compaction that runs for as long as the guard lives.
    #[cfg(test)]
    pub(crate) fn claim_for_test<'a>(&'a self, tree: &Tree, goal: &Goal) -> ClaimGuard<'a> {
        let persistent = self.persistent.as_ref().expect("storage");
        let (_, job) = self.claim(persistent, tree, goal).expect("a version");
        job.expect("something to do").claim
    }
}
