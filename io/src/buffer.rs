//! Cheap shared slices of file bytes: mapped, or read into memory.

use std::ops::Deref;
use std::sync::Arc;

use crate::mapped::Map;

/// Immutable bytes of a sealed file. Cloning shares them; they stay valid after the file is removed.
///
/// # Cost
/// A clone is one reference count; reading through it is one branch and at most one more load than a slice.
#[derive(Clone)]
pub struct Bytes(Inner);

#[derive(Clone)]
enum Inner {
    Heap(Arc<[u8]>),
    Mapped(Arc<Map>),
}

impl Bytes {
    /// Shares bytes in memory, copying them once.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Inner::Heap(bytes.into()))
    }

    pub(crate) fn from_shared(bytes: Arc<[u8]>) -> Self {
        Self(Inner::Heap(bytes))
    }

    pub(crate) fn from_map(map: Map) -> Self {
        Self(Inner::Mapped(Arc::new(map)))
    }

    /// Whether the bytes are a map of the file: reading them may wait for the disk.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Inner::Mapped(_))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Heap(bytes) => bytes,
            Inner::Mapped(map) => map,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
