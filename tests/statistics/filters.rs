//! Filters: what they ruled out, and where they were wrong.

use trine_kv::stats::FilterStats;
use trine_kv::{CompressionProfile, FilterPolicy, KeyRange, PrefixExtractor};

use crate::opened::{Opened, key};

#[test]
fn key_filters_count_hits_misses_and_false_positives() {
    let db = Opened::with_table(CompressionProfile::None, 1000);
    for i in 0..1000 {
        assert!(db.get_sync(&key(i)).unwrap().is_some());
    }
    let filters = db.stats().filters;
    assert_eq!(filters.table_point_hits, 1000);
    assert_eq!(filters.table_point_misses, 0);
    assert_eq!(filters.table_point_false_positives, 0);
    for i in 0..999 {
        let absent = [key(i).as_slice(), b"x"].concat();
        assert_eq!(db.get_sync(&absent).unwrap(), None);
    }
    let stats = db.stats();
    let (filters, read_path) = (stats.filters, stats.read_path);
    let wrong = filters.table_point_false_positives;
    assert!(wrong < 100, "{wrong} of 999 at ten bits a key");
    assert_eq!(filters.table_point_hits, 1000 + wrong);
    assert_eq!(filters.table_point_misses, 999 - wrong);
    assert_eq!(read_path.point_table_probes, 1999);
    assert_eq!(read_path.point_filter_misses, filters.table_point_misses);
    assert_eq!(read_path.point_index_partition_probes, 1000 + wrong);
    assert_eq!(read_path.point_data_block_reads, 1000 + wrong);
}

#[test]
fn a_filter_of_one_bit_is_often_wrong() {
    let db = Opened::with(|options| {
        options.default_bucket_options.filter_policy = FilterPolicy::Bloom { bits_per_key: 1 };
    });
    for i in 0..1000 {
        db.put_sync(key(i), "").unwrap();
    }
    db.flush_sync().unwrap();
    for i in 0..999 {
        let absent = [key(i).as_slice(), b"x"].concat();
        assert_eq!(db.get_sync(&absent).unwrap(), None);
    }
    let filters = db.stats().filters;
    assert!(filters.table_point_false_positives > 0);
    assert_eq!(
        filters.table_point_hits,
        filters.table_point_false_positives
    );
    assert_eq!(filters.table_point_hits + filters.table_point_misses, 999);
}

/// Two tables whose key ranges overlap: users in one, visits in both.
fn prefixed(bits_per_prefix: u8) -> Opened {
    let db = Opened::with(|options| {
        let bucket = &mut options.default_bucket_options;
        bucket.prefix_extractor = PrefixExtractor::Separator(b':');
        bucket.prefix_filter_policy = trine_kv::PrefixFilterPolicy::Bloom { bits_per_prefix };
    });
    for rows in [["a:1", "user:1", "z:1"], ["a:2", "visit:1", "z:2"]] {
        for key in rows {
            db.put_sync(key, "").unwrap();
        }
        db.flush_sync().unwrap();
    }
    db
}

#[test]
fn prefix_filters_count_hits_and_misses_when_a_scan_begins() {
    let db = prefixed(16);
    let scan = db.prefix_sync("user:").unwrap();
    assert_eq!(db.stats().filters, FilterStats::default());
    assert_eq!(scan.count(), 1);
    let expected = FilterStats {
        table_prefix_hits: 1,
        table_prefix_misses: 1,
        ..FilterStats::default()
    };
    assert_eq!(db.stats().filters, expected);
    assert_eq!(db.prefix_reverse_sync("a:").unwrap().count(), 2);
    let expected = FilterStats {
        table_prefix_hits: 3,
        ..expected
    };
    assert_eq!(db.stats().filters, expected, "each was right");
    assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 6);
    assert_eq!(db.stats().filters, expected, "no filter was asked");
}

#[test]
fn prefix_filters_count_false_positives_when_a_scan_comes_to_the_table() {
    let db = prefixed(1);
    for i in 0..500 {
        db.put_sync(format!("a{i}:"), "").unwrap();
    }
    db.put_sync("z:4", "").unwrap();
    db.flush_sync().unwrap();
    let (mut scans, mut last) = (0, FilterStats::default());
    // Prefixes that nobody wrote, until a filter of a few bits has been wrong both ways of scanning.
    for reverse in [false, true] {
        loop {
            scans += 1;
            assert!(scans < 10_000, "a filter that is never wrong");
            let prefix = format!("b{scans}:");
            let scan = if reverse {
                db.prefix_reverse_sync(prefix).unwrap()
            } else {
                db.prefix_sync(prefix).unwrap()
            };
            assert_eq!(db.stats().filters, last, "nobody has looked yet");
            assert_eq!(scan.count(), 0);
            let before = last;
            last = db.stats().filters;
            let wrong = last.table_prefix_hits - before.table_prefix_hits;
            assert_eq!(
                last.table_prefix_false_positives,
                before.table_prefix_false_positives + wrong
            );
            if wrong > 0 {
                break;
            }
        }
    }
    assert_eq!(last.table_prefix_hits, last.table_prefix_false_positives);
    assert_eq!(last.table_prefix_hits + last.table_prefix_misses, 3 * scans);
}

#[test]
fn the_filter_of_a_table_with_range_tombstones_is_asked_as_any() {
    let db = prefixed(16);
    for key in ["a:3", "z:3"] {
        db.put_sync(key, "").unwrap();
    }
    db.delete_range_sync(KeyRange::prefix("visit:")).unwrap();
    db.flush_sync().unwrap();
    assert_eq!(db.prefix_sync("user:").unwrap().count(), 1);
    let filters = db.stats().filters;
    assert_eq!(
        (filters.table_prefix_hits, filters.table_prefix_misses),
        (1, 2)
    );
    assert_eq!(filters.table_prefix_false_positives, 0);
}
