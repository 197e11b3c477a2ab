//! Compaction filters: what they see, and for whom what they do holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use trine_kv::{BucketOptions, Db, DbOptions, KeyRange, Verdict};

fn options(home: &tempfile::TempDir) -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(home.path())
            .with_default_bucket_options(BucketOptions::default().with_blob_threshold_bytes(100))
    }
}

/// Has all tables merged, for which they must have something beside them.
fn rewrite(db: &Db) {
    for key in ["", "z"] {
        db.put_sync(key, "").expect("put");
    }
    db.flush_sync().expect("flushed");
    db.compact_range_sync(KeyRange::all()).expect("compacted");
}

fn rows(db: &Db) -> BTreeMap<String, String> {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let rows = db
        .range_sync(&KeyRange::from_bounds("a".."z"))
        .expect("a scan");
    rows.map(|row| {
        row.map(|row| (text(row.key), text(row.value)))
            .expect("read")
    })
    .collect()
}

#[test]
fn rows_are_removed_and_changed_wherever_their_values_lie() {
    let home = tempfile::tempdir().expect("a directory");
    let filter = |key: &[u8], value: &[u8]| match (key.first(), value.first()) {
        (Some(b'r'), _) => Verdict::Remove,
        (Some(b'c'), Some(b'x')) => Verdict::Change(b"short".to_vec()),
        (Some(b'c'), Some(b'v')) => Verdict::Change(vec![b'l'; 200]),
        (Some(b'p'), _) => panic!("a filter's"),
        _ => Verdict::Keep,
    };
    let db =
        Db::open_sync(options(&home).with_compaction_filter("default", filter)).expect("opened");
    let long = "x".repeat(200);
    for (key, value) in [
        ("c1", "v"),
        ("c2", &long),
        ("k1", "v"),
        ("k2", &long),
        ("p", "v"),
        ("r1", "v"),
        ("r2", &long),
    ] {
        db.put_sync(key, value).expect("put");
    }
    let other = db.bucket_sync("other").expect("created");
    other.put_sync("r", "v").expect("put");
    db.flush_sync().expect("flushed");
    assert_eq!(rows(&db).len(), 7, "a flush filters nothing");
    rewrite(&db);
    let lengths: Vec<_> = rows(&db)
        .into_iter()
        .map(|(key, value)| (key, value.len()))
        .collect();
    let expected = [("c1", 200), ("c2", 5), ("k1", 1), ("k2", 200), ("p", 1)];
    assert!(
        lengths
            .iter()
            .map(|(key, length)| (key.as_str(), *length))
            .eq(expected),
        "{lengths:?}"
    );
    assert!(
        other.contains_key_sync(b"r").expect("read"),
        "it is of one bucket"
    );
    db.verify_sync(|_| ()).expect("verified");
    drop((db, other));
    assert_eq!(
        rows(&Db::open_sync(options(&home)).expect("opened")).len(),
        5
    );
}

#[test]
fn who_began_before_keeps_what_he_sees() {
    let home = tempfile::tempdir().expect("a directory");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let filter = move |key: &[u8], value: &[u8]| {
        noted
            .lock()
            .expect("no panic")
            .push((key.to_vec(), value.to_vec()));
        Verdict::Remove
    };
    let db =
        Db::open_sync(options(&home).with_compaction_filter("default", filter)).expect("opened");
    db.put_sync("a", "1").expect("put");
    db.put_sync("b", "1").expect("put");
    let snapshot = db.snapshot();
    db.put_sync("b", "2").expect("put");
    db.flush_sync().expect("flushed");
    rewrite(&db);
    let read = |key: &str| db.get_at_sync(&snapshot, key.as_bytes()).expect("read");
    assert_eq!(
        (read("a"), read("b")),
        (Some(b"1".to_vec()), Some(b"1".to_vec()))
    );
    assert_eq!(
        rows(&db),
        BTreeMap::from([("a".to_owned(), "1".to_owned())])
    );
    let shown = seen.lock().expect("no panic").clone();
    assert!(shown.contains(&(b"b".to_vec(), b"2".to_vec())));
    assert!(
        shown
            .iter()
            .all(|(key, value)| key != b"a" && value != b"1"),
        "{shown:?}"
    );
    drop(snapshot);
    rewrite(&db);
    assert!(rows(&db).is_empty());
}

#[test]
fn a_removed_row_does_not_let_older_ones_show() {
    let home = tempfile::tempdir().expect("a directory");
    let db = Db::open_sync(options(&home)).expect("opened");
    db.put_sync("a", "old").expect("put");
    rewrite(&db);
    drop(db);
    let spares_old = |_: &[u8], value: &[u8]| match value {
        b"new" => Verdict::Remove,
        _ => Verdict::Keep,
    };
    let options = DbOptions {
        max_l0_files: 1,
        ..options(&home).with_compaction_filter("default", spares_old)
    };
    let db = Db::open_sync(options).expect("opened");
    db.put_sync("a", "new").expect("put");
    db.flush_sync().expect("flushed");
    assert_eq!(rows(&db).len(), 1);
    rewrite(&db);
    assert!(rows(&db).is_empty());
}
