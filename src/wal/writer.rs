//! Appends to one segment. One owner at a time: the leader of a commit group, or the log thread.
//!
//! - Staging is pure; one `write` hands all that is staged to the operating system.
//! - A failed or abandoned write or sync poisons the writer: every later call fails the same way.

use trine_io::{File, Mode, Storage};

use crate::error::{Error, Fault, Result};
use crate::record::{
    FILE_HEADER_BYTES, FileHeader, LogKind, MAX_RECORD_BYTES, Poison, RecordWriter, Salt,
};
use crate::sequence::Sequence;
use crate::wal::{COMMIT, MAX_SEGMENT_BYTES, SYNC_MARK, segment_name};

/// A staging buffer above this is given back to the allocator after its write.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// The writing end of a segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: File,
    number: u64,
    /// Where the next staged byte goes.
    records: RecordWriter,
    staged: Vec<u8>,
    /// Bytes below are with the operating system.
    written: u64,
    /// Bytes below are on disk.
    synced: u64,
    /// The last sync mark that was staged says that bytes below are on disk.
    marked: u64,
    poison: Poison,
}

impl SegmentWriter {
    /// Creates segment `number`, whose first commit will be `first_sequence`. When it returns, file,
    /// header and directory entry are on disk; when it fails, nothing is left behind (if the removal
    /// works, too). The segment before must be synced in full before this one is written to.
    ///
    /// # Errors
    /// `Io`; `AlreadyExists` among them if a file has the name.
    pub(crate) async fn create(
        storage: &Storage,
        number: u64,
        first_sequence: Sequence,
        mode: Mode,
    ) -> Result<Self> {
        let name = segment_name(number);
        let file = storage.create(mode, &name).await?;
        let header = FileHeader {
            kind: LogKind::Wal,
            number,
            first_sequence,
        };
        if let Err(error) = write_header(storage, &file, &header, mode).await {
            // The failure that is reported is the one that led here.
            drop(storage.remove(mode, &name).await);
            return Err(error.into());
        }
        let start = FILE_HEADER_BYTES as u64;
        Ok(Self {
            file,
            number,
            records: RecordWriter::new(Salt::new(LogKind::Wal, number), start),
            staged: Vec::new(),
            written: start,
            synced: start,
            marked: start,
            poison: Poison::default(),
        })
    }

    /// Stages one commit; after a sync, first the mark that tells of it.
    ///
    /// # Errors
    /// `InvalidOptions` if the commit is too long, with nothing staged; the first failure if poisoned.
    pub(crate) fn push_commit(&mut self, sequence: Sequence, batch: &[u8]) -> Result<()> {
        self.poison.check()?;
        // Marks at sector starts, headers and the sync mark add well below a hundredth.
        let bytes = batch.len() as u64;
        if self.bytes() + bytes + bytes / 100 + 4096 > MAX_SEGMENT_BYTES {
            return Err(Error::invalid_options("WAL segment is full"));
        }
        let before = (self.records.clone(), self.staged.len());
        let staged = self.stage(sequence, batch);
        if staged.is_err() {
            self.records = before.0;
            self.staged.truncate(before.1);
        } else {
            self.marked = self.synced;
        }
        staged.map_err(|_| {
            Error::invalid_options(format!(
                "a commit of {bytes} bytes exceeds the limit of {MAX_RECORD_BYTES}"
            ))
        })
    }

    fn stage(&mut self, sequence: Sequence, batch: &[u8]) -> std::result::Result<(), Fault> {
        if self.synced > self.marked {
            let through = self.synced.to_le_bytes();
            self.records
                .append(&mut self.staged, &[&[SYNC_MARK], &through])?;
        }
        let sequence = sequence.get().to_le_bytes();
        self.records
            .append(&mut self.staged, &[&[COMMIT], &sequence, batch])
    }

    /// Hands all that is staged to the operating system, in one write.
    ///
    /// # Errors
    /// `Io`, and the writer is poisoned: how much of it reached the file is unknown.
    pub(crate) async fn write(&mut self, mode: Mode) -> Result<()> {
        self.poison.check()?;
        if self.staged.is_empty() {
            return Ok(());
        }
        let staged = std::mem::take(&mut self.staged);
        self.poison.arm();
        let result = self.file.write_at(mode, self.written, staged).await;
        let mut buffer = self.poison.settle(result)?;
        self.written = self.records.offset();
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            buffer.clear();
            self.staged = buffer;
        }
        Ok(())
    }

    /// Makes all that was written survive power loss; with `all`, the file's metadata, too.
    ///
    /// # Errors
    /// `Io`, and the writer is poisoned: a sync is never retried.
    pub(crate) async fn sync(&mut self, all: bool, mode: Mode) -> Result<()> {
        self.poison.check()?;
        if self.synced == self.written && !all {
            return Ok(());
        }
        self.poison.arm();
        let result = if all {
            self.file.sync_all(mode).await
        } else {
            self.file.sync_data(mode).await
        };
        self.poison.settle(result)?;
        self.synced = self.written;
        Ok(())
    }

    /// The segment's length, what is staged included.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.offset()
    }

    /// Whether anything was written behind the header.
    pub(crate) fn has_commits(&self) -> bool {
        self.bytes() > FILE_HEADER_BYTES as u64
    }

    /// Bytes accepted and not yet synced, what is staged included.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.records.offset() - self.synced
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

async fn write_header(
    storage: &Storage,
    file: &File,
    header: &FileHeader,
    mode: Mode,
) -> trine_io::Result<()> {
    file.write_at(mode, 0, header.encode()).await?;
    file.sync_all(mode).await?;
    storage.sync_directory(mode).await
}

#[cfg(test)]
mod tests {
    use trine_platform::block_on;

    use super::*;
    use crate::record::{Next, RecordReader};

    const MODE: Mode = Mode::Blocking;

    fn kinds(storage: &Storage, number: u64) -> Vec<u8> {
        let name = segment_name(number);
        let file = block_on(storage.read_file(MODE, &name, u64::MAX)).unwrap();
        let salt = Salt::new(LogKind::Wal, number);
        let mut reader = RecordReader::new(&file, salt, FILE_HEADER_BYTES, |_, _| 0);
        let mut kinds = Vec::new();
        while let Next::Record { payload, .. } = reader.next().unwrap() {
            kinds.push(payload[0]);
        }
        kinds
    }

    #[test]
    fn what_is_staged_reaches_the_file_in_one_write() {
        let storage = Storage::memory();
        let mut segment =
            block_on(SegmentWriter::create(&storage, 3, Sequence::new(1), MODE)).unwrap();
        assert_eq!((segment.number(), segment.bytes()), (3, 64));
        segment.push_commit(Sequence::new(1), b"a").unwrap();
        segment.push_commit(Sequence::new(2), b"b").unwrap();
        assert_eq!(kinds(&storage, 3), []);
        block_on(segment.write(MODE)).unwrap();
        assert_eq!(kinds(&storage, 3), [COMMIT, COMMIT]);
        assert_eq!(segment.unsynced_bytes(), segment.bytes() - 64);
        block_on(segment.sync(false, MODE)).unwrap();
        assert_eq!(segment.unsynced_bytes(), 0);
    }

    #[test]
    fn the_first_commit_after_a_sync_is_preceded_by_a_mark() {
        let storage = Storage::memory();
        let mut segment =
            block_on(SegmentWriter::create(&storage, 3, Sequence::new(1), MODE)).unwrap();
        for sequence in 1..=4 {
            segment.push_commit(Sequence::new(sequence), b"x").unwrap();
            block_on(segment.write(MODE)).unwrap();
            if sequence == 2 {
                block_on(segment.sync(true, MODE)).unwrap();
            }
        }
        assert_eq!(
            kinds(&storage, 3),
            [COMMIT, COMMIT, SYNC_MARK, COMMIT, COMMIT]
        );
    }

    #[test]
    fn a_failed_write_poisons_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::portable(directory.path());
        let mut segment =
            block_on(SegmentWriter::create(&storage, 1, Sequence::new(1), MODE)).unwrap();
        // A file that was opened for reading refuses the write.
        segment.file = block_on(storage.open(MODE, &segment_name(1))).unwrap();
        segment.push_commit(Sequence::new(1), b"a").unwrap();
        let kind = |result: Result<()>| match result {
            Err(Error::Io(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        let first = kind(block_on(segment.write(MODE)));
        assert_eq!(kind(segment.push_commit(Sequence::new(2), b"b")), first);
        assert_eq!(kind(block_on(segment.write(MODE))), first);
        assert_eq!(kind(block_on(segment.sync(true, MODE))), first);
    }

    #[test]
    fn an_existing_file_is_never_taken_over() {
        let storage = Storage::memory();
        let first = SegmentWriter::create(&storage, 1, Sequence::new(1), MODE);
        drop(block_on(first).unwrap());
        let second = SegmentWriter::create(&storage, 1, Sequence::new(1), MODE);
        assert!(block_on(second).is_err());
        assert_eq!(block_on(storage.list(MODE)).unwrap(), [segment_name(1)]);
    }
}
