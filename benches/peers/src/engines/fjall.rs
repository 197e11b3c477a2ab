//! fjall with its defaults (LZ4 below the first levels, filters, 64 MiB memtables) and the run's cache.
//! Large values are separated from keys.

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

/// So long must nothing have gone on for the background to count as idle.
const IDLE_POLLS: u32 = 5;

pub struct Fjall {
    db: Database,
    rows: Keyspace,
    synced: bool,
}

impl Engine for Fjall {
    type Reader<'engine> = &'engine Fjall;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let db = Database::builder(directory)
            .cache_size(settings.cache_bytes)
            .open()?;
        let rows = db.keyspace("rows", || {
            let separation = settings.large_values.then(KvSeparationOptions::default);
            KeyspaceCreateOptions::default()
                .max_memtable_size(settings.write_buffer_bytes)
                .with_kv_separation(separation)
        })?;
        Ok(Self {
            db,
            rows,
            synced: settings.synced,
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.rows.insert(key, value)?;
        if self.synced {
            self.db.persist(PersistMode::SyncAll)?;
        }
        Ok(())
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut batch = self.db.batch();
        if self.synced {
            batch = batch.durability(Some(PersistMode::SyncAll));
        }
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            batch.insert(&self.rows, crate::data::key(row), value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let mut batch = self.db.batch();
        for row in self.rows.range(start.as_slice()..end.as_slice()) {
            batch.remove(&self.rows, row.key()?);
        }
        Ok(batch.commit()?)
    }

    fn reader(&self) -> Result<&Fjall> {
        Ok(self)
    }

    fn settle(&self) -> Result<()> {
        self.rows.rotate_memtable_and_wait()?;
        let mut idle = 0;
        while idle < IDLE_POLLS {
            std::thread::sleep(Duration::from_millis(20));
            let busy = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
            idle = if busy { 0 } else { idle + 1 };
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Reader for &Fjall {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        Ok(self.rows.get(key)?.map(|value| read(&value)))
    }

    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.get(key, read)
    }

    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        mut row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (
            Bound::Included(range.start),
            range.end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let mut rows = self.rows.range::<&[u8], _>(bounds);
        loop {
            let found = match direction {
                Direction::Forward => rows.next(),
                Direction::Reverse => rows.next_back(),
            };
            let Some(found) = found else { return Ok(()) };
            let (key, value) = found.into_inner()?;
            if !row(&key, &value) {
                return Ok(());
            }
        }
    }
}
