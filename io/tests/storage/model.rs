//! Random histories of one storage against a map of byte vectors, on every backend in either mode.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use proptest::prelude::*;
use trine_io::{File, Result};

use crate::bench::{Bench, on_every_backend};

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Read(usize, u64, usize),
    Map(usize),
    Rename(usize, usize),
    Remove(usize),
    List,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let offset = 0..200_u64;
    prop_oneof![
        3 => name.clone().prop_map(Step::Create),
        6 => (name.clone(), offset.clone(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(name, offset, bytes)| Step::Write(name, offset, bytes)),
        2 => (name.clone(), offset.clone()).prop_map(|(name, length)| Step::SetLen(name, length)),
        6 => (name.clone(), offset, 0..200_usize)
            .prop_map(|(name, offset, length)| Step::Read(name, offset, length)),
        // A mapped file is sealed, so the step removes it.
        1 => name.clone().prop_map(Step::Map),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.prop_map(Step::Remove),
        1 => Just(Step::List),
    ]
}

fn kind<T>(result: Result<T>) -> std::result::Result<T, ErrorKind> {
    result.map_err(|error| error.source.kind())
}

#[derive(Default)]
struct Model(BTreeMap<&'static str, Vec<u8>>);

impl Model {
    fn bytes(&mut self, name: usize) -> std::result::Result<&mut Vec<u8>, ErrorKind> {
        self.0.get_mut(NAMES[name]).ok_or(ErrorKind::NotFound)
    }
}

fn open(bench: &Bench, name: usize) -> std::result::Result<File, ErrorKind> {
    kind(bench.done(bench.storage.open_write(bench.mode, NAMES[name])))
}

/// Makes one step on both and compares what they say.
fn check(bench: &Bench, model: &mut Model, step: &Step) {
    let Bench { storage, mode, .. } = bench;
    match step {
        Step::Create(name) => {
            let expected = if model.bytes(*name).is_ok() {
                Err(ErrorKind::AlreadyExists)
            } else {
                model.0.insert(NAMES[*name], Vec::new());
                Ok(())
            };
            let created = kind(bench.done(storage.create(*mode, NAMES[*name])));
            assert_eq!(created.map(drop), expected);
        }
        Step::Write(name, offset, bytes) => {
            let expected = model.bytes(*name).map(|stored| {
                let start = usize::try_from(*offset).unwrap();
                if !bytes.is_empty() {
                    stored.resize(stored.len().max(start + bytes.len()), 0);
                    stored[start..start + bytes.len()].copy_from_slice(bytes);
                }
                bytes.clone()
            });
            let written = open(bench, *name)
                .and_then(|file| kind(bench.done(file.write_at(*mode, *offset, bytes.clone()))));
            assert_eq!(written, expected);
        }
        Step::SetLen(name, length) => {
            let expected = model
                .bytes(*name)
                .map(|stored| stored.resize(usize::try_from(*length).unwrap(), 0));
            let set =
                open(bench, *name).and_then(|file| kind(bench.done(file.set_len(*mode, *length))));
            assert_eq!(set, expected);
        }
        Step::Read(name, offset, length) => {
            let start = usize::try_from(*offset).unwrap();
            let expected = model.bytes(*name).and_then(|stored| match *length {
                0 => Ok(Vec::new()),
                _ => match stored.get(start..start + length) {
                    Some(bytes) => Ok(bytes.to_vec()),
                    None => Err(ErrorKind::UnexpectedEof),
                },
            });
            let read = open(bench, *name)
                .and_then(|file| kind(bench.done(file.read_at(*mode, *offset, *length))));
            assert_eq!(read, expected);
        }
        Step::Map(name) => {
            if let Ok(expected) = model.bytes(*name).cloned() {
                let file = open(bench, *name).unwrap();
                let map = kind(bench.done(file.map(*mode, expected.len() as u64))).unwrap();
                model.0.remove(NAMES[*name]);
                bench.done(storage.remove(*mode, NAMES[*name])).unwrap();
                assert!(map.is_none_or(|map| *map == *expected));
            }
        }
        Step::Rename(from, to) => {
            let expected = match model.0.remove(NAMES[*from]) {
                Some(bytes) => {
                    model.0.insert(NAMES[*to], bytes);
                    Ok(())
                }
                None => Err(ErrorKind::NotFound),
            };
            let renamed = bench.done(storage.rename(*mode, NAMES[*from], NAMES[*to]));
            assert_eq!(kind(renamed), expected);
        }
        Step::Remove(name) => {
            let expected = match model.0.remove(NAMES[*name]) {
                Some(_) => Ok(()),
                None => Err(ErrorKind::NotFound),
            };
            let removed = bench.done(storage.remove(*mode, NAMES[*name]));
            assert_eq!(kind(removed), expected);
        }
        Step::List => {
            let mut names = bench.done(storage.list(*mode)).unwrap();
            names.sort();
            let expected: Vec<_> = model.0.keys().copied().collect();
            assert_eq!(names, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn storage_agrees_with_its_model(steps in prop::collection::vec(step(), 1..40)) {
        on_every_backend(|bench| {
            let mut model = Model::default();
            for step in &steps {
                check(bench, &mut model, step);
            }
            check(bench, &mut model, &Step::List);
        });
    }
}
