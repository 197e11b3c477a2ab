//! Read-only maps of sealed files. The only place of this crate with unsafe code.
//!
//! The host gives no safe contract for mapping a file: its bytes are the page cache, which anyone who
//! may write the file can change. What a [`Map`] rests on:
//!
//! 1. The file is sealed: the caller of `File::map` vouches that this process never writes or cuts it again.
//! 2. No other process does: the directory's lock keeps other writers of ours out, and whoever else edits a
//!    database's files breaks it with or without a map. (Cutting a mapped file kills the process by SIGBUS when
//!    the missing part is touched; so does a medium error under the map.)
//! 3. The map covers the file's exact length, checked right before: no page lies beyond the end.
//! 4. The map is private to this module's `Map`, read-only, and unmapped when its last owner goes. Removing or
//!    renaming the file leaves the pages valid.
//!
//! The map is advised for random access: point reads fault single pages, and read-ahead around each would
//! read a thousand times what is asked. Sequential readers use `File::read_at`.
#![cfg_attr(
    all(target_pointer_width = "64", any(unix, windows)),
    expect(
        unsafe_code,
        reason = "no safe way to map a file exists; see the contract above"
    )
)]

use std::fs::File;
use std::io::{self, ErrorKind};

pub(crate) use host::{AVAILABLE, Map};

/// Maps all of a sealed file; `None` if it is empty, or nothing can be mapped here.
pub(crate) fn map(file: &File, length: u64) -> io::Result<Option<Map>> {
    if file.metadata()?.len() != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    match usize::try_from(length) {
        Ok(length) if length > 0 => Ok(host::map_exactly(file, length)),
        _ => Ok(None),
    }
}

#[cfg(all(target_pointer_width = "64", any(unix, windows)))]
mod host {
    use std::fs::File;
    use std::ops::Deref;

    use memmap2::{Mmap, MmapOptions};

    /// Files can be mapped here.
    pub(crate) const AVAILABLE: bool = true;

    /// A mapped file.
    pub(crate) struct Map(Mmap);

    /// `length` is the file's, just asked; `None` if its file system maps nothing.
    pub(super) fn map_exactly(file: &File, length: usize) -> Option<Map> {
        // SAFETY: the file is sealed against us (1) and others (2); `length` is its length, checked by
        // the only caller (3); the map is read-only and stays inside `Map` (4).
        let mapped = unsafe { MmapOptions::new().len(length).map(file) }.ok()?;
        // A host that refuses the advice serves the same bytes, slower.
        #[cfg(unix)]
        let _ = mapped.advise(memmap2::Advice::Random);
        Some(Map(mapped))
    }

    impl Deref for Map {
        type Target = [u8];

        #[inline]
        fn deref(&self) -> &[u8] {
            &self.0
        }
    }
}

#[cfg(not(all(target_pointer_width = "64", any(unix, windows))))]
mod host {
    use std::fs::File;
    use std::ops::Deref;

    /// Nothing can be mapped here: no such call, or too few addresses.
    pub(crate) const AVAILABLE: bool = false;

    /// There are none.
    pub(crate) enum Map {}

    /// Always `None`.
    pub(super) fn map_exactly(_file: &File, _length: usize) -> Option<Map> {
        None
    }

    impl Deref for Map {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            match *self {}
        }
    }
}
