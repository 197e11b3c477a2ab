//! Every public future, dropped at every await point: polled k times and dropped, for k from none up
//! to its completion.
//!
//! - A write that was started is there whole or not at all, in memory and after reopening.
//! - Whatever was dropped, later calls work: nothing stays locked, no turn is lost.
//! - A dropped read step is made again by the next one: no row is lost, none comes twice.
//!
//! Before each poll but the first the test waits for the waker, so each poll makes progress; the drop
//! comes either at once or after the wake-up that would have led to the next poll.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use tempfile::TempDir;
use trine_kv::{
    BucketOptions, Db, DbOptions, DurabilityMode, Error, Iter, KeyRange, MaintenanceBudget, Result,
    TransactionOptions, WriteBatch, WriteOptions,
};

#[path = "common"]
mod common {
    pub(crate) mod executor;
    pub(crate) mod way;
}
use common::way::{Way, block_on, call};

/// Counts the times it was woken.
#[derive(Default)]
struct Count {
    woken: Mutex<usize>,
    changed: Condvar,
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl Count {
    /// Until it was woken again since the last call.
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while *woken == 0 {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = 0;
    }
}

/// When the future goes, after its last poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    AtOnce,
    AfterTheWakeUp,
}

/// Polls at most so many times; `None` if the future was dropped before it was ready.
fn poll_times<T>(future: impl Future<Output = T>, times: usize, when: Moment) -> Option<T> {
    let mut future = pin!(future);
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    for poll in 1..=times {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        if poll < times || when == Moment::AfterTheWakeUp {
            count.wait();
        }
    }
    None
}

/// Repeats a story with one poll more each time, until its future completes.
fn at_every_await(story: impl Fn(usize, Moment) -> bool) {
    for when in [Moment::AtOnce, Moment::AfterTheWakeUp] {
        let mut polls = 0;
        while !story(polls, when) {
            polls += 1;
            assert!(polls < 1000, "the future never completes");
        }
    }
}

/// Nothing stays cached and every scan meets several tables: reads wait wherever this target has them
/// wait. Where tables are mapped, no read does.
fn persistent(path: &Path) -> DbOptions {
    DbOptions {
        block_cache_bytes: 0,
        background_worker_count: 0,
        max_immutable_memtables: 2,
        durability: DurabilityMode::Buffered,
        default_bucket_options: BucketOptions {
            block_bytes: 64,
            ..BucketOptions::default()
        },
        ..DbOptions::new(path)
    }
}

const OLD_KEYS: [&str; 6] = ["a", "c", "e", "g", "i", "k"];

/// Rows in level 1, level 0, a memtable; and a bucket.
fn fill(db: &Db) {
    for keys in OLD_KEYS.chunks(2) {
        for key in keys {
            db.put_sync(*key, format!("old {key}").repeat(20)).unwrap();
        }
        let named = db.bucket_sync("named").unwrap();
        named.put_sync(keys[0], "old").unwrap();
        if keys[0] != "i" {
            db.flush_sync().unwrap();
        }
        if keys[0] == "a" {
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
    }
}

/// A database that [`fill`] filled, in a directory of the test's own.
fn filled(directory: &TempDir) -> PathBuf {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| {
        let template = tempfile::tempdir().unwrap();
        let db = Db::open_sync(persistent(template.path())).unwrap();
        fill(&db);
        db.close_sync();
        template
    });
    let path = directory.path().join("database");
    std::fs::create_dir(&path).unwrap();
    for entry in std::fs::read_dir(template.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
    }
    path
}

fn rows(db: &Db) -> Vec<(Vec<u8>, Vec<u8>)> {
    Way::Sync
        .rows(db.range_sync(&KeyRange::all()).unwrap())
        .unwrap()
}

type Outcome<'db> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'db>>;
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs `start`'s future on a filled database, drops it at every await point, and has `check` look at
/// the rows, told the ones from before: right after another write, and after reopening.
fn on_a_database(
    start: impl for<'db> Fn(&'db Db) -> Outcome<'db>,
    check: impl Fn(&Rows, &Rows, &str),
) {
    at_every_await(|polls, when| {
        let story = format!("in memory, {polls} polls, dropped {when:?}");
        let db = Db::open_sync(DbOptions::memory()).unwrap();
        fill(&db);
        one_drop(&db, &start, &check, polls, when, &story)
    });
    at_every_await(|polls, when| {
        let story = format!("on disk, {polls} polls, dropped {when:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = filled(&directory);
        let db = Db::open_sync(persistent(&path)).unwrap();
        let done = one_drop(&db, &start, &check, polls, when, &story);
        let before = rows(&db);
        let way = way_after(polls);
        way.close(&db).unwrap();
        let db = way.open(persistent(&path)).unwrap();
        let after = rows(&db);
        check(&before, &after, &format!("{story}, reopened"));
        assert!(after.iter().any(|(key, _)| key == b"z"), "{story}");
        done
    });
}

fn one_drop(
    db: &Db,
    start: &impl for<'db> Fn(&'db Db) -> Outcome<'db>,
    check: &impl Fn(&Rows, &Rows, &str),
    polls: usize,
    when: Moment,
    story: &str,
) -> bool {
    let before = rows(db);
    let done = poll_times(start(db), polls, when);
    if let Some(result) = &done {
        assert!(result.is_ok(), "{story}: {result:?}");
    }
    // Later than whatever was handed over.
    call!(Way::Async, db, put / put_sync("z", "later")).unwrap();
    let after = rows(db);
    check(&before, &after, story);
    works(db, way_after(polls), story);
    done.is_some()
}

/// Everything can still be done.
fn works(db: &Db, way: Way, story: &str) {
    let before = db.last_committed_sequence();
    let mut batch = WriteBatch::new();
    batch.put("z", "later");
    batch.put_bucket("named", "z", "later").unwrap();
    let options = WriteOptions::sync_data();
    let commit = call!(way, db, write / write_sync(batch, options)).expect(story);
    assert!(commit.sequence() > before, "{story}");
    call!(way, db, bucket / bucket_sync("another")).expect(story);
    call!(way, db, flush / flush_sync()).expect(story);
    let range = KeyRange::prefix("z");
    call!(way, db, compact_range / compact_range_sync(range)).expect(story);
    let value = call!(way, db, get / get_sync(b"z")).expect(story);
    assert_eq!(value.as_deref(), Some(&b"later"[..]), "{story}");
    assert_eq!(db.stats().commit_open_slots, 0, "{story}");
}

/// Calls the one half of the interface after even numbers of polls, the other one after odd ones.
fn way_after(polls: usize) -> Way {
    if polls.is_multiple_of(2) {
        Way::Sync
    } else {
        Way::Async
    }
}

/// The future changes no row.
fn changes_nothing(before: &Rows, after: &Rows, story: &str) {
    let mut after = after.clone();
    after.retain(|(key, _)| key != b"z");
    let mut before = before.clone();
    before.retain(|(key, _)| key != b"z");
    assert_eq!(before, after, "{story}");
}

fn value<'rows>(rows: &'rows Rows, key: &str) -> Option<&'rows [u8]> {
    rows.iter()
        .find(|(found, _)| found == key.as_bytes())
        .map(|(_, value)| value.as_slice())
}

/// The future writes: `new` to `a` and `b`, deletes `c` and everything from `g` to `j`; or nothing.
fn all_or_nothing(before: &Rows, after: &Rows, story: &str) {
    let new = |rows: &Rows| {
        [
            value(rows, "a") == Some(b"new"),
            value(rows, "b") == Some(b"new"),
            value(rows, "c").is_none(),
            value(rows, "g").is_none() && value(rows, "i").is_none(),
        ]
    };
    let now = new(after);
    assert!(now == [true; 4] || now == [false; 4], "{story}: {now:?}");
    if new(before) == [true; 4] {
        assert_eq!(now, [true; 4], "{story}: it was there before");
    }
    for key in ["e", "k"] {
        assert!(value(after, key).is_some(), "{story}: {key}");
    }
}

fn batch() -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put("a", "new");
    batch.delete("c");
    batch.put("b", "new");
    batch.delete_range(KeyRange::half_open("g", "j"));
    batch.put_bucket("named", "a", "new").unwrap();
    batch
}

#[test]
fn a_batch_is_there_whole_or_not_at_all() {
    for options in [WriteOptions::buffered(), WriteOptions::sync_all()] {
        on_a_database(
            |db| {
                let write = db.write(batch(), options);
                Box::pin(async { write.await.map(drop) })
            },
            all_or_nothing,
        );
    }
}

#[test]
fn a_transaction_commits_whole_or_not_at_all() {
    on_a_database(
        |db| {
            let mut transaction = db.transaction(TransactionOptions::default());
            transaction.put("a", "new");
            transaction.delete("c");
            transaction.put("b", "new");
            transaction.delete_range(KeyRange::half_open("g", "j"));
            Box::pin(async {
                transaction.get(b"a").await?;
                transaction.get_bucket("named", b"a").await?;
                transaction.read_range(KeyRange::all()).await?;
                transaction
                    .read_range_bucket("named", KeyRange::all())
                    .await?;
                transaction.commit().await.map(drop)
            })
        },
        all_or_nothing,
    );
}

#[test]
fn single_writes_happen_or_do_not() {
    type Start = for<'db> fn(&'db Db) -> Outcome<'db>;
    let writes: [(&str, Option<&[u8]>, Start); 6] = [
        ("a", Some(b"new"), |db| Box::pin(db.put("a", "new"))),
        ("b", Some(b"new"), |db| {
            let options = WriteOptions::sync_data();
            Box::pin(async move { db.put_with_options("b", "new", options).await.map(drop) })
        }),
        ("c", None, |db| Box::pin(db.delete("c"))),
        ("e", None, |db| {
            let options = WriteOptions::flush();
            Box::pin(async move { db.delete_with_options("e", options).await.map(drop) })
        }),
        ("g", None, |db| {
            Box::pin(db.delete_range(KeyRange::prefix("g")))
        }),
        ("i", None, |db| {
            let options = WriteOptions::sync_all();
            Box::pin(async move {
                let range = KeyRange::prefix("i");
                db.delete_range_with_options(range, options).await.map(drop)
            })
        }),
    ];
    for (key, new, start) in writes {
        on_a_database(start, |before, after, story| {
            let found = value(after, key);
            assert!(
                found == new || found == value(before, key),
                "{story}: {found:?}"
            );
            let others = |rows: &Rows| {
                let mut rows = rows.clone();
                rows.retain(|(found, _)| found != key.as_bytes() && found != b"z");
                rows
            };
            assert_eq!(others(before), others(after), "{story}");
        });
    }
}

/// With a full bucket a write flushes first: it may be dropped while it does.
#[test]
fn a_write_that_makes_room_first_happens_or_does_not() {
    at_every_await(|polls, when| {
        let story = format!("{polls} polls, dropped {when:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("database");
        let crowded = DbOptions {
            write_buffer_bytes: 1,
            ..persistent(&path)
        };
        let db = Db::open_sync(crowded.clone()).unwrap();
        db.put_sync("c", "old").unwrap();
        db.put_sync("d", "old").unwrap();
        assert_eq!(db.stats().immutable_memtables, 2);
        let done = poll_times(db.put("a", "new"), polls, when);
        block_on(db.put("z", "later")).unwrap();
        let check = |rows: Rows| {
            let keys: Vec<_> = rows.iter().map(|(key, _)| key.as_slice()).collect();
            let with: [&[u8]; 4] = [b"a", b"c", b"d", b"z"];
            assert!(keys == with || keys == with[1..], "{story}: {keys:?}");
            keys.len() == 4
        };
        let written = check(rows(&db));
        assert!(written || done.is_none(), "{story}");
        block_on(db.close()).unwrap();
        let db = Db::open_sync(crowded).unwrap();
        let reopened = check(rows(&db));
        assert!(reopened || !written, "{story}");
        done.is_some()
    });
}

#[test]
fn maintenance_changes_no_row() {
    on_a_database(|db| Box::pin(db.flush()), changes_nothing);
    on_a_database(
        |db| Box::pin(db.compact_range(KeyRange::all())),
        changes_nothing,
    );
    on_a_database(
        |db| {
            Box::pin(async {
                let budget = MaintenanceBudget::unbounded();
                db.run_maintenance_with_budget(budget).await?;
                db.compact_range_with_budget(KeyRange::all(), budget)
                    .await
                    .map(drop)
            })
        },
        changes_nothing,
    );
    on_a_database(
        |db| Box::pin(db.persist(DurabilityMode::SyncAll)),
        changes_nothing,
    );
    on_a_database(
        |db| Box::pin(async { db.verify(drop).await.map(drop) }),
        changes_nothing,
    );
}

#[test]
fn reads_change_no_row() {
    on_a_database(
        |db| {
            Box::pin(async {
                let snapshot = db.snapshot();
                let bucket = db.default_bucket().await?;
                for key in [&b"a"[..], b"e", b"k", b"missing"] {
                    db.get(key).await?;
                    db.get_at(&snapshot, key).await?;
                    db.get_with(key, <[u8]>::len).await?;
                    bucket.contains_key(key).await?;
                    snapshot.get(&bucket, key).await?;
                    let reader = bucket.reader(&snapshot)?;
                    reader.get(key).await?;
                    reader.get_owned(key).await?;
                    reader.get_ref(key).await?;
                }
                db.multi_get(&["a", "c", "k"]).await?;
                db.first(&KeyRange::all()).await?;
                db.last(&KeyRange::all()).await?;
                let mut lazy = db.range_lazy(&KeyRange::all()).await?;
                while let Some(row) = lazy.next().await? {
                    row.value.read().await?;
                    row.value.clone().into_value().await?;
                    row.into_key_value().await?;
                }
                Ok(())
            })
        },
        changes_nothing,
    );
}

/// Steps through an iterator, dropping each step at every await point before making it.
fn steps_are_made_again(mut iter: Iter, expected: &Rows) -> usize {
    let mut found = Vec::new();
    let mut dropped = 0;
    'rows: loop {
        for polls in 0.. {
            let when = if polls % 2 == 0 {
                Moment::AtOnce
            } else {
                Moment::AfterTheWakeUp
            };
            match poll_times(iter.next(), polls, when) {
                None => dropped += 1,
                Some(step) => match step.unwrap() {
                    Some(row) => {
                        found.push((row.key, row.value));
                        break;
                    }
                    None => break 'rows,
                },
            }
        }
    }
    assert_eq!(&found, expected);
    assert!(block_on(iter.next()).unwrap().is_none());
    dropped
}

#[test]
fn no_row_is_lost_or_repeated_by_dropped_steps() {
    let directory = tempfile::tempdir().unwrap();
    let disk = persistent(&directory.path().join("database"));
    for options in [DbOptions::memory(), disk] {
        let db = Db::open_sync(options).unwrap();
        fill(&db);
        db.delete_range_sync(KeyRange::half_open("d", "f")).unwrap();
        db.put_sync("f", "between").unwrap();
        let mut expected = rows(&db);
        assert_eq!(expected.len(), 6);
        let all = KeyRange::all();
        let dropped = steps_are_made_again(block_on(db.range(&all)).unwrap(), &expected);
        // At least the one before the first poll of each step.
        assert!(dropped > expected.len());
        let expected_lazily = expected.clone();
        expected.reverse();
        steps_are_made_again(block_on(db.range_reverse(&all)).unwrap(), &expected);

        let mut lazy = block_on(db.range_lazy(&all)).unwrap();
        let mut found = Vec::new();
        let mut polls = 0;
        loop {
            match poll_times(lazy.next(), polls, Moment::AtOnce) {
                None => polls += 1,
                Some(row) => match row.unwrap() {
                    Some(row) => {
                        found.push((row.key, row.value.read_sync().unwrap()));
                        polls = 0;
                    }
                    None => break,
                },
            }
        }
        assert_eq!(found, expected_lazily);
    }
}

#[test]
fn a_dropped_read_of_a_transaction_leaves_it_usable() {
    let directory = tempfile::tempdir().unwrap();
    let disk = persistent(&directory.path().join("database"));
    for options in [DbOptions::memory(), disk] {
        let db = Db::open_sync(options).unwrap();
        fill(&db);
        at_every_await(|polls, when| {
            let mut transaction = db.transaction(TransactionOptions::default());
            let read = poll_times(transaction.get(b"a"), polls, when);
            let range = KeyRange::half_open("c", "d");
            let scanned = poll_times(transaction.read_range(range), polls, when);
            // Read after all, or left out: what is recorded in the end is what was read.
            assert!(block_on(transaction.get(b"a")).unwrap().is_some());
            transaction.put("b", "new");
            let mut refused = transaction.clone();
            block_on(transaction.commit()).unwrap();
            db.put_sync("a", "newer").unwrap();
            assert!(block_on(refused.get(b"e")).is_ok());
            assert!(matches!(
                block_on(refused.commit()),
                Err(Error::Conflict { .. })
            ));
            read.is_some() && scanned.is_some()
        });
    }
}

#[test]
fn a_bucket_is_created_and_dropped_whole_or_not_at_all() {
    at_every_await(|polls, when| {
        let directory = tempfile::tempdir().unwrap();
        let path = filled(&directory);
        let story = format!("{polls} polls, dropped {when:?}");
        let options = BucketOptions {
            block_bytes: 100,
            ..BucketOptions::default()
        };
        let db = Db::open_sync(persistent(&path)).unwrap();
        let created = poll_times(db.bucket_with_options("new", options.clone()), polls, when);
        let removed = poll_times(db.drop_bucket("named"), polls, when);
        // Either it is there, with these options, or it comes into being now.
        let bucket = block_on(db.bucket_with_options("new", options.clone())).expect(&story);
        bucket.put_sync("key", "value").unwrap();
        if block_on(db.drop_bucket("named")).is_ok() {
            assert!(removed.is_none(), "{story}: dropped twice");
        }
        let done = created.is_some() && removed.is_some();
        drop((db, bucket, created));
        let db = Db::open_sync(persistent(&path)).unwrap();
        assert_eq!(db.bucket_names().len(), 1, "{story}");
        let bucket = db.bucket_with_options_sync("new", options).expect(&story);
        assert!(bucket.get_sync(b"key").unwrap().is_some(), "{story}");
        db.bucket_sync("named").unwrap();
        works(&db, way_after(polls), &story);
        done
    });
}

#[test]
fn a_dropped_checkpoint_harms_nothing() {
    at_every_await(|polls, when| {
        let story = format!("{polls} polls, dropped {when:?}");
        let directory = tempfile::tempdir().unwrap();
        let db = Db::open_sync(persistent(&filled(&directory))).unwrap();
        let copy = directory.path().join("copy");
        let done = poll_times(db.checkpoint(&copy), polls, when);
        works(&db, way_after(polls), &story);
        let another = directory.path().join("another");
        block_on(db.checkpoint(&another)).expect(&story);
        let copied = Db::open_sync(persistent(&another)).unwrap();
        assert_eq!(rows(&copied), rows(&db), "{story}");
        done.is_some()
    });
}

/// Whatever runs on after its future was dropped lets go of the lock by itself: nobody waits for it.
fn open_when_free(path: &Path) -> Db {
    loop {
        match Db::open_sync(persistent(path)) {
            Err(Error::Corruption { message }) if message.contains("lock is already held") => {
                std::thread::yield_now();
            }
            result => return result.unwrap(),
        }
    }
}

#[test]
fn a_dropped_open_leaves_a_database_that_opens() {
    at_every_await(|polls, when| {
        let story = format!("{polls} polls, dropped {when:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("database");
        // Once where there is nothing, once where there is something to recover.
        let created = poll_times(Db::open(persistent(&path)), polls, when);
        let done = created.is_some();
        drop(created);
        let db = open_when_free(&path);
        fill(&db);
        let expected = rows(&db);
        db.close_sync();
        drop(poll_times(Db::open(persistent(&path)), polls, when));
        let db = open_when_free(&path);
        assert_eq!(rows(&db), expected, "{story}");
        works(&db, way_after(polls), &story);
        done
    });
}

#[test]
fn a_dropped_close_closes_or_does_not() {
    at_every_await(|polls, when| {
        let story = format!("{polls} polls, dropped {when:?}");
        let directory = tempfile::tempdir().unwrap();
        let path = filled(&directory);
        let db = Db::open_sync(persistent(&path)).unwrap();
        let expected = rows(&db);
        let done = poll_times(db.close(), polls, when);
        match block_on(db.put("y", "after")) {
            Ok(()) => assert!(done.is_none(), "{story}"),
            Err(error) => assert!(matches!(error, Error::Closed), "{story}: {error:?}"),
        }
        // Waits for a close that runs.
        block_on(db.close()).expect(&story);
        let db = Db::open_sync(persistent(&path)).expect(&story);
        let mut found = rows(&db);
        found.retain(|(key, _)| key != b"y");
        assert_eq!(found, expected, "{story}");
        done.is_some()
    });
}

#[test]
fn the_last_handle_may_go_while_dropped_work_runs() {
    type Start = fn(Db) -> Outcome<'static>;
    let starts: [Start; 4] = [
        |db| Box::pin(async move { db.flush().await }),
        |db| Box::pin(async move { db.compact_range(KeyRange::all()).await }),
        |db| Box::pin(async move { db.bucket("late").await.map(drop) }),
        |db| Box::pin(async move { db.write(batch(), WriteOptions::sync_all()).await.map(drop) }),
    ];
    for start in starts {
        at_every_await(|polls, when| {
            let story = format!("{polls} polls, dropped {when:?}");
            let directory = tempfile::tempdir().unwrap();
            let path = filled(&directory);
            let db = Db::open_sync(persistent(&path)).unwrap();
            let before = rows(&db);
            // The future holds the only handle.
            let done = poll_times(start(db), polls, when);
            let db = open_when_free(&path);
            if value(&rows(&db), "b").is_some() {
                all_or_nothing(&before, &rows(&db), &story);
            } else {
                changes_nothing(&before, &rows(&db), &story);
            }
            works(&db, way_after(polls), &story);
            done.is_some()
        });
    }
}
