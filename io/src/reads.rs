//! How a file of the host is read: from memory at once, else where the mode says.
//!
//! - In [`Mode::Cooperative`] a read first takes what is in memory, on the caller's thread: that costs less
//!   than any hand-over, and where it misses, the disk has begun by the time another thread takes over.
//! - Only what is not in memory goes elsewhere: to the ring, if there is one, else to the offload threads. The
//!   buffer goes along.
//! - In [`Mode::Blocking`] the calling thread waits for the disk itself. Who wants several pieces asks for all of
//!   them first: then the disk works on them together.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use trine_platform::{clock, event, page_cache, target};

use crate::driver::PendingRead;
use crate::error::Attempt;
use crate::portable::{PortableFile, end};
use crate::{Completion, Mode, Operation, Warmth};

/// Longer reads are compared with the file's length before memory is taken for them, so that a length
/// from damaged bytes fails instead of exhausting memory.
const UNCHECKED_READ_BYTES_MAX: usize = 1 << 20;

/// The most that is copied on a thread that polls: some tens of microseconds.
const PROBE_BYTES_MAX: usize = 256 << 10;

/// The most that a thread keeps for bytes that are read to be in memory, not to be looked at.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// What is known of bytes that were not seen in memory before they were read.
const NOT_SEEN: Warmth = if page_cache::TELLS {
    Warmth::Fetched
} else {
    Warmth::Unknown
};

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on `length` bytes of no meaning.
fn with_scratch<T>(length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    if length > SCRATCH_BYTES_MAX {
        return work(&mut vec![0; length]);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            scratch.resize(length, 0);
        }
        work(scratch.get_mut(..length).unwrap_or_default())
    })
}

impl PortableFile {
    /// Fails for a range that the file cannot have, before memory is taken for it.
    fn check_range(&self, offset: u64, length: usize) -> io::Result<()> {
        let end = end(offset, length).ok_or(ErrorKind::UnexpectedEof)?;
        if length > UNCHECKED_READ_BYTES_MAX && end > self.file.metadata()?.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    pub(crate) fn read_at(
        self: &Arc<Self>,
        mode: Mode,
        offset: u64,
        length: usize,
    ) -> Completion<Vec<u8>> {
        if length == 0 {
            return self.run(Mode::Blocking, Operation::Read, Some(offset), |_| {
                Ok(Vec::new())
            });
        }
        if !self.probes(mode, length) {
            return self.run(mode, Operation::Read, Some(offset), move |file| {
                file.check_range(offset, length)?;
                let mut bytes = vec![0; length];
                target::read_exact_at(&file.file, &mut bytes, offset)?;
                Ok(bytes)
            });
        }
        let mut bytes = vec![0; length];
        match self.probe(&mut bytes, offset) {
            Ok(cached) if cached == length => Completion::ready(Ok(bytes)),
            Ok(cached) => self.read_elsewhere(offset, bytes, cached, |bytes| bytes),
            Err(error) => Completion::ready(Err(self.attempt(offset).failed(error))),
        }
    }

    pub(crate) fn read_once_at(
        self: &Arc<Self>,
        mode: Mode,
        offset: u64,
        length: usize,
    ) -> Completion<Vec<u8>> {
        self.run(mode, Operation::Read, Some(offset), move |file| {
            file.check_range(offset, length)?;
            let mut bytes = vec![0; length];
            page_cache::read_once_at(&file.file, &mut bytes, offset)?;
            Ok(bytes)
        })
    }

    pub(crate) fn warm(
        self: &Arc<Self>,
        mode: Mode,
        offset: u64,
        length: usize,
    ) -> Completion<Warmth> {
        if self.probes(mode, length) {
            return match with_scratch(length, |scratch| self.probe(scratch, offset)) {
                Ok(cached) if cached == length => Completion::ready(Ok(Warmth::Resident)),
                Ok(cached) => self.read_elsewhere(offset, vec![0; length], cached, |_| NOT_SEEN),
                Err(error) => Completion::ready(Err(self.attempt(offset).failed(error))),
            };
        }
        self.run(mode, Operation::Read, Some(offset), move |file| {
            file.check_range(offset, length)?;
            with_scratch(length, |scratch| {
                if page_cache::read_cached_at(&file.file, scratch, offset)? == length {
                    return Ok(Warmth::Resident);
                }
                target::read_exact_at(&file.file, scratch, offset)?;
                Ok(NOT_SEEN)
            })
        })
    }

    pub(crate) fn will_need(&self, offset: u64, length: usize) -> bool {
        page_cache::will_need(&self.file, offset, length as u64)
    }

    /// Fills the rest of `bytes`, of which `filled` are there, on another thread.
    fn read_elsewhere<T: Send + 'static>(
        self: &Arc<Self>,
        offset: u64,
        mut bytes: Vec<u8>,
        filled: usize,
        answer: impl FnOnce(Vec<u8>) -> T + Send + 'static,
    ) -> Completion<T> {
        let Some(driver) = self.host.driver() else {
            return self.run(
                Mode::Cooperative,
                Operation::Read,
                Some(offset),
                move |file| {
                    let rest = bytes.get_mut(filled..).unwrap_or_default();
                    target::read_exact_at(&file.file, rest, offset.saturating_add(filled as u64))?;
                    Ok(answer(bytes))
                },
            );
        };
        let (setter, event) = event::channel();
        let attempt = self.attempt(offset);
        let if_lost = attempt.clone();
        let (metrics, start) = (Arc::clone(&self.host.metrics), clock::now());
        driver.submit(PendingRead {
            file: Arc::clone(self),
            offset,
            bytes,
            filled,
            report: Box::new(move |read| {
                metrics.driven(Operation::Read, start);
                setter.set(read.map(answer).map_err(|error| attempt.failed(error)));
            }),
        });
        Completion::pending(event, move || if_lost.lost())
    }

    /// Whether to look on this thread before another is asked.
    fn probes(&self, mode: Mode, length: usize) -> bool {
        mode == Mode::Cooperative
            && length <= PROBE_BYTES_MAX
            && self.host.offload.operations.is_usable_here()
    }

    /// What is in memory; counted as a read only if that is all of it.
    fn probe(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check_range(offset, bytes.len())?;
        let cached = page_cache::read_cached_at(&self.file, bytes, offset)?;
        if cached == bytes.len() {
            self.host.metrics.count(Operation::Read);
        }
        Ok(cached)
    }

    fn attempt(&self, offset: u64) -> Attempt {
        Attempt {
            operation: Operation::Read,
            name: Arc::clone(&self.name),
            offset: Some(offset),
        }
    }
}
