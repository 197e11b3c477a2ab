//! What unit tests of several modules share.

use std::cmp::Ordering;
use std::fmt::Write;

use proptest::prelude::*;
use trine_io::Storage;
use trine_io::simulation::{Disk, Failure, Faults, Simulation, Step};

use crate::internal_key::{Entry, Kind, compare};
use crate::sequence::Sequence;

/// Bytes as the documents write them: lower-case hex, two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A host in memory whose operations can be made to fail, and a directory on it.
pub(crate) fn simulated() -> (Simulation, Storage) {
    let mut disk = Disk::default();
    disk.apply(&Step::MakeDirectory {
        path: "here".into(),
    });
    let simulation = Simulation::new(disk, 0);
    let storage = simulation.storage("here");
    (simulation, storage)
}

/// Of the operations from now on the next `count` fail so.
pub(crate) fn fail_next(simulation: &Simulation, count: u64, failure: Failure) {
    simulation.set_faults(Faults::Numbered {
        first: simulation.operations(),
        count,
        failure,
    });
}

/// An entry that owns its bytes: key, sequence, kind, value.
pub(crate) type Owned = (Vec<u8>, u64, Kind, Vec<u8>);

pub(crate) fn entry(owned: &Owned) -> Entry<'_> {
    Entry {
        key: &owned.0,
        sequence: Sequence::new(owned.1),
        kind: owned.2,
        value: &owned.3,
    }
}

pub(crate) fn owned(entry: Entry<'_>) -> Owned {
    (
        entry.key.to_vec(),
        entry.sequence.get(),
        entry.kind,
        entry.value.to_vec(),
    )
}

/// A value of `key` at `sequence`.
pub(crate) fn value(key: &str, sequence: u64, value: &str) -> Owned {
    (key.into(), sequence, Kind::Value, value.into())
}

/// The engine's order.
pub(crate) fn order(left: &Owned, right: &Owned) -> Ordering {
    compare(
        (&left.0, Sequence::new(left.1)),
        (&right.0, Sequence::new(right.1)),
    )
}

/// Where in a sorted list the first entry at or after the position is.
pub(crate) fn lower_bound(list: &[Owned], key: &[u8], sequence: u64) -> usize {
    let at = Sequence::new(sequence);
    list.partition_point(|e| compare((&e.0, Sequence::new(e.1)), (key, at)).is_lt())
}

/// Short keys of few different bytes, the extreme ones among them; or such with a long common prefix.
pub(crate) fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(0xff)], 0..6),
        (0u16..200).prop_map(|i| format!("common/prefix/{i}").into_bytes()),
    ]
}

/// Sorted entries without repeats, with values up to `large` bytes.
pub(crate) fn entries(count: usize, large: usize) -> impl Strategy<Value = Vec<Owned>> {
    let value = prop_oneof![
        12 => proptest::collection::vec(any::<u8>(), 0..40),
        4 => Just(vec![1; 100]),
        1 => (0..large).prop_map(|length| vec![3; length]),
    ];
    let sequence = prop_oneof![4 => 0u64..8, 1 => 0u64..(1 << 40)];
    let list = proptest::collection::vec((keys(), sequence, any::<bool>(), value), 1..count);
    list.prop_map(|list| {
        let mut list: Vec<Owned> = list
            .into_iter()
            .map(|(key, sequence, put, value)| {
                if put {
                    (key, sequence, Kind::Value, value)
                } else {
                    (key, sequence, Kind::Tombstone, Vec::new())
                }
            })
            .collect();
        list.sort_by(order);
        list.dedup_by(|left, right| order(left, right).is_eq());
        list
    })
}
