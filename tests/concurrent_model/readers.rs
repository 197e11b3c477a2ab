//! Readers: every way to read, at a snapshot and now, checked against the history exactly.
//!
//! [`hold`] borrows values, opens lazy ones and goes through half an iterator, lets everything else happen meanwhile, and
//! compares then.

use trine_kv::{Bucket, Db, Direction, Iter, KeyRange, LazyKeyValue, Snapshot};

use crate::common::random::Random;
use crate::common::way::{Way, block_on, call};
use crate::history::{BUCKETS, History, Row, SLOTS, State, key, rows, value};
use crate::writers::{pick, way};

/// How many rounds a reader makes at least, however soon the writers are done.
const ROUNDS_MIN: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'run> {
    pub(crate) db: &'run Db,
    pub(crate) buckets: &'run [Bucket],
    pub(crate) history: &'run History,
}

fn slots_and_range(random: &mut Random) -> (std::ops::Range<usize>, KeyRange) {
    let start = pick(random, SLOTS);
    let end = start + pick(random, SLOTS - start);
    match random.next() % 4 {
        0 => (0..SLOTS, KeyRange::all()),
        _ => (start..end, KeyRange::half_open(key(start), key(end))),
    }
}

fn limited(state: &State, slots: &std::ops::Range<usize>) -> Vec<Row> {
    let mut state = state.clone();
    for (slot, stamp) in state.iter_mut().enumerate() {
        if !slots.contains(&slot) {
            *stamp = None;
        }
    }
    rows(&state)
}

/// Takes rows from both ends by turns that the generator chooses, and gives them in ascending order.
fn from_both_ends(mut iter: Iter, way: Way, random: &mut Random) -> Vec<Row> {
    let (mut front, mut back) = (Vec::new(), Vec::new());
    loop {
        let row = if random.next().is_multiple_of(2) {
            let row = match way {
                Way::Sync => iter.next_sync().transpose(),
                Way::Async => block_on(iter.next()),
            };
            row.expect("a row")
                .map(|row| front.push((row.key, row.value)))
        } else {
            let row = match way {
                Way::Sync => iter.next_back_sync().transpose(),
                Way::Async => block_on(iter.next_back()),
            };
            row.expect("a row")
                .map(|row| back.push((row.key, row.value)))
        };
        if row.is_none() {
            front.extend(back.into_iter().rev());
            return front;
        }
    }
}

impl Reader<'_> {
    /// Reads until the writers are done.
    pub(crate) fn run(&self, seed: u64) {
        let mut random = Random(seed);
        let mut round = 0;
        while round < ROUNDS_MIN || !self.history.is_over() {
            let snapshot = self.db.snapshot();
            for _ in 0..=random.next() % 6 {
                self.read_at(&snapshot, &mut random);
            }
            self.read_now(&mut random);
            round += 1;
        }
    }

    fn read_at(&self, snapshot: &Snapshot, random: &mut Random) {
        let index = pick(random, BUCKETS.len());
        let bucket = &self.buckets[index];
        let at = snapshot.read_sequence().get();
        let way = way(random);
        let (slots, range) = slots_and_range(random);
        let kind = random.next() % 7;
        let found = match kind {
            0 => {
                let found = Self::points(snapshot, bucket, way);
                assert_eq!(
                    found,
                    (0..SLOTS)
                        .zip(self.history.state(index, at))
                        .map(|(_, stamp)| stamp.map(value))
                        .collect::<Vec<_>>(),
                    "points at {at}, bucket {index}"
                );
                return;
            }
            1 => way.rows(
                call!(way, bucket, range_at / range_at_sync(snapshot, &range)).expect("a scan"),
            ),
            2 => way
                .rows(
                    call!(
                        way,
                        bucket,
                        range_reverse_at / range_reverse_at_sync(snapshot, &range)
                    )
                    .expect("a scan"),
                )
                .map(|rows| rows.into_iter().rev().collect()),
            3 => Ok(from_both_ends(
                call!(way, bucket, range_at / range_at_sync(snapshot, &range)).expect("a scan"),
                way,
                random,
            )),
            4 => lazily(bucket, snapshot, &range, way),
            5 => by_cursor(bucket, snapshot, &range),
            _ => {
                let letter = b'a' + u8::try_from(random.next() % 3).expect("below three");
                let iter = call!(way, bucket, prefix_at / prefix_at_sync(snapshot, [letter]));
                let found = way.rows(iter.expect("a scan")).expect("rows");
                let mut expected = rows(&self.history.state(index, at));
                expected.retain(|(key, _)| key.starts_with(&[letter]));
                same(
                    &found,
                    &expected,
                    &format!("a prefix at {at}, bucket {index}"),
                );
                return;
            }
        };
        let expected = limited(&self.history.state(index, at), &slots);
        let what = format!("scan {kind} of {slots:?} at {at}, bucket {index}, {way:?}");
        same(&found.expect("rows"), &expected, &what);
    }

    /// Every slot by itself, half of them in one call.
    fn points(snapshot: &Snapshot, bucket: &Bucket, way: Way) -> Vec<Option<Vec<u8>>> {
        let keys: Vec<_> = (0..SLOTS).map(key).collect();
        let (left, right) = keys.split_at(SLOTS / 2);
        let many = call!(way, snapshot, multi_get / multi_get_sync(bucket, left));
        let mut found = many.expect("reads");
        for key in right {
            let one = call!(way, bucket, get_at / get_at_sync(snapshot, key)).expect("a read");
            let there = call!(way, snapshot, contains_key / contains_key_sync(bucket, key));
            assert_eq!(there.expect("a read"), one.is_some(), "{key:?} is there");
            found.push(one);
        }
        found
    }

    /// A read between two looks at the newest sequence is as of one between these.
    fn read_now(&self, random: &mut Random) {
        let (index, slot) = (pick(random, BUCKETS.len()), pick(random, SLOTS));
        let way = way(random);
        let bucket = &self.buckets[index];
        let first = self.db.last_committed_sequence().get();
        let one = call!(way, bucket, get / get_sync(&key(slot))).expect("a read");
        let lent = call!(
            way,
            bucket,
            get_with / get_with_sync(&key(slot), <[u8]>::to_vec)
        );
        let lent = lent.expect("a read");
        let all = call!(way, bucket, range / range_sync(&KeyRange::all())).expect("a scan");
        let last = self.db.last_committed_sequence().get();
        let all = way.rows(all).expect("rows");
        let possible = self.history.while_at(index, slot, first..=last);
        for found in [one, lent] {
            assert!(
                possible.iter().any(|stamp| stamp.map(value) == found),
                "slot {slot} of bucket {index} from {first} to {last}: {found:?}"
            );
        }
        let mut states = (first..=last).map(|at| rows(&self.history.state(index, at)));
        assert!(
            states.any(|expected| expected == all),
            "bucket {index} from {first} to {last}"
        );
    }

    /// Holds what can be held while others make `commits` commits, and compares then.
    pub(crate) fn hold(&self, seed: u64, commits: u64) {
        let mut random = Random(seed);
        let mut round = 0;
        while round < ROUNDS_MIN || !self.history.is_over() {
            self.hold_once(&mut random, commits);
            round += 1;
        }
    }

    fn hold_once(&self, random: &mut Random, commits: u64) {
        let index = pick(random, BUCKETS.len());
        let bucket = &self.buckets[index];
        let way = way(random);
        let lender = self.db.snapshot();
        let reader = bucket.reader(&lender).expect("a reader");
        let mut lent = Vec::new();
        for slot in 0..SLOTS {
            if random.next().is_multiple_of(2) {
                let value = call!(way, reader, get_ref / get_ref_sync(&key(slot)));
                lent.push((slot, value.expect("a read")));
            }
        }
        let snapshot = self.db.snapshot();
        let at = snapshot.read_sequence().get();
        let mut forward = bucket.range_sync(&KeyRange::all()).expect("a scan");
        let backward = bucket
            .range_reverse_at_sync(&snapshot, &KeyRange::all())
            .expect("a scan");
        let lazy = lazy_rows(bucket, &snapshot, &KeyRange::all(), way).expect("rows");
        let mut begun = Vec::new();
        for _ in 0..random.next() % 20 {
            let row = forward.next_sync().transpose().expect("a row");
            begun.extend(row.map(|row| (row.key, row.value)));
        }
        let newest = self.db.last_committed_sequence().get();
        // Where the snapshot goes now, what was made from it still reads at its sequence.
        let snapshot = (random.next().is_multiple_of(2)).then_some(snapshot);

        self.history.wait_for_progress(newest + commits);

        let lent_at = lender.read_sequence().get();
        let state = self.history.state(index, lent_at);
        for (slot, found) in &lent {
            let value = state[*slot].map(value);
            assert!(
                found.as_deref() == value.as_deref(),
                "slot {slot} of bucket {index}, lent at {lent_at}"
            );
        }
        let expected = rows(&self.history.state(index, at));
        let lazy: Vec<_> = lazy.into_iter().map(|row| read_lazy(row, way)).collect();
        same(
            &lazy,
            &expected,
            &format!("lazy values at {at}, bucket {index}"),
        );
        let mut backward = way.rows(backward).expect("rows");
        backward.reverse();
        same(
            &backward,
            &expected,
            &format!("backward at {at}, bucket {index}"),
        );
        begun.extend(way.rows(forward).expect("rows"));
        let mut states = (at..=newest).map(|at| rows(&self.history.state(index, at)));
        assert!(
            states.any(|expected| expected == begun),
            "an iterator of bucket {index} made between {at} and {newest}"
        );
        if let Some(snapshot) = snapshot {
            self.read_at(&snapshot, random);
        }
    }
}

fn lazy_rows(
    bucket: &Bucket,
    snapshot: &Snapshot,
    range: &KeyRange,
    way: Way,
) -> trine_kv::Result<Vec<LazyKeyValue>> {
    let mut iter = bucket.range_lazy_at_sync(snapshot, range)?;
    let mut rows = Vec::new();
    loop {
        let row = match way {
            Way::Sync => iter.next_sync().transpose()?,
            Way::Async => block_on(iter.next())?,
        };
        match row {
            Some(row) => rows.push(row),
            None => return Ok(rows),
        }
    }
}

fn read_lazy(row: LazyKeyValue, way: Way) -> Row {
    let row = call!(way, row, into_key_value / into_key_value_sync()).expect("a lazy value");
    (row.key, row.value)
}

fn lazily(
    bucket: &Bucket,
    snapshot: &Snapshot,
    range: &KeyRange,
    way: Way,
) -> trine_kv::Result<Vec<Row>> {
    let rows = lazy_rows(bucket, snapshot, range, way)?;
    Ok(rows.into_iter().map(|row| read_lazy(row, way)).collect())
}

fn by_cursor(bucket: &Bucket, snapshot: &Snapshot, range: &KeyRange) -> trine_kv::Result<Vec<Row>> {
    let mut cursor = bucket.cursor_at(snapshot, range, Direction::Forward)?;
    let mut rows = Vec::new();
    while cursor.advance_sync()? {
        rows.push((cursor.key().to_vec(), cursor.value().to_vec()));
    }
    Ok(rows)
}

/// Names the first row that differs, instead of printing all of them.
pub(crate) fn same(found: &[Row], expected: &[Row], what: &str) {
    let at = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at));
    if let Some(at) = at {
        panic!(
            "{what}: row {at} is {:?}, expected {:?}",
            found.get(at),
            expected.get(at)
        );
    }
}
