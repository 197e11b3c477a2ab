//! Which files of the log there are while it grows.

use trine_kv::{Db, DbOptions, DurabilityMode};

#[test]
fn a_segment_that_became_too_short_to_be_used_again_goes() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("database");
    let options = DbOptions::new(&path).with_durability(DurabilityMode::Buffered);
    let db = Db::open_sync(options).unwrap();
    // Past the end of the first segments, each with a flush: one of a mebibyte is kept for later.
    for rows in [60, 5] {
        for row in 0..rows {
            db.put_sync(format!("{row}"), [0; 1000]).unwrap();
        }
        db.flush_sync().unwrap();
    }
    let kept = path.join("wal-000002");
    // By now the log asks for longer ones.
    for row in 0..2000 {
        db.put_sync(format!("{row}"), [0; 1000]).unwrap();
    }
    db.flush_sync().unwrap();
    assert!(!kept.exists());
}
