//! One LSM tree (one bucket): memtables above levels of tables.

mod arena;
pub(crate) mod memtable;
