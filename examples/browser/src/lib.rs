//! Trine KV as a `JavaScript` class, for dedicated workers of browsers.
//!
//! - Keys and values are `Uint8Array`, copied on the way in and out. Every call is a promise.
//! - An error is an `Error` whose `name` is the kind: `Corruption`, `Closed`, `StorageFull` and so on.
//! - [`Database::close`] gives the files back at once; so does the end of the worker.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

use js_sys::{Array, Uint8Array};
use trine_kv::{Db, DbOptions, KeyRange, LazyIter, WriteBatch, WriteOptions};
use wasm_bindgen::prelude::*;

type Result<T> = std::result::Result<T, JsValue>;

/// The kind of an error, for programs.
fn kind(error: &trine_kv::Error) -> &'static str {
    use std::io::ErrorKind;
    match error {
        trine_kv::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull => "StorageFull",
            ErrorKind::Unsupported => "Unsupported",
            _ => "Io",
        },
        trine_kv::Error::Corruption { message } if message.contains("lock is already held") => {
            "Locked"
        }
        trine_kv::Error::Corruption { .. } => "Corruption",
        trine_kv::Error::Closed => "Closed",
        trine_kv::Error::InvalidOptions { .. } => "InvalidOptions",
        _ => "Other",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn thrown(error: trine_kv::Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.to_string());
    thrown.set_name(kind(&error));
    thrown.into()
}

/// An open database. Everything it was asked for before `close` is done.
#[wasm_bindgen]
pub struct Database {
    db: Db,
}

#[wasm_bindgen]
impl Database {
    /// Opens the origin's database; makes it if there is none.
    #[wasm_bindgen(unchecked_return_type = "Database")]
    pub async fn open() -> Result<Database> {
        let db = Db::open(DbOptions::browser_persistent()).await;
        db.map(|db| Self { db }).map_err(thrown)
    }

    /// The value of a key, or `undefined`.
    pub async fn get(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        self.db.get(&key).await.map_err(thrown)
    }

    /// Stores a value under a key.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.db.put(key, value).await.map(drop).map_err(thrown)
    }

    /// Removes a key.
    pub async fn delete(&self, key: Vec<u8>) -> Result<()> {
        self.db.delete(key).await.map(drop).map_err(thrown)
    }

    /// Removes all keys from `start` up to, but without, `end`.
    #[wasm_bindgen(js_name = deleteRange)]
    pub async fn delete_range(&self, start: Vec<u8>, end: Vec<u8>) -> Result<()> {
        let range = KeyRange::half_open(start, end);
        self.db.delete_range(range).await.map(drop).map_err(thrown)
    }

    /// Commits a batch: all of it or nothing.
    pub async fn write(&self, batch: Batch) -> Result<()> {
        let written = self.db.write(batch.0, WriteOptions::flush()).await;
        written.map(drop).map_err(thrown)
    }

    /// Rows of one moment in key order: of a prefix, all without one; backwards if `reverse`.
    pub async fn scan(&self, prefix: Option<Vec<u8>>, reverse: Option<bool>) -> Result<Rows> {
        let prefix = prefix.unwrap_or_default();
        let rows = if reverse.unwrap_or(false) {
            self.db.prefix_lazy_reverse(prefix).await
        } else {
            self.db.prefix_lazy(prefix).await
        };
        rows.map(Rows).map_err(thrown)
    }

    /// Puts everything committed so far into sorted tables.
    pub async fn flush(&self) -> Result<()> {
        self.db.flush().await.map_err(thrown)
    }

    /// Merges all tables.
    pub async fn compact(&self) -> Result<()> {
        self.db.compact_range(KeyRange::all()).await.map_err(thrown)
    }

    /// What the database holds and did, as a text for people.
    pub fn stats(&self) -> String {
        self.db.stats().to_string()
    }

    /// Closes the database and gives its files back. What is called afterwards fails with `Closed`.
    pub async fn close(&self) -> Result<()> {
        self.db.close().await.map_err(thrown)
    }
}

/// Changes to commit together.
#[wasm_bindgen]
#[derive(Default)]
pub struct Batch(WriteBatch);

#[wasm_bindgen]
impl Batch {
    /// An empty batch.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores a value under a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.put(key, value);
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.0.delete(key);
    }
}

/// Rows, some at a time.
#[wasm_bindgen]
pub struct Rows(LazyIter);

#[wasm_bindgen]
impl Rows {
    /// At most `count` more rows, each `[key, value]`. Empty at the end.
    #[wasm_bindgen(unchecked_return_type = "[Uint8Array, Uint8Array][]")]
    pub async fn next(&mut self, count: u32) -> Result<Array> {
        let rows = Array::new();
        while rows.length() < count {
            let Some(row) = self.0.next().await.map_err(thrown)? else {
                break;
            };
            let row = row.into_key_value().await.map_err(thrown)?;
            let bytes = |bytes: &[u8]| Uint8Array::from(bytes);
            rows.push(&Array::of2(&bytes(&row.key), &bytes(&row.value)));
        }
        Ok(rows)
    }
}
