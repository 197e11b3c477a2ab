//! `std::fs`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, File, Operation, Result};

#[derive(Debug)]
pub(crate) struct PortableDirectory(PathBuf);

#[derive(Debug)]
pub(crate) struct PortableFile {
    name: String,
    file: std::fs::File,
}

fn at(
    operation: Operation,
    name: &str,
    offset: Option<u64>,
) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error {
        operation,
        name: name.to_owned(),
        offset,
        source,
    }
}

impl PortableDirectory {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn exists(&self) -> Result<bool> {
        self.0
            .try_exists()
            .map_err(at(Operation::Open, &self.0.to_string_lossy(), None))
    }

    pub(crate) fn create_directory(&self) -> Result<()> {
        std::fs::create_dir_all(&self.0).map_err(at(
            Operation::CreateDirectory,
            &self.0.to_string_lossy(),
            None,
        ))
    }

    fn file(&self, name: &str, file: std::fs::File) -> File {
        let _ = self;
        File(crate::file::Backend::Portable(Arc::new(PortableFile {
            name: name.to_owned(),
            file,
        })))
    }

    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.0.join(name));
        Ok(self.file(name, file.map_err(at(Operation::Create, name, None))?))
    }

    pub(crate) fn open(&self, name: &str, write: bool) -> Result<File> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(write)
            .open(self.0.join(name));
        Ok(self.file(name, file.map_err(at(Operation::Open, name, None))?))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the lint points to"
        )]
        std::fs::rename(self.0.join(from), self.0.join(to)).map_err(at(
            Operation::Rename,
            from,
            None,
        ))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place the lint points to"
        )]
        std::fs::remove_file(self.0.join(name)).map_err(at(Operation::Remove, name, None))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let failed = |source| at(Operation::List, &self.0.to_string_lossy(), None)(source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    pub(crate) fn sync_directory(&self) -> Result<()> {
        std::fs::OpenOptions::new()
            .read(true)
            .open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(at(
                Operation::SyncDirectory,
                &self.0.to_string_lossy(),
                None,
            ))
    }
}

impl PortableFile {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> Result<u64> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(at(Operation::Len, &self.name, None))
    }

    pub(crate) fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).map_err(at(
            Operation::Read,
            &self.name,
            Some(offset),
        ))?;
        Ok(bytes)
    }

    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(bytes, offset).map_err(at(
            Operation::Write,
            &self.name,
            Some(offset),
        ))
    }

    pub(crate) fn sync_data(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(at(Operation::SyncData, &self.name, None))
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(at(Operation::SyncAll, &self.name, None))
    }

    pub(crate) fn set_len(&self, length: u64) -> Result<()> {
        if length > i64::MAX.cast_unsigned() {
            return Err(at(Operation::SetLen, &self.name, None)(
                ErrorKind::FileTooLarge.into(),
            ));
        }
        self.file
            .set_len(length)
            .map_err(at(Operation::SetLen, &self.name, None))
    }
}
