//! A database with three rows, and short words for what transactions do.

use trine_kv::{Db, DbOptions, Error, KeyRange, Result, Transaction, TransactionOptions};

use crate::common::way::{Way, call};

pub(crate) const OTHER: &str = "other";

pub(crate) fn fresh(way: Way, options: DbOptions) -> Db {
    let options = DbOptions {
        background_worker_count: 0,
        ..options
    };
    let db = way.open(options).unwrap();
    db.bucket_sync(OTHER).unwrap();
    for key in ["b", "d", "f"] {
        db.put_sync(key, "old").unwrap();
    }
    db
}

pub(crate) fn everywhere(rule: impl Fn(Way, &Db)) {
    for way in [Way::Sync, Way::Async] {
        rule(way, &fresh(way, DbOptions::memory()));
        let place = tempfile::tempdir().unwrap();
        rule(way, &fresh(way, DbOptions::new(place.path())));
    }
}

pub(crate) fn begin(db: &Db) -> Transaction {
    db.transaction(TransactionOptions::default())
}

pub(crate) fn commit(way: Way, transaction: Transaction) -> Result<u64> {
    call!(way, transaction, commit / commit_sync()).map(|commit| commit.sequence().get())
}

pub(crate) fn get(way: Way, transaction: &mut Transaction, key: &str) -> Option<Vec<u8>> {
    call!(way, transaction, get / get_sync(key.as_bytes())).unwrap()
}

pub(crate) fn staged(way: Way, transaction: &mut Transaction, key: &str) -> Option<Vec<u8>> {
    call!(
        way,
        transaction,
        get_staged / get_staged_sync(key.as_bytes())
    )
    .unwrap()
}

pub(crate) fn rows(way: Way, transaction: &mut Transaction, range: &KeyRange) -> Vec<String> {
    let iter = call!(way, transaction, scan / scan_sync(range)).unwrap();
    let rows = way.rows(iter).unwrap();
    rows.into_iter()
        .map(|(key, _)| String::from_utf8(key).unwrap())
        .collect()
}

#[track_caller]
pub(crate) fn conflicts<T: std::fmt::Debug>(result: Result<T>, phrase: &str) {
    match result {
        Err(Error::Conflict { message }) => assert!(message.contains(phrase), "{message}"),
        other => panic!("expected Conflict, found {other:?}"),
    }
}
