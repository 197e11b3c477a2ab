//! Operations of one batch: kept in order, applied in order, the last on a key wins.

use trine_kv::write_batch::BatchOperation;
use trine_kv::{Db, KeyRange, WriteBatch, WriteOptions};

use crate::fixture::all_keys;

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
