//! Merge operators that the program knows. Which of them a bucket merges with only the user can say: the bucket has a name.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use trine_kv::{MergeOperator, Merged};

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Puts operands behind the value
    Append,
    /// Adds whole numbers, written in decimal digits
    Add,
    /// Adds numbers of 64 bits, the lowest byte first, and wraps around
    AddLe,
    /// Keeps what is greatest by its bytes
    Max,
    /// Keeps what is least by its bytes
    Min,
}

/// A merge operator by the name that buckets have for it: `NAME=KIND`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

impl FromStr for Operator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = || {
            let kinds = Kind::value_variants().iter();
            let names: Vec<_> = kinds.map(ToString::to_string).collect();
            format!("NAME=KIND, where KIND is one of {}", names.join(", "))
        };
        match text.rsplit_once('=') {
            Some((name, kind)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                kind: Kind::from_str(kind, false).map_err(|_| kinds())?,
            }),
            _ => Err(kinds()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.kind)
    }
}

impl MergeOperator for Kind {
    fn merge(&self, _: &[u8], existing: Option<&[u8]>, operands: &[&[u8]]) -> Merged {
        let all = existing.into_iter().chain(operands.iter().copied());
        Ok(match self {
            Self::Append => Some(all.collect::<Vec<_>>().concat()),
            Self::Add => {
                let mut sum = 0_i128;
                for number in all {
                    let number: i128 = str::from_utf8(number)?.trim().parse()?;
                    sum = sum.checked_add(number).ok_or("the sum is too large")?;
                }
                Some(sum.to_string().into_bytes())
            }
            Self::AddLe => {
                let mut sum = 0_u64;
                for number in all {
                    sum = sum.wrapping_add(u64::from_le_bytes(number.try_into()?));
                }
                Some(sum.to_le_bytes().to_vec())
            }
            Self::Max => all.max().map(<[u8]>::to_vec),
            Self::Min => all.min().map(<[u8]>::to_vec),
        })
    }

    fn combine(&self, key: &[u8], operands: &[&[u8]]) -> Merged {
        self.merge(key, None, operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_can_be_put_together_before_they_are_merged() {
        for (kind, existing, first, second, value) in [
            (Kind::Append, "a", "b", "c", "abc"),
            (Kind::Add, "40", "3", "-1", "42"),
            (
                Kind::AddLe,
                "\x01\0\0\0\0\0\0\0",
                "\x02\0\0\0\0\0\0\0",
                "\x03\0\0\0\0\0\0\0",
                "\x06\0\0\0\0\0\0\0",
            ),
            (Kind::Max, "b", "c", "a", "c"),
            (Kind::Min, "b", "c", "a", "a"),
        ] {
            let operands = [first.as_bytes(), second.as_bytes()];
            let existing = Some(existing.as_bytes());
            let at_once = kind.merge(b"", existing, &operands).unwrap();
            assert_eq!(at_once.as_deref(), Some(value.as_bytes()), "{kind}");
            let combined = kind.combine(b"", &operands).unwrap().unwrap();
            assert_eq!(kind.merge(b"", existing, &[&combined]).unwrap(), at_once);
        }
        assert!(Kind::Add.merge(b"", None, &[b"x"]).is_err());
        assert!(Kind::AddLe.merge(b"", None, &[b"1"]).is_err());
    }

    #[test]
    fn operators_are_said_as_they_are_written() {
        for text in ["n=add", "a=b=append", "x=add-le"] {
            assert_eq!(text.parse::<Operator>().unwrap().to_string(), text);
        }
        for text in ["", "n", "=add", "n=", "n=sum"] {
            assert!(text.parse::<Operator>().is_err(), "{text}");
        }
    }
}
