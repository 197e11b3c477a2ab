//! The immutable sorted file.

mod meta;

pub(crate) use meta::TableMeta;
