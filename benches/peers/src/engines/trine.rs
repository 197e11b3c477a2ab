//! Trine KV as it comes: `DbOptions::new` with the durability and the cache that the run names. LZ4,
//! 16 KiB blocks, filters of 10 bits, one background thread.

use std::ops::Bound;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use trine_kv::{
    Bucket, BucketOptions, BucketReader, Db, DbOptions, Direction as Way, DurabilityMode, KeyRange,
    MaintenanceBudget, Snapshot, WriteBatch, WriteOptions,
};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

/// From this size values lie in blob files, in runs with large values only.
const BLOB_THRESHOLD_BYTES: usize = 4 << 10;

pub struct Trine {
    db: Db,
    bucket: Bucket,
    snapshot: OnceLock<Snapshot>,
}

impl Engine for Trine {
    type Reader<'engine> = TrineReader<'engine>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let bucket_options = if settings.large_values {
            BucketOptions::default().with_blob_threshold_bytes(BLOB_THRESHOLD_BYTES)
        } else {
            BucketOptions::default()
        };
        let db = Db::open_sync(DbOptions {
            durability: if settings.synced {
                DurabilityMode::SyncAll
            } else {
                DurabilityMode::Buffered
            },
            block_cache_bytes: usize::try_from(settings.cache_bytes)?,
            write_buffer_bytes: usize::try_from(settings.write_buffer_bytes)?,
            default_bucket_options: bucket_options,
            ..DbOptions::new(directory)
        })?;
        let bucket = db.default_bucket_sync()?;
        Ok(Self {
            db,
            bucket,
            snapshot: OnceLock::new(),
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        Ok(self.db.put_sync(key, value)?)
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut batch = WriteBatch::new();
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            batch.put(crate::data::key(row), value.as_slice());
        }
        self.db.write_sync(batch, WriteOptions::default())?;
        Ok(())
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        Ok(self.db.delete_range_sync(KeyRange::half_open(start, end))?)
    }

    fn reader(&self) -> Result<TrineReader<'_>> {
        Ok(TrineReader {
            engine: self,
            reader: None,
        })
    }

    fn settle(&self) -> Result<()> {
        self.db.flush_sync()?;
        loop {
            let outcome = self
                .db
                .run_maintenance_with_budget_sync(MaintenanceBudget::unbounded())?;
            if outcome.busy {
                std::thread::sleep(Duration::from_millis(20));
            } else if !outcome.made_progress() {
                return Ok(());
            }
        }
    }

    fn get_together(&self, keys: &[Key], mut found: impl FnMut(&[u8])) -> Option<Result<()>> {
        let values = match self.bucket.multi_get_sync(keys) {
            Ok(values) => values,
            Err(error) => return Some(Err(error.into())),
        };
        values.into_iter().flatten().for_each(|value| found(&value));
        Some(Ok(()))
    }

    fn close(self) -> Result<()> {
        self.db.close_sync();
        Ok(())
    }
}

pub struct TrineReader<'engine> {
    engine: &'engine Trine,
    /// Made at the first read of a fixed moment: it pins what it sees.
    reader: Option<BucketReader<'engine>>,
}

impl Reader for TrineReader<'_> {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let snapshot = self
                    .engine
                    .snapshot
                    .get_or_init(|| self.engine.db.snapshot());
                none.insert(self.engine.bucket.reader(snapshot)?)
            }
        };
        Ok(reader.get_ref_sync(key)?.map(|value| read(&value)))
    }

    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        Ok(self.engine.bucket.get_with_sync(key, read)?)
    }

    fn get_owned(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(self.engine.bucket.get_sync(key)?)
    }

    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        mut row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let way = match direction {
            Direction::Forward => Way::Forward,
            Direction::Reverse => Way::Reverse,
        };
        let mut cursor = self.engine.bucket.cursor(&keys(range), way)?;
        while cursor.advance_sync()? {
            if let Some((key, value)) = cursor.row()
                && !row(key, value)
            {
                break;
            }
        }
        Ok(())
    }

    fn scan_owned(
        &mut self,
        range: Range<'_>,
        mut row: impl FnMut(Vec<u8>, Vec<u8>),
    ) -> Result<()> {
        for found in self.engine.bucket.range_sync(&keys(range))? {
            let found = found?;
            row(found.key, found.value);
        }
        Ok(())
    }
}

fn keys(range: Range<'_>) -> KeyRange {
    KeyRange {
        start: Bound::Included(range.start.to_vec()),
        end: range
            .end
            .map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec())),
    }
}
