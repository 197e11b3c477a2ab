//! Backups in a store of objects, as the crate `object_store` gives it: of a cloud, of a directory, in memory.
//!
//! - An object appears whole, and for good, when the call that puts it returns.
//! - Who changes backups puts the object `LOCK`, which is there only once, and removes it at the end. A process that dies
//!   leaves it, and somebody has to remove it.
//! - Clients of clouds want to run within tokio: what they do is run by a thread of its own, and awaited from wherever the
//!   caller is. So nothing asks for the caller's runtime.

use std::future::Future;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::{Builder, Handle, Runtime};
use trine_io::{File, Mode};

use crate::checksum::crc32c_append;
use crate::db::copy::copy;
use crate::error::{Error, Result};
use crate::file_name::LOCK;
use crate::tree::throttle::Throttle;

/// How much is sent or asked for at a time. Stores of clouds want parts of 5 MiB or more.
const PART_BYTES: u64 = 8 << 20;

/// What lies below a prefix of a store.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    host: Arc<Host>,
}

/// A call that panics leaves a client usable: each is a request of its own.
impl UnwindSafe for Objects {}
impl RefUnwindSafe for Objects {}

/// Who runs what the store's client does.
#[derive(Debug)]
struct Host {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Host {
    fn drop(&mut self) {
        // The last handle may go on a thread that must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn failure(error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotFound { .. } => io::ErrorKind::NotFound,
        Store::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
            io::ErrorKind::PermissionDenied
        }
        Store::NotSupported { .. } | Store::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    Error::Io(io::Error::new(kind, error))
}

/// `None` for what is not there.
fn if_there<T>(result: object_store::Result<T>) -> Result<Option<T>> {
    match result {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        result => result.map(Some).map_err(failure),
    }
}

/// The object `LOCK`, removed when this goes.
#[derive(Debug)]
pub(crate) struct Lease(Objects);

impl Drop for Lease {
    fn drop(&mut self) {
        // If it cannot be removed, whoever comes next is told.
        drop(trine_platform::block_on(
            self.0.remove(LOCK, Mode::Blocking),
        ));
    }
}

impl Objects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Self> {
        let prefix = Path::parse(prefix)
            .map_err(|error| Error::invalid_options(format!("prefix of backups: {error}")))?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("trine-objects")
            .enable_all()
            .build()?;
        let host = Arc::new(Host {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        });
        Ok(Self {
            store,
            prefix,
            host,
        })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// What `work` comes to with the store and the path of an object.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<dyn ObjectStore>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let running = self.host.handle.spawn(work(Arc::clone(&self.store)));
        running.await.map_err(|error| Error::Io(error.into()))
    }

    pub(super) async fn enter(&self) -> Result<Lease> {
        let mark = format!("process {}", std::process::id());
        match self.create(LOCK, mark.into_bytes()).await {
            Ok(()) => Ok(Lease(self.clone())),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Corruption {
                    message: format!(
                        "somebody changes these backups; if that process died, remove the object {}",
                        self.path(LOCK)
                    ),
                })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list(&self, _: Mode) -> Result<Vec<String>> {
        let prefix = self.prefix.clone();
        let listed =
            self.run(|store| async move { store.list_with_delimiter(Some(&prefix)).await });
        let objects = listed.await?.map_err(failure)?.objects;
        let names = objects
            .iter()
            .filter_map(|object| object.location.filename());
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) async fn read(
        &self,
        name: &str,
        bytes_max: u64,
        _: Mode,
    ) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let read = self.run(move |store| async move {
            let object = store.get(&path).await?;
            if object.meta.size > bytes_max {
                return Ok(None);
            }
            object.bytes().await.map(Some)
        });
        match if_there(read.await?)? {
            None => Ok(None),
            Some(Some(bytes)) => Ok(Some(bytes.to_vec())),
            Some(None) => Err(Error::Corruption {
                message: format!("{name} is longer than {bytes_max} bytes"),
            }),
        }
    }

    pub(super) async fn length(&self, name: &str, _: Mode) -> Result<Option<u64>> {
        let path = self.path(name);
        let found = self.run(move |store| async move { store.head(&path).await });
        Ok(if_there(found.await?)?.map(|object| object.size))
    }

    pub(super) async fn fetch(
        &self,
        name: &str,
        bytes: u64,
        target: Option<&File>,
        throttle: Option<&Throttle<'_>>,
        mode: Mode,
    ) -> Result<u32> {
        let (mut at, mut crc) = (0, 0);
        while at < bytes {
            let part = at..bytes.min(at + PART_BYTES);
            let length = part.end - part.start;
            if let Some(throttle) = throttle {
                throttle.pass(to_usize(length), mode).await?;
            }
            let path = self.path(name);
            let got = self.run(move |store| async move { store.get_range(&path, part).await });
            let got = got.await?.map_err(failure)?;
            if got.len() as u64 != length {
                return Err(Error::Corruption {
                    message: format!("{name}: {} bytes at {at} instead of {length}", got.len()),
                });
            }
            crc = crc32c_append(crc, &got);
            if let Some(target) = target {
                target.write_at(mode, at, got.to_vec()).await?;
                target.start_writeback(at, length);
            }
            at += length;
        }
        Ok(crc)
    }

    pub(super) async fn add(
        &self,
        source: &File,
        bytes: u64,
        name: impl FnOnce(u32) -> String,
        throttle: &Throttle<'_>,
        mode: Mode,
    ) -> Result<u32> {
        // The name is known before the object is begun: none is ever renamed, which clouds do by copying.
        let crc = copy(source, None, bytes, None, mode).await?;
        let name = name(crc);
        let path = self.path(&name);
        let begun = self.run(move |store| async move { store.put_multipart(&path).await });
        let mut upload = begun.await?.map_err(failure)?;
        let (mut at, mut sent) = (0, 0);
        let mut outcome = Ok(());
        while at < bytes && outcome.is_ok() {
            let length = (bytes - at).min(PART_BYTES);
            let part = async {
                throttle.pass(to_usize(length), mode).await?;
                Ok(source.read_once_at(mode, at, to_usize(length)).await?)
            };
            match part.await {
                Ok(part) => {
                    sent = crc32c_append(sent, &part);
                    let send = self.run(move |_| async move {
                        let put = upload.put_part(PutPayload::from(part)).await;
                        (upload, put.map_err(failure))
                    });
                    (upload, outcome) = send.await?;
                }
                Err(error) => outcome = Err(error),
            }
            at += length;
        }
        if outcome.is_ok() && sent != crc {
            outcome = Err(Error::Corruption {
                message: format!("{name} changed while it was read"),
            });
        }
        self.run(move |_| async move {
            if outcome.is_ok() {
                return upload.complete().await.map(drop).map_err(failure);
            }
            // What it leaves, the store's own rules remove.
            drop(upload.abort().await);
            outcome
        })
        .await??;
        Ok(crc)
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>, _: Mode) -> Result<()> {
        self.create(name, bytes).await
    }

    /// Puts an object that is not there yet.
    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.path(name);
        let put = self.run(move |store| async move {
            let options = PutOptions::from(PutMode::Create);
            store
                .put_opts(&path, PutPayload::from(bytes), options)
                .await
        });
        put.await?.map(drop).map_err(failure)
    }

    pub(super) async fn remove(&self, name: &str, _: Mode) -> Result<()> {
        let path = self.path(name);
        let removed = self.run(move |store| async move { store.delete(&path).await });
        if_there(removed.await?).map(drop)
    }

    pub(super) async fn offload<T: Send + Unpin + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let running = self.host.handle.spawn_blocking(job);
        running.await.map_err(|error| Error::Io(error.into()))?
    }
}

/// No part is as long as that.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
