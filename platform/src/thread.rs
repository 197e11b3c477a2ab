//! Named background threads, where the host has them.

/// Whether this host has threads at all. Where it has, starting one may still fail.
pub const fn available() -> bool {
    cfg!(any(not(target_family = "wasm"), target_os = "emscripten"))
}

/// Exists where threads do: a value that holds one cannot be anywhere else, and the compiler leaves out what is for it.
#[derive(Clone, Copy, Debug)]
pub struct Threads(Existence);

#[cfg(any(not(target_family = "wasm"), target_os = "emscripten"))]
type Existence = ();
#[cfg(not(any(not(target_family = "wasm"), target_os = "emscripten")))]
type Existence = std::convert::Infallible;

impl Threads {
    /// One, if there are threads.
    pub const fn here() -> Option<Self> {
        #[cfg(any(not(target_family = "wasm"), target_os = "emscripten"))]
        return Some(Self(()));
        #[cfg(not(any(not(target_family = "wasm"), target_os = "emscripten")))]
        return None;
    }
}

/// How many threads can run at once here; 1 where nobody can tell.
pub fn available_parallelism() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Starts a named thread.
///
/// # Errors
/// The host has no threads, or could not start one.
pub fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    if !available() {
        return Err(std::io::ErrorKind::Unsupported.into());
    }
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
}

/// Runs `beside` on a named thread while `here` runs on this one; returns when both have ended. A panic of either goes on
/// here.
///
/// # Errors
/// The host has no threads, or could not start one: then neither ran.
pub fn both<A: Send, B>(
    name: &str,
    beside: impl FnOnce() -> A + Send,
    here: impl FnOnce() -> B,
) -> std::io::Result<(A, B)> {
    std::thread::scope(|scope| {
        let beside = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, beside)?;
        let here = here();
        match beside.join() {
            Ok(beside) => Ok((beside, here)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn thread_carries_its_name() {
        let thread = spawn("trine-test", || {
            assert_eq!(std::thread::current().name(), Some("trine-test"));
        });
        assert_eq!(thread.is_ok(), available());
        if let Ok(thread) = thread {
            thread.join().unwrap();
        }
        assert!(available_parallelism() >= 1);
    }

    #[test]
    fn two_run_at_once_and_both_are_waited_for() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(0);
        let send = move || (0..3).all(|number| sender.send(number).is_ok());
        match both("trine-test", || receiver.into_iter().sum::<i32>(), send) {
            Ok(both) => assert_eq!(both, (3, true)),
            Err(_) => assert!(!available()),
        }
    }
}
