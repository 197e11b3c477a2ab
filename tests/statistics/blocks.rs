//! Block lookups: what is a miss and what a hit.

use trine_kv::{CompressionProfile, KeyRange, TransactionOptions};

use crate::common::executor::block_on;
use crate::opened::{CODECS, Opened, key};

#[test]
fn block_counts_are_zero_after_a_flush_and_after_a_compaction() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        assert_eq!(db.blocks(), (0, 0));
        db.put_sync(key(3), "newer").unwrap();
        db.flush_sync().unwrap();
        db.compact_range_sync(KeyRange::all()).unwrap();
        assert_eq!(db.stats().compaction_runs, 1);
        assert_eq!(db.blocks(), (0, 0), "compactions do not read for anybody");
    }
}

#[test]
fn the_first_point_read_of_a_block_is_a_miss_and_a_repeat_a_hit() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        for hits in 0..4 {
            assert!(db.get_sync(&key(50)).unwrap().is_some());
            assert_eq!(db.blocks(), (hits, 1));
        }
    }
}

#[test]
fn every_kind_of_point_read_counts_its_block() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    let key = key(50);
    db.get_sync(&key).unwrap();
    let snapshot = db.snapshot();
    let bucket = db.default_bucket_sync().unwrap();
    let reader = bucket.reader(&snapshot).unwrap();
    let reads: [&dyn Fn(); 10] = [
        &|| {
            block_on(db.get(&key)).unwrap();
        },
        &|| {
            db.get_at_sync(&snapshot, &key).unwrap();
        },
        &|| {
            db.get_with_sync(&key, <[u8]>::len).unwrap();
        },
        &|| {
            db.contains_key_sync(&key).unwrap();
        },
        &|| {
            db.multi_get_sync(&[&key]).unwrap();
        },
        &|| {
            reader.get_sync(&key).unwrap();
        },
        &|| {
            reader.get_ref_sync(&key).unwrap();
        },
        &|| {
            block_on(reader.get_owned(&key)).unwrap();
        },
        &|| {
            bucket.get_sync(&key).unwrap();
        },
        &|| {
            let options = TransactionOptions::default();
            db.transaction(options).get_sync(&key).unwrap();
        },
    ];
    for (done, read) in (1..).zip(reads) {
        read();
        assert_eq!(db.blocks(), (done, 1));
    }
}

#[test]
fn creating_an_iterator_looks_up_no_block() {
    let db = Opened::with_table(CompressionProfile::Fast, 100);
    let iters = (
        db.range_sync(&KeyRange::all()).unwrap(),
        db.range_reverse_sync(&KeyRange::all()).unwrap(),
        db.prefix_sync("key").unwrap(),
        block_on(db.range(&KeyRange::all())).unwrap(),
    );
    assert_eq!(db.blocks(), (0, 0));
    drop(iters);
}

#[test]
fn a_scan_misses_each_block_once_and_hits_it_when_repeated() {
    for codec in CODECS {
        let db = Opened::with_table(codec, 100);
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 100);
        let (hits, blocks) = db.blocks();
        assert_eq!(
            hits, 0,
            "a block counts when it is entered, not for each row"
        );
        assert!((5..=100).contains(&blocks), "{blocks}");
        assert_eq!(db.range_sync(&KeyRange::all()).unwrap().count(), 100);
        assert_eq!(db.blocks(), (blocks, blocks));
        let reverse = db.range_reverse_sync(&KeyRange::all()).unwrap();
        assert_eq!(reverse.count(), 100);
        assert_eq!(db.blocks(), (2 * blocks, blocks));
        db.get_sync(&key(50)).unwrap();
        assert_eq!(db.blocks(), (2 * blocks + 1, blocks));
    }
}

#[test]
fn a_block_that_the_cache_gave_up_is_a_miss_again() {
    let db = Opened::with(|options| options.block_cache_bytes = 0);
    db.put_sync("key", [7; 5000]).unwrap();
    db.flush_sync().unwrap();
    for misses in 1..4 {
        db.get_sync(b"key").unwrap();
        assert_eq!(db.blocks(), (0, misses));
    }
}
