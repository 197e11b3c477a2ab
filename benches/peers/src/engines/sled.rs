//! sled with the run's cache. Where commits are synced, each is followed by a flush, since sled has no
//! other way; elsewhere nothing is synced until the end.

use std::ops::Bound;
use std::path::Path;

use sled::{Batch, Config, Db};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

pub struct Sled {
    db: Db,
    synced: bool,
}

impl Sled {
    fn committed(&self) -> Result<()> {
        if self.synced {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    type Reader<'engine> = &'engine Sled;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let db = Config::new()
            .path(directory)
            .cache_capacity(settings.cache_bytes)
            .flush_every_ms(None)
            .open()?;
        Ok(Self {
            db,
            synced: settings.synced,
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.db.insert(key, value)?;
        self.committed()
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut batch = Batch::default();
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            batch.insert(&crate::data::key(row), value.as_slice());
        }
        self.db.apply_batch(batch)?;
        self.committed()
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let mut batch = Batch::default();
        for row in self.db.range(start.as_slice()..end.as_slice()) {
            batch.remove(row?.0);
        }
        self.db.apply_batch(batch)?;
        self.committed()
    }

    fn reader(&self) -> Result<&Sled> {
        Ok(self)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}

impl Reader for &Sled {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        Ok(self.db.get(key)?.map(|value| read(&value)))
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
        let mut rows = self.db.range::<&[u8], _>(bounds);
        loop {
            let found = match direction {
                Direction::Forward => rows.next(),
                Direction::Reverse => rows.next_back(),
            };
            let Some(found) = found else { return Ok(()) };
            let (key, value) = found?;
            if !row(&key, &value) {
                return Ok(());
            }
        }
    }
}
