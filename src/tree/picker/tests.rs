//! Single choices, then whole histories: a tree of sets of keys on which picked compactions are carried
//! out, several at a time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::blob::BlobUses;
use crate::manifest::BucketId;
use crate::table::Freeable;
use crate::tree::claims::{ClaimGuard, Claims};

pub(super) const BUCKET: BucketId = BucketId(0);

pub(super) const SHAPE: Shape = Shape {
    l0_tables_max: 2,
    multiplier: 4,
    base_bytes_max: 40,
    table_bytes: 8,
    part_bytes: 1000,
};

/// Merges of level 0 come in several parts.
const SHAPE_IN_PARTS: Shape = Shape {
    part_bytes: 20,
    ..SHAPE
};

/// A table over `[smallest, largest]` with so many bytes, whose number is also its sequence.
pub(super) fn table(number: u64, keys: [u8; 2], bytes: u64) -> TableMeta {
    TableMeta {
        number,
        bytes,
        entries: bytes,
        tombstones: 0,
        range_tombstones: 0,
        smallest: vec![keys[0]],
        largest: vec![keys[1]],
        largest_exclusive: false,
        smallest_sequence: Sequence::new(number),
        largest_sequence: Sequence::new(number),
        blobs: BlobUses::default(),
        superseded: Freeable::default(),
        covered: Freeable::default(),
    }
}

/// Range tombstones alone.
fn deletions(number: u64, keys: [u8; 2], covered: u64) -> TableMeta {
    TableMeta {
        covered: Freeable {
            bytes: covered,
            until: Sequence::new(number),
        },
        entries: 0,
        tombstones: 1,
        range_tombstones: 1,
        largest_exclusive: true,
        ..table(number, keys, 1)
    }
}

pub(super) type Layout = Vec<Vec<TableMeta>>;

fn pick(layout: &Layout, goal: &Goal, oldest_pin: Option<u64>, claims: &Claims) -> Pick {
    claims.read(BUCKET, |claimed| {
        picker(layout, claimed, oldest_pin.map(Sequence::new)).pick(goal)
    })
}

fn picker<'a>(
    layout: &'a Layout,
    claimed: Claimed<'a>,
    oldest_pin: Option<Sequence>,
) -> Picker<'a> {
    let level = |level| layout.get(level).into_iter().flatten().collect();
    Picker::of(std::array::from_fn(level), SHAPE, claimed, oldest_pin)
}

/// Level and number of each input, the output level, and whether they only move.
pub(super) type Chosen = (Vec<(usize, u64)>, usize, bool);

fn chosen_with(layout: &Layout, goal: &Goal, oldest_pin: Option<u64>) -> Option<Chosen> {
    match pick(layout, goal, oldest_pin, &Claims::default()) {
        Pick::Job(job) => Some((job.inputs, job.output_level, job.moves)),
        Pick::Blocked => panic!("nothing else runs"),
        Pick::Nothing => None,
    }
}

pub(super) fn chosen(layout: &Layout, goal: &Goal) -> Option<Chosen> {
    chosen_with(layout, goal, None)
}

pub(super) fn all_old() -> Goal {
    Goal::Range(KeyRange::all(), Sequence::new(u64::MAX))
}

#[test]
fn level_zero_is_left_alone_up_to_its_limit() {
    let layout = vec![vec![table(2, [1, 9], 8), table(1, [1, 9], 8)]];
    assert_eq!(chosen(&layout, &Goal::Shape), None);
}

#[test]
fn tables_of_level_zero_that_overlap_are_merged_with_what_is_below() {
    let layout = vec![
        vec![
            table(5, [1, 3], 8),
            table(4, [2, 6], 8),
            table(3, [5, 8], 8),
        ],
        vec![table(1, [0, 2], 8), table(2, [9, 9], 8)],
    ];
    let inputs = vec![(0, 5), (0, 4), (0, 3), (1, 1)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 1, false)));
}

#[test]
fn tables_of_level_zero_over_empty_space_move_together() {
    let layout = vec![
        vec![
            table(4, [6, 7], 8),
            table(3, [3, 4], 8),
            table(2, [1, 2], 8),
        ],
        vec![table(1, [5, 5], 8)],
    ];
    let inputs = vec![(0, 2), (0, 3), (0, 4)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 1, true)));
}

#[test]
fn groups_of_level_zero_are_jobs_of_their_own() {
    let layout = vec![vec![
        table(4, [6, 7], 9),
        table(3, [6, 6], 9),
        table(2, [1, 2], 8),
        table(1, [2, 2], 8),
    ]];
    let inputs = vec![(0, 4), (0, 3)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 1, false)));
}

#[test]
fn a_level_that_is_too_large_gives_what_costs_least() {
    // 80 bytes need two levels: the upper should hold a quarter of it.
    let layout = vec![
        vec![],
        vec![
            table(3, [0, 1], 10),
            table(4, [2, 3], 10),
            table(5, [4, 5], 10),
        ],
        vec![table(1, [0, 2], 30), table(2, [4, 4], 20)],
    ];
    let inputs = vec![(1, 5), (2, 2)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 2, false)));
    let apart = vec![
        vec![],
        vec![
            table(3, [0, 1], 10),
            table(4, [3, 3], 10),
            table(5, [4, 5], 10),
        ],
        vec![table(1, [0, 2], 30), table(2, [4, 4], 20)],
    ];
    assert_eq!(
        chosen(&apart, &Goal::Shape),
        Some((vec![(1, 4)], 2, true)),
        "what overlaps nothing costs nothing"
    );
}

#[test]
fn level_zero_does_not_pass_what_is_left_in_a_level_that_is_given_up() {
    let layout = vec![
        vec![
            table(5, [1, 1], 1),
            table(4, [1, 1], 1),
            table(3, [1, 1], 1),
        ],
        vec![table(2, [1, 1], 1)],
        vec![table(1, [1, 1], 8)],
    ];
    let claims = Claims::default();
    let targets = claims.read(BUCKET, |claimed| {
        assert_eq!(picker(&layout, claimed, None).targets.base, 2);
        Pick::Nothing
    });
    assert_eq!(targets, Pick::Nothing);
    let inputs = vec![(1, 2), (2, 1)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 2, false)));
    let range = Goal::Range(KeyRange::all(), Sequence::new(9));
    let inputs = vec![(0, 5), (0, 4), (0, 3), (1, 2)];
    assert_eq!(chosen(&layout, &range), Some((inputs, 1, false)));
}

#[test]
fn deletions_with_nothing_left_to_delete_are_rewritten_once_nobody_reads_before_them() {
    let mut spent = table(7, [1, 5], 8);
    spent.tombstones = 4;
    let layout = vec![vec![], vec![spent]];
    assert_eq!(chosen_with(&layout, &Goal::Shape, Some(6)), None);
    let rewritten = Some((vec![(1, 7)], 1, false));
    assert_eq!(chosen_with(&layout, &Goal::Shape, Some(7)), rewritten);
    assert_eq!(chosen(&layout, &Goal::Shape), rewritten);
}

#[test]
fn deletions_in_an_upper_level_move_down_to_what_they_delete() {
    let layout = vec![
        vec![],
        vec![deletions(9, [2, 4], 0)],
        vec![table(1, [0, 3], 8), table(2, [4, 9], 100)],
    ];
    let inputs = vec![(1, 9), (2, 1)];
    assert_eq!(chosen(&layout, &Goal::Shape), Some((inputs, 2, false)));
}

#[test]
fn a_range_delete_is_merged_at_once_if_a_quarter_of_what_it_meets_goes() {
    let layout = |covered, other: Vec<TableMeta>| {
        let mut level_0 = vec![deletions(9, [2, 5], covered)];
        level_0.extend(other);
        vec![level_0, vec![table(1, [0, 3], 8), table(2, [4, 9], 7)]]
    };
    let inputs = vec![(0, 9), (1, 1), (1, 2)];
    let alone = |covered| layout(covered, Vec::new());
    assert_eq!(chosen(&alone(4), &Goal::Shape), Some((inputs, 1, false)));
    assert_eq!(chosen(&alone(3), &Goal::Shape), None, "too little");
    assert_eq!(
        chosen_with(&alone(4), &Goal::Shape, Some(8)),
        None,
        "somebody reads what is deleted"
    );
    let beside = |bytes| vec![table(8, [3, 3], bytes)];
    let inputs = vec![(0, 9), (0, 8), (1, 1), (1, 2)];
    let chosen = |bytes| chosen(&layout(7, beside(bytes)), &Goal::Shape);
    assert_eq!(chosen(12), Some((inputs, 1, false)));
    assert_eq!(chosen(13), None, "what is merged with it costs, too");
}

#[test]
fn a_range_delete_among_other_writes_counts_as_much() {
    let mut writes = table(9, [0, 9], 3);
    writes.tombstones = 1;
    writes.covered = deletions(9, [0, 9], 20).covered;
    let layout = vec![vec![], vec![writes], vec![table(1, [0, 9], 60)]];
    let inputs = vec![(1, 9), (2, 1)];
    let picked = chosen(&layout, &Goal::Shape);
    assert_eq!(picked, Some((inputs, 2, false)), "in every level");
    assert_eq!(chosen_with(&layout, &Goal::Shape, Some(8)), None);
}

#[test]
fn versions_kept_for_a_snapshot_go_with_it_if_they_are_a_quarter_of_their_table() {
    for level in 0..3 {
        let layout = |bytes| {
            let mut kept = table(7, [1, 5], 8);
            kept.superseded.add(bytes, Sequence::new(6));
            let mut layout = vec![Vec::new(); 3];
            layout[level].push(kept);
            layout
        };
        assert_eq!(chosen_with(&layout(2), &Goal::Shape, Some(5)), None);
        assert_eq!(chosen(&layout(1), &Goal::Shape), None);
        let rewritten = Some((vec![(level, 7)], level, false));
        assert_eq!(chosen_with(&layout(2), &Goal::Shape, Some(6)), rewritten);
        assert_eq!(chosen(&layout(2), &Goal::Shape), rewritten);
    }
}

#[test]
fn what_waits_for_a_snapshot_to_go_says_for_which() {
    let awaited = |layout: &Layout, pin: Option<u64>| {
        Claims::default().read(BUCKET, |claimed| {
            picker(layout, claimed, pin.map(Sequence::new)).awaited()
        })
    };
    let mut kept = table(7, [1, 5], 8);
    kept.superseded.add(8, Sequence::new(6));
    let layout = vec![vec![deletions(9, [0, 3], 5)], vec![kept]];
    assert_eq!(awaited(&layout, None), None);
    assert_eq!(awaited(&layout, Some(5)), Some(Sequence::new(6)));
    assert_eq!(awaited(&layout, Some(6)), Some(Sequence::new(9)));
    assert_eq!(awaited(&layout, Some(9)), None);
}

#[test]
fn a_table_of_deletions_over_nothing_is_not_moved_but_dropped() {
    let layout = vec![vec![deletions(1, [0, 3], 0)]];
    let inputs = vec![(0, 1)];
    assert_eq!(chosen(&layout, &all_old()), Some((inputs, 1, false)));
}

#[test]
fn a_range_ends_in_the_deepest_level_that_has_tables() {
    let layout = vec![
        vec![table(4, [7, 8], 8)],
        vec![table(3, [1, 2], 8)],
        vec![table(1, [2, 4], 8)],
    ];
    let part =
        |start: u8, end: u8| Goal::Range(KeyRange::half_open([start], [end]), Sequence::new(9));
    assert_eq!(chosen(&layout, &part(7, 9)), Some((vec![(0, 4)], 1, true)));
    let inputs = vec![(1, 3), (2, 1)];
    assert_eq!(chosen(&layout, &part(0, 3)), Some((inputs, 2, false)));
    assert_eq!(chosen(&layout, &part(5, 6)), None);
    let older = Goal::Range(KeyRange::all(), Sequence::new(2));
    assert_eq!(chosen(&layout, &older), None, "what came later stays");
}

#[test]
fn level_zero_is_merged_at_rest_if_it_is_a_burden() {
    let shape = Shape {
        base_bytes_max: 1 << 30,
        ..SHAPE
    };
    let at_rest = |layout: &Layout, goal| {
        let claims = Claims::default();
        let pick = claims.read(BUCKET, |claimed| {
            let level = |level| layout.get(level).into_iter().flatten().collect();
            Picker::of(std::array::from_fn(level), shape, claimed, None).pick(&goal)
        });
        match pick {
            Pick::Job(job) => Some(job.inputs),
            _ => None,
        }
    };
    let big = |number, keys| table(number, keys, 3 << 20);
    let burden = vec![vec![big(3, [1, 5]), big(2, [2, 4])], vec![big(1, [0, 9])]];
    assert_eq!(at_rest(&burden, Goal::Shape), None);
    let all = vec![(0, 3), (0, 2), (1, 1)];
    assert_eq!(at_rest(&burden, Goal::Rest), Some(all));
    let little = vec![vec![big(3, [1, 5])], vec![big(1, [0, 9])]];
    assert_eq!(at_rest(&little, Goal::Rest), None);
    let beside = vec![
        vec![big(3, [1, 5]), big(2, [2, 4])],
        vec![table(1, [0, 9], 100 << 20)],
    ];
    assert_eq!(at_rest(&beside, Goal::Rest), None);
    let apart = vec![vec![big(2, [1, 2]), big(1, [3, 4])]];
    assert_eq!(at_rest(&apart, Goal::Rest), None, "nothing would be freed");
}

#[test]
fn under_pressure_level_zero_is_merged_within_itself_while_older_tables_are_on_their_way() {
    let mut layout: Layout = vec![vec![]];
    let add = |layout: &mut Layout, numbers: std::ops::Range<u64>| {
        for number in numbers {
            layout[0].insert(0, table(number, [1, 9], 8));
        }
    };
    add(&mut layout, 0..3);
    let claims = Claims::default();
    let claim = |layout: &Layout| {
        claims.claim(BUCKET, |claimed| {
            picker(layout, claimed, None).pick(&Goal::Shape)
        })
    };
    let (Pick::Job(down), _down) = claim(&layout) else {
        panic!("level 0 is too long");
    };
    assert_eq!((down.inputs.len(), down.output_level), (3, 1));
    add(&mut layout, 3..6);
    assert_eq!(claim(&layout).0, Pick::Blocked);
    add(&mut layout, 6..8);
    let (Pick::Job(within), _within) = claim(&layout) else {
        panic!("level 0 is far too long");
    };
    let numbers: Vec<_> = within.inputs.iter().map(|(_, number)| *number).collect();
    assert_eq!((numbers, within.output_level), (vec![7, 6, 5, 4, 3], 0));
}

#[test]
fn a_large_merge_of_level_zero_is_done_in_parts_and_what_comes_meanwhile_stays_above() {
    let mut layout = vec![
        vec![
            table(6, [1, 9], 6),
            table(5, [1, 9], 6),
            table(4, [2, 8], 6),
        ],
        vec![
            table(1, [0, 2], 8),
            table(2, [3, 5], 8),
            table(3, [6, 7], 8),
        ],
    ];
    let mut unfinished = Unfinished::default();
    let pick = |layout: &Layout, unfinished: &Unfinished| {
        let levels =
            std::array::from_fn(|level: usize| layout.get(level).into_iter().flatten().collect());
        let pick = Claims::default().read(BUCKET, |claimed| {
            let picker = Picker::of(levels, SHAPE_IN_PARTS, claimed, None);
            picker
                .with_unfinished(unfinished.clone())
                .pick(&Goal::Shape)
        });
        let Pick::Job(job) = pick else {
            panic!("level 0 is too long: {pick:?}");
        };
        job
    };
    let part = |from: &[u8], until: Option<u8>| Part {
        from: from.to_vec(),
        until: until.map(|key| vec![key]),
    };
    let numbers = |job: &Compaction| {
        job.inputs
            .iter()
            .map(|(_, number)| *number)
            .collect::<Vec<_>>()
    };

    let first = pick(&layout, &unfinished);
    assert_eq!(
        (numbers(&first), &first.part),
        (vec![6, 5, 4, 1], &part(&[], Some(3)))
    );
    assert!(first.span.contains(&[2]) && !first.span.contains(&[3]));
    assert!(!first.takes(0) && first.takes(1));
    unfinished.note(&first);

    layout[0].insert(0, table(7, [0, 9], 1));
    let second = pick(&layout, &unfinished);
    assert_eq!(
        (numbers(&second), &second.part),
        (vec![6, 5, 4, 2], &part(&[3], Some(6)))
    );
    unfinished.note(&second);
    let last = pick(&layout, &unfinished);
    assert_eq!(
        (numbers(&last), &last.part),
        (vec![6, 5, 4, 3], &part(&[6], None))
    );
    assert!(last.takes(0) && !last.moves);

    let mut within = last;
    within.inputs = vec![(0, 7), (0, 6)];
    unfinished.note(&within);
    let again = pick(&layout, &unfinished);
    assert_eq!(
        numbers(&again),
        [7, 6, 5, 4, 1],
        "from the start, since one was taken"
    );
}

/// Keys with the sequence of their newest version; `false` is a deletion.
type Content = BTreeMap<u8, (u64, bool)>;

#[derive(Debug, Default)]
struct Model {
    levels: [Vec<(u64, Content)>; LEVELS_MAX],
    next: u64,
    expected: Content,
    unfinished: Unfinished,
}

fn meta(number: u64, content: &Content) -> TableMeta {
    let keys = [
        *content.keys().next().unwrap(),
        *content.keys().last().unwrap(),
    ];
    let sequences = || {
        content
            .values()
            .map(|(sequence, _)| Sequence::new(*sequence))
    };
    TableMeta {
        tombstones: content.values().filter(|(_, lives)| !lives).count() as u64,
        smallest_sequence: sequences().min().unwrap(),
        largest_sequence: sequences().max().unwrap(),
        ..table(number, keys, content.len() as u64)
    }
}

impl Model {
    fn layout(&self) -> Layout {
        let metas = |tables: &Vec<(u64, Content)>| {
            tables
                .iter()
                .map(|(number, content)| meta(*number, content))
                .collect()
        };
        self.levels.iter().map(metas).collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn flush(&mut self, keys: &[(u8, bool)]) {
        let sequence = self.number();
        let content: Content = keys
            .iter()
            .map(|(key, lives)| (*key, (sequence, *lives)))
            .collect();
        if !content.is_empty() {
            self.expected.extend(content.clone());
            self.levels[0].insert(0, (sequence, content));
        }
    }

    fn claim<'a>(&self, claims: &'a Claims, goal: &Goal) -> (Pick, Option<ClaimGuard<'a>>) {
        let layout = self.layout();
        claims.claim(BUCKET, |claimed| {
            let level = |level: usize| layout.get(level).into_iter().flatten().collect();
            Picker::of(std::array::from_fn(level), SHAPE_IN_PARTS, claimed, None)
                .with_unfinished(self.unfinished.clone())
                .pick(goal)
        })
    }

    fn carry_out(&mut self, job: &Compaction) {
        let mut merged = Content::new();
        for (level, number) in &job.inputs {
            let tables = &mut self.levels[*level];
            let at = tables
                .iter()
                .position(|(other, _)| other == number)
                .expect("claimed, so still there");
            let (_, content) = if job.takes(*level) {
                tables.remove(at)
            } else {
                tables[at].clone()
            };
            if job.moves {
                self.levels[job.output_level].push((*number, content));
                continue;
            }
            for (key, version) in content {
                if [key].as_slice() < &job.part.from[..] || job.part.ends_before(&[key]) {
                    assert!(*level == 0, "tables below are merged as a whole");
                    continue;
                }
                let newest = merged.entry(key).or_insert(version);
                *newest = (*newest).max(version);
            }
        }
        if job.output_level > 0 {
            merged.retain(|key, (_, lives)| {
                *lives || job.beneath.iter().any(|span| span.contains(&[*key]))
            });
        }
        if job.output_level == 0 {
            let number = self.number();
            self.levels[0].push((number, merged));
        } else {
            let keys: Vec<_> = merged.into_iter().collect();
            for part in keys.chunks(usize::try_from(SHAPE.table_bytes).unwrap()) {
                let number = self.number();
                self.levels[job.output_level].push((number, part.iter().copied().collect()));
            }
        }
        self.unfinished.note(job);
        let newest = |content: &Content| content.values().map(|(sequence, _)| *sequence).max();
        self.levels[0].sort_by_key(|(_, content)| std::cmp::Reverse(newest(content)));
        for tables in &mut self.levels[1..] {
            tables.sort_by_key(|(_, content)| *content.keys().next().unwrap());
            assert!(
                tables
                    .windows(2)
                    .all(|pair| pair[0].1.keys().last() < pair[1].1.keys().next()),
                "tables of a level overlap"
            );
        }
    }

    fn check(&self) {
        for key in 0..=u8::MAX {
            let found = self
                .levels
                .iter()
                .flatten()
                .find_map(|(_, content)| content.get(&key));
            let expected = self.expected.get(&key);
            let lives =
                |version: Option<&(u64, bool)>| version.filter(|(_, lives)| *lives).copied();
            assert_eq!(lives(found), lives(expected), "key {key}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Flush(Vec<(u8, bool)>),
    Begin,
    Finish(usize),
    Compact,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = (
        0..64_u8,
        prop::collection::vec((0..16_u8, prop::bool::weighted(0.7)), 1..12),
    );
    prop_oneof![
        4 => keys.prop_map(|(base, keys)| Step::Flush(keys.into_iter().map(|(key, lives)| (base + key, lives)).collect())),
        4 => Just(Step::Begin),
        3 => any::<usize>().prop_map(Step::Finish),
        1 => Just(Step::Compact),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    /// Whatever runs beside whatever, a read finds the newest version first; and once nothing is
    /// written any more, the tree comes to rest in its form.
    #[test]
    fn compactions_that_run_at_once_keep_the_newest_version_on_top(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::default();
        let claims = Claims::default();
        let mut running: Vec<(Compaction, ClaimGuard<'_>)> = Vec::new();
        for step in steps {
            let goal = match step {
                Step::Flush(keys) => {
                    model.flush(&keys);
                    continue;
                }
                Step::Finish(which) => {
                    if !running.is_empty() {
                        let (job, guard) = running.swap_remove(which % running.len());
                        model.carry_out(&job);
                        drop(guard);
                        model.check();
                    }
                    continue;
                }
                Step::Forget => {
                    model.unfinished = Unfinished::default();
                    continue;
                }
                Step::Begin => Goal::Shape,
                Step::Compact => all_old(),
            };
            if let (Pick::Job(job), Some(guard)) = model.claim(&claims, &goal) {
                running.push((job, guard));
            }
        }
        for (job, guard) in running {
            model.carry_out(&job);
            drop(guard);
        }
        for goal in [Goal::Shape, all_old()] {
            let mut left = 2000;
            while let (Pick::Job(job), _guard) = model.claim(&claims, &goal) {
                model.carry_out(&job);
                left -= 1;
                prop_assert!(left > 0, "picking does not end");
            }
            model.check();
            prop_assert!(model.levels[0].len() <= SHAPE.l0_tables_max);
        }
        let used = model.levels.iter().filter(|tables| !tables.is_empty()).count();
        prop_assert!(used <= 1, "all is in one level");
        prop_assert!(model.levels.iter().flatten().all(|(_, content)| content.values().all(|(_, lives)| *lives)));
    }
}

#[test]
fn a_tree_whose_levels_may_grow_without_end_has_a_debt_too() {
    let layout = [
        vec![],
        vec![table(2, [1, 5], 900)],
        vec![table(1, [1, 5], 900)],
    ];
    let levels =
        std::array::from_fn(|level: usize| layout.get(level).into_iter().flatten().collect());
    let shape = Shape {
        multiplier: u64::MAX,
        ..SHAPE
    };
    let debt = Claims::default().read(BUCKET, |claimed| {
        Picker::of(levels, shape, claimed, None).debt_bytes()
    });
    assert_eq!(debt, u64::MAX);
}
