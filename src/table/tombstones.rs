//! Range tombstones as a table stores them: fragments in order. docs/format.md, "Tables".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::Fault;
use crate::range_tombstone::{Fragment, Fragments};
use crate::sequence::Sequence;

pub(crate) fn encode(fragments: &Fragments) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, fragments.as_slice().len() as u64);
    for fragment in fragments.as_slice() {
        put_bytes(&mut out, &fragment.start);
        put_bytes(&mut out, &fragment.end);
        put_varint(&mut out, fragment.sequences.len() as u64);
        let mut previous = u64::MAX;
        for sequence in &fragment.sequences {
            // Newest first: each says how far below the one before it is.
            put_varint(&mut out, previous.saturating_sub(sequence.get()));
            previous = sequence.get();
        }
    }
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Fragments, Fault> {
    let mut reader = Reader::new(bytes);
    let count = count(&mut reader)?;
    let mut fragments: Vec<Fragment> = Vec::with_capacity(count);
    for _ in 0..count {
        let start = reader.bytes()?.to_vec();
        let end = reader.bytes()?.to_vec();
        // An empty end is no end, which only the last fragment may have.
        let after_previous = fragments
            .last()
            .is_none_or(|last| !last.end.is_empty() && last.end <= start);
        let inverted = !end.is_empty() && start >= end;
        if inverted || !after_previous {
            return Err(Fault::Order);
        }
        let sequences = self::count(&mut reader)?;
        if sequences == 0 {
            return Err(Fault::Field("range tombstone"));
        }
        let mut list = Vec::with_capacity(sequences);
        let mut previous = u64::MAX;
        for index in 0..sequences {
            let below = reader.varint()?;
            if index > 0 && below == 0 {
                return Err(Fault::Order);
            }
            previous = previous
                .checked_sub(below)
                .ok_or(Fault::Field("range tombstone"))?;
            list.push(Sequence::new(previous));
        }
        fragments.push(Fragment {
            start,
            end,
            sequences: list,
        });
    }
    reader.finish()?;
    Ok(Fragments::from_sorted(fragments))
}

/// A count of things that take at least a byte each.
fn count(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    let claimed = reader.varint()?;
    let available = reader.rest().len();
    match usize::try_from(claimed) {
        Ok(count) if count <= available => Ok(count),
        _ => Err(Fault::Length {
            claimed,
            available: available as u64,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range_tombstone::RangeTombstone;
    use crate::testing::hex;
    use proptest::prelude::*;

    fn tombstone(start: &[u8], end: &[u8], sequence: u64) -> RangeTombstone {
        RangeTombstone {
            start: start.to_vec(),
            end: end.to_vec(),
            sequence: Sequence::new(sequence),
        }
    }

    /// Also the worked example of docs/format.md, "Tables".
    #[test]
    fn fragments_are_as_documented() {
        let fragments = Fragments::build([
            tombstone(b"a", b"c", u64::MAX - 1),
            tombstone(b"b", b"c", u64::MAX - 4),
        ]);
        assert_eq!(
            hex(&encode(&fragments)),
            concat!(
                "02",       // two fragments
                "01610162", // "a".."b"
                "0101",     // one sequence, 1 below 2^64 - 1
                "01620163", // "b".."c"
                "020103",   // two, 1 below 2^64 - 1 and 3 below that
            )
        );
    }

    #[test]
    fn fragments_out_of_order_are_refused() {
        let bytes =
            |start: u8, end: u8, then: u8| vec![2, 1, start, 1, end, 1, 1, 1, then, 1, b'z', 1, 1];
        assert!(decode(&bytes(b'a', b'b', b'b')).is_ok());
        for (start, end, then) in [(b'b', b'a', b'c'), (b'a', b'a', b'c'), (b'a', b'c', b'b')] {
            assert_eq!(decode(&bytes(start, end, then)), Err(Fault::Order));
        }
        assert!(matches!(decode(&[200, 1]), Err(Fault::Length { .. })));
    }

    proptest! {
        #[test]
        fn fragments_round_trip_and_damage_never_panics(
            ranges in proptest::collection::vec((0u8..24, 0u8..24, 1u64..40), 0..24), cut in any::<usize>(), flip in 1u8..,
        ) {
            let fragments = Fragments::build(ranges.iter().map(|&(start, end, at)| tombstone(&[start], &[end], at)));
            let mut bytes = encode(&fragments);
            prop_assert_eq!(&decode(&bytes), &Ok(fragments));
            let place = cut % bytes.len();
            prop_assert!(decode(&bytes[..place]).is_err());
            bytes[place] ^= flip;
            let _ = decode(&bytes);
        }
    }
}
