//! One atomic change of what the database consists of, and its bytes.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::blob::{BlobMeta, BlobUses};
use crate::coding::{Reader, put_bytes, put_varint};
use crate::error::Fault;
use crate::manifest::options::{decode_options, encode_options};
use crate::options::BucketOptions;
use crate::sequence::Sequence;
use crate::table::{Freeable, TableMeta};

/// Names a bucket on disk. Zero is the default bucket; no number is given to a second bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BucketId(pub(crate) u32);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    BucketCreated {
        id: BucketId,
        name: String,
        options: BucketOptions,
    },
    /// The bucket is gone and its tables are obsolete.
    BucketDropped { id: BucketId },
    TableAdded {
        bucket: BucketId,
        level: u8,
        meta: TableMeta,
    },
    /// The table is in no level any more; its file is obsolete.
    TableRemoved {
        bucket: BucketId,
        level: u8,
        number: u64,
    },
    TableMoved {
        bucket: BucketId,
        number: u64,
        from: u8,
        to: u8,
    },
    /// The file is not part of the database, but may still be in the directory.
    FileObsolete { number: u64 },
    /// An obsolete file has been removed.
    ObsoleteGone { number: u64 },
    /// Every commit up to here is in this bucket's tables.
    Flushed { bucket: BucketId, through: Sequence },
    /// The WAL segment exists and may hold commits. Segments start in order, without gaps.
    LogStarted { segment: u64 },
    /// WAL segments below are not needed.
    LogFloor { segment: u64 },
    /// File numbers below may have been used.
    NextFile { number: u64 },
    /// The highest sequence known to tables.
    LastSequence { sequence: Sequence },
    /// Bucket ids below may have been used.
    NextBucket { id: BucketId },
    /// A blob file that a table of this edit refers to. It is obsolete after the edit that takes the
    /// last table which does.
    BlobAdded { bucket: BucketId, meta: BlobMeta },
    /// All sessions whose files may be there, in order.
    Sessions { sessions: Vec<Session> },
}

/// One life of the database in a directory, from an opening for writing to its end. Copies of a directory that are
/// opened go on with the same numbers: what a file holds follows from its number and its session together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// Files with lower numbers were there before.
    pub(crate) first_file: u64,
    /// Drawn at random.
    pub(crate) id: u64,
}

/// Changes that happen together or not at all, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionEdit {
    pub(crate) changes: Vec<Change>,
}

/// Tags on disk: never renumber.
mod tag {
    pub(super) const BUCKET_CREATED: u8 = 1;
    pub(super) const BUCKET_DROPPED: u8 = 2;
    pub(super) const TABLE_ADDED: u8 = 3;
    pub(super) const TABLE_REMOVED: u8 = 4;
    pub(super) const TABLE_MOVED: u8 = 5;
    pub(super) const FILE_OBSOLETE: u8 = 6;
    pub(super) const OBSOLETE_GONE: u8 = 7;
    pub(super) const FLUSHED: u8 = 8;
    pub(super) const LOG_STARTED: u8 = 9;
    pub(super) const LOG_FLOOR: u8 = 10;
    pub(super) const NEXT_FILE: u8 = 11;
    pub(super) const LAST_SEQUENCE: u8 = 12;
    pub(super) const NEXT_BUCKET: u8 = 13;
    pub(super) const BLOB_ADDED: u8 = 14;
    pub(super) const SESSIONS: u8 = 15;
}

impl VersionEdit {
    /// A varint count, then each change: its tag and its fields.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.changes.len() as u64);
        for change in &self.changes {
            change.encode(&mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(bytes);
        // Not reserved by: a count that the bytes cannot hold fails at the first missing change.
        let count = reader.varint()?;
        let mut changes = Vec::new();
        for _ in 0..count {
            changes.push(Change::decode(&mut reader)?);
        }
        reader.finish()?;
        Ok(Self { changes })
    }
}

impl Change {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut numbers = |tag: u8, fields: &[u64]| {
            out.push(tag);
            for field in fields {
                put_varint(out, *field);
            }
        };
        match self {
            Self::BucketCreated { id, name, options } => {
                numbers(tag::BUCKET_CREATED, &[id.0.into()]);
                put_bytes(out, name.as_bytes());
                put_bytes(out, &encode_options(options));
            }
            Self::BucketDropped { id } => numbers(tag::BUCKET_DROPPED, &[id.0.into()]),
            Self::TableAdded {
                bucket,
                level,
                meta,
            } => {
                numbers(tag::TABLE_ADDED, &[bucket.0.into(), (*level).into()]);
                encode_meta(out, meta);
            }
            Self::TableRemoved {
                bucket,
                level,
                number,
            } => numbers(
                tag::TABLE_REMOVED,
                &[bucket.0.into(), (*level).into(), *number],
            ),
            Self::TableMoved {
                bucket,
                number,
                from,
                to,
            } => numbers(
                tag::TABLE_MOVED,
                &[bucket.0.into(), *number, (*from).into(), (*to).into()],
            ),
            Self::FileObsolete { number } => numbers(tag::FILE_OBSOLETE, &[*number]),
            Self::ObsoleteGone { number } => numbers(tag::OBSOLETE_GONE, &[*number]),
            Self::Flushed { bucket, through } => {
                numbers(tag::FLUSHED, &[bucket.0.into(), through.get()]);
            }
            Self::LogStarted { segment } => numbers(tag::LOG_STARTED, &[*segment]),
            Self::LogFloor { segment } => numbers(tag::LOG_FLOOR, &[*segment]),
            Self::NextFile { number } => numbers(tag::NEXT_FILE, &[*number]),
            Self::LastSequence { sequence } => numbers(tag::LAST_SEQUENCE, &[sequence.get()]),
            Self::NextBucket { id } => numbers(tag::NEXT_BUCKET, &[id.0.into()]),
            Self::BlobAdded { bucket, meta } => {
                numbers(tag::BLOB_ADDED, &[bucket.0.into()]);
                encode_blob(out, meta);
            }
            Self::Sessions { sessions } => {
                numbers(tag::SESSIONS, &[sessions.len() as u64]);
                for session in sessions {
                    put_varint(out, session.first_file);
                    put_varint(out, session.id);
                }
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let change = match reader.u8()? {
            tag::BUCKET_CREATED => Self::BucketCreated {
                id: bucket(reader)?,
                name: reader.string()?.to_owned(),
                options: decode_options(reader.bytes()?)?,
            },
            tag::BUCKET_DROPPED => Self::BucketDropped {
                id: bucket(reader)?,
            },
            tag::TABLE_ADDED => Self::TableAdded {
                bucket: bucket(reader)?,
                level: level(reader)?,
                meta: decode_meta(reader)?,
            },
            tag::TABLE_REMOVED => Self::TableRemoved {
                bucket: bucket(reader)?,
                level: level(reader)?,
                number: reader.varint()?,
            },
            tag::TABLE_MOVED => Self::TableMoved {
                bucket: bucket(reader)?,
                number: reader.varint()?,
                from: level(reader)?,
                to: level(reader)?,
            },
            tag::FILE_OBSOLETE => Self::FileObsolete {
                number: reader.varint()?,
            },
            tag::OBSOLETE_GONE => Self::ObsoleteGone {
                number: reader.varint()?,
            },
            tag::FLUSHED => Self::Flushed {
                bucket: bucket(reader)?,
                through: sequence(reader)?,
            },
            tag::LOG_STARTED => Self::LogStarted {
                segment: reader.varint()?,
            },
            tag::LOG_FLOOR => Self::LogFloor {
                segment: reader.varint()?,
            },
            tag::NEXT_FILE => Self::NextFile {
                number: reader.varint()?,
            },
            tag::LAST_SEQUENCE => Self::LastSequence {
                sequence: sequence(reader)?,
            },
            tag::NEXT_BUCKET => Self::NextBucket {
                id: bucket(reader)?,
            },
            tag::BLOB_ADDED => Self::BlobAdded {
                bucket: bucket(reader)?,
                meta: decode_blob(reader)?,
            },
            tag::SESSIONS => {
                let mut sessions = Vec::new();
                for _ in 0..reader.varint()? {
                    sessions.push(Session {
                        first_file: reader.varint()?,
                        id: reader.varint()?,
                    });
                }
                Self::Sessions { sessions }
            }
            tag => return Err(Fault::Tag(tag)),
        };
        Ok(change)
    }
}

fn bucket(reader: &mut Reader<'_>) -> Result<BucketId, Fault> {
    let id = u32::try_from(reader.varint()?).map_err(|_| Fault::Field("bucket id"))?;
    Ok(BucketId(id))
}

fn level(reader: &mut Reader<'_>) -> Result<u8, Fault> {
    u8::try_from(reader.varint()?).map_err(|_| Fault::Field("level"))
}

fn sequence(reader: &mut Reader<'_>) -> Result<Sequence, Fault> {
    reader.varint().map(Sequence::new)
}

fn encode_meta(out: &mut Vec<u8>, meta: &TableMeta) {
    for field in [
        meta.number,
        meta.bytes,
        meta.entries,
        meta.tombstones,
        meta.range_tombstones,
        meta.smallest_sequence.get(),
        meta.largest_sequence.get(),
    ] {
        put_varint(out, field);
    }
    put_bytes(out, &meta.smallest);
    put_bytes(out, &meta.largest);
    out.push(u8::from(meta.largest_exclusive));
    meta.blobs.encode(out);
    meta.superseded.encode(out);
    meta.covered.encode(out);
}

fn encode_blob(out: &mut Vec<u8>, meta: &BlobMeta) {
    for field in [meta.number, meta.bytes, meta.values, meta.value_bytes] {
        put_varint(out, field);
    }
}

fn decode_blob(reader: &mut Reader<'_>) -> Result<BlobMeta, Fault> {
    Ok(BlobMeta {
        number: reader.varint()?,
        bytes: reader.varint()?,
        values: reader.varint()?,
        value_bytes: reader.varint()?,
    })
}

fn decode_meta(reader: &mut Reader<'_>) -> Result<TableMeta, Fault> {
    let number = reader.varint()?;
    let bytes = reader.varint()?;
    let entries = reader.varint()?;
    let tombstones = reader.varint()?;
    let range_tombstones = reader.varint()?;
    let smallest_sequence = sequence(reader)?;
    let largest_sequence = sequence(reader)?;
    let smallest = reader.bytes()?.to_vec();
    let largest = reader.bytes()?.to_vec();
    let largest_exclusive = match reader.u8()? {
        0 => false,
        1 => true,
        tag => return Err(Fault::Tag(tag)),
    };
    let blobs = BlobUses::decode(reader)?;
    let superseded = Freeable::decode(reader)?;
    let covered = Freeable::decode(reader)?;
    Ok(TableMeta {
        number,
        bytes,
        entries,
        tombstones,
        range_tombstones,
        smallest,
        largest,
        largest_exclusive,
        smallest_sequence,
        largest_sequence,
        blobs,
        superseded,
        covered,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta() -> TableMeta {
        TableMeta {
            number: 300,
            bytes: 5,
            entries: 2,
            tombstones: 1,
            range_tombstones: 1,
            smallest: b"a".to_vec(),
            largest: b"bc".to_vec(),
            largest_exclusive: true,
            smallest_sequence: Sequence::new(7),
            largest_sequence: Sequence::new(9),
            blobs: BlobUses::default(),
            superseded: Freeable::default(),
            covered: Freeable {
                bytes: 6,
                until: Sequence::new(9),
            },
        }
    }

    fn every_change() -> VersionEdit {
        let bucket = BucketId(3);
        let changes = vec![
            Change::BucketCreated {
                id: bucket,
                name: "names are data, \0 and / too".to_owned(),
                options: BucketOptions::default(),
            },
            Change::TableAdded {
                bucket,
                level: 0,
                meta: meta(),
            },
            Change::TableMoved {
                bucket,
                number: 300,
                from: 0,
                to: 6,
            },
            Change::TableRemoved {
                bucket,
                level: 6,
                number: 300,
            },
            Change::FileObsolete { number: 301 },
            Change::ObsoleteGone { number: 300 },
            Change::Flushed {
                bucket,
                through: Sequence::new(9),
            },
            Change::LogStarted { segment: 1 },
            Change::LogFloor { segment: 1 },
            Change::NextFile { number: 400 },
            Change::LastSequence {
                sequence: Sequence::new(9),
            },
            Change::BucketDropped { id: bucket },
            Change::NextBucket { id: BucketId(8) },
            Change::BlobAdded {
                bucket,
                meta: BlobMeta {
                    number: 302,
                    bytes: 700,
                    values: 2,
                    value_bytes: 600,
                },
            },
            Change::Sessions {
                sessions: vec![
                    Session {
                        first_file: 0,
                        id: u64::MAX,
                    },
                    Session {
                        first_file: 301,
                        id: 7,
                    },
                ],
            },
        ];
        VersionEdit { changes }
    }

    #[test]
    fn every_change_round_trips() {
        let edit = every_change();
        assert_eq!(VersionEdit::decode(&edit.encode()), Ok(edit));
    }

    #[test]
    fn an_edit_in_the_format_document() {
        let edit = VersionEdit {
            changes: vec![
                Change::TableAdded {
                    bucket: BucketId(3),
                    level: 1,
                    meta: meta(),
                },
                Change::LogFloor { segment: 2 },
            ],
        };
        let expected = [
            &[0x02][..],                           // two changes
            &[0x03, 0x03, 0x01],                   // table added, bucket 3, level 1
            &[0xac, 0x02, 0x05, 0x02, 0x01, 0x01], // 300, 5 bytes, 2 entries, 1 tombstone, a range's
            &[0x07, 0x09],                         // sequences 7..=9
            &[0x01, b'a', 0x02, b'b', b'c', 0x01], // keys, the largest exclusive
            &[0x00],                               // no values in blob files
            &[0x00, 0x00, 0x06, 0x09],             // nothing superseded, 6 bytes covered until 9
            &[0x0a, 0x02],                         // log floor 2
        ];
        assert_eq!(edit.encode(), expected.concat());
    }

    #[test]
    fn an_unknown_tag_is_a_fault() {
        assert_eq!(VersionEdit::decode(&[1, 0]), Err(Fault::Tag(0)));
        assert_eq!(VersionEdit::decode(&[1, 200]), Err(Fault::Tag(200)));
    }

    #[test]
    fn counts_beyond_the_bytes_are_faults() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert!(matches!(
            VersionEdit::decode(&bytes),
            Err(Fault::Length { .. })
        ));
        let bytes = every_change().encode();
        for length in 0..bytes.len() {
            assert!(VersionEdit::decode(bytes.get(..length).unwrap_or_default()).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(edit) = VersionEdit::decode(&bytes) {
                prop_assert_eq!(VersionEdit::decode(&edit.encode()), Ok(edit));
            }
        }
    }
}
