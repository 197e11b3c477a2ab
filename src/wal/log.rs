//! The writing end of the log: the current segment, and the one left before it until it is on disk.
//!
//! One owner at a time, as of a [`SegmentWriter`]. Going over to the next segment takes neither a sync nor a
//! file operation but the write of a header: whoever prepares segments syncs the one that was left.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use trine_io::Mode;

use crate::blob::GrowingFile;
use crate::error::{Error, Result};
use crate::sequence::Sequence;
use crate::wal::file::SegmentFile;
use crate::wal::prepare::{Prepared, Retired, Space};
use crate::wal::writer::{SegmentWriter, Start};

/// A segment that is written in full, and was not known to be on disk when it was left.
#[derive(Debug)]
pub(crate) struct LeftSegment {
    file: Arc<SegmentFile>,
    bytes: u64,
    is_synced: AtomicBool,
}

impl LeftSegment {
    /// Makes it survive power loss.
    ///
    /// # Errors
    /// `Io`, from whoever tried it, and for ever after: a sync is never retried.
    pub(crate) async fn sync(&self, mode: Mode) -> trine_io::Result<()> {
        if !self.is_synced.load(Acquire) {
            self.file.sync(mode).await?;
            self.is_synced.store(true, Release);
        }
        Ok(())
    }
}

/// How far the log has come: bytes of a segment below are with the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    pub(crate) segment: u64,
    pub(crate) bytes: u64,
}

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    current: SegmentWriter,
    left: Option<Arc<LeftSegment>>,
    /// A commit was synced: others will be.
    syncs: bool,
}

impl LogWriter {
    /// Goes on in `current`, before which everything is on disk.
    pub(crate) fn new(current: SegmentWriter) -> Self {
        Self {
            current,
            left: None,
            syncs: false,
        }
    }

    /// What the files of later segments should get ahead.
    pub(crate) fn space_ahead(&self) -> Space {
        if self.syncs {
            Space::Filled
        } else {
            Space::Reserved
        }
    }

    /// Whether the log had better go over to a segment that was [filled](Space::Filled): commits are synced, and this
    /// one was made ready when none was.
    pub(crate) fn is_slow(&self) -> bool {
        self.syncs && self.current.is_reserved()
    }

    /// As [`SegmentFile::note_values`], of the commits that are pushed next.
    pub(crate) fn note_values(&self, values: &Arc<GrowingFile>) {
        self.current.file().note_values(values);
    }

    /// As [`SegmentWriter::push_commit`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn push_commit(&mut self, sequence: Sequence, batch: &[u8]) -> Result<()> {
        self.note_left()?;
        self.current.push_commit(sequence, batch)
    }

    /// What is staged never happened.
    pub(crate) fn forget_staged(&mut self) {
        self.current.forget_staged();
    }

    /// As [`SegmentWriter::store`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn store(&mut self) -> Result<bool> {
        self.current.store()
    }

    /// As [`SegmentWriter::write`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn write(&mut self, durably: bool, mode: Mode) -> Result<()> {
        if !durably && self.store()? {
            return Ok(());
        }
        self.syncs |= durably;
        // Boxed: a commit that needs no call of the host carries none of this in its future.
        Box::pin(async {
            if durably {
                self.settle(mode).await?;
            }
            self.current.write(durably, mode).await
        })
        .await
    }

    /// Makes all that was written survive power loss.
    ///
    /// # Errors
    /// `Io`, and the writer is poisoned: a sync is never retried.
    pub(crate) async fn sync(&mut self, mode: Mode) -> Result<()> {
        self.settle(mode).await?;
        self.current.sync(mode).await
    }

    /// Makes the segment that was left survive power loss, before anything later may.
    async fn settle(&mut self, mode: Mode) -> Result<()> {
        self.current.check()?;
        if let Some(left) = &self.left {
            match left.sync(mode).await {
                Ok(()) => return self.note_left(),
                Err(error) => return self.current.fail(error),
            }
        }
        Ok(())
    }

    /// Takes note of what became of the segment that was left, which somebody else may have synced.
    fn note_left(&mut self) -> Result<()> {
        let Some(left) = &self.left else {
            return Ok(());
        };
        if left.is_synced.load(Acquire) {
            self.left = None;
            self.current.note_settled();
            return Ok(());
        }
        match left.file.check() {
            Some(Err(error)) => self.current.fail(error),
            // Or somebody syncs it now.
            Some(Ok(())) | None => Ok(()),
        }
    }

    /// Goes over to `next`, whose first commit will be `first_sequence`. Gives back what became of the segment that it
    /// leaves: what is left to sync, and what can be made of its file when nobody needs it any more.
    ///
    /// # Errors
    /// `Io`, with `next`, which can be tried again: the log goes on where it was. So it does, without an error, while
    /// the segment before the current one is not on disk.
    pub(crate) async fn go_over(
        &mut self,
        next: Prepared,
        first_sequence: Sequence,
        mode: Mode,
    ) -> std::result::Result<(Option<Arc<LeftSegment>>, Retired), (Box<Prepared>, Option<Error>)>
    {
        if let Err(error) = self.note_left() {
            return Err((Box::new(next), Some(error)));
        }
        if self.left.is_some() {
            return Err((Box::new(next), None));
        }
        let settled = self.current.is_synced();
        let start = Start {
            first_sequence,
            previous: self.current.number(),
            settled,
        };
        let started = SegmentWriter::start(next, start, mode).await;
        let next = started.map_err(|(next, error)| (next, Some(error)))?;
        let bytes = self.current.unsynced_bytes();
        let (file, retired) = std::mem::replace(&mut self.current, next).leave();
        if !settled {
            self.left = Some(Arc::new(LeftSegment {
                file,
                bytes,
                is_synced: AtomicBool::new(false),
            }));
        }
        Ok((self.left.clone(), retired))
    }

    /// Takes note of a sync by somebody else, which began after the log had come that far.
    ///
    /// # Errors
    /// The first failure, if there was one.
    pub(crate) fn note_synced(&mut self, reached: Reached) -> Result<()> {
        self.current.check()?;
        if reached.segment == self.current.number() {
            self.current.note_synced(reached.bytes);
        }
        self.note_left()
    }

    /// Nothing is written any more: gives back unused space.
    pub(crate) async fn finish(&mut self, mode: Mode) {
        self.current.finish(mode).await;
    }

    /// Fails if nothing can be written any more.
    pub(crate) fn check(&self) -> Result<()> {
        self.current.check()
    }

    /// Bytes of records accepted and not known to survive power loss.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.current.unsynced_bytes() + self.left.as_ref().map_or(0, |left| left.bytes)
    }

    /// The current segment's file.
    pub(crate) fn file(&self) -> &Arc<SegmentFile> {
        self.current.file()
    }

    /// The current segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.current.number()
    }

    /// Bytes of the current segment below are with the operating system.
    pub(crate) fn written(&self) -> u64 {
        self.current.written()
    }

    /// The current segment's length.
    pub(crate) fn bytes(&self) -> u64 {
        self.current.bytes()
    }

    /// How much of the current segment can be written before its file grows.
    pub(crate) fn prepared(&self) -> u64 {
        self.current.prepared()
    }

    /// Whether the current segment holds anything.
    pub(crate) fn has_commits(&self) -> bool {
        self.current.has_commits()
    }
}
