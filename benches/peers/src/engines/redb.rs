//! redb with the run's cache. A commit that is not synced has `Durability::None`: unlike with the others,
//! it does not even survive the process, which no run with redb is charged for.

use std::path::Path;

use redb::{
    Database, Durability, ReadOnlyTable, ReadableDatabase, TableDefinition, WriteTransaction,
};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

pub struct Redb {
    db: Database,
    synced: bool,
}

impl Redb {
    fn begin(&self) -> Result<WriteTransaction> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(if self.synced {
            Durability::Immediate
        } else {
            Durability::None
        })?;
        Ok(txn)
    }
}

impl Engine for Redb {
    type Reader<'engine> = RedbReader<'engine>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let db = Database::builder()
            .set_cache_size(usize::try_from(settings.cache_bytes)?)
            .create(directory.join("redb"))?;
        Ok(Self {
            db,
            synced: settings.synced,
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        let txn = self.begin()?;
        txn.open_table(ROWS)?.insert(key.as_slice(), value)?;
        Ok(txn.commit()?)
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let txn = self.begin()?;
        let mut table = txn.open_table(ROWS)?;
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            table.insert(crate::data::key(row).as_slice(), value.as_slice())?;
        }
        drop(table);
        Ok(txn.commit()?)
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let txn = self.begin()?;
        txn.open_table(ROWS)?
            .retain_in::<&[u8], _>(start.as_slice()..end.as_slice(), |_, _| false)?;
        Ok(txn.commit()?)
    }

    fn reader(&self) -> Result<RedbReader<'_>> {
        Ok(RedbReader {
            engine: self,
            table: None,
        })
    }

    /// Makes what was committed durable, as closing does.
    fn settle(&self) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        Ok(txn.commit()?)
    }

    fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }
}

pub struct RedbReader<'engine> {
    engine: &'engine Redb,
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl RedbReader<'_> {
    fn table(&mut self) -> Result<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        match &mut self.table {
            Some(table) => Ok(table),
            none => Ok(none.insert(self.engine.db.begin_read()?.open_table(ROWS)?)),
        }
    }
}

impl Reader for RedbReader<'_> {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        Ok(self
            .table()?
            .get(key.as_slice())?
            .map(|value| read(value.value())))
    }

    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.table = None;
        self.get(key, read)
    }

    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        mut row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let table = self.table()?;
        let mut rows = match range.end {
            Some(end) => table.range(range.start..end)?,
            None => table.range(range.start..)?,
        };
        loop {
            let found = match direction {
                Direction::Forward => rows.next(),
                Direction::Reverse => rows.next_back(),
            };
            let Some(found) = found else { return Ok(()) };
            let (key, value) = found?;
            if !row(key.value(), value.value()) {
                return Ok(());
            }
        }
    }
}
