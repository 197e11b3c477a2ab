//! The state's rules, and manifests on disk: cut, damaged, rolled over, left half switched.

use std::sync::Arc;

use proptest::prelude::*;
use trine_io::simulation::Failure;
use trine_io::{Mode, Storage};
use trine_platform::block_on;

use super::{BucketId, Change, Manifest, ManifestState, VersionEdit};
use crate::blob::BlobUses;
use crate::error::{Error, Result};
use crate::file_name::{CURRENT, FileName, FileNumbers, UNFINISHED_CURRENT, manifest_name};
use crate::options::BucketOptions;
use crate::sequence::Sequence;
use crate::table::{Freeable, TableMeta};
use crate::testing::{fail_next, simulated};

const MODE: Mode = Mode::Blocking;
const DEFAULT: BucketId = BucketId(0);

fn meta(number: u64) -> TableMeta {
    TableMeta {
        number,
        bytes: 1000,
        entries: 10,
        tombstones: 0,
        range_tombstones: 0,
        smallest: b"a".to_vec(),
        largest: b"z".to_vec(),
        largest_exclusive: false,
        smallest_sequence: Sequence::new(1),
        largest_sequence: Sequence::new(2),
        blobs: BlobUses::default(),
        superseded: Freeable::default(),
        covered: Freeable::default(),
    }
}

fn created(id: u32, name: &str) -> Change {
    Change::BucketCreated {
        id: BucketId(id),
        name: name.to_owned(),
        options: BucketOptions::default(),
    }
}

fn added(level: u8, number: u64) -> Change {
    Change::TableAdded {
        bucket: DEFAULT,
        level,
        meta: meta(number),
    }
}

fn removed(level: u8, number: u64) -> Change {
    Change::TableRemoved {
        bucket: DEFAULT,
        level,
        number,
    }
}

fn edit(changes: Vec<Change>) -> VersionEdit {
    VersionEdit { changes }
}

fn state(changes: Vec<Change>) -> ManifestState {
    let mut state = ManifestState::default();
    state.apply(&edit(changes)).unwrap();
    state
}

fn fresh() -> ManifestState {
    state(vec![
        created(0, "default"),
        Change::LogStarted { segment: 1 },
    ])
}

/// `change` does not fit `state`, which stays as it is even if other changes come before it.
fn assert_refused(state: &ManifestState, change: Change) {
    let mut after = state.clone();
    let before = vec![Change::NextFile { number: 1 << 40 }, change];
    assert!(after.apply(&edit(before)).is_err());
    assert_eq!(&after, state);
}

#[test]
fn a_table_is_in_one_place_at_a_time() {
    let mut state = fresh();
    state
        .apply(&edit(vec![added(0, 5), added(0, 6), added(3, 7)]))
        .unwrap();
    let moved = Change::TableMoved {
        bucket: DEFAULT,
        number: 5,
        from: 0,
        to: 2,
    };
    state.apply(&edit(vec![moved, removed(0, 6)])).unwrap();
    let tables: Vec<(u8, u64)> = state
        .buckets()
        .get(&DEFAULT)
        .unwrap()
        .tables()
        .map(|(level, meta)| (level, meta.number))
        .collect();
    assert_eq!(tables, [(2, 5), (3, 7)]);
    assert!(state.has_table(5) && !state.has_table(6));
    assert!(state.obsolete().contains(&6));
    assert_refused(&state, added(1, 5));
    assert_refused(&state, added(1, 6));
    assert_refused(&state, removed(0, 5));
    assert_refused(&state, removed(9, 5));
    assert_refused(&state, added(16, 8));
    assert_refused(&state, Change::FileObsolete { number: 5 });
    state
        .apply(&edit(vec![Change::ObsoleteGone { number: 6 }]))
        .unwrap();
    assert_refused(&state, Change::ObsoleteGone { number: 6 });
}

#[test]
fn a_table_moves_the_bound_of_file_numbers() {
    let mut state = fresh();
    state.apply(&edit(vec![added(0, 41)])).unwrap();
    assert_eq!(state.next_file(), 42);
    assert_refused(&state, Change::NextFile { number: 41 });
    assert_refused(&state, added(0, u64::MAX));
}

#[test]
fn bucket_ids_and_names_are_unique_and_ids_never_come_back() {
    let mut state = fresh();
    state.apply(&edit(vec![created(1, "one")])).unwrap();
    assert_refused(&state, created(2, "one"));
    assert_refused(&state, created(1, "two"));
    let drop = Change::BucketDropped { id: BucketId(1) };
    state.apply(&edit(vec![drop.clone()])).unwrap();
    assert_eq!(state.bucket_named("one"), None);
    assert_refused(&state, drop);
    assert_refused(&state, created(1, "one"));
    let again = self::state(state.snapshot().changes);
    assert_eq!(again.next_bucket(), BucketId(2));
    state.apply(&edit(vec![created(2, "one")])).unwrap();
    assert_eq!(state.bucket_named("one"), Some(BucketId(2)));
}

#[test]
fn a_dropped_buckets_tables_are_obsolete() {
    let mut state = fresh();
    state
        .apply(&edit(vec![
            added(0, 5),
            Change::BucketDropped { id: DEFAULT },
        ]))
        .unwrap();
    assert!(!state.has_table(5) && state.obsolete().contains(&5));
}

#[test]
fn changes_of_unknown_buckets_are_refused() {
    let state = fresh();
    let bucket = BucketId(9);
    assert_refused(
        &state,
        Change::TableAdded {
            bucket,
            level: 0,
            meta: meta(1),
        },
    );
    assert_refused(
        &state,
        Change::Flushed {
            bucket,
            through: Sequence::new(1),
        },
    );
}

#[test]
fn an_inverted_table_is_refused() {
    let mut inverted = meta(1);
    inverted.smallest = b"zz".to_vec();
    let change = Change::TableAdded {
        bucket: DEFAULT,
        level: 0,
        meta: inverted,
    };
    assert_refused(&fresh(), change);
}

#[test]
fn log_segments_start_without_gaps_and_the_floor_only_rises() {
    let mut state = fresh();
    assert_refused(&state, Change::LogStarted { segment: 3 });
    assert_refused(&state, Change::LogFloor { segment: 2 });
    for segment in 2..=5 {
        state
            .apply(&edit(vec![Change::LogStarted { segment }]))
            .unwrap();
    }
    state
        .apply(&edit(vec![Change::LogFloor { segment: 4 }]))
        .unwrap();
    assert_eq!(state.log_segments(), Some(4..=5));
    assert_refused(&state, Change::LogFloor { segment: 3 });
}

#[test]
fn sequences_never_go_back() {
    let sequence = Sequence::new;
    let mut state = fresh();
    let flushed = |through| Change::Flushed {
        bucket: DEFAULT,
        through,
    };
    let last = |sequence| Change::LastSequence { sequence };
    state
        .apply(&edit(vec![flushed(sequence(8)), last(sequence(9))]))
        .unwrap();
    assert_refused(&state, flushed(sequence(7)));
    assert_refused(&state, last(sequence(8)));
    assert_eq!(state.last_sequence(), sequence(9));
    assert_eq!(
        state.buckets().get(&DEFAULT).unwrap().flushed_through,
        sequence(8)
    );
}

/// Some state with something of everything.
fn rich() -> ManifestState {
    state(vec![
        created(0, "default"),
        created(1, "gone"),
        created(2, "second"),
        added(0, 4),
        added(0, 3),
        added(6, 9),
        removed(0, 4),
        Change::BucketDropped { id: BucketId(1) },
        Change::LogStarted { segment: 7 },
        Change::LogStarted { segment: 8 },
        Change::LogStarted { segment: 9 },
        Change::LogFloor { segment: 8 },
        Change::NextFile { number: 77 },
        Change::LastSequence {
            sequence: Sequence::new(5),
        },
        Change::Flushed {
            bucket: BucketId(2),
            through: Sequence::new(5),
        },
        Change::NextBucket { id: BucketId(6) },
    ])
}

#[test]
fn a_snapshot_is_the_whole_state() {
    for original in [ManifestState::default(), fresh(), rich()] {
        assert_eq!(state(original.snapshot().changes), original);
    }
}

proptest! {
    /// Whatever edits are thrown at it: refused ones change nothing, and a snapshot holds it all.
    #[test]
    fn any_history_can_be_snapshotted(
        steps in prop::collection::vec((0u8..12, 0u32..4, 0u64..12, 0u8..4), 0..60),
    ) {
        let mut state = ManifestState::default();
        for (kind, bucket, number, level) in steps {
            let bucket = BucketId(bucket);
            let change = match kind {
                0 => created(bucket.0, &format!("bucket {}", number % 3)),
                1 => Change::BucketDropped { id: bucket },
                2..=4 => Change::TableAdded { bucket, level, meta: meta(number) },
                5 => Change::TableRemoved { bucket, level, number },
                6 => Change::TableMoved { bucket, number, from: level, to: level / 2 },
                7 => Change::ObsoleteGone { number },
                8 => Change::Flushed { bucket, through: Sequence::new(number) },
                9 => Change::LogStarted { segment: number },
                10 => Change::LogFloor { segment: number },
                _ => Change::FileObsolete { number },
            };
            let before = state.clone();
            let change = edit(vec![change]);
            prop_assert_eq!(VersionEdit::decode(&change.encode()), Ok(change.clone()));
            // An edit that is not kept, whether it fits or not, leaves nothing behind.
            drop(state.attempt(&change));
            prop_assert_eq!(&state, &before);
            if state.apply(&change).is_err() {
                prop_assert_eq!(&state, &before);
            }
            prop_assert!(state.next_file() > state.obsolete().last().copied().unwrap_or(0) || state.obsolete().is_empty());
        }
        let bytes = state.snapshot().encode();
        let snapshot = VersionEdit::decode(&bytes).unwrap();
        prop_assert_eq!(self::state(snapshot.changes), state);
    }
}

proptest! {
    /// However many changes an edit has, and wherever one of them does not fit: it is taken back as a whole.
    #[test]
    fn a_long_edit_is_taken_back_as_a_whole(
        steps in prop::collection::vec((0u8..10, 0u32..3, 0u64..8, 0u8..2), 0..40),
    ) {
        let before = rich();
        let mut state = before.clone();
        let changes = steps.into_iter().map(|(kind, bucket, number, level)| {
            let bucket = BucketId(bucket);
            match kind {
                0 => created(bucket.0 + 6, &format!("bucket {number}")),
                1 => Change::BucketDropped { id: bucket },
                2..=4 => Change::TableAdded { bucket, level, meta: meta(number + 20) },
                5 => Change::TableRemoved { bucket, level, number: number + 20 },
                6 => Change::TableMoved { bucket, number: number + 20, from: level, to: 1 - level },
                7 => Change::ObsoleteGone { number: 4 },
                8 => Change::Flushed { bucket, through: Sequence::new(number + 5) },
                _ => Change::FileObsolete { number: number + 40 },
            }
        });
        // Those that do not fit are left out: the rest is one edit that fits, and is taken back.
        let mut fitting = Vec::new();
        for change in changes {
            fitting.push(change);
            if state.attempt(&edit(fitting.clone())).is_err() {
                fitting.pop();
            }
            prop_assert_eq!(&state, &before);
        }
    }
}

fn create(storage: &Storage, state: ManifestState) -> Manifest {
    let numbers = Arc::new(FileNumbers::starting_at(1));
    block_on(Manifest::create(storage, numbers, state, MODE)).unwrap()
}

/// Loaded and fit to be appended to.
fn load(storage: &Storage) -> Result<Option<Manifest>> {
    let Some(mut manifest) = block_on(Manifest::load(storage, MODE))? else {
        return Ok(None);
    };
    block_on(manifest.adopt(MODE))?;
    Ok(Some(manifest))
}

fn loaded(storage: &Storage) -> Manifest {
    load(storage).unwrap().unwrap()
}

fn append(manifest: &mut Manifest, changes: Vec<Change>) -> Result<()> {
    block_on(manifest.append(&edit(changes), MODE))
}

fn bytes(storage: &Storage, name: &str) -> Vec<u8> {
    block_on(storage.read_file(MODE, name, u64::MAX)).unwrap()
}

fn set_bytes(storage: &Storage, name: &str, bytes: &[u8]) {
    let file = match block_on(storage.open_write(MODE, name)) {
        Ok(file) => file,
        Err(_) => block_on(storage.create(MODE, name)).unwrap(),
    };
    block_on(file.set_len(MODE, 0)).unwrap();
    block_on(file.write_at(MODE, 0, bytes.to_vec())).unwrap();
}

fn names(storage: &Storage) -> Vec<String> {
    let mut names = block_on(storage.list(MODE)).unwrap();
    names.sort();
    names
}

/// A second directory with the same files: what a crash now would leave.
fn image(storage: &Storage) -> Storage {
    let copy = Storage::memory();
    for name in names(storage) {
        set_bytes(&copy, &name, &bytes(storage, &name));
    }
    copy
}

fn is_corruption(result: Result<Option<Manifest>>, name: &str) -> bool {
    matches!(result, Err(Error::Corruption { message }) if message.contains(name))
}

#[test]
fn a_directory_without_current_has_no_manifest() {
    assert!(load(&Storage::memory()).unwrap().is_none());
}

#[test]
fn current_in_the_format_document() {
    let storage = Storage::memory();
    let numbers = Arc::new(FileNumbers::starting_at(12));
    block_on(Manifest::create(&storage, numbers, fresh(), MODE)).unwrap();
    assert_eq!(
        String::from_utf8(bytes(&storage, CURRENT)).unwrap(),
        "MANIFEST-000012\n415381e7\n"
    );
}

#[test]
fn edits_survive_a_reopen() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, rich());
    assert_eq!(manifest.number(), 1);
    append(&mut manifest, vec![added(1, 80)]).unwrap();
    append(&mut manifest, vec![added(1, 90), removed(1, 80)]).unwrap();
    let expected = manifest.state().clone();
    drop(manifest);
    let mut manifest = loaded(&storage);
    assert_eq!(manifest.state(), &expected);
    assert_eq!(manifest.numbers().bound(), 91);
    append(&mut manifest, vec![added(1, 91)]).unwrap();
    assert!(loaded(&storage).state().has_table(91));
    assert_eq!(names(&storage), ["CURRENT", "MANIFEST-000001"]);
}

#[test]
fn an_edit_that_does_not_fit_is_refused_and_nothing_happens() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    let before = bytes(&storage, &manifest_name(1));
    assert!(append(&mut manifest, vec![added(0, 5), removed(1, 5)]).is_err());
    assert_eq!(bytes(&storage, &manifest_name(1)), before);
    assert!(!manifest.state().has_table(5));
    append(&mut manifest, vec![added(0, 5)]).unwrap();
}

#[test]
fn a_torn_last_edit_is_dropped_and_cut_off() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    append(&mut manifest, vec![added(0, 5)]).unwrap();
    let kept = bytes(&storage, &manifest_name(1)).len();
    append(&mut manifest, vec![added(0, 6)]).unwrap();
    let all = bytes(&storage, &manifest_name(1));
    for length in kept..all.len() {
        let storage = image(&storage);
        set_bytes(&storage, &manifest_name(1), &all[..length]);
        let mut manifest = loaded(&storage);
        assert!(manifest.state().has_table(5) && !manifest.state().has_table(6));
        // The zeros that align a record read as a clean end.
        let left = bytes(&storage, &manifest_name(1));
        assert!(left.len() < kept + 4 && left[kept..].iter().all(|&byte| byte == 0));
        append(&mut manifest, vec![added(0, 7)]).unwrap();
        let manifest = loaded(&storage);
        assert!(manifest.state().has_table(7) && !manifest.state().has_table(6));
    }
}

#[test]
fn a_load_changes_nothing_and_takes_no_edit_before_it_is_adopted() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    append(&mut manifest, vec![added(0, 5)]).unwrap();
    let all = bytes(&storage, &manifest_name(1));
    set_bytes(&storage, &manifest_name(1), &all[..all.len() - 1]);
    let mut manifest = block_on(Manifest::load(&storage, MODE)).unwrap().unwrap();
    assert!(!manifest.state().has_table(5));
    assert_eq!(bytes(&storage, &manifest_name(1)).len(), all.len() - 1);
    assert!(matches!(
        append(&mut manifest, vec![added(0, 7)]),
        Err(Error::ReadOnly)
    ));
}

#[test]
fn a_lost_sector_before_a_later_edit_is_corruption() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    for number in 5..60 {
        append(&mut manifest, vec![added(0, number)]).unwrap();
    }
    let name = manifest_name(1);
    let mut all = bytes(&storage, &name);
    assert!(all.len() > 3 * 512);
    all[512..1024].fill(0);
    set_bytes(&storage, &name, &all);
    assert!(is_corruption(load(&storage), &name));
}

#[test]
fn a_manifest_without_its_snapshot_is_corruption() {
    let storage = Storage::memory();
    drop(create(&storage, fresh()));
    let name = manifest_name(1);
    let all = bytes(&storage, &name);
    for length in 0..all.len() {
        set_bytes(&storage, &name, &all[..length]);
        assert!(is_corruption(load(&storage), &name), "{length}");
    }
}

#[test]
fn any_changed_bit_of_manifest_or_current_is_an_error() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    for number in 5..20 {
        append(&mut manifest, vec![added(0, number)]).unwrap();
    }
    for name in [CURRENT, &manifest_name(1)] {
        let mut damaged = bytes(&storage, name);
        let whole = damaged.clone();
        for bit in 0..damaged.len() * 8 {
            damaged[bit / 8] ^= 1 << (bit % 8);
            set_bytes(&storage, name, &damaged);
            assert!(is_corruption(load(&storage), name), "bit {bit} of {name}");
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        for length in 0..whole.len() {
            if name == CURRENT {
                set_bytes(&storage, name, &whole[..length]);
                assert!(
                    is_corruption(load(&storage), name),
                    "{name} cut at {length}"
                );
            }
        }
        set_bytes(&storage, name, &whole);
    }
    assert!(load(&storage).is_ok());
}

#[test]
fn a_missing_manifest_is_corruption_that_names_it() {
    let storage = Storage::memory();
    drop(create(&storage, fresh()));
    block_on(storage.remove(MODE, &manifest_name(1))).unwrap();
    assert!(is_corruption(load(&storage), &manifest_name(1)));
}

/// An edit of some 64 KiB that leaves nothing but a used number behind.
fn long_edit(number: u64) -> Vec<Change> {
    let mut meta = meta(number);
    meta.largest = vec![b'z'; 64 << 10];
    vec![
        Change::TableAdded {
            bucket: DEFAULT,
            level: 0,
            meta,
        },
        removed(0, number),
        Change::ObsoleteGone { number },
    ]
}

#[test]
fn a_long_manifest_is_rolled_over() {
    let storage = Storage::memory();
    let mut manifest = create(&storage, fresh());
    let numbers = Arc::clone(manifest.numbers());
    append(&mut manifest, vec![added(3, numbers.take())]).unwrap();
    let mut before_switch = None;
    for _ in 0..40 {
        let image = image(&storage);
        append(&mut manifest, long_edit(numbers.take())).unwrap();
        if manifest.number() != 1 && before_switch.is_none() {
            before_switch = Some(image);
        }
        let reloaded = loaded(&self::image(&storage));
        assert_eq!(reloaded.state(), manifest.state());
        assert_eq!(
            names(&storage),
            [CURRENT, &manifest_name(manifest.number())]
        );
    }
    assert!(manifest.number() > 2, "rolled over more than once");
    assert!(manifest.state().next_file() > manifest.number());
    assert!(bytes(&storage, &manifest_name(manifest.number())).len() < 1 << 20);

    // A crash in the middle of the first switch: the new manifest and CURRENT are there in part.
    let crashed = before_switch.unwrap();
    let bound = loaded(&image(&crashed)).numbers().bound();
    for number in bound..bound + 20 {
        set_bytes(&crashed, &manifest_name(number), b"half a header");
    }
    set_bytes(&crashed, UNFINISHED_CURRENT, b"MANIFEST-");
    let mut manifest = loaded(&crashed);
    assert_eq!(manifest.number(), 1);
    let numbers = Arc::clone(manifest.numbers());
    for _ in 0..40 {
        append(&mut manifest, long_edit(numbers.take())).unwrap();
    }
    assert_eq!(loaded(&crashed).state(), manifest.state());
    assert!(!names(&crashed).contains(&UNFINISHED_CURRENT.to_owned()));
}

#[test]
fn a_failed_append_poisons_the_manifest() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::portable(directory.path());
    let mut manifest = create(&storage, fresh());
    append(&mut manifest, vec![added(0, 5)]).unwrap();
    manifest.refuse_writes();
    let kind = |result: Result<()>| match result {
        Err(Error::Io(error)) => error.kind(),
        other => panic!("{other:?}"),
    };
    let first = kind(append(&mut manifest, vec![added(0, 6)]));
    assert!(!manifest.state().has_table(6), "not durable, not applied");
    assert_eq!(kind(append(&mut manifest, vec![added(0, 7)])), first);
    let manifest = loaded(&storage);
    assert!(manifest.state().has_table(5) && !manifest.state().has_table(7));
}

#[test]
fn an_edit_that_the_disk_has_no_room_for_fails_alone() {
    let (simulation, storage) = simulated();
    let mut manifest = create(&storage, fresh());
    append(&mut manifest, vec![added(0, 5)]).unwrap();
    for _ in 0..3 {
        fail_next(&simulation, 1, Failure::Full);
        assert!(append(&mut manifest, vec![added(0, 6)]).is_err());
        manifest.check().unwrap();
        assert!(!manifest.state().has_table(6));
    }
    append(&mut manifest, vec![added(0, 7)]).unwrap();
    // Where taking back fails, too, nothing is known any more.
    fail_next(&simulation, 2, Failure::Io);
    assert!(append(&mut manifest, vec![added(0, 8)]).is_err());
    assert!(manifest.check().is_err());
    fail_next(&simulation, 0, Failure::Io);
    let manifest = loaded(&storage);
    assert!(manifest.state().has_table(5) && manifest.state().has_table(7));
    assert!(!manifest.state().has_table(6));
}

#[test]
fn a_manifest_left_by_a_crash_before_current_is_replaced() {
    let storage = Storage::memory();
    set_bytes(&storage, &manifest_name(1), b"debris");
    set_bytes(&storage, UNFINISHED_CURRENT, b"debris");
    drop(create(&storage, rich()));
    assert_eq!(loaded(&storage).state().buckets(), rich().buckets());
    assert!(
        names(&storage)
            .iter()
            .all(|name| FileName::parse(name) != FileName::Unfinished)
    );
}

proptest! {
    /// Power goes while an edit is being written: the state is the one before it or after it.
    #[test]
    fn a_power_loss_yields_the_edit_or_the_state_before_it(
        before in 0u64..26,
        key_bytes in 1usize..3000,
        lost in prop::collection::vec(any::<bool>(), 12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let storage = Storage::memory();
        let mut manifest = create(&storage, fresh());
        for number in 10..10 + before {
            append(&mut manifest, vec![added(0, number)]).unwrap();
        }
        let name = manifest_name(1);
        let synced = bytes(&storage, &name).len();
        let states = manifest.state().clone();
        let mut long = meta(100);
        long.largest = vec![b'z'; key_bytes];
        let change = Change::TableAdded { bucket: DEFAULT, level: 1, meta: long };
        append(&mut manifest, vec![change]).unwrap();
        let states = [states, manifest.state().clone()];

        let mut image = bytes(&storage, &name);
        for sector in synced / 512..image.len().div_ceil(512) {
            if lost[sector % lost.len()] {
                let end = image.len().min((sector + 1) * 512);
                image[(sector * 512).max(synced)..end].fill(0);
            }
        }
        if let Some(cut) = cut {
            image.truncate(synced + cut.index(image.len() - synced + 1));
        }
        set_bytes(&storage, &name, &image);
        let mut manifest = loaded(&storage);
        prop_assert!(states.contains(manifest.state()));
        append(&mut manifest, vec![added(2, 200)]).unwrap();
        prop_assert!(loaded(&storage).state() == manifest.state());
    }
}
