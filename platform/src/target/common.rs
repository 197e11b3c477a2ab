//! For hosts without Linux's calls: the same surface from what every host has.

use std::fs::File;
use std::io;

/// Writes all of `bytes` from `offset` on; they survive power loss when it returns.
///
/// # Errors
/// The host's: nothing is known then of what is in the file and what is durable.
pub fn write_all_durably_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    super::write_all_at(file, bytes, offset)?;
    super::sync_data(file)
}

/// Starts writing a range to the disk, so that a later sync finds less to do. Promises nothing.
pub fn start_writeback(_file: &File, _offset: u64, _length: u64) {}

/// Makes the file `length` long with space for every byte. Not known how here: says so, and changes nothing.
///
/// # Errors
/// None here.
pub fn reserve(_file: &File, _length: u64) -> io::Result<bool> {
    Ok(false)
}

/// Where the part of a file of `length` bytes begins that was never written. Not known here: says `length`.
pub fn written_end(_file: &File, length: u64) -> u64 {
    length
}

/// Whether bytes of the file that were written once can be written over without new space. Not known here.
pub fn overwrites_in_place(_file: &File) -> bool {
    false
}
