//! What is beside a database: backups, a feed of its changes, and a reader that follows it.
//!
//! What each shows is compared with the history, while nothing happens to the one who looks.

use std::collections::BTreeMap;

use trine_io::Mode;
use trine_platform::block_on;

use crate::db::Db;
use crate::db::backup::store::Store;
use crate::db::backup::{BackupId, BackupOptions};
use crate::db::changes::{ChangeOperation, Changes};
use crate::error::{Error, Result};
use crate::sequence::Sequence;
use crate::simulation::history::{History, Moment};
use crate::simulation::workload::Run;
use crate::simulation::{BACKUPS, HERE, open_with};

/// Where backups are restored to.
const RESTORED: &str = "restored";

/// A backup that was asked for.
struct Backup {
    is_promised: bool,
    /// What it shows.
    history: History,
    moment: Moment,
}

#[derive(Default)]
pub(super) struct Beside {
    backups: BTreeMap<BackupId, Backup>,
    feed: Option<Changes>,
    reader: Option<Db>,
}

impl Beside {
    /// The process that had the database open is gone.
    pub(super) fn is_closed(&mut self) {
        self.feed = None;
    }

    /// So is every process.
    pub(super) fn is_alone(&mut self) {
        self.is_closed();
        self.reader = None;
    }
}

impl Run {
    fn store(&self) -> Store {
        Store::new(self.simulation.storage(BACKUPS))
    }

    fn backups(&self) -> Vec<BackupId> {
        let listed = self.undisturbed(|run| block_on(run.store().contents(Mode::Blocking)));
        listed
            .unwrap_or_else(|error| panic!("backups: {error}"))
            .backups
    }

    pub(super) fn back_up(&mut self, db: &Db) -> Result<()> {
        let newest = self.backups().last().map_or(0, |id| id.get());
        let asked = BackupId::new(newest + 1);
        let backup = Backup {
            is_promised: false,
            history: self.history.clone(),
            moment: self.now(false),
        };
        self.beside.backups.insert(asked, backup);
        let options = BackupOptions::default();
        let made = block_on(db.core().backup(&self.store(), options, 0, Mode::Blocking));
        let made = self.answered(made)?.backup.id;
        assert_eq!(made, asked);
        self.promise(made);
        let position = self.position();
        self.history.all_durable(position);
        Ok(())
    }

    fn promise(&mut self, id: BackupId) {
        if let Some(backup) = self.beside.backups.get_mut(&id) {
            backup.is_promised = true;
        }
    }

    /// Removes all but the newest.
    pub(super) fn prune(&mut self) -> Result<()> {
        let Some(newest) = self.backups().last().copied() else {
            return Ok(());
        };
        let older = self.beside.backups.range_mut(..newest);
        older.for_each(|(_, backup)| backup.is_promised = false);
        let pruned = block_on(self.store().prune(1, Mode::Blocking));
        self.answered(pruned)?;
        assert_eq!(self.backups(), [newest]);
        self.promise(newest);
        Ok(())
    }

    /// What was promised is there, and the newest of all is whole.
    pub(super) fn check_backups(&self) {
        let listed = self.backups();
        for (id, backup) in &self.beside.backups {
            let is_there = !backup.is_promised || listed.contains(id);
            assert!(is_there, "backup {id} is gone: {listed:?}");
        }
        if let Some(newest) = listed.last() {
            let verified = block_on(self.store().verify(*newest, Mode::Blocking));
            verified.unwrap_or_else(|error| panic!("backup {newest}: {error}"));
        }
    }

    /// Restores the newest backup.
    pub(super) fn restore(&mut self) -> Result<()> {
        let target = self.simulation.storage(RESTORED);
        if block_on(target.exists(Mode::Blocking))? {
            for name in block_on(target.list(Mode::Blocking))? {
                block_on(target.remove(Mode::Blocking, &name))?;
            }
        }
        let Some(newest) = self.backups().last().copied() else {
            return Ok(());
        };
        let restored = block_on(self.store().restore(newest, &target, Mode::Blocking));
        self.answered(restored)?;
        self.undisturbed(|run| {
            let db = open_with(run.options.clone(), &run.simulation, RESTORED);
            let db = db.unwrap_or_else(|error| panic!("restored: {error}"));
            let backup = &run.beside.backups[&newest];
            let seen = backup.history.check(&db, backup.moment);
            seen.unwrap_or_else(|found| panic!("restored: {found}"));
        });
        Ok(())
    }

    /// A reader looks anew; there may have been none.
    pub(super) fn refresh(&mut self) -> Result<()> {
        let looked = match self.beside.reader.take() {
            Some(reader) => block_on(reader.core().refresh(Mode::Blocking)),
            None => open_with(self.options.clone().read_only(), &self.simulation, HERE),
        };
        let reader = self.answered(looked)?;
        self.undisturbed(|run| {
            let seen = run.history.check(&reader, run.now(false));
            seen.unwrap_or_else(|found| panic!("a reader: {found}"));
        });
        self.beside.reader = Some(reader);
        Ok(())
    }

    /// Takes what there is of the feed of changes, or begins one.
    pub(super) fn feed(&mut self, db: &Db) -> Result<()> {
        let feed = match self.beside.feed.take() {
            Some(feed) => feed,
            None => db.changes(Sequence::ZERO)?,
        };
        match self.answered(self.drain(feed, db.last_committed_sequence())) {
            Ok(feed) => self.beside.feed = Some(feed),
            // The log does not reach so far back.
            Err(Error::ChangesLost { .. }) => {
                self.beside.feed = Some(db.changes(db.last_committed_sequence())?);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn drain(&self, mut feed: Changes, through: Sequence) -> Result<Changes> {
        let mut last = 0;
        while feed.position() < through {
            let expected = feed.position().get() + 1;
            let batch = feed.next_sync()?;
            assert_eq!(batch.sequence().get(), expected);
            if let [ChangeOperation::BulkLoad { .. }] = batch.operations() {
                continue;
            }
            let number = self.history.check_fed(batch.operations());
            let number = number.unwrap_or_else(|found| panic!("fed: {found}"));
            assert!(number > last, "commit {number} comes after {last}");
            last = number;
        }
        Ok(feed)
    }
}
