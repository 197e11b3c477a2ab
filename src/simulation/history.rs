//! What was asked and answered in a run, and which states may be found after what happened.
//!
//! Positions are counts of the host's changes: what was answered at position 7 was promised to whoever looks at
//! the disk after its first 7 changes. Each commit writes its own number under [`LAST`] in the default bucket, so
//! that a recovered database says which commit it ends with; everything else must then fit to that number.

use std::collections::BTreeMap;
use std::sync::Arc;

use trine_io::Mode;
use trine_platform::block_on;

use crate::commit::batch::{DEFAULT_BUCKET, WriteBatch};
use crate::db::Db;
use crate::db::changes::ChangeOperation;
use crate::error::Result;
use crate::file_name::{FileName, unfinished_name};
use crate::key::KeyRange;
use crate::options::DurabilityMode;
use crate::simulation::rows::{Found, Rows, Stamp, Write, same_effect};
use crate::simulation::{FILTERED, bucket};

/// Holds the number of the last commit, in the default bucket.
const LAST: &[u8] = b"\xfflast";

/// How sure it is that something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// From this position on it is promised.
    Promised(usize),
    /// It failed, or has no answer yet: it may have happened.
    Open,
    /// It is known not to have happened.
    Absent,
}

impl Outcome {
    fn is_promised_at(self, position: usize) -> bool {
        matches!(self, Self::Promised(since) if since <= position)
    }
}

#[derive(Clone, Debug)]
struct Commit {
    asked: usize,
    /// When that was.
    millis: u64,
    answered: Outcome,
    /// Since when it survives power loss, as far as this commit's own answer says so.
    durable: Outcome,
    /// A load may take a sequence though it does not happen; whether it did.
    is_load: bool,
    took: bool,
    writes: Vec<(usize, Write)>,
}

impl Commit {
    /// Whether this commit, the one with that number, is in a state that ends with commit `last`.
    fn is_in(&self, number: usize, last: usize) -> bool {
        match self.answered {
            Outcome::Promised(_) => true,
            Outcome::Open => number == last,
            Outcome::Absent => false,
        }
    }
}

/// A bucket from its creation to its end.
#[derive(Clone, Debug)]
struct Lifetime {
    name: String,
    asked: usize,
    created: Outcome,
    /// When its end was asked for, and what became of that.
    dropped: Option<(usize, Outcome)>,
}

/// What happened to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Moment {
    /// After so many changes.
    pub(super) position: usize,
    /// The power was lost, not just the process.
    pub(super) power_lost: bool,
}

/// A run so far. Commit number n is `commits[n - 1]`.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    commits: Vec<Commit>,
    lifetimes: Vec<Lifetime>,
    /// When each checkpoint was asked for, and what became of it.
    checkpoints: Vec<(usize, Outcome)>,
    /// When time passed, and what time it was then.
    times: Vec<(usize, u64)>,
    /// Keys and values of [`FILTERED`] on which its filter has acted, and since when that is known.
    filtered: BTreeMap<(Vec<u8>, Vec<u8>), usize>,
}

impl History {
    /// Whether the bucket is there as far as the run knows.
    fn living(&self, name: &str) -> Option<usize> {
        self.lifetimes.iter().position(|bucket| {
            bucket.name == name
                && matches!(bucket.created, Outcome::Promised(_))
                && bucket
                    .dropped
                    .is_none_or(|(_, outcome)| outcome == Outcome::Absent)
        })
    }

    /// From `position` on it is that time.
    pub(super) fn time_passes(&mut self, position: usize, millis: u64) {
        self.times.push((position, millis));
    }

    /// What time it was then.
    pub(super) fn time(&self, position: usize) -> u64 {
        let mut times = self.times.iter().rev();
        let last = times.find(|(since, _)| *since <= position);
        last.map_or(0, |(_, millis)| *millis)
    }

    /// Notes a batch that will be asked for at `position`, and gives it back; writes to buckets that are
    /// not there are left out.
    pub(super) fn ask_commit(
        &mut self,
        position: usize,
        writes: &[(String, Write)],
    ) -> Result<WriteBatch> {
        let number = self.commits.len() + 1;
        let mut batch = WriteBatch::new();
        batch.put(LAST, number.to_string());
        let mut known = Vec::new();
        for (name, write) in writes {
            let lifetime = match name.as_str() {
                DEFAULT_BUCKET => usize::MAX,
                name => match self.living(name) {
                    Some(lifetime) => lifetime,
                    None => continue,
                },
            };
            write.stage(number, name, &mut batch)?;
            known.push((lifetime, write.clone()));
        }
        self.commits.push(Commit {
            asked: position,
            millis: self.time(position),
            answered: Outcome::Open,
            durable: Outcome::Open,
            is_load: false,
            took: false,
            writes: known,
        });
        Ok(batch)
    }

    /// Notes what became of the last commit.
    pub(super) fn answer_commit(&mut self, position: usize, mode: DurabilityMode, done: bool) {
        let Some(commit) = self.commits.last_mut() else {
            return;
        };
        if done {
            commit.answered = Outcome::Promised(position);
            if matches!(mode, DurabilityMode::SyncData | DurabilityMode::SyncAll) {
                commit.durable = Outcome::Promised(position);
            }
            // Nothing is accepted after a commit whose outcome is unknown: those that failed before
            // this one did not happen.
            let before = self
                .commits
                .iter_mut()
                .filter(|commit| commit.answered == Outcome::Open);
            before.for_each(|commit| commit.answered = Outcome::Absent);
        }
    }

    /// The commit that was asked for last is a load.
    pub(super) fn is_load(&mut self) {
        if let Some(load) = self.commits.last_mut() {
            load.is_load = true;
        }
    }

    /// Notes what became of the last commit, a load; and whether a sequence is gone for it.
    pub(super) fn answer_load(&mut self, position: usize, done: bool, took: bool) {
        if let Some(load) = self.commits.last_mut() {
            load.took = took && !done;
        }
        self.answer_commit(position, DurabilityMode::SyncAll, done);
    }

    /// Everything answered so far survives power loss from here on.
    pub(super) fn all_durable(&mut self, position: usize) {
        for commit in &mut self.commits {
            if matches!(commit.answered, Outcome::Promised(_)) && commit.durable == Outcome::Open {
                commit.durable = Outcome::Promised(position);
            }
        }
    }

    /// Whether a bucket could be created (else dropped) now.
    pub(super) fn is_free(&self, name: &str) -> bool {
        !self.lifetimes.iter().any(|bucket| {
            bucket.name == name
                && bucket.created != Outcome::Absent
                && !matches!(bucket.dropped, Some((_, Outcome::Promised(_))))
        })
    }

    pub(super) fn ask_create(&mut self, position: usize, name: &str) {
        self.lifetimes.push(Lifetime {
            name: name.to_owned(),
            asked: position,
            created: Outcome::Open,
            dropped: None,
        });
    }

    pub(super) fn answer_create(&mut self, position: usize, done: bool) {
        if let Some(bucket) = self.lifetimes.last_mut().filter(|_| done) {
            bucket.created = Outcome::Promised(position);
        }
    }

    /// Notes that the bucket is about to be dropped; false if it is not there.
    pub(super) fn ask_drop(&mut self, position: usize, name: &str) -> bool {
        let Some(bucket) = self.living(name) else {
            return false;
        };
        self.lifetimes[bucket].dropped = Some((position, Outcome::Open));
        true
    }

    pub(super) fn answer_drop(&mut self, position: usize, name: &str, done: bool) {
        let asked = self
            .lifetimes
            .iter_mut()
            .rev()
            .find(|bucket| bucket.name == name);
        if let Some(bucket) = asked.filter(|_| done) {
            bucket.dropped = bucket
                .dropped
                .map(|(asked, _)| (asked, Outcome::Promised(position)));
        }
    }

    /// The fewest and the most commits that may be found.
    pub(super) fn bounds(&self, moment: Moment) -> (usize, usize) {
        let numbered = || self.commits.iter().zip(1..);
        let least = numbered()
            .filter(|(commit, _)| {
                commit.answered.is_promised_at(moment.position)
                    && (!moment.power_lost || commit.durable.is_promised_at(moment.position))
            })
            .map(|(_, number)| number)
            .max();
        let most = numbered()
            .filter(|(commit, _)| {
                commit.asked <= moment.position && commit.answered != Outcome::Absent
            })
            .map(|(_, number)| number)
            .max();
        (least.unwrap_or(0), most.unwrap_or(0))
    }

    /// Which buckets must be there, and which may.
    pub(super) fn buckets(&self, moment: Moment) -> Vec<(usize, bool)> {
        let mut found = Vec::new();
        for (index, bucket) in self.lifetimes.iter().enumerate() {
            let may = bucket.asked <= moment.position && bucket.created != Outcome::Absent;
            let (end_asked, end_promised) = match bucket.dropped {
                None | Some((_, Outcome::Absent)) => (false, false),
                Some((asked, outcome)) => (
                    asked <= moment.position,
                    outcome.is_promised_at(moment.position),
                ),
            };
            if may && !end_promised {
                let must = bucket.created.is_promised_at(moment.position) && !end_asked;
                found.push((index, must));
            }
        }
        found
    }

    /// What the bucket holds after commit `last`.
    fn rows(&self, lifetime: usize, last: usize) -> Rows {
        let mut rows = Rows::default();
        for (commit, number) in self.commits.iter().zip(1..=last) {
            let is_there = commit.is_in(number, last);
            if is_there {
                for (_, write) in commit
                    .writes
                    .iter()
                    .filter(|(bucket, _)| *bucket == lifetime)
                {
                    let millis = commit.millis;
                    rows.apply(write.fed(Stamp { number, millis }));
                }
                if lifetime == usize::MAX {
                    rows.put(LAST, number.to_string().into_bytes());
                }
            }
        }
        rows
    }

    /// How many sequences the first `last` commits took.
    fn sequences(&self, last: usize) -> u64 {
        let numbered = self.commits.iter().zip(1..=last);
        numbered
            .filter(|(commit, number)| commit.took || commit.is_in(*number, last))
            .count() as u64
    }

    /// How many loads behind commit `last` may have taken a sequence, and nothing else.
    fn loads_behind(&self, last: usize, moment: Moment) -> u64 {
        let behind = self.commits.iter().skip(last);
        behind
            .filter(|commit| commit.is_load && commit.asked <= moment.position)
            .count() as u64
    }

    /// Whether what is found is a state that may be found. Gives back the last commit in it.
    pub(super) fn check(&self, db: &Db, moment: Moment) -> std::result::Result<usize, String> {
        let fail = |error: crate::error::Error| error.to_string();
        let last = match db.get_sync(LAST).map_err(fail)? {
            None => 0,
            Some(text) => String::from_utf8_lossy(&text)
                .parse()
                .map_err(|_| format!("the last commit is {text:?}"))?,
        };
        let (least, most) = self.bounds(moment);
        if !(least..=most).contains(&last) {
            return Err(format!(
                "ends with commit {last}, not one of {least}..={most}"
            ));
        }
        let sequence = db.last_committed_sequence().get();
        let least = self.sequences(last);
        if sequence < least || sequence > least + self.loads_behind(last, moment) {
            return Err(format!("sequence {sequence} after commit {last}"));
        }
        self.check_rows(db, DEFAULT_BUCKET, usize::MAX, last, moment)?;
        let possible = self.buckets(moment);
        let trees = db.core().trees.load();
        for tree in trees.iter().filter(|tree| tree.name() != DEFAULT_BUCKET) {
            let lifetime = possible
                .iter()
                .find(|(index, _)| self.lifetimes[*index].name == tree.name())
                .ok_or_else(|| format!("bucket {} should not be there", tree.name()))?;
            self.check_rows(db, tree.name(), lifetime.0, last, moment)?;
        }
        for (index, _) in possible.iter().filter(|(_, must)| *must) {
            let name = &self.lifetimes[*index].name;
            if trees.by_name(name).is_none() {
                return Err(format!("bucket {name} is gone"));
            }
        }
        Ok(last)
    }

    fn check_rows(
        &self,
        db: &Db,
        name: &str,
        lifetime: usize,
        last: usize,
        moment: Moment,
    ) -> std::result::Result<(), String> {
        let found = read_rows(db, name).map_err(|error| error.to_string())?;
        let mut expected = self.rows(lifetime, last);
        if name == FILTERED {
            let filtered: Vec<_> = expected.filtered(&found).collect();
            let known = self.filtered.iter();
            let known = known.filter(|(_, since)| **since <= moment.position);
            expected.act_on(known.map(|(row, _)| row).chain(&filtered));
        }
        let expected = expected.values(db.core().options.clock.now());
        if found == expected {
            return Ok(());
        }
        let brief = |rows: &Found| -> Vec<_> {
            let row = |(key, value): (&Vec<u8>, &Vec<u8>)| {
                (key.clone(), value.first().copied(), value.len())
            };
            rows.iter().map(row).collect()
        };
        Err(format!(
            "bucket {name} after commit {last}: {:?}, not {:?}",
            brief(&found),
            brief(&expected)
        ))
    }

    /// Whether what a feed gives is a commit that was asked for, as far as it wrote to the default bucket. Gives back its number.
    pub(super) fn check_fed(
        &self,
        operations: &[ChangeOperation],
    ) -> std::result::Result<usize, String> {
        let found = operations.iter();
        let found = found.filter(|operation| operation.bucket() == DEFAULT_BUCKET);
        let mut found: Vec<_> = found.cloned().collect();
        let last = found.iter().position(
            |operation| matches!(operation, ChangeOperation::Put { key, .. } if key == LAST),
        );
        let number = match last.map(|last| found.remove(last)) {
            Some(ChangeOperation::Put { value, .. }) => {
                String::from_utf8_lossy(&value).parse().ok()
            }
            _ => None,
        };
        let number: usize = number.ok_or_else(|| format!("no commit's number: {operations:?}"))?;
        let commit = self.commits.get(number.wrapping_sub(1));
        let commit = commit.ok_or_else(|| format!("commit {number} was not asked for"))?;
        let asked = commit.writes.iter();
        let asked = asked.filter(|(bucket, write)| *bucket == usize::MAX && !write.is_nothing());
        let millis = commit.millis;
        let asked: Vec<_> = asked
            .map(|(_, write)| write.fed(Stamp { number, millis }))
            .collect();
        let is_one_for_each_key = commit.writes.iter().any(|(_, write)| write.is_composite());
        if found == asked || is_one_for_each_key && same_effect(&found, &asked) {
            Ok(number)
        } else {
            Err(format!("commit {number}: {operations:?}"))
        }
    }

    /// Takes what was found at `moment` for what happened, and forgets what came later. What an opening
    /// has shown survives: it synced what it read.
    pub(super) fn resolve(&mut self, db: &Db, last: usize, moment: Moment) {
        let now = Outcome::Promised(moment.position);
        let mut taken = db.last_committed_sequence().get() - self.sequences(last);
        for load in self.commits.iter_mut().skip(last).filter(|it| it.is_load) {
            load.took = taken > 0;
            taken = taken.saturating_sub(1);
        }
        for (commit, number) in self.commits.iter_mut().zip(1..) {
            let happened = number < last && matches!(commit.answered, Outcome::Promised(_));
            commit.answered = if happened || number == last {
                now
            } else {
                Outcome::Absent
            };
            commit.durable = commit.answered;
        }
        let trees = db.core().trees.load();
        for bucket in &mut self.lifetimes {
            let is_there = trees.by_name(&bucket.name).is_some();
            if bucket.asked > moment.position {
                bucket.created = Outcome::Absent;
            } else if !bucket.created.is_promised_at(moment.position)
                && bucket.created != Outcome::Absent
            {
                bucket.created = if is_there { now } else { Outcome::Absent };
            }
            bucket.dropped = match bucket.dropped {
                Some((asked, outcome)) if asked <= moment.position => {
                    let is_known =
                        outcome == Outcome::Absent || outcome.is_promised_at(moment.position);
                    Some((
                        asked,
                        match is_known {
                            true => outcome,
                            false if is_there => Outcome::Absent,
                            false => now,
                        },
                    ))
                }
                _ => None,
            };
        }
        self.checkpoints
            .retain(|(_, answered)| answered.is_promised_at(moment.position));
        self.times.retain(|(since, _)| *since <= moment.position);
        self.filtered.retain(|_, since| *since <= moment.position);
        if let Some(lifetime) = self.living(FILTERED)
            && let Ok(found) = read_rows(db, FILTERED)
        {
            let filtered: Vec<_> = self.rows(lifetime, last).filtered(&found).collect();
            for row in filtered {
                self.filtered.entry(row).or_insert(moment.position);
            }
        }
    }

    pub(super) fn ask_checkpoint(&mut self, position: usize) {
        self.checkpoints.push((position, Outcome::Open));
    }

    pub(super) fn answer_checkpoint(&mut self, position: usize) {
        if let Some(checkpoint) = self.checkpoints.last_mut() {
            checkpoint.1 = Outcome::Promised(position);
        }
    }

    /// The moment that the checkpoint shows, and whether it must be there.
    pub(super) fn checkpoint(&self, moment: Moment) -> Option<(Moment, bool)> {
        let (asked, answered) = self.checkpoints.first()?;
        let shows = Moment {
            position: *asked,
            power_lost: false,
        };
        Some((shows, answered.is_promised_at(moment.position)))
    }
}

fn read_rows(db: &Db, name: &str) -> Result<Found> {
    let rows = bucket(db, name)?.range_sync(&KeyRange::all())?;
    rows.map(|row| row.map(|row| (row.key, row.value)))
        .collect()
}

/// Fails if the directory holds a file that nothing names. Right after an opening.
pub(super) fn check_no_strays(
    db: &Db,
    storage: &trine_io::Storage,
) -> std::result::Result<(), String> {
    let Some(persistent) = &db.core().persistent else {
        return Ok(());
    };
    let names = block_on(storage.list(Mode::Blocking)).map_err(|error| error.to_string())?;
    let manifest = block_on(persistent.manifest.take());
    let state = manifest.state();
    let of_memtables: Vec<_> = db
        .core()
        .trees
        .load()
        .iter()
        .flat_map(|tree| tree.pin().buffers().map(Arc::clone).collect::<Vec<_>>())
        .filter_map(|buffer| buffer.values().map(|file| unfinished_name(file.number())))
        .collect();
    for name in names {
        let is_named = match FileName::parse(&name) {
            FileName::Current | FileName::Lock => true,
            FileName::Table(number) => state.has_table(number),
            FileName::Blob(number) => state.has_blob(number),
            FileName::Wal(number) => state
                .log_segments()
                .is_some_and(|segments| segments.contains(&number)),
            FileName::Manifest(number) => manifest.number() == number,
            FileName::Unfinished => of_memtables.contains(&name),
            _ => false,
        };
        if !is_named {
            return Err(format!("{name} is left behind"));
        }
    }
    Ok(())
}
