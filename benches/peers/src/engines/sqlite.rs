//! SQLite: one table without row ids, write-ahead log, `synchronous` FULL or OFF, page cache and map as
//! the run says. One connection writes, each reading thread has its own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

const PUT: &str = "INSERT OR REPLACE INTO rows VALUES (?1, ?2)";

pub struct Sqlite {
    path: PathBuf,
    settings: Settings,
    writer: Mutex<Connection>,
}

impl Sqlite {
    fn connect(path: &Path, settings: &Settings) -> Result<Connection> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(
            None,
            "synchronous",
            if settings.synced { "FULL" } else { "OFF" },
        )?;
        let cache_kibibytes = i64::try_from(settings.cache_bytes >> 10)?;
        connection.pragma_update(None, "cache_size", -cache_kibibytes)?;
        connection.pragma_update(None, "mmap_size", i64::try_from(settings.map_bytes)?)?;
        Ok(connection)
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Sqlite {
    type Reader<'engine> = SqliteReader;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let path = directory.join("sqlite");
        let connection = Self::connect(&path, settings)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS rows (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID",
        )?;
        Ok(Self {
            path,
            settings: *settings,
            writer: Mutex::new(connection),
        })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        self.writer()
            .prepare_cached(PUT)?
            .execute(params![key, value])?;
        Ok(())
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut connection = self.writer();
        let txn = connection.transaction()?;
        let mut put = txn.prepare_cached(PUT)?;
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            put.execute(params![crate::data::key(row), value])?;
        }
        drop(put);
        Ok(txn.commit()?)
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let connection = self.writer();
        connection.execute(
            "DELETE FROM rows WHERE k >= ?1 AND k < ?2",
            params![start, end],
        )?;
        Ok(())
    }

    fn reader(&self) -> Result<SqliteReader> {
        Ok(SqliteReader(Self::connect(&self.path, &self.settings)?))
    }

    fn close(self) -> Result<()> {
        let connection = self
            .writer
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| error.into())
    }
}

pub struct SqliteReader(Connection);

impl Reader for SqliteReader {
    fn get<R>(&mut self, key: &Key, mut read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        let mut statement = self.0.prepare_cached("SELECT v FROM rows WHERE k = ?1")?;
        let found = statement
            .query_row(params![key], |row| Ok(read(row.get_ref(0)?.as_blob()?)))
            .optional()?;
        Ok(found)
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
        let order = match direction {
            Direction::Forward => "ASC",
            Direction::Reverse => "DESC",
        };
        let end = if range.end.is_some() {
            "AND k < ?2"
        } else {
            "AND ?2 IS NULL"
        };
        let mut statement = self.0.prepare_cached(&format!(
            "SELECT k, v FROM rows WHERE k >= ?1 {end} ORDER BY k {order}"
        ))?;
        let mut rows = statement.query(params![range.start, range.end])?;
        while let Some(found) = rows.next()? {
            if !row(found.get_ref(0)?.as_blob()?, found.get_ref(1)?.as_blob()?) {
                break;
            }
        }
        Ok(())
    }
}
