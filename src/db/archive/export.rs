//! Writing an archive: the files of a checkpoint, read while they are wanted.
//!
//! The pinned versions keep the files, the handle keeps the database open. A step that was dropped is taken again by the next.

use std::collections::VecDeque;
use std::sync::Arc;

use trine_io::{File, Mode, Storage};
use trine_platform::block_on;

use crate::db::archive::format::{Encoder, Kind, PIECE_BYTES_MAX};
use crate::db::checkpoint::data_files;
use crate::db::{Core, Db};
use crate::error::{Error, Result};
use crate::file_name::{CURRENT, FileNumbers, manifest_name};
use crate::manifest::Manifest;
use crate::sequence::Sequence;
use crate::tree::version::Version;

/// What is to be written, besides the header.
#[derive(Debug)]
struct Contents {
    through: Sequence,
    /// Their numbers and names.
    data: VecDeque<(u64, String)>,
    /// The manifest and `CURRENT`, in memory.
    named: Storage,
    names: VecDeque<String>,
    _pinned: Vec<Arc<Version>>,
}

/// The file that is being written.
#[derive(Debug)]
struct Reading {
    file: File,
    at: u64,
    length: u64,
}

/// A database as one stream of bytes: [`Db::export`]. An iterator over portions of it, of a mebibyte at most, each read when it is asked for.
#[derive(Debug)]
pub struct Export {
    db: Db,
    contents: Contents,
    reading: Option<Reading>,
    encoder: Encoder,
    is_done: bool,
}

impl Db {
    /// The database as one stream of bytes, as of one commit that includes everything committed before the call. [`Db::import`]
    /// makes a database of it, on any target. Reads and writes go on meanwhile; what the archive holds stays on disk until
    /// the [`Export`] is dropped, and the database open.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a database in memory, [`Error::ReadOnly`], [`Error::Closed`], [`Error::Io`].
    ///
    /// # Cost
    /// A flush.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> trine_kv::Result<()> {
    /// use trine_kv::{Db, DbOptions};
    /// # let home = tempfile::tempdir()?;
    /// # let (here, there) = (home.path().join("here"), home.path().join("there"));
    /// let db = Db::open_sync(&here)?;
    /// db.put_sync("key", "value")?;
    /// let mut import = Db::import_sync(DbOptions::new(&there))?;
    /// for portion in db.export_sync()? {
    ///     import.write_sync(&portion?)?;
    /// }
    /// let copy = import.finish_sync()?;
    /// assert_eq!(copy.get_sync(b"key")?.as_deref(), Some(&b"value"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn export(&self) -> Result<Export> {
        let contents = self
            .core()
            .offload(|core| async move { core.contents(Mode::Blocking).await });
        Ok(Export::new(self, contents.await?))
    }

    /// [`export`](Self::export) on this thread.
    ///
    /// # Errors
    /// As [`export`](Self::export).
    pub fn export_sync(&self) -> Result<Export> {
        let contents = block_on(self.core().contents(Mode::Blocking))?;
        Ok(Export::new(self, contents))
    }
}

impl Core {
    async fn contents(&self, mode: Mode) -> Result<Contents> {
        self.check_writable()?;
        let Some(persistent) = &self.persistent else {
            return Err(Error::unsupported("export of a database in memory"));
        };
        let (through, state, pinned) = self.tables_of_now(persistent, mode).await?;
        let data = data_files(&state).collect();
        let named = Storage::memory();
        let numbers = FileNumbers::starting_at(persistent.numbers.bound());
        let manifest = Manifest::create(&named, numbers.into(), state, mode).await?;
        Ok(Contents {
            through,
            data,
            named,
            names: [manifest_name(manifest.number()), CURRENT.to_owned()].into(),
            _pinned: pinned,
        })
    }
}

impl Export {
    fn new(db: &Db, contents: Contents) -> Self {
        Self {
            db: db.clone(),
            contents,
            reading: None,
            encoder: Encoder::default(),
            is_done: false,
        }
    }

    /// The newest commit in the archive.
    pub fn sequence(&self) -> Sequence {
        self.contents.through
    }

    /// The next portion; `None` after the last, for ever.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Io`]. The next call tries again.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call gives the same portion.
    ///
    /// # Cost
    /// One read of up to a mebibyte, past the block cache.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.step(Mode::Cooperative).await
    }

    /// [`next`](Self::next) on this thread.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_sync(&mut self) -> Option<Result<Vec<u8>>> {
        block_on(self.step(Mode::Blocking)).transpose()
    }

    async fn step(&mut self, mode: Mode) -> Result<Option<Vec<u8>>> {
        if self.is_done {
            return Ok(None);
        }
        if let Some(header) = self.encoder.header() {
            return Ok(Some(header));
        }
        self.db.core().check_open()?;
        if let Some(Reading { file, at, length }) = &mut self.reading
            && at < length
        {
            let left = usize::try_from(*length - *at).unwrap_or(usize::MAX);
            let bytes = left.min(PIECE_BYTES_MAX);
            let read = file.read_once_at(mode, *at, bytes).await?;
            *at += read.len() as u64;
            return Ok(Some(self.encoder.piece(Kind::Bytes, &read)));
        }
        let Some((name, file)) = self.open_next(mode).await? else {
            self.is_done = true;
            return Ok(Some(self.encoder.piece(Kind::End, &[])));
        };
        let length = file.len(mode).await?;
        let contents = &mut self.contents;
        if contents.data.pop_front().is_none() {
            contents.names.pop_front();
        }
        self.reading = Some(Reading {
            file,
            at: 0,
            length,
        });
        Ok(Some(self.encoder.piece(Kind::File, name.as_bytes())))
    }

    async fn open_next(&self, mode: Mode) -> Result<Option<(String, File)>> {
        let contents = &self.contents;
        if let (Some((number, name)), Some(persistent)) =
            (contents.data.front(), &self.db.core().persistent)
        {
            let file = persistent.files.open(*number, name, mode).await?;
            return Ok(Some((name.clone(), file)));
        }
        let Some(name) = contents.names.front() else {
            return Ok(None);
        };
        let file = contents.named.open(mode, name).await?;
        Ok(Some((name.clone(), file)))
    }
}

impl Iterator for Export {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_sync()
    }
}
