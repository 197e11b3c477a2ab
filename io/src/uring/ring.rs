//! The only place that names tokio-uring: a ring on the thread that made it, and one read through it.
//!
//! What reading through a ring rests on; the crate's own interface is safe, and does not keep all of it:
//!
//! 1. The kernel writes into a buffer until the read completes. The buffer therefore belongs to the operation until
//!    then, with the file whose descriptor it names: a future that is dropped in flight leaves both with the
//!    ring.
//! 2. Dropping a ring with operations in flight frees their buffers before the kernel is done with them
//!    (tokio-uring 0.5.0 drops them first and waits afterwards). So [`Ring::run`] is given a future that ends only
//!    when all its reads have, and its caller aborts rather than unwind through it.
//! 3. A vector's bytes do not move with the vector: it may be handed on while its pointer is with the kernel.

use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{cqueue, opcode, types};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::portable::PortableFile;

/// A ring of this thread.
pub(super) struct Ring(tokio_uring::Runtime);

impl Ring {
    /// A ring for `depth` operations at once.
    ///
    /// # Errors
    /// The kernel's, if it refuses to make one or to take anything from it.
    pub(super) fn new(depth: usize) -> io::Result<Self> {
        // tokio-uring passes over a refusal to take operations, and would wait for ever.
        io_uring::IoUring::new(1)?.submit()?;
        let mut builder = tokio_uring::builder();
        builder.entries(u32::try_from(depth).unwrap_or(u32::MAX));
        tokio_uring::Runtime::new(&builder).map(Self)
    }

    /// Drives `future` to its end, which must come after that of all its reads.
    pub(super) fn run(&self, future: impl Future<Output = ()>) {
        self.0.block_on(future);
    }
}

/// What must not go before the kernel is done.
type Kept = (Arc<PortableFile>, Vec<u8>);

/// Gives back what was kept, and what the kernel said.
struct GiveBack;

impl OneshotOutputTransform for GiveBack {
    type Output = (Kept, io::Result<usize>);
    type StoredData = Kept;

    fn transform_oneshot_output(self, kept: Kept, answer: cqueue::Entry) -> Self::Output {
        let read = usize::try_from(answer.result())
            .map_err(|_| io::Error::from_raw_os_error(answer.result().saturating_neg()));
        (kept, read)
    }
}

/// Reads into `bytes` behind the first `filled`, at their place in a file whose `offset` is that of the
/// buffer's front. As many bytes as the kernel likes; 0 at the file's end.
pub(super) async fn read(
    file: Arc<PortableFile>,
    mut bytes: Vec<u8>,
    filled: usize,
    offset: u64,
) -> (Kept, io::Result<usize>) {
    let rest = bytes.get_mut(filled..).unwrap_or_default();
    let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
    let entry = opcode::Read::new(types::Fd(file.file.as_raw_fd()), rest.as_mut_ptr(), length)
        .offset(offset.saturating_add(filled as u64))
        .build();
    UnsubmittedOneshot::new((file, bytes), GiveBack, entry)
        .submit()
        .await
}
