//! Names, options and life of buckets.

use trine_kv::{BucketOptions, CompressionProfile, Db};

use crate::common::way::call;
use crate::fixture::{BOTH_WAYS, Place, everywhere_both_ways, names, refused_as_read_only};

fn other_options() -> BucketOptions {
    BucketOptions {
        block_bytes: 512,
        compression: CompressionProfile::None,
        ..BucketOptions::default()
    }
}

#[test]
fn any_other_text_is_a_name_and_never_a_file() {
    let long = "n".repeat(70_000);
    let all = [
        "Default",
        " ",
        "a/b",
        "..",
        "../../x",
        "\0",
        "line\nend",
        "\u{1F980}",
        &long,
    ];
    for way in BOTH_WAYS {
        let place = Place::new();
        let db = way.open(place.options()).unwrap();
        for name in all {
            let bucket = call!(way, db, bucket / bucket_sync(name)).unwrap();
            assert_eq!(bucket.name().as_str(), name);
            call!(way, bucket, put / put_sync("key", name)).unwrap();
        }
        way.close(&db).unwrap();
        let files = names(&place.path());
        assert!(
            files.iter().all(|file| !all.contains(&file.as_str())),
            "{files:?}"
        );
        let db = way.open(place.options()).unwrap();
        for name in all {
            let bucket = call!(way, db, bucket / bucket_sync(name)).unwrap();
            let value = call!(way, bucket, get / get_sync(b"key")).unwrap();
            assert_eq!(value, Some(name.as_bytes().to_vec()));
        }
    }
}

#[test]
fn opening_a_bucket_again_is_another_handle_to_it() {
    everywhere_both_ways(|way, db| {
        let first = call!(way, db, bucket / bucket_sync("b")).unwrap();
        let second = call!(way, db, bucket / bucket_sync("b")).unwrap();
        first.put_sync("key", "value").unwrap();
        assert_eq!(second.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
        assert_eq!(db.stats().live_buckets, 2);
    });
}

#[test]
fn the_default_bucket_is_the_one_that_db_helpers_write() {
    everywhere_both_ways(|way, db| {
        let bucket = call!(way, db, default_bucket / default_bucket_sync()).unwrap();
        assert_eq!(bucket.name().as_str(), "default");
        db.put_sync("key", "value").unwrap();
        assert_eq!(bucket.get_sync(b"key").unwrap(), Some(b"value".to_vec()));
    });
}

#[test]
fn creating_a_bucket_is_durable_before_the_call_returns() {
    let place = Place::new();
    let db = place.open();
    db.bucket_with_options_sync("b", other_options()).unwrap();
    // Beside the writer, which has flushed nothing and is not closed.
    let reader = place.open_read_only();
    assert_eq!(
        reader
            .bucket_with_options_sync("b", other_options())
            .unwrap()
            .options(),
        &other_options()
    );
    refused_as_read_only(reader.bucket_sync("never made"));
    drop(db);
}

#[test]
fn options_stored_at_creation_rule_the_default_bucket() {
    let place = Place::new();
    let first = place.options().with_default_bucket_options(other_options());
    Db::open_sync(first).unwrap().close_sync();
    let second = place.options();
    let db = Db::open_sync(second.clone()).unwrap();
    assert_eq!(db.options(), &second);
    assert_eq!(
        db.default_bucket_sync().unwrap().options(),
        &other_options()
    );
}
