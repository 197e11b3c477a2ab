//! Trine KV as a `JavaScript` class, for dedicated workers of browsers.
//!
//! - Keys and values are `Uint8Array`, copied on the way in and out.
//! - Only opening waits, and gives promises. Everything else is done when it returns, by the crate's blocking half: promises that are
//!   ready at once, and the other half of the crate, would make the module a tenth larger.
//! - An error is an `Error` whose `name` is the kind: `Corruption`, `Closed`, `StorageFull` and so on.
//! - [`Database::close`] gives the files back at once; so does the end of the worker.
#![cfg(all(target_family = "wasm", target_os = "unknown"))]

use std::ops::Bound;
use std::rc::Rc;

use js_sys::{Array, Object, Reflect, Uint8Array};
use trine_kv::archive;
use trine_kv::{
    Db, DbOptions, DurabilityMode, Iter, KeyRange, TransactionOptions, WriteBatch, WriteOptions,
};
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
        trine_kv::Error::InvalidFormat { .. } => "InvalidFormat",
        trine_kv::Error::UnsupportedFormat { .. } => "UnsupportedFormat",
        trine_kv::Error::Closed => "Closed",
        trine_kv::Error::Conflict { .. } => "Conflict",
        trine_kv::Error::BucketMissing { .. } => "BucketMissing",
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

fn options(directory: Option<String>) -> DbOptions {
    let options = DbOptions::browser_persistent();
    match directory {
        Some(directory) => options.with_browser_directory(directory),
        None => options,
    }
}

/// Keys that begin with `prefix`; all keys without one.
fn with_prefix(prefix: Option<Vec<u8>>) -> KeyRange {
    KeyRange::prefix(prefix.unwrap_or_default())
}

/// Keys from `start` up to, but without, `end`; without either as far as there are any.
fn between(start: Option<Vec<u8>>, end: Option<Vec<u8>>) -> KeyRange {
    KeyRange {
        start: start.map_or(Bound::Unbounded, Bound::Included),
        end: end.map_or(Bound::Unbounded, Bound::Excluded),
    }
}

/// An open database, and its default bucket. Everything it was asked for before `close` is done.
#[wasm_bindgen]
pub struct Database {
    db: Db,
    default: Bucket,
}

impl Database {
    fn of(db: Db) -> Result<Self> {
        let bucket = db.default_bucket_sync().map_err(thrown)?;
        let default = Bucket { bucket, at: None };
        Ok(Self { db, default })
    }
}

#[wasm_bindgen]
impl Database {
    /// Opens the database in a directory of the origin's private file system; makes it if there is none.
    #[wasm_bindgen(unchecked_return_type = "Database")]
    pub async fn open(directory: Option<String>) -> Result<Database> {
        let db = Db::open(options(directory)).await;
        db.map_err(thrown).and_then(Self::of)
    }

    /// A bucket, which is made if there is none of this name; the default one without a name.
    pub fn bucket(&self, name: Option<String>) -> Result<Bucket> {
        let bucket = match name {
            Some(name) => self.db.bucket_sync(name),
            None => self.db.default_bucket_sync(),
        };
        let bucket = bucket.map_err(thrown)?;
        Ok(Bucket { bucket, at: None })
    }

    /// The names of all buckets but the default one.
    pub fn buckets(&self) -> Vec<String> {
        let names = self.db.bucket_names();
        names.iter().map(|name| name.as_str().to_owned()).collect()
    }

    /// Removes a bucket and all that is in it.
    #[wasm_bindgen(js_name = dropBucket)]
    pub fn drop_bucket(&self, name: String) -> Result<()> {
        self.db.drop_bucket_sync(name).map_err(thrown)
    }

    /// The database as it is now, for as long as the snapshot is kept.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            db: self.db.clone(),
            snapshot: Rc::new(self.db.snapshot()),
        }
    }

    /// Begins a transaction that reads what is committed now.
    pub fn transaction(&self) -> Transaction {
        Transaction(self.db.transaction(TransactionOptions::default()))
    }

    /// As [`Bucket::get`], of the default bucket.
    pub fn get(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        self.default.get(key)
    }

    /// As [`Bucket::get_many`], of the default bucket.
    #[wasm_bindgen(js_name = getMany, unchecked_return_type = "(Uint8Array | undefined)[]")]
    pub fn get_many(&self, keys: Vec<Uint8Array>) -> Result<Array> {
        self.default.get_many(keys)
    }

    /// As [`Bucket::put`], in the default bucket.
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.default.put(key, value)
    }

    /// As [`Bucket::delete`], in the default bucket.
    pub fn delete(&self, key: Vec<u8>) -> Result<()> {
        self.default.delete(key)
    }

    /// As [`Bucket::delete_range`], in the default bucket.
    #[wasm_bindgen(js_name = deleteRange)]
    pub fn delete_range(&self, start: Vec<u8>, end: Vec<u8>) -> Result<()> {
        self.default.delete_range(start, end)
    }

    /// As [`Bucket::scan`], of the default bucket.
    pub fn scan(&self, prefix: Option<Vec<u8>>, reverse: Option<bool>) -> Result<Rows> {
        self.default.scan(prefix, reverse)
    }

    /// As [`Bucket::range`], of the default bucket.
    pub fn range(
        &self,
        start: Option<Vec<u8>>,
        end: Option<Vec<u8>>,
        reverse: Option<bool>,
    ) -> Result<Rows> {
        self.default.range(start, end, reverse)
    }

    /// Commits a batch: all of it or nothing.
    pub fn write(&self, batch: Batch) -> Result<()> {
        let written = self.db.write_sync(batch.0, WriteOptions::flush());
        written.map(drop).map_err(thrown)
    }

    /// The whole database as an archive of one moment: `docs/format.md`.
    pub fn export(&self) -> Result<Export> {
        self.db.export_sync().map(Export).map_err(thrown)
    }

    /// Puts everything committed so far into sorted tables.
    pub fn flush(&self) -> Result<()> {
        self.db.flush_sync().map_err(thrown)
    }

    /// Merges all tables.
    pub fn compact(&self) -> Result<()> {
        self.db.compact_range_sync(KeyRange::all()).map_err(thrown)
    }

    /// What the database holds and did, as a text for people.
    pub fn stats(&self) -> String {
        self.db.stats().to_string()
    }

    /// The most telling numbers of it.
    #[wasm_bindgen(unchecked_return_type = "Record<string, number>")]
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn counts(&self) -> Result<Object> {
        let stats = self.db.stats();
        let counts = Object::new();
        for (name, count) in [
            ("tables", stats.total_tables as u64),
            ("tableBytes", stats.table_bytes),
            ("blobBytes", stats.live_blob_bytes),
            ("memtableBytes", stats.memtable_bytes),
            ("sequence", stats.commit_visible_sequence),
        ] {
            Reflect::set(&counts, &name.into(), &(count as f64).into())?;
        }
        Ok(counts)
    }

    /// Closes the database and gives its files back. What is called afterwards fails with `Closed`.
    pub fn close(&self) -> Result<()> {
        let kept = self.db.persist_sync(DurabilityMode::Flush);
        self.db.close_sync();
        match kept {
            Ok(()) | Err(trine_kv::Error::Closed) => Ok(()),
            Err(error) => Err(thrown(error)),
        }
    }
}

/// A key space of its own; as a snapshot sees it, if it came from one.
#[wasm_bindgen]
pub struct Bucket {
    bucket: trine_kv::Bucket,
    at: Option<Rc<trine_kv::Snapshot>>,
}

impl Bucket {
    fn rows(&self, range: &KeyRange, reverse: Option<bool>) -> Result<Rows> {
        let bucket = &self.bucket;
        let rows = match (&self.at, reverse.unwrap_or(false)) {
            (None, false) => bucket.range_sync(range),
            (None, true) => bucket.range_reverse_sync(range),
            (Some(at), false) => bucket.range_at_sync(at, range),
            (Some(at), true) => bucket.range_reverse_at_sync(at, range),
        };
        rows.map(Rows).map_err(thrown)
    }

    /// The bucket, if it can be changed.
    fn now(&self) -> Result<&trine_kv::Bucket> {
        match self.at {
            None => Ok(&self.bucket),
            Some(_) => Err(thrown(trine_kv::Error::ReadOnly)),
        }
    }
}

#[wasm_bindgen]
impl Bucket {
    /// The value of a key, or `undefined`.
    pub fn get(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let value = match &self.at {
            None => self.bucket.get_sync(&key),
            Some(at) => self.bucket.get_at_sync(at, &key),
        };
        value.map_err(thrown)
    }

    /// The values of many keys, `undefined` where there is none.
    #[wasm_bindgen(js_name = getMany, unchecked_return_type = "(Uint8Array | undefined)[]")]
    pub fn get_many(&self, keys: Vec<Uint8Array>) -> Result<Array> {
        let keys: Vec<_> = keys.iter().map(Uint8Array::to_vec).collect();
        let values = match &self.at {
            None => self.bucket.multi_get_sync(&keys),
            Some(at) => at.multi_get_sync(&self.bucket, &keys),
        };
        let value = |value: Option<Vec<u8>>| value.map(|value| Uint8Array::from(&value[..]));
        let values = values.map_err(thrown)?.into_iter();
        Ok(values.map(value).map(JsValue::from).collect())
    }

    /// Stores a value under a key.
    pub fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.now()?.put_sync(key, value).map_err(thrown)
    }

    /// Removes a key.
    pub fn delete(&self, key: Vec<u8>) -> Result<()> {
        self.now()?.delete_sync(key).map_err(thrown)
    }

    /// Removes all keys from `start` up to, but without, `end`.
    #[wasm_bindgen(js_name = deleteRange)]
    pub fn delete_range(&self, start: Vec<u8>, end: Vec<u8>) -> Result<()> {
        let range = KeyRange::half_open(start, end);
        self.now()?.delete_range_sync(range).map_err(thrown)
    }

    /// Rows of one moment in key order: of a prefix, all without one; backwards if `reverse`.
    pub fn scan(&self, prefix: Option<Vec<u8>>, reverse: Option<bool>) -> Result<Rows> {
        self.rows(&with_prefix(prefix), reverse)
    }

    /// Rows of one moment in key order, from `start` up to, but without, `end`; without either as far as there are any.
    pub fn range(
        &self,
        start: Option<Vec<u8>>,
        end: Option<Vec<u8>>,
        reverse: Option<bool>,
    ) -> Result<Rows> {
        self.rows(&between(start, end), reverse)
    }
}

/// The database as it was at one moment.
#[wasm_bindgen]
pub struct Snapshot {
    db: Db,
    snapshot: Rc<trine_kv::Snapshot>,
}

#[wasm_bindgen]
impl Snapshot {
    /// A bucket as it was then; the default one without a name.
    pub fn bucket(&self, name: Option<String>) -> Result<Bucket> {
        let bucket = match name {
            Some(name) => self.db.existing_bucket(name),
            None => self.db.default_bucket_sync(),
        };
        let at = Some(Rc::clone(&self.snapshot));
        bucket.map(|bucket| Bucket { bucket, at }).map_err(thrown)
    }
}

/// Reads of one moment, and changes that are committed together if nobody changed meanwhile what was read.
#[wasm_bindgen]
pub struct Transaction(trine_kv::Transaction);

impl Transaction {
    fn rows(
        &mut self,
        range: &KeyRange,
        reverse: Option<bool>,
        bucket: Option<String>,
    ) -> Result<Rows> {
        let rows = match (bucket, reverse.unwrap_or(false)) {
            (None, false) => self.0.scan_sync(range),
            (None, true) => self.0.scan_reverse_sync(range),
            (Some(bucket), false) => self.0.scan_bucket_sync(bucket, range),
            (Some(bucket), true) => self.0.scan_reverse_bucket_sync(bucket, range),
        };
        rows.map(Rows).map_err(thrown)
    }
}

#[wasm_bindgen]
impl Transaction {
    /// Committed rows, without its own changes, as [`Bucket::scan`]. All of the range counts as read.
    pub fn scan(
        &mut self,
        prefix: Option<Vec<u8>>,
        reverse: Option<bool>,
        bucket: Option<String>,
    ) -> Result<Rows> {
        self.rows(&with_prefix(prefix), reverse, bucket)
    }

    /// Committed rows, without its own changes, as [`Bucket::range`]. All of the range counts as read.
    pub fn range(
        &mut self,
        start: Option<Vec<u8>>,
        end: Option<Vec<u8>>,
        reverse: Option<bool>,
        bucket: Option<String>,
    ) -> Result<Rows> {
        self.rows(&between(start, end), reverse, bucket)
    }

    /// The value of a key, its own changes included.
    pub fn get(&mut self, key: Vec<u8>, bucket: Option<String>) -> Result<Option<Vec<u8>>> {
        let value = match bucket {
            Some(bucket) => self.0.get_staged_bucket_sync(bucket, &key),
            None => self.0.get_staged_sync(&key),
        };
        value.map_err(thrown)
    }

    /// Stores a value under a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>, bucket: Option<String>) -> Result<()> {
        match bucket {
            Some(bucket) => self.0.put_bucket(bucket, key, value).map_err(thrown),
            None => {
                self.0.put(key, value);
                Ok(())
            }
        }
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>, bucket: Option<String>) -> Result<()> {
        match bucket {
            Some(bucket) => self.0.delete_bucket(bucket, key).map_err(thrown),
            None => {
                self.0.delete(key);
                Ok(())
            }
        }
    }

    /// Removes all keys from `start` up to, but without, `end`.
    #[wasm_bindgen(js_name = deleteRange)]
    pub fn delete_range(
        &mut self,
        start: Vec<u8>,
        end: Vec<u8>,
        bucket: Option<String>,
    ) -> Result<()> {
        let range = KeyRange::half_open(start, end);
        match bucket {
            Some(bucket) => self.0.delete_range_bucket(bucket, range).map_err(thrown),
            None => {
                self.0.delete_range(range);
                Ok(())
            }
        }
    }

    /// Commits. `Conflict`: somebody changed what was read, nothing happened, begin again.
    pub fn commit(self) -> Result<()> {
        self.0.commit_sync().map(drop).map_err(thrown)
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

    /// Stores a value under a key, in the default bucket without another.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>, bucket: Option<String>) -> Result<()> {
        match bucket {
            Some(bucket) => self.0.put_bucket(bucket, key, value).map_err(thrown),
            None => {
                self.0.put(key, value);
                Ok(())
            }
        }
    }

    /// Removes a key, of the default bucket without another.
    pub fn delete(&mut self, key: Vec<u8>, bucket: Option<String>) -> Result<()> {
        match bucket {
            Some(bucket) => self.0.delete_bucket(bucket, key).map_err(thrown),
            None => {
                self.0.delete(key);
                Ok(())
            }
        }
    }
}

/// Rows, some at a time.
#[wasm_bindgen]
pub struct Rows(Iter);

#[wasm_bindgen]
impl Rows {
    /// At most `count` more rows, each `[key, value]`. Empty at the end.
    #[wasm_bindgen(unchecked_return_type = "[Uint8Array, Uint8Array][]")]
    pub fn next(&mut self, count: u32) -> Result<Array> {
        let rows = Array::new();
        while rows.length() < count {
            let Some(row) = self.0.next_sync() else {
                break;
            };
            let row = row.map_err(thrown)?;
            let bytes = |bytes: &[u8]| Uint8Array::from(bytes);
            rows.push(&Array::of2(&bytes(&row.key), &bytes(&row.value)));
        }
        Ok(rows)
    }
}

/// The bytes of an archive, some at a time.
#[wasm_bindgen]
pub struct Export(archive::Export);

#[wasm_bindgen]
impl Export {
    /// The next bytes, about a mebibyte at most; `undefined` at the end.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.0.next_sync().transpose().map_err(thrown)
    }
}

/// A database being made from an archive, in a directory where there is none yet.
#[wasm_bindgen]
pub struct Import(archive::Import);

#[wasm_bindgen]
impl Import {
    /// Begins.
    #[wasm_bindgen(unchecked_return_type = "Import")]
    pub async fn begin(directory: Option<String>) -> Result<Import> {
        let import = Db::import(options(directory)).await;
        import.map(Self).map_err(thrown)
    }

    /// Takes the next bytes, any number of them. After a failure it takes no more.
    pub fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.0.write_sync(&bytes).map_err(thrown)
    }

    /// Opens the database, which is complete.
    #[wasm_bindgen(unchecked_return_type = "Database")]
    pub fn finish(self) -> Result<Database> {
        let db = self.0.finish_sync();
        db.map_err(thrown).and_then(Database::of)
    }
}
