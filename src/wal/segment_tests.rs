//! Logs of several segments, some in files that were segments before: what survives a power loss.

use proptest::prelude::*;
use trine_io::simulation::{Failure, Faults, Simulation};
use trine_io::{Mode, Storage};
use trine_platform::block_on;

use super::tests::{batch, bytes, replayed, set_bytes};
use super::{LogWriter, Prepared, Retired, SegmentWriter, Space, Start, cut_tail, segment_name};
use crate::error::Error;
use crate::record::SECTOR_BYTES;
use crate::sequence::Sequence;
use crate::testing::{fail_next, simulated};

const MODE: Mode = Mode::Blocking;

/// What is done to a log.
#[derive(Clone, Debug)]
enum Step {
    Commit(u64),
    Sync,
    /// Go over to the next segment: a file that grows, one filled with zeros, or an old one.
    GoOver(u8),
    SyncLeft,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u64..5).prop_map(Step::Commit),
        2 => Just(Step::Sync),
        3 => (0u8..3).prop_map(Step::GoOver),
        2 => Just(Step::SyncLeft),
    ];
    prop::collection::vec(step, 1..25)
}

/// A segment as a power loss may find it.
struct Written {
    number: u64,
    /// What its file held before anything was written to it.
    before: Vec<u8>,
    synced: usize,
}

/// A log, and what is known of each of its segments.
struct Life {
    simulation: Simulation,
    storage: Storage,
    log: LogWriter,
    segments: Vec<Written>,
    last: u64,
    synced: u64,
    left: Option<std::sync::Arc<super::LeftSegment>>,
    /// Segments that are not part of the log any more, to be used again.
    old: Vec<Retired>,
}

/// Full of valid records of segment `number`.
fn old_segment(storage: &Storage, number: u64) -> Retired {
    let prepared = block_on(Prepared::create(storage, number, 8192, Space::Filled, MODE)).unwrap();
    let mut writer = block_on(SegmentWriter::start(prepared, start(1, 0, true), MODE)).unwrap();
    for sequence in 1..=20 {
        writer
            .push_commit(Sequence::new(sequence), &batch(sequence))
            .unwrap();
    }
    block_on(writer.write(true, MODE)).unwrap();
    writer.leave().1
}

fn start(first_sequence: u64, previous: u64, settled: bool) -> Start {
    Start {
        first_sequence: Sequence::new(first_sequence),
        previous,
        settled,
    }
}

impl Life {
    fn new() -> Self {
        let (simulation, storage) = simulated();
        // Files are cut and filled behind the log's back.
        simulation.set_maps_logs(false);
        let old = (1..=9)
            .map(|number| old_segment(&storage, number))
            .collect();
        let prepared = block_on(Prepared::create(&storage, 10, 0, Space::Filled, MODE)).unwrap();
        let segment = block_on(SegmentWriter::start(prepared, start(1, 0, true), MODE)).unwrap();
        let first = Written {
            number: 10,
            before: Vec::new(),
            synced: 0,
        };
        Self {
            simulation,
            storage,
            log: LogWriter::new(segment),
            segments: vec![first],
            last: 0,
            synced: 0,
            left: None,
            old,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(count) => {
                for sequence in self.last + 1..=self.last + count {
                    self.log
                        .push_commit(Sequence::new(sequence), &batch(sequence))
                        .unwrap();
                }
                block_on(self.log.write(false, MODE)).unwrap();
                self.last += count;
            }
            Step::Sync => {
                block_on(self.log.sync(MODE)).unwrap();
                self.synced = self.last;
                self.note_synced(self.segments.len());
            }
            Step::SyncLeft => {
                if let Some(left) = self.left.take() {
                    block_on(left.sync(MODE)).unwrap();
                    self.note_synced(self.segments.len() - 1);
                }
            }
            Step::GoOver(kind) => self.go_over(*kind),
        }
    }

    fn note_synced(&mut self, count: usize) {
        for segment in &mut self.segments[..count] {
            segment.synced = bytes(&self.storage, segment.number).len();
        }
    }

    fn go_over(&mut self, kind: u8) {
        if !self.log.has_commits() || self.left.is_some() {
            return;
        }
        let number = self.log.number() + 1;
        let next = match (kind, self.old.pop()) {
            (2, Some(old)) => {
                assert!(old.can_become(number, 0, Space::Filled));
                block_on(Prepared::recycle(&self.storage, old, number, MODE)).unwrap()
            }
            (1, _) => block_on(Prepared::create(
                &self.storage,
                number,
                4096,
                Space::Filled,
                MODE,
            ))
            .unwrap(),
            _ => block_on(Prepared::create(
                &self.storage,
                number,
                0,
                Space::Filled,
                MODE,
            ))
            .unwrap(),
        };
        let before = bytes(&self.storage, number);
        let (left, _) =
            block_on(self.log.go_over(next, Sequence::new(self.last + 1), MODE)).unwrap();
        if left.is_none() {
            self.note_synced(self.segments.len());
            self.synced = self.last;
        }
        self.left = left;
        self.segments.push(Written {
            number,
            before,
            synced: 0,
        });
    }

    /// Power goes: of what was not synced, any sectors are as they were before.
    fn lose(&self, lost: &[bool]) {
        let mut choices = lost.iter().cycle();
        for segment in &self.segments {
            let mut image = bytes(&self.storage, segment.number);
            for sector in segment.synced / SECTOR_BYTES..image.len().div_ceil(SECTOR_BYTES) {
                if !choices.next().unwrap() {
                    continue;
                }
                let end = image.len().min((sector + 1) * SECTOR_BYTES);
                // Of a sector that was synced in part, what came later is gone.
                let start = (sector * SECTOR_BYTES).max(segment.synced);
                for (at, byte) in image.iter_mut().enumerate().take(end).skip(start) {
                    *byte = segment.before.get(at).copied().unwrap_or(0);
                }
            }
            set_bytes(&self.storage, segment.number, &image);
        }
    }

    fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        10..=self.log.number()
    }
}

proptest! {
    #[test]
    fn a_power_loss_leaves_a_prefix_with_all_that_was_synced_over_any_segments(
        steps in steps(),
        lost in prop::collection::vec(any::<bool>(), 40),
    ) {
        let mut life = Life::new();
        for step in &steps {
            life.step(step);
        }
        life.lose(&lost);
        let (sequences, found) = replayed(&life.storage, life.numbers()).unwrap();
        let recovered = sequences.len() as u64;
        prop_assert!(recovered >= life.synced && recovered <= life.last);
        prop_assert_eq!(found.last_sequence.get(), recovered);

        // Interrupted after any of its steps, the cut is made again.
        block_on(cut_tail(&life.storage, &found, MODE)).unwrap();
        let (sequences, again) = replayed(&life.storage, life.numbers()).unwrap();
        prop_assert_eq!(sequences.len() as u64, recovered);
        prop_assert!(again.tail.is_none_or(|tail| tail.torn.is_none()));

        // The next life goes on from there.
        let number = life.log.number() + 1;
        let prepared = block_on(Prepared::create(&life.storage, number, 0, Space::Filled, MODE)).unwrap();
        let at = start(recovered + 1, again.last_used.unwrap_or(0), true);
        let mut segment = block_on(SegmentWriter::start(prepared, at, MODE)).unwrap();
        for sequence in recovered + 1..=recovered + 3 {
            segment.push_commit(Sequence::new(sequence), &batch(sequence)).unwrap();
        }
        block_on(segment.write(false, MODE)).unwrap();
        let (sequences, _) = replayed(&life.storage, 10..=number).unwrap();
        prop_assert_eq!(sequences.len() as u64, recovered + 3);
    }
}

#[test]
fn what_was_synced_and_is_gone_is_corruption_whatever_proves_it() {
    // Segment 10 is left unsynced; then something says that it is on disk.
    let proofs: [&[Step]; 3] = [
        &[Step::SyncLeft, Step::Commit(1)],
        &[Step::Commit(1), Step::Sync, Step::Commit(1)],
        &[
            Step::Commit(1),
            Step::SyncLeft,
            Step::GoOver(0),
            Step::Commit(1),
        ],
    ];
    for steps in proofs {
        let mut life = Life::new();
        for step in [Step::Commit(8), Step::GoOver(1)].iter().chain(steps) {
            life.step(step);
        }
        let image = bytes(&life.storage, 10);
        for kept in [600, image.len() - 1] {
            let mut image = image.clone();
            image[kept..].fill(0);
            set_bytes(&life.storage, 10, &image);
            let result = replayed(&life.storage, life.numbers());
            assert!(matches!(result, Err(Error::Corruption { .. })), "{steps:?}");
        }
        set_bytes(&life.storage, 10, &[]);
        let result = replayed(&life.storage, life.numbers());
        assert!(matches!(result, Err(Error::Corruption { .. })), "{steps:?}");
    }
}

#[test]
fn an_old_file_serves_only_while_the_marks_of_its_lives_differ() {
    let storage = Storage::memory();
    let old = old_segment(&storage, 5);
    let can_become = |number| old.can_become(number, 0, Space::Reserved);
    assert!(can_become(6) && can_become(5 + 65534));
    assert!(!can_become(5 + 65535));
}

#[test]
fn a_write_that_fails_is_taken_back_and_the_log_goes_on() {
    for prepared in [0, 4096] {
        let (simulation, storage) = simulated();
        simulation.set_maps_logs(false);
        let prepared =
            block_on(Prepared::create(&storage, 1, prepared, Space::Filled, MODE)).unwrap();
        let at = start(1, 0, true);
        let mut segment = block_on(SegmentWriter::start(prepared, at, MODE)).unwrap();
        let commit = |segment: &mut SegmentWriter, sequence: u64| {
            segment
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
            block_on(segment.write(false, MODE))
        };
        commit(&mut segment, 1).unwrap();
        for _ in 0..3 {
            fail_next(&simulation, 1, Failure::Full);
            assert!(commit(&mut segment, 2).is_err());
            segment.check().unwrap();
            let (sequences, _) = replayed(&storage, 1..=1).unwrap();
            assert_eq!(sequences, [1]);
        }
        commit(&mut segment, 2).unwrap();
        commit(&mut segment, 3).unwrap();
        let (sequences, _) = replayed(&storage, 1..=1).unwrap();
        assert_eq!(sequences, [1, 2, 3]);
        // Where taking back fails, too, nothing is known any more.
        fail_next(&simulation, 2, Failure::Io);
        assert!(commit(&mut segment, 4).is_err());
        assert!(segment.check().is_err());
        fail_next(&simulation, 0, Failure::Full);
        assert!(segment.push_commit(Sequence::new(4), b"x").is_err());
    }
}

#[test]
fn stores_into_a_map_leave_what_calls_leave() {
    let directory = tempfile::tempdir().unwrap();
    let mapped = Storage::portable(directory.path());
    let called = Storage::memory();
    for storage in [&mapped, &called] {
        let old = old_segment(storage, 1);
        let prepared = block_on(Prepared::recycle(storage, old, 2, MODE)).unwrap();
        let mut segment =
            block_on(SegmentWriter::start(prepared, start(1, 0, true), MODE)).unwrap();
        // The last ones go beyond what was prepared.
        for sequence in 1..=40 {
            segment
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
            block_on(segment.write(sequence % 7 == 0, MODE)).unwrap();
        }
        assert!(segment.bytes() > 8192);
        let (sequences, _) = replayed(storage, 2..=2).unwrap();
        assert_eq!(sequences.len(), 40);
    }
    let name = segment_name(2);
    let read = |storage: &Storage| block_on(storage.read_file(MODE, &name, u64::MAX)).unwrap();
    assert_eq!(read(&mapped), read(&called));
}

#[test]
fn a_segment_whose_space_is_only_reserved_holds_what_a_filled_one_holds() {
    for space in [Space::Reserved, Space::Filled] {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::portable(directory.path());
        let prepared = block_on(Prepared::create(&storage, 1, 1 << 16, space, MODE)).unwrap();
        let mut segment =
            block_on(SegmentWriter::start(prepared, start(1, 0, true), MODE)).unwrap();
        for sequence in 1..=100 {
            segment
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
            // Those in the middle are too many to be stored into a map.
            if !(30..70).contains(&sequence) {
                block_on(segment.write(sequence % 7 == 0, MODE)).unwrap();
            }
        }
        assert_eq!(bytes(&storage, 1).len(), 1 << 16);
        let (sequences, found) = replayed(&storage, 1..=1).unwrap();
        assert_eq!(sequences.len(), 100);
        assert_eq!(found.tail.unwrap().torn, None);
    }
}

#[test]
fn a_log_that_is_synced_wants_a_segment_whose_blocks_exist() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable(directory.path());
    let segment =
        |number, space| block_on(Prepared::create(&storage, number, 1 << 16, space, MODE)).unwrap();
    let first = SegmentWriter::start(segment(1, Space::Reserved), start(1, 0, true), MODE);
    let mut log = LogWriter::new(block_on(first).unwrap());
    let commit = |log: &mut LogWriter, sequence, durably| {
        log.push_commit(Sequence::new(sequence), b"x").unwrap();
        block_on(log.write(durably, MODE)).unwrap();
    };
    commit(&mut log, 1, false);
    assert_eq!((log.is_slow(), log.space_ahead()), (false, Space::Reserved));
    commit(&mut log, 2, true);
    // Unless this host cannot reserve space, and filled it.
    let is_reserved = segment(2, Space::Reserved).space == Space::Reserved;
    assert_eq!(
        (log.is_slow(), log.space_ahead()),
        (is_reserved, Space::Filled)
    );
    let next = segment(3, Space::Filled);
    let (_, left) = block_on(log.go_over(next, Sequence::new(3), MODE)).unwrap();
    commit(&mut log, 3, true);
    assert!(!log.is_slow());
    assert!(left.can_become(4, 1 << 16, Space::Reserved));
    assert_eq!(left.can_become(4, 1 << 16, Space::Filled), !is_reserved);
    assert!(!left.can_become(4, (1 << 16) + 1, Space::Reserved));
}

#[test]
fn after_a_failed_sync_of_the_segment_that_was_left_nothing_is_written() {
    let mut life = Life::new();
    for step in [Step::Commit(3), Step::GoOver(0), Step::Commit(1)] {
        life.step(&step);
    }
    fail_next(&life.simulation, 1, Failure::Full);
    let left = life.left.take().unwrap();
    assert!(block_on(left.sync(MODE)).is_err());
    // Trying again proves nothing, and is not done.
    assert!(block_on(left.sync(MODE)).is_err());
    assert!(life.log.push_commit(Sequence::new(5), b"x").is_err());
    assert!(block_on(life.log.sync(MODE)).is_err());
    assert!(life.log.check().is_err());
}

#[test]
fn a_cut_whose_sync_failed_is_made_again_by_the_next_opening() {
    // Any operation of the first repair, several times: what a failed sync leaves on the disk is up to chance.
    for round in 0..60 {
        let (simulation, storage) = simulated();
        let prepared = block_on(Prepared::create(&storage, 1, 0, Space::Filled, MODE)).unwrap();
        let mut segment =
            block_on(SegmentWriter::start(prepared, start(6, 0, true), MODE)).unwrap();
        for sequence in [6, 7] {
            segment
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
        }
        block_on(segment.write(true, MODE)).unwrap();
        let file = block_on(storage.open_write(MODE, &segment_name(1))).unwrap();
        // Of the second commit a sector never arrived.
        block_on(file.write_at(MODE, 1024, vec![0; SECTOR_BYTES])).unwrap();
        block_on(file.sync_all(MODE)).unwrap();
        for _ in 0..round {
            // Other seeds, so to speak.
            fail_next(&simulation, 1, Failure::Io);
            drop(block_on(storage.sync_directory(MODE)));
            drop(block_on(storage.create(MODE, "other")));
            drop(block_on(storage.remove(MODE, "other")));
        }
        let (_, found) = replayed(&storage, 1..=1).unwrap();
        let failing = Faults::Numbered {
            first: simulation.operations() + round % 6,
            count: 1,
            failure: Failure::Io,
        };
        simulation.set_faults(failing);
        drop(block_on(cut_tail(&storage, &found, MODE)));
        simulation.set_faults(Faults::None);
        let (sequences, found) = replayed(&storage, 1..=1).unwrap();
        block_on(cut_tail(&storage, &found, MODE)).unwrap();
        let disk = simulation.disk().power_loss(&mut |_| false);
        let left = disk
            .file("here", &segment_name(1))
            .map(|file| disk.bytes(file).len());
        assert_eq!(
            (sequences, left),
            (
                vec![6],
                found.tail.map(|tail| usize::try_from(tail.length).unwrap())
            ),
            "{round}"
        );
    }
}

#[test]
fn segments_before_the_last_are_written_again_by_an_opening() {
    // Of what a failed sync leaves on the disk, chance decides: several times.
    for round in 0..20 {
        let (simulation, storage) = simulated();
        simulation.set_maps_logs(false);
        let begin = |number, at| {
            let prepared = Prepared::create(&storage, number, 0, Space::Filled, MODE);
            block_on(SegmentWriter::start(block_on(prepared).unwrap(), at, MODE)).unwrap()
        };
        let mut first = begin(1, start(1, 0, true));
        for sequence in 1..=6 {
            first
                .push_commit(Sequence::new(sequence), &batch(sequence))
                .unwrap();
        }
        block_on(first.write(false, MODE)).unwrap();
        for _ in 0..round {
            fail_next(&simulation, 1, Failure::Io);
            drop(block_on(storage.create(MODE, "other")));
            drop(block_on(storage.remove(MODE, "other")));
        }
        fail_next(&simulation, 1, Failure::Io);
        assert!(block_on(first.sync(MODE)).is_err());
        let mut second = begin(2, start(7, 1, false));
        second.push_commit(Sequence::new(7), &batch(7)).unwrap();
        block_on(second.write(false, MODE)).unwrap();
        let (sequences, found) = replayed(&storage, 1..=2).unwrap();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7]);
        block_on(cut_tail(&storage, &found, MODE)).unwrap();
        let lost = simulation.disk().power_loss(&mut |_| false);
        let storage = Simulation::new(lost, 0).storage("here");
        let (sequences, _) = replayed(&storage, 1..=2).unwrap();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7], "{round}");
    }
}
