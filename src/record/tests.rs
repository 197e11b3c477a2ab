//! The torn-tail rule as a specification: what a power loss can leave is torn, any other change is corruption.

use proptest::prelude::*;

use super::{
    End, FILE_HEADER_BYTES, LogKind, MARK_BYTES, Next, RECORD_HEADER_BYTES, RecordReader,
    RecordWriter, SECTOR_BYTES, Salt, Torn,
};
use crate::error::Fault;

const SALT: Salt = Salt {
    kind: LogKind::Wal,
    number: 7,
};

/// A test log: payloads that start with 1 are data, with 2 a mark { synced through u64 }.
struct Log {
    writer: RecordWriter,
    file: Vec<u8>,
    /// Each record's payload and the file's length after it.
    records: Vec<(Vec<u8>, usize)>,
}

fn proof(_: u64, payload: &[u8]) -> u64 {
    match payload.split_first() {
        Some((2, rest)) => rest.try_into().map_or(0, u64::from_le_bytes),
        _ => 0,
    }
}

impl Log {
    fn new() -> Self {
        Self::over(SALT)
    }

    fn over(salt: Salt) -> Self {
        Self {
            writer: RecordWriter::new(salt, FILE_HEADER_BYTES as u64),
            file: vec![0xee; FILE_HEADER_BYTES],
            records: Vec::new(),
        }
    }

    fn append(&mut self, payload: &[u8]) {
        let (kind, rest) = payload.split_at(1);
        self.writer.append(&mut self.file, &[kind, rest]).unwrap();
        assert_eq!(self.writer.offset(), self.file.len() as u64);
        self.records.push((payload.to_vec(), self.file.len()));
    }

    fn data(&mut self, length: usize, fill: u8) {
        let mut payload = vec![fill; length];
        payload[0] = 1;
        self.append(&payload);
    }

    fn sync_mark(&mut self, through: usize) {
        let mut payload = vec![2];
        payload.extend_from_slice(&(through as u64).to_le_bytes());
        self.append(&payload);
    }

    fn of(payloads: &[Vec<u8>]) -> Self {
        let mut log = Self::new();
        for payload in payloads {
            log.append(payload);
        }
        log
    }

    /// How many whole records the first `length` bytes hold.
    fn records_within(&self, length: usize) -> usize {
        self.records
            .iter()
            .filter(|(_, end)| *end <= length)
            .count()
    }
}

type Outcome = Result<End, (u64, Fault)>;

/// Whatever the file holds, it reads the same where zeros at its end are left out.
fn read_salted(file: &[u8], salt: Salt) -> (Vec<Vec<u8>>, u64, Outcome) {
    let reader = |file| RecordReader::new(file, salt, FILE_HEADER_BYTES, proof);
    let whole = read_all(reader(file));
    let end = file
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    let end = end.next_multiple_of(SECTOR_BYTES).min(file.len());
    let front = reader(&file[..end]).with_zeros_up_to(file.len());
    assert_eq!(read_all(front), whole);
    whole
}

fn read_all(mut reader: RecordReader<'_>) -> (Vec<Vec<u8>>, u64, Outcome) {
    let mut payloads = Vec::new();
    loop {
        let outcome = match reader.next() {
            Ok(Next::Record { payload, .. }) => {
                payloads.push(payload.to_vec());
                continue;
            }
            Ok(Next::End(end)) => Ok(end),
            Err(damage) => Err(damage),
        };
        return (payloads, reader.offset(), outcome);
    }
}

fn read(file: &[u8]) -> (Vec<Vec<u8>>, u64, Outcome) {
    read_salted(file, SALT)
}

/// `file` reads as the first `count` records of `log`, ending as `end` says.
fn assert_prefix(log: &Log, file: &[u8], count: usize, end: End) {
    let (payloads, offset, outcome) = read(file);
    assert_eq!(outcome, Ok(end));
    assert_eq!(payloads.len(), count);
    assert!(
        payloads
            .iter()
            .zip(&log.records)
            .all(|(found, (written, _))| found == written)
    );
    let valid = count
        .checked_sub(1)
        .map_or(FILE_HEADER_BYTES, |last| log.records[last].1);
    assert_eq!(offset, valid as u64);
}

fn zero_sector(file: &mut [u8], sector: usize, from: usize) {
    let start = (sector * SECTOR_BYTES).max(from);
    let end = ((sector + 1) * SECTOR_BYTES).min(file.len());
    if start < end {
        file[start..end].fill(0);
    }
}

/// How much of a sector is left where the next record starts.
fn left_for_a_record(log: &Log) -> usize {
    SECTOR_BYTES - log.file.len().next_multiple_of(4) % SECTOR_BYTES
}

/// Records that stand in all the interesting ways to sectors, with many zeros in them.
fn small_log() -> Log {
    let mut log = Log::new();
    log.data(30, 3);
    log.data(1200, 0); // spans sectors, its payload all zeros but the kind
    let synced = log.file.len();
    log.sync_mark(synced);
    // Ends 12 bytes before a sector's end: the next header just fits and its payload starts a sector.
    let left = left_for_a_record(&log);
    log.data(left - 2 * RECORD_HEADER_BYTES, 0);
    log.data(1, 0);
    // Ends 11 bytes before a sector's end: padding.
    let left = left_for_a_record(&log);
    log.data(left - RECORD_HEADER_BYTES - 11, 5);
    log.data(700, 0);
    // Ends exactly at a sector's end.
    let left = left_for_a_record(&log);
    log.data(left - RECORD_HEADER_BYTES, 0);
    assert_eq!(log.file.len() % SECTOR_BYTES, 0);
    log.data(9, 0);
    log
}

#[test]
fn records_round_trip_whatever_their_place() {
    let log = small_log();
    assert_prefix(&log, &log.file, log.records.len(), End::Clean);
}

#[test]
fn a_record_in_the_format_document() {
    let mut file = vec![0; FILE_HEADER_BYTES];
    let mut writer = RecordWriter::new(SALT, FILE_HEADER_BYTES as u64);
    writer.append(&mut file, &[b"trine"]).unwrap();
    assert_eq!(
        file[FILE_HEADER_BYTES..],
        [
            [0x05, 0x00, 0x00, 0x00], // length
            [0x49, 0x20, 0x5b, 0x85], // header crc
            [0xd0, 0xa2, 0x51, 0xb3], // payload crc
        ]
        .concat()
        .into_iter()
        .chain(*b"trine")
        .collect::<Vec<u8>>()
    );
}

#[test]
fn an_empty_or_too_long_payload_is_refused() {
    let mut out = Vec::new();
    let mut writer = RecordWriter::new(SALT, 64);
    assert!(writer.append(&mut out, &[]).is_err());
    assert!(writer.append(&mut out, &[b""]).is_err());
    assert!(out.is_empty());
    assert_eq!(writer.offset(), 64);
}

#[test]
fn a_zero_filled_tail_is_a_clean_end() {
    let log = small_log();
    for extra in [1, 11, 12, 500, 512, 5000] {
        let mut file = log.file.clone();
        file.resize(file.len() + extra, 0);
        assert_prefix(&log, &file, log.records.len(), End::Clean);
    }
}

#[test]
fn a_cut_file_yields_the_records_before_the_cut() {
    let log = small_log();
    for length in FILE_HEADER_BYTES..log.file.len() {
        let (payloads, offset, outcome) = read(&log.file[..length]);
        assert_eq!(
            payloads.len(),
            log.records_within(length),
            "cut at {length}"
        );
        assert!(offset <= length as u64);
        assert!(outcome.is_ok());
    }
}

#[test]
fn any_changed_bit_is_corruption_also_in_the_last_record_and_in_the_zero_tail() {
    let log = small_log();
    let mut file = log.file.clone();
    file.resize(file.len() + 1300, 0);
    for bit in FILE_HEADER_BYTES * 8..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        let (payloads, _, outcome) = read(&file);
        // Behind the last record, in its sector, it reads as a record without a seal: nothing is lost.
        let harmless = (log.file.len()..log.file.len().next_multiple_of(SECTOR_BYTES))
            .contains(&(bit / 8))
            && outcome == Ok(End::Torn(Torn::Unsealed))
            && payloads.len() == log.records.len();
        assert!(outcome.is_err() || harmless, "bit {bit}: {outcome:?}");
        file[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn any_byte_set_to_zero_is_corruption() {
    let mut file = small_log().file;
    for at in FILE_HEADER_BYTES..file.len() {
        let byte = std::mem::take(&mut file[at]);
        assert_eq!(read(&file).2.is_err(), byte != 0, "byte {at}");
        file[at] = byte;
    }
}

#[test]
fn a_lost_sector_without_proof_is_torn_and_later_records_are_dropped_with_it() {
    let mut log = Log::new();
    log.data(600, 1);
    log.data(600, 2);
    log.data(600, 3);
    let mut file = log.file.clone();
    zero_sector(&mut file, 1, log.records[0].1);
    assert_prefix(&log, &file, 1, End::Torn(Torn::LostSector));
}

#[test]
fn a_lost_sector_below_a_sync_mark_is_corruption() {
    let mut log = Log::new();
    log.data(600, 1);
    log.data(600, 2);
    log.sync_mark(log.file.len());
    let first_lost = 512;
    let mut file = log.file.clone();
    zero_sector(&mut file, 1, 0);
    let (payloads, _, outcome) = read(&file);
    assert!(payloads.is_empty());
    let (offset, fault) = outcome.unwrap_err();
    assert!(offset < first_lost && matches!(fault, Fault::Field(_)));
}

#[test]
fn a_mark_proves_nothing_of_what_lies_above_it() {
    let mut log = Log::new();
    log.data(1000, 1);
    let synced = log.file.len();
    log.data(1000, 2);
    log.sync_mark(synced);
    let mut file = log.file.clone();
    zero_sector(&mut file, 3, 0);
    assert_prefix(&log, &file, 1, End::Torn(Torn::LostSector));
}

#[test]
fn a_sector_without_its_mark_is_never_what_a_power_loss_left() {
    let mut log = Log::new();
    log.data(2000, 1);
    let mut file = log.file.clone();
    file[SECTOR_BYTES..SECTOR_BYTES + MARK_BYTES].fill(0);
    assert!(read(&file).2.is_err());
    // Also where the record's first sector is lost.
    zero_sector(&mut file, 0, FILE_HEADER_BYTES);
    assert!(read(&file).2.is_err());
}

/// `log` in a file that was `earlier` before: what was not written over is still there.
fn over(log: &Log, earlier: &[u8]) -> Vec<u8> {
    let mut file = log.file.clone();
    file.resize(file.len().next_multiple_of(SECTOR_BYTES), 0);
    file.extend_from_slice(earlier.get(file.len()..).unwrap_or_default());
    file
}

fn earlier_life() -> Vec<u8> {
    let mut log = Log::over(Salt::new(LogKind::Wal, 3));
    for round in 0..40 {
        log.data(50 + round * 9, 3);
        log.sync_mark(log.file.len());
    }
    log.file
}

#[test]
fn an_earlier_life_of_the_file_is_a_clean_end_and_its_sectors_are_lost_ones() {
    let earlier = earlier_life();
    let log = small_log();
    let file = over(&log, &earlier);
    assert!(file.len() > log.file.len() + 4 * SECTOR_BYTES);
    assert_prefix(&log, &file, log.records.len(), End::Clean);
    // A sector of the last records that never arrived.
    let mut log = Log::new();
    log.data(600, 1);
    log.data(1600, 2);
    let mut file = over(&log, &earlier);
    for sector in [2, 3] {
        let at = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
        file[at.clone()].copy_from_slice(&earlier[at]);
        assert_prefix(&log, &file, 1, End::Torn(Torn::LostSector));
    }
    // One changed byte of a mark is corruption, of this life and of the earlier one.
    let file = over(&log, &earlier);
    for sector in 1..file.len() / SECTOR_BYTES {
        for at in 0..MARK_BYTES {
            for value in 0..=u8::MAX {
                let mut file = file.clone();
                let byte = &mut file[sector * SECTOR_BYTES + at];
                if *byte != value {
                    *byte = value;
                    assert!(read(&file).2.is_err(), "sector {sector}, byte {at}");
                }
            }
        }
        if sector > 6 {
            break;
        }
    }
}

#[test]
fn a_record_without_its_seal_is_torn_and_corruption_where_that_had_been_synced() {
    let mut log = Log::new();
    log.data(100, 1);
    let seal = log.file.len().next_multiple_of(4) + 4;
    log.data(700, 2);
    let unsealed = |log: &Log| {
        let mut file = log.file.clone();
        file[seal..seal + 4].fill(0);
        file
    };
    assert_prefix(&log, &unsealed(&log), 1, End::Torn(Torn::Unsealed));
    log.data(20, 3);
    assert_prefix(&log, &unsealed(&log), 1, End::Torn(Torn::Unsealed));
    log.sync_mark(log.file.len());
    assert!(read(&unsealed(&log)).2.is_err());
}

#[test]
fn bytes_of_another_file_or_place_never_parse() {
    let log = small_log();
    for salt in [
        Salt::new(LogKind::Manifest, 7),
        Salt::new(LogKind::Wal, 8),
        Salt::new(LogKind::Wal, 6),
    ] {
        let (payloads, _, outcome) = read_salted(&log.file, salt);
        // Its sectors are those of another file: nothing of this one is there, or the first is damaged.
        assert!(payloads.is_empty() && outcome != Ok(End::Clean));
    }
    for shift in [1, 4, SECTOR_BYTES] {
        let mut moved = vec![0; shift];
        moved.extend_from_slice(&log.file[FILE_HEADER_BYTES..]);
        moved.splice(0..0, log.file[..FILE_HEADER_BYTES].iter().copied());
        let (payloads, _, outcome) = read(&moved);
        assert!(payloads.is_empty() && outcome != Ok(End::Clean));
    }
}

#[test]
fn bytes_that_look_like_headers_do_not_make_the_scan_quadratic() {
    // A payload full of valid headers for their places, each claiming the longest record.
    let mut log = Log::new();
    log.data(64, 1);
    log.data(600_000, 1);
    let mut file = log.file.clone();
    let length = 1u32 << 29;
    for sector in 2..file.len() / SECTOR_BYTES {
        let mut at = sector * SECTOR_BYTES + MARK_BYTES;
        while at % SECTOR_BYTES <= SECTOR_BYTES - RECORD_HEADER_BYTES
            && !at.is_multiple_of(SECTOR_BYTES)
        {
            file[at..at + 4].copy_from_slice(&length.to_le_bytes());
            file[at + 4..at + 8].copy_from_slice(&SALT.header_crc(at as u64, length).to_le_bytes());
            at += RECORD_HEADER_BYTES;
        }
    }
    zero_sector(&mut file, 0, log.records[0].1);
    zero_sector(&mut file, 1, 0);
    assert_prefix(&log, &file, 1, End::Torn(Torn::LostSector));
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let fill = prop_oneof![Just(0u8), any::<u8>()];
    let length = prop_oneof![1usize..40, 1usize..1600, Just(500usize), Just(1020usize)];
    let payload = (length, fill).prop_map(|(length, fill)| {
        let mut payload = vec![fill; length];
        payload[0] = 1;
        payload
    });
    prop::collection::vec(payload, 0..12)
}

proptest! {
    #[test]
    fn records_round_trip(payloads in payloads(), tail in 0usize..1100) {
        let log = Log::of(&payloads);
        let mut file = log.file.clone();
        file.resize(file.len() + tail, 0);
        assert_prefix(&log, &file, payloads.len(), End::Clean);
    }

    #[test]
    fn a_changed_byte_is_corruption(
        payloads in payloads(),
        tail in 0usize..1100,
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let log = Log::of(&payloads);
        let mut file = log.file.clone();
        file.resize(file.len() + tail, 0);
        let length = file.len() - FILE_HEADER_BYTES;
        prop_assume!(length > 0);
        let at = FILE_HEADER_BYTES + at.index(length);
        file[at] ^= change;
        let (found, _, outcome) = read(&file);
        // Behind the last record it may read as a header that was cut, or as one without a seal.
        let behind = at >= log.file.len();
        let harmless = matches!(outcome, Ok(End::Torn(Torn::Cut | Torn::Unsealed))) && found == payloads;
        prop_assert!(outcome.is_err() || behind && harmless, "{outcome:?}");
    }

    /// Sectors as a power loss leaves them: below the synced offset as written; above it as after
    /// some write of the group that touched them last, or never written.
    #[test]
    fn any_power_loss_yields_a_prefix_with_all_that_was_synced(
        before in payloads(),
        after in payloads(),
        versions in prop::collection::vec(any::<prop::sample::Index>(), 60),
        cut in prop::option::of(any::<prop::sample::Index>()),
        tail in prop_oneof![Just(0usize), 0usize..2000],
    ) {
        let mut log = Log::of(&before);
        let synced = log.file.len();
        let synced_records = log.records.len();
        let mut lengths = vec![synced];
        if !after.is_empty() {
            log.sync_mark(synced);
            lengths.push(log.file.len());
        }
        for payload in &after {
            log.append(payload);
            lengths.push(log.file.len());
        }
        let mut file = log.file.clone();
        for sector in synced / SECTOR_BYTES..file.len().div_ceil(SECTOR_BYTES) {
            let version = versions[sector % versions.len()].get(&lengths);
            zero_sector(&mut file, sector, *version);
        }
        file.resize(file.len() + tail, 0);
        if let Some(cut) = cut {
            file.truncate(synced + cut.index(file.len() - synced + 1));
        }
        let (payloads, offset, outcome) = read(&file);
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert!(payloads.len() >= synced_records);
        prop_assert!(payloads.iter().zip(&log.records).all(|(found, (written, _))| found == written));
        // The valid length is stable: cut there, the file reads the same and ends cleanly.
        file.truncate(usize::try_from(offset).unwrap());
        prop_assert_eq!(read(&file), (payloads, offset, Ok(End::Clean)));
    }

    #[test]
    fn sectors_lost_below_a_sync_mark_are_corruption(
        payloads in payloads(),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut log = Log::of(&payloads);
        let synced = log.file.len();
        prop_assume!(synced > FILE_HEADER_BYTES);
        // A mark in a sector of its own, so that it survives the loss of all before.
        while log.file.len() / SECTOR_BYTES == (synced - 1) / SECTOR_BYTES {
            log.data(40, 9);
        }
        log.sync_mark(synced);
        let mut file = log.file.clone();
        for lost in lost {
            zero_sector(&mut file[..], lost.index((synced - 1) / SECTOR_BYTES + 1), FILE_HEADER_BYTES);
        }
        prop_assert!(read(&file).2.is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(file in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = read(&file);
    }
}
