//! Files for segments, made ready before the log needs them: off the commit path, by one job at a time.
//!
//! A file that is ready has its name, its directory entry is on disk, and all of it reads as blank: it is empty, or
//! it has the space for its bytes, so that writing them needs none. If it was [filled](Space::Filled), its bytes
//! exist on disk, so that writing over them needs no change of metadata, either.

use trine_io::{File, Mode, Storage, WritableMap};

use crate::error::Result;
use crate::record::{LIVES, SECTOR_BYTES};
use crate::wal::segment_name;

/// How much is written at once to fill a file: a page, as the page cache keeps for good the unit in which a file was
/// first written, and a synced commit pays for the size of the unit that it touches.
const PIECE_BYTES: u64 = 4 << 10;

/// How much is filled before the disk is asked to begin with it.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// What a segment's file gets ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Its blocks, where the host can reserve them; else it is filled. The first sync of each block is slower.
    Reserved,
    /// Zeros, written and synced: for a log whose commits are synced.
    Filled,
}

/// A segment's file that was not written to yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) file: File,
    pub(super) number: u64,
    /// Bytes below have their space; none for a file that grows as it is written.
    pub(super) bytes: u64,
    pub(super) space: Space,
    pub(super) map: Option<WritableMap>,
    /// The first number that the file had.
    pub(super) born: u64,
}

/// A segment that nobody needs any more, and whose file can serve again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) number: u64,
    pub(super) born: u64,
    pub(crate) bytes: u64,
    pub(super) space: Space,
}

impl Retired {
    /// Whether the file may become segment `number`, with `bytes` of `space`: the marks of all its lives differ.
    pub(crate) fn can_become(&self, number: u64, bytes: u64, space: Space) -> bool {
        let has_space = self.bytes >= bytes && (self.space == Space::Filled || space == self.space);
        has_space && number.saturating_sub(self.born) < LIVES
    }
}

impl Prepared {
    /// Creates the file of segment `number`, `bytes` long. When it fails, nothing is left behind (if the removal
    /// works, too).
    ///
    /// # Errors
    /// `Io`; `AlreadyExists` among them if a file has the name, and the lack of space.
    pub(crate) async fn create(
        storage: &Storage,
        number: u64,
        bytes: u64,
        space: Space,
        mode: Mode,
    ) -> Result<Self> {
        let name = segment_name(number);
        let file = storage.create(mode, &name).await?;
        match furnish(storage, &file, bytes, space, mode).await {
            Ok(space) => Ok(Self {
                map: map(&file, bytes, mode).await,
                file,
                number,
                bytes,
                space,
                born: number,
            }),
            Err(error) => {
                // The failure that is reported is the one that led here.
                drop(storage.remove(mode, &name).await);
                Err(error.into())
            }
        }
    }

    /// Makes segment `number` of a retired one's file, whose old header goes first.
    ///
    /// # Errors
    /// `Io`: what is left is debris, below the log's floor or above its last segment.
    pub(crate) async fn recycle(
        storage: &Storage,
        retired: Retired,
        number: u64,
        mode: Mode,
    ) -> Result<Self> {
        let (old, name) = (segment_name(retired.number), segment_name(number));
        let file = storage.open_write(mode, &old).await?;
        file.write_at(mode, 0, vec![0; SECTOR_BYTES]).await?;
        if file.len(mode).await? > retired.bytes {
            // It had grown beyond what was prepared.
            file.set_len(mode, retired.bytes).await?;
        }
        file.sync_data(mode).await?;
        storage.rename(mode, &old, &name).await?;
        storage.sync_directory(mode).await?;
        Ok(Self {
            map: map(&file, retired.bytes, mode).await,
            file,
            number,
            bytes: retired.bytes,
            space: retired.space,
            born: retired.born,
        })
    }

    /// Gives back the space of a file that will not be used.
    pub(crate) async fn empty(mut self, mode: Mode) {
        // A mapped file is never cut.
        self.map = None;
        // It stays blank if this fails.
        drop(self.file.set_len(mode, 0).await);
    }
}

/// Gives the file its space; says what it is.
async fn furnish(
    storage: &Storage,
    file: &File,
    bytes: u64,
    space: Space,
    mode: Mode,
) -> trine_io::Result<Space> {
    let mut had = Space::Filled;
    if bytes > 0 {
        if space == Space::Reserved && file.reserve(mode, bytes).await? {
            had = Space::Reserved;
        } else {
            fill(file, bytes, mode).await?;
        }
        file.sync_all(mode).await?;
    }
    storage.sync_directory(mode).await?;
    Ok(had)
}

async fn fill(file: &File, bytes: u64, mode: Mode) -> trine_io::Result<()> {
    let mut begun = 0;
    let mut at = 0;
    let mut piece = Vec::new();
    while at < bytes {
        let length = PIECE_BYTES.min(bytes - at);
        piece.resize(usize::try_from(length).unwrap_or_default(), 0);
        piece = file.write_at(mode, at, piece).await?;
        at += length;
        if at - begun >= WRITEBACK_BYTES {
            file.start_writeback(begun, at - begun);
            begun = at;
        }
    }
    Ok(())
}

/// A map to write through. Without one, the file is written by calls.
async fn map(file: &File, bytes: u64, mode: Mode) -> Option<WritableMap> {
    if bytes == 0 {
        return None;
    }
    file.map_writable(mode, bytes).await.ok().flatten()
}
