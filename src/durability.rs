//! What a commit promises. Apart from the options, because an error names it and options fail with errors.

/// How much a commit survives once it is acknowledged, from weak to strong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DurabilityMode {
    /// Handed to the operating system.
    #[default]
    Buffered,
    /// As `Buffered`, with every user-space buffer flushed.
    Flush,
    /// Survives power loss: the log's data is synced (`fdatasync` class).
    SyncData,
    /// Survives power loss: the log's data and metadata are synced (`fsync` class).
    SyncAll,
}

impl DurabilityMode {
    /// The one of the two that promises more.
    pub(crate) fn stronger(self, other: Self) -> Self {
        if (self as u8) < (other as u8) {
            other
        } else {
            self
        }
    }
}
