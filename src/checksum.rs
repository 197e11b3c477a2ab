//! CRC-32C, salted with where the bytes belong, so that bytes found in the wrong place do not pass.
//!
//! Under `cfg(fuzzing)` every checksum is the same, so that a fuzzer gets behind it.

/// The CRC-32C of `parts`, one after the other.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c_append(crc, part))
}

/// Continues the CRC-32C `crc` of what came before with `bytes`.
pub(crate) fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    if cfg!(fuzzing) {
        0x5eed_5eed
    } else {
        crc32c::crc32c_append(crc, bytes)
    }
}
