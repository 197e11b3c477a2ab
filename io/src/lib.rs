//! Storage backends behind one interface: bytes and file names, nothing of keys or tables.
//!
//! A [`Storage`] is one flat directory of [`File`]s. What each backend promises:
//!
//! | | memory | portable (unix, Windows, WASI) |
//! |---|---|---|
//! | rename | atomic: a name means the old file or the new one | atomic, also after power loss (POSIX `rename`); durable after `sync_directory` |
//! | `write_at` | atomic | **not** atomic: after a crash any part of it may be there, in any order of pages |
//! | order | each call sees all that returned before it | same; across a power loss only a sync orders |
//! | survives the process | nothing | every write, cut, creation, rename and removal that returned |
//! | survives power loss | nothing; syncs succeed because no promise outlives the process | bytes after `sync_data` or `sync_all` returned, names after `sync_directory`; where the hardware keeps its word |
//! | short reads and writes | never: all bytes or an error | same: interrupted and partial calls are carried on |
//! | failed `write_at` | nothing was written | some of the bytes may be |
//! | failed sync | cannot happen | what was not durable may be lost for good; syncing again proves nothing |
//! | `write_durably_at` | a write, then a sync | the same in one call where the host has one |
//! | `map_writable` | never | on 64-bit Linux, where the file system writes over in place |
//! | `map` | shares the bytes; a later write copies them first | a read-only map, on 64-bit unix and Windows; else `None` |
//! | `lock` | excludes clones of this storage; no file shows | excludes every process (on WASI this one), by a file of that name that is there while it is held |
//! | [`Mode::Cooperative`] | inline, since it costs nothing | on the storage's offload threads; inline if there are none. Reads: inline if the page cache has the bytes, else by a ring if one was started, else as all |
//!
//! For tests there is a third, behind the feature `simulation`: a host that loses, tears and fails: see `simulation`.
//!
//! On a host without files (the browser's main target) the portable backend compiles and every call fails
//! with `Unsupported`.
//!
//! **Errors** name the operation, the file (or the directory's path) and, where there is one, the offset.
//! Their kinds are the same on all backends: `NotFound`, `AlreadyExists`, `InvalidInput` (a name that is
//! no plain file name; something that is no regular file), `UnexpectedEof` (the file ends before the range, or
//! has another length than the one to map), `PermissionDenied` (writing, cutting or syncing a file that was opened for
//! reading), `FileTooLarge`, `NotADirectory`.
//!
//! **Cancellation.** Dropping a [`Completion`] abandons the answer, never the operation: it may run later,
//! and its effect may show. Buffers belong to the operation until then. A file or lock that nobody
//! waits for any more is closed or released as soon as it has been had.
//!
//! **Sealed files.** A file that was mapped must never be written or cut again, by anybody: see [`File::map`].
//! It may be renamed and removed; maps and handles stay readable.
//!
//! In [`Mode::Blocking`] every completion is ready when it is returned.

#![deny(unsafe_code)]

pub mod buffer;
pub mod completion;
mod driver;
pub mod error;
pub mod file;
pub mod lock;
mod mapped;
mod memory;
pub mod metrics;
mod name;
mod offload;
mod portable;
mod reads;
mod region;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod storage;
#[cfg(uring)]
mod uring;
mod writable_map;

/// Whether this build can read through a ring of the operating system: see [`Storage::start_rings`].
pub const RINGS: bool = cfg!(uring);

pub use buffer::Bytes;
pub use completion::Completion;
pub use error::{Error, LockRefusal, Operation, Result};
pub use file::{File, Warmth};
pub use lock::Lock;
pub use metrics::{OffloadStats, OperationStats, Stats};
pub use region::Region;
pub use storage::{Capabilities, Mode, PortableOptions, Storage};
pub use writable_map::WritableMap;
