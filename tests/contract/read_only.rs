//! A read-only database reads everything and changes nothing; memory mode keeps everything in memory.

use trine_kv::{Db, DbOptions, DurabilityMode};

use crate::fixture::{Place, all_keys, names, put_all};

#[test]
fn databases_in_memory_share_nothing() {
    let one = Db::open_sync(DbOptions::memory()).unwrap();
    let two = Db::open_sync(DbOptions::memory()).unwrap();
    put_all(&one, &[b"a"]);
    assert!(all_keys(&two).is_empty());
}

#[test]
fn a_reader_changes_no_file() {
    let place = Place::new();
    let db = place.open();
    put_all(&db, &[b"in a table"]);
    db.flush_sync().unwrap();
    put_all(&db, &[b"in the log"]);
    db.close_sync();
    let files = names(&place.path());
    let reader = place.open_read_only();
    assert_eq!(all_keys(&reader), [&b"in a table"[..], b"in the log"]);
    reader.persist_sync(DurabilityMode::SyncAll).unwrap();
    assert_eq!(names(&place.path()), files);
    reader.close_sync();
    assert_eq!(names(&place.path()), files);
}
