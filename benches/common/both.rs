//! The two sides. Every workload is written once, inside [`both!`], which makes a module of it for this
//! engine and one for the published 0.1.0: both run the same text against the same public interface.

/// The same text for each engine: the names are the same, the crates are not. The body sees the crate's
/// public names and what this module has, and asks for the functions that it needs.
macro_rules! both {
    // Options with commits that survive the process.
    (@buffered) => {
        pub(crate) fn buffered(path: &std::path::Path) -> DbOptions {
            DbOptions::new(path).with_durability(DurabilityMode::Buffered)
        }
    };
    // Puts rows in an order that is not that of their keys.
    (@load) => {
        pub(crate) fn load(db: &Db, rows: u64, value_bytes: usize) {
            let mut batch = WriteBatch::new();
            for index in 0..rows {
                // A stride that shares no factor with the numbers of rows used here.
                let row = index * 7919 % rows;
                batch.put(key(row), value(row, value_bytes));
                if batch.len() as u64 == BATCH_ROWS || index + 1 == rows {
                    let full = std::mem::take(&mut batch);
                    db.write_sync(full, WriteOptions::buffered()).expect("written");
                }
            }
        }
    };
    // A database with all rows in tables.
    (@loaded) => {
        both!(@load);
        pub(crate) fn loaded(options: DbOptions, rows: u64, value_bytes: usize) -> Db {
            let db = Db::open_sync(options).expect("opened");
            load(&db, rows, value_bytes);
            db.flush_sync().expect("flushed");
            db.compact_range_sync(KeyRange::all()).expect("compacted");
            db
        }
    };
    ($($body:item)*) => {
        mod this {
            use super::common::*;
            use criterion::Criterion;
            use trine_kv::*;
            pub(crate) const NAME: &str = "this";
            both!(@buffered);
            $($body)*
        }
        mod baseline {
            use super::common::*;
            use criterion::Criterion;
            use trine_kv_baseline::*;
            pub(crate) const NAME: &str = "0.1.0";
            both!(@buffered);
            $($body)*
        }
    };
}
