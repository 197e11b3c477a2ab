//! The atomics of everything that is proved with loom: std's, or loom's under `cfg(loom)`.
//!
//! Only what a loom model explores goes through here. Under loom these types work inside
//! `loom::model` alone, so other tests of the same modules are compiled out there.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
