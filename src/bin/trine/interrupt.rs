//! The interrupt key. The first one asks long work to stop at a place where that makes sense; whatever has no such
//! place just ends, which the database bears as it bears any crash.

use std::path::Path;
use std::process::exit;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;

/// Whether somebody asks for [`requested`] now and then.
static AWAITED: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// What to do before ending at once.
static CLEANUP: Mutex<Option<Cleanup>> = Mutex::new(None);

type Cleanup = Box<dyn FnOnce() + Send>;

const CODE: i32 = 130;

/// Takes over the interrupt key.
pub(crate) fn prepare() -> Result<(), Failure> {
    let taken = ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, SeqCst);
        if AWAITED.load(SeqCst) && !again {
            return;
        }
        let cleanup = CLEANUP
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(cleanup) = cleanup {
            cleanup();
        }
        exit(CODE);
    });
    taken.map_err(|error| Failure::Failed(format!("the interrupt key: {error}")))
}

/// While it lives, the first interrupt only asks.
#[derive(Debug)]
pub(crate) struct Awaited(());

impl Awaited {
    pub(crate) fn begin() -> Self {
        AWAITED.store(true, SeqCst);
        Self(())
    }
}

/// Whether the key was pressed.
pub(crate) fn requested() -> bool {
    REQUESTED.load(SeqCst)
}

impl Drop for Awaited {
    fn drop(&mut self) {
        AWAITED.store(false, SeqCst);
    }
}

/// Removes a directory in which somebody may still be writing.
pub(crate) fn remove_directory(path: &Path) {
    const ATTEMPTS_MAX: u32 = 20;
    for _ in 0..ATTEMPTS_MAX {
        let removed = std::fs::remove_dir_all(path);
        if removed.is_ok() || !path.exists() {
            return;
        }
    }
}

/// Runs `work`; an interrupt meanwhile does `cleanup` and ends the program.
pub(crate) fn cleaning_up<T>(
    cleanup: impl FnOnce() + Send + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let set = |value| *CLEANUP.lock().unwrap_or_else(PoisonError::into_inner) = value;
    set(Some(Box::new(cleanup) as Cleanup));
    let result = work();
    set(None);
    result
}
