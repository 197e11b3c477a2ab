//! Maps to write a log through: a store reaches the operating system without a call.
//!
//! What a [`WritableMap`] rests on:
//!
//! 1. All its bytes had been written or had their space reserved when it was made, and the file system writes over in
//!    place: a store needs no space, so it cannot fail for want of it (which would kill the process by SIGBUS).
//! 2. The file is not cut while the map lives: the caller of `File::map_writable` vouches for this process, the
//!    directory's lock for others of ours.
//! 3. Nothing borrows the bytes: there are no references into the map, only stores by pointer within its length. The
//!    host may write a page to the disk at any time, with any part of a store in it.
//! 4. The word's place is aligned to its size, and only stored to by this module.
#![cfg_attr(
    all(target_pointer_width = "64", unix),
    expect(
        unsafe_code,
        reason = "stores into a mapped file; see the contract above"
    )
)]

use std::fs::File;
use std::io::{self, ErrorKind};

#[cfg(feature = "simulation")]
use crate::simulation::SimulatedMap;

/// A file's bytes, to be stored to. One owner at a time.
///
/// When the process ends, the file holds every store up to some moment in program order, and none after it.
#[derive(Debug)]
pub struct WritableMap(pub(crate) Kind);

#[derive(Debug)]
pub(crate) enum Kind {
    Host(host::Map),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedMap),
}

impl WritableMap {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Host(map) => map.bytes(),
            #[cfg(feature = "simulation")]
            Kind::Simulated(map) => map.bytes(),
        }
    }

    /// Stores `bytes` at `offset`, in no particular order.
    ///
    /// # Panics
    /// If they do not lie within the map.
    pub fn store(&mut self, offset: usize, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Host(map) => map.store(offset, bytes),
            #[cfg(feature = "simulation")]
            Kind::Simulated(map) => map.store(offset, bytes),
        }
    }

    /// Stores `word` at `offset`, a multiple of four, at once, after every earlier store and before every later one.
    ///
    /// # Panics
    /// If it does not lie within the map, or not at a multiple of four.
    pub fn store_word(&mut self, offset: usize, word: [u8; 4]) {
        assert!(offset.is_multiple_of(4), "a word out of place");
        match &mut self.0 {
            Kind::Host(map) => map.store_word(offset, word),
            #[cfg(feature = "simulation")]
            Kind::Simulated(map) => map.store(offset, &word),
        }
    }
}

/// Maps all of a file; `None` where a store could fail.
pub(crate) fn map(file: &File, length: u64) -> io::Result<Option<WritableMap>> {
    if !trine_platform::target::overwrites_in_place(file) {
        return Ok(None);
    }
    if file.metadata()?.len() != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    match usize::try_from(length) {
        Ok(length) if length > 0 => {
            let map = host::map_exactly(file, length);
            Ok(map.map(|map| WritableMap(Kind::Host(map))))
        }
        _ => Ok(None),
    }
}

#[cfg(all(target_pointer_width = "64", unix))]
mod host {
    use std::fs::File;
    use std::sync::atomic::{AtomicU32, Ordering::Release, fence};

    use memmap2::{MmapOptions, MmapRaw};

    /// A mapping of the host.
    #[derive(Debug)]
    pub(crate) struct Map(MmapRaw);

    pub(super) fn map_exactly(file: &File, length: usize) -> Option<Map> {
        MmapOptions::new().len(length).map_raw(file).ok().map(Map)
    }

    impl Map {
        pub(super) fn bytes(&self) -> usize {
            self.0.len()
        }

        /// The place of `length` bytes at `offset`, which must be there.
        fn place(&self, offset: usize, length: usize) -> *mut u8 {
            let end = offset.checked_add(length);
            assert!(
                end.is_some_and(|end| end <= self.0.len()),
                "a store beyond the map"
            );
            self.0.as_mut_ptr().wrapping_add(offset)
        }

        pub(super) fn store(&mut self, offset: usize, bytes: &[u8]) {
            let place = self.place(offset, bytes.len());
            // SAFETY: `place` has as many bytes (checked), which exist and stay (1, 2) and which nothing
            // borrows (3), so they overlap with no slice.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        }

        pub(super) fn store_word(&mut self, offset: usize, word: [u8; 4]) {
            let place = self.place(offset, 4).cast();
            // SAFETY: within the map (checked), aligned since maps start at a page (4), borrowed by nothing (3).
            let place = unsafe { AtomicU32::from_ptr(place) };
            place.store(u32::from_ne_bytes(word), Release);
            fence(Release);
        }
    }
}

#[cfg(not(all(target_pointer_width = "64", unix)))]
mod host {
    use std::fs::File;

    /// There are none here.
    #[derive(Debug)]
    pub(crate) enum Map {}

    pub(super) fn map_exactly(_file: &File, _length: usize) -> Option<Map> {
        None
    }

    impl Map {
        pub(super) fn bytes(&self) -> usize {
            match *self {}
        }

        pub(super) fn store(&mut self, _offset: usize, _bytes: &[u8]) {
            match *self {}
        }

        pub(super) fn store_word(&mut self, _offset: usize, _word: [u8; 4]) {
            match *self {}
        }
    }
}

#[cfg(all(test, target_pointer_width = "64", target_os = "linux"))]
mod tests {
    use crate::{Mode, Storage};
    use trine_platform::block_on;

    const MODE: Mode = Mode::Blocking;

    #[test]
    fn stores_and_writes_are_of_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::portable(directory.path());
        let file = block_on(storage.create(MODE, "log")).unwrap();
        block_on(file.write_at(MODE, 0, vec![0; 8192])).unwrap();
        let Some(mut map) = block_on(file.map_writable(MODE, 8192)).unwrap() else {
            // A file system that may copy on write.
            return;
        };
        assert_eq!(map.bytes(), 8192);
        map.store(4090, b"across pages");
        map.store_word(8, *b"word");
        block_on(file.write_at(MODE, 4094, b"SS".to_vec())).unwrap();
        let read = block_on(file.read_at(MODE, 4090, 12)).unwrap();
        assert_eq!(read, b"acroSS pages");
        assert_eq!(block_on(file.read_at(MODE, 8, 4)).unwrap(), b"word");
        drop(map);
        block_on(file.sync_data(MODE)).unwrap();
        assert!(block_on(file.map_writable(MODE, 8191)).is_err());
    }

    #[test]
    #[should_panic(expected = "beyond the map")]
    fn a_store_beyond_the_map_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::portable(directory.path());
        let file = block_on(storage.create(MODE, "log")).unwrap();
        block_on(file.write_at(MODE, 0, vec![0; 4096])).unwrap();
        match block_on(file.map_writable(MODE, 4096)).unwrap() {
            Some(mut map) => map.store(4095, b"ab"),
            None => panic!("beyond the map: there is none"),
        }
    }
}
