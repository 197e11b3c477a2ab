//! Every backend in either mode, as the tests drive them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;
use trine_io::simulation::{Disk, Simulation, Step};
use trine_io::{Completion, Mode, Result, Storage};
use trine_platform::block_on;

/// A fresh storage and the mode to use it in.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) storage: Storage,
    pub(crate) mode: Mode,
    /// Where the files are, if they are files.
    pub(crate) directory: Option<TempDir>,
}

impl Bench {
    /// The result of an operation; in blocking mode it must be there at once.
    pub(crate) fn done<T: Unpin>(&self, completion: Completion<T>) -> Result<T> {
        match self.mode {
            Mode::Blocking => now(completion),
            Mode::Cooperative => block_on(completion),
        }
    }
}

/// The result of a future that must be ready at its first poll.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a blocking operation pends"),
    }
}

/// Runs `case` on a fresh storage of each backend in each mode.
pub(crate) fn on_every_backend(case: impl Fn(&Bench)) {
    for mode in [Mode::Blocking, Mode::Cooperative] {
        let mut disk = Disk::default();
        disk.apply(&Step::MakeDirectory {
            path: "here".into(),
        });
        let simulated = Simulation::new(disk, 0).storage("here");
        let image = Storage::image(&Storage::memory()).expect("an image");
        for storage in [Storage::memory(), simulated, image] {
            case(&Bench {
                storage,
                mode,
                directory: None,
            });
        }
        for make in [Storage::portable, Storage::portable_inline] {
            let directory = tempfile::tempdir().expect("a place for temporary files");
            case(&Bench {
                storage: make(directory.path()),
                mode,
                directory: Some(directory),
            });
        }
    }
}
