//! Which commits of others conflict with which reads.

use trine_kv::{
    Db, DbOptions, DurabilityMode, Error, KeyRange, Transaction, WriteBatch, WriteOptions,
};

use crate::common::way::{Way, call};
use crate::fixture::{OTHER, begin, commit, conflicts, everywhere, fresh, get, rows};

/// What a transaction can have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Present,
    Absent,
    Range,
    Scan,
    ScanUnread,
    Nothing,
}

impl Read {
    /// `d` exists, `c` does not; the range is `[c, e)`.
    fn make(self, way: Way, transaction: &mut Transaction) {
        let range = KeyRange::half_open("c", "e");
        match self {
            Self::Present => assert!(get(way, transaction, "d").is_some()),
            Self::Absent => assert!(get(way, transaction, "c").is_none()),
            Self::Range => call!(way, transaction, read_range / read_range_sync(range)).unwrap(),
            Self::Scan => assert_eq!(rows(way, transaction, &range), ["d"]),
            Self::ScanUnread => {
                call!(way, transaction, scan_reverse / scan_reverse_sync(&range)).unwrap();
            }
            Self::Nothing => {}
        }
    }

    const ALL: [Self; 6] = [
        Self::Present,
        Self::Absent,
        Self::Range,
        Self::Scan,
        Self::ScanUnread,
        Self::Nothing,
    ];
}

/// What somebody else commits meanwhile.
struct Other {
    what: &'static str,
    stage: fn(&mut WriteBatch),
    /// The reads that it conflicts with.
    concerns: &'static [Read],
}

impl Other {
    fn commit(&self, db: &Db) {
        let mut batch = WriteBatch::new();
        (self.stage)(&mut batch);
        db.write_sync(batch, WriteOptions::default()).unwrap();
    }
}

fn others() -> Vec<Other> {
    use Read::{Absent, Present, Range, Scan, ScanUnread};
    const D: &[Read] = &[Present, Range, Scan, ScanUnread];
    const C: &[Read] = &[Absent, Range, Scan, ScanUnread];
    const INSIDE: &[Read] = &[Range, Scan, ScanUnread];
    const ALL: &[Read] = &[Present, Absent, Range, Scan, ScanUnread];
    let other = |what, concerns, stage| Other {
        what,
        stage,
        concerns,
    };
    vec![
        other("another value", D, |batch| batch.put("d", "new")),
        other("the same value", D, |batch| batch.put("d", "old")),
        other("a delete", D, |batch| batch.delete("d")),
        other("a phantom", C, |batch| batch.put("c", "new")),
        other("a delete of nothing", C, |batch| batch.delete("c")),
        other("another phantom", INSIDE, |batch| batch.put("cc", "new")),
        other("a covering range delete", ALL, |batch| {
            batch.delete_range(KeyRange::half_open("a", "z"));
        }),
        other("a range delete without end", ALL, |batch| {
            batch.delete_range(KeyRange::all());
        }),
        other("an overlapping range delete", INSIDE, |batch| {
            batch.delete_range(KeyRange::half_open("dd", "z"));
        }),
        other("an adjacent range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("e", "z"));
        }),
        other("an empty range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("d", "d"));
        }),
        other("an inverted range delete", &[], |batch| {
            batch.delete_range(KeyRange::half_open("e", "c"));
        }),
        other("keys outside", &[], |batch| {
            batch.put("b", "new");
            batch.delete("e");
        }),
        other("the same key of another bucket", &[], |batch| {
            batch.put_bucket(OTHER, "d", "new").unwrap();
        }),
    ]
}

/// Where the other's commit lies by the time it is validated against.
#[derive(Clone, Copy, Debug)]
enum Where {
    Memtable,
    Table,
    Compacted,
}

impl Where {
    fn bring(self, db: &Db) {
        if !matches!(self, Self::Memtable) {
            db.flush_sync().unwrap();
        }
        if matches!(self, Self::Compacted) {
            db.compact_range_sync(KeyRange::all()).unwrap();
            db.compact_range_sync(KeyRange::all()).unwrap();
        }
    }
}

#[test]
fn a_commit_conflicts_with_what_was_written_to_its_reads() {
    for other in others() {
        for place in [Where::Memtable, Where::Table, Where::Compacted] {
            for tables_before in [false, true] {
                let directory = tempfile::tempdir().unwrap();
                let db = fresh(
                    Way::Sync,
                    DbOptions::new(directory.path()).with_durability(DurabilityMode::Buffered),
                );
                if tables_before {
                    Where::Compacted.bring(&db);
                }
                let mut transactions = Vec::new();
                for read in Read::ALL {
                    let mut transaction = begin(&db);
                    read.make(Way::Sync, &mut transaction);
                    transaction.put(format!("result of {read:?}"), "new");
                    transactions.push((read, transaction));
                }
                other.commit(&db);
                place.bring(&db);
                for (read, transaction) in transactions {
                    let expected = other.concerns.contains(&read);
                    let before = db.last_committed_sequence().get();
                    let result = commit(Way::Sync, transaction);
                    let conflict = matches!(result, Err(Error::Conflict { .. }));
                    let what = other.what;
                    assert_eq!(
                        conflict, expected,
                        "{read:?}, {what}, {place:?}: {result:?}"
                    );
                    let after = before + u64::from(!conflict);
                    assert_eq!(db.last_committed_sequence().get(), after);
                    let written = db.get_sync(format!("result of {read:?}").as_bytes());
                    assert_eq!(written.unwrap().is_some(), !conflict);
                }
            }
        }
    }
}

#[test]
fn both_ways_conflict_alike() {
    everywhere(|way, db| {
        for read in Read::ALL {
            for other in others() {
                let mut first = WriteBatch::new();
                first.put("d", "old");
                first.delete("c");
                first.delete("cc");
                db.write_sync(first, WriteOptions::default()).unwrap();
                let mut transaction = begin(db);
                read.make(way, &mut transaction);
                other.commit(db);
                // Nothing is staged: reads are validated all the same, and no sequence is used.
                let before = db.last_committed_sequence().get();
                let result = commit(way, transaction);
                if other.concerns.contains(&read) {
                    conflicts(result, "read conflict in bucket default");
                } else {
                    assert_eq!(result.unwrap(), before, "{read:?}, {}", other.what);
                }
                assert_eq!(db.last_committed_sequence().get(), before);
            }
        }
    });
}
