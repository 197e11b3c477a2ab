//! Level 0 and what it supersedes in blob files.

use crate::blob::{BlobIndex, BlobUses};
use crate::block::frame::BlockHandle;
use crate::table::TableMeta;
use crate::tree::picker::Goal;
use crate::tree::picker::tests::{chosen, table};

/// A table that refers to so many mebibytes of values in a blob file of the same number.
fn referring(number: u64, keys: [u8; 2], mebibytes: u32) -> TableMeta {
    let mut blobs = BlobUses::default();
    blobs.count(&BlobIndex {
        file: number,
        ordinal: 0,
        record: BlockHandle::default(),
        value_bytes: mebibytes << 20,
    });
    TableMeta {
        blobs,
        ..table(number, keys, 8)
    }
}

#[test]
fn level_zero_is_merged_if_it_may_supersede_much_of_the_values_in_blob_files() {
    let below = |mebibytes| vec![referring(1, [0, 9], mebibytes)];
    let due = |level_0: Vec<TableMeta>, mebibytes| {
        chosen(&vec![level_0, below(mebibytes)], &Goal::Shape).map(|chosen| chosen.0)
    };
    let all = vec![(0, 2), (1, 1)];
    assert_eq!(due(vec![referring(2, [1, 5], 7)], 100), Some(all));
    assert_eq!(due(vec![referring(2, [1, 5], 6)], 100), None);
    assert_eq!(due(vec![referring(2, [1, 5], 3)], 1), None, "few");
    let long = TableMeta {
        bytes: 1 << 20,
        ..referring(2, [1, 5], 7)
    };
    assert_eq!(due(vec![long], 100), None, "much work for few values");
}
