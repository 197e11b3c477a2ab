//! Both ways to call the database, so that one description of a rule tests the two of them.

use trine_kv::{Db, DbOptions, Iter, Result};

pub(crate) use crate::common::executor::block_on;

/// Which half of the public interface a test calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Sync,
    Async,
}

/// `call!(way, db, get / get_sync(key))`: the method of that name for this way, to completion.
macro_rules! call {
    ($way:expr, $on:expr, $cooperative:ident / $blocking:ident ($($argument:expr),* $(,)?)) => {
        match $way {
            $crate::common::way::Way::Sync => $on.$blocking($($argument),*),
            $crate::common::way::Way::Async => {
                $crate::common::way::block_on($on.$cooperative($($argument),*))
            }
        }
    };
}
pub(crate) use call;

impl Way {
    pub(crate) fn open(self, options: DbOptions) -> Result<Db> {
        match self {
            Self::Sync => Db::open_sync(options),
            Self::Async => block_on(Db::open(options)),
        }
    }

    pub(crate) fn close(self, db: &Db) -> Result<()> {
        match self {
            Self::Sync => {
                db.close_sync();
                Ok(())
            }
            Self::Async => block_on(db.close()),
        }
    }

    /// Every row that is left, in the iterator's order.
    pub(crate) fn rows(self, mut iter: Iter) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut rows = Vec::new();
        loop {
            let row = match self {
                Self::Sync => iter.next_sync().transpose()?,
                Self::Async => block_on(iter.next())?,
            };
            match row {
                Some(row) => rows.push((row.key, row.value)),
                None => return Ok(rows),
            }
        }
    }
}
