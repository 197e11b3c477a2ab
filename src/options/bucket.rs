//! What is chosen for one bucket when it is created, and stays with it.

use crate::error::{Error, Result};
use crate::prefix::PrefixExtractor;

/// How table blocks and blob values are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompressionProfile {
    /// Stored as they are; reads borrow them from the file's mapping.
    None,
    /// LZ4 for blocks: little processor time, a moderate ratio. Blob values are stored as they are, so that reads
    /// borrow them from the file's mapping.
    #[default]
    Fast,
    /// Zstandard for both: a better ratio for more processor time. Needs the `zstd` feature and a native
    /// target; where it is absent, using such a bucket fails with [`Error::CodecUnavailable`].
    Zstd,
}

/// The filter that lets point reads skip tables which cannot hold the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterPolicy {
    /// No filter.
    Disabled,
    /// A Bloom filter.
    Bloom {
        /// Bits spent per key; 10 gives about one false positive in a hundred. Not zero.
        bits_per_key: u8,
    },
}

impl Default for FilterPolicy {
    /// A Bloom filter of 10 bits per key.
    fn default() -> Self {
        Self::Bloom { bits_per_key: 10 }
    }
}

/// The filter that lets prefix scans skip tables which cannot hold the prefix.
/// Without effect unless the bucket has a [`PrefixExtractor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixFilterPolicy {
    /// No filter.
    Disabled,
    /// A Bloom filter.
    Bloom {
        /// Bits spent per distinct prefix. Not zero.
        bits_per_prefix: u8,
    },
}

impl Default for PrefixFilterPolicy {
    /// A Bloom filter of 10 bits per prefix.
    fn default() -> Self {
        Self::Bloom {
            bits_per_prefix: 10,
        }
    }
}

/// How a table's index was to be searched. Stored and returned with the bucket's options; it has no effect.
///
/// Tables of this version have a fence index of eight-byte key heads that lie side by side, for which halving
/// is the best search at any size: an index of a hundred blocks takes seven probes in a dozen cache lines.
/// There is nothing left to choose, and the answers never depended on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexSearchPolicy {
    /// From front to back, in the first version.
    Linear,
    /// By halves, as every index is searched.
    Binary,
    /// Whichever suits the index: by halves.
    #[default]
    Auto,
}

/// Whether compaction rewrites the blob values it meets into new blob files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlobLevelMergePolicy {
    /// Never: values stay where they are until blob garbage collection moves them.
    Disabled,
    /// When a compaction merges short blob files, and when more than a sixth of all values in blob files is garbage (while others write, more
    /// than [`DbOptions::blob_gc_discardable_ratio`](crate::DbOptions::blob_gc_discardable_ratio)): then the stalest files are rewritten.
    #[default]
    Auto,
    /// In every compaction.
    Always,
}

/// Options of one bucket, fixed when it is created and stored with it.
///
/// ```
/// use trine_kv::options::{BucketOptions, CompressionProfile};
///
/// let options = BucketOptions {
///     compression: CompressionProfile::None,
///     ..BucketOptions::default()
/// };
/// assert_eq!(options.block_bytes, BucketOptions::DEFAULT_BLOCK_BYTES);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketOptions {
    /// Whether the empty key may be written. Default `true`.
    /// If not, writing it fails with [`Error::InvalidOptions`] and reading it finds nothing.
    pub allow_empty_keys: bool,
    /// Compression of table blocks, and of blob values under [`CompressionProfile::Zstd`]. Default [`CompressionProfile::Fast`].
    pub compression: CompressionProfile,
    /// Target size of a data block before compression, in bytes. Default 16 KiB. Not zero.
    ///
    /// A read from the disk fetches one block. Smaller ones are read sooner, larger ones are scanned faster, compress
    /// better, and take less memory for indexes. Where most reads come from the disk, 8 KiB answers 1.3 times as many of them one by one and
    /// 1.6 times as many with 64 at once: `docs/decisions/0014-size-of-blocks.md`.
    pub block_bytes: usize,
    /// Filter for point reads. Default: Bloom, 10 bits per key.
    pub filter_policy: FilterPolicy,
    /// How keys are cut into prefixes for the prefix filter. Default: not at all.
    pub prefix_extractor: PrefixExtractor,
    /// Filter for prefix scans. Default: Bloom, 10 bits per prefix.
    pub prefix_filter_policy: PrefixFilterPolicy,
    /// Kept for programs that set it; see [`IndexSearchPolicy`]. Default [`IndexSearchPolicy::Auto`].
    pub index_search_policy: IndexSearchPolicy,
    /// Values of at least this many bytes go to blob files. Default 1 MiB. Not zero.
    pub blob_threshold_bytes: usize,
    /// Whether compaction rewrites blob values. Default [`BlobLevelMergePolicy::Auto`].
    pub blob_level_merge_policy: BlobLevelMergePolicy,
    /// The name of the [operator](crate::MergeOperator) that turns what is merged into a key into its value, which
    /// [`DbOptions::merge_operators`](crate::DbOptions) give at each open. Default none: nothing can be merged. Not empty.
    pub merge_operator: Option<String>,
}

impl BucketOptions {
    /// Default of [`BucketOptions::block_bytes`].
    pub const DEFAULT_BLOCK_BYTES: usize = 16_384;
    /// Default of [`BucketOptions::blob_threshold_bytes`].
    pub const DEFAULT_BLOB_THRESHOLD_BYTES: usize = 1_048_576;

    /// Sets [`BucketOptions::prefix_extractor`].
    #[must_use]
    pub fn with_prefix_extractor(mut self, prefix_extractor: PrefixExtractor) -> Self {
        self.prefix_extractor = prefix_extractor;
        self
    }

    /// Sets [`BucketOptions::blob_threshold_bytes`].
    #[must_use]
    pub const fn with_blob_threshold_bytes(mut self, blob_threshold_bytes: usize) -> Self {
        self.blob_threshold_bytes = blob_threshold_bytes;
        self
    }

    /// Sets [`BucketOptions::blob_level_merge_policy`].
    #[must_use]
    pub const fn with_blob_level_merge_policy(mut self, policy: BlobLevelMergePolicy) -> Self {
        self.blob_level_merge_policy = policy;
        self
    }

    /// Sets [`BucketOptions::merge_operator`].
    #[must_use]
    pub fn with_merge_operator(mut self, name: impl Into<String>) -> Self {
        self.merge_operator = Some(name.into());
        self
    }

    /// [`BlobLevelMergePolicy::Always`] if `enabled`, else [`BlobLevelMergePolicy::Disabled`].
    #[must_use]
    pub const fn with_blob_level_merge_enabled(self, enabled: bool) -> Self {
        self.with_blob_level_merge_policy(if enabled {
            BlobLevelMergePolicy::Always
        } else {
            BlobLevelMergePolicy::Disabled
        })
    }

    /// Refuses what no bucket can work with.
    pub(crate) fn validate(&self) -> Result<()> {
        let message = if self.block_bytes == 0 {
            "block size must be non-zero"
        } else if self.filter_policy == (FilterPolicy::Bloom { bits_per_key: 0 }) {
            "bits_per_key must be non-zero for Bloom filters"
        } else if self.prefix_filter_policy == (PrefixFilterPolicy::Bloom { bits_per_prefix: 0 }) {
            "bits_per_prefix must be non-zero for Bloom filters"
        } else if self.blob_threshold_bytes == 0 {
            "blob threshold must be non-zero"
        } else if self.merge_operator.as_deref() == Some("") {
            "a merge operator must have a name"
        } else {
            return Ok(());
        };
        Err(Error::invalid_options(message))
    }
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            allow_empty_keys: true,
            compression: CompressionProfile::default(),
            block_bytes: Self::DEFAULT_BLOCK_BYTES,
            filter_policy: FilterPolicy::default(),
            prefix_extractor: PrefixExtractor::default(),
            prefix_filter_policy: PrefixFilterPolicy::default(),
            index_search_policy: IndexSearchPolicy::default(),
            blob_threshold_bytes: Self::DEFAULT_BLOB_THRESHOLD_BYTES,
            blob_level_merge_policy: BlobLevelMergePolicy::default(),
            merge_operator: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut BucketOptions)) -> Option<String> {
        let mut options = BucketOptions::default();
        change(&mut options);
        options.validate().err().map(|error| error.to_string())
    }

    #[test]
    fn defaults_are_as_documented() {
        let options = BucketOptions::default();
        assert!(options.allow_empty_keys);
        assert_eq!(options.compression, CompressionProfile::Fast);
        assert_eq!(options.block_bytes, 16_384);
        assert_eq!(
            options.filter_policy,
            FilterPolicy::Bloom { bits_per_key: 10 }
        );
        assert_eq!(options.prefix_extractor, PrefixExtractor::Disabled);
        assert_eq!(
            options.prefix_filter_policy,
            PrefixFilterPolicy::Bloom {
                bits_per_prefix: 10
            }
        );
        assert_eq!(options.index_search_policy, IndexSearchPolicy::Auto);
        assert_eq!(options.blob_threshold_bytes, 1_048_576);
        assert_eq!(options.blob_level_merge_policy, BlobLevelMergePolicy::Auto);
    }

    #[test]
    fn builders_set_their_field() {
        let options = BucketOptions::default()
            .with_prefix_extractor(PrefixExtractor::FixedLen(4))
            .with_blob_threshold_bytes(7)
            .with_blob_level_merge_enabled(true);
        assert_eq!(options.prefix_extractor, PrefixExtractor::FixedLen(4));
        assert_eq!(options.blob_threshold_bytes, 7);
        assert_eq!(
            options.blob_level_merge_policy,
            BlobLevelMergePolicy::Always
        );
        let options = options.with_blob_level_merge_enabled(false);
        assert_eq!(
            options.blob_level_merge_policy,
            BlobLevelMergePolicy::Disabled
        );
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for (found, message) in [
            (
                refusal(|options| options.block_bytes = 0),
                "block size must be non-zero",
            ),
            (
                refusal(|options| options.blob_threshold_bytes = 0),
                "blob threshold must be non-zero",
            ),
            (
                refusal(|options| options.filter_policy = FilterPolicy::Bloom { bits_per_key: 0 }),
                "bits_per_key must be non-zero for Bloom filters",
            ),
            (
                refusal(|options| options.merge_operator = Some(String::new())),
                "a merge operator must have a name",
            ),
            (
                refusal(|options| {
                    options.prefix_filter_policy = PrefixFilterPolicy::Bloom { bits_per_prefix: 0 };
                }),
                "bits_per_prefix must be non-zero for Bloom filters",
            ),
        ] {
            assert_eq!(found, Some(format!("invalid options: {message}")));
        }
    }

    #[test]
    fn odd_options_are_accepted() {
        assert_eq!(refusal(|options| options.block_bytes = 1), None);
        assert_eq!(refusal(|options| options.block_bytes = usize::MAX), None);
        for extractor in [
            PrefixExtractor::FixedLen(0),
            PrefixExtractor::Custom(String::new()),
        ] {
            assert_eq!(
                refusal(|options| options.prefix_extractor = extractor.clone()),
                None
            );
        }
    }
}
