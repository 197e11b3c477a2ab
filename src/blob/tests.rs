//! Blob files: what was written comes back, from a map or not, and nothing else passes.

use std::sync::Arc;

use proptest::prelude::*;
use trine_io::{Mode, Storage};
use trine_platform::block_on;

use super::*;
use crate::block::frame::BlockHandle;
use crate::cache::BlockCache;
use crate::coding::Reader;
use crate::compression::Codec;
use crate::error::{Error, Result};
use crate::open_files::OpenFiles;
use crate::testing::hex;

const MODE: Mode = Mode::Blocking;

fn write(number: u64, values: &[Vec<u8>], codec: Codec) -> (Vec<u8>, Vec<BlobIndex>, BlobMeta) {
    let mut writer = BlobWriter::new(number);
    let mut bytes = Vec::new();
    let mut indices = Vec::new();
    for value in values {
        indices.push(writer.add(value, codec));
        if writer.pending_bytes() > 300 {
            bytes.extend(writer.take_pending());
        }
    }
    let (rest, meta) = writer.finish();
    bytes.extend(rest);
    assert_eq!(bytes.len() as u64, meta.bytes);
    (bytes, indices, meta)
}

fn open(bytes: &[u8], meta: &BlobMeta, mapped: bool) -> Result<Arc<BlobFile>> {
    let storage = Storage::memory();
    let file = block_on(storage.create(MODE, "unfinished-000007"))?;
    block_on(file.write_at(MODE, 0, bytes.to_vec()))?;
    let cache = Arc::new(BlockCache::new(0));
    let files = Arc::new(OpenFiles::new(storage, cache, usize::MAX));
    if mapped {
        block_on(BlobFile::open_in(&file, meta, &files, MODE))
    } else {
        block_on(BlobFile::open_unmapped(&file, meta, &files, MODE))
    }
}

fn read(file: &Arc<BlobFile>, index: BlobIndex) -> Result<Vec<u8>> {
    let value = BlobValue::new(Arc::clone(file), index);
    let bytes = block_on(value.read(MODE))?;
    // Again, now that its checksum was verified.
    assert_eq!(*block_on(value.read(MODE))?, *bytes);
    Ok(bytes.into_vec())
}

/// Also the worked example of docs/format.md, "Blob files".
#[test]
fn a_file_is_its_header_records_and_footer() {
    let (bytes, indices, meta) = write(7, &[b"abc".to_vec()], Codec::Lz4);
    assert_eq!(
        hex(&bytes),
        concat!(
            "5452494e45424c42", // magic
            "0100000000000000", // version 1
            "0700000000000000", // file 7
            "616263",           // the value as it is
            "0300000000",       // three bytes, codec 0
            "5bbdee59",         // the record's checksum
            "0100000000000000", // one value
            "0300000000000000", // of three bytes
            "5400000000000000", // in a file of 84
            "0700000000000000", // that is file 7
            "01000000",
            "213bef2b",
            "5452494e45424654",
        )
    );
    assert_eq!(meta.bytes, 84);
    let mut encoded = Vec::new();
    indices[0].encode(&mut encoded);
    assert_eq!(hex(&encoded), "0700180303");
}

#[test]
fn a_mapped_value_that_is_stored_as_it_is_is_lent() {
    let (bytes, indices, meta) = write(7, &[vec![1; 100], vec![2; 100]], Codec::None);
    let file = open(&bytes, &meta, true).unwrap();
    let value = BlobValue::new(Arc::clone(&file), indices[1]);
    let [first, second] = [0, 1].map(|_| value.resident().unwrap().unwrap());
    assert_eq!(*first, [2; 100]);
    assert_eq!(first.as_ptr(), second.as_ptr());
    drop((file, value));
    assert_eq!(*first, [2; 100], "a loan keeps its file");
}

#[test]
fn every_flip_and_truncation_is_an_error_that_names_the_file() {
    let values = [vec![1; 40], (0..60).collect::<Vec<u8>>(), vec![3; 40]];
    for codec in [Codec::None, Codec::Lz4] {
        let (bytes, indices, meta) = write(7, &values, codec);
        for mapped in [true, false] {
            for place in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x10;
                let outcome = open(&damaged, &meta, mapped).and_then(|file| {
                    for index in &indices {
                        read(&file, *index)?;
                    }
                    Ok(())
                });
                let message = match outcome {
                    Err(
                        Error::Corruption { message }
                        | Error::InvalidFormat { message }
                        | Error::UnsupportedFormat { message },
                    ) => message,
                    other => panic!("flip at {place}: {other:?}"),
                };
                assert!(message.contains("blob-000007.trineb"), "{message}");
            }
            for length in 0..bytes.len() {
                assert!(open(&bytes[..length], &meta, mapped).is_err());
            }
        }
    }
}

#[test]
fn a_reference_that_leads_elsewhere_is_an_error() {
    let (bytes, indices, meta) = write(7, &[vec![1; 40], vec![2; 40]], Codec::None);
    let good = indices[1];
    let wrong = [
        BlobIndex { file: 8, ..good },
        BlobIndex { ordinal: 2, ..good },
        BlobIndex {
            value_bytes: 41,
            ..good
        },
        BlobIndex {
            record: BlockHandle {
                offset: good.record.offset - 1,
                ..good.record
            },
            ..good
        },
        BlobIndex {
            record: BlockHandle {
                length: u32::MAX,
                ..good.record
            },
            ..good
        },
        BlobIndex {
            record: BlockHandle {
                offset: u64::MAX,
                ..good.record
            },
            ..good
        },
    ];
    for mapped in [true, false] {
        let file = open(&bytes, &meta, mapped).unwrap();
        assert_eq!(read(&file, good).unwrap(), [2; 40]);
        for index in wrong {
            let value = BlobValue::new(Arc::clone(&file), index);
            assert!(block_on(value.read(MODE)).is_err(), "{index:?}");
        }
    }
}

#[test]
fn a_file_that_is_not_the_one_recorded_is_an_error() {
    let (bytes, _, meta) = write(7, &[vec![1; 40]], Codec::None);
    for wrong in [
        BlobMeta { number: 8, ..meta },
        BlobMeta { values: 2, ..meta },
        BlobMeta {
            values: u64::MAX,
            ..meta
        },
        BlobMeta {
            value_bytes: 1,
            ..meta
        },
    ] {
        assert!(open(&bytes, &wrong, true).is_err(), "{wrong:?}");
    }
}

#[test]
fn uses_add_up_and_no_shorter_bytes_pass() {
    let (_, indices, _) = write(300, &[vec![1; 40], vec![2; 50]], Codec::None);
    let (_, others, _) = write(7, &[vec![1; 9]], Codec::None);
    let mut uses = BlobUses::default();
    for index in indices.iter().chain(&others) {
        uses.count(index);
    }
    let mut bytes = Vec::new();
    uses.encode(&mut bytes);
    assert_eq!(hex(&bytes), "02070109ac02025a");
    assert_eq!(BlobUses::decode(&mut Reader::new(&bytes)), Ok(uses));
    for length in 0..bytes.len() {
        assert!(BlobUses::decode(&mut Reader::new(&bytes[..length])).is_err());
    }
    // Files out of order; a file of which nothing is used.
    for wrong in ["02070109070109", "01070000"] {
        let bytes: Vec<u8> = wrong
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        assert!(BlobUses::decode(&mut Reader::new(&bytes)).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_comes_back_and_moves_as_it_is(
        values in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..20), 1usize..40), 1..12),
        mapped: bool,
        compress: bool,
    ) {
        let values: Vec<Vec<u8>> = values.into_iter().map(|(bytes, times)| bytes.repeat(times)).collect();
        let codec = if compress { Codec::Lz4 } else { Codec::None };
        let (bytes, indices, meta) = write(7, &values, codec);
        let file = open(&bytes, &meta, mapped).unwrap();
        let mut writer = BlobWriter::new(9);
        let mut moved = Vec::new();
        for (index, value) in indices.iter().zip(&values) {
            prop_assert_eq!(&read(&file, *index).unwrap(), value);
            let from = BlobValue::new(Arc::clone(&file), *index);
            moved.push(block_on(from.with_record(MODE, |record| Ok(writer.add_stored(&record)))).unwrap());
        }
        let (bytes, meta) = writer.finish();
        let file = open(&bytes, &meta, mapped).unwrap();
        for (index, value) in moved.iter().zip(&values) {
            prop_assert_eq!(&read(&file, *index).unwrap(), value);
        }
    }

    #[test]
    fn arbitrary_references_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(index) = BlobIndex::decode(&bytes) {
            let mut again = Vec::new();
            index.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}
