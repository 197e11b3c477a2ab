//! The browser's private file system: opening an image in it, and its files' synchronous access handles.
//!
//! - Handles are `JavaScript` objects, which belong to their thread. They lie in a map of the thread that opened them;
//!   a [`SyncFile`] is the number of one, and closes it when it is dropped: one that were merely forgotten would keep
//!   its file locked until the worker ends.
//! - A handle excludes every other of its file, in all tabs: the writer's lock of an image is the handle of its bytes,
//!   which is opened first. A reload may leave the old page's handles open for a moment, so a refusal is the last
//!   word only after [`PATIENCE_MS`].
//! - Only dedicated workers have such handles. Elsewhere opening fails, and says so.

use std::cell::RefCell;
use std::io::{self, ErrorKind};

use js_sys::{Object, Promise, Reflect};
use trine_platform::sorted::SortedMap;
use trine_platform::{LockError, event};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::error::Attempt;
use crate::image::medium::Medium;
use crate::image::{ImageDirectory, MEDIA};
use crate::portable::lock_refused;
use crate::{Operation, Result};

/// How long files that somebody holds are asked for again.
const PATIENCE_MS: u32 = 1500;
const PAUSE_MS: u32 = 50;

/// What `JavaScript` gives, or what it throws.
type Thrown<T> = std::result::Result<T, JsValue>;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["navigator", "storage"], js_name = getDirectory, catch)]
    fn root() -> Thrown<Promise>;

    #[wasm_bindgen(js_name = setTimeout, catch)]
    fn set_timeout(done: &js_sys::Function, milliseconds: u32) -> Thrown<JsValue>;

    /// `FileSystemDirectoryHandle`
    type Directory;

    #[wasm_bindgen(method, js_name = getDirectoryHandle, catch)]
    fn directory(this: &Directory, name: &str, options: &Object) -> Thrown<Promise>;

    #[wasm_bindgen(method, js_name = getFileHandle, catch)]
    fn file(this: &Directory, name: &str, options: &Object) -> Thrown<Promise>;

    /// `FileSystemFileHandle`
    type FileHandle;

    #[wasm_bindgen(method, js_name = createSyncAccessHandle, catch)]
    fn open(this: &FileHandle) -> Thrown<Promise>;

    /// `FileSystemSyncAccessHandle`
    type SyncHandle;

    #[wasm_bindgen(method, catch)]
    fn read(this: &SyncHandle, bytes: &mut [u8], options: &At) -> Thrown<f64>;

    #[wasm_bindgen(method, catch)]
    fn write(this: &SyncHandle, bytes: &[u8], options: &At) -> Thrown<f64>;

    #[wasm_bindgen(method, catch)]
    fn flush(this: &SyncHandle) -> Thrown<()>;

    #[wasm_bindgen(method, catch)]
    fn truncate(this: &SyncHandle, length: f64) -> Thrown<()>;

    #[wasm_bindgen(method, js_name = getSize, catch)]
    fn size(this: &SyncHandle) -> Thrown<f64>;

    #[wasm_bindgen(method)]
    fn close(this: &SyncHandle);

    /// `FileSystemReadWriteOptions`
    #[wasm_bindgen(extends = Object)]
    type At;

    #[wasm_bindgen(method, setter)]
    fn set_at(this: &At, offset: f64);
}

/// The handles that this thread opened.
#[derive(Default)]
struct Handles {
    open: SortedMap<u64, SyncHandle>,
    opened: u64,
    at: Option<At>,
}

thread_local! {
    static HANDLES: RefCell<Handles> = RefCell::default();
}

/// What the host threw, by its name.
fn thrown(value: &JsValue) -> io::Error {
    let text = |key: &str| {
        let found = Reflect::get(value, &key.into()).ok();
        found
            .and_then(|found| found.as_string())
            .unwrap_or_default()
    };
    let (name, message) = (text("name"), text("message"));
    let kind = match name.as_str() {
        "NoModificationAllowedError" => return lock_refused(LockError::Held),
        "QuotaExceededError" => ErrorKind::StorageFull,
        "NotFoundError" => ErrorKind::NotFound,
        "TypeMismatchError" => ErrorKind::NotADirectory,
        "NotAllowedError" | "SecurityError" => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, format!("{name}: {message}"))
}

/// A file of the private file system, held alone.
#[derive(Debug)]
pub(crate) struct SyncFile(u64);

impl SyncFile {
    fn of(handle: SyncHandle) -> Self {
        HANDLES.with_borrow_mut(|handles| {
            handles.opened += 1;
            handles.open.insert(handles.opened, handle);
            Self(handles.opened)
        })
    }

    /// Runs `work` on the handle, whose next read or write is at `offset`.
    fn with<T>(
        &self,
        offset: u64,
        work: impl FnOnce(&SyncHandle, &At) -> Thrown<T>,
    ) -> io::Result<T> {
        HANDLES.with_borrow_mut(|handles| {
            let elsewhere = || io::Error::other("the file belongs to another thread");
            let handle = handles.open.get(&self.0).ok_or_else(elsewhere)?;
            let at = handles
                .at
                .get_or_insert_with(|| Object::new().unchecked_into());
            at.set_at(number(offset));
            work(handle, at).map_err(|error| thrown(&error))
        })
    }

    pub(crate) fn len(&self) -> io::Result<u64> {
        self.with(0, |handle, _| handle.size()).map(count)
    }

    pub(crate) fn read_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let read = self.with(offset, |handle, at| handle.read(bytes, at))?;
            let rest = usize::try_from(count(read)).ok().filter(|read| *read > 0);
            let read = rest.ok_or(ErrorKind::UnexpectedEof)?;
            bytes = bytes.get_mut(read..).ok_or(ErrorKind::InvalidData)?;
            offset += read as u64;
        }
        Ok(())
    }

    pub(crate) fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.with(offset, |handle, at| handle.write(bytes, at))?;
            let rest = usize::try_from(count(written))
                .ok()
                .filter(|written| *written > 0);
            let written = rest.ok_or(ErrorKind::StorageFull)?;
            bytes = bytes.get(written..).ok_or(ErrorKind::InvalidData)?;
            offset += written as u64;
        }
        Ok(())
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.with(0, |handle, _| handle.truncate(number(length)))
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.with(0, |handle, _| handle.flush())
    }
}

impl Drop for SyncFile {
    fn drop(&mut self) {
        HANDLES.with_borrow_mut(|handles| {
            if let Some(handle) = handles.open.remove(&self.0) {
                handle.close();
            }
        });
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "offsets are below 2^48, by the number of a chunk"
)]
fn number(offset: u64) -> f64 {
    offset as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of bytes, below 2^53"
)]
fn count(bytes: f64) -> u64 {
    bytes as u64
}

/// What a promise gives.
async fn promised<T: JsCast>(promise: Thrown<Promise>) -> io::Result<T> {
    let promise = promise.map_err(|error| thrown(&error))?;
    let value = JsFuture::from(promise).await;
    // What the interface says, which this trusts as it trusts that there is such a method.
    Ok(value.map_err(|error| thrown(&error))?.unchecked_into())
}

async fn pause() {
    let waits = Promise::new(&mut |done, _| {
        // Without a timer there is no pause, and no harm.
        drop(set_timeout(&done, PAUSE_MS));
    });
    drop(JsFuture::from(waits).await);
}

/// Takes a file, which is made if it is missing; asks again while somebody else has it.
async fn take(directory: &Directory, name: &str, create: &Object) -> io::Result<Medium> {
    let file: FileHandle = promised(directory.file(name, create)).await?;
    let can = Reflect::has(&file, &"createSyncAccessHandle".into());
    if !can.unwrap_or(false) {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            "synchronous access to files is for dedicated workers: open the database in one",
        ));
    }
    let mut patience = PATIENCE_MS / PAUSE_MS;
    loop {
        match promised(file.open()).await {
            Ok(handle) => return Ok(Medium::Opfs(SyncFile::of(handle))),
            Err(error) if error.kind() == ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                pause().await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn open_here(path: &str, create: bool) -> io::Result<ImageDirectory> {
    let options = Object::new();
    Reflect::set(&options, &"create".into(), &create.into()).map_err(|error| thrown(&error))?;
    let has = |object: &JsValue, key: &str| Reflect::get(object, &key.into()).ok();
    let storage = has(&js_sys::global(), "navigator").and_then(|found| has(&found, "storage"));
    if !storage.is_some_and(|storage| storage.is_object()) {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            "no private file system here: it needs a secure context",
        ));
    }
    let mut directory: Directory = promised(root()).await?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        directory = promised(directory.directory(part, &options)).await?;
    }
    let [bytes, first, second] = MEDIA;
    // The first is the lock: whoever has it gets the others.
    let bytes = take(&directory, bytes, &options).await?;
    let first = take(&directory, first, &options).await?;
    let second = take(&directory, second, &options).await?;
    ImageDirectory::open([bytes, first, second])
}

/// Opens the image at `path`. A task of the browser does it, so that the future may be sent to other threads.
pub(crate) async fn open(path: &str, create: bool) -> Result<ImageDirectory> {
    let attempt = Attempt::new(Operation::Open, path);
    let opening = attempt.clone();
    let (setter, event) = event::channel();
    spawn_local(async move { setter.set(open_here(&opening.name, create).await) });
    let opened = event.await.ok_or_else(|| attempt.lost())?;
    opened.map_err(|error| attempt.failed(error))
}
