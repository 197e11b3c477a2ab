//! Merge operators: whose operands count, what becomes of them when tables are merged, and what of their failures.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use trine_kv::explain::{GetAnswer, ValuePlace};
use trine_kv::{
    BucketOptions, BulkLoadOptions, ChangeOperation, CompressionProfile, Db, DbOptions,
    DurabilityMode, Error, KeyRange, MergeOperator, Merged, Result, Sequence, TransactionOptions,
    WriteBatch, WriteOptions,
};

#[expect(clippy::unnecessary_wraps, reason = "it is an operator")]
fn append(_: &[u8], old: Option<&[u8]>, new: &[&[u8]]) -> Merged {
    Ok(Some([old.unwrap_or_default(), &new.concat()].concat()))
}

fn appending() -> BucketOptions {
    BucketOptions::default().with_merge_operator("append")
}

fn options(home: &tempfile::TempDir) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(home.path()).with_default_bucket_options(appending())
    }
}

fn open(home: &tempfile::TempDir) -> Db {
    Db::open_sync(options(home).with_merge_operator("append", append)).expect("opened")
}

fn text(value: Result<Option<Vec<u8>>>) -> Option<String> {
    value
        .expect("read")
        .map(|value| String::from_utf8(value).expect("text"))
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
fn a_bucket_without_an_operator_takes_no_operands() {
    let db = Db::open_sync(DbOptions::memory()).expect("opened");
    let mut batch = WriteBatch::new();
    batch.merge("k", "a");
    for refused in [
        db.merge_sync("k", "a"),
        db.write_sync(batch, WriteOptions::default()).map(drop),
    ] {
        assert!(
            matches!(refused, Err(Error::InvalidOptions { .. })),
            "{refused:?}"
        );
    }
    let named = db.bucket_with_options_sync("named", appending());
    assert!(matches!(named, Err(Error::MergeOperatorMissing { name }) if name == "append"));
}

#[test]
fn without_its_operator_a_bucket_shows_no_value_that_needs_it() {
    let home = tempfile::tempdir().expect("a directory");
    let db = open(&home);
    db.put_sync("plain", "value").expect("put");
    db.merge_sync("k", "a").expect("merged");
    db.merge_sync("k", "b").expect("merged");
    db.bucket_with_options_sync("other", appending())
        .expect("created");
    drop(db);

    let db = Db::open_sync(options(&home)).expect("opened");
    let missing = |outcome: Result<()>| {
        assert!(
            matches!(&outcome, Err(Error::MergeOperatorMissing { name }) if name == "append"),
            "{outcome:?}"
        );
    };
    for _ in 0..2 {
        assert_eq!(text(db.get_sync(b"plain")).as_deref(), Some("value"));
        missing(db.get_sync(b"k").map(drop));
        missing(db.contains_key_sync(b"k").map(drop));
        missing(db.multi_get_sync(&["plain", "k"]).map(drop));
        missing(db.first_sync(&KeyRange::all()).map(drop));
        missing(db.last_sync(&KeyRange::half_open("", "l")).map(drop));
        db.flush_sync().expect("operands fail no flush");
        db.compact_range_sync(KeyRange::all())
            .expect("nor a compaction");
    }
    missing(db.bucket_with_options_sync("other", appending()).map(drop));
    let plain = db.bucket_sync("other").map(drop);
    assert!(
        matches!(plain, Err(Error::InvalidOptions { .. })),
        "{plain:?}"
    );
    // What others merge is kept with the rest.
    db.merge_sync("k", "c").expect("merged");
    drop(db);
    assert_eq!(text(open(&home).get_sync(b"k")).as_deref(), Some("abc"));
}

/// Fails or panics while it is told to.
struct Moody(Arc<AtomicBool>, Arc<AtomicBool>);

impl MergeOperator for Moody {
    fn merge(&self, key: &[u8], old: Option<&[u8]>, new: &[&[u8]]) -> Merged {
        assert!(!self.1.load(Relaxed), "a panic");
        if self.0.load(Relaxed) {
            return Err("a failure".into());
        }
        append(key, old, new)
    }
}

#[test]
fn operands_of_an_operator_that_fails_or_panics_are_kept() {
    let home = tempfile::tempdir().expect("a directory");
    let (fails, panics) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let moody = Moody(Arc::clone(&fails), Arc::clone(&panics));
    let options = options(&home).with_merge_operator("append", moody);
    let db = Db::open_sync(DbOptions {
        background_worker_count: 1,
        ..options
    })
    .expect("opened");
    db.put_sync("k", "a").expect("put");
    db.flush_sync().expect("flushed");
    let mut value = "a".to_owned();
    for (mood, said) in [(&fails, "a failure"), (&panics, "it panicked")] {
        for _ in 0..3 {
            mood.store(true, Relaxed);
            for operand in ["b", "c"] {
                db.merge_sync("k", operand).expect("merged");
                value.push_str(operand);
            }
            let failed = db.get_sync(b"k");
            assert!(
                matches!(&failed, Err(Error::MergeFailed { operator, message }) if operator == "append" && message == said),
                "{failed:?}"
            );
            db.flush_sync().expect("flushed");
            db.compact_range_sync(KeyRange::all()).expect("compacted");
            mood.store(false, Relaxed);
            assert_eq!(text(db.get_sync(b"k")), Some(value.clone()));
        }
    }
    rewrite(&db);
    panics.store(true, Relaxed);
    // Nothing asks it any more.
    assert_eq!(text(db.get_sync(b"k")), Some(value));
}

#[test]
fn a_batch_merges_into_what_it_did_before() {
    let db = DbOptions::memory().with_default_bucket_options(appending());
    let db = Db::open_sync(db.with_merge_operator("append", append)).expect("opened");
    for key in ["deleted", "kept", "put", "range"] {
        db.put_sync(key, "old").expect("put");
    }
    let mut batch = WriteBatch::new();
    batch.merge("kept", "+a");
    batch.put("put", "new");
    batch.delete("deleted");
    batch.delete_range(KeyRange::half_open("r", "s"));
    for key in ["deleted", "kept", "put", "range", "fresh"] {
        batch.merge(key, "+b");
    }
    batch.merge("gone", "+c");
    batch.delete_range(KeyRange::prefix("gone"));
    batch.merge("replaced", "+d");
    batch.put("replaced", "last");
    assert_eq!(batch.len(), 13);
    assert_eq!(batch.operations().len(), 5, "merges are not among them");
    db.write_sync(batch, WriteOptions::default())
        .expect("written");
    let expected = [
        ("deleted", Some("+b")),
        ("fresh", Some("+b")),
        ("gone", None),
        ("kept", Some("old+a+b")),
        ("put", Some("new+b")),
        ("range", Some("+b")),
        ("replaced", Some("last")),
    ];
    for (key, value) in expected {
        assert_eq!(text(db.get_sync(key.as_bytes())).as_deref(), value, "{key}");
    }
}

#[test]
fn a_batch_of_merges_is_what_the_feed_says() {
    let home = tempfile::tempdir().expect("a directory");
    let db = open(&home);
    let mut batch = WriteBatch::new();
    batch.put("a", "new");
    batch.merge("a", "1");
    batch.merge("a", "2");
    batch.delete("b");
    batch.merge("b", "3");
    batch.merge("c", "4");
    db.write_sync(batch, WriteOptions::default())
        .expect("written");
    let mut changes = db.changes(Sequence::ZERO).expect("changes");
    let batch = changes.next_sync().expect("a commit");
    let (bucket, key) = (|| "default".to_owned(), |key: &str| key.as_bytes().to_vec());
    let merge = |at, operand: &str| ChangeOperation::Merge {
        bucket: bucket(),
        key: key(at),
        operand: operand.into(),
    };
    let expected = [
        ChangeOperation::Put {
            bucket: bucket(),
            key: key("a"),
            value: key("new"),
        },
        merge("a", "1"),
        merge("a", "2"),
        ChangeOperation::Delete {
            bucket: bucket(),
            key: key("b"),
        },
        merge("b", "3"),
        merge("c", "4"),
    ];
    assert_eq!(batch.operations(), expected);
}

#[test]
fn transactions_that_merge_into_one_key_do_not_conflict() {
    let db = DbOptions::memory().with_default_bucket_options(appending());
    let db = Db::open_sync(db.with_merge_operator("append", append)).expect("opened");
    let begin = || db.transaction(TransactionOptions::default());
    let (mut first, mut second, mut reader) = (begin(), begin(), begin());
    first.merge("k", "a");
    second.merge("k", "b");
    assert_eq!(text(reader.get_staged_sync(b"k")), None);
    reader.merge("k", "c");
    assert_eq!(text(reader.get_staged_sync(b"k")).as_deref(), Some("c"));
    first.commit_sync().expect("committed");
    second.commit_sync().expect("nothing was read");
    assert!(matches!(reader.commit_sync(), Err(Error::Conflict { .. })));

    let mut own = begin();
    own.merge("k", "+1");
    assert_eq!(text(own.get_staged_sync(b"k")).as_deref(), Some("ab+1"));
    own.put("k", "new");
    own.merge("k", "+2");
    assert_eq!(text(own.get_staged_sync(b"k")).as_deref(), Some("new+2"));
    own.delete_range(KeyRange::all());
    assert_eq!(text(own.get_staged_sync(b"k")), None);
    own.merge("k", "+3");
    assert_eq!(text(own.get_staged_sync(b"k")).as_deref(), Some("+3"));
    own.commit_sync().expect("committed");
    assert_eq!(text(db.get_sync(b"k")).as_deref(), Some("+3"));
}

/// A merge of level 0 in several parts shows, until the last is done, what it has merged twice.
#[test]
fn a_merge_that_is_done_in_part_counts_no_operand_twice() {
    let home = tempfile::tempdir().expect("a directory");
    let options = DbOptions {
        write_buffer_bytes: 400,
        target_table_bytes: 400,
        max_l0_files: 2,
        default_bucket_options: BucketOptions {
            block_bytes: 64,
            compression: CompressionProfile::None,
            ..appending()
        },
        ..options(&home).with_durability(DurabilityMode::Buffered)
    };
    let db = Db::open_sync(options.with_merge_operator("append", append)).expect("opened");
    let options = db.options().default_bucket_options.clone();
    let bucket = db
        .bucket_with_options_sync("two", options)
        .expect("created");
    db.put_sync("", "old").expect("put");
    let snapshot = db.snapshot();
    db.put_sync("", "new").expect("put");
    bucket.delete_sync("").expect("deleted");
    bucket.put_sync([98, 0], "").expect("put");
    db.flush_sync().expect("flushed");
    db.compact_range_sync(KeyRange::all()).expect("compacted");
    let keys: [&[u8]; 12] = [
        &[97],
        &[0],
        &[],
        &[0, 0],
        &[0, 1],
        &[1, 0],
        &[0, 97],
        &[1, 1],
        &[1],
        &[98],
        &[97, 0],
        &[0, 98],
    ];
    let rows = keys.into_iter().map(|key| Ok((key, "")));
    let options = BulkLoadOptions::new().with_memory_bytes(0);
    bucket.try_bulk_load_sync(rows, options).expect("loaded");
    bucket.put_sync([98, 0], "").expect("put");
    bucket.merge_sync([0], "1").expect("merged");
    db.put_sync("", "").expect("put");
    db.flush_sync().expect("flushed");
    // Waits until some of level 0 was merged.
    bucket.merge_sync("", "2").expect("merged");
    let all = KeyRange::all();
    for rows in [bucket.range_sync(&all), bucket.range_reverse_sync(&all)] {
        let rows = rows.expect("a scan").map(|row| row.expect("read"));
        let values = rows.filter(|row| row.key == [0]).map(|row| row.value);
        assert_eq!(values.collect::<Vec<_>>(), [b"1"]);
    }
    assert_eq!(text(bucket.get_sync(&[0])).as_deref(), Some("1"));
    drop(snapshot);
}

#[test]
fn operands_are_put_together_as_far_as_no_snapshot_can_tell() {
    let home = tempfile::tempdir().expect("a directory");
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let counting = move |key: &[u8], old: Option<&[u8]>, new: &[&[u8]]| -> Merged {
        seen.lock().expect("no panic").push(new.len());
        append(key, old, new)
    };
    let db = Db::open_sync(options(&home).with_merge_operator("append", counting)).expect("opened");
    db.put_sync("k", "0").expect("put");
    db.flush_sync().expect("flushed");
    db.merge_sync("k", "1").expect("merged");
    db.merge_sync("k", "2").expect("merged");
    let snapshot = db.snapshot();
    db.merge_sync("k", "3").expect("merged");
    db.merge_sync("k", "4").expect("merged");
    db.flush_sync().expect("flushed");
    let explained = db.explain_get_sync(b"k").expect("explained");
    assert!(matches!(
        explained.steps.last().map(|step| step.answer),
        Some(GetAnswer::Merged(_))
    ));
    assert!(matches!(explained.value, Some(ValuePlace::Merged { .. })));
    assert!(
        calls.lock().expect("no panic").is_empty(),
        "a flush knows nothing beneath"
    );
    db.compact_range_sync(KeyRange::all()).expect("compacted");
    assert_eq!(
        *calls.lock().expect("no panic"),
        [2],
        "those that the snapshot sees"
    );
    assert_eq!(
        text(db.get_at_sync(&snapshot, b"k")).as_deref(),
        Some("012")
    );
    assert_eq!(text(db.get_sync(b"k")).as_deref(), Some("01234"));
    drop(snapshot);
    rewrite(&db);
    calls.lock().expect("no panic").clear();
    assert_eq!(text(db.get_sync(b"k")).as_deref(), Some("01234"));
    assert!(
        calls.lock().expect("no panic").is_empty(),
        "it is a plain value now"
    );
    assert_eq!(db.verify_sync(|_| ()).expect("verified").tables, 1);
}

#[test]
fn a_long_list_of_operands_is_combined_before_anybody_reads_it() {
    struct Sum;
    fn sum<'a>(numbers: impl Iterator<Item = &'a [u8]>) -> Merged {
        let mut sum = 0u64;
        for number in numbers {
            sum += u64::from_le_bytes(number.try_into()?);
        }
        Ok(Some(sum.to_le_bytes().to_vec()))
    }
    impl MergeOperator for Sum {
        fn merge(&self, _: &[u8], old: Option<&[u8]>, new: &[&[u8]]) -> Merged {
            sum(old.into_iter().chain(new.iter().copied()))
        }
        fn combine(&self, _: &[u8], new: &[&[u8]]) -> Merged {
            sum(new.iter().copied())
        }
    }
    let home = tempfile::tempdir().expect("a directory");
    let options = options(&home).with_merge_operator("append", Sum);
    let options = options.with_durability(DurabilityMode::Buffered);
    let db = Db::open_sync(options).expect("opened");
    let count = 3000u64;
    for _ in 0..count {
        let merged = db.merge_with_options_sync("k", 1u64.to_le_bytes(), WriteOptions::buffered());
        merged.expect("merged");
    }
    db.flush_sync().expect("flushed");
    let explained = db.explain_get_sync(b"k").expect("explained");
    assert!(
        matches!(explained.value, Some(ValuePlace::Merged { bytes, .. }) if bytes < 20),
        "{explained:?}"
    );
    assert_eq!(
        db.get_sync(b"k").expect("read"),
        Some(count.to_le_bytes().to_vec())
    );
}
