//! Operations of one batch: kept in order, applied in order, the last on a key wins.

use trine_kv::write_batch::BatchOperation;
use trine_kv::{Db, KeyRange, WriteBatch, WriteOptions};

use crate::fixture::{all_keys, wherever_rows_lie};

#[test]
fn a_batch_keeps_every_operation_in_call_order() {
    let mut batch = WriteBatch::new();
    assert!(batch.is_empty());
    assert_eq!(batch, WriteBatch::default());
    batch.put("k", "1");
    batch.put("k", "2");
    batch.delete_bucket("b", "k").unwrap();
    batch.delete_range(KeyRange::all());
    assert_eq!((batch.len(), batch.is_empty()), (4, false));
    let expected = [
        BatchOperation::Put {
            bucket: "default".into(),
            key: b"k".to_vec(),
            value: b"1".to_vec(),
        },
        BatchOperation::Put {
            bucket: "default".into(),
            key: b"k".to_vec(),
            value: b"2".to_vec(),
        },
        BatchOperation::Delete {
            bucket: "b".into(),
            key: b"k".to_vec(),
        },
        BatchOperation::DeleteRange {
            bucket: "default".into(),
            range: KeyRange::all(),
        },
    ];
    assert_eq!(batch.operations(), expected);
    assert_eq!(expected[2].bucket(), "b");
    assert_eq!(batch.into_operations(), expected);
}

/// Commits `stage` over a database that holds `old` under `k`, and looks wherever rows lie.
fn leaves(stage: impl Fn(&mut WriteBatch), expected: Option<&str>) {
    wherever_rows_lie(
        |db| {
            db.put_sync("k", "old").unwrap();
            let mut batch = WriteBatch::new();
            stage(&mut batch);
            db.write_sync(batch, WriteOptions::buffered()).unwrap();
        },
        |db| {
            let value = db.get_sync(b"k").unwrap();
            assert_eq!(value.as_deref(), expected.map(str::as_bytes));
            assert_eq!(all_keys(db).len(), usize::from(expected.is_some()));
        },
    );
}

fn covering() -> KeyRange {
    KeyRange::half_open("j", "l")
}

#[test]
fn the_last_put_of_a_key_wins() {
    leaves(
        |batch| {
            batch.put("k", "1");
            batch.put("k", "2");
        },
        Some("2"),
    );
}

#[test]
fn put_then_delete_is_absent() {
    leaves(
        |batch| {
            batch.put("k", "1");
            batch.delete("k");
        },
        None,
    );
}

#[test]
fn delete_then_put_is_present() {
    leaves(
        |batch| {
            batch.delete("k");
            batch.put("k", "1");
        },
        Some("1"),
    );
}

#[test]
fn put_then_covering_range_delete_is_absent() {
    leaves(
        |batch| {
            batch.put("k", "1");
            batch.delete_range(covering());
        },
        None,
    );
}

#[test]
fn range_delete_then_put_is_present() {
    leaves(
        |batch| {
            batch.delete_range(covering());
            batch.put("k", "1");
        },
        Some("1"),
    );
}

#[test]
fn range_delete_put_range_delete_put_keeps_the_last() {
    leaves(
        |batch| {
            batch.delete_range(covering());
            batch.put("k", "1");
            batch.delete_range(KeyRange::half_open("k", "k\0"));
            batch.put("k", "2");
        },
        Some("2"),
    );
}

#[test]
fn a_range_delete_beside_the_key_leaves_it() {
    leaves(
        |batch| batch.delete_range(KeyRange::half_open("a", "k")),
        Some("old"),
    );
}

#[test]
fn a_batch_may_be_large() {
    let db = Db::open_sync(trine_kv::DbOptions::memory()).unwrap();
    let mut batch = WriteBatch::new();
    for index in 0..50_000_u32 {
        batch.put(index.to_be_bytes(), index.to_le_bytes());
    }
    db.write_sync(batch, WriteOptions::buffered()).unwrap();
    assert_eq!(all_keys(&db).len(), 50_000);
}
