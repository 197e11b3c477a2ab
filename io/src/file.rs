//! An open file. Clones share it.
//!
//! Calls on one file may run at the same time, from any thread; those that overlap have no order.

use std::io;
use std::sync::Arc;

use crate::error::Attempt;
#[cfg(image)]
use crate::image::ImageFile;
use crate::memory::MemoryFile;
use crate::portable::PortableFile;
#[cfg(feature = "simulation")]
use crate::simulation::SimulatedFile;
use crate::{Bytes, Completion, Mode, Operation, WritableMap};

/// How much is written again at a time: not so much that the memory for it would come from the host anew.
const PIECE_BYTES: usize = 1 << 20;

/// An open file of a [`crate::Storage`].
#[derive(Clone, Debug)]
pub struct File(pub(crate) Backend);

/// Where bytes were that are in memory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// In memory already.
    Resident,
    /// On the disk, in part at least.
    Fetched,
    /// In memory or on the disk: this host does not say.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Memory(Arc<MemoryFile>),
    Portable(Arc<PortableFile>),
    #[cfg(image)]
    Image(Arc<ImageFile>),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedFile),
}

/// A finished operation in memory.
fn finished<T>(
    file: &MemoryFile,
    operation: Operation,
    offset: Option<u64>,
    result: io::Result<T>,
) -> Completion<T> {
    file.metrics.count(operation);
    Completion::ready(result.map_err(|error| {
        let name = Arc::clone(&file.name);
        Attempt {
            operation,
            name,
            offset,
        }
        .failed(error)
    }))
}

impl File {
    /// The name it was created or opened by. A later rename does not change it.
    pub fn name(&self) -> &str {
        match &self.0 {
            Backend::Memory(file) => &file.name,
            Backend::Portable(file) => &file.name,
            #[cfg(image)]
            Backend::Image(file) => &file.name,
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => &file.name,
        }
    }

    /// Its length now, in bytes. Inline in either mode: no disk is asked.
    pub fn len(&self, _mode: Mode) -> Completion<u64> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::Len, None, Ok(file.len())),
            Backend::Portable(file) => file.len(),
            #[cfg(image)]
            Backend::Image(file) => file.len(),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.len(),
        }
    }

    /// Reads exactly `length` bytes at `offset`; `UnexpectedEof` where the file ends before.
    pub fn read_at(&self, mode: Mode, offset: u64, length: usize) -> Completion<Vec<u8>> {
        match &self.0 {
            Backend::Memory(file) => {
                let read = file.read_at(offset, length);
                finished(file, Operation::Read, Some(offset), read)
            }
            Backend::Portable(file) => file.read_at(mode, offset, length),
            #[cfg(image)]
            Backend::Image(file) => file.read_at(offset, length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.read_at(mode, offset, length),
        }
    }

    /// As `read_at`, for bytes that nobody will want again soon: the host keeps in memory what it had
    /// there before, not more, where it can be told so.
    pub fn read_once_at(&self, mode: Mode, offset: u64, length: usize) -> Completion<Vec<u8>> {
        match &self.0 {
            Backend::Memory(_) => self.read_at(mode, offset, length),
            Backend::Portable(file) => file.read_once_at(mode, offset, length),
            #[cfg(image)]
            Backend::Image(file) => file.read_at(offset, length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.read_at(mode, offset, length),
        }
    }

    /// Brings `length` bytes at `offset` into memory, so that the next touch of a map of them does not
    /// wait for the disk; `UnexpectedEof` where the file ends before.
    ///
    /// One read fetches all of it; a map would fetch page by page.
    pub fn warm(&self, mode: Mode, offset: u64, length: usize) -> Completion<Warmth> {
        match &self.0 {
            Backend::Memory(file) => {
                finished(file, Operation::Read, Some(offset), Ok(Warmth::Resident))
            }
            Backend::Portable(file) => file.warm(mode, offset, length),
            #[cfg(image)]
            Backend::Image(file) => file.warm(offset, length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.warm(mode, offset, length),
        }
    }

    /// Asks the host for `length` bytes at `offset`, which are read soon, without waiting for them. `false`: this
    /// host cannot be asked.
    pub fn will_need(&self, offset: u64, length: usize) -> bool {
        match &self.0 {
            Backend::Memory(_) => true,
            Backend::Portable(file) => file.will_need(offset, length),
            #[cfg(image)]
            Backend::Image(_) => false,
            #[cfg(feature = "simulation")]
            Backend::Simulated(_) => false,
        }
    }

    /// Writes all of `bytes` at `offset`, extending the file as needed, and gives the buffer back.
    ///
    /// A gap before `offset` reads as zeros. Writing nothing extends nothing.
    ///
    /// # Durability
    /// With the OS when it returns: survives the process, not a power loss.
    ///
    /// # Cancellation
    /// The bytes may be written after the completion was dropped.
    pub fn write_at(&self, mode: Mode, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        match &self.0 {
            Backend::Memory(file) => {
                let written = file.write_at(offset, &bytes).map(|()| bytes);
                finished(file, Operation::Write, Some(offset), written)
            }
            Backend::Portable(file) => file.write_at(mode, offset, bytes),
            #[cfg(image)]
            Backend::Image(file) => file.write_at(offset, bytes),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.write_at(mode, offset, bytes),
        }
    }

    /// As `write_at`; the bytes survive power loss when it returns, those that were written before may not.
    ///
    /// After it failed nothing is known of what is in the file and what is durable: see `sync_data`.
    pub fn write_durably_at(&self, mode: Mode, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        match &self.0 {
            Backend::Memory(file) => {
                let written = file
                    .write_at(offset, &bytes)
                    .and_then(|()| file.sync())
                    .map(|()| bytes);
                finished(file, Operation::WriteDurably, Some(offset), written)
            }
            Backend::Portable(file) => file.write_durably_at(mode, offset, bytes),
            #[cfg(image)]
            Backend::Image(file) => file.write_durably_at(offset, bytes),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.write_durably_at(mode, offset, bytes),
        }
    }

    /// Writes what lies from `start` to `end` to its place again, so that the next sync makes it durable. A sync alone would prove nothing
    /// where an earlier one failed: the host shows bytes that are not on disk, and takes them for written.
    ///
    /// # Errors
    /// Of a read or a write; what came before is written.
    pub async fn write_again(&self, mode: Mode, start: u64, end: u64) -> crate::Result<()> {
        let mut at = start;
        while at < end {
            let piece = usize::try_from(end - at).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            let bytes = self.read_at(mode, at, piece).await?;
            self.write_at(mode, at, bytes).await?;
            self.start_writeback(at, piece as u64);
            at += piece as u64;
        }
        Ok(())
    }

    /// How much of the file there is to read: behind that, up to its length, nothing was ever written, and it reads as
    /// zeros. The whole length where the host does not know better.
    pub fn written_len(&self, mode: Mode) -> Completion<u64> {
        match &self.0 {
            Backend::Portable(file) => file.written_len(),
            _ => self.len(mode),
        }
    }

    /// Makes an empty file `length` long, with space for all of it, which reads as zeros; says whether it did. Where the
    /// host cannot, or where writing the space for the first time could still fail for want of it, nothing happens. In
    /// browsers it is room within the quota.
    pub fn reserve(&self, mode: Mode, length: u64) -> Completion<bool> {
        match &self.0 {
            Backend::Portable(file) => file.reserve(mode, length),
            Backend::Memory(_) => Completion::ready(Ok(false)),
            #[cfg(image)]
            Backend::Image(file) => file.reserve(length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(_) => Completion::ready(Ok(false)),
        }
    }

    /// Starts writing a range to the device, so that a later sync finds less to do. A hint: where the host
    /// has no such call, nothing happens.
    pub fn start_writeback(&self, offset: u64, length: u64) {
        if let Backend::Portable(file) = &self.0 {
            file.start_writeback(offset, length);
        }
    }

    /// Makes the bytes written before this call (and the length they need) survive power loss.
    ///
    /// After it failed they may be lost for good. Do not try again on the same file: the host may have
    /// forgotten what it could not write, and then calls that a success.
    pub fn sync_data(&self, mode: Mode) -> Completion<()> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::SyncData, None, file.sync()),
            Backend::Portable(file) => file.sync_data(mode),
            #[cfg(image)]
            Backend::Image(file) => file.sync(Operation::SyncData),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.sync(mode, Operation::SyncData),
        }
    }

    /// As `sync_data`, with all metadata.
    pub fn sync_all(&self, mode: Mode) -> Completion<()> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::SyncAll, None, file.sync()),
            Backend::Portable(file) => file.sync_all(mode),
            #[cfg(image)]
            Backend::Image(file) => file.sync(Operation::SyncAll),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.sync(mode, Operation::SyncAll),
        }
    }

    /// Cuts or zero-extends the file.
    pub fn set_len(&self, mode: Mode, length: u64) -> Completion<()> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::SetLen, None, file.set_len(length)),
            Backend::Portable(file) => file.set_len(mode, length),
            #[cfg(image)]
            Backend::Image(file) => file.set_len(length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.set_len(mode, length),
        }
    }

    /// The whole file as shared bytes, if the backend can map it. `None`: use `read_at`; always for an
    /// empty file.
    ///
    /// The file must be sealed: nobody writes or cuts it again, in this process or another, as long as the
    /// bytes live. Where somebody does all the same the bytes may change, and touching those beyond a new
    /// end kills the process. Renaming and removing it is harmless.
    ///
    /// `length` must be the file's exact length; `UnexpectedEof` if it is not.
    pub fn map(&self, mode: Mode, length: u64) -> Completion<Option<Bytes>> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::Map, None, file.map(length)),
            Backend::Portable(file) => file.map(mode, length),
            #[cfg(image)]
            Backend::Image(file) => file.map(length),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.map(mode, length),
        }
    }

    /// A map of the file to write through, where the backend has one: bytes stored there are with the OS at once,
    /// as after `write_at`, without a call. `None`: use `write_at`; also where the host could find later that there is
    /// no room for them.
    ///
    /// All `length` bytes must have been written before, or [reserved](Self::reserve); the file must never be cut while the map lives. `write_at`,
    /// `read_at` and syncs of the same file see the same bytes.
    pub fn map_writable(&self, mode: Mode, length: u64) -> Completion<Option<WritableMap>> {
        match &self.0 {
            Backend::Memory(file) => finished(file, Operation::Map, None, Ok(None)),
            Backend::Portable(file) => file.map_writable(mode, length),
            #[cfg(image)]
            Backend::Image(file) => file.map_writable(),
            #[cfg(feature = "simulation")]
            Backend::Simulated(file) => file.map_writable(mode, length),
        }
    }
}
