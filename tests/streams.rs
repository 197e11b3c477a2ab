//! Streams give the rows that their iterators would.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common"]
mod common {
    pub(crate) mod damage;
}

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use common::damage::damage_tables;
use futures_core::Stream;
use futures_core::stream::FusedStream;
use trine_kv::{
    BucketOptions, CompressionProfile, Db, DbOptions, Direction, DurabilityMode, Error, Iter,
    KeyRange, KeyValue, LazyRowStream, Result, RowStream,
};
use trine_platform::block_on;

fn options(path: &Path, compression: CompressionProfile) -> DbOptions {
    let bucket = BucketOptions {
        compression,
        ..BucketOptions::default()
    };
    DbOptions {
        background_worker_count: 0,
        // No decoded block stays.
        block_cache_bytes: 0,
        ..DbOptions::new(path)
            .with_durability(DurabilityMode::Buffered)
            .with_default_bucket_options(bucket)
    }
}

fn fill(db: &Db) {
    for number in 0..500_u16 {
        let key = number.to_be_bytes();
        db.put_sync(key, key.repeat(100)).unwrap();
        if number == 300 {
            db.flush_sync().unwrap();
        }
    }
}

/// In memory; in tables that are lent in place; in tables whose blocks must be decoded.
fn everywhere(rule: impl Fn(&Db)) {
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    fill(&db);
    rule(&db);
    for compression in [CompressionProfile::None, CompressionProfile::Fast] {
        let place = tempfile::tempdir().unwrap();
        let options = options(place.path(), compression);
        let db = Db::open_sync(options.clone()).unwrap();
        fill(&db);
        db.flush_sync().unwrap();
        drop(db);
        rule(&Db::open_sync(options).unwrap());
    }
}

/// Parks between polls, so a stream that forgets its waker hangs the test.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    block_on(poll_fn(|context| Pin::new(&mut *stream).poll_next(context)))
}

fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn all<T>(stream: &mut (impl Stream<Item = Result<T>> + Unpin)) -> Vec<T> {
    let mut rows = Vec::new();
    while let Some(row) = next(stream) {
        rows.push(row.unwrap());
    }
    rows
}

fn rows(iter: Iter) -> Vec<KeyValue> {
    iter.collect::<Result<_>>().unwrap()
}

#[test]
fn a_stream_gives_the_rows_that_are_left() {
    everywhere(|db| {
        let range = KeyRange::all();
        for mut iter in [
            db.range_sync(&range).unwrap(),
            db.range_reverse_sync(&range).unwrap(),
        ] {
            iter.next_sync().unwrap().unwrap();
            let mut stream = iter.clone().into_stream();
            assert_eq!(stream.direction(), iter.direction());
            let rows = rows(iter);
            assert_eq!(rows.len(), 499);
            assert_eq!(all(&mut stream), rows);
        }
    });
}

#[test]
fn a_lazy_stream_gives_the_same_rows() {
    everywhere(|db| {
        let range = KeyRange::prefix([1]);
        let mut stream = db.range_lazy_reverse_sync(&range).unwrap().into_stream();
        assert_eq!(stream.direction(), Direction::Reverse);
        let lazy: Vec<_> = all(&mut stream)
            .into_iter()
            .map(|row| block_on(row.into_key_value()).unwrap())
            .collect();
        assert_eq!(lazy, rows(db.range_reverse_sync(&range).unwrap()));
    });
}

#[test]
fn given_rows_are_streamed_too() {
    let given = vec![KeyValue::new("b", "1"), KeyValue::new("a", "2")];
    let mut stream = Iter::from_items(given.clone(), Direction::Forward).into_stream();
    assert_eq!(all(&mut stream), given);
    assert!(next(&mut Iter::empty(Direction::Reverse).into_stream()).is_none());
}

#[test]
fn after_the_end_there_is_nothing_more() {
    everywhere(|db| {
        let mut stream = db.range_sync(&KeyRange::prefix([1])).unwrap().into_stream();
        assert!(!stream.is_terminated());
        all(&mut stream);
        for _ in 0..3 {
            assert!(stream.is_terminated());
            assert!(next(&mut stream).is_none());
        }
    });
}

#[test]
fn a_stream_is_dropped_while_it_waits() {
    everywhere(|db| {
        let mut stream = db.range_sync(&KeyRange::all()).unwrap().into_stream();
        drop(poll(&mut stream));
        drop(stream);
        assert_eq!(rows(db.range_sync(&KeyRange::all()).unwrap()).len(), 500);
        assert_eq!(db.stats().active_snapshots, 0);
    });
}

#[test]
fn an_error_is_the_last_item() {
    for compression in [CompressionProfile::None, CompressionProfile::Fast] {
        let place = tempfile::tempdir().unwrap();
        let options = options(place.path(), compression);
        let db = Db::open_sync(options.clone()).unwrap();
        fill(&db);
        db.flush_sync().unwrap();
        drop(db);
        damage_tables(place.path());
        let db = Db::open_sync(options).unwrap();
        let mut stream = db.range_sync(&KeyRange::all()).unwrap().into_stream();
        let error = loop {
            match next(&mut stream) {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the damage was not seen"),
            }
        };
        assert!(
            matches!(
                error,
                Error::Corruption { .. } | Error::InvalidFormat { .. }
            ),
            "{error:?}"
        );
        assert!(stream.is_terminated());
        assert!(next(&mut stream).is_none());
    }
}

#[test]
fn streams_go_to_any_thread_and_print_no_rows() {
    fn shared<T: Send + Sync + Unpin + 'static>() {}
    shared::<RowStream>();
    shared::<LazyRowStream>();
    let db = Db::open_sync(DbOptions::memory()).unwrap();
    db.put_sync("secret", "secret").unwrap();
    let mut stream = db.range_sync(&KeyRange::all()).unwrap().into_stream();
    let mut row = None;
    std::thread::scope(|scope| {
        scope.spawn(|| row = next(&mut stream));
    });
    assert_eq!(row.unwrap().unwrap().key, b"secret");
    let text = format!("{stream:?}");
    assert!(!text.contains("secret") && !text.contains("115, 101, 99"));
}
