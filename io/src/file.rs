//! An open file. Clones share it.

use std::sync::Arc;

use crate::{Bytes, Completion, Mode, memory::MemoryFile, portable::PortableFile};

/// An open file of a [`crate::Storage`].
#[derive(Clone, Debug)]
pub struct File(pub(crate) Backend);

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Memory(Arc<MemoryFile>),
    Portable(Arc<PortableFile>),
}

impl File {
    /// The name it was opened by.
    pub fn name(&self) -> &str {
        match &self.0 {
            Backend::Memory(file) => file.name(),
            Backend::Portable(file) => file.name(),
        }
    }

    /// Its length now, in bytes.
    pub fn len(&self, _mode: Mode) -> Completion<u64> {
        Completion::ready(match &self.0 {
            Backend::Memory(file) => Ok(file.len()),
            Backend::Portable(file) => file.len(),
        })
    }

    /// Reads exactly `length` bytes at `offset`; `UnexpectedEof` where the file ends before.
    pub fn read_at(&self, _mode: Mode, offset: u64, length: usize) -> Completion<Vec<u8>> {
        Completion::ready(match &self.0 {
            Backend::Memory(file) => file.read_at(offset, length),
            Backend::Portable(file) => file.read_at(offset, length),
        })
    }

    /// Writes all of `bytes` at `offset`, extending the file as needed, and gives the buffer back.
    /// With the OS when it returns: survives the process, not a power loss.
    pub fn write_at(&self, _mode: Mode, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        Completion::ready(
            match &self.0 {
                Backend::Memory(file) => file.write_at(offset, &bytes),
                Backend::Portable(file) => file.write_at(offset, &bytes),
            }
            .map(|()| bytes),
        )
    }

    /// Makes the bytes written before this call (and the length they need) survive power loss.
    pub fn sync_data(&self, _mode: Mode) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(_) => Ok(()),
            Backend::Portable(file) => file.sync_data(),
        })
    }

    /// As `sync_data`, with all metadata.
    pub fn sync_all(&self, _mode: Mode) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(_) => Ok(()),
            Backend::Portable(file) => file.sync_all(),
        })
    }

    /// Cuts or zero-extends the file.
    pub fn set_len(&self, _mode: Mode, length: u64) -> Completion<()> {
        Completion::ready(match &self.0 {
            Backend::Memory(file) => file.set_len(length),
            Backend::Portable(file) => file.set_len(length),
        })
    }

    /// The whole file as shared bytes, if the backend can map it. The file must be sealed: nobody
    /// writes or cuts it again. `length` must be the file's exact length. `None`: use `read_at`.
    pub fn map(&self, _mode: Mode, length: u64) -> Completion<Option<Bytes>> {
        Completion::ready(match &self.0 {
            Backend::Memory(file) => file.map(length),
            Backend::Portable(_) => Ok(None),
        })
    }
}
