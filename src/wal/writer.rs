//! Appends to one segment. One owner at a time: the leader of a commit group, or the log thread.
//!
//! - Staging is pure; one `write` hands all that is staged to the operating system: by a store into the
//!   segment's map where there is one and it is little, else by a call.
//! - A write that fails is taken back: what it may have left is cut off, durably, and the writer goes on. Where that
//!   fails, or a sync, or where an operation was abandoned, the writer is poisoned: every later call fails the same way.
//!
//! A process that dies in the middle of a store leaves the records of that write torn: the first one's seal is
//! stored last of all, and a sector's mark after what follows it in the sector (`crate::record`).

use std::sync::Arc;

use trine_io::{Mode, WritableMap};

use crate::error::{Error, Fault, Result};
use crate::record::{
    FILE_HEADER_BYTES, FileHeader, LogKind, MARK_BYTES, MAX_RECORD_BYTES, Poison, RecordWriter,
    SECTOR_BYTES, Salt,
};
use crate::sequence::Sequence;
use crate::wal::file::SegmentFile;
use crate::wal::prepare::{Prepared, Retired, Space};
use crate::wal::{COMMIT, MAX_SEGMENT_BYTES, SYNC_MARK};

/// A staging buffer above this is given back to the allocator after its write.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// What is longer is written by a call though there is a map: the first store into each page is a fault, of which a
/// call makes none, and so many cost more than it.
const STORED_BYTES_MAX: usize = 4 << 10;

/// The writing end of a segment.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Arc<SegmentFile>,
    map: Option<WritableMap>,
    number: u64,
    /// Bytes below have their space in the file.
    prepared: u64,
    /// What it got ahead.
    space: Space,
    born: u64,
    /// Where the next staged byte goes.
    records: RecordWriter,
    staged: Vec<u8>,
    /// Where the first staged record's seal goes.
    seal_at: u64,
    /// Bytes below, from the last record on, are zeros: there is nothing to fill.
    blank_to: u64,
    /// Bytes below are with the operating system.
    written: u64,
    /// Bytes below are on disk.
    synced: u64,
    /// The last sync mark that was staged says that bytes below are on disk.
    marked: u64,
    /// Every earlier segment is on disk in full; and the header or a sync mark says so.
    settled: bool,
    settled_marked: bool,
    poison: Poison,
}

/// Where in the log a segment starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// The next commit's sequence.
    pub(crate) first_sequence: Sequence,
    /// The segment that holds the last record before it; zero if there is none.
    pub(crate) previous: u64,
    /// Everything before is on disk.
    pub(crate) settled: bool,
}

impl SegmentWriter {
    /// Writes the header of a segment. When it fails, the file can be used for another try.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) async fn start(
        prepared: Prepared,
        start: Start,
        mode: Mode,
    ) -> std::result::Result<Self, (Box<Prepared>, Error)> {
        let header = FileHeader {
            kind: LogKind::Wal,
            number: prepared.number,
            first_sequence: start.first_sequence,
            previous: start.previous,
            settled: start.settled,
        };
        // A call even where there is a map: a process that dies leaves it whole or not at all.
        if let Err(error) = prepared.file.write_at(mode, 0, header.encode()).await {
            return Err((Box::new(prepared), error.into()));
        }
        let at = FILE_HEADER_BYTES as u64;
        Ok(Self {
            file: Arc::new(SegmentFile::new(prepared.file)),
            map: prepared.map,
            number: prepared.number,
            prepared: prepared.bytes,
            space: prepared.space,
            born: prepared.born,
            records: RecordWriter::new(Salt::new(LogKind::Wal, prepared.number), at),
            staged: Vec::new(),
            seal_at: 0,
            blank_to: if prepared.born == prepared.number {
                prepared.bytes
            } else {
                SECTOR_BYTES as u64
            },
            written: at,
            synced: 0,
            marked: 0,
            settled: start.settled,
            settled_marked: start.settled,
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
        } else if self.settled {
            self.marked = self.synced;
            self.settled_marked = true;
        }
        staged.map_err(|_| {
            Error::invalid_options(format!(
                "a commit of {bytes} bytes exceeds the limit of {MAX_RECORD_BYTES}"
            ))
        })
    }

    fn stage(&mut self, sequence: Sequence, batch: &[u8]) -> std::result::Result<(), Fault> {
        if self.settled && (self.synced > self.marked || !self.settled_marked) {
            let through = self.synced.to_le_bytes();
            self.append(&[&[SYNC_MARK], &through])?;
        }
        let sequence = sequence.get().to_le_bytes();
        self.append(&[&[COMMIT], &sequence, batch])
    }

    fn append(&mut self, parts: &[&[u8]]) -> std::result::Result<(), Fault> {
        let is_first = self.staged.is_empty();
        let seal_at = self.records.append(&mut self.staged, parts)?;
        if is_first {
            self.seal_at = seal_at;
        }
        Ok(())
    }

    /// Hands all that is staged to the operating system; with `durably`, all that was written so far survives power
    /// loss, too.
    ///
    /// # Errors
    /// `Io`. Nothing of what was staged is in the log, unless the writer [is poisoned](Self::check): then
    /// how much of it is there is unknown.
    pub(crate) async fn write(&mut self, durably: bool, mode: Mode) -> Result<()> {
        self.poison.check()?;
        if durably && self.fits() && !self.staged.is_empty() && self.synced == self.written {
            self.pad();
            self.write_durably(mode).await?;
        } else if !self.store()? {
            if self.fits() {
                self.pad();
            }
            self.write_plainly(mode).await?;
        }
        if durably {
            self.sync(mode).await?;
        }
        Ok(())
    }

    /// Hands over what is staged by stores into the map, if there is one with room for it, and it is not too much; says
    /// whether that was so.
    pub(crate) fn store(&mut self) -> Result<bool> {
        self.poison.check()?;
        if self.staged.is_empty() {
            return Ok(true);
        }
        if self.map.is_none() || !self.fits() || self.staged.len() > STORED_BYTES_MAX {
            return Ok(false);
        }
        self.pad();
        let unmarked = self.unmarked();
        if let Some(map) = &mut self.map {
            store_in_order(
                self.written,
                &mut self.staged,
                self.seal_at,
                unmarked,
                |at, store| match store {
                    Store::Bytes(bytes) => map.store(at, bytes),
                    Store::Word(word) => map.store_word(at, word),
                },
            );
        }
        self.staged.clear();
        self.written = self.records.offset();
        Ok(true)
    }

    /// The mark of another number: a sector that starts with it is blank.
    fn unmarked(&self) -> [u8; MARK_BYTES] {
        Salt::new(LogKind::Wal, self.number.wrapping_sub(1)).mark()
    }

    /// Whether what is staged ends within the bytes that exist on disk.
    fn fits(&self) -> bool {
        self.records.offset() <= self.prepared
    }

    /// Fills the last sector: what an earlier life left in it must not follow this one's records.
    fn pad(&mut self) {
        let end = self.records.offset();
        if end > self.blank_to {
            let padding = padding(end);
            self.staged.resize(self.staged.len() + padding, 0);
            self.blank_to = end + padding as u64;
        }
    }

    async fn write_durably(&mut self, mode: Mode) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        self.poison.arm();
        let at = self.written;
        let write = self
            .file
            .alone(mode, |file| file.write_durably_at(mode, at, staged));
        let result = write.await;
        let buffer = self.poison.settle(result)?;
        self.keep(buffer);
        self.written = self.records.offset();
        self.synced = self.written;
        Ok(())
    }

    async fn write_plainly(&mut self, mode: Mode) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        self.poison.arm();
        match self.file.write_at(mode, self.written, staged).await {
            Ok(buffer) => {
                self.poison.settle(Ok(()))?;
                self.keep(buffer);
                self.written = self.records.offset();
                Ok(())
            }
            Err(failed) => self.take_back(failed, mode).await,
        }
    }

    /// Cuts off what a failed write may have left. Durably: the bytes that come in its place belong to other
    /// commits, and after a power loss the sectors of both must not mix.
    async fn take_back(&mut self, failed: trine_io::Error, mode: Mode) -> Result<()> {
        // A mapped file is never cut.
        self.map = None;
        self.prepared = 0;
        let cut = match self.file.set_len(mode, self.written).await {
            Ok(()) => self.file.sync(mode).await,
            Err(error) => Err(error),
        };
        if cut.is_err() {
            return self.poison.settle(Err(failed));
        }
        self.poison.settle(Ok(()))?;
        self.synced = self.written;
        self.forget_staged();
        Err(failed.into())
    }

    /// What is staged never happened.
    pub(super) fn forget_staged(&mut self) {
        self.staged.clear();
        self.records = RecordWriter::new(Salt::new(LogKind::Wal, self.number), self.written);
        // A mark may have been among it.
        self.marked = 0;
        self.settled_marked = false;
    }

    fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BUFFER_BYTES {
            buffer.clear();
            self.staged = buffer;
        }
    }

    /// Makes all that was written survive power loss. All metadata that reading it back takes is part of that, so
    /// there is no stronger form.
    ///
    /// # Errors
    /// `Io`, and the writer is poisoned: a sync is never retried.
    pub(crate) async fn sync(&mut self, mode: Mode) -> Result<()> {
        self.poison.check()?;
        if self.synced == self.written {
            return Ok(());
        }
        self.poison.arm();
        let result = self.file.sync(mode).await;
        self.poison.settle(result)?;
        self.synced = self.written;
        Ok(())
    }

    /// Bytes below are on disk.
    pub(super) fn note_synced(&mut self, bytes: u64) {
        self.synced = self.synced.max(bytes.min(self.written));
    }

    /// Every earlier segment is on disk in full.
    pub(super) fn note_settled(&mut self) {
        self.settled = true;
    }

    /// Fails for ever, as after a failed sync of its own.
    pub(super) fn fail(&mut self, error: trine_io::Error) -> Result<()> {
        self.poison.settle(Err(error))
    }

    /// Fails if the writer is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        self.poison.check()
    }

    /// Nothing is written any more; gives back the space that was not used. It stays blank if that fails.
    pub(super) async fn finish(&mut self, mode: Mode) {
        // A mapped file is never cut.
        self.map = None;
        if self.prepared > self.written && self.poison.check().is_ok() {
            self.prepared = 0;
            drop(self.file.set_len(mode, self.written).await);
        }
    }

    /// The file, for a last sync, and what can be made of it afterwards.
    pub(super) fn leave(self) -> (Arc<SegmentFile>, Retired) {
        let retired = Retired {
            number: self.number,
            born: self.born,
            bytes: self.prepared,
            // What did not fit left a rest.
            space: if self.written >= self.prepared - self.prepared / 8 {
                Space::Filled
            } else {
                self.space
            },
        };
        (self.file, retired)
    }

    /// Whether all that was written is on disk.
    pub(super) fn is_synced(&self) -> bool {
        self.synced == self.written
    }

    /// Bytes below are with the operating system.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether its space was reserved only: the first sync of each block is slower.
    pub(super) fn is_reserved(&self) -> bool {
        self.space == Space::Reserved
    }

    /// How much can be written before the file grows.
    pub(super) fn prepared(&self) -> u64 {
        self.prepared
    }

    /// The segment's length, what is staged included.
    pub(crate) fn bytes(&self) -> u64 {
        self.records.offset()
    }

    /// Whether anything was written behind the header.
    pub(crate) fn has_commits(&self) -> bool {
        self.bytes() > FILE_HEADER_BYTES as u64
    }

    /// Bytes of records accepted and not yet synced, what is staged included.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.records.offset() - self.synced.max(FILE_HEADER_BYTES as u64)
    }

    /// The segment's file.
    pub(super) fn file(&self) -> &Arc<SegmentFile> {
        &self.file
    }

    /// The segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// How far from `offset` to the end of its sector.
fn padding(offset: u64) -> usize {
    const SECTOR: u64 = SECTOR_BYTES as u64;
    usize::try_from(offset.next_multiple_of(SECTOR) - offset).unwrap_or_default()
}

/// One store into a map.
enum Store<'a> {
    Bytes(&'a [u8]),
    /// At once, after all before it and before all after it.
    Word([u8; 4]),
}

/// Puts `bytes` at `at`, in an order in which a process may die anywhere: a sector's mark after the rest of the
/// sector, and the seal at `seal_at` after everything. Before the rest comes `unmarked`: in a new file there are zeros,
/// and a sector that starts with zeros and goes on is damage.
fn store_in_order(
    at: u64,
    bytes: &mut [u8],
    seal_at: u64,
    unmarked: [u8; MARK_BYTES],
    mut put: impl FnMut(usize, Store<'_>),
) {
    // Within a map, whose length is a `usize`.
    let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let (mut at, seal_at) = (index(at), index(seal_at));
    let seal = bytes
        .get_mut(seal_at - at..)
        .and_then(<[u8]>::first_chunk_mut)
        .map(std::mem::take::<[u8; 4]>);
    let mut rest = &*bytes;
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(rest.len().min(SECTOR_BYTES - at % SECTOR_BYTES));
        match piece.split_first_chunk::<MARK_BYTES>() {
            Some((mark, behind)) if at.is_multiple_of(SECTOR_BYTES) => {
                put(at, Store::Word(unmarked));
                put(at + MARK_BYTES, Store::Bytes(behind));
                put(at, Store::Word(*mark));
            }
            _ => put(at, Store::Bytes(piece)),
        }
        at += piece.len();
        rest = more;
    }
    if let Some(seal) = seal {
        put(seal_at, Store::Word(seal));
    }
}

#[cfg(test)]
mod tests {
    use trine_platform::block_on;

    use super::*;
    use crate::record::{Next, RecordReader};
    use crate::wal::{Space, segment_name};
    use trine_io::Storage;

    const MODE: Mode = Mode::Blocking;

    fn create(storage: &Storage, number: u64) -> SegmentWriter {
        let prepared = block_on(Prepared::create(storage, number, 0, Space::Filled, MODE)).unwrap();
        start(prepared)
    }

    fn start(prepared: Prepared) -> SegmentWriter {
        let at = Start {
            first_sequence: Sequence::new(1),
            previous: 0,
            settled: true,
        };
        block_on(SegmentWriter::start(prepared, at, MODE)).unwrap()
    }

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
        let mut segment = create(&storage, 3);
        assert_eq!((segment.number(), segment.bytes()), (3, 64));
        segment.push_commit(Sequence::new(1), b"a").unwrap();
        segment.push_commit(Sequence::new(2), b"b").unwrap();
        assert_eq!(kinds(&storage, 3), []);
        block_on(segment.write(false, MODE)).unwrap();
        assert_eq!(kinds(&storage, 3), [COMMIT, COMMIT]);
        assert_eq!(segment.unsynced_bytes(), segment.bytes() - 64);
        block_on(segment.sync(MODE)).unwrap();
        assert_eq!(segment.unsynced_bytes(), 0);
    }

    #[test]
    fn the_first_commit_after_a_sync_is_preceded_by_a_mark() {
        let storage = Storage::memory();
        let mut segment = create(&storage, 3);
        for sequence in 1..=4 {
            segment.push_commit(Sequence::new(sequence), b"x").unwrap();
            block_on(segment.write(false, MODE)).unwrap();
            if sequence == 2 {
                block_on(segment.sync(MODE)).unwrap();
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
        let mut segment = create(&storage, 1);
        // A file that was opened for reading refuses the write.
        let read_only = block_on(storage.open(MODE, &segment_name(1))).unwrap();
        segment.file = Arc::new(SegmentFile::new(read_only));
        segment.push_commit(Sequence::new(1), b"a").unwrap();
        let kind = |result: Result<()>| match result {
            Err(Error::Io(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        let first = kind(block_on(segment.write(false, MODE)));
        assert_eq!(kind(segment.push_commit(Sequence::new(2), b"b")), first);
        assert_eq!(kind(block_on(segment.write(false, MODE))), first);
        assert_eq!(kind(block_on(segment.sync(MODE))), first);
    }

    #[test]
    fn an_existing_file_is_never_taken_over() {
        let storage = Storage::memory();
        drop(create(&storage, 1));
        let second = Prepared::create(&storage, 1, 0, Space::Filled, MODE);
        assert!(block_on(second).is_err());
        assert_eq!(block_on(storage.list(MODE)).unwrap(), [segment_name(1)]);
    }

    /// The records of `image` that read, by their batches.
    fn batches(image: &[u8], number: u64) -> Vec<Vec<u8>> {
        let salt = Salt::new(LogKind::Wal, number);
        let mut reader = RecordReader::new(image, salt, FILE_HEADER_BYTES, |_, _| 0);
        let mut batches = Vec::new();
        while let Next::Record { payload, .. } = reader.next().unwrap() {
            batches.push(payload[9..].to_vec());
        }
        batches
    }

    #[test]
    fn a_process_may_die_in_any_store_and_leaves_whole_groups_only() {
        let storage = Storage::memory();
        let mut old = create(&storage, 1);
        for sequence in 0..30 {
            old.push_commit(Sequence::new(sequence), &[0xee; 180])
                .unwrap();
        }
        block_on(old.write(false, MODE)).unwrap();
        let mut image = block_on(storage.read_file(MODE, &segment_name(1), u64::MAX)).unwrap();
        image.truncate(image.len() / SECTOR_BYTES * SECTOR_BYTES);
        image[..SECTOR_BYTES].fill(0);
        let new = vec![0; image.len()];
        for image in [image, new] {
            die_in_every_store(image);
        }
    }

    /// Over a file that was another segment before, or a new one.
    fn die_in_every_store(mut image: Vec<u8>) {
        // Groups of commits of these lengths.
        let groups: [&[usize]; 7] = [
            &[5],
            &[300, 40],
            &[700],
            &[1, 1, 1],
            &[1500, 3],
            &[470],
            &[90],
        ];
        let mut writer = create(&Storage::memory(), 2);
        let mut written = Vec::new();
        for group in groups {
            for length in group {
                written.push(vec![7; *length]);
                writer
                    .push_commit(Sequence::new(1), &vec![7; *length])
                    .unwrap();
            }
            let end = writer.records.offset();
            writer.staged.resize(writer.staged.len() + padding(end), 0);
            let words = 3 * (SECTOR_BYTES + writer.staged.len()) / SECTOR_BYTES;
            let whole = writer.staged.len() + words * 4;
            let before = written.len() - group.len();
            for died_after in 0..=whole {
                let mut left = died_after;
                let mut bytes = writer.staged.clone();
                let mut torn = image.clone();
                store_in_order(
                    writer.written,
                    &mut bytes,
                    writer.seal_at,
                    writer.unmarked(),
                    |at, store| {
                        let stored = match &store {
                            Store::Bytes(bytes) => &bytes[..bytes.len().min(left)],
                            Store::Word(word) if left >= 4 => &word[..],
                            Store::Word(_) => {
                                left = 0;
                                &[]
                            }
                        };
                        torn[at..at + stored.len()].copy_from_slice(stored);
                        left -= stored.len();
                    },
                );
                let found = batches(&torn, 2);
                let count = if died_after == whole {
                    written.len()
                } else {
                    before
                };
                assert!(
                    found.len() == before || found.len() == written.len(),
                    "{died_after}"
                );
                assert!(
                    found.len() >= count && found == written[..found.len()],
                    "{died_after}"
                );
                if died_after == whole {
                    image = torn;
                }
            }
            writer.staged.clear();
            writer.written = end;
        }
    }
}
