//! The manifest on disk: a log of version edits that starts with a snapshot, and `CURRENT`, which names it.
//!
//! - An edit counts once [`Manifest::append`] returns; until then the state is the one before.
//! - Each record is synced before the next is written, so a bad record with a valid one after it is
//!   corruption, and only the last may be torn.
//! - A manifest is complete and synced, with its directory entry, before `CURRENT` names it;
//!   the one before is removed only after `CURRENT` is durable. A crash between any two steps leaves
//!   one of the two in charge, with the same state, and debris that no other file refers to.

use std::io::ErrorKind;
use std::sync::Arc;

use trine_io::{File, Mode, Storage};

use crate::checksum::crc32c;
use crate::error::{Error, Fault, Result};
use crate::file_name::{CURRENT, FileName, FileNumbers, UNFINISHED_CURRENT, manifest_name};
use crate::manifest::{ManifestState, VersionEdit};
use crate::record::{
    FILE_HEADER_BYTES, FileHeader, LogKind, Next, Poison, RecordReader, RecordWriter, Salt,
    log_error,
};
use crate::sequence::Sequence;

/// The longest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 4 << 30;
/// The longest `CURRENT` that is read.
const MAX_CURRENT_BYTES: u64 = 64;
/// A manifest up to this size is never rolled over.
const ROLL_OVER_BYTES: u64 = if cfg!(test) { 4 << 10 } else { 1 << 20 };
/// A manifest is rolled over when it has grown to so many times its snapshot: each snapshot's cost
/// is spread over at least three times its size in edits.
const ROLL_OVER_FACTOR: u64 = 4;

/// Whether the manifest may be appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    Write,
}

/// The open manifest. One owner at a time.
#[derive(Debug)]
pub(crate) struct Manifest {
    storage: Storage,
    access: Access,
    file: File,
    number: u64,
    numbers: Arc<FileNumbers>,
    state: ManifestState,
    records: RecordWriter,
    /// Rolled over at this length.
    roll_over_at: u64,
    /// The last record, if nothing that was read proves that it is on disk.
    unproven: Vec<u8>,
    poison: Poison,
}

/// What `CURRENT` holds: the manifest's name, a newline, the CRC-32C of both in hexadecimal, a newline.
fn current_content(number: u64) -> Vec<u8> {
    let line = format!("{}\n", manifest_name(number));
    let crc = crc32c(&[line.as_bytes()]);
    format!("{line}{crc:08x}\n").into_bytes()
}

/// The number of the manifest that `CURRENT` names.
fn parse_current(content: &[u8]) -> std::result::Result<u64, Fault> {
    let line = content.split(|&byte| byte == b'\n').next();
    match line
        .and_then(|line| std::str::from_utf8(line).ok())
        .map(FileName::parse)
    {
        Some(FileName::Manifest(number)) if current_content(number) == content => Ok(number),
        _ => Err(Fault::Field("content")),
    }
}

/// Creates a file, in place of one that a crash left behind under a name that nothing refers to.
async fn create_fresh(storage: &Storage, name: &str, mode: Mode) -> trine_io::Result<File> {
    match storage.create(mode, name).await {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            storage.remove(mode, name).await?;
            storage.create(mode, name).await
        }
        created => created,
    }
}

/// Creates `name` with `content`, synced; removes it again if that fails.
async fn write_file(
    storage: &Storage,
    name: &str,
    content: Vec<u8>,
    mode: Mode,
) -> trine_io::Result<File> {
    let file = create_fresh(storage, name, mode).await?;
    let written = match file.write_at(mode, 0, content).await {
        Ok(_) => file.sync_all(mode).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => Ok(file),
        Err(error) => {
            // The failure that is reported is the one that led here.
            drop(storage.remove(mode, name).await);
            Err(error)
        }
    }
}

fn roll_over_at(snapshot_bytes: u64) -> u64 {
    ROLL_OVER_BYTES.max(snapshot_bytes.saturating_mul(ROLL_OVER_FACTOR))
}

impl Manifest {
    /// Starts a database's first manifest, with `state` in it, and makes it the current one.
    ///
    /// # Errors
    /// `Io`. If it fails before `CURRENT` is switched, nothing is left behind.
    pub(crate) async fn create(
        storage: &Storage,
        numbers: Arc<FileNumbers>,
        state: ManifestState,
        mode: Mode,
    ) -> Result<Self> {
        let mut manifest = Self::prepare(storage, numbers, state, mode).await?;
        manifest.publish(mode).await?;
        Ok(manifest)
    }

    /// The current manifest and its state; `None` if there is no `CURRENT`. Nothing is changed, and
    /// nothing can be appended before [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// `Corruption` naming file and offset, `UnsupportedFormat` for a later format version, `Io`.
    pub(crate) async fn load(storage: &Storage, mode: Mode) -> Result<Option<Self>> {
        let mut previous = None;
        loop {
            let Some(number) = read_current(storage, mode).await? else {
                return Ok(None);
            };
            let name = manifest_name(number);
            let bytes = match storage.read_file(mode, &name, MAX_MANIFEST_BYTES).await {
                Ok(bytes) => bytes,
                // A writer beside a read-only open may just have moved on to another manifest.
                Err(error)
                    if error.source.kind() == ErrorKind::NotFound && previous != Some(number) =>
                {
                    previous = Some(number);
                    continue;
                }
                Err(error) => {
                    return Err(match error.source.kind() {
                        ErrorKind::NotFound => Error::Corruption {
                            message: format!("{name}, which CURRENT names, is missing"),
                        },
                        ErrorKind::InvalidData => Error::Corruption {
                            message: error.to_string(),
                        },
                        _ => error.into(),
                    });
                }
            };
            return Self::read(storage, number, &bytes, mode).await.map(Some);
        }
    }

    /// Whether a writer has given up log segments since this was loaded.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) async fn log_has_moved_on(&self, mode: Mode) -> Result<bool> {
        let is_current = read_current(&self.storage, mode).await? == Some(self.number);
        if is_current && self.file.len(mode).await? == self.records.offset() {
            return Ok(false);
        }
        let floor = |state: &ManifestState| state.log_segments().map(|segments| *segments.start());
        let now = Self::load(&self.storage, mode).await?;
        Ok(now.is_none_or(|now| floor(&now.state) != floor(&self.state)))
    }

    /// Whether it was written to since it was loaded.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) async fn has_moved_on(&self, mode: Mode) -> Result<bool> {
        let place = |manifest: &Self| (manifest.number, manifest.records.offset());
        let now = Self::load(&self.storage, mode).await?;
        Ok(now.is_none_or(|now| place(&now) != place(self)))
    }

    /// Makes `edit` durable, then applies it. Rolls over to a new manifest when this one is long.
    ///
    /// # Errors
    /// `Corruption` if the edit does not fit the state: nothing happened. `ReadOnly`. `Io`: nothing happened either, if
    /// the write failed, for want of space perhaps, and could be taken back. Else no later edit is accepted
    /// ([`check`](Self::check)): whether this one is on disk shows at the next open.
    ///
    /// # Cancellation
    /// Dropping the future poisons the manifest like a failure, unless it had not started to write.
    pub(crate) async fn append(&mut self, edit: &VersionEdit, mode: Mode) -> Result<()> {
        if self.access == Access::ReadOnly {
            return Err(Error::ReadOnly);
        }
        self.poison.check()?;
        let at = self.records.offset();
        let refused = |fault: Fault| log_error(fault.at(&manifest_name(self.number), at));
        let mut records = self.records.clone();
        let mut bytes = Vec::new();
        records
            .append(&mut bytes, &[&edit.encode()])
            .map_err(refused)?;
        let attempt = self.state.attempt(edit).map_err(refused)?;
        self.poison.arm();
        let result = match self.file.write_at(mode, at, bytes).await {
            Ok(_) => self.file.sync_data(mode).await,
            Err(failed) => {
                drop(attempt);
                return self.take_back(failed, mode).await;
            }
        };
        self.poison.settle(result)?;
        attempt.keep();
        self.records = records;
        if self.records.offset() >= self.roll_over_at {
            self.roll_over(mode).await;
        }
        Ok(())
    }

    /// Cuts off what a failed write may have left, durably: the edit that comes in its place is another one.
    async fn take_back(&mut self, failed: trine_io::Error, mode: Mode) -> Result<()> {
        let cut = match self.file.set_len(mode, self.records.offset()).await {
            Ok(()) => self.file.sync_data(mode).await,
            Err(error) => Err(error),
        };
        if cut.is_err() {
            return self.poison.settle(Err(failed));
        }
        self.poison.settle(Ok(()))?;
        Err(failed.into())
    }

    /// Takes no edit any more: somebody else may own the directory from now on.
    pub(crate) fn retire(&mut self) {
        self.access = Access::ReadOnly;
    }

    /// Fails if no edit can be appended any more.
    pub(crate) fn check(&self) -> Result<()> {
        self.poison.check()
    }

    /// What all edits amount to.
    pub(crate) fn state(&self) -> &ManifestState {
        &self.state
    }

    /// The number of the current manifest's file.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The counter that every new file's number comes from.
    pub(crate) fn numbers(&self) -> &Arc<FileNumbers> {
        &self.numbers
    }

    /// Writes a new manifest with `state` in it, complete and synced, that nothing names yet.
    async fn prepare(
        storage: &Storage,
        numbers: Arc<FileNumbers>,
        mut state: ManifestState,
        mode: Mode,
    ) -> Result<Self> {
        let number = numbers.take();
        let name = manifest_name(number);
        state.reserve_files(numbers.bound());
        let header = FileHeader {
            kind: LogKind::Manifest,
            number,
            first_sequence: Sequence::ZERO,
            previous: 0,
            settled: false,
        };
        let mut bytes = header.encode();
        let mut records = RecordWriter::new(
            Salt::new(LogKind::Manifest, number),
            FILE_HEADER_BYTES as u64,
        );
        records
            .append(&mut bytes, &[&state.snapshot().encode()])
            .map_err(|fault| log_error(fault.at(&name, FILE_HEADER_BYTES as u64)))?;
        let file = write_file(storage, &name, bytes, mode).await?;
        if let Err(error) = storage.sync_directory(mode).await {
            drop(storage.remove(mode, &name).await);
            return Err(error.into());
        }
        Ok(Self {
            storage: storage.clone(),
            access: Access::Write,
            unproven: Vec::new(),
            file,
            number,
            numbers,
            state,
            roll_over_at: roll_over_at(records.offset()),
            records,
            poison: Poison::default(),
        })
    }

    /// Makes this manifest the current one. If it fails before the rename, this manifest is removed
    /// and the old one stays in charge; after that nobody knows which is, and this one is poisoned.
    async fn publish(&mut self, mode: Mode) -> Result<()> {
        let content = current_content(self.number);
        let storage = &self.storage;
        if let Err(error) = write_file(storage, UNFINISHED_CURRENT, content, mode).await {
            drop(storage.remove(mode, &manifest_name(self.number)).await);
            return Err(error.into());
        }
        self.poison.arm();
        let result = match storage.rename(mode, UNFINISHED_CURRENT, CURRENT).await {
            Ok(()) => storage.sync_directory(mode).await,
            Err(error) => Err(error),
        };
        self.poison.settle(result)
    }

    /// Replaces this manifest by a new one with a snapshot. The state is durable either way, so no
    /// failure is one of the edit's; but when nobody knows which manifest is current, no further
    /// edit may go to either.
    async fn roll_over(&mut self, mode: Mode) {
        let prepared = Self::prepare(
            &self.storage,
            self.numbers.clone(),
            self.state.clone(),
            mode,
        )
        .await;
        let Ok(mut next) = prepared else {
            // Out of space, perhaps. This manifest works; try again when it has grown as much again.
            self.roll_over_at = self.roll_over_at.saturating_mul(2);
            return;
        };
        // Should this future be dropped while the switch is under way, neither may be written to.
        self.poison.arm();
        let published = next.publish(mode).await;
        if published.is_err() && next.poison.check().is_ok() {
            self.poison = Poison::default();
            self.roll_over_at = self.roll_over_at.saturating_mul(2);
            return;
        }
        let old = std::mem::replace(self, next);
        if published.is_ok() {
            // Left behind, it is debris that the next open sweeps.
            drop(self.storage.remove(mode, &manifest_name(old.number)).await);
        }
    }

    async fn read(storage: &Storage, number: u64, bytes: &[u8], mode: Mode) -> Result<Self> {
        let name = manifest_name(number);
        let fail = |at: u64, fault: Fault| log_error(fault.at(&name, at));
        FileHeader::decode(LogKind::Manifest, number, bytes).map_err(|fault| fail(0, fault))?;
        let salt = Salt::new(LogKind::Manifest, number);
        let mut reader = RecordReader::new(bytes, salt, FILE_HEADER_BYTES, |offset, _| offset);
        let mut state = ManifestState::default();
        let mut snapshot_bytes = None;
        let mut last_edit = FILE_HEADER_BYTES as u64..FILE_HEADER_BYTES as u64;
        while let Next::Record { offset, payload } =
            reader.next().map_err(|(at, fault)| fail(at, fault))?
        {
            VersionEdit::decode(payload)
                .and_then(|edit| state.replay(edit))
                .map_err(|fault| fail(offset, fault))?;
            last_edit = last_edit.end..reader.offset();
            if snapshot_bytes.is_none() {
                // It was synced before anything named this file, as every edit before the next one.
                snapshot_bytes = Some(reader.offset());
                last_edit.start = reader.offset();
            }
        }
        let length = reader.offset();
        let Some(snapshot_bytes) = snapshot_bytes else {
            return Err(fail(length, Fault::Field("snapshot: it is missing")));
        };
        let unproven = usize::try_from(last_edit.start)
            .ok()
            .zip(usize::try_from(last_edit.end).ok())
            .and_then(|(start, end)| bytes.get(start..end))
            .unwrap_or_default();
        let file = storage.open(mode, &name).await?;
        let numbers = FileNumbers::starting_at(state.next_file().max(number.saturating_add(1)));
        Ok(Self {
            storage: storage.clone(),
            access: Access::ReadOnly,
            file,
            number,
            numbers: Arc::new(numbers),
            state,
            records: RecordWriter::new(salt, length),
            roll_over_at: roll_over_at(snapshot_bytes),
            unproven: unproven.to_vec(),
            poison: Poison::default(),
        })
    }

    /// Makes a loaded manifest fit to be appended to: cuts off what follows the last record, and makes
    /// that one durable. To sync it would prove nothing: where its writer's sync failed, the operating
    /// system shows bytes that are not on disk and takes them for written. So they are written again.
    ///
    /// # Errors
    /// `Io`; the next open does it again.
    pub(crate) async fn adopt(&mut self, mode: Mode) -> Result<()> {
        let file = self
            .storage
            .open_write(mode, &manifest_name(self.number))
            .await?;
        let end = self.records.offset();
        // Also where nothing seems to follow: an earlier cut may be in the cache only, likewise.
        file.set_len(mode, end).await?;
        let unproven = std::mem::take(&mut self.unproven);
        let start = end.saturating_sub(unproven.len() as u64);
        file.write_at(mode, start, unproven).await?;
        file.sync_all(mode).await?;
        self.storage.sync_directory(mode).await?;
        self.file = file;
        self.access = Access::Write;
        Ok(())
    }
}

#[cfg(test)]
impl Manifest {
    /// Makes the next append fail: the file it goes to is open for reading only.
    pub(crate) fn refuse_writes(&mut self) {
        let name = manifest_name(self.number);
        let opened = self.storage.open(Mode::Blocking, &name);
        self.file = trine_platform::block_on(opened).unwrap();
    }
}

/// The number of the manifest that `CURRENT` names; `None` if there is no `CURRENT`.
pub(crate) async fn read_current(storage: &Storage, mode: Mode) -> Result<Option<u64>> {
    match storage.read_file(mode, CURRENT, MAX_CURRENT_BYTES).await {
        Ok(content) => parse_current(&content)
            .map(Some)
            .map_err(|fault| log_error(fault.at(CURRENT, 0))),
        Err(error) => match error.source.kind() {
            ErrorKind::NotFound => Ok(None),
            ErrorKind::InvalidData => Err(Error::Corruption {
                message: error.to_string(),
            }),
            _ => Err(error.into()),
        },
    }
}
