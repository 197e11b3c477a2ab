//! Damage done to a database's files behind the engine's back.

use std::path::Path;

/// Changes a byte in the first block of each table, also of those that a compaction left behind.
#[expect(
    clippy::disallowed_methods,
    reason = "damage is done behind the engine's back"
)]
pub(crate) fn damage_tables(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|name| name == "trinet") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[200] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
        }
    }
}
