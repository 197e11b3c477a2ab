//! Which leading part of a key counts as its prefix, for filters over prefixes.

/// Takes the prefix of a key. It only lets scans skip work; it never changes what they return.
///
/// # Examples
/// ```
/// use trine_kv::PrefixExtractor;
///
/// let extractor = PrefixExtractor::Separator(b':');
/// assert_eq!(extractor.extract(b"user:7:name"), Some(&b"user:"[..]));
/// assert_eq!(extractor.extract(b"user"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrefixExtractor {
    /// The first so many bytes; shorter keys have no prefix.
    FixedLen(usize),
    /// Everything through the first occurrence of this byte; keys without it have no prefix.
    Separator(u8),
    /// A name that only the caller gives a meaning; no key has a prefix.
    Custom(String),
    /// No key has a prefix.
    #[default]
    Disabled,
}

impl PrefixExtractor {
    /// Whether this is anything but [`PrefixExtractor::Disabled`].
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        !matches!(self, Self::Disabled)
    }

    /// The prefix of `key`, if it has one.
    #[must_use]
    pub fn extract<'key>(&self, key: &'key [u8]) -> Option<&'key [u8]> {
        match self {
            Self::FixedLen(length) => key.get(..*length),
            Self::Separator(separator) => {
                let position = key.iter().position(|byte| byte == separator)?;
                key.get(..=position)
            }
            Self::Custom(_) | Self::Disabled => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_as_the_table_of_the_contract() {
        let keys: [&[u8]; 3] = [b"a", b"ab:cd:", b""];
        for (extractor, expected) in [
            (PrefixExtractor::Disabled, [None; 3]),
            (PrefixExtractor::FixedLen(2), [None, Some(&b"ab"[..]), None]),
            (PrefixExtractor::FixedLen(0), [Some(&b""[..]); 3]),
            (
                PrefixExtractor::Separator(b':'),
                [None, Some(&b"ab:"[..]), None],
            ),
            (PrefixExtractor::Custom("x".to_owned()), [None; 3]),
        ] {
            assert_eq!(keys.map(|key| extractor.extract(key)), expected);
            assert_eq!(
                extractor.is_enabled(),
                extractor != PrefixExtractor::Disabled
            );
        }
        assert_eq!(PrefixExtractor::default(), PrefixExtractor::Disabled);
    }

    #[test]
    fn every_key_that_continues_a_prefix_has_that_prefix() {
        for extractor in [
            PrefixExtractor::FixedLen(2),
            PrefixExtractor::Separator(b':'),
        ] {
            for key in [&b"ab:"[..], b"ab:c", b"ab:c:d"] {
                assert_eq!(extractor.extract(key), extractor.extract(b"ab:"));
            }
        }
    }
}
