//! Random histories: what is done, with which keys, and in which proportions.

use std::ops::Bound;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use trine_kv::{KeyRange, WriteOptions};

/// Whether there are threads, and promises that outlive a power loss.
pub(crate) const NATIVE: bool = cfg!(not(target_family = "wasm"));
/// Where only opening waits, and closing takes the files from every reader.
pub(crate) const IN_BROWSER: bool = cfg!(all(target_family = "wasm", target_os = "unknown"));
pub(crate) const BUCKETS: [&str; 3] = ["default", "second", "../third\0"];
pub(crate) const SNAPSHOTS_MAX: usize = 4;
const OPERATIONS_PER_CASE: usize = 120;
/// Time passes, and values live, in steps of less than this.
const MILLIS_MAX: u64 = 100;

#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put {
        bucket: usize,
        key: Vec<u8>,
        length: usize,
    },
    /// A put that expires.
    PutFor {
        bucket: usize,
        key: Vec<u8>,
        length: usize,
        millis: u64,
    },
    Delete {
        bucket: usize,
        key: Vec<u8>,
    },
    /// Appends; without a length, takes the key away.
    Merge {
        bucket: usize,
        key: Vec<u8>,
        length: usize,
    },
    DeleteRange {
        bucket: usize,
        range: KeyRange,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    One(Write, WriteOptions),
    Batch(Vec<Write>, WriteOptions),
    /// Rows in any order, some keys more than once, sorted in so many bytes of memory.
    Load {
        bucket: usize,
        rows: Vec<(Vec<u8>, usize)>,
        memory_bytes: usize,
    },
    /// A value is put where there is none, what there is grows, and goes once it is long.
    Update {
        bucket: usize,
        key: Vec<u8>,
    },
    Get {
        bucket: usize,
        key: Vec<u8>,
        at: Option<usize>,
    },
    Range {
        bucket: usize,
        range: KeyRange,
        reverse: bool,
        at: Option<usize>,
    },
    Prefix {
        bucket: usize,
        prefix: Vec<u8>,
        reverse: bool,
        at: Option<usize>,
    },
    TakeSnapshot,
    DropSnapshot(usize),
    /// Creates a scan now and reads it at some later operation.
    HoldScan {
        bucket: usize,
        range: KeyRange,
        reverse: bool,
    },
    ReadHeldScans,
    Flush,
    Compact(KeyRange),
    /// So many milliseconds pass.
    Wait(u64),
    Reopen,
}

/// `wanted`, or the strongest that is honoured here.
fn synced(wanted: WriteOptions) -> WriteOptions {
    if NATIVE {
        wanted
    } else {
        WriteOptions::flush()
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few bytes, short keys: histories meet on the same keys, and prefixes of keys are keys.
    vec(
        prop_oneof![Just(0), Just(1), Just(b'a'), Just(b'b'), Just(0xff)],
        0..4,
    )
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        3 => key().prop_map(Bound::Included),
        3 => key().prop_map(Bound::Excluded),
        1 => Just(Bound::Unbounded),
    ]
}

fn range() -> impl Strategy<Value = KeyRange> {
    // Inverted and empty ranges are ranges too.
    (bound(), bound()).prop_map(|(start, end)| KeyRange { start, end })
}

fn bucket() -> impl Strategy<Value = usize> {
    0..BUCKETS.len()
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..40_usize, 1 => 40..400_usize, 1 => Just(3000_usize)]
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (bucket(), key(), length())
            .prop_map(|(bucket, key, length)| Write::Put { bucket, key, length }),
        1 => (bucket(), key(), length(), 0..MILLIS_MAX)
            .prop_map(|(bucket, key, length, millis)| Write::PutFor { bucket, key, length, millis }),
        2 => (bucket(), key()).prop_map(|(bucket, key)| Write::Delete { bucket, key }),
        4 => (bucket(), key(), prop_oneof![1 => Just(0), 4 => 1..40_usize])
            .prop_map(|(bucket, key, length)| Write::Merge { bucket, key, length }),
        1 => (bucket(), range()).prop_map(|(bucket, range)| Write::DeleteRange { bucket, range }),
    ]
}

fn write_options() -> impl Strategy<Value = WriteOptions> {
    prop_oneof![
        8 => Just(WriteOptions::buffered()),
        1 => Just(WriteOptions::flush()),
        1 => Just(synced(WriteOptions::sync_data())),
        1 => Just(synced(WriteOptions::sync_all())),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let at = || proptest::option::of(0..SNAPSHOTS_MAX);
    prop_oneof![
        24 => (write(), write_options()).prop_map(|(write, options)| Operation::One(write, options)),
        8 => (vec(write(), 0..6), write_options())
            .prop_map(|(writes, options)| Operation::Batch(writes, options)),
        2 => (bucket(), vec((key(), length()), 0..30), prop_oneof![Just(0), Just(200), Just(1 << 20)], any::<bool>())
            .prop_map(|(bucket, mut rows, memory_bytes, sorted)| {
                if sorted {
                    rows.sort();
                }
                Operation::Load { bucket, rows, memory_bytes }
            }),
        4 => (bucket(), key()).prop_map(|(bucket, key)| Operation::Update { bucket, key }),
        8 => (bucket(), key(), at()).prop_map(|(bucket, key, at)| Operation::Get { bucket, key, at }),
        8 => (bucket(), range(), any::<bool>(), at()).prop_map(|(bucket, range, reverse, at)| {
            Operation::Range { bucket, range, reverse, at }
        }),
        4 => (bucket(), key(), any::<bool>(), at()).prop_map(|(bucket, prefix, reverse, at)| {
            Operation::Prefix { bucket, prefix, reverse, at }
        }),
        3 => Just(Operation::TakeSnapshot),
        2 => (0..SNAPSHOTS_MAX).prop_map(Operation::DropSnapshot),
        2 => (bucket(), range(), any::<bool>())
            .prop_map(|(bucket, range, reverse)| Operation::HoldScan { bucket, range, reverse }),
        2 => Just(Operation::ReadHeldScans),
        4 => Just(Operation::Flush),
        2 => Just(Operation::Compact(KeyRange::all())),
        2 => range().prop_map(Operation::Compact),
        2 => (0..MILLIS_MAX).prop_map(Operation::Wait),
        2 => Just(Operation::Reopen),
    ]
}

/// Half of the operations through the async interface, mixed.
pub(crate) fn histories() -> impl Strategy<Value = Vec<(bool, Operation)>> {
    vec((any::<bool>(), operation()), 1..2 * OPERATIONS_PER_CASE)
}
