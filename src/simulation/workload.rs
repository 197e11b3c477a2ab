//! The calls of a run, and the run in progress.

use trine_io::Mode;
use trine_io::simulation::{Faults, Simulation};
use trine_platform::block_on;

use crate::commit::batch::BatchOperation;
use crate::db::bulk_load::BulkLoadOptions;
use crate::db::iter::LazyIter;
use crate::db::{Db, MaintenanceBudget};
use crate::error::{Error, Result};
use crate::key::KeyRange;
use crate::options::{DbOptions, DurabilityMode, WriteOptions};
use crate::simulation::beside::Beside;
use crate::simulation::history::{History, Moment};
use crate::simulation::rows::Write;
use crate::simulation::workloads::put;
use crate::simulation::{COPY, HERE, Time, bucket, open_with, options};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Commit(DurabilityMode, Vec<(String, Write)>),
    Persist(DurabilityMode),
    /// Puts into the default bucket.
    Load(Vec<(u8, usize)>),
    Create(String),
    Drop(String),
    Flush,
    Compact,
    Maintain,
    Checkpoint,
    BackUp,
    Restore,
    Prune,
    /// Somebody who only reads looks anew.
    Refresh,
    /// Takes what came in the feed of changes.
    Feed,
    /// Keeps what this bucket holds now readable, until the next opening or [`Act::Release`].
    Hold(String),
    Release,
    /// So many milliseconds pass.
    Wait(u64),
    Reopen,
}

/// A run in progress: the host, the database while it is open, and what was asked and answered.
pub(super) struct Run {
    pub(super) simulation: Simulation,
    pub(super) db: Option<Db>,
    pub(super) history: History,
    held: Option<LazyIter>,
    time: Time,
    /// For the next opening: see [`use_options`](Self::use_options).
    pub(super) options: DbOptions,
    /// How many changes had been made before this host was there.
    base: usize,
    /// The power was lost since the last opening that came to its end.
    power_lost: bool,
    /// How many operations had been made to fail when it was opened.
    injected_before: u64,
    pub(super) beside: Beside,
}

impl Run {
    pub(super) fn new(simulation: Simulation) -> Self {
        let time = Time::default();
        Self {
            simulation,
            db: None,
            history: History::default(),
            held: None,
            options: time.of(options()),
            time,
            base: 0,
            power_lost: false,
            injected_before: 0,
            beside: Beside::default(),
        }
    }

    /// Goes on from what an opening of this host's disk has found.
    pub(super) fn recovered(simulation: Simulation, history: History, moment: Moment) -> Self {
        let run = Self {
            base: moment.position,
            ..Self::new(simulation)
        };
        run.time.set(history.time(moment.position));
        Self { history, ..run }
    }

    /// The next opening is with these options, by the time of this run.
    pub(super) fn use_options(&mut self, options: DbOptions) {
        self.options = self.time.of(options);
    }

    /// The process ends here, with the power or without; `simulation` has what is left of its disk.
    pub(super) fn crash(&mut self, simulation: Simulation, power_lost: bool) {
        self.base = self.position();
        // An opening that was cut off in between changes nothing.
        self.power_lost |= power_lost;
        let old = std::mem::replace(&mut self.simulation, simulation);
        old.stop_after(0);
        self.held = None;
        self.db = None;
        self.beside.is_alone();
    }

    pub(super) fn position(&self) -> usize {
        self.base + self.simulation.changes()
    }

    /// Now, if only the process ended (or the power went, too).
    pub(super) fn now(&self, power_lost: bool) -> Moment {
        Moment {
            position: self.position(),
            power_lost,
        }
    }

    /// What the caller gets: nothing any more once the process is gone, whatever was stored into a map meanwhile.
    pub(super) fn answered<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(_) if self.simulation.has_stopped() => Err(gone()),
            result => result,
        }
    }

    /// Makes the call, and opens the database first where it is closed.
    pub(super) fn act(&mut self, act: &Act) -> Result<()> {
        if *act == Act::Reopen {
            self.close();
        }
        let db = match &self.db {
            Some(db) => db.clone(),
            None => self.open()?,
        };
        match act {
            Act::Commit(mode, writes) => {
                let batch = self.history.ask_commit(self.position(), writes)?;
                let options = WriteOptions { durability: *mode };
                let result = self.answered(db.write_sync(batch, options));
                self.history
                    .answer_commit(self.position(), *mode, result.is_ok());
                result.map(drop)
            }
            Act::Load(rows) => {
                let writes: Vec<_> = rows
                    .iter()
                    .map(|(key, length)| put("default", *key, *length))
                    .collect();
                let batch = self.history.ask_commit(self.position(), &writes)?;
                self.history.is_load();
                let rows = batch
                    .into_operations()
                    .into_iter()
                    .map(|operation| match operation {
                        BatchOperation::Put { key, value, .. } => Ok((key, value)),
                        other => panic!("{other:?} in a load"),
                    });
                let before = db.last_committed_sequence();
                let options = BulkLoadOptions::new().with_memory_bytes(400);
                let result = self.answered(db.try_bulk_load_sync(rows, options));
                let took = db.last_committed_sequence() > before;
                self.history
                    .answer_load(self.position(), result.is_ok(), took);
                result.map(drop)
            }
            Act::Persist(mode) => {
                self.answered(db.persist_sync(*mode))?;
                if matches!(mode, DurabilityMode::SyncData | DurabilityMode::SyncAll) {
                    self.history.all_durable(self.position());
                }
                Ok(())
            }
            Act::Create(name) if self.history.is_free(name) => {
                self.history.ask_create(self.position(), name);
                let result = self.answered(bucket(&db, name));
                self.history.answer_create(self.position(), result.is_ok());
                result.map(drop)
            }
            Act::Drop(name) if self.history.ask_drop(self.position(), name) => {
                let result = self.answered(db.drop_bucket_sync(name.as_str()));
                self.history
                    .answer_drop(self.position(), name, result.is_ok());
                result
            }
            Act::Flush => {
                self.answered(db.flush_sync())?;
                // What is in tables survives: see `Core::flush_buffer`.
                self.history.all_durable(self.position());
                Ok(())
            }
            Act::Compact => db.compact_range_sync(KeyRange::all()).map(drop),
            Act::Maintain => db
                .run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())
                .map(drop),
            Act::Checkpoint => {
                let target = self.simulation.storage(COPY);
                self.history.ask_checkpoint(self.position());
                let made = block_on(db.core().checkpoint(&target, Mode::Blocking));
                self.answered(made)?;
                self.history.answer_checkpoint(self.position());
                Ok(())
            }
            Act::BackUp => self.back_up(&db),
            Act::Restore => self.restore(),
            Act::Prune => self.prune(),
            Act::Refresh => self.refresh(),
            Act::Feed => self.feed(&db),
            Act::Hold(name) if !self.history.is_free(name) => {
                self.held = Some(bucket(&db, name)?.range_lazy_sync(&KeyRange::all())?);
                Ok(())
            }
            Act::Release => {
                self.held = None;
                Ok(())
            }
            Act::Wait(millis) => {
                let now = self.time.now() + millis;
                self.time.set(now);
                self.history.time_passes(self.position(), now);
                Ok(())
            }
            Act::Create(_) | Act::Drop(_) | Act::Hold(_) | Act::Reopen => Ok(()),
        }
    }

    /// Closes; everything committed survives power loss then, if closing works.
    pub(super) fn close(&mut self) {
        self.held = None;
        self.beside.is_closed();
        if let Some(db) = self.db.take()
            && self
                .answered(block_on(db.core().close(Mode::Blocking)))
                .is_ok()
        {
            let position = self.position();
            self.history.all_durable(position);
        }
    }

    /// Opens, and compares what is found with what was asked for.
    fn open(&mut self) -> Result<Db> {
        let opened = open_with(self.options.clone(), &self.simulation, HERE);
        let db = self.answered(opened)?;
        let now = self.now(self.power_lost);
        self.power_lost = false;
        let last = self.undisturbed(|run| {
            run.check_backups();
            let last = run.history.check(&db, now);
            last.unwrap_or_else(|found| panic!("reopened: {found}"))
        });
        self.history.resolve(&db, last, now);
        self.injected_before = self.simulation.injected();
        self.db = Some(db.clone());
        Ok(db)
    }

    /// Nothing happens to the one who looks.
    pub(super) fn undisturbed<T>(&self, look: impl FnOnce(&Self) -> T) -> T {
        let faults = self.simulation.set_faults(Faults::None);
        let stops_after = self.simulation.stop_after(usize::MAX);
        let capacity = self.simulation.set_capacity(None);
        let found = look(self);
        self.simulation.set_faults(faults);
        self.simulation.stop_after(stops_after);
        self.simulation.set_capacity(capacity);
        found
    }

    /// Whether since the last opening nothing failed but for want of space.
    pub(super) fn is_unhurt(&self) -> bool {
        self.db.is_some() && self.simulation.injected() == self.injected_before
    }
}

/// What a call of a process that is gone comes to.
fn gone() -> Error {
    std::io::Error::other("the simulated process is gone").into()
}
