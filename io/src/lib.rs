//! Storage backends behind one interface: bytes and file names, nothing of keys or tables.

#![deny(unsafe_code)]

pub mod buffer;
pub mod completion;
pub mod error;
pub mod file;
mod memory;
mod portable;
pub mod storage;

pub use buffer::Bytes;
pub use completion::Completion;
pub use error::{Error, Operation, Result};
pub use file::File;
pub use storage::{Capabilities, Mode, Storage};
