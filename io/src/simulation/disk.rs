//! A disk and the page cache above it: what a reader sees, and what a power loss leaves of it.
//!
//! - A file has the bytes that were last synced and, in order, the changes since. A reader sees all of
//!   them; a power loss keeps any of them, each sector of a write for itself.
//! - A directory likewise: entries as of its last sync, and creations, renames and removals since, each
//!   of which is kept or lost as a whole, whatever became of the others.
//! - Syncing a file does not sync its entry; syncing a directory does not sync its files.
//! - A sector that never arrived reads as zeros where the file had ended, else as before. One that arrived holds
//!   whatever had been written to it by then.
//!
//! Everything happens by [`Disk::apply`]: to replay recorded steps is to make the same disk again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use trine_platform::random::Random;

/// What reaches the disk whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// A file, whatever its names. Numbers are given in the order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(usize);

/// One change of a disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Makes a directory, durably.
    MakeDirectory {
        /// Its path.
        path: Arc<str>,
    },
    /// A new empty file.
    Create {
        /// Where.
        directory: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// A second name for a file.
    Link {
        /// Where the file is.
        directory: Arc<str>,
        /// Its name there and in the other directory.
        name: Arc<str>,
        /// The other directory.
        to: Arc<str>,
    },
    /// A rename, replacing what had the new name.
    Rename {
        /// Where.
        directory: Arc<str>,
        /// The old name.
        from: Arc<str>,
        /// The new one.
        to: Arc<str>,
    },
    /// A removal.
    Remove {
        /// Where.
        directory: Arc<str>,
        /// The name.
        name: Arc<str>,
    },
    /// A directory's entries become durable.
    SyncDirectory {
        /// Which.
        directory: Arc<str>,
    },
    /// Bytes enter the page cache.
    Write {
        /// Which file.
        file: FileId,
        /// Where.
        offset: usize,
        /// The bytes.
        bytes: Arc<[u8]>,
        /// They are on disk at once; what was written before may not be.
        durable: bool,
    },
    /// A cut or an extension with zeros.
    SetLen {
        /// Which file.
        file: FileId,
        /// The new length.
        length: usize,
    },
    /// A file's bytes become durable.
    Sync {
        /// Which.
        file: FileId,
    },
    /// A sync that failed: what was unsynced counts as written back and will never be again.
    FailSync {
        /// Which file.
        file: FileId,
        /// Chooses what reached the disk all the same.
        seed: u64,
    },
    /// Bytes change by themselves.
    Rot {
        /// Which file.
        file: FileId,
        /// Where.
        offset: usize,
        /// Exclusive-or with the stored byte.
        mask: u8,
    },
    /// The file was mapped: it must never change again.
    Seal {
        /// Which file.
        file: FileId,
    },
}

/// Something that a power loss may keep or lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsynced {
    /// A creation, rename or removal.
    Entry,
    /// One sector of one write.
    Sector,
    /// A cut or an extension.
    Length,
    /// The end of a file: kept, it lies where it was, with zeros for sectors that are lost.
    End,
}

#[derive(Clone, Debug)]
enum Change {
    /// What the page cache held, in whole sectors, once the write was in it: a sector that reaches the
    /// disk brings along whatever was written to it earlier.
    Write {
        offset: usize,
        bytes: Arc<[u8]>,
        is_durable: bool,
    },
    SetLen {
        length: usize,
    },
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cached: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Change>,
    is_sealed: bool,
}

#[derive(Clone, Debug)]
enum EntryChange {
    Set {
        name: Arc<str>,
        file: FileId,
    },
    Rename {
        from: Arc<str>,
        to: Arc<str>,
        file: FileId,
    },
    Remove {
        name: Arc<str>,
        file: FileId,
    },
}

type Entries = BTreeMap<Arc<str>, FileId>;

#[derive(Clone, Debug, Default)]
struct Directory {
    entries: Entries,
    durable: Entries,
    unsynced: Vec<EntryChange>,
}

/// Directories and files, as cached and as stored. Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Inode>,
    directories: BTreeMap<Arc<str>, Directory>,
}

fn write(bytes: &mut Vec<u8>, offset: usize, source: &[u8]) {
    let end = offset + source.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(source);
}

/// The parts of a write, as sectors divide it: offset and bytes of each.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (part, after) = rest.split_at(room.min(rest.len()));
        let start = at;
        at += part.len();
        rest = after;
        (!part.is_empty()).then_some((start, part))
    })
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8], is_durable: bool) {
        let cached = self.change();
        write(cached, offset, bytes);
        let start = offset - offset % SECTOR_BYTES;
        let end = (offset + bytes.len()).next_multiple_of(SECTOR_BYTES);
        let bytes = cached[start..end.min(cached.len())].into();
        self.unsynced.push(Change::Write {
            offset: start,
            bytes,
            is_durable,
        });
    }

    fn set_len(&mut self, length: usize) {
        self.change().resize(length, 0);
        self.unsynced.push(Change::SetLen { length });
    }

    fn change(&mut self) -> &mut Vec<u8> {
        assert!(!self.is_sealed, "a mapped file is changed");
        Arc::make_mut(&mut self.cached)
    }

    fn sync(&mut self) {
        // Not simply what is cached: a sync that failed earlier left bytes there that count as clean.
        self.durable = self.kept(&mut |_| true);
        self.unsynced.clear();
    }

    /// What is stored if of the unsynced parts only those survive.
    fn kept(&self, survives: &mut dyn FnMut(Unsynced) -> bool) -> Arc<Vec<u8>> {
        if self.unsynced.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut kept = Arc::clone(&self.durable);
        let stored = Arc::make_mut(&mut kept);
        for change in &self.unsynced {
            match change {
                Change::Write {
                    offset,
                    bytes,
                    is_durable,
                } => {
                    for (offset, part) in sectors(*offset, bytes) {
                        if *is_durable || survives(Unsynced::Sector) {
                            write(stored, offset, part);
                        }
                    }
                }
                Change::SetLen { length } => {
                    if survives(Unsynced::Length) {
                        stored.resize(*length, 0);
                    }
                }
            }
        }
        if survives(Unsynced::End) && stored.len() < self.cached.len() {
            stored.resize(self.cached.len(), 0);
        }
        kept
    }
}

impl EntryChange {
    fn file(&self) -> FileId {
        match self {
            Self::Set { file, .. } | Self::Rename { file, .. } | Self::Remove { file, .. } => *file,
        }
    }

    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Set { name, file } => {
                entries.insert(Arc::clone(name), *file);
            }
            Self::Rename { from, to, file } => {
                remove(entries, from, *file);
                entries.insert(Arc::clone(to), *file);
            }
            Self::Remove { name, file } => remove(entries, name, *file),
        }
    }
}

/// Removes the entry if it still is that file's.
fn remove(entries: &mut Entries, name: &str, file: FileId) {
    if entries.get(name) == Some(&file) {
        entries.remove(name);
    }
}

impl Directory {
    fn change(&mut self, change: EntryChange) {
        change.apply(&mut self.entries);
        self.unsynced.push(change);
    }
}

impl Disk {
    fn inode(&self, file: FileId) -> &Inode {
        &self.inodes[file.0]
    }

    fn inode_mut(&mut self, file: FileId) -> &mut Inode {
        &mut self.inodes[file.0]
    }

    fn directory_mut(&mut self, path: &Arc<str>) -> &mut Directory {
        self.directories.entry(Arc::clone(path)).or_default()
    }

    /// Makes the change. It must be possible: what it names is there.
    ///
    /// # Panics
    /// A mapped file is to be changed, or the step belongs to another disk.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::MakeDirectory { path } => {
                self.directory_mut(path);
            }
            Step::Create { directory, name } => {
                let file = FileId(self.inodes.len());
                self.inodes.push(Inode::default());
                self.directory_mut(directory).change(EntryChange::Set {
                    name: Arc::clone(name),
                    file,
                });
            }
            Step::Link {
                directory,
                name,
                to,
            } => {
                let file = self.directory_mut(directory).entries[name];
                self.directory_mut(to).change(EntryChange::Set {
                    name: Arc::clone(name),
                    file,
                });
            }
            Step::Rename {
                directory,
                from,
                to,
            } => {
                let directory = self.directory_mut(directory);
                let file = directory.entries[from];
                directory.change(EntryChange::Rename {
                    from: Arc::clone(from),
                    to: Arc::clone(to),
                    file,
                });
            }
            Step::Remove { directory, name } => {
                let directory = self.directory_mut(directory);
                let file = directory.entries[name];
                directory.change(EntryChange::Remove {
                    name: Arc::clone(name),
                    file,
                });
            }
            Step::SyncDirectory { directory } => {
                let directory = self.directory_mut(directory);
                directory.durable = directory.entries.clone();
                directory.unsynced.clear();
            }
            Step::Write {
                file,
                offset,
                bytes,
                durable,
            } => self.inode_mut(*file).write(*offset, bytes, *durable),
            Step::SetLen { file, length } => self.inode_mut(*file).set_len(*length),
            Step::Sync { file } => self.inode_mut(*file).sync(),
            Step::FailSync { file, seed } => {
                let mut random = Random::new(*seed);
                let inode = self.inode_mut(*file);
                inode.durable = inode.kept(&mut |_| random.below(2) == 0);
                inode.unsynced.clear();
            }
            Step::Rot { file, offset, mask } => {
                let inode = self.inode_mut(*file);
                for bytes in [&mut inode.cached, &mut inode.durable] {
                    if let Some(byte) = Arc::make_mut(bytes).get_mut(*offset) {
                        *byte ^= mask;
                    }
                }
            }
            Step::Seal { file } => self.inode_mut(*file).is_sealed = true,
        }
    }

    /// The file of this name.
    pub fn file(&self, directory: &str, name: &str) -> Option<FileId> {
        self.directories.get(directory)?.entries.get(name).copied()
    }

    /// Whether the directory is there.
    pub fn is_directory(&self, path: &str) -> bool {
        self.directories.contains_key(path)
    }

    /// The directory's names, in order.
    pub fn names(&self, directory: &str) -> Vec<&str> {
        let directory = self.directories.get(directory);
        let entries = directory.map(|directory| directory.entries.keys());
        entries.into_iter().flatten().map(|name| &**name).collect()
    }

    /// A file's bytes, as a reader sees them.
    pub fn bytes(&self, file: FileId) -> &[u8] {
        &self.inode(file).cached
    }

    /// What all named files hold, in bytes.
    pub fn used_bytes(&self) -> usize {
        let files = self
            .directories
            .values()
            .flat_map(|directory| directory.entries.values());
        files.map(|file| self.inode(*file).cached.len()).sum()
    }

    /// Everything that a power loss now may keep or lose, in the order in which
    /// [`power_loss`](Self::power_loss) asks: entries by directory, then the parts of each file.
    pub fn unsynced(&self) -> Vec<Unsynced> {
        let mut found = Vec::new();
        drop(self.power_loss(&mut |part| {
            found.push(part);
            true
        }));
        found
    }

    /// The disk after a power loss that keeps, of all that is not synced, only what `survives`.
    #[must_use]
    pub fn power_loss(&self, survives: &mut dyn FnMut(Unsynced) -> bool) -> Self {
        let mut after = Self::default();
        // Whatever becomes of the entries, the same questions are asked: about each file that has a
        // name, or may have one again.
        let mut asked = BTreeSet::new();
        for (path, directory) in &self.directories {
            asked.extend(directory.durable.values());
            asked.extend(directory.unsynced.iter().map(EntryChange::file));
            let mut entries = directory.durable.clone();
            for change in &directory.unsynced {
                if survives(Unsynced::Entry) {
                    change.apply(&mut entries);
                }
            }
            let directory = Directory {
                durable: entries.clone(),
                entries,
                unsynced: Vec::new(),
            };
            after.directories.insert(Arc::clone(path), directory);
        }
        for (number, inode) in self.inodes.iter().enumerate() {
            let bytes = if asked.contains(&FileId(number)) {
                inode.kept(survives)
            } else {
                Arc::default()
            };
            after.inodes.push(Inode {
                cached: Arc::clone(&bytes),
                durable: bytes,
                ..Inode::default()
            });
        }
        after
    }

    /// The disk after the process died: the page cache outlives it, maps do not.
    #[must_use]
    pub fn process_end(&self) -> Self {
        let mut after = self.clone();
        for inode in &mut after.inodes {
            inode.is_sealed = false;
        }
        after
    }

    /// Equal for disks that look alike, now and after any power loss.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, directory) in &self.directories {
            path.hash(&mut hasher);
            for (name, file) in &directory.entries {
                name.hash(&mut hasher);
                self.inode(*file).cached.hash(&mut hasher);
            }
            if !directory.unsynced.is_empty() {
                directory
                    .durable
                    .keys()
                    .for_each(|name| name.hash(&mut hasher));
                format!("{:?}", directory.unsynced).hash(&mut hasher);
            }
        }
        for inode in self
            .inodes
            .iter()
            .filter(|inode| !inode.unsynced.is_empty())
        {
            inode.durable.hash(&mut hasher);
            for change in &inode.unsynced {
                match change {
                    Change::Write {
                        offset,
                        bytes,
                        is_durable,
                    } => (offset, bytes, is_durable).hash(&mut hasher),
                    Change::SetLen { length } => length.hash(&mut hasher),
                }
            }
        }
        hasher.finish()
    }
}
