//! An entry from which the value of its key has to be worked out: operands, and what they are merged into, which may expire.
//!
//! ```text
//! composite := base operand*     operands from the oldest to the newest
//! base      := 0                 what older entries say
//!            | 1                 nothing
//!            | 2 value:bytes     this value
//!            | 3 at:u64 value:bytes     this value until that time, in milliseconds since 1970-01-01 UTC, then nothing
//! operand   := length:varint byte*
//! ```
//!
//! The log, memtables and tables hold it alike. A commit makes one composite of all that a batch does to a key from its last
//! put or delete on, so that entries of one key still have different sequences.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::coding::{Reader, put_bytes};
use crate::error::Fault;

const OLDER: u8 = 0;
const NOTHING: u8 = 1;
const VALUE: u8 = 2;
const EXPIRING: u8 = 3;

/// What operands are merged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base<'a> {
    /// What older entries say.
    Older,
    Nothing,
    Value(&'a [u8]),
    /// This value until then, in milliseconds since 1970-01-01 UTC, and then nothing.
    Expiring(u64, &'a [u8]),
}

/// A decoded composite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Composite<'a> {
    pub(crate) base: Base<'a>,
    operands: &'a [u8],
}

impl<'a> Composite<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        let base = match reader.u8()? {
            OLDER => Base::Older,
            NOTHING => Base::Nothing,
            VALUE => Base::Value(reader.bytes()?),
            EXPIRING => Base::Expiring(reader.u64()?, reader.bytes()?),
            tag => return Err(Fault::Tag(tag)),
        };
        let operands = reader.rest();
        if operands.is_empty() && base == Base::Older {
            return Err(Fault::Field("operands"));
        }
        Ok(Self { base, operands })
    }

    /// Whether older entries matter.
    pub(crate) fn is_open(bytes: &[u8]) -> bool {
        bytes.first() == Some(&OLDER)
    }

    /// From the oldest to the newest; ends after the first fault.
    pub(crate) fn operands(&self) -> impl Iterator<Item = Result<&'a [u8], Fault>> + use<'a> {
        let mut reader = Some(Reader::new(self.operands));
        std::iter::from_fn(move || {
            let mut rest = reader.take().filter(|rest| !rest.is_empty())?;
            let operand = rest.bytes();
            if operand.is_ok() {
                reader = Some(rest);
            }
            Some(operand)
        })
    }
}

/// Begins a composite; operands follow.
pub(crate) fn put_base(out: &mut Vec<u8>, base: Base<'_>) {
    match base {
        Base::Older => out.push(OLDER),
        Base::Nothing => out.push(NOTHING),
        Base::Value(value) => {
            out.push(VALUE);
            put_bytes(out, value);
        }
        Base::Expiring(at, value) => {
            out.push(EXPIRING);
            out.extend_from_slice(&at.to_le_bytes());
            put_bytes(out, value);
        }
    }
}

/// One more operand, newer than those before it.
pub(crate) fn put_operand(out: &mut Vec<u8>, operand: &[u8]) {
    put_bytes(out, operand);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operands<'a>(composite: &Composite<'a>) -> Vec<&'a [u8]> {
        composite.operands().map(Result::unwrap).collect()
    }

    /// Also the worked example of docs/format.md, "Composite".
    #[test]
    fn the_bytes_of_a_composite_are_fixed() {
        let mut bytes = Vec::new();
        put_base(&mut bytes, Base::Value(b"v"));
        put_operand(&mut bytes, b"+1");
        put_operand(&mut bytes, b"");
        assert_eq!(bytes, [2, 1, b'v', 2, b'+', b'1', 0]);
        let composite = Composite::decode(&bytes).unwrap();
        assert_eq!(composite.base, Base::Value(b"v"));
        assert_eq!(operands(&composite), [&b"+1"[..], b""]);
        assert!(!Composite::is_open(&bytes));
    }

    /// Likewise.
    #[test]
    fn a_value_that_expires_needs_no_operands() {
        let mut bytes = Vec::new();
        put_base(&mut bytes, Base::Expiring(1_000, b"v"));
        assert_eq!(bytes, [3, 0xe8, 3, 0, 0, 0, 0, 0, 0, 1, b'v']);
        let composite = Composite::decode(&bytes).unwrap();
        assert_eq!(composite.base, Base::Expiring(1_000, b"v"));
        assert!(operands(&composite).is_empty());
        assert!(!Composite::is_open(&bytes));
    }

    #[test]
    fn damage_is_a_fault() {
        assert!(Composite::decode(&[]).is_err());
        assert_eq!(Composite::decode(&[9]), Err(Fault::Tag(9)));
        assert_eq!(Composite::decode(&[0]), Err(Fault::Field("operands")));
        assert!(Composite::decode(&[2, 5, 0]).is_err());
        let cut = Composite::decode(&[0, 1, b'a', 2, b'b']).unwrap();
        let found: Vec<_> = cut.operands().collect();
        assert_eq!(found.len(), 2);
        assert!(found.first().unwrap().is_ok() && found.last().unwrap().is_err());
    }
}
