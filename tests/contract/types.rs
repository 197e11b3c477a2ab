//! Sequence numbers, ranges, rows, names: constructors and what they promise.

use std::ops::Bound;

use trine_kv::{
    Bucket, BucketName, CommitInfo, Db, DbOptions, Error, Iter, KeyRange, KeyValue, Sequence,
    Snapshot, WriteBatch,
};

#[test]
fn a_sequence_counts_up_and_stops_at_its_end() {
    assert_eq!(Sequence::ZERO, Sequence::new(0));
    assert_eq!(Sequence::default(), Sequence::ZERO);
    assert_eq!(Sequence::new(7).get(), 7);
    assert_eq!(Sequence::new(7).next(), Some(Sequence::new(8)));
    assert_eq!(Sequence::new(u64::MAX).next(), None);
    assert!(Sequence::new(1) < Sequence::new(2));
}

#[test]
fn ranges_are_bounds_from_the_standard_library() {
    let all = KeyRange {
        start: Bound::Unbounded,
        end: Bound::Unbounded,
    };
    assert_eq!(KeyRange::all(), all);
    assert_eq!(KeyRange::default(), all);
    let half_open = KeyRange {
        start: Bound::Included(b"a".to_vec()),
        end: Bound::Excluded(b"b".to_vec()),
    };
    assert_eq!(KeyRange::half_open("a", b"b"), half_open);
}

#[test]
fn rows_and_commits_are_plain_data() {
    let row = KeyValue::new("key", vec![1, 2]);
    assert_eq!(
        (row.key.as_slice(), row.value.as_slice()),
        (&b"key"[..], &[1, 2][..])
    );
    assert_eq!(
        CommitInfo::new(Sequence::new(3)).sequence(),
        Sequence::new(3)
    );
}

#[test]
fn bucket_names_hold_any_text() {
    let name = BucketName::new("a/../b\0");
    assert_eq!(name.as_str(), "a/../b\0");
    assert_eq!(BucketName::from("x"), BucketName::from(String::from("x")));
}

#[test]
fn handles_go_to_any_thread() {
    fn shared<T: Send + Sync + Unpin>() {}
    fn unwind_safe<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    shared::<Db>();
    shared::<Bucket>();
    shared::<Snapshot>();
    shared::<Iter>();
    shared::<WriteBatch>();
    shared::<DbOptions>();
    shared::<Error>();
    unwind_safe::<Db>();
    unwind_safe::<Bucket>();
    unwind_safe::<Snapshot>();
    unwind_safe::<Iter>();
}

#[test]
fn handles_are_cheap_clones_of_one_state() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    db.clone().put_sync("key", "value").unwrap();
    assert_eq!(db.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
    let bucket = db.bucket_sync("bucket").unwrap();
    bucket.clone().put_sync("key", "other").unwrap();
    assert_eq!(bucket.get_sync(b"key").unwrap(), Some(b"other".to_vec()));
}

#[test]
fn debug_texts_hold_no_rows() {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    db.put_sync("a secret key", "a secret value").unwrap();
    let iter = db.range_sync(&KeyRange::all()).unwrap();
    for text in [
        format!("{db:?}"),
        format!("{:?}", db.default_bucket_sync().unwrap()),
        format!("{iter:?}"),
        format!("{:?}", db.snapshot()),
    ] {
        assert!(
            !text.contains("secret") && !text.contains("115, 101, 99"),
            "{text}"
        );
    }
}
