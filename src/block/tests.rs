//! Blocks answer as the sorted list that they were built from.

use proptest::prelude::*;

use super::builder::BlockBuilder;
use super::iter::BlockCursor;
use super::*;
use crate::testing::{Owned, entries, entry, hex, keys, lower_bound, value};

fn build(entries: &[Owned]) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    let mut previous: Option<&[u8]> = None;
    for owned in entries {
        let newest = previous != Some(&owned.0);
        builder.add(&entry(owned), KeyHash::of(&owned.0), newest);
        previous = Some(&owned.0);
    }
    builder.finish()
}

/// Also the worked example of docs/format.md, "Blocks".
#[test]
fn a_block_is_its_entries_offsets_index_and_trailer() {
    let bytes = build(&[
        value("a", 9, "one"),
        ("a".into(), 7, Kind::Tombstone, Vec::new()),
        value("b", 8, ""),
    ]);
    assert_eq!(
        hex(&bytes),
        concat!(
            "01030961",                                         // "a" at 7 + 2, a value of three bytes
            "6f6e65",                                           // "one"
            "01000061",                                         // "a" at 7 + 0, a tombstone
            "01000562",                                         // "b" at 7 + 1, an empty value
            "000007000b00",                                     // offsets 0, 7, 11
            "006100610062", // heads "a", "a", "b", behind an empty common prefix
            "fe100b007c380000ffffffffffffffffffffffffffffffff", // six buckets
            "0700000000000000", // base sequence
            "03000000",     // count
            "04",           // flags: indexed
            "01",           // width
            "0000",
        )
    );
}

#[test]
fn keys_are_shared_only_where_that_saves_an_eighth() {
    let flags = |bytes: &[u8]| bytes[bytes.len() - 4];
    let long: Vec<_> = (0..40)
        .map(|i| value(&format!("a/rather/long/path/to/{i:03}"), 1, "v"))
        .collect();
    assert_eq!(flags(&build(&long)) & SHARES, SHARES);
    let apart: Vec<_> = (0..40u8)
        .map(|i| (vec![i; 24], 1, Kind::Value, vec![7; 100]))
        .collect();
    assert_eq!(flags(&build(&apart)) & SHARES, 0);
}

#[test]
fn blocks_of_64_kib_have_wide_offsets_and_very_many_entries_no_index() {
    let large = build(&[value("a", 1, &"x".repeat(70_000)), value("b", 1, "y")]);
    assert_eq!(large[large.len() - 4] & WIDE_OFFSETS, WIDE_OFFSETS);
    let many: Vec<Owned> = (0..65_001u32)
        .map(|i| (i.to_be_bytes().to_vec(), 1, Kind::Value, Vec::new()))
        .collect();
    for count in [65_000, 65_001] {
        let bytes = build(&many[..count]);
        let block = Block::parse(&bytes).unwrap();
        assert_eq!(block.is_indexed(), count == 65_000);
        for i in (0..65_000).step_by(997) {
            let key = &many[i].0;
            let found = block.get(key, KeyHash::of(key), Sequence::new(1));
            assert!(matches!(found, Ok(Answer::Found(_))));
            let older = block.get(key, KeyHash::of(key), Sequence::ZERO);
            assert!(matches!(older, Ok(Answer::Absent)));
        }
    }
}

#[test]
fn sequences_far_apart_do_not_share_a_block() {
    let mut builder = BlockBuilder::default();
    let [low, high] = [value("a", 0, ""), value("b", 1 << 62, "")];
    builder.add(&entry(&low), KeyHash::of(b"a"), true);
    assert!(!builder.can_hold(&entry(&high)));
    assert!(builder.can_hold(&entry(&value("b", (1 << 62) - 1, ""))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_cursor_walks_the_list_both_ways(list in entries(120, 70_000)) {
        let bytes = build(&list);
        let block = Block::parse(&bytes).unwrap();
        prop_assert_eq!(block.count() as usize, list.len());
        let mut cursor = BlockCursor::default();
        prop_assert!(cursor.entry(block).is_none());
        cursor.enter(block, 0).unwrap();
        for (i, owned) in list.iter().enumerate() {
            prop_assert_eq!(cursor.entry(block), Some(entry(owned)));
            prop_assert_eq!(cursor.next(block).unwrap(), i + 1 < list.len());
        }
        for (i, owned) in list.iter().enumerate().rev() {
            prop_assert_eq!(cursor.entry(block), Some(entry(owned)));
            prop_assert_eq!(cursor.previous(block).unwrap(), i > 0);
        }
    }

    #[test]
    fn gets_and_seeks_answer_as_the_list(
        list in entries(120, 70_000), key in keys(),
    ) {
        let bytes = build(&list);
        let block = Block::parse(&bytes).unwrap();
        for (key, sequence) in list.iter().map(|e| (&e.0, e.1)).chain([(&key, 5)]) {
            let hash = KeyHash::of(key);
            for sequence in [0, sequence.saturating_sub(1), sequence, sequence + 1, u64::MAX] {
                let at = Sequence::new(sequence);
                let expected = lower_bound(&list, key, sequence);
                prop_assert_eq!(block.lower_bound(key, at).unwrap() as usize, expected);
                match (block.get(key, hash, at).unwrap(), list.get(expected)) {
                    (Answer::Found(found), Some(owned)) => {
                        prop_assert_eq!(&owned.0, key);
                        prop_assert_eq!((found.sequence.get(), found.kind), (owned.1, owned.2));
                        prop_assert_eq!(block.value(&found), owned.3.as_slice());
                    }
                    (Answer::Newer, None) => {}
                    (Answer::Absent, owned) => prop_assert!(owned.is_none_or(|owned| owned.0 != *key)),
                    (answer, owned) => prop_assert!(false, "{:?} for {:?}", answer, owned),
                }
            }
        }
    }

    #[test]
    fn damage_is_a_fault_or_goes_unseen_but_never_a_panic(
        list in entries(120, 70_000), flips in proptest::collection::vec((any::<usize>(), 1u8..), 1..4), cut in any::<usize>(),
    ) {
        let mut bytes = build(&list);
        let length = bytes.len();
        for (place, flip) in flips {
            // Trailers and offsets are few bytes of many: aim half of the flips at them.
            let place = if place % 2 == 0 { place % length } else { length - 1 - place % length.min(64) };
            bytes[place] ^= flip;
        }
        if cut % 4 == 0 {
            bytes.truncate(cut / 4 % length);
        }
        let Ok(block) = Block::parse(&bytes) else { return Ok(()) };
        for owned in &list {
            let hash = KeyHash::of(&owned.0);
            let _ = block.get(&owned.0, hash, Sequence::new(owned.1));
            let _ = block.lower_bound(&owned.0, Sequence::new(owned.1));
        }
        let mut cursor = BlockCursor::default();
        for ordinal in 0..block.count().min(200) {
            if cursor.enter(block, ordinal).is_ok() {
                let _ = cursor.entry(block);
                let _ = cursor.next(block);
                let _ = cursor.previous(block);
            }
        }
    }
}
