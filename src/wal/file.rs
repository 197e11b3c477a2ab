//! A segment's file and its syncs, whoever asks for them: the leader, a flush beside it, or who prepares the next segment.
//!
//! - Syncs are made one at a time. After one that failed, or was abandoned before its result was known, none succeeds:
//!   the operating system may tell one caller alone what it lost, and the next sync then succeeds without it
//!   (Rebello et al., ATC 2020).
//! - Large values that its commits refer to are synced before it is: what is known to be on disk, its values are, too.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_io::{Completion, File, Mode, Operation};
use trine_platform::baton::Baton;

use crate::blob::GrowingFile;

/// A segment's file, shared by all who may sync it.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: File,
    /// Held while it is synced; whether that failed once.
    failed: Baton<bool>,
    /// What its commits refer to, and may not be on disk. Guarded for a push or a take.
    values: Mutex<Vec<Arc<GrowingFile>>>,
}

impl SegmentFile {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            failed: Baton::new(false),
            values: Mutex::default(),
        }
    }

    fn values(&self) -> MutexGuard<'_, Vec<Arc<GrowingFile>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commits that are written next refer to values in this file, which were handed to the operating system.
    pub(super) fn note_values(&self, file: &Arc<GrowingFile>) {
        let mut values = self.values();
        if !values.iter().any(|noted| Arc::ptr_eq(noted, file)) {
            values.push(Arc::clone(file));
        }
    }

    /// Makes all that was written survive power loss.
    ///
    /// # Errors
    /// `Io`, from whoever tried it, and for ever after.
    pub(crate) async fn sync(&self, mode: Mode) -> trine_io::Result<()> {
        self.alone(mode, |file| file.sync_data(mode)).await
    }

    /// Makes a sync, or a durable write, while nobody else makes one.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub(super) async fn alone<T: Unpin>(
        &self,
        mode: Mode,
        sync: impl FnOnce(&File) -> Completion<T>,
    ) -> trine_io::Result<T> {
        let mut failed = self.failed.take().await;
        if *failed {
            return Err(self.earlier());
        }
        *failed = true;
        // Taken before they are synced: what is written to them meanwhile is noted again.
        let values = std::mem::take(&mut *self.values());
        for values in values {
            values.sync(mode).await?;
        }
        let result = sync(&self.file).await;
        *failed = result.is_err();
        result
    }

    /// Fails if a sync did; nobody knows yet while one is under way.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn check(&self) -> Option<trine_io::Result<()>> {
        let failed = self.failed.try_take()?;
        Some(if *failed { Err(self.earlier()) } else { Ok(()) })
    }

    fn earlier(&self) -> trine_io::Error {
        trine_io::Error {
            operation: Operation::SyncData,
            name: self.file.name().to_owned(),
            offset: None,
            source: std::io::Error::other("an earlier sync of it failed"),
        }
    }
}

impl Deref for SegmentFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use trine_io::simulation::Failure;
    use trine_platform::block_on;

    use super::*;
    use crate::testing::{fail_next, simulated};

    const MODE: Mode = Mode::Cooperative;

    #[test]
    fn after_a_sync_that_failed_none_succeeds() {
        let (simulation, storage) = simulated();
        let file = SegmentFile::new(block_on(storage.create(MODE, "segment")).unwrap());
        assert!(block_on(file.sync(MODE)).is_ok());
        fail_next(&simulation, 1, Failure::Io);
        assert!(block_on(file.sync(MODE)).is_err());
        assert!(block_on(file.sync(MODE)).is_err());
        assert!(
            block_on(file.alone(MODE, |file| file.write_durably_at(MODE, 0, vec![1]))).is_err()
        );
        assert!(file.check().unwrap().is_err());
    }

    #[test]
    fn a_sync_waits_for_the_one_under_way_and_fails_if_that_is_abandoned() {
        let (simulation, storage) = simulated();
        let file = SegmentFile::new(block_on(storage.create(MODE, "segment")).unwrap());
        simulation.defer();
        let context = &mut Context::from_waker(Waker::noop());
        let mut second = pin!(file.sync(MODE));
        {
            let mut first = pin!(file.sync(MODE));
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            assert!(file.check().is_none());
        }
        assert!(block_on(second).is_err());
    }
}
