//! What is chosen for one commit.

use crate::options::DurabilityMode;

/// Options of one commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// What the commit survives once it is acknowledged; the database's own mode is a floor.
    /// Default [`DurabilityMode::Buffered`].
    pub durability: DurabilityMode,
}

impl WriteOptions {
    /// With this durability.
    #[must_use]
    pub const fn new(durability: DurabilityMode) -> Self {
        Self { durability }
    }

    /// [`DurabilityMode::Buffered`], the default.
    #[must_use]
    pub const fn buffered() -> Self {
        Self::new(DurabilityMode::Buffered)
    }

    /// [`DurabilityMode::Flush`].
    #[must_use]
    pub const fn flush() -> Self {
        Self::new(DurabilityMode::Flush)
    }

    /// [`DurabilityMode::SyncData`].
    #[must_use]
    pub const fn sync_data() -> Self {
        Self::new(DurabilityMode::SyncData)
    }

    /// [`DurabilityMode::SyncAll`].
    #[must_use]
    pub const fn sync_all() -> Self {
        Self::new(DurabilityMode::SyncAll)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructors_name_their_durability() {
        for (options, durability) in [
            (WriteOptions::default(), DurabilityMode::Buffered),
            (WriteOptions::buffered(), DurabilityMode::Buffered),
            (WriteOptions::flush(), DurabilityMode::Flush),
            (WriteOptions::sync_data(), DurabilityMode::SyncData),
            (WriteOptions::sync_all(), DurabilityMode::SyncAll),
        ] {
            assert_eq!(options.durability, durability);
        }
    }
}
