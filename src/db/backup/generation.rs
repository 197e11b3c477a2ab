//! One backup: what the database consisted of, and the checksums of its files. Its bytes; no I/O.
//!
//! - A backup's file holds all it takes to check and to restore it but the data files, which its names lead to.
//! - What decodes is a whole state: the data files that it names are just those of its buckets.
//!
//! docs/format.md, "Backups".

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use crate::coding::{Reader, put_bytes, put_varint};
use crate::db::backup::BackupId;
use crate::db::backup::names::{Kind, Source};
use crate::error::Fault;
use crate::file_kind::{FileKind, HEADER_BYTES};
use crate::manifest::{ManifestState, VersionEdit};

pub(crate) const BACKUP: FileKind = FileKind {
    header_magic: *b"TRINEBKP",
    footer_magic: *b"TRINEBKF",
    version: 1,
};

/// A file that a backup needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) source: Source,
    pub(crate) bytes: u64,
}

/// The data files of a state, by number.
pub(crate) fn needed(state: &ManifestState) -> Result<Vec<Needed>, Fault> {
    let mut needed = Vec::new();
    for bucket in state.buckets().values() {
        let tables = bucket
            .tables()
            .map(|(_, meta)| (Kind::Table, meta.number, meta.bytes));
        let blobs = bucket
            .blobs()
            .map(|meta| (Kind::Blob, meta.number, meta.bytes));
        for (kind, number, bytes) in tables.chain(blobs) {
            let session = state.session_of(number).ok_or(Fault::Field("session"))?;
            needed.push(Needed {
                source: Source {
                    number,
                    session,
                    kind,
                },
                bytes,
            });
        }
    }
    needed.sort_unstable_by_key(|needed| needed.source);
    Ok(needed)
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Milliseconds since 1970.
    pub(crate) created_ms: u64,
    pub(crate) state: ManifestState,
    /// The data files, by number, each with its checksum.
    pub(crate) files: Vec<(Needed, u32)>,
}

impl Generation {
    /// A header, when it was made, the state as one edit, a checksum for each file, a seal.
    pub(crate) fn encode(&self, id: BackupId) -> Vec<u8> {
        let mut out = BACKUP.header(id.get());
        put_varint(&mut out, self.created_ms);
        put_bytes(&mut out, &self.state.snapshot().encode());
        put_varint(&mut out, self.files.len() as u64);
        for (_, crc) in &self.files {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        BACKUP.seal(&mut out);
        out
    }

    /// Reads what should be backup `id`.
    pub(crate) fn decode(bytes: &[u8], id: BackupId) -> Result<Self, Fault> {
        let mut reader = Reader::new(BACKUP.unseal(bytes, bytes.len())?);
        BACKUP.check_header(reader.take(HEADER_BYTES)?, id.get())?;
        let created_ms = reader.varint()?;
        let mut state = ManifestState::default();
        state.replay(VersionEdit::decode(reader.bytes()?)?)?;
        let needed = needed(&state)?;
        if reader.varint()? != needed.len() as u64 {
            return Err(Fault::Field("count of files"));
        }
        let mut files = Vec::with_capacity(needed.len());
        for needed in needed {
            files.push((needed, reader.u32()?));
        }
        reader.finish()?;
        Ok(Self {
            created_ms,
            state,
            files,
        })
    }

    /// The names of the data files among backups.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let files = self.files.iter();
        files.map(|(needed, crc)| needed.source.stored_name(*crc))
    }

    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|(needed, _)| needed.bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blob::BlobUses;
    use crate::manifest::{BucketId, Change, Session};
    use crate::options::BucketOptions;
    use crate::sequence::Sequence;
    use crate::table::{Freeable, TableMeta};
    use crate::testing::hex;

    const ID: BackupId = BackupId::new(7);

    fn generation() -> Generation {
        let table = TableMeta {
            number: 12,
            bytes: 300,
            entries: 2,
            tombstones: 0,
            range_tombstones: 0,
            smallest: b"a".to_vec(),
            largest: b"b".to_vec(),
            largest_exclusive: false,
            smallest_sequence: Sequence::new(1),
            largest_sequence: Sequence::new(2),
            blobs: BlobUses::default(),
            superseded: Freeable::default(),
            covered: Freeable::default(),
        };
        let mut state = ManifestState::default();
        let changes = vec![
            Change::BucketCreated {
                id: BucketId(0),
                name: "default".to_owned(),
                options: BucketOptions::default(),
            },
            Change::TableAdded {
                bucket: BucketId(0),
                level: 0,
                meta: table,
            },
            Change::Sessions {
                sessions: vec![Session {
                    first_file: 0,
                    id: 258,
                }],
            },
        ];
        state.apply(&VersionEdit { changes }).unwrap();
        let files = needed(&state).unwrap();
        Generation {
            created_ms: 300,
            files: files
                .into_iter()
                .map(|needed| (needed, 0x0102_0304))
                .collect(),
            state,
        }
    }

    #[test]
    fn a_backup_in_the_format_document() {
        let generation = generation();
        let edit = hex(&generation.state.snapshot().encode());
        let expected = [
            "5452494e45424b50", // TRINEBKP
            "0100000000000000", // version 1
            "0700000000000000", // backup 7
            "ac02",             // made 300 ms after 1970 began
            "3e",               // 62 bytes of edit
            &edit,
            "01",               // one data file
            "04030201",         // with this checksum
            "38ad6531",         // of all before
            "5452494e45424b46", // TRINEBKF
        ];
        assert_eq!(hex(&generation.encode(ID)), expected.concat());
        let name = generation.names().next().unwrap();
        assert_eq!(name, "table-000012-0000000000000102-01020304.trinet");
    }

    #[test]
    fn every_changed_or_missing_byte_is_a_fault() {
        let generation = generation();
        let bytes = generation.encode(ID);
        assert_eq!(Generation::decode(&bytes, ID), Ok(generation));
        assert!(Generation::decode(&bytes, BackupId::new(8)).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Generation::decode(&changed, ID).is_err(), "{at}");
            assert!(Generation::decode(&bytes[..at], ID).is_err(), "{at}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_a_fault_though_the_checksum_holds() {
        let good = generation();
        let mut fewer = good.clone();
        fewer.files.clear();
        let mut of_nobody = good.clone();
        let none = Change::Sessions {
            sessions: Vec::new(),
        };
        let edit = VersionEdit {
            changes: vec![none],
        };
        of_nobody.state.apply(&edit).unwrap();
        for (wrong, field) in [(fewer, "count of files"), (of_nobody, "session")] {
            let bytes = wrong.encode(ID);
            assert_eq!(Generation::decode(&bytes, ID), Err(Fault::Field(field)));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_contents_never_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = BACKUP.header(ID.get());
            bytes.extend_from_slice(&body);
            BACKUP.seal(&mut bytes);
            if let Ok(generation) = Generation::decode(&bytes, ID) {
                prop_assert_eq!(Generation::decode(&generation.encode(ID), ID), Ok(generation));
            }
        }
    }
}
