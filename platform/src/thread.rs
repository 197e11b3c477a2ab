//! Named background threads, where the host has them.

/// Starts a named thread.
///
/// # Errors
/// The host has no threads, or could not start one.
pub fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
}
