//! Histories of a tree whose values lie in blob files: picked compactions are carried out until there is nothing left to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::tests::{BUCKET, SHAPE, all_old, table};
use super::*;
use crate::blob::{BlobFile, BlobGc, BlobIndex, BlobMeta, BlobPolicy, BlobUses};
use crate::block::frame::BlockHandle;
use crate::cache::BlockCache;
use crate::open_files::OpenFiles;
use crate::options::{BlobGcRatio, BlobLevelMergePolicy};
use crate::table::Table;
use crate::tree::blob_gc::{merged_files, stale_files};
use crate::tree::claims::Claims;
use crate::tree::version::VersionChange;

const MIB: u64 = 1 << 20;

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
struct Value {
    sequence: u64,
    file: u64,
    bytes: u64,
}

type Content = BTreeMap<u8, Value>;

struct Model {
    policy: BlobPolicy,
    handles: Arc<OpenFiles>,
    levels: [Vec<(u64, Content)>; LEVELS_MAX],
    files: BTreeMap<u64, BlobMeta>,
    last: u64,
}

impl Model {
    fn new(policy: BlobPolicy) -> Self {
        let cache = Arc::new(BlockCache::new(0));
        let storage = trine_io::Storage::memory();
        Self {
            policy,
            handles: Arc::new(OpenFiles::new(storage, cache, 1)),
            levels: Default::default(),
            files: BTreeMap::new(),
            last: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add_file(&mut self, number: u64, value_bytes: u64) {
        let meta = BlobMeta {
            number,
            bytes: value_bytes,
            values: 1,
            value_bytes,
        };
        self.files.insert(number, meta);
    }

    /// Values of so many mebibytes, of which some may be of one key.
    fn flush(&mut self, values: &[(u8, u64)]) {
        let (sequence, file) = (self.number(), self.number());
        let value = |(key, mib): &(u8, u64)| {
            let bytes = mib * MIB;
            let value = Value {
                sequence,
                file,
                bytes,
            };
            (*key, value)
        };
        self.add_file(file, values.iter().map(|(_, mib)| mib * MIB).sum());
        self.levels[0].push((sequence, values.iter().map(value).collect()));
    }

    fn version(&self) -> Version {
        let meta = |number: u64, content: &Content| {
            let mut blobs = BlobUses::default();
            for value in content.values() {
                blobs.count(&BlobIndex {
                    file: value.file,
                    ordinal: 0,
                    record: BlockHandle::default(),
                    value_bytes: u32::try_from(value.bytes).unwrap(),
                });
            }
            let keys = || content.keys().copied();
            let sequences = || content.values().map(|value| Sequence::new(value.sequence));
            TableMeta {
                blobs,
                smallest_sequence: sequences().min().unwrap(),
                largest_sequence: sequences().max().unwrap(),
                ..table(number, [keys().min().unwrap(), keys().max().unwrap()], 8)
            }
        };
        let levels = self.levels.iter().enumerate();
        let added = levels.flat_map(|(level, tables)| {
            let open = |(number, content): &(u64, Content)| {
                Table::closed(meta(*number, content), &self.handles)
            };
            tables.iter().map(move |table| (level, open(table)))
        });
        let blobs = self.files.values();
        let change = VersionChange {
            removed: Vec::new(),
            added: added.collect(),
            blobs: blobs
                .map(|meta| BlobFile::closed(meta, &self.handles))
                .collect(),
        };
        Version::checked(&change).expect("levels in order, and all their files")
    }

    fn pick(&self, version: &Version, goal: &Goal) -> Option<Compaction> {
        let pick = Claims::default().read(BUCKET, |claimed| {
            Picker::new(version, SHAPE, claimed, None)
                .with_stale(stale_files(version, &self.policy))
                .pick(goal)
        });
        match pick {
            Pick::Job(job) => Some(job),
            Pick::Nothing => None,
            Pick::Blocked => panic!("nothing else runs"),
        }
    }

    fn carry_out(&mut self, version: &Version, job: &Compaction) {
        assert_eq!(job.part, Part::default());
        let inputs: Vec<_> = job
            .inputs
            .iter()
            .map(|(level, number)| Arc::clone(version.table(*level, *number).expect("it is there")))
            .collect();
        let mut moved = merged_files(version, &self.policy, inputs.iter());
        moved.extend(job.collects.iter().copied());
        let mut merged = Content::new();
        for (level, number) in &job.inputs {
            let tables = &mut self.levels[*level];
            let at = tables.iter().position(|(other, _)| other == number);
            let (_, content) = tables.remove(at.expect("it is there"));
            if job.moves {
                self.levels[job.output_level].push((*number, content));
                continue;
            }
            for (key, value) in content {
                let newest = merged.entry(key).or_insert(value);
                if newest.sequence < value.sequence {
                    *newest = value;
                }
            }
        }
        if job.moves {
            return;
        }
        let (number, file) = (self.number(), self.number());
        let mut bytes = 0;
        for value in merged.values_mut() {
            if moved.contains(&value.file) {
                value.file = file;
                bytes += value.bytes;
            }
        }
        self.add_file(file, bytes);
        self.levels[job.output_level].push((number, merged));
    }

    /// Does what there is to do, and forgets the files that nothing refers to.
    fn run(&mut self, goal: &Goal) {
        for _ in 0..1000 {
            let version = self.version();
            self.files
                .retain(|number, _| version.share(*number).is_some());
            let Some(job) = self.pick(&version, goal) else {
                return;
            };
            self.carry_out(&version, &job);
        }
        panic!("picking does not end");
    }

    /// Bytes of all values in files, and of those that are garbage.
    fn values(&self) -> (u64, u64) {
        let version = self.version();
        let all = |share: &crate::tree::version::BlobShare| share.file.meta().value_bytes;
        let shares = version.blobs().iter();
        shares.fold((0, 0), |(bytes, stale), share| {
            (bytes + all(share), stale + share.stale_bytes())
        })
    }
}

fn policies() -> impl Strategy<Value = BlobPolicy> {
    let merge = prop_oneof![
        4 => Just(BlobLevelMergePolicy::Auto),
        1 => Just(BlobLevelMergePolicy::Disabled),
        1 => Just(BlobLevelMergePolicy::Always),
    ];
    let gc = prop::option::of((1..=1_000_000_u32, 1..40_u64));
    (merge, gc).prop_map(|(merge, gc)| BlobPolicy {
        merge,
        gc: gc.map(|(ratio, mib)| BlobGc {
            ratio: BlobGcRatio::from_millionths(ratio),
            min_file_bytes: mib * MIB,
        }),
    })
}

proptest! {
    /// What is picked for the sake of garbage takes garbage away, so that picking ends, and when it does there is no more than there may be.
    #[test]
    fn collecting_ends_and_leaves_no_more_garbage_than_there_may_be(
        policy in policies(),
        flushes in prop::collection::vec((0..40_u8, prop::collection::vec((0..20_u8, 1..9_u64), 1..16)), 1..16),
    ) {
        let mut model = Model::new(policy);
        for (base, values) in flushes {
            let values: Vec<_> = values.into_iter().map(|(key, mib)| (base + key, mib)).collect();
            model.flush(&values);
            model.run(&Goal::Busy);
        }
        let part = |allowed: BlobGcRatio, (all, garbage): (u64, u64)| {
            let share = u128::from(garbage) * 1_000_000;
            garbage < 4 * MIB || share <= u128::from(all) * u128::from(allowed.millionths())
        };
        let is_auto = policy.merge == BlobLevelMergePolicy::Auto;
        let ratio = policy.gc.map_or(BlobGcRatio::HALF, |gc| gc.ratio);
        prop_assert!(!is_auto || part(ratio, model.values()));
        model.run(&Goal::Shape);
        prop_assert!(!is_auto || part(BlobGcRatio::from_millionths(200_000), model.values()));
        model.run(&all_old());
        let left = model.values().1;
        prop_assert!(policy.merge != BlobLevelMergePolicy::Always || left == 0);
        for goal in [Goal::Busy, Goal::Shape, Goal::Rest, all_old()] {
            let version = model.version();
            prop_assert_eq!(model.pick(&version, &goal), None);
        }
    }
}
