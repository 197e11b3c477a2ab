//! The bytes of a bucket's options.
//!
//! Sizes that do not fit this host's `usize` are read as the largest that does: a 32-bit host can
//! then open what a 64-bit one wrote, and no block or value reaches such sizes there anyway.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::Fault;
use crate::options::{
    BlobLevelMergePolicy, BucketOptions, CompressionProfile, FilterPolicy, IndexSearchPolicy,
    PrefixFilterPolicy,
};
use crate::prefix::PrefixExtractor;

/// Fields in the order of the format document. The numbers of variants reach the disk: never renumber.
pub(crate) fn encode_options(options: &BucketOptions) -> Vec<u8> {
    let mut out = vec![
        u8::from(options.allow_empty_keys),
        match options.compression {
            CompressionProfile::None => 0,
            CompressionProfile::Fast => 1,
            CompressionProfile::Zstd => 2,
        },
    ];
    put_varint(&mut out, options.block_bytes as u64);
    match options.filter_policy {
        FilterPolicy::Disabled => out.push(0),
        FilterPolicy::Bloom { bits_per_key } => out.extend_from_slice(&[1, bits_per_key]),
    }
    match &options.prefix_extractor {
        PrefixExtractor::Disabled => out.push(0),
        PrefixExtractor::FixedLen(length) => {
            out.push(1);
            put_varint(&mut out, *length as u64);
        }
        PrefixExtractor::Separator(separator) => out.extend_from_slice(&[2, *separator]),
        PrefixExtractor::Custom(name) => {
            out.push(3);
            put_bytes(&mut out, name.as_bytes());
        }
    }
    match options.prefix_filter_policy {
        PrefixFilterPolicy::Disabled => out.push(0),
        PrefixFilterPolicy::Bloom { bits_per_prefix } => {
            out.extend_from_slice(&[1, bits_per_prefix]);
        }
    }
    out.push(match options.index_search_policy {
        IndexSearchPolicy::Linear => 0,
        IndexSearchPolicy::Binary => 1,
        IndexSearchPolicy::Auto => 2,
    });
    put_varint(&mut out, options.blob_threshold_bytes as u64);
    out.push(match options.blob_level_merge_policy {
        BlobLevelMergePolicy::Disabled => 0,
        BlobLevelMergePolicy::Auto => 1,
        BlobLevelMergePolicy::Always => 2,
    });
    if let Some(name) = &options.merge_operator {
        put_bytes(&mut out, name.as_bytes());
    }
    out
}

/// The opposite of [`encode_options`].
pub(crate) fn decode_options(bytes: &[u8]) -> Result<BucketOptions, Fault> {
    let mut reader = Reader::new(bytes);
    let options = BucketOptions {
        allow_empty_keys: match reader.u8()? {
            0 => false,
            1 => true,
            tag => return Err(Fault::Tag(tag)),
        },
        compression: match reader.u8()? {
            0 => CompressionProfile::None,
            1 => CompressionProfile::Fast,
            2 => CompressionProfile::Zstd,
            tag => return Err(Fault::Tag(tag)),
        },
        block_bytes: size(&mut reader)?,
        filter_policy: match reader.u8()? {
            0 => FilterPolicy::Disabled,
            1 => FilterPolicy::Bloom {
                bits_per_key: reader.u8()?,
            },
            tag => return Err(Fault::Tag(tag)),
        },
        prefix_extractor: match reader.u8()? {
            0 => PrefixExtractor::Disabled,
            1 => PrefixExtractor::FixedLen(size(&mut reader)?),
            2 => PrefixExtractor::Separator(reader.u8()?),
            3 => PrefixExtractor::Custom(reader.string()?.to_owned()),
            tag => return Err(Fault::Tag(tag)),
        },
        prefix_filter_policy: match reader.u8()? {
            0 => PrefixFilterPolicy::Disabled,
            1 => PrefixFilterPolicy::Bloom {
                bits_per_prefix: reader.u8()?,
            },
            tag => return Err(Fault::Tag(tag)),
        },
        index_search_policy: match reader.u8()? {
            0 => IndexSearchPolicy::Linear,
            1 => IndexSearchPolicy::Binary,
            2 => IndexSearchPolicy::Auto,
            tag => return Err(Fault::Tag(tag)),
        },
        blob_threshold_bytes: size(&mut reader)?,
        blob_level_merge_policy: match reader.u8()? {
            0 => BlobLevelMergePolicy::Disabled,
            1 => BlobLevelMergePolicy::Auto,
            2 => BlobLevelMergePolicy::Always,
            tag => return Err(Fault::Tag(tag)),
        },
        merge_operator: if reader.is_empty() {
            None
        } else {
            Some(reader.string()?.to_owned())
        },
    };
    reader.finish()?;
    options
        .validate()
        .map_err(|_| Fault::Field("bucket options"))?;
    Ok(options)
}

fn size(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    Ok(usize::try_from(reader.varint()?).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_round_trip() {
        let mut all = vec![BucketOptions::default()];
        for extractor in [
            PrefixExtractor::FixedLen(usize::MAX),
            PrefixExtractor::Separator(b'/'),
            PrefixExtractor::Custom("x".to_owned()),
        ] {
            all.push(BucketOptions {
                allow_empty_keys: false,
                compression: CompressionProfile::Zstd,
                block_bytes: 1,
                filter_policy: FilterPolicy::Disabled,
                prefix_extractor: extractor,
                prefix_filter_policy: PrefixFilterPolicy::Disabled,
                index_search_policy: IndexSearchPolicy::Linear,
                blob_threshold_bytes: usize::MAX,
                blob_level_merge_policy: BlobLevelMergePolicy::Always,
                merge_operator: None,
            });
        }
        for options in all {
            let bytes = encode_options(&options);
            assert_eq!(decode_options(&bytes), Ok(options.clone()));
            for length in 0..bytes.len() {
                assert!(decode_options(bytes.get(..length).unwrap_or_default()).is_err());
            }
            let with_operator = options.with_merge_operator("sum");
            let more = encode_options(&with_operator);
            assert_eq!(decode_options(&more), Ok(with_operator));
            assert_eq!(more.strip_prefix(bytes.as_slice()), Some(&b"\x03sum"[..]));
        }
    }

    #[test]
    fn default_options_in_the_format_document() {
        assert_eq!(
            encode_options(&BucketOptions::default()),
            [
                0x01, 0x01, 0x80, 0x80, 0x01, 0x01, 0x0a, 0x00, 0x01, 0x0a, 0x02, 0x80, 0x80, 0x40,
                0x01
            ]
        );
    }

    #[test]
    fn options_that_no_bucket_can_have_are_a_fault() {
        let mut bytes = encode_options(&BucketOptions::default());
        bytes.splice(2..5, [0]); // no block size
        assert_eq!(decode_options(&bytes), Err(Fault::Field("bucket options")));
    }
}
