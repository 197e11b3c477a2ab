//! Histories of appends under threads, searched for cycles (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies
//! from Experimental Observations", VLDB 2020).
//!
//! Every value is a list, and every write appends the writer's own number, so that whoever reads a list sees who
//! wrote it and in which order. From that follow the edges of the serialisation graph (Adya 1999): who wrote after whom,
//! who read from whom, who read what somebody overwrote; and who began after whose end. A history without a cycle has a
//! serial order that explains all of it, in agreement with real time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trine_kv::{Db, DbOptions, Error, KeyRange, TransactionOptions};

use crate::common::random::{Random, seed};
use crate::scene::persistent;

const THREADS: usize = 4;
const TRANSACTIONS_PER_THREAD: u64 = 150;
const KEYS: u64 = 5;

type Number = u64;
type Lists = BTreeMap<Vec<u8>, Vec<Number>>;

/// What one attempt did.
#[derive(Clone, Debug, Default)]
struct Attempt {
    number: Number,
    /// Ticks of one clock around it.
    began: u64,
    ended: u64,
    /// Lists as it read them. It read all keys of each list it appended to.
    read: Lists,
    appended: BTreeSet<Vec<u8>>,
    committed: bool,
}

fn encode(list: &[Number]) -> Vec<u8> {
    list.iter()
        .flat_map(|number| number.to_be_bytes())
        .collect()
}

fn decode(bytes: &[u8]) -> Vec<Number> {
    let numbers = bytes.chunks(8).map(|number| number.try_into().unwrap());
    numbers.map(Number::from_be_bytes).collect()
}

fn key(random: &mut Random) -> Vec<u8> {
    vec![b'k', u8::try_from(random.next() % KEYS).unwrap()]
}

/// One transaction of random reads, scans and appends.
fn attempt(db: &Db, number: Number, clock: &AtomicU64, random: &mut Random) -> Attempt {
    let mut this = Attempt {
        number,
        began: clock.fetch_add(1, Ordering::SeqCst),
        ..Attempt::default()
    };
    let mut transaction = db.transaction(TransactionOptions::default());
    for _ in 0..=random.next() % 3 {
        if random.next().is_multiple_of(4) {
            // All lists, and that there are no others.
            for row in transaction.scan_sync(&KeyRange::prefix("k")).unwrap() {
                let row = row.unwrap();
                this.read.insert(row.key, decode(&row.value));
            }
            for key in 0..KEYS {
                let key = vec![b'k', u8::try_from(key).unwrap()];
                this.read.entry(key).or_default();
            }
        } else {
            let key = key(random);
            let list = transaction.get_sync(&key).unwrap();
            this.read
                .insert(key, list.map_or_else(Vec::new, |list| decode(&list)));
        }
    }
    for _ in 0..random.next() % 3 {
        let key = key(random);
        let list = transaction.get_sync(&key).unwrap();
        let mut list = list.map_or_else(Vec::new, |list| decode(&list));
        this.read.insert(key.clone(), list.clone());
        list.push(number);
        transaction.put(key.clone(), encode(&list));
        this.appended.insert(key);
    }
    let result = transaction.commit_sync();
    this.committed = match result {
        Ok(_) => true,
        Err(Error::Conflict { .. }) => false,
        Err(error) => panic!("{error}"),
    };
    this.ended = clock.fetch_add(1, Ordering::SeqCst);
    this
}

/// The history of all threads, and the lists at its end.
fn history(db: &Db, seed: u64) -> (Vec<Attempt>, Lists) {
    let (attempts, clock) = (Mutex::new(Vec::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in (0..).take(THREADS) {
            let (attempts, clock) = (&attempts, &clock);
            scope.spawn(move || {
                let mut random = Random(seed ^ thread);
                for index in 0..TRANSACTIONS_PER_THREAD {
                    let number = thread * TRANSACTIONS_PER_THREAD + index + 1;
                    let attempt = attempt(db, number, clock, &mut random);
                    attempts.lock().unwrap().push(attempt);
                }
            });
        }
    });
    let rows = db.prefix_sync("k").unwrap().map(|row| row.unwrap());
    let lists = rows.map(|row| (row.key, decode(&row.value))).collect();
    (attempts.into_inner().unwrap(), lists)
}

/// Why the history cannot be serial, if it cannot.
fn anomaly(attempts: &[Attempt], lists: &Lists) -> Result<(), String> {
    let committed: BTreeMap<Number, &Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.committed)
        .map(|attempt| (attempt.number, attempt))
        .collect();
    let mut after: BTreeMap<Number, BTreeSet<Number>> = BTreeMap::new();
    let mut edge = |from: Number, to: Number| {
        if from != to {
            after.entry(from).or_default().insert(to);
        }
    };
    for (key, list) in lists {
        for number in list {
            if !committed.contains_key(number) {
                return Err(format!(
                    "{key:?} holds the append of {number}, which did not commit"
                ));
            }
        }
        list.windows(2).for_each(|pair| edge(pair[0], pair[1]));
    }
    for attempt in committed.values() {
        for key in &attempt.appended {
            let found = lists.get(key).map_or(0, |list| {
                list.iter()
                    .filter(|number| **number == attempt.number)
                    .count()
            });
            if found != 1 {
                return Err(format!(
                    "the append of {} is there {found} times",
                    attempt.number
                ));
            }
        }
        for (key, read) in &attempt.read {
            let list = lists.get(key).map_or(&[][..], Vec::as_slice);
            if !list.starts_with(read) {
                return Err(format!("{} read {read:?} of {list:?}", attempt.number));
            }
            if let Some(writer) = read.last() {
                edge(*writer, attempt.number);
            }
            if let Some(overwriter) = list.get(read.len()) {
                edge(attempt.number, *overwriter);
            }
        }
    }
    // Real time: of those that ended before one began, the last to end is enough if each is behind its own.
    let mut by_end: Vec<&&Attempt> = committed.values().collect();
    by_end.sort_by_key(|attempt| attempt.ended);
    for attempt in committed.values() {
        let before = by_end.partition_point(|other| other.ended < attempt.began);
        for other in &by_end[before.saturating_sub(THREADS)..before] {
            edge(other.number, attempt.number);
        }
    }
    acyclic(committed.keys().copied().collect(), &after)
}

/// Takes away what nothing points to, until nothing is left, or a cycle.
fn acyclic(
    mut left: BTreeSet<Number>,
    after: &BTreeMap<Number, BTreeSet<Number>>,
) -> Result<(), String> {
    let none = BTreeSet::new();
    let mut degree: BTreeMap<Number, usize> = BTreeMap::new();
    for to in after.values().flatten() {
        *degree.entry(*to).or_default() += 1;
    }
    let mut free: Vec<Number> = left
        .iter()
        .copied()
        .filter(|number| !degree.contains_key(number))
        .collect();
    while let Some(number) = free.pop() {
        left.remove(&number);
        for to in after.get(&number).unwrap_or(&none) {
            let degree = degree.get_mut(to).unwrap();
            *degree -= 1;
            if *degree == 0 {
                free.push(*to);
            }
        }
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("a cycle among {left:?}"))
    }
}

fn check(db: &Db, seed: u64) {
    let (attempts, lists) = history(db, seed);
    let committed = attempts.iter().filter(|attempt| attempt.committed).count();
    assert!(committed > 0);
    if let Err(found) = anomaly(&attempts, &lists) {
        panic!("{found}");
    }
}

#[test]
fn appends_under_threads_have_a_serial_order() {
    let seed = seed("cycles");
    check(&Db::open_sync(DbOptions::memory()).unwrap(), seed);
    let directory = tempfile::tempdir().unwrap();
    let options = DbOptions {
        write_buffer_bytes: 2048,
        max_immutable_memtables: 2,
        max_l0_files: 2,
        target_table_bytes: 4096,
        background_worker_count: 1,
        ..persistent(&directory)
    };
    check(&Db::open_sync(options).unwrap(), seed);
}

/// A committed attempt for the tests of the checker.
fn committed(number: Number, read: &[(u8, &[Number])], appended: &[u8]) -> Attempt {
    let read = read.iter().map(|(key, list)| (vec![*key], list.to_vec()));
    Attempt {
        number,
        began: 0,
        ended: 100,
        read: read.collect(),
        appended: appended.iter().map(|key| vec![*key]).collect(),
        committed: true,
    }
}

#[test]
fn the_checker_finds_what_it_is_for() {
    let lists = |lists: &[(u8, &[Number])]| -> Lists {
        lists
            .iter()
            .map(|(key, list)| (vec![*key], list.to_vec()))
            .collect()
    };
    let serial = [
        committed(1, &[(1, &[])], &[1]),
        committed(2, &[(1, &[1])], &[1]),
    ];
    assert!(anomaly(&serial, &lists(&[(1, &[1, 2])])).is_ok());
    // Lost update: both appended to the empty list.
    assert!(anomaly(&serial, &lists(&[(1, &[2])])).is_err());
    // Write skew: each read what the other wrote, before it did.
    let skew = [
        committed(1, &[(1, &[]), (2, &[])], &[1]),
        committed(2, &[(1, &[]), (2, &[])], &[2]),
    ];
    assert!(anomaly(&skew, &lists(&[(1, &[1]), (2, &[2])])).is_err());
    // Read skew: saw one half of a commit.
    let half = [
        committed(1, &[(1, &[]), (2, &[])], &[1, 2]),
        committed(2, &[(1, &[1]), (2, &[])], &[]),
    ];
    assert!(anomaly(&half, &lists(&[(1, &[1]), (2, &[1])])).is_err());
    // Dirty read: the writer did not commit.
    let mut dirty = serial.clone();
    dirty[0].committed = false;
    assert!(anomaly(&dirty, &lists(&[(1, &[1, 2])])).is_err());
    // Stale read: began after the other's end, and did not see it.
    let mut stale = [
        committed(1, &[(1, &[])], &[1]),
        committed(2, &[(1, &[])], &[]),
    ];
    assert!(anomaly(&stale, &lists(&[(1, &[1])])).is_ok());
    stale[1].began = 101;
    assert!(anomaly(&stale, &lists(&[(1, &[1])])).is_err());
}
