//! The storage backends, tested through their interface alone.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
mod contract;
mod faults;
mod image;
mod model;
