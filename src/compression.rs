//! Codecs, and the byte that names them on disk.
//!
//! - Bytes are stored compressed only if that saves at least an eighth; otherwise decoding them
//!   would cost more than reading them.
//! - Decompression allocates what the caller's limit and the stored length make plausible, never what the bytes claim.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::error::Fault;
use crate::options::CompressionProfile;

/// How bytes are stored. The numbers reach the disk: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Codec {
    /// As they are.
    None = 0,
    /// One LZ4 block without a frame.
    Lz4 = 1,
    /// One zstd frame, written at level 1.
    Zstd = 2,
}

impl Codec {
    /// What a bucket's profile means for the blocks of its tables.
    pub(crate) fn of(profile: CompressionProfile) -> Self {
        match profile {
            CompressionProfile::None => Self::None,
            CompressionProfile::Fast => Self::Lz4,
            CompressionProfile::Zstd => Self::Zstd,
        }
    }

    /// What it means for values in blob files: `Fast` leaves them as they are, so that they are lent from the map.
    pub(crate) fn of_values(profile: CompressionProfile) -> Self {
        match profile {
            CompressionProfile::None | CompressionProfile::Fast => Self::None,
            CompressionProfile::Zstd => Self::Zstd,
        }
    }
}

/// No LZ4 sequence yields more than 255 bytes for a byte of input.
const LZ4_EXPANSION_MAX: u64 = 255;

#[cfg(codec_zstd)]
const ZSTD_LEVEL: i32 = 1;

impl Codec {
    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::None),
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The compressed form of `raw` and its codec, or `None` where storing it as it is costs less.
///
/// A codec that this build lacks compresses nothing: readers of older files meet it, writers need not.
pub(crate) fn compress(codec: Codec, raw: &[u8]) -> Option<(Vec<u8>, Codec)> {
    let stored = match codec {
        Codec::None => return None,
        Codec::Lz4 => lz4_flex::block::compress(raw),
        Codec::Zstd => zstd_compress(raw)?,
    };
    let worthwhile = raw.len().saturating_sub(raw.len().div_ceil(8));
    (stored.len() <= worthwhile).then_some((stored, codec))
}

/// The `raw_bytes` bytes that `stored` stands for; at most `limit` of them.
pub(crate) fn decompress(
    codec: Codec,
    stored: &[u8],
    raw_bytes: u32,
    limit: u32,
) -> Result<Vec<u8>, Fault> {
    let available = match codec {
        Codec::None => stored.len() as u64,
        Codec::Lz4 => (stored.len() as u64)
            .saturating_mul(LZ4_EXPANSION_MAX)
            .min(u64::from(limit)),
        Codec::Zstd => u64::from(limit),
    };
    let too_long = Fault::Length {
        claimed: u64::from(raw_bytes),
        available,
    };
    if u64::from(raw_bytes) > available.min(u64::from(limit)) {
        return Err(too_long);
    }
    let length = usize::try_from(raw_bytes).map_err(|_| too_long)?;
    let raw = match codec {
        Codec::None => stored.to_vec(),
        Codec::Lz4 => {
            let mut raw = vec![0; length];
            let written = lz4_flex::block::decompress_into(stored, &mut raw)
                .map_err(|_| Fault::Field("LZ4 block"))?;
            raw.truncate(written);
            raw
        }
        Codec::Zstd => zstd_decompress(stored, length)?,
    };
    if raw.len() == length {
        Ok(raw)
    } else {
        Err(Fault::Field("raw length"))
    }
}

#[cfg(codec_zstd)]
fn zstd_compress(raw: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(raw, ZSTD_LEVEL).ok()
}

#[cfg(codec_zstd)]
fn zstd_decompress(stored: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    let mut raw = vec![0; length];
    let written = zstd::bulk::decompress_to_buffer(stored, raw.as_mut_slice())
        .map_err(|_| Fault::Field("zstd frame"))?;
    raw.truncate(written);
    Ok(raw)
}

#[cfg(not(codec_zstd))]
fn zstd_compress(_raw: &[u8]) -> Option<Vec<u8>> {
    None
}

#[cfg(not(codec_zstd))]
fn zstd_decompress(_stored: &[u8], _length: usize) -> Result<Vec<u8>, Fault> {
    Err(Fault::Codec("zstd"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

    #[test]
    fn tags_name_codecs_and_nothing_else() {
        for codec in CODECS {
            assert_eq!(Codec::from_tag(codec as u8), Some(codec));
        }
        assert_eq!(Codec::from_tag(3), None);
    }

    #[test]
    fn bytes_that_do_not_shrink_by_an_eighth_are_stored_as_they_are() {
        let noise: Vec<u8> = (0..4096u64)
            .map(|i| xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()).to_le_bytes()[0])
            .collect();
        for codec in CODECS {
            assert_eq!(compress(codec, &noise), None);
            assert_eq!(compress(codec, b""), None);
        }
    }

    #[test]
    fn a_raw_length_beyond_the_limit_or_the_codec_is_refused_before_allocating() {
        let refused = |codec, stored: &[u8], raw_bytes, limit| {
            matches!(
                decompress(codec, stored, raw_bytes, limit),
                Err(Fault::Length { .. })
            )
        };
        assert!(refused(Codec::None, b"abc", 4, 100));
        assert!(refused(Codec::Lz4, b"abc", 766, u32::MAX));
        assert!(refused(Codec::Lz4, b"abc", 101, 100));
        assert!(refused(Codec::Zstd, b"abc", 101, 100));
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back_and_no_other_length_passes(
            pattern in proptest::collection::vec(any::<u8>(), 1..40), repeats in 8usize..200,
        ) {
            let raw = pattern.repeat(repeats);
            let length = u32::try_from(raw.len()).unwrap();
            for codec in CODECS {
                let (stored, codec) = compress(codec, &raw).unwrap_or((raw.clone(), Codec::None));
                prop_assert_eq!(decompress(codec, &stored, length, length), Ok(raw.clone()));
                prop_assert!(decompress(codec, &stored, length - 1, length).is_err());
                prop_assert!(decompress(codec, &stored, length + 1, length + 1).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(stored in proptest::collection::vec(any::<u8>(), 0..200), raw in 0u32..2000) {
            for codec in CODECS {
                let _ = decompress(codec, &stored, raw, 1 << 20);
            }
        }
    }
}
