//! The hash of a user key that reaches the disk: XXH3-64 with seed 0, fixed for ever.
//!
//! One hash serves a whole lookup. Its bits are shared out so that those that choose a place in one
//! structure are not the ones that another structure compares:
//!
//! | bits | used by |
//! | --- | --- |
//! | 32..64 | filter: which line |
//! | 0..32 | filter: which bits of the line |
//! | 16..48 | block hash index: which bucket |
//! | 0..16 | block hash index: the bucket's tag |

/// XXH3-64 (seed 0) of a user key, or of the prefix that an extractor took from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

impl KeyHash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(bytes))
    }

    /// Bits 32..64, scaled to `0..count`.
    pub(crate) fn line(self, count: u32) -> u32 {
        scale(self.0 >> 32, count)
    }

    /// Bits 0..32.
    pub(crate) fn low(self) -> u32 {
        truncate(self.0)
    }

    /// Bits 16..48, scaled to `0..count`.
    pub(crate) fn bucket(self, count: u32) -> u32 {
        scale(u64::from(truncate(self.0 >> 16)), count)
    }

    /// Bits 0..16.
    pub(crate) fn tag(self) -> u32 {
        self.low() & 0xffff
    }
}

/// Maps 32 bits evenly to `0..count` without a division (Lemire 2019, "Fast Random Integer Generation in an Interval").
fn scale(bits: u64, count: u32) -> u32 {
    truncate((bits * u64::from(count)) >> 32)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low 32 bits are what is wanted"
)]
fn truncate(bits: u64) -> u32 {
    bits as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input and results of the xxHash project's sanity tests for `XXH3_64bits` (seed 0).
    #[test]
    fn published_vectors_hold() {
        let mut state = 2_654_435_761u64;
        let buffer: Vec<u8> = (0..2048)
            .map(|_| {
                let byte = state.to_be_bytes()[0];
                state = state.wrapping_mul(11_400_714_785_074_694_797);
                byte
            })
            .collect();
        for (length, hash) in [
            (0, 0x2D06_8005_38D3_94C2),
            (1, 0xC44B_DFF4_074E_ECDB),
            (6, 0x27B5_6A84_CD2D_7325),
            (12, 0xA713_DAF0_DFBB_77E7),
            (24, 0xA3FE_70BF_9D35_10EB),
            (48, 0x397D_A259_ECBA_1F11),
            (80, 0xBCDE_FBBB_2C47_C90A),
            (195, 0xCD94_217E_E362_EC3A),
            (403, 0xCDEB_804D_65C6_DEA4),
            (512, 0x617E_4959_9013_CB6B),
            (2048, 0xDD59_E2C3_A5F0_38E0),
        ] {
            assert_eq!(
                KeyHash::of(&buffer[..length]),
                KeyHash(hash),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn parts_are_the_documented_bits() {
        let hash = KeyHash(0xffff_0000_1234_5678);
        assert_eq!(hash.line(0x1_0000), 0xffff);
        assert_eq!(hash.low(), 0x1234_5678);
        assert_eq!(hash.bucket(1 << 16), 0x0000);
        assert_eq!(hash.bucket(u32::MAX), 0x1233);
        assert_eq!(hash.tag(), 0x5678);
    }
}
