//! What reads of the disk may be handed to instead of the offload threads: the seam behind which a
//! ring of the operating system works.
//!
//! - A driver owns what it was handed, file and buffer, until the operating system is done with both.
//! - It reports each read exactly once, also those that it was handed before it was dropped: dropping it waits
//!   until nothing is in flight any more.
//! - Handing over never blocks.

use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::metrics::OffloadStats;
use crate::portable::PortableFile;

/// A read that must fill the rest of its buffer.
#[cfg_attr(not(uring), expect(dead_code, reason = "nothing carries it out there"))]
pub(crate) struct PendingRead {
    pub(crate) file: Arc<PortableFile>,
    /// Where in the file the buffer's first byte belongs.
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    /// How much of the buffer is filled already.
    pub(crate) filled: usize,
    /// Takes the filled buffer, after the file was let go: whoever is told may close everything and expect
    /// it closed. Runs on the driver's thread, so it must not wait.
    pub(crate) report: Box<dyn FnOnce(io::Result<Vec<u8>>) + Send>,
}

/// Where reads of one storage are carried out.
pub(crate) trait ReadDriver:
    Send + Sync + UnwindSafe + RefUnwindSafe + std::fmt::Debug
{
    /// Takes `read`, to report it later.
    fn submit(&self, read: PendingRead);

    /// What it was handed so far.
    fn stats(&self) -> OffloadStats;
}
