//! The steps of point reads.

use trine_kv::stats::{FilterStats, ReadPathStats};
use trine_kv::{CompressionProfile, FilterPolicy, KeyRange};

use crate::opened::{Opened, key};

#[test]
fn memtables_take_no_steps_in_tables() {
    let db = Opened::new();
    db.put_sync("a", "1").unwrap();
    db.get_sync(b"a").unwrap();
    db.get_sync(b"b").unwrap();
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 1);
    let stats = db.stats();
    assert_eq!(stats.read_path, ReadPathStats::default());
    assert_eq!(stats.filters, FilterStats::default());
    assert_eq!(db.blocks(), (0, 0));
}

#[test]
fn a_point_read_counts_its_steps() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    assert!(db.get_sync(&key(50)).unwrap().is_some());
    let expected = ReadPathStats {
        point_table_probes: 1,
        point_index_partition_probes: 1,
        point_block_metadata_probes: 1,
        point_data_block_reads: 1,
        point_filter_misses: 0,
    };
    assert_eq!(db.stats().read_path, expected);
    db.get_sync(b"before all keys").unwrap();
    db.get_sync(b"zzz after all keys").unwrap();
    assert_eq!(
        db.stats().read_path,
        expected,
        "tables whose key range does not hold the key are not asked"
    );
}

#[test]
fn tables_are_asked_from_the_newest_until_one_knows_the_key() {
    let db = Opened::with(|options| {
        options.default_bucket_options.filter_policy = FilterPolicy::Disabled;
    });
    for newest in ["2", "3", "4"] {
        for key in ["a", "m", newest, "z"] {
            db.put_sync(key, newest).unwrap();
        }
        db.flush_sync().unwrap();
    }
    db.get_sync(b"m").unwrap();
    assert_eq!(db.stats().read_path.point_table_probes, 1);
    db.get_sync(b"n").unwrap();
    let read_path = db.stats().read_path;
    assert_eq!(read_path.point_table_probes, 1 + 3);
    assert_eq!(read_path.point_index_partition_probes, 1 + 3);
    assert_eq!(read_path.point_filter_misses, 0);
    assert_eq!(
        db.stats().filters,
        FilterStats::default(),
        "tables without a filter were asked"
    );
}
