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

pub(crate) use host::{AVAILABLE, Map, map};

#[cfg(all(target_pointer_width = "64", any(unix, windows)))]
mod host {
    use std::fs::File;
    use std::io::{self, ErrorKind};
    use std::ops::Deref;

    use memmap2::{Mmap, MmapOptions};

    /// Files can be mapped here.
    pub(crate) const AVAILABLE: bool = true;

    /// A mapped file.
    pub(crate) struct Map(Mmap);

    /// Maps all of a sealed file; `None` if it is empty or its file system maps nothing.
    pub(crate) fn map(file: &File, length: u64) -> io::Result<Option<Map>> {
        if file.metadata()?.len() != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Ok(bytes) = usize::try_from(length) else {
            return Ok(None);
        };
        if bytes == 0 {
            return Ok(None);
        }
        // SAFETY: the file is sealed against us (1) and others (2); `bytes` is its length, checked above (3);
        // the map is read-only and stays inside `Map` (4).
        let mapped = unsafe { MmapOptions::new().len(bytes).map(file) };
        let Ok(mapped) = mapped else {
            return Ok(None);
        };
        // A host that refuses the advice serves the same bytes, slower.
        #[cfg(unix)]
        let _ = mapped.advise(memmap2::Advice::Random);
        Ok(Some(Map(mapped)))
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
    use std::io;
    use std::ops::Deref;

    /// Nothing can be mapped here: no such call, or too few addresses.
    pub(crate) const AVAILABLE: bool = false;

    /// There are none.
    pub(crate) enum Map {}

    /// Always `None`.
    pub(crate) fn map(_file: &File, _length: u64) -> io::Result<Option<Map>> {
        Ok(None)
    }

    impl Deref for Map {
        type Target = [u8];

        fn deref(&self) -> &[u8] {
            match *self {}
        }
    }
}
