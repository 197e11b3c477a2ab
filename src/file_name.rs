//! The names of a database's files: how they are written, and what a name found in the directory means.
//!
//! - A number is at least six decimal digits, never reused for another file ([`FileNumbers`]); WAL
//!   segments count by themselves, without gaps.
//! - [`FileName::parse`] answers `Table`, `Blob`, `Wal` and `Manifest` only for the exact spelling
//!   that this file writes, so that a number found in a name leads back to that very name.

use std::sync::atomic::{AtomicU64, Ordering};

/// Names the current manifest.
pub(crate) const CURRENT: &str = "CURRENT";
/// `CURRENT` before its rename.
pub(crate) const UNFINISHED_CURRENT: &str = "unfinished-CURRENT";
/// Locked by the writer while it is open.
pub(crate) const LOCK: &str = "LOCK";
/// What the last repairing open removed.
pub(crate) const RECOVERY_REPORT: &str = "RECOVERY_REPORT";

/// A table's file.
pub(crate) fn table_name(number: u64) -> String {
    format!("table-{number:06}.trinet")
}

/// A blob file.
pub(crate) fn blob_name(number: u64) -> String {
    format!("blob-{number:06}.trineb")
}

/// A WAL segment.
pub(crate) fn wal_name(number: u64) -> String {
    format!("wal-{number:06}")
}

/// A manifest.
pub(crate) fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

/// A table or blob file until the manifest edit that names it is durable.
pub(crate) fn unfinished_name(number: u64) -> String {
    format!("unfinished-{number:06}")
}

/// Hands out file numbers (tables, blobs, manifests), each once.
///
/// The manifest records a bound that every number in use is below; numbers given out and not yet
/// recorded when the process dies name debris at most, which the next open sweeps.
#[derive(Debug)]
pub(crate) struct FileNumbers(AtomicU64);

impl FileNumbers {
    /// The next number is `next`.
    pub(crate) fn starting_at(next: u64) -> Self {
        Self(AtomicU64::new(next))
    }

    /// A number that nobody else gets.
    pub(crate) fn take(&self) -> u64 {
        // Only uniqueness matters; the number is published to others by the manifest.
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// `number` is in use.
    pub(crate) fn skip(&self, number: u64) {
        self.0
            .fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }

    /// Every number given out so far is below this.
    pub(crate) fn bound(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a directory entry's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    Table(u64),
    Blob(u64),
    Wal(u64),
    Manifest(u64),
    /// Under construction when its process died: swept by the next writable open.
    Unfinished,
    Current,
    Lock,
    RecoveryReport,
    /// A temporary name of the format that the repair policy knows; never written by this engine.
    ForeignTemporary,
    /// A table's or blob's form whose number this engine never spells so: no manifest can name it.
    Misspelt,
    /// A formal name without a number; the phrase goes into the error.
    Malformed(&'static str),
    /// Not ours: ignored and left alone.
    Other,
}

/// Whether `text` is a decimal number, of any size.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number that `text`, a part of `name`, is, if `spell` writes it exactly so.
fn exact(name: &str, text: &str, spell: fn(u64) -> String) -> Option<u64> {
    let number = text.parse().ok()?;
    (spell(number) == name).then_some(number)
}

impl FileName {
    pub(crate) fn parse(name: &str) -> Self {
        match name {
            CURRENT => return Self::Current,
            LOCK => return Self::Lock,
            RECOVERY_REPORT => return Self::RecoveryReport,
            UNFINISHED_CURRENT => return Self::Unfinished,
            "MANIFEST.tmp" | "trine.wal.tmp" | "RECOVERY_REPORT.tmp" => {
                return Self::ForeignTemporary;
            }
            _ => {}
        }
        if let Some(rest) = name.strip_prefix("table-") {
            return Self::formal(
                name,
                rest,
                ".trinet",
                table_name,
                Self::Table,
                "invalid table file name",
            );
        }
        if let Some(rest) = name.strip_prefix("blob-") {
            return Self::formal(
                name,
                rest,
                ".trineb",
                blob_name,
                Self::Blob,
                "invalid blob file name",
            );
        }
        if let Some(rest) = name.strip_prefix("trine.wal.shard-") {
            return match rest.strip_suffix(".tmp") {
                Some(shard) if is_number(shard) => Self::ForeignTemporary,
                None if is_number(rest) => Self::Other,
                _ => Self::Malformed("malformed WAL shard file name"),
            };
        }
        if name.strip_prefix("unfinished-").is_some_and(is_number) {
            return Self::Unfinished;
        }
        let numbered = |prefix, spell| exact(name, name.strip_prefix(prefix)?, spell);
        if let Some(number) = numbered("wal-", wal_name) {
            return Self::Wal(number);
        }
        if let Some(number) = numbered("MANIFEST-", manifest_name) {
            return Self::Manifest(number);
        }
        Self::Other
    }

    fn formal(
        name: &str,
        rest: &str,
        extension: &str,
        spell: fn(u64) -> String,
        found: fn(u64) -> Self,
        malformed: &'static str,
    ) -> Self {
        if let Some(text) = rest.strip_suffix(extension) {
            return match exact(name, text, spell) {
                Some(number) => found(number),
                None if is_number(text) => Self::Misspelt,
                None => Self::Malformed(malformed),
            };
        }
        let temporary = rest
            .strip_suffix(".tmp")
            .map(|stem| stem.strip_suffix(extension).unwrap_or(stem));
        if temporary.is_some_and(is_number) {
            Self::ForeignTemporary
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_numbers() {
        for value in [0, 1, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(FileName::parse(&table_name(value)), FileName::Table(value));
            assert_eq!(FileName::parse(&blob_name(value)), FileName::Blob(value));
            assert_eq!(FileName::parse(&wal_name(value)), FileName::Wal(value));
            assert_eq!(
                FileName::parse(&manifest_name(value)),
                FileName::Manifest(value)
            );
            assert_eq!(
                FileName::parse(&unfinished_name(value)),
                FileName::Unfinished
            );
        }
        assert_eq!(table_name(7), "table-000007.trinet");
        assert_eq!(FileName::parse("CURRENT"), FileName::Current);
        assert_eq!(FileName::parse("unfinished-CURRENT"), FileName::Unfinished);
        assert_eq!(FileName::parse("LOCK"), FileName::Lock);
        assert_eq!(FileName::parse("RECOVERY_REPORT"), FileName::RecoveryReport);
    }

    #[test]
    fn foreign_temporary_names_are_recognised() {
        for name in [
            "MANIFEST.tmp",
            "table-12.tmp",
            "table-000012.tmp",
            "table-12.trinet.tmp",
            "blob-3.tmp",
            "blob-3.trineb.tmp",
            "trine.wal.tmp",
            "trine.wal.shard-0003.tmp",
            "RECOVERY_REPORT.tmp",
        ] {
            assert_eq!(FileName::parse(name), FileName::ForeignTemporary, "{name}");
        }
    }

    #[test]
    fn malformed_formal_names_are_refused() {
        for (name, phrase) in [
            ("table-not-a-number.trinet", "invalid table file name"),
            ("table-.trinet", "invalid table file name"),
            ("table--1.trinet", "invalid table file name"),
            ("blob-x.trineb", "invalid blob file name"),
            ("trine.wal.shard-bad", "malformed WAL shard file name"),
            ("trine.wal.shard-", "malformed WAL shard file name"),
            ("trine.wal.shard-bad.tmp", "malformed WAL shard file name"),
        ] {
            assert_eq!(FileName::parse(name), FileName::Malformed(phrase), "{name}");
        }
    }

    #[test]
    fn a_formal_name_in_another_spelling_is_never_a_referenced_file() {
        for name in [
            "table-7.trinet",
            "table-0000007.trinet",
            "blob-99999999999999999999.trineb",
        ] {
            assert_eq!(FileName::parse(name), FileName::Misspelt, "{name}");
        }
    }

    #[test]
    fn unrelated_names_are_left_alone() {
        for name in [
            "foo.txt",
            "foo.tmp",
            ".hidden",
            "MANIFEST.bak",
            "MANIFEST-1",
            "MANIFEST-x",
            "x.trinet",
            "table-x.tmp",
            "blob-x",
            "wal-1",
            "wal-x",
            "unfinished-x",
            "trine.wal.shard-0001",
            "",
        ] {
            assert_eq!(FileName::parse(name), FileName::Other, "{name}");
        }
    }

    #[test]
    fn a_file_number_is_given_out_once() {
        let numbers = FileNumbers::starting_at(5);
        assert_eq!((numbers.take(), numbers.take()), (5, 6));
        assert_eq!(numbers.bound(), 7);
    }
}
