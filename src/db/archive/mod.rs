//! A database as one stream of bytes: to move it to another machine, into a browser or out of it.
//!
//! - An archive holds the files of a checkpoint, as they are, `CURRENT` last.
//! - An import that ends early leaves no database, only files that the next opening of the place sweeps: tables and blob files
//!   have their unfinished names until a manifest is current that names them.

mod export;
mod format;
mod import;
#[cfg(test)]
mod tests;

pub use export::Export;
pub use import::Import;
