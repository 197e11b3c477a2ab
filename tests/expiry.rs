//! Rows that expire: for whom, by which clock, and what is left of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use trine_kv::{
    BucketOptions, ChangeOperation, Clock, Db, DbOptions, Direction, KeyRange, Merged, Sequence,
    TransactionOptions, WriteBatch, WriteOptions,
};

#[expect(clippy::unnecessary_wraps, reason = "it is an operator")]
fn append(_: &[u8], old: Option<&[u8]>, new: &[&[u8]]) -> Merged {
    Ok(Some([old.unwrap_or_default(), &new.concat()].concat()))
}

fn open(home: &tempfile::TempDir, time: &Arc<AtomicU64>) -> Db {
    let told = Arc::clone(time);
    let options = DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(home.path())
            .with_clock(Clock::new(move || told.load(Relaxed)))
            .with_merge_operator("append", append)
            .with_default_bucket_options(BucketOptions::default().with_merge_operator("append"))
    };
    Db::open_sync(options).expect("opened")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn text(db: &Db, key: &str) -> Option<String> {
    let value = db.get_sync(key.as_bytes()).expect("read");
    assert_eq!(
        db.contains_key_sync(key.as_bytes()).expect("read"),
        value.is_some()
    );
    value.map(|value| String::from_utf8(value).expect("text"))
}

/// Has all tables merged, for which they must have something beside them.
fn rewrite(db: &Db) {
    for key in ["", "z"] {
        db.put_sync(key, "").expect("put");
    }
    db.flush_sync().expect("flushed");
    db.compact_range_sync(KeyRange::all()).expect("compacted");
}

#[test]
fn an_expired_row_is_returned_by_no_read() {
    let home = tempfile::tempdir().expect("a directory");
    let time = Arc::new(AtomicU64::new(1_000_000));
    let db = open(&home, &time);
    let short = KeyRange::half_open("a", "y");
    db.put_sync("k", "old").expect("put");
    db.put_with_ttl_sync("k", "new", seconds(10)).expect("put");
    db.put_with_ttl_and_options_sync("l", "later", seconds(20), WriteOptions::flush())
        .expect("put");
    let snapshot = db.snapshot();
    for _ in 0..2 {
        time.store(1_009_999, Relaxed);
        assert_eq!(text(&db, "k").as_deref(), Some("new"));
        assert_eq!(db.range_sync(&short).expect("a scan").count(), 2);
        let mut cursor = db.cursor(&short, Direction::Forward).expect("a cursor");
        assert!(cursor.advance_sync().expect("read"));
        let later = db.range_sync(&short).expect("a scan");

        time.store(1_010_000, Relaxed);
        assert_eq!(text(&db, "k"), None, "nor does the old value come back");
        assert_eq!(db.get_at_sync(&snapshot, b"k").expect("read"), None);
        assert_eq!(
            db.multi_get_sync(&["k", "l"]).expect("read"),
            [None, Some(b"later".to_vec())]
        );
        assert_eq!(later.count(), 1, "it began before");
        for rows in [db.range_sync(&short), db.range_reverse_sync(&short)] {
            let keys: Vec<_> = rows
                .expect("a scan")
                .map(|row| row.expect("read").key)
                .collect();
            assert_eq!(keys, [b"l"]);
        }
        // Once it has expired, a flush would make a tombstone of it.
        time.store(1_009_999, Relaxed);
        db.flush_sync().expect("flushed");
    }
    drop((snapshot, db));
    time.store(1_010_000, Relaxed);
    let db = open(&home, &time);
    assert_eq!(
        (text(&db, "k"), text(&db, "l").as_deref()),
        (None, Some("later"))
    );
    time.store(2_000_000, Relaxed);
    rewrite(&db);
    rewrite(&db);
    let stats = db.default_bucket_sync().expect("the bucket").stats();
    assert_eq!(db.range_sync(&KeyRange::all()).expect("a scan").count(), 2);
    // What compaction met is gone for good.
    time.store(0, Relaxed);
    assert_eq!((text(&db, "k"), text(&db, "l")), (None, None), "{stats}");
    db.verify_sync(|_| ()).expect("verified");
}

#[test]
fn what_is_merged_into_a_row_outlives_it() {
    let home = tempfile::tempdir().expect("a directory");
    let time = Arc::new(AtomicU64::new(0));
    let db = open(&home, &time);
    db.put_with_ttl_sync("k", "a", seconds(10)).expect("put");
    db.merge_sync("k", "b").expect("merged");
    db.flush_sync().expect("flushed");
    db.merge_sync("k", "c").expect("merged");
    rewrite(&db);
    assert_eq!(text(&db, "k").as_deref(), Some("abc"));
    time.store(10_000, Relaxed);
    assert_eq!(text(&db, "k").as_deref(), Some("bc"));
    rewrite(&db);
    rewrite(&db);
    time.store(0, Relaxed);
    assert_eq!(text(&db, "k").as_deref(), Some("bc"), "it was worked out");
    db.put_with_ttl_sync("k", "a", seconds(10)).expect("put");
    db.put_sync("k", "for ever").expect("put");
    time.store(u64::MAX, Relaxed);
    assert_eq!(text(&db, "k").as_deref(), Some("for ever"));
    db.put_with_ttl_sync("l", "as good as for ever", Duration::MAX)
        .expect("put");
    time.store(u64::MAX - 1, Relaxed);
    assert_eq!(text(&db, "l").as_deref(), Some("as good as for ever"));
}

#[test]
fn batches_and_transactions_put_rows_that_expire_and_the_feed_tells_when() {
    let home = tempfile::tempdir().expect("a directory");
    let time = Arc::new(AtomicU64::new(5_000));
    let db = open(&home, &time);
    let sessions = db.bucket_sync("sessions").expect("created");
    let mut batch = WriteBatch::new();
    batch.put_with_ttl("k", "a", seconds(10));
    batch.merge("k", "b");
    batch
        .put_with_ttl_bucket("sessions", "s", "Ada", seconds(1))
        .expect("staged");
    assert_eq!((batch.len(), batch.operations().len()), (3, 2));
    db.write_sync(batch, WriteOptions::default())
        .expect("written");
    let mut transaction = db.transaction(TransactionOptions::default());
    transaction.put_with_ttl("t", "x", seconds(1));
    transaction
        .put_with_ttl_bucket("sessions", "t", "y", seconds(1))
        .expect("staged");
    assert_eq!(
        transaction.get_staged_sync(b"t").expect("read"),
        Some(b"x".to_vec())
    );
    transaction.commit_sync().expect("committed");
    assert_eq!(text(&db, "k").as_deref(), Some("ab"));
    assert_eq!(
        sessions.get_sync(b"s").expect("read"),
        Some(b"Ada".to_vec())
    );
    time.store(6_000, Relaxed);
    assert_eq!(
        sessions
            .range_sync(&KeyRange::all())
            .expect("a scan")
            .count(),
        0
    );
    assert_eq!(text(&db, "t"), None);

    let mut changes = db.changes(Sequence::ZERO).expect("changes");
    let batch = changes.next_sync().expect("a commit");
    let until = |bucket: &str, key: &str, value: &str, expires_millis| ChangeOperation::PutUntil {
        bucket: bucket.into(),
        key: key.into(),
        value: value.into(),
        expires_millis,
    };
    let operations = batch.operations();
    assert_eq!(operations[0], until("default", "k", "a", 15_000));
    assert!(matches!(&operations[1], ChangeOperation::Merge { operand, .. } if operand == b"b"));
    assert_eq!(operations[2], until("sessions", "s", "Ada", 6_000));
}

#[test]
fn a_cursor_says_when_its_row_expires_and_another_database_can_be_told() {
    let home = tempfile::tempdir().expect("a directory");
    let time = Arc::new(AtomicU64::new(1_000));
    let db = open(&home, &time);
    db.bucket_sync("sessions").expect("created");
    let mut batch = WriteBatch::new();
    batch.put("a", "stays");
    batch.put_until("b", "goes", 11_000);
    batch.put_until("c", "merged", 12_000);
    batch.merge("c", "!");
    batch
        .put_until_bucket("sessions", "s", "Ada", 0)
        .expect("staged");
    assert_eq!((batch.len(), batch.operations().len()), (5, 4));
    db.write_sync(batch, WriteOptions::default())
        .expect("written");
    db.merge_sync("c", "?").expect("merged");
    let expiries = |direction| {
        let mut rows = db.cursor(&KeyRange::all(), direction).expect("a cursor");
        let mut found = vec![rows.expires_millis()];
        while rows.advance_sync().expect("read") {
            found.push(rows.expires_millis());
        }
        found.push(rows.expires_millis());
        found
    };
    for _ in 0..2 {
        time.store(1_000, Relaxed);
        let expected = [None, None, Some(11_000), Some(12_000), None];
        assert_eq!(expiries(Direction::Forward), expected);
        assert_eq!(
            expiries(Direction::Reverse),
            expected.iter().rev().copied().collect::<Vec<_>>()
        );
        time.store(11_999, Relaxed);
        assert_eq!(
            expiries(Direction::Forward),
            [None, None, Some(12_000), None]
        );
        time.store(12_000, Relaxed);
        assert_eq!(expiries(Direction::Forward), [None, None, None, None]);
        assert_eq!(text(&db, "c").as_deref(), Some("!?"));
        time.store(1_000, Relaxed);
        db.flush_sync().expect("flushed");
    }
    let sessions = db.existing_bucket("sessions").expect("the bucket");
    assert_eq!(sessions.get_sync(b"s").expect("read"), None);
}
