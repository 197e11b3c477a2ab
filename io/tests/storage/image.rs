//! A directory inside three files of a host that crashes, fills up and rots.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use trine_io::simulation::{Disk, Simulation, Step};
use trine_io::{Mode, Result, Storage};
use trine_platform::random::Random;

use crate::bench::now;

const MODE: Mode = Mode::Blocking;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const OPERATIONS: usize = 60;

type Files = BTreeMap<String, Vec<u8>>;

fn empty_disk() -> Disk {
    let mut disk = Disk::default();
    disk.apply(&Step::MakeDirectory {
        path: "here".into(),
    });
    disk
}

fn image(disk: Disk) -> Result<(Simulation, Storage)> {
    let host = Simulation::new(disk, 0);
    let image = Storage::image(&host.storage("here"))?;
    Ok((host, image))
}

fn files(image: &Storage) -> Files {
    let read = |name: String| {
        let bytes = now(image.read_file(MODE, &name, u64::MAX)).unwrap();
        (name, bytes)
    };
    now(image.list(MODE))
        .unwrap()
        .into_iter()
        .map(read)
        .collect()
}

/// Does something at random, here and in the model.
fn act(random: &mut Random, image: &Storage, files: &mut Files) {
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let name = NAMES[below(NAMES.len())];
    if !files.contains_key(name) {
        now(image.create(MODE, name)).unwrap();
        files.insert(name.to_owned(), Vec::new());
        return;
    }
    let choice = below(10);
    let length = files[name].len();
    match choice {
        _ if length == 0 && below(2) == 0 => {
            let length = below(200_000);
            let file = now(image.open_write(MODE, name)).unwrap();
            if now(file.reserve(MODE, length as u64)).unwrap() {
                files.get_mut(name).unwrap().resize(length, 0);
            }
        }
        0 => {
            now(image.remove(MODE, name)).unwrap();
            files.remove(name);
        }
        1 => {
            let to = NAMES[below(NAMES.len())];
            now(image.rename(MODE, name, to)).unwrap();
            let bytes = files.remove(name).unwrap();
            files.insert(to.to_owned(), bytes);
        }
        2 => {
            let length = below(length + 70_000);
            let file = now(image.open_write(MODE, name)).unwrap();
            now(file.set_len(MODE, length as u64)).unwrap();
            files.get_mut(name).unwrap().resize(length, 0);
        }
        _ => {
            let offset = below(length + 100);
            let large = if below(3) == 0 { 150_000 } else { 500 };
            let bytes = vec![u8::try_from(below(255)).unwrap() + 1; 1 + below(large)];
            let file = now(image.open_write(MODE, name)).unwrap();
            let stored = files.get_mut(name).unwrap();
            stored.resize(length.max(offset + bytes.len()), 0);
            stored[offset..offset + bytes.len()].copy_from_slice(&bytes);
            now(file.write_at(MODE, offset as u64, bytes)).unwrap();
        }
    }
}

fn lengths(files: &Files) -> Vec<(&String, usize)> {
    files
        .iter()
        .map(|(name, bytes)| (name, bytes.len()))
        .collect()
}

/// A run, and what the image held after so many changes of the host.
struct Story {
    steps: Vec<Step>,
    first: usize,
    states: Vec<Files>,
    /// For each state: the changes of the host by then, and the last state that was synced.
    marks: Vec<(usize, usize)>,
}

fn story(seed: u64) -> Story {
    let (host, image) = image(empty_disk()).unwrap();
    let mut random = Random::new(seed);
    let mut files = Files::new();
    let (mut states, mut marks) = (vec![files.clone()], vec![(host.changes(), 0)]);
    for number in 1..=OPERATIONS {
        act(&mut random, &image, &mut files);
        let (_, mut synced) = marks[number - 1];
        if random.below(6) == 0 {
            now(image.sync_directory(MODE)).unwrap();
            synced = number;
        }
        states.push(files.clone());
        marks.push((host.changes(), synced));
    }
    Story {
        first: marks[0].0,
        steps: host.steps(),
        states,
        marks,
    }
}

/// Visits the disk after each change, with the number of the last state that was complete by then.
fn at_every_change(story: &Story, visit: impl Fn(&Disk, usize)) {
    let mut disk = empty_disk();
    for (number, step) in story.steps.iter().enumerate() {
        disk.apply(step);
        if number + 1 >= story.first {
            let complete = story
                .marks
                .partition_point(|(changes, _)| *changes <= number + 1);
            visit(&disk, complete - 1);
        }
    }
}

#[test]
fn a_process_that_ends_leaves_all_that_returned_and_at_most_a_part_of_one_change_more() {
    for seed in 0..4 {
        let story = story(seed);
        at_every_change(&story, |disk, complete| {
            let (_, image) = image(disk.process_end()).unwrap();
            let found = files(&image);
            let before = &story.states[complete];
            let after = &story.states[(complete + 1).min(OPERATIONS)];
            let shape = lengths(&found);
            assert!(
                shape == lengths(before) || shape == lengths(after),
                "seed {seed}"
            );
            for (name, bytes) in &found {
                let byte = |files: &Files, at: usize| files.get(name)?.get(at).copied();
                let known = bytes.iter().enumerate().all(|(at, found)| {
                    [before, after]
                        .iter()
                        .any(|files| byte(files, at) == Some(*found))
                });
                assert!(
                    known,
                    "seed {seed}: {name} has bytes that nobody wrote there"
                );
            }
        });
    }
}

#[test]
fn a_power_loss_leaves_names_and_lengths_of_one_moment_and_all_that_was_synced() {
    for seed in 0..4 {
        let story = story(seed);
        at_every_change(&story, |disk, complete| {
            let mut random = Random::new(seed ^ complete as u64);
            let after = disk.power_loss(&mut |_| random.below(2) == 0);
            let (_, image) = image(after).unwrap();
            let found = files(&image);
            let synced = story.marks[complete].1;
            let last = (complete + 1).min(OPERATIONS);
            let since = &story.states[synced..=last];
            // A change of a length may be cut off between its chunks and its length, which shows neither.
            let at = since
                .iter()
                .position(|state| lengths(state) == lengths(&found));
            assert!(
                at.is_some(),
                "seed {seed}: no moment had {:?}",
                lengths(&found)
            );
            for (name, bytes) in &since[0] {
                let unchanged = since.iter().all(|state| state.get(name) == Some(bytes));
                assert!(
                    !unchanged || found.get(name) == Some(bytes),
                    "seed {seed}: {name}"
                );
            }
        });
    }
}

#[test]
fn an_image_goes_on_after_every_crash() {
    let story = story(9);
    at_every_change(&story, |disk, complete| {
        if complete % 7 != 0 {
            return;
        }
        let (host, image) = image(disk.process_end()).unwrap();
        let mut model = files(&image);
        let mut random = Random::new(complete as u64);
        for _ in 0..20 {
            act(&mut random, &image, &mut model);
        }
        assert_eq!(files(&image), model);
        drop(image);
        let again = Storage::image(&host.storage("here")).unwrap();
        assert_eq!(files(&again), model);
    });
}

#[test]
fn a_long_history_is_written_anew_and_space_is_used_again() {
    let (host, image) = image(empty_disk()).unwrap();
    for round in 0..3000_u32 {
        let file = now(image.create(MODE, "unfinished")).unwrap();
        let bytes = round.to_le_bytes().repeat(20_000);
        now(file.write_at(MODE, 0, bytes)).unwrap();
        now(image.rename(MODE, "unfinished", "table")).unwrap();
        if round % 100 == 0 {
            now(image.sync_directory(MODE)).unwrap();
        }
    }
    assert!(host.disk().used_bytes() < 20 << 20);
    drop(image);
    let again = Storage::image(&host.storage("here")).unwrap();
    assert_eq!(
        files(&again)["table"],
        2999_u32.to_le_bytes().repeat(20_000)
    );
}

#[test]
fn reserved_space_reads_as_zeros_whatever_was_there_and_costs_no_writing() {
    let (host, image) = image(empty_disk()).unwrap();
    let full = now(image.create(MODE, "a")).unwrap();
    now(full.write_at(MODE, 0, vec![1; 300_000])).unwrap();
    now(image.remove(MODE, "a")).unwrap();
    drop(full);
    now(image.sync_directory(MODE)).unwrap();
    let file = now(image.create(MODE, "b")).unwrap();
    let before = host.changes();
    assert!(now(file.reserve(MODE, 200_000)).unwrap());
    assert!(host.changes() - before < 6);
    assert!(
        !now(file.reserve(MODE, 400_000)).unwrap(),
        "it is not empty"
    );
    now(file.write_at(MODE, 100_000, vec![2])).unwrap();
    let mut expected = vec![0; 200_000];
    expected[100_000] = 2;
    assert_eq!(files(&image)["b"], expected);
    drop((file, image));
    let again = Storage::image(&host.storage("here")).unwrap();
    assert_eq!(files(&again)["b"], expected);
}

#[test]
fn a_full_host_is_said_to_be_and_removing_files_helps() {
    let (host, image) = image(empty_disk()).unwrap();
    host.set_capacity(Some(1 << 20));
    let mut model = Files::new();
    for name in NAMES {
        let file = now(image.create(MODE, name)).unwrap();
        let bytes = vec![7; 300_000];
        match now(file.write_at(MODE, 0, bytes.clone())) {
            Ok(_) => drop(model.insert(name.to_owned(), bytes)),
            Err(error) => {
                assert_eq!(error.source.kind(), ErrorKind::StorageFull);
                model.insert(name.to_owned(), Vec::new());
            }
        }
    }
    assert_eq!(files(&image), model);
    assert!(model["d"].is_empty(), "it has all become room enough");
    now(image.remove(MODE, "a")).unwrap();
    now(image.sync_directory(MODE)).unwrap();
    let file = now(image.open_write(MODE, "d")).unwrap();
    now(file.write_at(MODE, 0, vec![9; 300_000])).unwrap();
    model.remove("a");
    model.insert("d".to_owned(), vec![9; 300_000]);
    drop((file, image));
    assert_eq!(
        files(&Storage::image(&host.storage("here")).unwrap()),
        model
    );
}

#[test]
fn a_journal_without_its_header_is_damage_and_not_an_empty_directory() {
    let (host, image) = image(empty_disk()).unwrap();
    let file = now(image.create(MODE, "a")).unwrap();
    now(file.write_at(MODE, 0, vec![1; 10])).unwrap();
    now(image.sync_directory(MODE)).unwrap();
    let disk = host.disk();
    for name in ["names-0", "names-1"] {
        let journal = disk.file("here", name).unwrap();
        if !disk.bytes(journal).is_empty() {
            host.rot(journal, 9, 1);
        }
    }
    drop((file, image));
    let error = Storage::image(&host.storage("here")).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidData);
}

#[test]
fn a_closed_image_refuses_everything_and_can_be_opened_again() {
    let (host, image) = image(empty_disk()).unwrap();
    let file = now(image.create(MODE, "a")).unwrap();
    now(file.write_at(MODE, 0, vec![1; 10])).unwrap();
    image.close();
    assert!(now(file.read_at(MODE, 0, 1)).is_err());
    assert!(now(image.list(MODE)).is_err());
    let again = Storage::image(&host.storage("here")).unwrap();
    assert_eq!(files(&again)["a"], [1; 10]);
}
