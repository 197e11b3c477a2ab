//! Memory in large pages, for what is read at random all over.
//!
//! A page of 2 MiB takes one entry of the processor's address cache where 512 small ones would each take their own.
//! What the host gives beyond that is its own business: a region is plain memory, zeroed, wherever it lies.

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
mod host {
    use memmap2::{Advice, MmapMut};

    /// Memory of this process, taken from the host at first use, page by page.
    #[derive(Debug)]
    pub struct Region(MmapMut);

    impl Region {
        /// `bytes` of zeroed memory; `None` if there is none, or the host has no large pages.
        #[must_use]
        pub fn new(bytes: usize) -> Option<Self> {
            let map = MmapMut::map_anon(bytes).ok()?;
            map.advise(Advice::HugePage).ok()?;
            Some(Self(map))
        }

        /// All of it.
        pub fn bytes_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(miri))))]
mod host {
    /// There are none here.
    #[derive(Debug)]
    pub enum Region {}

    impl Region {
        /// `None`.
        #[must_use]
        pub fn new(_bytes: usize) -> Option<Self> {
            None
        }

        /// All of it.
        pub fn bytes_mut(&mut self) -> &mut [u8] {
            match *self {}
        }
    }
}

pub use host::Region;
