//! LMDB through heed: the default database, a map that is large enough, `NO_SYNC` where commits need not
//! be synced, no read-ahead where the database is cold. Pages live in the operating system's cache.
#![expect(unsafe_code, reason = "opening an LMDB environment is an unsafe call")]

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};

use crate::data::{Data, Key};
use crate::engine::{Direction, Engine, Range, Reader, Result, Settings};

pub struct Lmdb {
    env: Env,
    rows: Database<Bytes, Bytes>,
}

impl Engine for Lmdb {
    type Reader<'engine> = LmdbReader<'engine>;

    fn open(directory: &Path, settings: &Settings) -> Result<Self> {
        let mut flags = EnvFlags::empty();
        if !settings.synced {
            flags |= EnvFlags::NO_SYNC;
        }
        if settings.cold {
            flags |= EnvFlags::NO_READ_AHEAD;
        }
        let mut options = EnvOpenOptions::new();
        options.map_size(usize::try_from(settings.map_bytes)?);
        // SAFETY: a power loss may damage this database and nobody would mind.
        unsafe { options.flags(flags) };
        // SAFETY: no other process opens or changes the directory while this one runs.
        let env = unsafe { options.open(directory) }?;
        let mut txn = env.write_txn()?;
        let rows = env.create_database(&mut txn, None)?;
        txn.commit()?;
        Ok(Self { env, rows })
    }

    fn put(&self, key: &Key, value: &[u8]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        self.rows.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    fn put_rows(&self, data: &Data, rows: &[u64]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        let mut value = Vec::new();
        for &row in rows {
            data.fill(row, &mut value);
            self.rows.put(&mut txn, &crate::data::key(row), &value)?;
        }
        Ok(txn.commit()?)
    }

    fn delete_range(&self, start: &Key, end: &Key) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        let range = (
            Bound::Included(start.as_slice()),
            Bound::Excluded(end.as_slice()),
        );
        self.rows.delete_range(&mut txn, &range)?;
        Ok(txn.commit()?)
    }

    fn reader(&self) -> Result<LmdbReader<'_>> {
        Ok(LmdbReader {
            engine: self,
            txn: None,
        })
    }

    fn close(self) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

pub struct LmdbReader<'engine> {
    engine: &'engine Lmdb,
    txn: Option<RoTxn<'engine, WithTls>>,
}

impl<'engine> LmdbReader<'engine> {
    fn txn(&mut self) -> Result<(&'engine Lmdb, &RoTxn<'engine, WithTls>)> {
        let txn = match &mut self.txn {
            Some(txn) => txn,
            none => none.insert(self.engine.env.read_txn()?),
        };
        Ok((self.engine, txn))
    }
}

impl Reader for LmdbReader<'_> {
    fn get<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        let (engine, txn) = self.txn()?;
        Ok(engine.rows.get(txn, key)?.map(read))
    }

    fn get_latest<R>(&mut self, key: &Key, read: impl FnMut(&[u8]) -> R) -> Result<Option<R>> {
        self.txn = None;
        self.get(key, read)
    }

    fn scan(
        &mut self,
        range: Range<'_>,
        direction: Direction,
        mut row: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        let (engine, txn) = self.txn()?;
        let bounds = (
            // An empty key is an error here, not the first one.
            if range.start.is_empty() {
                Bound::Unbounded
            } else {
                Bound::Included(range.start)
            },
            range.end.map_or(Bound::Unbounded, Bound::Excluded),
        );
        match direction {
            Direction::Forward => {
                for found in engine.rows.range(txn, &bounds)? {
                    let (key, value) = found?;
                    if !row(key, value) {
                        break;
                    }
                }
            }
            Direction::Reverse => {
                for found in engine.rows.rev_range(txn, &bounds)? {
                    let (key, value) = found?;
                    if !row(key, value) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
