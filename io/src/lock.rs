//! The writer's lock on a storage.

use std::sync::Arc;

use trine_platform::DirectoryLock;

#[cfg(image)]
use crate::image::ImageLock;
use crate::memory::MemoryDirectory;
#[cfg(feature = "simulation")]
use crate::simulation::SimulatedLock;

/// The right to write in a storage, until dropped.
///
/// Dropping releases it at once, on the dropping thread: for files two short system calls, after which
/// the lock file is gone.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, and released by its drop")] pub(crate) Held);

#[derive(Debug)]
#[expect(dead_code, reason = "held, and released by their drops")]
pub(crate) enum Held {
    Memory(MemoryLock),
    Portable(DirectoryLock),
    #[cfg(image)]
    Image(ImageLock),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedLock),
}

/// A name in a memory directory's set of held locks.
#[derive(Debug)]
pub(crate) struct MemoryLock {
    pub(crate) directory: Arc<MemoryDirectory>,
    pub(crate) name: String,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.directory.unlock(&self.name);
    }
}
