//! One writer and several readers on real threads: what is published must be found, in order and once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Memtable, MemtableCursor};
use crate::cursor::Cursor;
use crate::internal_key::Kind;
use crate::sequence::Sequence;

const ENTRIES: u64 = if cfg!(miri) { 300 } else { 12_000 };
const READERS: u64 = 3;
/// Each reader makes at least so many rounds, and goes on while the writer does.
const ROUNDS: u64 = if cfg!(miri) { 3 } else { 12 };

/// In which order keys arrive: a bijection on `0..ENTRIES`.
type Arrival = fn(u64) -> u64;

fn key(number: u64) -> Vec<u8> {
    format!("some/common/part/{number:08}").into_bytes()
}

fn value(sequence: u64) -> Vec<u8> {
    sequence.to_le_bytes().repeat(4)
}

/// Checks what a cursor stands on and returns its sequence if a reader at `visible` may see it.
fn seen(cursor: &MemtableCursor, visible: u64) -> Option<u64> {
    let entry = cursor.entry()?;
    let sequence = entry.sequence.get();
    assert_eq!(entry.value, value(sequence));
    (sequence <= visible).then_some(sequence)
}

fn walk(memtable: &Arc<Memtable>, visible: u64, forward: bool) {
    let mut cursor = MemtableCursor::new(Arc::clone(memtable));
    if forward {
        cursor.seek_first().unwrap();
    } else {
        cursor.seek_last().unwrap();
    }
    let mut count = 0;
    let mut last: Option<Vec<u8>> = None;
    while let Some(entry) = cursor.entry() {
        if let Some(last) = &last {
            assert_eq!(forward, last.as_slice() < entry.key);
            assert_ne!(last.as_slice(), entry.key);
        }
        last = Some(entry.key.to_vec());
        count += u64::from(seen(&cursor, visible).is_some());
        if forward {
            cursor.next().unwrap();
        } else {
            cursor.previous().unwrap();
        }
    }
    assert_eq!(count, visible);
}

fn read(memtable: &Arc<Memtable>, visible: &AtomicU64, arrival: Arrival, reader: u64) {
    let mut round = 0;
    while round < ROUNDS || visible.load(Ordering::Acquire) < ENTRIES {
        let mut random = reader + round * READERS + 1;
        for _ in 0..200 {
            random = random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            let now = visible.load(Ordering::Acquire);
            let Some(index) = (random >> 33).checked_rem(now) else {
                continue;
            };
            let (key, at) = (key(arrival(index)), Sequence::new(now));
            let entry = memtable.get(&key, at).expect("published before this read");
            assert_eq!(entry.sequence.get(), index + 1);
            assert_eq!(entry.value, value(index + 1));

            let mut cursor = MemtableCursor::new(Arc::clone(memtable));
            cursor.seek(&key, at).unwrap();
            assert_eq!(seen(&cursor, now), Some(index + 1));
            // Away and back, over what was inserted meanwhile.
            cursor.next().unwrap();
            if cursor.entry().is_some() {
                cursor.previous().unwrap();
                while seen(&cursor, now).is_none() {
                    cursor.previous().unwrap();
                }
                assert_eq!(seen(&cursor, now), Some(index + 1));
            }
            cursor.seek_before(&[&key[..], &[0]].concat(), at).unwrap();
            while seen(&cursor, now).is_none() {
                cursor.previous().unwrap();
            }
            assert_eq!(seen(&cursor, now), Some(index + 1));
        }
        let now = visible.load(Ordering::Acquire);
        walk(memtable, now, (round + reader).is_multiple_of(2));
        round += 1;
    }
}

fn stress(arrival: Arrival) {
    let memtable = Arc::new(Memtable::new());
    let visible = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..READERS {
            let (memtable, visible) = (&memtable, &visible);
            scope.spawn(move || read(memtable, visible, arrival, reader));
        }
        for index in 0..ENTRIES {
            let sequence = index + 1;
            memtable.insert(
                &key(arrival(index)),
                Sequence::new(sequence),
                Kind::Value,
                &value(sequence),
            );
            visible.store(sequence, Ordering::Release);
        }
    });
    assert_eq!(memtable.entries(), ENTRIES);
    walk(&memtable, ENTRIES, true);
    walk(&memtable, ENTRIES, false);
}

#[test]
fn what_is_published_is_found_while_scattered_keys_arrive() {
    // 7919 is prime and divides no count used here.
    stress(|index| index * 7919 % ENTRIES);
}

#[test]
fn what_is_published_is_found_while_ascending_keys_arrive() {
    stress(|index| index);
}

#[test]
fn what_is_published_is_found_while_descending_keys_arrive() {
    stress(|index| ENTRIES - 1 - index);
}

#[test]
fn several_writers_take_turns() {
    let memtable = Memtable::new();
    std::thread::scope(|scope| {
        for thread in 0..READERS {
            let memtable = &memtable;
            scope.spawn(move || {
                for index in (0..ENTRIES).filter(|index| index % READERS == thread) {
                    memtable.insert(&key(index), Sequence::new(1), Kind::Tombstone, b"");
                }
            });
        }
    });
    assert_eq!(memtable.entries(), ENTRIES);
    for index in 0..ENTRIES {
        assert!(memtable.get(&key(index), Sequence::new(1)).is_some());
    }
}

#[test]
fn range_tombstones_are_found_while_others_arrive() {
    let memtable = Memtable::new();
    let visible = AtomicU64::new(0);
    let count = ENTRIES / 60;
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut rounds = 0;
                while rounds < ROUNDS || visible.load(Ordering::Acquire) < count {
                    let now = visible.load(Ordering::Acquire);
                    let at = Sequence::new(now);
                    for number in 0..now {
                        let expected = Some(Sequence::new(number + 1));
                        assert_eq!(memtable.covering_tombstone(&key(number), at), expected);
                    }
                    assert!(memtable.tombstones().as_slice().len() as u64 >= now);
                    rounds += 1;
                }
            });
        }
        for number in 0..count {
            let sequence = Sequence::new(number + 1);
            memtable.insert_range_tombstone(&key(number), &key(number + 1), sequence);
            visible.store(number + 1, Ordering::Release);
        }
    });
}

#[test]
fn a_replaced_entry_is_read_whole_before_and_after() {
    let memtable = Memtable::new();
    let visible = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut rounds = 0;
                while rounds < ROUNDS || visible.load(Ordering::Acquire) < ENTRIES {
                    let now = visible.load(Ordering::Acquire);
                    // Also above what is visible: such an entry may be replaced at any moment.
                    for sequence in now.saturating_sub(2)..now + 2 {
                        if let Some(entry) = memtable.get(b"k", Sequence::new(sequence)) {
                            let found = entry.sequence.get();
                            assert!(found <= sequence);
                            let last = value(found);
                            assert!(entry.value == last || entry.value == &last[..8]);
                            assert!(found > now || entry.value == last);
                        }
                    }
                    rounds += 1;
                }
            });
        }
        for sequence in 1..=ENTRIES {
            let (at, last) = (Sequence::new(sequence), value(sequence));
            memtable.insert(b"k", at, Kind::Value, &last[..8]);
            memtable.insert(b"k", at, Kind::Value, &last);
            visible.store(sequence, Ordering::Release);
        }
    });
    assert_eq!(memtable.entries(), ENTRIES);
}
