//! RocksDB: LRU cache, Bloom filters of 10 bits, LZ4, two background jobs and else its defaults (4 KiB
//! blocks, levelled compaction, write-ahead log on). Large values in blob files with garbage collection.

use std::path::Path;
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Options, ReadOptions, WriteBatch, WriteOptions,
};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

const MIN_BLOB_BYTES: u64 = 4 << 10;
/// So often must nothing have gone on for the background to count as idle.
const IDLE_POLLS: u32 = 5;

pub struct Rocks {
    db: DB,
    synced: bool,
}

impl Rocks {
    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::default();
        options.set_sync(self.synced);
        options
    }
}

impl Engine for Rocks {
    type Reader<'engine> = &'engine Rocks;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(usize::try_from(
            settings.cache_bytes,
        )?));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(usize::try_from(settings.write_buffer_bytes)?);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(2);
        if settings.large_values {
            options.set_enable_blob_files(true);
            options.set_min_blob_size(MIN_BLOB_BYTES);
            options.set_blob_compression_type(DBCompressionType::Lz4);
            options.set_enable_blob_gc(true);
        }
        let db = DB::open(&options, directory)?;
        Ok(Self {
            db,
            synced: settings.synced,
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        if self.synced {
            Ok(self.db.put_opt(key, value, &self.write_options())?)
        } else {
            Ok(self.db.put(key, value)?)
        }
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            batch.put(crate::data::key(row), &value);
        }
        Ok(self.db.write_opt(batch, &self.write_options())?)
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range(start, end);
        Ok(self.db.write_opt(batch, &self.write_options())?)
    }

    fn reader(&self) -> Result<&Rocks> {
        Ok(self)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        let mut idle = 0;
        while idle < IDLE_POLLS {
            std::thread::sleep(Duration::from_millis(20));
            let mut busy = false;
            for name in [
                "rocksdb.compaction-pending",
                "rocksdb.num-running-compactions",
            ] {
                busy |= self.db.property_int_value(name)?.unwrap_or(0) > 0;
            }
            idle = if busy { 0 } else { idle + 1 };
        }
        Ok(())
    }

    fn get_together(&self, keys: &[Key], mut found: impl FnMut(&[u8])) -> Option<Result<()>> {
        for value in self.db.multi_get(keys) {
            match value {
                Ok(Some(value)) => found(&value),
                Ok(None) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
        Some(Ok(()))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Reader for &Rocks {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        Ok(self.db.get_pinned(key)?.map(|value| read(&value)))
    }

    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.get(key, read)
    }

    fn get_owned(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(key)?)
    }

    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        mut row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start);
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end);
        }
        let mut iterator = self.db.raw_iterator_opt(options);
        match direction {
            Direction::Forward => iterator.seek(range.start),
            Direction::Reverse => iterator.seek_to_last(),
        }
        while let Some((key, value)) = iterator.item() {
            if !row(key, value) {
                return Ok(());
            }
            match direction {
                Direction::Forward => iterator.next(),
                Direction::Reverse => iterator.prev(),
            }
        }
        Ok(iterator.status()?)
    }
}
