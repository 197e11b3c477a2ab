//! Reading an archive: a directory without a database becomes one.
//!
//! - Until `CURRENT` has its name, synced after everything else, there is no database: an import that ended before leaves debris.
//! - Nothing in an archive names a file but in the spelling of this engine, so nothing else is ever written.
//! - After a failure, or a call that was dropped, it takes no more bytes.

use trine_io::{File, Lock, Mode, Storage};
use trine_platform::block_on;

use crate::db::archive::format::{Decoder, Kind, Piece};
use crate::db::{Db, open, recovery};
use crate::error::{Error, Fault, Result};
use crate::file_name::{CURRENT, FileName, UNFINISHED_CURRENT, unfinished_name};
use crate::options::DbOptions;

/// A database that is being made from an archive: [`Db::import`].
#[derive(Debug)]
pub struct Import {
    options: DbOptions,
    storage: Storage,
    /// Released before the database is opened, which takes it again.
    lock: Option<Lock>,
    /// `None` after a failure.
    decoder: Option<Decoder>,
    writing: Option<Writing>,
}

/// The file whose bytes come next.
#[derive(Debug)]
struct Writing {
    file: File,
    length: u64,
    is_current: bool,
}

impl Db {
    /// Makes a database of an archive, in a place that holds none yet. The archive's bytes go to
    /// [`Import::write`]; [`Import::finish`] opens the database. Options of buckets come from the archive.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if there is a database already; [`Error::Unsupported`] in memory, [`Error::ReadOnly`],
    /// and those of [`Db::open`].
    ///
    /// # Cost
    /// Reads the names in the directory.
    pub async fn import(options: DbOptions) -> Result<Import> {
        Import::begin(options, Mode::Cooperative).await
    }

    /// [`import`](Self::import) on this thread.
    ///
    /// # Errors
    /// As [`import`](Self::import). In browsers [`Error::Unsupported`].
    pub fn import_sync(options: DbOptions) -> Result<Import> {
        block_on(Import::begin(options, Mode::Blocking))
    }
}

impl Import {
    async fn begin(options: DbOptions, mode: Mode) -> Result<Self> {
        if options.read_only {
            return Err(Error::ReadOnly);
        }
        let storage = match mode {
            Mode::Blocking => open::checked_storage(&options)?,
            Mode::Cooperative => open::storage(&options).await?,
        };
        let Some(storage) = storage else {
            return Err(Error::unsupported("import of a database in memory"));
        };
        Self::into_storage(options, storage, mode).await
    }

    pub(super) async fn into_storage(
        options: DbOptions,
        storage: Storage,
        mode: Mode,
    ) -> Result<Self> {
        let lock = recovery::enter(&options, &storage, mode).await?;
        recovery::vacate(&options, &storage, mode).await?;
        Ok(Self {
            options,
            storage,
            lock,
            decoder: Some(Decoder::default()),
            writing: None,
        })
    }

    /// Takes the next bytes of the archive, any number of them.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::InvalidFormat`] and [`Error::UnsupportedFormat`] for bytes that are not an
    /// archive's, [`Error::Io`]; from then on [`Error::Closed`]. What was written so far is no database, and swept when the place is
    /// opened next.
    ///
    /// # Durability
    /// None before [`finish`](Self::finish), which makes all of it durable.
    ///
    /// # Cancellation
    /// As an error.
    ///
    /// # Cost
    /// A write for each mebibyte, a sync for each file.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.take(bytes, Mode::Cooperative).await
    }

    /// [`write`](Self::write) on this thread.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_sync(&mut self, bytes: &[u8]) -> Result<()> {
        block_on(self.take(bytes, Mode::Blocking))
    }

    /// Opens the database, which is complete.
    ///
    /// # Errors
    /// [`Error::InvalidFormat`] if the archive is not; those of [`write`](Self::write) and [`Db::open`].
    ///
    /// # Durability
    /// The database survives power loss when the call returns, as far as this target promises that.
    ///
    /// # Cost
    /// Two syncs of the directory, and an opening.
    pub async fn finish(self) -> Result<Db> {
        self.open(Mode::Cooperative).await
    }

    /// [`finish`](Self::finish) on this thread.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_sync(self) -> Result<Db> {
        block_on(self.open(Mode::Blocking))
    }

    async fn take(&mut self, mut bytes: &[u8], mode: Mode) -> Result<()> {
        let mut decoder = self.decoder.take().ok_or(Error::Closed)?;
        while let Some(piece) = decoder.next(&mut bytes)? {
            self.place(piece, &decoder, mode).await?;
        }
        self.decoder = Some(decoder);
        Ok(())
    }

    async fn place(&mut self, piece: Piece, decoder: &Decoder, mode: Mode) -> Result<()> {
        let refused = |fault| Error::from(decoder.corruption(fault));
        match (piece.kind, &mut self.writing) {
            (Kind::File, writing) => {
                if let Some(before) = writing.take() {
                    if before.is_current {
                        return Err(refused(Fault::Order));
                    }
                    before.file.sync_all(mode).await?;
                }
                let name = str::from_utf8(&piece.bytes).unwrap_or_default();
                let (name, is_current) =
                    written_as(name).ok_or_else(|| refused(Fault::Field("file name")))?;
                self.writing = Some(Writing {
                    file: self.storage.create(mode, &name).await?,
                    length: 0,
                    is_current,
                });
                Ok(())
            }
            (Kind::Bytes, Some(writing)) => {
                let at = writing.length;
                writing.length += piece.bytes.len() as u64;
                writing.file.write_at(mode, at, piece.bytes).await?;
                Ok(())
            }
            (Kind::End, Some(writing)) if writing.is_current => {
                writing.file.sync_all(mode).await?;
                Ok(())
            }
            (Kind::Bytes | Kind::End, _) => Err(refused(Fault::Order)),
        }
    }

    /// Names the database's manifest.
    async fn publish(&mut self, mode: Mode) -> Result<()> {
        let decoder = self.decoder.take().ok_or(Error::Closed)?;
        if !decoder.is_done() {
            return Err(decoder.corruption(Fault::Field("end")).into());
        }
        self.writing = None;
        self.storage.sync_directory(mode).await?;
        self.storage
            .rename(mode, UNFINISHED_CURRENT, CURRENT)
            .await?;
        self.storage.sync_directory(mode).await?;
        self.lock = None;
        Ok(())
    }

    async fn open(mut self, mode: Mode) -> Result<Db> {
        self.publish(mode).await?;
        open::on_thread(self.options, self.storage, mode).await
    }
}

/// How a file of an archive is called until its database is complete, and whether it is `CURRENT`; `None` for what has no place in one.
fn written_as(name: &str) -> Option<(String, bool)> {
    match FileName::parse(name) {
        FileName::Table(number) | FileName::Blob(number) => Some((unfinished_name(number), false)),
        FileName::Manifest(_) => Some((name.to_owned(), false)),
        FileName::Current => Some((UNFINISHED_CURRENT.to_owned(), true)),
        _ => None,
    }
}
