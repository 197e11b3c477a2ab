//! Files in memory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Bytes, Error, File, Operation, Result};

#[derive(Debug, Default)]
pub(crate) struct MemoryDirectory(Mutex<BTreeMap<String, Arc<MemoryFile>>>);

#[derive(Debug)]
pub(crate) struct MemoryFile {
    name: String,
    bytes: Mutex<Vec<u8>>,
}

fn error(operation: Operation, name: &str, offset: Option<u64>, kind: ErrorKind) -> Error {
    Error {
        operation,
        name: name.to_owned(),
        offset,
        source: kind.into(),
    }
}

impl MemoryDirectory {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemoryFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create(&self, name: &str) -> Result<File> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(error(
                Operation::Create,
                name,
                None,
                ErrorKind::AlreadyExists,
            ));
        }
        let file = Arc::new(MemoryFile {
            name: name.to_owned(),
            bytes: Mutex::default(),
        });
        files.insert(name.to_owned(), Arc::clone(&file));
        Ok(File(crate::file::Backend::Memory(file)))
    }

    pub(crate) fn open(&self, name: &str) -> Result<File> {
        match self.files().get(name) {
            Some(file) => Ok(File(crate::file::Backend::Memory(Arc::clone(file)))),
            None => Err(error(Operation::Open, name, None, ErrorKind::NotFound)),
        }
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut files = self.files();
        let Some(file) = files.remove(from) else {
            return Err(error(Operation::Rename, from, None, ErrorKind::NotFound));
        };
        files.insert(to.to_owned(), file);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match self.files().remove(name) {
            Some(_) => Ok(()),
            None => Err(error(Operation::Remove, name, None, ErrorKind::NotFound)),
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    pub(crate) fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let bytes = self.bytes();
        usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(length)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| {
                error(
                    Operation::Read,
                    &self.name,
                    Some(offset),
                    ErrorKind::UnexpectedEof,
                )
            })
    }

    pub(crate) fn write_at(&self, offset: u64, source: &[u8]) -> Result<()> {
        let range = usize::try_from(offset)
            .ok()
            .and_then(|start| Some(start..start.checked_add(source.len())?))
            .ok_or_else(|| {
                error(
                    Operation::Write,
                    &self.name,
                    Some(offset),
                    ErrorKind::FileTooLarge,
                )
            })?;
        let mut bytes = self.bytes();
        if bytes.len() < range.end {
            bytes.resize(range.end, 0);
        }
        bytes[range].copy_from_slice(source);
        Ok(())
    }

    pub(crate) fn set_len(&self, length: u64) -> Result<()> {
        let length = usize::try_from(length)
            .map_err(|_| error(Operation::SetLen, &self.name, None, ErrorKind::FileTooLarge))?;
        self.bytes().resize(length, 0);
        Ok(())
    }

    pub(crate) fn map(&self, length: u64) -> Result<Option<Bytes>> {
        let bytes = self.bytes();
        if bytes.len() as u64 != length {
            return Err(error(
                Operation::Map,
                &self.name,
                None,
                ErrorKind::UnexpectedEof,
            ));
        }
        Ok(Some(Bytes::from_owner(bytes.clone())))
    }
}
