//! CRC-32C, salted with where the bytes belong, so that bytes found in the wrong place do not pass.
//!
//! Under `cfg(fuzzing)` every checksum is the same, so that a fuzzer gets behind it.

/// The CRC-32C of `parts`, one after the other.
pub(crate) fn crc32c(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c_append(crc, part))
}

/// Continues the CRC-32C `crc` of what came before with `bytes`.
#[inline]
pub(crate) fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    if cfg!(fuzzing) {
        return 0x5eed_5eed;
    }
    short::append(crc, bytes).unwrap_or_else(|| crc32c::crc32c_append(crc, bytes))
}

/// A few bytes, as records of the log are, without the preparations that pay for many.
///
/// What the unsafe code rests on:
/// 1. A function that is compiled for an instruction is called only where the processor was asked for it.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod short {
    #![expect(
        unsafe_code,
        reason = "the processor's checksum instruction, behind a check for it"
    )]

    use std::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};

    /// From here on the `crc32c` crate is quicker: it works on three pieces at once.
    const BYTES_MAX: usize = 256;

    /// `None` if the bytes are many, or the instruction is missing.
    #[inline]
    pub(super) fn append(crc: u32, bytes: &[u8]) -> Option<u32> {
        if bytes.len() > BYTES_MAX || !std::arch::is_x86_feature_detected!("sse4.2") {
            return None;
        }
        // SAFETY: the processor has it (1).
        Some(unsafe { words(crc, bytes) })
    }

    #[target_feature(enable = "sse4.2")]
    fn words(crc: u32, bytes: &[u8]) -> u32 {
        let (words, rest) = bytes.as_chunks::<8>();
        let crc = words.iter().fold(u64::from(!crc), |crc, word| {
            _mm_crc32_u64(crc, u64::from_le_bytes(*word))
        });
        #[expect(clippy::cast_possible_truncation, reason = "the upper half is zero")]
        let crc = crc as u32;
        !rest.iter().fold(crc, |crc, byte| _mm_crc32_u8(crc, *byte))
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod short {
    pub(super) fn append(_crc: u32, _bytes: &[u8]) -> Option<u32> {
        None
    }
}

#[cfg(all(test, not(fuzzing)))]
mod tests {
    use super::*;

    #[test]
    fn any_split_of_any_length_has_the_checksum_of_the_whole() {
        let bytes: Vec<u8> = (0..600_u32).map(|at| (at * at).to_le_bytes()[1]).collect();
        for length in 0..=bytes.len() {
            let whole = &bytes[..length];
            let expected = crc32c::crc32c(whole);
            for split in [0, length / 3, length / 2, length] {
                let (left, right) = whole.split_at(split);
                assert_eq!(crc32c(&[left, right]), expected, "{length} {split}");
            }
        }
        // The check value of the standard.
        assert_eq!(crc32c(&[b"123456789"]), 0xe306_9283);
    }
}
