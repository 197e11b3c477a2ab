//! Whole logs, damaged: what a replay yields, and when it refuses.

use proptest::prelude::*;
use trine_io::{Mode, Storage};
use trine_platform::block_on;

use super::{Prepared, Replayed, SegmentWriter, Space, Start, cut_tail, replay, segment_name};
use crate::error::{Error, Result};
use crate::record::{FILE_HEADER_BYTES, FileHeader, LogKind, SECTOR_BYTES, Torn};
use crate::sequence::Sequence;

const MODE: Mode = Mode::Blocking;

/// A segment whose predecessors are on disk, as a new life starts it.
fn create(storage: &Storage, number: u64, first_sequence: u64) -> SegmentWriter {
    create_after(storage, number, first_sequence, 0, true)
}

fn create_after(
    storage: &Storage,
    number: u64,
    first_sequence: u64,
    previous: u64,
    settled: bool,
) -> SegmentWriter {
    let prepared = block_on(Prepared::create(storage, number, 0, Space::Filled, MODE)).unwrap();
    let start = Start {
        first_sequence: Sequence::new(first_sequence),
        previous,
        settled,
    };
    block_on(SegmentWriter::start(prepared, start, MODE)).unwrap()
}

/// Writes the commits `sequences`, one group each, without a sync.
fn commit(segment: &mut SegmentWriter, sequences: std::ops::RangeInclusive<u64>) {
    for sequence in sequences {
        let batch = batch(sequence);
        segment
            .push_commit(Sequence::new(sequence), &batch)
            .unwrap();
        block_on(segment.write(false, MODE)).unwrap();
    }
}

fn sync(segment: &mut SegmentWriter) {
    block_on(segment.sync(MODE)).unwrap();
}

/// A batch that differs in length and content from its neighbours'.
pub(super) fn batch(sequence: u64) -> Vec<u8> {
    vec![u8::try_from(sequence % 3).unwrap(); usize::try_from(sequence * 97 % 700).unwrap()]
}

pub(super) fn replayed(
    storage: &Storage,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<(Vec<u64>, Replayed)> {
    let mut sequences = Vec::new();
    let replayed = block_on(replay(storage, numbers, MODE, |sequence, bytes| {
        assert_eq!(bytes, batch(sequence.get()));
        sequences.push(sequence.get());
        Ok(true)
    }))?;
    Ok((sequences, replayed))
}

pub(super) fn bytes(storage: &Storage, number: u64) -> Vec<u8> {
    block_on(storage.read_file(MODE, &segment_name(number), u64::MAX)).unwrap()
}

pub(super) fn set_bytes(storage: &Storage, number: u64, bytes: &[u8]) {
    let file = block_on(storage.open_write(MODE, &segment_name(number))).unwrap();
    block_on(file.set_len(MODE, 0)).unwrap();
    block_on(file.write_at(MODE, 0, bytes.to_vec())).unwrap();
}

fn corruption(result: Result<(Vec<u64>, Replayed)>) -> String {
    match result {
        Err(Error::Corruption { message }) => message,
        other => panic!("not corruption: {other:?}"),
    }
}

/// Segments 1 and 2 in full, 3 just created.
fn three_segments() -> Storage {
    let storage = Storage::memory();
    let mut first = create(&storage, 1, 1);
    commit(&mut first, 1..=10);
    sync(&mut first);
    let mut second = create(&storage, 2, 11);
    commit(&mut second, 11..=20);
    create_after(&storage, 3, 21, 2, false);
    storage
}

#[test]
fn commits_come_back_in_order_across_segments() {
    let storage = three_segments();
    let (sequences, replayed) = replayed(&storage, 1..=3).unwrap();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
    assert_eq!(replayed.last_sequence, Sequence::new(20));
    assert_eq!((replayed.commits, replayed.dropped.len()), (20, 0));
    let tail = replayed.tail.unwrap();
    assert_eq!((tail.number, tail.torn), (2, None));
    assert_eq!(tail.length, bytes(&storage, 2).len() as u64);
}

#[test]
fn an_unused_log_ends_before_its_first_sequence() {
    let storage = Storage::memory();
    create(&storage, 4, 9);
    let (sequences, replayed) = replayed(&storage, 4..=4).unwrap();
    assert!(sequences.is_empty());
    assert_eq!(replayed.last_sequence, Sequence::new(8));
    assert_eq!(replayed.tail, None);
}

#[test]
fn a_missing_segment_is_corruption_that_names_it() {
    for number in 1..=3 {
        let storage = three_segments();
        block_on(storage.remove(MODE, &segment_name(number))).unwrap();
        assert!(corruption(replayed(&storage, 1..=3)).contains(&segment_name(number)));
    }
}

#[test]
fn a_segment_under_another_number_is_corruption() {
    let storage = three_segments();
    set_bytes(&storage, 2, &bytes(&storage, 1));
    assert!(corruption(replayed(&storage, 1..=3)).contains("wal-000002 at offset 0"));
}

#[test]
fn a_torn_tail_is_dropped_in_the_last_used_segment_only() {
    for cut_in in [1, 2] {
        let storage = three_segments();
        let image = bytes(&storage, cut_in);
        set_bytes(&storage, cut_in, &image[..image.len() - 1]);
        let result = replayed(&storage, 1..=3);
        if cut_in == 1 {
            assert!(corruption(result).contains("wal-000001"));
        } else {
            let (sequences, replayed) = result.unwrap();
            assert_eq!(sequences.last(), Some(&19));
            assert_eq!(replayed.tail.unwrap().torn, Some(Torn::Cut));
        }
    }
}

#[test]
fn a_segment_cut_at_a_record_with_commits_after_it_is_corruption() {
    let storage = three_segments();
    // Without its tenth commit the first segment ends cleanly; the sequence gap tells.
    let image = bytes(&storage, 1);
    let shorter = Storage::memory();
    commit(&mut create(&shorter, 1, 1), 1..=9);
    let length = bytes(&shorter, 1).len();
    assert_eq!(bytes(&shorter, 1), image[..length]);
    set_bytes(&storage, 1, &image[..length]);
    assert!(corruption(replayed(&storage, 1..=3)).contains("wal-000002"));
}

#[test]
fn a_first_segment_that_lost_everything_is_corruption() {
    let storage = three_segments();
    let mut image = bytes(&storage, 1);
    image[FILE_HEADER_BYTES..].fill(0);
    set_bytes(&storage, 1, &image);
    assert!(corruption(replayed(&storage, 1..=3)).contains("wal-000002"));
}

#[test]
fn a_repeated_or_skipped_sequence_is_corruption() {
    for second in [1, 3] {
        let storage = Storage::memory();
        let mut segment = create(&storage, 1, 1);
        for sequence in [1, second] {
            segment
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
        }
        block_on(segment.write(false, MODE)).unwrap();
        assert!(corruption(replayed(&storage, 1..=1)).contains("out of order"));
    }
}

#[test]
fn after_a_cut_the_log_goes_on_in_a_new_segment() {
    let storage = three_segments();
    let image = bytes(&storage, 2);
    set_bytes(&storage, 2, &image[..image.len() - 5]);
    let (_, found) = replayed(&storage, 1..=3).unwrap();
    block_on(cut_tail(&storage, &found, MODE)).unwrap();
    assert_eq!(bytes(&storage, 2).len() as u64, found.tail.unwrap().length);
    // Segment 3 was created for sequence 21 and is unused; the log goes on at 20 behind it.
    let mut segment = create(&storage, 4, 20);
    commit(&mut segment, 20..=25);
    let (sequences, found) = replayed(&storage, 1..=4).unwrap();
    assert_eq!(sequences, (1..=25).collect::<Vec<_>>());
    assert_eq!(found.tail.unwrap().torn, None);
    // Also when the floor has moved to the unused segment.
    let (sequences, _) = replayed(&storage, 3..=4).unwrap();
    assert_eq!(sequences, (20..=25).collect::<Vec<_>>());
}

#[test]
fn cutting_twice_is_cutting_once() {
    let storage = three_segments();
    let image = bytes(&storage, 2);
    set_bytes(&storage, 2, &image[..image.len() - 5]);
    for dropped in [true, false] {
        let (sequences, found) = replayed(&storage, 1..=3).unwrap();
        assert_eq!(sequences.last(), Some(&19));
        assert_eq!(found.tail.unwrap().torn.is_some(), dropped);
        block_on(cut_tail(&storage, &found, MODE)).unwrap();
    }
}

#[test]
fn a_segment_of_a_later_version_is_unsupported() {
    let storage = three_segments();
    let mut image = bytes(&storage, 1);
    image[8] = 9;
    let crc = crate::checksum::crc32c(&[&image[..60]]);
    image.splice(60..64, crc.to_le_bytes());
    set_bytes(&storage, 1, &image);
    assert!(matches!(
        replayed(&storage, 1..=3),
        Err(Error::UnsupportedFormat { .. })
    ));
}

#[test]
fn a_segment_header_in_the_format_document() {
    let header = FileHeader {
        kind: LogKind::Wal,
        number: 7,
        first_sequence: Sequence::new(42),
        previous: 6,
        settled: true,
    };
    let mut expected = b"trinewal".to_vec();
    expected.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    expected.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend_from_slice(&[0; 20]);
    expected.extend_from_slice(&[0x39, 0xeb, 0xb7, 0x1d]);
    assert_eq!(header.encode(), expected);
}

#[test]
fn any_changed_bit_of_a_log_is_an_error() {
    let storage = three_segments();
    for number in 1..=3 {
        let mut image = bytes(&storage, number);
        for bit in 0..image.len() * 8 {
            // Every bit of headers and of one sector's start, and one bit in the rest of the bytes.
            if bit / 8 > 600 && bit % 8 != bit / 8 % 8 {
                continue;
            }
            image[bit / 8] ^= 1 << (bit % 8);
            set_bytes(&storage, number, &image);
            corruption(replayed(&storage, 1..=3));
            image[bit / 8] ^= 1 << (bit % 8);
        }
        set_bytes(&storage, number, &image);
    }
    assert!(replayed(&storage, 1..=3).is_ok());
}

proptest! {
    /// Power goes at any time: of what was written since the last sync any sectors may be missing.
    #[test]
    fn a_replay_yields_a_prefix_with_every_synced_commit(
        groups in prop::collection::vec((1u64..5, any::<bool>()), 1..12),
        lost in prop::collection::vec(any::<bool>(), 40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let storage = Storage::memory();
        let mut segment = create(&storage, 1, 1);
        let (mut last, mut synced, mut synced_bytes) = (0, 0, FILE_HEADER_BYTES);
        for (commits, then_sync) in groups {
            commit(&mut segment, last + 1..=last + commits);
            last += commits;
            if then_sync {
                sync(&mut segment);
                synced = last;
                synced_bytes = bytes(&storage, 1).len();
            }
        }
        let mut image = bytes(&storage, 1);
        for sector in synced_bytes / SECTOR_BYTES..image.len().div_ceil(SECTOR_BYTES) {
            if lost[sector % lost.len()] {
                let end = image.len().min((sector + 1) * SECTOR_BYTES);
                image[(sector * SECTOR_BYTES).max(synced_bytes)..end].fill(0);
            }
        }
        if let Some(cut) = cut {
            image.truncate(synced_bytes + cut.index(image.len() - synced_bytes + 1));
        }
        set_bytes(&storage, 1, &image);
        let (sequences, found) = replayed(&storage, 1..=1).unwrap();
        let recovered = sequences.len() as u64;
        prop_assert!(recovered >= synced && recovered <= last);
        prop_assert_eq!(found.last_sequence.get(), recovered);

        // The next life goes on from there.
        block_on(cut_tail(&storage, &found, MODE)).unwrap();
        commit(&mut create(&storage, 2, recovered + 1), recovered + 1..=recovered + 3);
        let (sequences, _) = replayed(&storage, 1..=2).unwrap();
        prop_assert_eq!(sequences.len() as u64, recovered + 3);
    }
}
