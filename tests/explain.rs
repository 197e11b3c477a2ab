//! What a read is said to touch is what it touches.

use trine_kv::explain::{GetAnswer, GetSource, ValuePlace};
use trine_kv::{BucketOptions, Db, DbOptions};

fn open(home: &tempfile::TempDir) -> Db {
    let options = DbOptions {
        background_worker_count: 0,
        ..DbOptions::new(home.path())
            .with_default_bucket_options(BucketOptions::default().with_blob_threshold_bytes(1000))
    };
    Db::open_sync(options).expect("opened")
}

#[test]
fn sources_are_named_from_the_newest_to_the_one_that_answers() {
    let home = tempfile::tempdir().expect("a directory");
    let db = open(&home);
    for number in 0..100 {
        db.put_sync(format!("key {number:03}"), "old").expect("put");
    }
    db.flush_sync().expect("flushed");
    db.put_sync("key 000", "new").expect("put");
    db.put_sync("key 090", "new").expect("put");
    db.flush_sync().expect("flushed");

    let before = db.stats();
    let explained = db.explain_get_sync(b"key 050").expect("explained");
    assert_eq!(
        db.stats().read_path,
        before.read_path,
        "it counts in no statistics"
    );
    let answers: Vec<_> = explained.steps.iter().map(|step| step.answer).collect();
    assert_eq!(answers[..2], [GetAnswer::Nothing; 2]);
    assert!(matches!(answers[2], GetAnswer::Value(sequence) if sequence.get() == 51));
    let GetSource::Table {
        level,
        filter,
        blocks,
        ..
    } = &explained.steps[1].source
    else {
        panic!("{explained:?}");
    };
    assert_eq!((*level, *filter, blocks.len()), (0, Some(false), 0));
    let GetSource::Table {
        file,
        filter,
        blocks,
        ..
    } = &explained.steps[2].source
    else {
        panic!("{explained:?}");
    };
    assert!(home.path().join(file).exists());
    assert_eq!(
        (*filter, blocks.len(), blocks[0].offset),
        (Some(true), 1, 24)
    );
    assert_eq!(explained.tables_left_out, 0);
    assert!(matches!(
        explained.value,
        Some(ValuePlace::Beside { bytes: 3, .. })
    ));

    // A warm read has nothing to wait for.
    assert_eq!(
        db.get_sync(b"key 050").expect("read").as_deref(),
        Some(&b"old"[..])
    );
    let warm = db.explain_get_sync(b"key 050").expect("explained");
    let GetSource::Table { blocks, .. } = &warm.steps[2].source else {
        panic!("{warm:?}");
    };
    assert!(!blocks[0].was_missing);

    let outside = db.explain_get_sync(b"lock").expect("explained");
    assert_eq!((outside.steps.len(), outside.tables_left_out), (1, 2));
    assert_eq!(outside.value, None);
}

#[test]
fn deletions_answer_and_blob_files_are_named() {
    let home = tempfile::tempdir().expect("a directory");
    let db = open(&home);
    let bucket = db.bucket_sync("others").expect("a bucket");
    bucket.put_sync("key", "value").expect("put");
    db.put_sync("large", vec![7; 5000]).expect("put");
    db.put_sync("small", "value").expect("put");
    db.flush_sync().expect("flushed");
    db.delete_range_sync(trine_kv::KeyRange::prefix("sm"))
        .expect("deleted");

    let deleted = db.explain_get_sync(b"small").expect("explained");
    assert_eq!(deleted.steps.len(), 1, "the memtable knows");
    assert_eq!(
        deleted.steps[0].answer,
        GetAnswer::Deleted(db.last_committed_sequence())
    );
    let large = db.explain_get_sync(b"large").expect("explained");
    let Some(ValuePlace::Blob { file, bytes, .. }) = &large.value else {
        panic!("{large:?}");
    };
    assert!(home.path().join(file).exists());
    assert_eq!(*bytes, 5000);
    let other = trine_kv::block_on(bucket.explain_get(b"key")).expect("explained");
    assert_eq!(other.steps.len(), 2);
    assert_eq!(
        trine_kv::block_on(db.explain_get(b"key"))
            .expect("explained")
            .value,
        None
    );
}
