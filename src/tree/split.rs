//! Where one table of a sorted run ends and the next begins.
//!
//! A table ends when it is large enough; from half of that on also at the bound of a table in the level
//! below the output, so that what will be merged with it later has bounds in common with it; and before
//! it would span so much of that level that merging it down would be a large job.

use crate::tree::picker::Neighbour;

/// A table spans at most about this many times its target size of the level below the output.
const SPANNED_MAX: u64 = 10;

/// Decides, key by key, in order.
#[derive(Debug)]
pub(crate) struct Split {
    target_bytes: u64,
    /// The tables below that were not reached yet, the next one last.
    ahead: Vec<Neighbour>,
    /// Bytes of those that the open table spans.
    spanned: u64,
}

impl Split {
    /// Tables of about `target_bytes` above `below`, which ascend.
    pub(crate) fn new(target_bytes: u64, mut below: Vec<Neighbour>) -> Self {
        below.reverse();
        Self {
            target_bytes,
            ahead: below,
            spanned: 0,
        }
    }

    /// A single table.
    pub(crate) fn never() -> Self {
        Self::new(u64::MAX, Vec::new())
    }

    /// Whether a new table begins with `key`; the open one has grown to `bytes` of keys before it.
    pub(crate) fn begins_at(&mut self, key: &[u8], bytes: u64) -> bool {
        let mut reached = 0;
        while let Some(next) = self.ahead.pop_if(|next| next.start.as_slice() <= key) {
            reached += next.bytes;
        }
        self.spanned = self.spanned.saturating_add(reached);
        let begins = bytes >= self.target_bytes
            || (reached > 0
                && (bytes >= self.target_bytes / 2
                    || self.spanned > self.target_bytes.saturating_mul(SPANNED_MAX)));
        if begins {
            self.spanned = reached;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(starts: &[u8], bytes: u64) -> Vec<Neighbour> {
        let neighbour = |start: &u8| Neighbour {
            start: vec![*start],
            bytes,
        };
        starts.iter().map(neighbour).collect()
    }

    #[test]
    fn a_table_ends_at_its_size() {
        let mut split = Split::new(100, Vec::new());
        assert!(!split.begins_at(b"a", 99));
        assert!(split.begins_at(b"b", 100));
        assert!(!Split::never().begins_at(b"b", u64::MAX - 1));
    }

    #[test]
    fn from_half_its_size_on_a_table_ends_at_a_bound_below() {
        let mut split = Split::new(100, below(&[2, 4, 6], 1));
        assert!(!split.begins_at(&[1], 0));
        assert!(!split.begins_at(&[2], 49), "too small");
        assert!(!split.begins_at(&[3], 60), "no bound");
        assert!(split.begins_at(&[5], 60), "past the bound");
        assert!(!split.begins_at(&[5, 0], 60), "the bound is behind");
    }

    #[test]
    fn a_table_does_not_span_much_of_the_level_below() {
        let mut split = Split::new(100, below(&[1, 2, 3], 600));
        assert!(!split.begins_at(&[1], 0));
        assert!(split.begins_at(&[2], 1));
        assert!(split.begins_at(&[3], 1));
    }
}
