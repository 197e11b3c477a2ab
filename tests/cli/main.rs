//! The program `trine`: what its commands print, and how they end.
#![cfg(not(target_family = "wasm"))]
#![expect(
    clippy::disallowed_methods,
    reason = "files beside the database, and damage to it from outside"
)]

mod damage;
mod fixture;
mod programs;
mod reports;
mod rows;
mod transfer;
mod wrong;
