//! The names in a directory of backups.
//!
//! - A data file's name says all that tells it from others: kind, number, the session that wrote it, and the CRC-32C of
//!   its bytes. So files of databases that went different ways never meet under one name, and a file without
//!   a backup that names it, left by one that was cut short, is known for what it is.
//! - Each name is read in the one spelling that is written here; every other name is not ours.

use crate::db::backup::BackupId;
use crate::file_name::{blob_name, table_name};

/// Everything that is being written; nothing counts under such a name.
pub(crate) const UNFINISHED: &str = "unfinished-backup";

/// What a data file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Table,
    Blob,
}

/// Which file of which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) number: u64,
    pub(crate) session: u64,
    pub(crate) kind: Kind,
}

impl Source {
    /// Its name in a database.
    pub(crate) fn name(&self) -> String {
        match self.kind {
            Kind::Table => table_name(self.number),
            Kind::Blob => blob_name(self.number),
        }
    }

    /// Its name among backups, with the checksum of its bytes.
    pub(crate) fn stored_name(&self, crc: u32) -> String {
        let Self {
            number, session, ..
        } = self;
        match self.kind {
            Kind::Table => format!("table-{number:06}-{session:016x}-{crc:08x}.trinet"),
            Kind::Blob => format!("blob-{number:06}-{session:016x}-{crc:08x}.trineb"),
        }
    }
}

/// A backup's own file.
pub(crate) fn backup_name(id: BackupId) -> String {
    format!("BACKUP-{:06}", id.get())
}

/// What a name in the directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Backup(BackupId),
    Data(Source, u32),
    Unfinished,
    Other,
}

impl Name {
    pub(crate) fn parse(name: &str) -> Self {
        if name == UNFINISHED {
            return Self::Unfinished;
        }
        if let Some(digits) = name.strip_prefix("BACKUP-") {
            let id = digits.parse().ok().map(BackupId::new);
            let spelt = id.filter(|id| backup_name(*id) == name);
            return spelt.map_or(Self::Other, Self::Backup);
        }
        let table = name.strip_prefix("table-").zip(Some(Kind::Table));
        let blob = name.strip_prefix("blob-").zip(Some(Kind::Blob));
        match table.or(blob).and_then(|(rest, kind)| data(rest, kind)) {
            Some((source, crc)) if source.stored_name(crc) == name => Self::Data(source, crc),
            _ => Self::Other,
        }
    }
}

fn data(rest: &str, kind: Kind) -> Option<(Source, u32)> {
    let (stem, _) = rest.split_once('.')?;
    let mut parts = stem.split('-');
    let number = parts.next()?.parse().ok()?;
    let session = u64::from_str_radix(parts.next()?, 16).ok()?;
    let crc = u32::from_str_radix(parts.next()?, 16).ok()?;
    let source = Source {
        number,
        session,
        kind,
    };
    Some((source, crc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_name::FileName;

    #[test]
    fn names_lead_back_to_what_they_name() {
        for kind in [Kind::Table, Kind::Blob] {
            for (number, session, crc) in [(0, 0, 0), (7, 1 << 63, 5), (u64::MAX, 9, u32::MAX)] {
                let source = Source {
                    number,
                    session,
                    kind,
                };
                let name = source.stored_name(crc);
                assert_eq!(Name::parse(&name), Name::Data(source, crc));
            }
        }
        let id = BackupId::new(12);
        assert_eq!(backup_name(id), "BACKUP-000012");
        assert_eq!(Name::parse("BACKUP-000012"), Name::Backup(id));
        assert_eq!(Name::parse(UNFINISHED), Name::Unfinished);
    }

    #[test]
    fn other_spellings_are_not_ours() {
        for name in [
            "BACKUP-12",
            "BACKUP-",
            "BACKUP-+00012",
            "table-000007.trinet",
            "table-7-0000000000000001-00000002.trinet",
            "table-000007-0000000000000001-00000002.trineb",
            "table-000007-1-00000002.trinet",
            "table-000007-000000000000000A-00000002.trinet",
            "table-000007-0000000000000001-00000002-3.trinet",
            "blob-000007-0000000000000001-00000002",
            "LOCK",
            "",
        ] {
            assert_eq!(Name::parse(name), Name::Other, "{name}");
        }
    }

    #[test]
    fn no_database_is_opened_or_made_among_backups() {
        let source = Source {
            number: 7,
            session: 1,
            kind: Kind::Table,
        };
        let parsed = FileName::parse(&source.stored_name(2));
        assert!(matches!(parsed, FileName::Malformed(_)), "{parsed:?}");
    }
}
