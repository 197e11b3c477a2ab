//! A scan that lends its rows instead of handing them out, for loops that must not allocate.

use trine_io::Mode;

use crate::db::Db;
use crate::db::bucket::Bucket;
use crate::db::snapshot::Snapshot;
use crate::direction::Direction;
use crate::error::Result;
use crate::key::KeyRange;
use crate::tree::pins::Pin;
use crate::tree::scan::Scan;

/// Walks the rows of a range and lends each until the next move.
///
/// It stands before the first row when it is made, and on none after the last. What it sees is fixed at
/// the sequence at which it was made. It owns what it reads and may outlive every other handle.
///
/// # Cost
/// No allocation for a row. A value is lent from where it lies: a memtable, a table's map, or a decoded block.
/// Keys are copied into a buffer of the cursor only where memtables or several tables take turns; descending,
/// values are copied there too, since the versions of a key are met oldest first.
/// The memtables and tables that it reads stay in memory and on disk while it lives.
///
/// # Examples
/// ```
/// # fn main() -> trine_kv::Result<()> {
/// use trine_kv::{Db, DbOptions, Direction, KeyRange};
/// let db = Db::open_sync(DbOptions::memory())?;
/// db.put_sync("a", "1")?;
/// db.put_sync("b", "23")?;
/// let mut cursor = db.cursor(&KeyRange::all(), Direction::Forward)?;
/// let mut bytes = 0;
/// while cursor.advance_sync()? {
///     bytes += cursor.key().len() + cursor.value().len();
/// }
/// assert_eq!(bytes, 5);
/// # Ok(())
/// # }
/// ```
pub struct RowCursor {
    scan: Scan,
    _pin: Pin,
}

impl std::fmt::Debug for RowCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCursor")
            .field("direction", &self.scan.direction())
            .finish_non_exhaustive()
    }
}

impl RowCursor {
    /// Which way it goes.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.scan.direction()
    }

    /// On to the next row; false after the last, for ever.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), [`Error::Corruption`](crate::Error::Corruption) or
    /// [`Error::InvalidFormat`](crate::Error::InvalidFormat) from reading a table. The walk is over then.
    ///
    /// # Cancellation
    /// A move that is dropped is made again by the next one; no row is lost. Until then the cursor may
    /// stand on none.
    ///
    /// # Cost
    /// Allocates nothing. The first row of each block costs one read of it, unless it is in memory.
    pub async fn advance(&mut self) -> Result<bool> {
        self.scan.advance(Mode::Cooperative).await
    }

    /// [`advance`](Self::advance) on this thread.
    ///
    /// # Errors
    /// As [`advance`](Self::advance).
    pub fn advance_sync(&mut self) -> Result<bool> {
        self.scan.advance_sync()
    }

    /// Key and value of the row that it stands on; `None` before the first move and after the last.
    #[must_use]
    pub fn row(&self) -> Option<(&[u8], &[u8])> {
        self.scan.row()
    }

    /// The key of the row that it stands on; empty if it stands on none.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.row().map_or(&[], |(key, _)| key)
    }

    /// The value of the row that it stands on; empty if it stands on none.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.row().map_or(&[], |(_, value)| value)
    }

    /// When the row that it stands on expires, in milliseconds since 1970-01-01 UTC; `None` if it does not. A row that was merged
    /// into what expires is what its operands make of nothing from then on.
    #[must_use]
    pub fn expires_millis(&self) -> Option<u64> {
        self.scan.expires_millis()
    }
}

impl Bucket {
    /// A cursor over the rows of `range` as of now.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed). Reading errors come from the cursor.
    ///
    /// # Cost
    /// Reads nothing yet, so there is no asynchronous form; pins what the cursor will read.
    pub fn cursor(&self, range: &KeyRange, direction: Direction) -> Result<RowCursor> {
        let (scan, pin) = self.scan(range.clone(), direction, None)?;
        Ok(RowCursor { scan, _pin: pin })
    }

    /// A cursor over the rows of `range` as the snapshot sees them.
    ///
    /// # Errors
    /// As [`cursor`](Self::cursor).
    ///
    /// # Cost
    /// As [`cursor`](Self::cursor).
    pub fn cursor_at(
        &self,
        snapshot: &Snapshot,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<RowCursor> {
        let (scan, pin) = self.scan(range.clone(), direction, Some(snapshot.read_sequence()))?;
        Ok(RowCursor { scan, _pin: pin })
    }
}

impl Db {
    /// A cursor over the rows of `range` of the default bucket as of now.
    ///
    /// # Errors
    /// As [`Bucket::cursor`].
    ///
    /// # Cost
    /// As [`Bucket::cursor`].
    pub fn cursor(&self, range: &KeyRange, direction: Direction) -> Result<RowCursor> {
        self.keyspace().cursor(range, direction)
    }

    /// A cursor over the rows of `range` of the default bucket as the snapshot sees them.
    ///
    /// # Errors
    /// As [`Bucket::cursor`].
    ///
    /// # Cost
    /// As [`cursor`](Self::cursor).
    pub fn cursor_at(
        &self,
        snapshot: &Snapshot,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<RowCursor> {
        self.keyspace().cursor_at(snapshot, range, direction)
    }
}
