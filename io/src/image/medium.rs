//! A flat file of the host in which an image keeps its bytes. Every call is done when it returns.

use std::io;

#[cfg(opfs)]
use crate::opfs::SyncFile;

/// One of the three files of an image.
#[derive(Debug)]
pub(crate) enum Medium {
    /// A file of the browser's private file system, held alone.
    #[cfg(opfs)]
    Opfs(SyncFile),
    /// A file of another storage, for tests: it may fail and lose what was not synced.
    #[cfg(feature = "simulation")]
    File(crate::File),
}

#[cfg(feature = "simulation")]
fn now<T: Unpin>(completion: crate::Completion<T>) -> io::Result<T> {
    trine_platform::block_on(completion).map_err(|error| error.source)
}

#[cfg(feature = "simulation")]
const MODE: crate::Mode = crate::Mode::Blocking;

impl Medium {
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            #[cfg(opfs)]
            Self::Opfs(file) => file.len(),
            #[cfg(feature = "simulation")]
            Self::File(file) => now(file.len(MODE)),
        }
    }

    /// Fills `bytes`; `UnexpectedEof` where the file ends before.
    pub(crate) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            #[cfg(opfs)]
            Self::Opfs(file) => file.read_at(bytes, offset),
            #[cfg(feature = "simulation")]
            Self::File(file) => {
                bytes.copy_from_slice(&now(file.read_at(MODE, offset, bytes.len()))?);
                Ok(())
            }
        }
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            #[cfg(opfs)]
            Self::Opfs(file) => file.write_at(bytes, offset),
            #[cfg(feature = "simulation")]
            Self::File(file) => now(file.write_at(MODE, offset, bytes.to_vec())).map(drop),
        }
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        match self {
            #[cfg(opfs)]
            Self::Opfs(file) => file.set_len(length),
            #[cfg(feature = "simulation")]
            Self::File(file) => now(file.set_len(MODE, length)),
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            #[cfg(opfs)]
            Self::Opfs(file) => file.sync(),
            #[cfg(feature = "simulation")]
            Self::File(file) => now(file.sync_all(MODE)),
        }
    }
}
