//! Statistics for people.

use trine_kv::CompressionProfile;

use crate::opened::{Opened, key};

#[test]
fn statistics_are_shown_as_a_table() {
    let db = Opened::with_table(CompressionProfile::Fast, 3);
    db.get_sync(&key(1)).unwrap();
    let shown = db.stats().to_string();
    for line in [
        "level",
        "block cache 0 hits",
        "key filter  1 maybe",
        "compaction",
    ] {
        assert!(shown.contains(line), "{line} in:\n{shown}");
    }
    assert!(
        db.default_bucket_sync()
            .unwrap()
            .stats()
            .to_string()
            .contains("3 entries")
    );
}
