//! From the least key to the greatest, or its bound, that some tables say anything of.

use crate::table::TableMeta;

/// A span of keys. Not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: Vec<u8>,
    end: End,
}

/// Where a span ends. The order of the fields is that of ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    endless: bool,
    key: Vec<u8>,
    /// Whether `key` itself is in the span.
    included: bool,
}

impl Span {
    pub(crate) fn of(meta: &TableMeta) -> Self {
        Self {
            start: meta.smallest.clone(),
            end: End {
                endless: meta.largest_exclusive && meta.largest.is_empty(),
                key: meta.largest.clone(),
                included: !meta.largest_exclusive,
            },
        }
    }

    /// The least span that holds all of these; `None` of none.
    pub(crate) fn hull<'a>(metas: impl IntoIterator<Item = &'a TableMeta>) -> Option<Self> {
        metas.into_iter().map(Self::of).reduce(Self::join)
    }

    /// The least span that holds both.
    pub(crate) fn join(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }

    /// What of it lies from `from` on and before `until`; `None`: nothing.
    pub(crate) fn part(self, from: &[u8], until: Option<&[u8]>) -> Option<Self> {
        if self.ends_before(from) {
            return None;
        }
        let start = self.start.max(from.to_vec());
        let end = match until {
            Some(until) => self.end.min(End {
                endless: false,
                key: until.to_vec(),
                included: false,
            }),
            None => self.end,
        };
        (until.is_none_or(|until| start.as_slice() < until)).then_some(Self { start, end })
    }

    /// Whether every key of the span is below `key`.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        let End {
            endless,
            key: end,
            included,
        } = &self.end;
        !endless && (end.as_slice() < key || (!included && end == key))
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// Whether both may hold one key.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        !self.ends_before(&other.start) && !other.ends_before(&self.start)
    }

    /// Whether `key` is in the span.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && !self.ends_before(key)
    }

    /// Whether it may hold a key of `[start, end)`; an empty end is no end.
    pub(crate) fn meets_half_open(&self, start: &[u8], end: &[u8]) -> bool {
        !self.ends_before(start) && (end.is_empty() || self.start.as_slice() < end)
    }
}
