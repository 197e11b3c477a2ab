//! A directory of files inside three flat files of the host, for hosts where opening a file takes a promise, few may be
//! open, and none can be renamed while it is: browsers.
//!
//! - `bytes` holds the files' bytes in chunks ([`chunks`]), `names-0` and `names-1` the history of which chunks are
//!   whose ([`journal`], [`table`]). All three are opened with the image and held until [`ImageDirectory::close`]:
//!   nothing waits in between, so every operation is finished when it returns, in either mode.
//! - Rename, creation, removal and cut are one record each: atomic. A write is atomic as far as the file's length goes.
//! - After the process died everything that returned is there. After a power loss a prefix of the changes of names and
//!   lengths is, at least up to the last sync; bytes are there up to the last sync. No file ever shows another's bytes
//!   below a length that was synced.
//! - Any sync makes everything durable, bytes before names.
//! - A removed file's chunks stay with those who have it open.
//!
//! One mutex guards it all; an operation is one visit.

pub(crate) mod chunks;
#[cfg(feature = "simulation")]
pub(crate) mod hosted;
pub(crate) mod journal;
pub(crate) mod medium;
pub(crate) mod table;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trine_platform::LockError;
use trine_platform::sorted::{SortedMap, SortedSet};

use crate::error::Attempt;
use crate::file::Backend;
use crate::lock::Held;
use crate::metrics::Metrics;
use crate::portable::{end, lock_refused};
use crate::{Bytes, Completion, File, Lock, Operation, Warmth, WritableMap};
use chunks::{CHUNK_BYTES, Chunks, Extent};
use journal::Journal;
use medium::Medium;
use table::{Left, Node, NodeId, Record, Table};

/// The files of the host that make an image.
pub(crate) const MEDIA: [&str; 3] = ["bytes", "names-0", "names-1"];

/// So many free chunks at the end are given back to the host.
const TRIM_CHUNKS: u32 = 64;

static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A directory in an image.
#[derive(Debug)]
pub(crate) struct ImageDirectory {
    /// `None` once it is closed.
    state: Mutex<Option<State>>,
    locks: Mutex<SortedSet<String>>,
    pub(crate) metrics: Metrics,
}

/// An open file of an image.
#[derive(Debug)]
pub(crate) struct ImageFile {
    pub(crate) name: Arc<str>,
    id: NodeId,
    is_writable: bool,
    directory: Arc<ImageDirectory>,
}

/// A name in an image's set of held locks.
#[derive(Debug)]
pub(crate) struct ImageLock {
    directory: Arc<ImageDirectory>,
    name: String,
}

/// What the mutex guards.
#[derive(Debug)]
pub(crate) struct State {
    table: Table,
    /// Files without a name that somebody has open.
    unnamed: SortedMap<NodeId, Node>,
    /// How often each file is open.
    opens: SortedMap<NodeId, usize>,
    next_id: NodeId,
    chunks: Chunks,
    journal: Journal,
    bytes: Medium,
    /// Bytes were written since they were synced.
    is_dirty: bool,
}

/// Where `length` bytes at `offset` of a file lie, piece by piece: offset in the image, and length.
fn pieces<'a>(
    extents: impl Iterator<Item = &'a Extent>,
    offset: u64,
    length: u64,
) -> impl Iterator<Item = (u64, u64)> {
    let mut skip = offset;
    let mut left = length;
    extents.filter_map(move |extent| {
        let skipped = skip.min(extent.bytes());
        let piece = left.min(extent.bytes() - skipped);
        skip -= skipped;
        left -= piece;
        let at = u64::from(extent.start) * CHUNK_BYTES + skipped;
        (piece > 0).then_some((at, piece))
    })
}

fn to_usize(length: u64) -> io::Result<usize> {
    usize::try_from(length).map_err(|_| ErrorKind::FileTooLarge.into())
}

impl State {
    fn open(bytes: Medium, names: [Medium; 2]) -> io::Result<Self> {
        let [first, second] = names;
        let is_new = bytes.len()? == 0;
        let (journal, table) = Journal::open(first, second, is_new)?;
        let chunks = Chunks::beside(table.extents())?;
        if bytes.len()? < chunks.end_bytes() {
            // A power loss took what was not synced, but not its length. If this fails, reads will.
            drop(bytes.set_len(chunks.end_bytes()));
        }
        Ok(Self {
            chunks,
            next_id: table.last_id(),
            table,
            unnamed: SortedMap::new(),
            opens: SortedMap::new(),
            journal,
            bytes,
            is_dirty: false,
        })
    }

    fn node(&self, id: NodeId) -> io::Result<&Node> {
        let node = self.table.node(id).or_else(|| self.unnamed.get(&id));
        node.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn id(&self, name: &str) -> io::Result<NodeId> {
        self.table.id(name).ok_or(ErrorKind::NotFound.into())
    }

    /// Writes changes down, then makes them.
    fn change(&mut self, records: Vec<Record>) -> io::Result<()> {
        self.journal.append(&records)?;
        for record in records {
            let Left { freed, unnamed } = self.table.apply(record)?;
            self.chunks.leave(freed);
            match unnamed {
                Some((id, node)) if self.opens.contains_key(&id) => {
                    self.unnamed.insert(id, node);
                }
                Some((_, node)) => self.chunks.leave(node.extents),
                None => {}
            }
        }
        if self.journal.is_too_long() {
            // Left as it is, it serves on; there may be room for a new one later.
            drop(self.journal.rewrite(&self.table));
        }
        Ok(())
    }

    /// Notes that a file is open once more.
    fn enter(&mut self, id: NodeId) -> NodeId {
        *self.opens.get_or_default(id) += 1;
        id
    }

    /// A handle is gone.
    fn leave(&mut self, id: NodeId) {
        let Some(opens) = self.opens.get_mut(&id) else {
            return;
        };
        *opens -= 1;
        if *opens == 0 {
            self.opens.remove(&id);
            if let Some(node) = self.unnamed.remove(&id) {
                self.chunks.leave(node.extents);
            }
        }
    }

    fn create(&mut self, name: &str) -> io::Result<NodeId> {
        if self.table.id(name).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = self.next_id.checked_add(1).ok_or(ErrorKind::StorageFull)?;
        let name = name.to_owned();
        self.change(vec![Record::Name { id, name }])?;
        self.next_id = id;
        Ok(self.enter(id))
    }

    fn read(&self, id: NodeId, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let node = self.node(id)?;
        end(offset, length)
            .filter(|end| *end <= node.length)
            .ok_or(ErrorKind::UnexpectedEof)?;
        let mut bytes = vec![0; length];
        let mut rest = &mut bytes[..];
        for (at, piece) in pieces(node.extents.iter(), offset, length as u64) {
            let (front, back) = rest.split_at_mut(to_usize(piece)?);
            self.bytes.read_at(front, at)?;
            rest = back;
        }
        Ok(bytes)
    }

    /// `count` chunks for a file that goes on at `next`.
    fn take(&mut self, count: u32, next: Option<u32>) -> io::Result<Vec<Extent>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.chunks.is_leaving() && !self.chunks.suffice(count) {
            self.journal.sync()?;
            self.chunks.settle();
        }
        self.chunks.take(count, next)
    }

    /// Writes `bytes` at `offset`; the file is at least `length` long then, which is not before their end.
    fn put(&mut self, id: NodeId, offset: u64, bytes: &[u8], length: u64) -> io::Result<()> {
        let node = self.node(id)?;
        let length = length.max(node.length);
        let missing = length.div_ceil(CHUNK_BYTES).saturating_sub(node.chunks());
        let missing = u32::try_from(missing).map_err(|_| ErrorKind::FileTooLarge)?;
        let next = node.extents.last().and_then(|last| last.end());
        let added = self.take(missing, next)?;
        let written = self.fill(id, &added, offset, bytes, length).and_then(|()| {
            if length == self.node(id)?.length {
                return Ok(());
            }
            if let Some(node) = self.unnamed.get_mut(&id) {
                for extent in &added {
                    node.extend(*extent);
                }
                node.length = length;
                return Ok(());
            }
            let extents = added.iter().map(|extent| Record::Extent {
                id,
                extent: *extent,
            });
            let records = extents.chain([Record::Length { id, length }]).collect();
            self.change(records)
        });
        if written.is_err() {
            self.chunks.give_back(added);
        }
        written
    }

    /// Writes `bytes`, and zeros where the file was not and they are not, up to `length`.
    fn fill(
        &mut self,
        id: NodeId,
        added: &[Extent],
        offset: u64,
        bytes: &[u8],
        length: u64,
    ) -> io::Result<()> {
        let node = self.node(id)?;
        let end = offset + bytes.len() as u64;
        let zeros = [
            (node.length, offset.saturating_sub(node.length)),
            (end, length.saturating_sub(end)),
        ];
        for (from, count) in zeros {
            if from < node.length {
                continue;
            }
            for (at, piece) in pieces(node.extents.iter().chain(added), from, count) {
                let (mut at, mut left) = (at, piece);
                while left > 0 {
                    let step = left.min(ZEROS.len() as u64);
                    self.bytes.write_at(&ZEROS[..to_usize(step)?], at)?;
                    (at, left) = (at + step, left - step);
                }
            }
        }
        let mut rest = bytes;
        let whole = node.extents.iter().chain(added);
        for (at, piece) in pieces(whole, offset, bytes.len() as u64) {
            let (front, back) = rest.split_at(to_usize(piece)?);
            self.bytes.write_at(front, at)?;
            rest = back;
        }
        self.is_dirty = true;
        Ok(())
    }

    fn write(&mut self, id: NodeId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = end(offset, bytes.len()).ok_or(ErrorKind::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.put(id, offset, bytes, end)
    }

    fn set_len(&mut self, id: NodeId, length: u64) -> io::Result<()> {
        end(length, 0).ok_or(ErrorKind::FileTooLarge)?;
        let now = self.node(id)?.length;
        if length > now {
            return self.put(id, now, &[], length);
        }
        if let Some(node) = self.unnamed.get_mut(&id) {
            let freed = node.set_length(length);
            self.chunks.leave(freed);
            return Ok(());
        }
        self.change(vec![Record::Length { id, length }])
    }

    /// Makes an empty file `length` long without writing it: behind all others, where the host's file is cut first and
    /// extended then, it reads as zeros.
    fn reserve(&mut self, id: NodeId, length: u64) -> io::Result<bool> {
        end(length, 0).ok_or(ErrorKind::FileTooLarge)?;
        let count = length.div_ceil(CHUNK_BYTES);
        let count = u32::try_from(count).map_err(|_| ErrorKind::FileTooLarge)?;
        let is_empty = self.table.node(id).is_some_and(|node| node.chunks() == 0);
        if !is_empty || count == 0 {
            return Ok(false);
        }
        let before = self.chunks.end_bytes();
        let extent = self.chunks.grow(count)?;
        self.is_dirty = true;
        let extended = self.bytes.set_len(before);
        let extended = extended.and_then(|()| self.bytes.set_len(self.chunks.end_bytes()));
        let extended = extended.and_then(|()| {
            self.change(vec![
                Record::Extent { id, extent },
                Record::Length { id, length },
            ])
        });
        if extended.is_err() {
            self.chunks.give_back(vec![extent]);
        }
        extended.map(|()| true)
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (id, name) = (self.id(from)?, to.to_owned());
        self.change(vec![Record::Name { id, name }])
    }

    pub(crate) fn remove(&mut self, name: &str) -> io::Result<()> {
        let id = self.id(name)?;
        self.change(vec![Record::Remove { id }])
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.table.names().cloned().collect()
    }

    /// Makes everything durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.is_dirty {
            self.bytes.sync()?;
            self.is_dirty = false;
        }
        self.journal.sync()?;
        self.chunks.settle();
        if let Some(end) = self.chunks.trim(TRIM_CHUNKS) {
            // A file that stays too long is no harm.
            drop(self.bytes.set_len(end));
        }
        Ok(())
    }
}

impl ImageDirectory {
    /// The directory in these files: those named [`MEDIA`], in that order. New if all are empty.
    pub(crate) fn open([bytes, first, second]: [Medium; 3]) -> io::Result<Self> {
        let state = State::open(bytes, [first, second])?;
        Ok(Self {
            state: Mutex::new(Some(state)),
            locks: Mutex::default(),
            metrics: Metrics::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, SortedSet<String>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        attempt: &Attempt,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Completion<T> {
        let result = self.metrics.time_inline(attempt.operation, || {
            let mut state = self.state();
            let closed = || io::Error::other("the storage was closed");
            work(state.as_mut().ok_or_else(closed)?)
        });
        Completion::ready(result.map_err(|error| attempt.failed(error)))
    }

    /// An operation on the directory, or on one of its names.
    pub(crate) fn on<T>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Completion<T> {
        self.run(&Attempt::new(operation, name), work)
    }

    /// Opens a file that `find` has entered.
    fn handle(
        self: &Arc<Self>,
        operation: Operation,
        name: &str,
        is_writable: bool,
        find: impl FnOnce(&mut State) -> io::Result<NodeId>,
    ) -> Completion<File> {
        let attempt = Attempt::new(operation, name);
        self.run(&attempt, |state| {
            let id = find(state)?;
            Ok(File(Backend::Image(Arc::new(ImageFile {
                name: Arc::clone(&attempt.name),
                id,
                is_writable,
                directory: Arc::clone(self),
            }))))
        })
    }

    pub(crate) fn create(self: &Arc<Self>, name: &str) -> Completion<File> {
        self.handle(Operation::Create, name, true, |state| state.create(name))
    }

    pub(crate) fn open_file(self: &Arc<Self>, name: &str, is_writable: bool) -> Completion<File> {
        self.handle(Operation::Open, name, is_writable, |state| {
            let id = state.id(name)?;
            Ok(state.enter(id))
        })
    }

    pub(crate) fn lock(self: &Arc<Self>, name: &str) -> Completion<Lock> {
        let attempt = Attempt::new(Operation::Lock, name);
        self.run(&attempt, |_| {
            if !self.locks().insert(name.to_owned()) {
                return Err(lock_refused(LockError::Held));
            }
            Ok(Lock(Held::Image(ImageLock {
                directory: Arc::clone(self),
                name: name.to_owned(),
            })))
        })
    }

    /// Gives the host's files back; what is called afterwards fails.
    pub(crate) fn close(&self) {
        drop(self.state().take());
    }
}

impl ImageFile {
    fn run<T>(
        &self,
        operation: Operation,
        offset: Option<u64>,
        work: impl FnOnce(&mut State, NodeId) -> io::Result<T>,
    ) -> Completion<T> {
        let attempt = Attempt {
            operation,
            name: Arc::clone(&self.name),
            offset,
        };
        self.directory.run(&attempt, |state| work(state, self.id))
    }

    /// An operation that a file opened for reading refuses.
    fn change<T>(
        &self,
        operation: Operation,
        offset: Option<u64>,
        work: impl FnOnce(&mut State, NodeId) -> io::Result<T>,
    ) -> Completion<T> {
        self.run(operation, offset, |state, id| {
            if !self.is_writable {
                return Err(ErrorKind::PermissionDenied.into());
            }
            work(state, id)
        })
    }

    pub(crate) fn len(&self) -> Completion<u64> {
        self.run(Operation::Len, None, |state, id| Ok(state.node(id)?.length))
    }

    pub(crate) fn read_at(&self, offset: u64, length: usize) -> Completion<Vec<u8>> {
        self.run(Operation::Read, Some(offset), |state, id| {
            state.read(id, offset, length)
        })
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        self.change(Operation::Write, Some(offset), |state, id| {
            state.write(id, offset, &bytes)?;
            Ok(bytes)
        })
    }

    pub(crate) fn write_durably_at(&self, offset: u64, bytes: Vec<u8>) -> Completion<Vec<u8>> {
        self.change(Operation::WriteDurably, Some(offset), |state, id| {
            state.write(id, offset, &bytes)?;
            state.sync()?;
            Ok(bytes)
        })
    }

    pub(crate) fn sync(&self, operation: Operation) -> Completion<()> {
        self.change(operation, None, |state, _| state.sync())
    }

    pub(crate) fn set_len(&self, length: u64) -> Completion<()> {
        self.change(Operation::SetLen, None, |state, id| {
            state.set_len(id, length)
        })
    }

    pub(crate) fn reserve(&self, length: u64) -> Completion<bool> {
        self.change(Operation::SetLen, None, |state, id| {
            state.reserve(id, length)
        })
    }

    /// As a read whose bytes nobody wants.
    pub(crate) fn warm(&self, offset: u64, length: usize) -> Completion<Warmth> {
        self.run(Operation::Read, Some(offset), |state, id| {
            state.read(id, offset, length)?;
            Ok(Warmth::Unknown)
        })
    }

    pub(crate) fn map_writable(&self) -> Completion<Option<WritableMap>> {
        self.change(Operation::Map, None, |_, _| Ok(None))
    }

    /// Nothing can be mapped; the length is checked all the same.
    pub(crate) fn map(&self, length: u64) -> Completion<Option<Bytes>> {
        self.run(Operation::Map, None, |state, id| {
            if state.node(id)?.length == length {
                Ok(None)
            } else {
                Err(ErrorKind::UnexpectedEof.into())
            }
        })
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        if let Some(state) = self.directory.state().as_mut() {
            state.leave(self.id);
        }
    }
}

impl Drop for ImageLock {
    fn drop(&mut self) {
        self.directory.locks().remove(&self.name);
    }
}
