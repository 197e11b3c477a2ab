//! Defaults, and which values are refused at open.

use std::path::PathBuf;

use trine_kv::{
    BlobGcRatio, BlobLevelMergePolicy, BucketOptions, Clock, CompactionFilters, CompressionProfile,
    Db, DbOptions, DurabilityMode, Error, FailOnCorruptionPolicy, FileReads, FilterPolicy,
    HostStorageBackend, IndexSearchPolicy, MergeOperators, PrefixExtractor, PrefixFilterPolicy,
    RuntimeOptions, StorageMode, WriteOptions,
};

use crate::fixture::{Place, invalid_options};

#[test]
fn defaults_of_a_database() {
    let memory = DbOptions {
        storage_mode: StorageMode::InMemory,
        create_if_missing: true,
        read_only: false,
        default_bucket_options: BucketOptions::default(),
        durability: DurabilityMode::Buffered,
        write_buffer_bytes: 64 << 20,
        max_immutable_memtables: 4,
        target_table_bytes: 64 << 20,
        level_size_multiplier: 10,
        max_l0_files: 8,
        block_cache_bytes: 256 << 20,
        max_open_tables: 800,
        background_worker_count: 1,
        runtime: RuntimeOptions::native_threads(),
        read_rings: 1,
        file_reads: FileReads::Mapped,
        fail_on_corruption: FailOnCorruptionPolicy::FailClosed,
        blob_gc_enabled: true,
        blob_gc_discardable_ratio: BlobGcRatio::HALF,
        blob_gc_min_file_bytes: 64 << 20,
        change_retention_bytes: 0,
        browser_directory: "trine-kv".to_owned(),
        listener: None,
        merge_operators: MergeOperators::new(),
        compaction_filters: CompactionFilters::new(),
        clock: Clock::host(),
    };
    assert_eq!(DbOptions::default(), memory);
    assert_eq!(DbOptions::memory(), memory);
    let path = PathBuf::from("p");
    let persistent = DbOptions {
        storage_mode: StorageMode::Persistent { path: path.clone() },
        durability: DurabilityMode::SyncAll,
        ..memory.clone()
    };
    assert_eq!(DbOptions::new("p"), persistent);
    assert_eq!(DbOptions::persistent("p"), persistent);
    let host = DbOptions {
        durability: DurabilityMode::Flush,
        background_worker_count: 0,
        runtime: RuntimeOptions::inline(),
        ..memory
    };
    let wasi = StorageMode::HostPersistent {
        backend: HostStorageBackend::Wasi { path },
    };
    assert_eq!(
        DbOptions::wasi_persistent("p"),
        DbOptions {
            storage_mode: wasi,
            ..host.clone()
        }
    );
    let browser = StorageMode::HostPersistent {
        backend: HostStorageBackend::Browser,
    };
    assert_eq!(
        DbOptions::browser_persistent(),
        DbOptions {
            storage_mode: browser,
            ..host
        }
    );
}

#[test]
fn read_only_implies_not_creating() {
    let options = DbOptions::new("p").read_only();
    assert!(options.read_only && !options.create_if_missing);
    assert_eq!(options, DbOptions::persistent_read_only("p"));
}

#[test]
fn defaults_of_a_bucket() {
    let expected = BucketOptions {
        allow_empty_keys: true,
        compression: CompressionProfile::Fast,
        block_bytes: 16_384,
        filter_policy: FilterPolicy::Bloom { bits_per_key: 10 },
        prefix_extractor: PrefixExtractor::Disabled,
        prefix_filter_policy: PrefixFilterPolicy::Bloom {
            bits_per_prefix: 10,
        },
        index_search_policy: IndexSearchPolicy::Auto,
        blob_threshold_bytes: 1 << 20,
        blob_level_merge_policy: BlobLevelMergePolicy::Auto,
        merge_operator: None,
    };
    assert_eq!(BucketOptions::default(), expected);
}

#[test]
fn write_options_name_a_durability() {
    assert_eq!(WriteOptions::default(), WriteOptions::buffered());
    assert_eq!(
        WriteOptions::buffered().durability,
        DurabilityMode::Buffered
    );
    assert_eq!(WriteOptions::flush().durability, DurabilityMode::Flush);
    assert_eq!(
        WriteOptions::sync_data().durability,
        DurabilityMode::SyncData
    );
    assert_eq!(
        WriteOptions::sync_all(),
        WriteOptions::new(DurabilityMode::SyncAll)
    );
}

fn wrong_options(base: &DbOptions) -> [(DbOptions, &'static str); 7] {
    let base = || base.clone();
    [
        (
            DbOptions {
                write_buffer_bytes: 0,
                ..base()
            },
            "write buffer",
        ),
        (
            DbOptions {
                max_immutable_memtables: 0,
                ..base()
            },
            "immutable memtables",
        ),
        (
            DbOptions {
                target_table_bytes: 0,
                ..base()
            },
            "target table",
        ),
        (
            DbOptions {
                level_size_multiplier: 1,
                ..base()
            },
            "level size multiplier",
        ),
        (
            DbOptions {
                max_l0_files: 0,
                ..base()
            },
            "L0 files",
        ),
        (
            DbOptions {
                blob_gc_discardable_ratio: BlobGcRatio::from_millionths(0),
                ..base()
            },
            "ratio",
        ),
        (
            DbOptions {
                blob_gc_min_file_bytes: 0,
                ..base()
            },
            "blob GC",
        ),
    ]
}

#[test]
fn wrong_options_are_refused_in_every_storage_mode_before_anything_is_created() {
    let place = Place::new();
    for base in [DbOptions::memory(), place.options()] {
        for (options, phrase) in wrong_options(&base) {
            let message = invalid_options(Db::open_sync(options));
            assert!(message.contains(phrase), "{message}");
        }
    }
    assert!(!place.path().exists());
}

/// A caller that gets several things wrong meets them in this order.
#[test]
fn refusals_come_in_one_order_backend_runtime_bucket_database() {
    let place = Place::new();
    let mut options = DbOptions {
        runtime: RuntimeOptions::inline(),
        background_worker_count: 1,
        write_buffer_bytes: 0,
        ..place.options()
    };
    options.default_bucket_options.blob_threshold_bytes = 0;
    let elsewhere = DbOptions {
        storage_mode: DbOptions::browser_persistent().storage_mode,
        ..options.clone()
    };
    let refused = Db::open_sync(elsewhere);
    assert!(matches!(refused, Err(Error::UnsupportedBackend { .. })));
    let next = |options: &DbOptions, phrase: &str| {
        let message = invalid_options(Db::open_sync(options.clone()));
        assert!(message.contains(phrase), "{message}");
    };
    next(&options, "background workers");
    options.background_worker_count = 0;
    next(&options, "blob threshold");
    options.default_bucket_options.blob_threshold_bytes = 1;
    next(&options, "write buffer");
    options.write_buffer_bytes = 1;
    options.create_if_missing = false;
    next(&options, "does not exist");
}

#[test]
fn odd_options_are_accepted() {
    let place = Place::new();
    let bucket = |block_bytes, prefix_extractor| BucketOptions {
        block_bytes,
        prefix_extractor,
        ..BucketOptions::default()
    };
    let odd = [
        DbOptions {
            block_cache_bytes: 0,
            ..place.options()
        },
        // What blob garbage collection would need, where there is none.
        DbOptions {
            blob_gc_enabled: false,
            blob_gc_min_file_bytes: 0,
            ..place.options()
        },
        DbOptions {
            background_worker_count: 64,
            ..place.options()
        },
        DbOptions {
            durability: DurabilityMode::SyncAll,
            ..DbOptions::memory()
        },
        DbOptions::memory().with_default_bucket_options(bucket(1, PrefixExtractor::FixedLen(0))),
        DbOptions::memory().with_default_bucket_options(bucket(
            usize::MAX / 2,
            PrefixExtractor::Custom("x".into()),
        )),
    ];
    for options in odd {
        let db = Db::open_sync(options.clone()).unwrap();
        db.put_sync("key", "value").unwrap();
        assert_eq!(db.options(), &options);
    }
}

/// Tables have a fence index for which one search is best at any size, so the policy is kept and no more.
#[test]
fn every_index_search_policy_answers_alike() {
    for index_search_policy in [
        IndexSearchPolicy::Linear,
        IndexSearchPolicy::Binary,
        IndexSearchPolicy::Auto,
    ] {
        let place = Place::new();
        let options = BucketOptions {
            index_search_policy,
            block_bytes: 64,
            ..BucketOptions::default()
        };
        let db = Db::open_sync(place.options()).unwrap();
        let bucket = db
            .bucket_with_options_sync("bucket", options.clone())
            .unwrap();
        for number in 0..200_u8 {
            bucket.put_sync([number], [number]).unwrap();
        }
        db.flush_sync().unwrap();
        for number in 0..=255_u8 {
            let expected = (number < 200).then(|| vec![number]);
            assert_eq!(bucket.get_sync(&[number]).unwrap(), expected);
        }
        assert_eq!(bucket.options(), &options);
    }
}
