//! What a script acts on: one database, and what its lines have named.

use std::collections::HashMap;

use tempfile::TempDir;
use trine_kv::{
    Bucket, BucketOptions, Db, DbOptions, DurabilityMode, Iter, KeyRange, KeyValue, LazyIter,
    MaintenanceBudget, Result, Snapshot, Transaction, TransactionOptions, WriteBatch, WriteOptions,
};

use crate::common::way::{Way, block_on, call};
use crate::words::{
    answer, bytes, durability, place, range, set, set_bucket, show_commit, show_outcome, show_row,
    show_rows, show_value,
};

/// Where rows lie when they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Memory,
    Files,
    Flushed,
    Compacted,
    Reopened,
}

impl Stage {
    pub(crate) fn parse(word: &str) -> Self {
        match word.trim() {
            "memory" => Self::Memory,
            "files" => Self::Files,
            "flushed" => Self::Flushed,
            "compacted" => Self::Compacted,
            "reopened" => Self::Reopened,
            _ => panic!("no stage: {word}"),
        }
    }
}

enum Rows {
    Eager(Iter),
    Lazy(LazyIter),
}

enum Named {
    Bucket(Bucket, BucketOptions),
    Snapshot(Snapshot),
    Transaction(Transaction),
    Rows(Rows),
}

pub(crate) struct Scene {
    way: Way,
    stage: Stage,
    directory: TempDir,
    options: DbOptions,
    db: Option<Db>,
    named: HashMap<String, Named>,
}

/// One of the eight scans, on what has them with and without a first argument.
macro_rules! scan {
    ($way:expr, $on:expr, $name:expr, [$($first:expr),*], $argument:expr) => {
        match $name {
            "range" => call!($way, $on, range / range_sync($($first,)* &range($argument))).map(Rows::Eager),
            "range_reverse" => call!($way, $on, range_reverse / range_reverse_sync($($first,)* &range($argument))).map(Rows::Eager),
            "range_lazy" => call!($way, $on, range_lazy / range_lazy_sync($($first,)* &range($argument))).map(Rows::Lazy),
            "range_lazy_reverse" => call!($way, $on, range_lazy_reverse / range_lazy_reverse_sync($($first,)* &range($argument))).map(Rows::Lazy),
            "prefix" => call!($way, $on, prefix / prefix_sync($($first,)* bytes($argument))).map(Rows::Eager),
            "prefix_reverse" => call!($way, $on, prefix_reverse / prefix_reverse_sync($($first,)* bytes($argument))).map(Rows::Eager),
            "prefix_lazy" => call!($way, $on, prefix_lazy / prefix_lazy_sync($($first,)* bytes($argument))).map(Rows::Lazy),
            "prefix_lazy_reverse" => call!($way, $on, prefix_lazy_reverse / prefix_lazy_reverse_sync($($first,)* bytes($argument))).map(Rows::Lazy),
            _ => panic!("no such command: {}", $name),
        }
    };
}

impl Rows {
    fn next(&mut self, way: Way) -> Result<Option<KeyValue>> {
        match (self, way) {
            (Self::Eager(rows), Way::Sync) => rows.next_sync().transpose(),
            (Self::Eager(rows), Way::Async) => block_on(rows.next()),
            (Self::Lazy(rows), Way::Sync) => rows
                .next_sync()
                .map(|row| row?.into_key_value_sync())
                .transpose(),
            (Self::Lazy(rows), Way::Async) => block_on(async {
                match rows.next().await? {
                    Some(row) => row.into_key_value().await.map(Some),
                    None => Ok(None),
                }
            }),
        }
    }

    fn rest(&mut self, way: Way) -> Result<Vec<KeyValue>> {
        std::iter::from_fn(|| self.next(way).transpose()).collect()
    }
}

fn staged(transaction: &mut Transaction, words: &[&str]) -> Result<()> {
    match *words {
        ["put", key, value] => match place(key) {
            (Some(bucket), key) => transaction.put_bucket(bucket, key, bytes(value))?,
            (None, key) => transaction.put(key, bytes(value)),
        },
        ["delete", key] => match place(key) {
            (Some(bucket), key) => transaction.delete_bucket(bucket, key)?,
            (None, key) => transaction.delete(key),
        },
        ["delete_range", keys] => match keys.split_once('/') {
            Some((bucket, keys)) => transaction.delete_range_bucket(bucket, range(keys))?,
            None => transaction.delete_range(range(keys)),
        },
        _ => panic!("no such command of a transaction: {words:?}"),
    }
    Ok(())
}

fn batch(operations: &str) -> Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    for operation in operations.split(", ").filter(|one| *one != "nothing") {
        match *operation.split(' ').collect::<Vec<_>>() {
            ["put", key, value] => match place(key) {
                (Some(bucket), key) => batch.put_bucket(bucket, key, bytes(value))?,
                (None, key) => batch.put(key, bytes(value)),
            },
            ["delete", key] => match place(key) {
                (Some(bucket), key) => batch.delete_bucket(bucket, key)?,
                (None, key) => batch.delete(key),
            },
            ["delete_range", keys] => match keys.split_once('/') {
                Some((bucket, keys)) => batch.delete_range_bucket(bucket, range(keys))?,
                None => batch.delete_range(range(keys)),
            },
            _ => panic!("no such operation: {operation}"),
        }
    }
    Ok(batch)
}

impl Scene {
    pub(crate) fn new(way: Way, stage: Stage) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = match stage {
            Stage::Memory => DbOptions::memory(),
            _ => DbOptions {
                background_worker_count: 0,
                ..DbOptions::new(directory.path().join("database"))
                    .with_durability(DurabilityMode::Buffered)
            },
        };
        Self {
            way,
            stage,
            directory,
            options,
            db: None,
            named: HashMap::new(),
        }
    }

    fn db(&mut self) -> Db {
        let (way, options) = (self.way, &self.options);
        self.db
            .get_or_insert_with(|| way.open(options.clone()).expect("the database"))
            .clone()
    }

    /// Runs one command and tells what it answered.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let (found, committed) = match command.split_once(" = ") {
            Some((name, command)) => (self.name(name, command), false),
            None => match command.split_once(": ") {
                Some((name, command)) => self.on_named(name, command),
                None => self.on_db(command),
            },
        };
        if committed {
            self.settle();
        }
        found
    }

    /// Brings what was committed to where this stage wants it.
    fn settle(&mut self) {
        let (way, db) = (self.way, self.db());
        match self.stage {
            Stage::Memory | Stage::Files => {}
            Stage::Flushed => call!(way, db, flush / flush_sync()).unwrap(),
            Stage::Compacted => {
                call!(way, db, flush / flush_sync()).unwrap();
                let all = KeyRange::all();
                call!(way, db, compact_range / compact_range_sync(all)).unwrap();
            }
            Stage::Reopened => self.reopen(false),
        }
    }

    fn reopen(&mut self, read_only: bool) {
        let db = self.db();
        self.way.close(&db).unwrap();
        self.options.read_only = read_only;
        self.db = None;
        let db = self.db();
        for (name, named) in &mut self.named {
            if let Named::Bucket(bucket, options) = named {
                *bucket = db
                    .bucket_with_options_sync(name.as_str(), options.clone())
                    .unwrap();
            }
        }
    }

    fn name(&mut self, name: &str, command: &str) -> String {
        let (way, db) = (self.way, self.db());
        let words: Vec<_> = command.split_whitespace().collect();
        let made = match *words {
            ["snapshot"] => Ok(Named::Snapshot(db.snapshot())),
            ["transaction"] => Ok(Named::Transaction(
                db.transaction(TransactionOptions::default()),
            )),
            ["bucket", bucket, ref settings @ ..] => {
                let mut options = BucketOptions::default();
                for word in settings {
                    set_bucket(&mut options, word);
                }
                self.bucket(bucket, settings.is_empty(), &options)
                    .map(|bucket| Named::Bucket(bucket, options))
            }
            [scan, argument] => scan!(way, db, scan, [], argument).map(Named::Rows),
            _ => panic!("nothing to name: {command}"),
        };
        answer(made, |made| {
            self.named.insert(name.to_owned(), made);
            "ok".to_owned()
        })
    }

    fn bucket(&mut self, name: &str, plain: bool, options: &BucketOptions) -> Result<Bucket> {
        let (way, db) = (self.way, self.db());
        let name = String::from_utf8(bytes(name)).unwrap();
        if plain {
            call!(way, db, bucket / bucket_sync(name))
        } else {
            let options = options.clone();
            call!(
                way,
                db,
                bucket_with_options / bucket_with_options_sync(name, options)
            )
        }
    }

    fn on_db(&mut self, command: &str) -> (String, bool) {
        let words: Vec<_> = command.split_whitespace().collect();
        if words[0] == "options" {
            words[1..]
                .iter()
                .for_each(|word| set(&mut self.options, word));
            return ("ok".to_owned(), false);
        }
        let (way, db) = (self.way, self.db());
        let ok = |()| "ok".to_owned();
        let found = match *words {
            ["write", ..] => {
                let options = WriteOptions::default();
                let written = batch(&command["write ".len()..])
                    .and_then(|batch| call!(way, db, write / write_sync(batch, options)));
                let is_ok = written.is_ok();
                return (answer(written, show_commit), is_ok);
            }
            ["bucket", name, ref settings @ ..] => {
                let mut options = BucketOptions::default();
                for word in settings {
                    set_bucket(&mut options, word);
                }
                answer(self.bucket(name, settings.is_empty(), &options), |_| {
                    "ok".to_owned()
                })
            }
            ["flush"] => answer(call!(way, db, flush / flush_sync()), ok),
            ["compact", keys] => {
                let keys = range(keys);
                answer(call!(way, db, compact_range / compact_range_sync(keys)), ok)
            }
            ["maintain"] => {
                let budget = MaintenanceBudget::default();
                let done = call!(
                    way,
                    db,
                    run_maintenance_with_budget / run_maintenance_with_budget_sync(budget)
                );
                answer(done, show_outcome)
            }
            ["compact_unit", keys] => {
                let (keys, budget) = (range(keys), MaintenanceBudget::default());
                let done = call!(
                    way,
                    db,
                    compact_range_with_budget / compact_range_with_budget_sync(keys, budget)
                );
                answer(done, show_outcome)
            }
            ["persist", mode] => {
                let mode = durability(mode);
                answer(call!(way, db, persist / persist_sync(mode)), ok)
            }
            ["close"] => answer(way.close(&db), ok),
            ["reopen"] => {
                self.reopen(false);
                ok(())
            }
            ["reopen", "read_only"] => {
                self.reopen(true);
                ok(())
            }
            ["drop", name] => {
                self.named.remove(name).expect("something of that name");
                ok(())
            }
            ["sequence"] => db.last_committed_sequence().get().to_string(),
            ["stats", field] => stat(&db, field),
            ["lock"] => {
                let exists = self.directory.path().join("database/LOCK").exists();
                if exists { "held" } else { "free" }.to_owned()
            }
            _ => {
                let bucket = call!(way, db, default_bucket / default_bucket_sync()).unwrap();
                // The helpers of the database are those of its default bucket; both are asked.
                return self.on_keys(&words, &bucket, Some(&db));
            }
        };
        (found, false)
    }

    fn on_named(&mut self, name: &str, command: &str) -> (String, bool) {
        let words: Vec<_> = command.split_whitespace().collect();
        let (way, db) = (self.way, self.db());
        let mut named = self.named.remove(name).expect("something of that name");
        let found = match &mut named {
            Named::Bucket(bucket, _) => self.on_keys(&words, bucket, None),
            Named::Snapshot(snapshot) => (Self::on_snapshot(way, &db, snapshot, &words), false),
            Named::Rows(rows) => (
                match *words {
                    ["next"] => answer(rows.next(way), |row| {
                        row.as_ref().map_or_else(|| "end".to_owned(), show_row)
                    }),
                    ["rest"] => answer(rows.rest(way), |rows| show_rows(&rows)),
                    _ => panic!("no such command of an iterator: {command}"),
                },
                false,
            ),
            Named::Transaction(transaction) => {
                if words == ["commit"] {
                    let transaction = transaction.clone();
                    drop(named);
                    let commit = call!(way, transaction, commit / commit_sync());
                    let is_ok = commit.is_ok();
                    return (answer(commit, show_commit), is_ok);
                }
                (Self::on_transaction(way, transaction, &words), false)
            }
        };
        self.named.insert(name.to_owned(), named);
        found
    }

    fn on_transaction(way: Way, on: &mut Transaction, words: &[&str]) -> String {
        match *words {
            ["get", key] => {
                let value = match place(key) {
                    (Some(bucket), key) => {
                        call!(way, on, get_bucket / get_bucket_sync(bucket, &key))
                    }
                    (None, key) => call!(way, on, get / get_sync(&key)),
                };
                answer(value, |value| show_value(value.as_deref()))
            }
            ["read_range", keys] => {
                let read = match keys.split_once('/') {
                    Some((bucket, keys)) => {
                        let keys = range(keys);
                        call!(
                            way,
                            on,
                            read_range_bucket / read_range_bucket_sync(bucket, keys)
                        )
                    }
                    None => call!(way, on, read_range / read_range_sync(range(keys))),
                };
                answer(read, |()| "ok".to_owned())
            }
            ["scan", keys] => {
                let keys = range(keys);
                let rows = call!(way, on, scan / scan_sync(&keys));
                answer(rows.and_then(|rows| way.rows(rows)), |rows| {
                    let rows = rows.into_iter().map(|(key, value)| KeyValue { key, value });
                    show_rows(&rows.collect::<Vec<_>>())
                })
            }
            _ => answer(staged(on, words), |()| "ok".to_owned()),
        }
    }

    fn on_snapshot(way: Way, db: &Db, on: &Snapshot, words: &[&str]) -> String {
        let bucket = db.default_bucket_sync().unwrap();
        match *words {
            ["get", key] => {
                let key = bytes(key);
                let value = call!(way, on, get / get_sync(&bucket, &key));
                if let Ok(value) = &value {
                    let at = call!(way, db, get_at / get_at_sync(on, &key)).unwrap();
                    assert_eq!(&at, value, "db.get_at and snapshot.get agree");
                    let reader = bucket.reader(on).unwrap();
                    let read = call!(way, reader, get / get_sync(&key)).unwrap();
                    assert_eq!(&read.map(trine_kv::PointValue::into_vec), value);
                }
                answer(value, |value| show_value(value.as_deref()))
            }
            [scan, argument] => answer(
                scan!(way, on, scan, [&bucket], argument).and_then(|mut rows| rows.rest(way)),
                |rows| show_rows(&rows),
            ),
            _ => panic!("no such command of a snapshot: {words:?}"),
        }
    }

    /// Point commands and scans: of a bucket, or of the database on its default bucket.
    fn on_keys(&mut self, words: &[&str], bucket: &Bucket, db: Option<&Db>) -> (String, bool) {
        let way = self.way;
        let options = WriteOptions::default();
        let commit = match *words {
            ["put", key, value] => {
                let (key, value) = (bytes(key), bytes(value));
                match db {
                    Some(db) => {
                        call!(
                            way,
                            db,
                            put_with_options / put_with_options_sync(key, value, options)
                        )
                    }
                    None => call!(
                        way,
                        bucket,
                        put_with_options / put_with_options_sync(key, value, options)
                    ),
                }
            }
            ["delete", key] => {
                let key = bytes(key);
                match db {
                    Some(db) => {
                        call!(
                            way,
                            db,
                            delete_with_options / delete_with_options_sync(key, options)
                        )
                    }
                    None => call!(
                        way,
                        bucket,
                        delete_with_options / delete_with_options_sync(key, options)
                    ),
                }
            }
            ["delete_range", keys] => {
                let keys = range(keys);
                match db {
                    Some(db) => call!(
                        way,
                        db,
                        delete_range_with_options / delete_range_with_options_sync(keys, options)
                    ),
                    None => call!(
                        way,
                        bucket,
                        delete_range_with_options / delete_range_with_options_sync(keys, options)
                    ),
                }
            }
            ["get", key] => {
                let key = bytes(key);
                let value = match db {
                    Some(db) => call!(way, db, get / get_sync(&key)),
                    None => call!(way, bucket, get / get_sync(&key)),
                };
                return (answer(value, |value| show_value(value.as_deref())), false);
            }
            [scan, argument] => {
                let rows = match db {
                    Some(db) => scan!(way, db, scan, [], argument),
                    None => scan!(way, bucket, scan, [], argument),
                };
                let rows = rows.and_then(|mut rows| rows.rest(way));
                return (answer(rows, |rows| show_rows(&rows)), false);
            }
            _ => panic!("no such command: {words:?}"),
        };
        let is_ok = commit.is_ok();
        (answer(commit, show_commit), is_ok)
    }
}

/// One field of the statistics, by its name.
fn stat(db: &Db, field: &str) -> String {
    let stats = format!("{:?}", db.stats());
    let start = stats
        .find(&format!(" {field}: "))
        .unwrap_or_else(|| panic!("no statistic: {field}"));
    let value = &stats[start + field.len() + 3..];
    value[..value.find([',', ' ']).unwrap()].to_owned()
}
