//! What a recorded read conflicts with: the table of the contract, with the other write in each place
//! that a write can be.

use std::ops::Bound;

use tempfile::TempDir;
use trine_kv::{
    Db, DbOptions, KeyRange, Transaction, TransactionOptions, WriteBatch, WriteOptions,
};

use crate::common::way::{Way, block_on, call};
use crate::scene::{BOTH_WAYS, is_conflict, persistent};

/// The point that is read.
const POINT: &str = "m";
/// The range that is read: from here, up to but not including `RANGE_END`.
const RANGE_START: &str = "g";
const RANGE_END: &str = "t";

/// Keys of one case, which shares the database with all others.
struct Keys<'db> {
    db: &'db Db,
    prefix: String,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn range(&self, start: &str, end: &str) -> KeyRange {
        KeyRange::half_open(self.key(start), self.key(end))
    }

    fn put(&self, name: &str, value: &str) {
        self.db.put_sync(self.key(name), value).unwrap();
    }

    fn delete(&self, name: &str) {
        self.db.delete_sync(self.key(name)).unwrap();
    }

    fn delete_range(&self, start: &str, end: &str) {
        self.db.delete_range_sync(self.range(start, end)).unwrap();
    }
}

/// A write by somebody else, and whether it meets the point and the range.
struct Case {
    name: &'static str,
    write: fn(&Keys<'_>),
    point: bool,
    range: bool,
}

const fn case(name: &'static str, write: fn(&Keys<'_>), point: bool, range: bool) -> Case {
    Case {
        name,
        write,
        point,
        range,
    }
}

const CASES: &[Case] = &[
    case("nothing", |_| {}, false, false),
    case("a put", |k| k.put("m", "new"), true, true),
    case("a put of the same value", |k| k.put("m", "m"), true, true),
    case(
        "a change and its undoing",
        |k| {
            k.put("m", "new");
            k.put("m", "m");
        },
        true,
        true,
    ),
    case("a delete", |k| k.delete("m"), true, true),
    case(
        "a put, then a delete",
        |k| {
            k.put("m", "new");
            k.delete("m");
        },
        true,
        true,
    ),
    case(
        "a put, then a range delete",
        |k| {
            k.put("m", "new");
            k.delete_range("a", "z");
        },
        true,
        true,
    ),
    case(
        "a delete, then a put",
        |k| {
            k.delete("m");
            k.put("m", "m");
        },
        true,
        true,
    ),
    case(
        "a range delete of the one key",
        |k| k.delete_range("m", "m\0"),
        true,
        true,
    ),
    case(
        "a range delete around everything",
        |k| k.delete_range("a", "z"),
        true,
        true,
    ),
    case(
        "a batch that puts and range deletes it",
        |k| {
            let mut batch = WriteBatch::new();
            batch.put(k.key("m"), "new");
            batch.delete_range(k.range("m", "n"));
            k.db.write_sync(batch, WriteOptions::buffered()).unwrap();
        },
        true,
        true,
    ),
    case(
        "a transaction's commit",
        |k| {
            let mut other = k.db.transaction(TransactionOptions::default());
            other.put(k.key("m"), "new");
            other.commit_sync().unwrap();
        },
        true,
        true,
    ),
    case("a put beside it", |k| k.put("n", "new"), false, true),
    case(
        "a put of a longer key",
        |k| k.put("m\0", "new"),
        false,
        true,
    ),
    case("a delete of an absent key", |k| k.delete("p"), false, true),
    case(
        "a range delete of no rows inside",
        |k| k.delete_range("n", "o"),
        false,
        true,
    ),
    case(
        "a range delete up to the point",
        |k| k.delete_range("h", "m"),
        false,
        true,
    ),
    case(
        "a range delete right after the point",
        |k| k.delete_range("m\0", "n"),
        false,
        true,
    ),
    case(
        "a put at the first key of the range",
        |k| k.put("g", "new"),
        false,
        true,
    ),
    case(
        "a range delete over the start of the range",
        |k| k.delete_range("a", "g\0"),
        false,
        true,
    ),
    case(
        "a range delete over the end of the range",
        |k| k.delete_range("s", "z"),
        false,
        true,
    ),
    case(
        "a put at the end of the range",
        |k| k.put("t", "new"),
        false,
        false,
    ),
    case(
        "a put before the range",
        |k| k.put("f", "new"),
        false,
        false,
    ),
    case("a delete after the range", |k| k.delete("u"), false, false),
    case(
        "a range delete up to the range",
        |k| k.delete_range("a", "g"),
        false,
        false,
    ),
    case(
        "a range delete right after the range",
        |k| k.delete_range("t", "z"),
        false,
        false,
    ),
    case(
        "range deletes on both sides of the range",
        |k| {
            k.delete_range("a", "g");
            k.delete_range("t", "z");
        },
        false,
        false,
    ),
    case(
        "an empty range delete",
        |k| k.delete_range("m", "m"),
        false,
        false,
    ),
    case(
        "an inverted range delete",
        |k| k.delete_range("p", "h"),
        false,
        false,
    ),
    case(
        "a range delete of everything between a key and itself",
        |k| {
            let start = Bound::Excluded(k.key("m").into_bytes());
            let end = Bound::Excluded(k.key("m").into_bytes());
            k.db.delete_range_sync(KeyRange { start, end }).unwrap();
        },
        false,
        false,
    ),
    case(
        "writes to another bucket",
        |k| {
            let other = k.db.bucket_sync("other").unwrap();
            other.put_sync(k.key("m"), "new").unwrap();
            other.delete_sync(k.key("m")).unwrap();
            other.delete_range_sync(k.range("a", "z")).unwrap();
        },
        false,
        false,
    ),
    // Last: it reaches the keys of every case after it.
    case(
        "a range delete without end",
        |k| {
            let start = Bound::Included(k.key("h").into_bytes());
            let end = Bound::Unbounded;
            k.db.delete_range_sync(KeyRange { start, end }).unwrap();
        },
        true,
        true,
    ),
];

/// Where the other write is when the transactions commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    InMemory,
    Memtable,
    Frozen,
    Flushed,
    Compacted,
    /// Merged into the level that holds the rows from before.
    MergedWithOlder,
    /// As before, and once more in a memtable.
    EveryLevel,
}

impl Place {
    fn open(self, directory: &TempDir) -> Db {
        let options = match self {
            Self::InMemory => DbOptions::memory(),
            Self::Frozen => DbOptions {
                write_buffer_bytes: 1,
                max_immutable_memtables: 100_000,
                ..persistent(directory)
            },
            _ => persistent(directory),
        };
        Db::open_sync(options).unwrap()
    }

    fn before(self, db: &Db) {
        if matches!(self, Self::MergedWithOlder | Self::EveryLevel) {
            db.flush_sync().unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
    }

    fn after(self, db: &Db) {
        match self {
            Self::InMemory | Self::Memtable => {}
            Self::Frozen => assert!(db.stats().immutable_memtables > 0),
            Self::Flushed => {
                db.flush_sync().unwrap();
                assert_eq!(db.stats().immutable_memtables, 0);
            }
            Self::Compacted | Self::MergedWithOlder | Self::EveryLevel => {
                db.flush_sync().unwrap();
                db.compact_range_sync(KeyRange::all()).unwrap();
                assert_eq!(db.stats().l0_tables, 0);
            }
        }
    }
}

/// What a transaction records, besides staging a write of its own or none.
#[derive(Clone, Copy, Debug)]
enum Recorded {
    Nothing,
    Point,
    Range,
    Both,
}

struct Reader {
    recorded: Recorded,
    way: Way,
    stages: bool,
    transaction: Transaction,
}

impl Reader {
    fn begin(keys: &Keys<'_>, recorded: Recorded, way: Way, stages: bool) -> Self {
        let mut transaction = keys.db.transaction(TransactionOptions::default());
        let point = keys.key(POINT);
        if matches!(recorded, Recorded::Point | Recorded::Both) {
            call!(way, transaction, get / get_sync(point.as_bytes())).unwrap();
        }
        if matches!(recorded, Recorded::Range | Recorded::Both) {
            let range = keys.range(RANGE_START, RANGE_END);
            call!(way, transaction, read_range / read_range_sync(range)).unwrap();
        }
        Self {
            recorded,
            way,
            stages,
            transaction,
        }
    }

    fn must_conflict(&self, case: &Case) -> bool {
        match self.recorded {
            Recorded::Nothing => false,
            Recorded::Point => case.point,
            Recorded::Range => case.range,
            Recorded::Both => case.point || case.range,
        }
    }

    fn commit(mut self, keys: &Keys<'_>, case: &Case, story: &str) {
        let expected = self.must_conflict(case);
        let story = format!(
            "{story}, recorded: {:?}, stages: {}, {:?}",
            self.recorded, self.stages, self.way
        );
        let outcomes = keys.db.bucket_sync("outcomes").unwrap();
        if self.stages {
            let transaction = &mut self.transaction;
            transaction
                .put_bucket("outcomes", &*story, "committed")
                .unwrap();
        }
        let before = keys.db.last_committed_sequence();
        let result = call!(self.way, self.transaction, commit / commit_sync());
        assert_eq!(is_conflict(&result), expected, "{story}: {result:?}");
        let applied = self.stages && !expected;
        let found = outcomes.get_sync(story.as_bytes()).unwrap();
        assert_eq!(found.is_some(), applied, "{story}");
        let now = keys.db.last_committed_sequence();
        assert_eq!(now.get(), before.get() + u64::from(applied), "{story}");
    }
}

/// All cases at once, so that each place is reached by one flush or compaction.
fn conflicts_with_what_it_read(place: Place) {
    let directory = tempfile::tempdir().unwrap();
    let db = place.open(&directory);
    let mut played: Vec<_> = CASES
        .iter()
        .flat_map(|case| [(case, true), (case, false)])
        .enumerate()
        .map(|(number, (case, present))| {
            Played::prepare(&db, format!("{number:04}/"), case, present)
        })
        .collect();
    place.before(&db);
    for one in &mut played {
        one.begin();
    }
    for one in &played {
        (one.case.write)(&one.keys);
    }
    place.after(&db);
    if place == Place::EveryLevel {
        for one in &played {
            (one.case.write)(&one.keys);
        }
    }
    for one in played {
        one.commit(place);
    }
}

/// One case, with the point there before or not.
struct Played<'db> {
    keys: Keys<'db>,
    case: &'static Case,
    present: bool,
    readers: Vec<Reader>,
    /// Reads after the other write.
    late: Option<Transaction>,
}

impl<'db> Played<'db> {
    fn prepare(db: &'db Db, prefix: String, case: &'static Case, present: bool) -> Self {
        let keys = Keys { db, prefix };
        keys.put("b", "b");
        keys.put("x", "x");
        if present {
            keys.put(POINT, "m");
        }
        Self {
            keys,
            case,
            present,
            readers: Vec::new(),
            late: None,
        }
    }

    fn begin(&mut self) {
        for way in BOTH_WAYS {
            for recorded in [
                Recorded::Nothing,
                Recorded::Point,
                Recorded::Range,
                Recorded::Both,
            ] {
                for stages in [true, false] {
                    let reader = Reader::begin(&self.keys, recorded, way, stages);
                    self.readers.push(reader);
                }
            }
        }
        self.late = Some(self.keys.db.transaction(TransactionOptions::default()));
    }

    fn commit(self, place: Place) {
        let (case, present) = (self.case, self.present);
        let story = format!("{place:?}, {}, present before: {present}", case.name);
        if let Some(mut late) = self.late {
            // It sees what was there before the write, so it conflicts like those that read earlier.
            let value = late.get_sync(self.keys.key(POINT).as_bytes()).unwrap();
            assert_eq!(value.is_some(), present, "{story}");
            assert_eq!(is_conflict(&late.commit_sync()), case.point, "{story}");
        }
        for reader in self.readers {
            reader.commit(&self.keys, case, &story);
        }
    }
}

#[test]
fn with_a_write_in_memory_mode() {
    conflicts_with_what_it_read(Place::InMemory);
}

#[test]
fn with_a_write_in_a_memtable() {
    conflicts_with_what_it_read(Place::Memtable);
}

#[test]
fn with_a_write_in_a_frozen_memtable() {
    conflicts_with_what_it_read(Place::Frozen);
}

#[test]
fn with_a_write_in_a_flushed_table() {
    conflicts_with_what_it_read(Place::Flushed);
}

#[test]
fn with_a_write_in_a_compacted_table() {
    conflicts_with_what_it_read(Place::Compacted);
}

#[test]
fn with_a_write_merged_with_older_rows() {
    conflicts_with_what_it_read(Place::MergedWithOlder);
}

#[test]
fn with_writes_on_every_level() {
    conflicts_with_what_it_read(Place::EveryLevel);
}

#[test]
fn a_read_range_without_keys_in_it_conflicts_with_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for options in [DbOptions::memory(), persistent(&directory)] {
        let db = Db::open_sync(options).unwrap();
        db.put_sync("k", "1").unwrap();
        let excluded = |key: &str| Bound::Excluded(key.as_bytes().to_vec());
        let ranges = [
            KeyRange::half_open("k", "k"),
            KeyRange::half_open("z", "a"),
            KeyRange {
                start: excluded("k"),
                end: excluded("k"),
            },
            KeyRange {
                start: excluded("k"),
                end: Bound::Included(b"k".to_vec()),
            },
        ];
        for way in BOTH_WAYS {
            for range in &ranges {
                let mut reader = db.transaction(TransactionOptions::default());
                call!(way, reader, read_range / read_range_sync(range.clone())).unwrap();
                db.put_sync("k", "2").unwrap();
                db.delete_range_sync(KeyRange::all()).unwrap();
                call!(way, reader, commit / commit_sync()).unwrap();
            }
        }
    }
}

#[test]
fn reads_of_named_buckets_conflict_in_their_bucket_only() {
    let directory = tempfile::tempdir().unwrap();
    for options in [DbOptions::memory(), persistent(&directory)] {
        let db = Db::open_sync(options).unwrap();
        let buckets = [db.bucket_sync("a").unwrap(), db.bucket_sync("b").unwrap()];
        for way in BOTH_WAYS {
            for (written, bucket) in buckets.iter().enumerate() {
                let begin = || db.transaction(TransactionOptions::default());
                let (mut point, mut range, mut default) = (begin(), begin(), begin());
                call!(way, point, get_bucket / get_bucket_sync("a", b"key")).unwrap();
                let all = KeyRange::all();
                call!(
                    way,
                    range,
                    read_range_bucket / read_range_bucket_sync("a", all)
                )
                .unwrap();
                call!(
                    way,
                    default,
                    get_bucket / get_bucket_sync("default", b"key")
                )
                .unwrap();
                bucket.put_sync("key", "value").unwrap();
                let expected = written == 0;
                assert_eq!(is_conflict(&point.commit_sync()), expected);
                assert_eq!(is_conflict(&range.commit_sync()), expected);
                default.commit_sync().unwrap();
            }
        }
    }
}

/// Handed over one after the other without waiting, so that they meet in one group or in several.
#[test]
fn of_many_commits_in_flight_that_read_the_same_the_first_wins() {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    let directory = tempfile::tempdir().unwrap();
    for options in [DbOptions::memory(), persistent(&directory)] {
        let db = Db::open_sync(options).unwrap();
        for round in 0..20_u8 {
            let mut commits = Vec::new();
            for writer in 0..32_u8 {
                let mut one = db.transaction(TransactionOptions::default());
                match writer % 3 {
                    0 => drop(one.get_sync(b"key").unwrap()),
                    1 => one.read_range_sync(KeyRange::prefix("k")).unwrap(),
                    _ => one.read_range_sync(KeyRange::all()).unwrap(),
                }
                match (writer + round) % 3 {
                    0 => one.put("key", [writer]),
                    1 => one.delete("key"),
                    _ => one.delete_range(KeyRange::all()),
                }
                commits.push(Box::pin(one.commit()));
            }
            let mut context = Context::from_waker(Waker::noop());
            for commit in &mut commits {
                assert!(matches!(commit.as_mut().poll(&mut context), Poll::Pending));
            }
            let before = u64::from(round);
            for (writer, commit) in commits.into_iter().enumerate() {
                let result = block_on(commit);
                assert_eq!(is_conflict(&result), writer > 0, "round {round}");
            }
            assert_eq!(db.last_committed_sequence().get(), before + 1);
        }
    }
}
