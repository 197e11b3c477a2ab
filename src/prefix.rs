//! Prefixes of keys, by which whole tables or partitions can be skipped.

/// How a bucket finds the prefix of a key. Never changes what a scan returns, only what it skips.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrefixExtractor {
    /// The first so many bytes; a shorter key has no prefix.
    FixedLen(usize),
    /// Everything through the first occurrence of this byte, inclusive.
    Separator(u8),
    /// A scheme that only its name is known of: no key has a prefix.
    Custom(String),
    /// No key has a prefix.
    #[default]
    Disabled,
}

impl PrefixExtractor {
    /// Whether this is anything but [`PrefixExtractor::Disabled`].
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        !matches!(self, Self::Disabled)
    }

    /// The prefix of `key`, if it has one.
    #[must_use]
    pub fn extract<'key>(&self, key: &'key [u8]) -> Option<&'key [u8]> {
        match self {
            Self::FixedLen(length) => key.get(..*length),
            Self::Separator(separator) => {
                let at = key.iter().position(|byte| byte == separator)?;
                key.get(..=at)
            }
            Self::Custom(_) | Self::Disabled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_extracted_as_documented() {
        let keys: [&[u8]; 3] = [b"a", b"ab:cd:", b""];
        for (extractor, expected) in [
            (PrefixExtractor::Disabled, [None, None, None]),
            (PrefixExtractor::FixedLen(2), [None, Some(&b"ab"[..]), None]),
            (
                PrefixExtractor::FixedLen(0),
                [Some(&b""[..]), Some(&b""[..]), Some(&b""[..])],
            ),
            (
                PrefixExtractor::Separator(b':'),
                [None, Some(&b"ab:"[..]), None],
            ),
            (PrefixExtractor::Custom("x".to_owned()), [None, None, None]),
        ] {
            assert_eq!(keys.map(|key| extractor.extract(key)), expected);
        }
        assert!(PrefixExtractor::Custom(String::new()).is_enabled());
        assert!(!PrefixExtractor::default().is_enabled());
    }
}
