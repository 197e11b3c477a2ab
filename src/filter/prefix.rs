//! The same filter over the prefixes that an extractor takes from keys.
//!
//! - Keys arrive in order, and keys with one prefix are neighbours: comparing with the last hash
//!   counts each prefix once.
//! - A filter answers only for the extractor that it was built with: its table records which.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::Fault;
use crate::filter::bloom;
use crate::hash::KeyHash;
use crate::prefix::PrefixExtractor;

// Tags of the extractor in a table's properties. They reach the disk: never renumber.
const DISABLED: u8 = 0;
const FIXED_LEN: u8 = 1;
const SEPARATOR: u8 = 2;
const CUSTOM: u8 = 3;

/// Collects the prefixes of a table's keys.
#[derive(Debug)]
pub(crate) struct PrefixFilterBuilder {
    extractor: PrefixExtractor,
    bits_per_prefix: u8,
    hashes: Vec<KeyHash>,
}

impl PrefixFilterBuilder {
    pub(crate) fn new(extractor: PrefixExtractor, bits_per_prefix: u8) -> Self {
        Self {
            extractor,
            bits_per_prefix,
            hashes: Vec::new(),
        }
    }

    /// Takes the prefix of the next key in order.
    pub(crate) fn add(&mut self, key: &[u8]) {
        if let Some(prefix) = self.extractor.extract(key) {
            let hash = KeyHash::of(prefix);
            if self.hashes.last() != Some(&hash) {
                self.hashes.push(hash);
            }
        }
    }

    /// Bytes that `finish` will return.
    pub(crate) fn bytes(&self) -> usize {
        bloom::bytes_for(self.hashes.len(), self.bits_per_prefix)
    }

    /// The filter, and the extractor to be recorded beside it.
    pub(crate) fn finish(self) -> (Vec<u8>, PrefixExtractor) {
        (
            bloom::build(&self.hashes, self.bits_per_prefix),
            self.extractor,
        )
    }
}

/// What a filter built with `extractor` has to be asked for keys that start with `prefix`; `None` if that is too
/// short to have an extracted prefix itself: they are not excluded.
pub(crate) fn hash_of(extractor: &PrefixExtractor, prefix: &[u8]) -> Option<KeyHash> {
    // Both extractors that extract anything take the same from every continuation of what they extract from.
    extractor.extract(prefix).map(KeyHash::of)
}

/// The extracted prefix that all keys of a scan have.
#[derive(Debug)]
pub(crate) struct SharedPrefix {
    extractor: PrefixExtractor,
    bytes: Box<[u8]>,
}

impl SharedPrefix {
    /// `bytes` is what `extractor` takes from every one of the keys.
    pub(crate) fn new(extractor: PrefixExtractor, bytes: &[u8]) -> Self {
        Self {
            extractor,
            bytes: bytes.into(),
        }
    }

    pub(crate) fn extractor(&self) -> &PrefixExtractor {
        &self.extractor
    }

    /// Whether `key` starts with it.
    pub(crate) fn begins(&self, key: &[u8]) -> bool {
        key.starts_with(&self.bytes)
    }

    /// As [`hash_of`].
    pub(crate) fn hash(&self) -> Option<KeyHash> {
        hash_of(&self.extractor, &self.bytes)
    }
}

/// Appends which extractor a filter was built with.
pub(crate) fn encode_extractor(extractor: &PrefixExtractor, out: &mut Vec<u8>) {
    match extractor {
        PrefixExtractor::Disabled => out.push(DISABLED),
        PrefixExtractor::FixedLen(length) => {
            out.push(FIXED_LEN);
            put_varint(out, *length as u64);
        }
        PrefixExtractor::Separator(separator) => out.extend([SEPARATOR, *separator]),
        PrefixExtractor::Custom(name) => {
            out.push(CUSTOM);
            put_bytes(out, name.as_bytes());
        }
    }
}

/// Reads back what [`encode_extractor`] wrote.
///
/// A length beyond this host's address space (written on a wider one) comes back as `Disabled`: no
/// key here is that long, and a filter whose extractor is not the caller's is never asked.
pub(crate) fn decode_extractor(reader: &mut Reader<'_>) -> Result<PrefixExtractor, Fault> {
    Ok(match reader.u8()? {
        DISABLED => PrefixExtractor::Disabled,
        FIXED_LEN => usize::try_from(reader.varint()?)
            .map_or(PrefixExtractor::Disabled, PrefixExtractor::FixedLen),
        SEPARATOR => PrefixExtractor::Separator(reader.u8()?),
        CUSTOM => PrefixExtractor::Custom(reader.string()?.to_owned()),
        tag => return Err(Fault::Tag(tag)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(extractor: &PrefixExtractor, keys: &[&[u8]]) -> Vec<u8> {
        let mut builder = PrefixFilterBuilder::new(extractor.clone(), 16);
        for key in keys {
            builder.add(key);
        }
        builder.finish().0
    }

    fn may_contain(filter: &[u8], extractor: &PrefixExtractor, prefix: &[u8]) -> bool {
        hash_of(extractor, prefix).is_none_or(|hash| bloom::may_contain(filter, hash))
    }

    #[test]
    fn a_repeated_prefix_counts_once() {
        let mut builder = PrefixFilterBuilder::new(PrefixExtractor::FixedLen(1), 255);
        for i in 0..1000u32 {
            builder.add(&[&b"a"[..], &i.to_be_bytes()].concat());
        }
        assert_eq!(builder.bytes(), bloom::LINE_BYTES);
    }

    #[test]
    fn longer_and_shorter_prefixes_are_answered_by_what_they_extract_to() {
        let extractor = PrefixExtractor::Separator(b':');
        let bytes = filter(&extractor, &[b"a:1", b"a:2", b"b:1", b"plain"]);
        assert!(may_contain(&bytes, &extractor, b"a:"));
        assert!(may_contain(&bytes, &extractor, b"a:zzz"));
        assert!(!may_contain(&bytes, &extractor, b"c:"));
        assert!(may_contain(&bytes, &extractor, b"pl"));
        assert!(may_contain(&bytes, &extractor, b""));
    }

    #[test]
    fn extractors_round_trip_and_unknown_tags_are_refused() {
        for extractor in [
            PrefixExtractor::Disabled,
            PrefixExtractor::FixedLen(300),
            PrefixExtractor::Separator(b'/'),
            PrefixExtractor::Custom("tenant".to_owned()),
        ] {
            let mut bytes = Vec::new();
            encode_extractor(&extractor, &mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(decode_extractor(&mut reader), Ok(extractor));
            assert!(reader.is_empty());
        }
        assert_eq!(decode_extractor(&mut Reader::new(&[9])), Err(Fault::Tag(9)));
    }
}
