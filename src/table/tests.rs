//! Tables answer as the sorted list that they were built from, mapped or not, whatever the cache keeps.

use std::sync::Arc;

use crossbeam_epoch::Guard;
use proptest::prelude::*;
use trine_io::{Mode, Storage};
use trine_platform::block_on;

use super::*;
use crate::blob::{BlobIndex, BlobValue};
use crate::cache::{BlockCache, CachedBlock};
use crate::compression::Codec;
use crate::cursor::{Cursor, Halt, Moved};
use crate::error::{Error, Result};
use crate::filter::prefix::SharedPrefix;
use crate::hash::KeyHash;
use crate::internal_key::Kind;
use crate::open_files::OpenFiles;
use crate::prefix::PrefixExtractor;
use crate::range_tombstone::{Fragments, RangeTombstone};
use crate::read_counters::PointSteps;
use crate::sequence::Sequence;
use crate::table::footer::{FOOTER_BYTES, Footer};
use crate::testing::{Owned, entries, entry, keys, lower_bound, owned, value};

const MODE: Mode = Mode::Blocking;

fn no_blobs(_: BlobIndex) -> Result<BlobValue> {
    panic!("no entry refers to a blob file")
}

fn options(compression: Codec, block_bytes: usize) -> TableOptions {
    TableOptions {
        compression,
        block_bytes,
        filter_bits_per_key: Some(10),
        prefix: Some((PrefixExtractor::Separator(b'/'), 10)),
    }
}

fn write(options: &TableOptions, list: &[Owned], fragments: Fragments) -> (Vec<u8>, TableMeta) {
    let mut writer = TableWriter::new(7, options.clone());
    let mut bytes = Vec::new();
    writer.add_tombstones(fragments, Freeable::default());
    for owned in list {
        writer.add(entry(owned));
        if writer.pending_bytes() > 500 {
            bytes.extend(writer.take_pending());
        }
    }
    let estimate = writer.estimated_bytes();
    let (rest, meta) = writer.finish();
    bytes.extend(rest);
    assert_eq!(meta.bytes, bytes.len() as u64);
    // The open block counts before compression.
    let exact = options.compression == Codec::None;
    assert!(!exact || estimate < 2 * meta.bytes + 500);
    assert!(!exact || estimate > meta.bytes / 2);
    (bytes, meta)
}

fn files(storage: Storage, cache: &Arc<BlockCache>) -> Arc<OpenFiles> {
    Arc::new(OpenFiles::new(storage, Arc::clone(cache), usize::MAX))
}

fn open_in(
    bytes: &[u8],
    meta: &TableMeta,
    cache: &Arc<BlockCache>,
    mapped: bool,
) -> Result<Arc<Table>> {
    let storage = Storage::memory();
    let file = block_on(storage.create(MODE, "table-000007.trinet"))?;
    block_on(file.write_at(MODE, 0, bytes.to_vec()))?;
    let files = files(storage, cache);
    if mapped {
        block_on(Table::open_in(&file, meta, &files, MODE))
    } else {
        block_on(Table::open_unmapped(&file, meta, &files, MODE))
    }
}

fn open(bytes: &[u8], meta: &TableMeta, budget: usize, mapped: bool) -> Result<Arc<Table>> {
    open_in(bytes, meta, &Arc::new(BlockCache::new(budget)), mapped)
}

/// Looks a key up, loading what is missing; never more often than there are blocks.
fn get(table: &Arc<Table>, key: &[u8], sequence: u64) -> Result<Option<Owned>> {
    let mut supplied = Vec::new();
    for _ in 0..1000 {
        let mut steps = PointSteps::default();
        let guard = crate::epoch::pin();
        let sequence = Sequence::new(sequence);
        let hash = KeyHash::of(key);
        let open = table.opened().unwrap();
        let found = open.get(key, hash, sequence, &supplied, &guard, &mut steps);
        table.reads().add_point(&steps);
        let missing = match found {
            Ok(found) => {
                return Ok(found.map(|found| {
                    let lent = table.opened().unwrap().lend(&found).unwrap();
                    assert_eq!(lent.as_ptr(), found.value.as_ptr(), "nothing is copied");
                    assert_eq!(&*lent, found.value);
                    let sequence = found.sequence.get();
                    (key.to_vec(), sequence, found.kind, found.value.to_vec())
                }));
            }
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(missing)) => missing,
        };
        supplied.extend(block_on(missing.load(MODE))?.blocks);
    }
    panic!("a lookup must come to an end");
}

fn supply(cursor: &mut TableCursor, missing: &Missing) -> Result<()> {
    for block in &block_on(missing.load(MODE))?.blocks {
        cursor.supply(block);
    }
    Ok(())
}

/// What a filter says, loading what is missing.
fn ask(
    table: &Arc<Table>,
    question: impl for<'a> Fn(
        OpenTable<'a>,
        &[Arc<CachedBlock>],
        &Guard,
    ) -> std::result::Result<Option<bool>, Halt<Missing>>,
) -> Result<Option<bool>> {
    let mut supplied = Vec::new();
    for _ in 0..3 {
        let open = table.opened().unwrap();
        match question(open, &supplied, &crate::epoch::pin()) {
            Ok(says) => return Ok(says),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(missing)) => supplied.extend(block_on(missing.load(MODE))?.blocks),
        }
    }
    panic!("one partition is enough");
}

fn may_contain(table: &Arc<Table>, key: &[u8]) -> Result<Option<bool>> {
    let hash = KeyHash::of(key);
    ask(table, |open, supplied, guard| {
        open.may_contain(hash, supplied, guard)
    })
}

fn may_contain_prefix(table: &Arc<Table>, prefix: &SharedPrefix) -> Result<Option<bool>> {
    ask(table, |open, supplied, guard| {
        open.may_contain_prefix(prefix, supplied, guard)
    })
}

/// Makes one move, supplying what it needs.
fn make(
    cursor: &mut TableCursor,
    mut a_move: impl FnMut(&mut TableCursor) -> Moved<Missing>,
) -> Result<Option<Owned>> {
    for _ in 0..1000 {
        match a_move(cursor) {
            Ok(()) => return Ok(cursor.entry().map(owned)),
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Needs(missing)) => supply(cursor, &missing)?,
        }
    }
    panic!("a move must come to an end");
}

fn before(list: &[Owned], index: usize) -> Option<Owned> {
    list.get(index.checked_sub(1)?).cloned()
}

/// Compares everything that the table can be asked with the list.
fn check(table: &Arc<Table>, list: &[Owned], asked: &[Vec<u8>]) -> Result<()> {
    let mut cursor = TableCursor::new(Arc::clone(table), Counting::Blocks);
    assert!(cursor.entry().is_none());
    let mut at = make(&mut cursor, Cursor::seek_first)?;
    for owned in list {
        assert_eq!(at.as_ref(), Some(owned));
        at = make(&mut cursor, Cursor::next)?;
    }
    assert_eq!(at, None);
    at = make(&mut cursor, Cursor::seek_last)?;
    for owned in list.iter().rev() {
        assert_eq!(at.as_ref(), Some(owned));
        at = make(&mut cursor, Cursor::previous)?;
    }
    assert_eq!(at, None);

    let asked = asked.iter().map(|key| (key, 5));
    for (key, sequence) in list.iter().map(|e| (&e.0, e.1)).chain(asked) {
        for sequence in [
            0,
            sequence.saturating_sub(1),
            sequence,
            sequence + 1,
            u64::MAX,
        ] {
            let index = lower_bound(list, key, sequence);
            let here = list.get(index).cloned();
            let found = here.clone().filter(|owned| owned.0 == *key);
            assert_eq!(get(table, key, sequence)?, found);
            let at = Sequence::new(sequence);
            assert_eq!(make(&mut cursor, |c| c.seek(key, at))?, here);
            if here.is_some() {
                assert_eq!(make(&mut cursor, Cursor::previous)?, before(list, index));
            }
            let earlier = before(list, index);
            assert_eq!(make(&mut cursor, |c| c.seek_before(key, at))?, earlier);
            if earlier.is_some() {
                assert_eq!(make(&mut cursor, Cursor::next)?, here);
            }
        }
        let is_there = list.iter().any(|owned| owned.0 == *key);
        assert!(!is_there || may_contain(table, key)? == Some(true));
        for extractor in [
            PrefixExtractor::Separator(b'/'),
            PrefixExtractor::FixedLen(1),
        ] {
            let prefix = SharedPrefix::new(extractor, key);
            assert!(!is_there || may_contain_prefix(table, &prefix)? != Some(false));
        }
    }
    Ok(())
}

fn fragments(ranges: &[(Vec<u8>, Vec<u8>, u64)]) -> Fragments {
    Fragments::build(ranges.iter().map(|(start, end, sequence)| RangeTombstone {
        start: start.clone(),
        end: end.clone(),
        sequence: Sequence::new(*sequence),
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_table_answers_as_its_list(
        list in entries(80, 3000), asked in proptest::collection::vec(keys(), 4),
        ranges in proptest::collection::vec((keys(), keys(), 1u64..20), 0..4),
        codec in prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Zstd)],
        block_bytes in prop_oneof![Just(1usize), Just(100), Just(400), Just(4096)],
        budget in prop_oneof![Just(0usize), Just(1500), Just(1 << 20)], mapped in any::<bool>(),
    ) {
        let tombstones = fragments(&ranges);
        let (bytes, meta) = write(&options(codec, block_bytes), &list, tombstones.clone());
        let table = open(&bytes, &meta, budget, mapped).unwrap();
        prop_assert_eq!(table.meta(), &meta);
        prop_assert_eq!(table.opened().unwrap().tombstones(), &tombstones);
        check(&table, &list, &asked).unwrap();
        block_on(table.verify(no_blobs, MODE)).unwrap();

        let count = tombstones.tombstones().count() as u64;
        prop_assert_eq!(meta.entries, list.len() as u64);
        let deleted = list.iter().filter(|owned| owned.2 == Kind::Tombstone).count() as u64;
        prop_assert_eq!(meta.tombstones, deleted + count);
        for owned in &list {
            prop_assert!(meta.spans(&owned.0));
            prop_assert!((meta.smallest_sequence..=meta.largest_sequence).contains(&Sequence::new(owned.1)));
        }
        for tombstone in tombstones.tombstones() {
            prop_assert!(meta.smallest <= tombstone.start);
            let endless = meta.largest_exclusive && meta.largest.is_empty();
            prop_assert!(endless || !tombstone.end.is_empty() && tombstone.end <= meta.largest);
            prop_assert!((meta.smallest_sequence..=meta.largest_sequence).contains(&tombstone.sequence));
        }
    }
}

#[test]
fn versions_of_one_key_may_fill_many_blocks() {
    let mut list = vec![value("a", 1, "first")];
    list.extend(
        (1..=60)
            .rev()
            .map(|sequence| value("key", sequence * 2, "some value")),
    );
    list.push(value("z", 1, "last"));
    for (mapped, budget) in [(true, 0), (true, 1 << 20), (false, 0), (false, 1 << 20)] {
        for codec in [Codec::None, Codec::Lz4] {
            let (bytes, meta) = write(&options(codec, 60), &list, Fragments::default());
            let table = open(&bytes, &meta, budget, mapped).unwrap();
            check(&table, &list, &[b"kex".to_vec(), b"kez".to_vec()]).unwrap();
            block_on(table.verify(no_blobs, MODE)).unwrap();
        }
    }
}

#[test]
fn a_seek_that_was_given_up_does_not_mislead_the_next() {
    let list: Vec<_> = (1..=60)
        .rev()
        .map(|sequence| value("key", sequence, "some value"))
        .collect();
    let (bytes, meta) = write(&options(Codec::None, 60), &list, Fragments::default());
    let table = open(&bytes, &meta, 0, false).unwrap();
    for (given_up, then) in [(3, 50), (50, 3), (20, 20)] {
        let mut cursor = TableCursor::new(Arc::clone(&table), Counting::Blocks);
        for _ in 0..12 {
            if let Err(Halt::Needs(missing)) = cursor.seek(b"key", Sequence::new(given_up)) {
                supply(&mut cursor, &missing).unwrap();
            }
        }
        let at = make(&mut cursor, |c| c.seek(b"key", Sequence::new(then))).unwrap();
        assert_eq!(at, Some(value("key", then, "some value")));
    }
}

#[test]
fn a_table_of_range_tombstones_alone_opens() {
    let tombstones = fragments(&[
        (b"b".to_vec(), b"d".to_vec(), 4),
        (b"c".to_vec(), b"e".to_vec(), 9),
    ]);
    let (bytes, meta) = write(&options(Codec::Lz4, 100), &[], tombstones.clone());
    assert_eq!(
        (meta.smallest.as_slice(), meta.largest.as_slice()),
        (&b"b"[..], &b"e"[..])
    );
    assert!(meta.largest_exclusive);
    assert_eq!(
        (meta.smallest_sequence.get(), meta.largest_sequence.get()),
        (4, 9)
    );
    let table = open(&bytes, &meta, 0, true).unwrap();
    assert_eq!(table.opened().unwrap().tombstones(), &tombstones);
    check(&table, &[], &[b"c".to_vec()]).unwrap();
    block_on(table.verify(no_blobs, MODE)).unwrap();
}

#[test]
fn an_entry_at_the_end_of_a_tombstone_bounds_the_table_itself() {
    let (_, meta) = write(
        &options(Codec::None, 100),
        &[value("d", 1, "")],
        fragments(&[(b"b".to_vec(), b"d".to_vec(), 4)]),
    );
    assert_eq!(meta.largest, b"d");
    assert!(!meta.largest_exclusive);
}

#[test]
fn large_values_and_extreme_sequences_are_kept() {
    let list = vec![
        value("a", u64::MAX, "x"),
        value("a", 0, "y"),
        value("b", 3, &"v".repeat(5 << 20)),
        value(&"k".repeat(1 << 20), 1, "z"),
    ];
    for mapped in [true, false] {
        let (bytes, meta) = write(&options(Codec::Lz4, 16_384), &list, Fragments::default());
        let table = open(&bytes, &meta, 1 << 20, mapped).unwrap();
        for owned in &list {
            assert_eq!(
                get(&table, &owned.0, owned.1).unwrap().as_ref(),
                Some(owned)
            );
        }
        block_on(table.verify(no_blobs, MODE)).unwrap();
    }
}

#[test]
fn filters_exclude_most_of_what_is_not_there() {
    let list: Vec<_> = (0..2000)
        .map(|i| value(&format!("{:02}/{i:05}", i / 100), 1, "v"))
        .collect();
    let (bytes, meta) = write(&options(Codec::None, 4096), &list, Fragments::default());
    let table = open(&bytes, &meta, 0, true).unwrap();
    let passed = (0..2000)
        .filter(|i| may_contain(&table, format!("no{i}").as_bytes()).unwrap() == Some(true))
        .count();
    assert!(passed < 100, "{passed}");
    let says = |separator, prefix: &str| {
        let extractor = PrefixExtractor::Separator(separator);
        may_contain_prefix(&table, &SharedPrefix::new(extractor, prefix.as_bytes())).unwrap()
    };
    let passed = (20..99)
        .filter(|i| says(b'/', &format!("{i}/")) == Some(true))
        .count();
    assert!(passed < 20, "{passed}");
    assert_eq!(
        says(b':', "99/:"),
        None,
        "of another extractor it knows nothing"
    );
}

#[test]
fn offsets_grow_with_keys() {
    let list: Vec<_> = (0..1000)
        .map(|i| value(&format!("{i:05}"), 1, "some value of some bytes"))
        .collect();
    let (bytes, meta) = write(&options(Codec::None, 512), &list, Fragments::default());
    let table = open(&bytes, &meta, 0, true).unwrap();
    let offsets: Vec<_> = ["", "00100", "00500", "00900", "1"]
        .map(|key| {
            let open = table.opened().unwrap();
            block_on(open.approximate_offset(key.as_bytes(), MODE)).unwrap()
        })
        .into();
    assert!(offsets.is_sorted());
    assert_eq!(offsets[0], 24);
    let half = offsets[2] * 2;
    assert!(half.abs_diff(offsets[4]) < 2000);
}

#[test]
fn the_first_lookup_of_a_block_is_a_miss_and_a_repeat_is_a_hit() {
    let list: Vec<_> = (0..100)
        .map(|i| value(&format!("{i:05}"), 1, "value value value"))
        .collect();
    for codec in [Codec::None, Codec::Lz4] {
        for mapped in [true, false] {
            let (bytes, meta) = write(&options(codec, 512), &list, Fragments::default());
            let cache = Arc::new(BlockCache::new(1 << 20));
            let table = open_in(&bytes, &meta, &cache, mapped).unwrap();
            let counted = || {
                let steps = cache.reads().points();
                (steps.block_hits(), steps.rare.block_misses)
            };
            assert_eq!(counted(), (0, 0));
            get(&table, b"00050", 1).unwrap();
            assert_eq!(counted(), (0, 1));
            get(&table, b"00050", 1).unwrap();
            assert_eq!(counted(), (1, 1));
            drop(table);
            assert_eq!(cache.bytes(), 0);
        }
    }
}

#[test]
#[should_panic(expected = "in order")]
fn entries_out_of_order_are_our_own_mistake() {
    write(
        &options(Codec::None, 100),
        &[value("b", 1, ""), value("a", 1, "")],
        Fragments::default(),
    );
}

/// A table whose filter is in several partitions, and its rows.
fn partitioned() -> (Vec<Owned>, Vec<u8>, TableMeta) {
    let list: Vec<_> = (0..1_500)
        .map(|i| value(&format!("{i:05}"), 1, "a value"))
        .collect();
    let options = TableOptions {
        filter_bits_per_key: Some(255),
        prefix: None,
        ..options(Codec::None, 4096)
    };
    let (bytes, meta) = write(&options, &list, Fragments::default());
    (list, bytes, meta)
}

#[test]
fn without_maps_indexes_and_filters_take_no_memory_beside_the_cache() {
    let (list, bytes, meta) = partitioned();
    for budget in [0, 30_000, 1 << 20] {
        let cache = Arc::new(BlockCache::new(budget));
        let table = open_in(&bytes, &meta, &cache, false).unwrap();
        assert_eq!(table.opened().unwrap().bytes(), b"");
        assert_eq!(cache.bytes(), 0, "opening reads neither");
        for owned in &list {
            let found = get(&table, &owned.0, 1).unwrap();
            assert_eq!(found.as_ref(), Some(owned));
            assert!(cache.bytes() <= budget);
            let absent = [owned.0.as_slice(), b"x"].concat();
            assert_eq!(get(&table, &absent, 1).unwrap(), None);
        }
        let parts = cache.reads().parts();
        assert!(parts.filter_hits + parts.filter_misses >= 2 * list.len() as u64);
        match budget {
            0 => assert_eq!((parts.index_hits, parts.filter_hits), (0, 0)),
            30_000 => assert!(
                parts.index_misses < 10,
                "it stays while filters and blocks go"
            ),
            _ => assert_eq!((parts.index_misses, parts.filter_misses), (1, 3)),
        }
        drop(table);
        assert_eq!(cache.bytes(), 0);
    }
}

#[test]
fn damage_in_a_partition_is_an_error_or_changes_no_answer() {
    let (list, bytes, meta) = partitioned();
    let start = Footer::decode(&bytes[bytes.len() - FOOTER_BYTES..], 7, meta.bytes)
        .unwrap()
        .data_end();
    let start = usize::try_from(start).unwrap();
    let near_ends = (1..3).flat_map(|n| start + n * 16_448 - 64..start + n * 16_448 - 48);
    let mut unseen = 0;
    for place in (start..bytes.len()).step_by(997).chain(near_ends) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        let Ok(table) = open(&damaged, &meta, 1 << 20, false) else {
            continue;
        };
        let mut failed = false;
        for owned in list.iter().step_by(9) {
            match get(&table, &owned.0, 1) {
                Ok(found) => assert_eq!(found.as_ref(), Some(owned), "{place}"),
                Err(Error::Corruption { .. } | Error::InvalidFormat { .. }) => failed = true,
                Err(error) => panic!("{error:?}"),
            }
        }
        unseen += usize::from(!failed);
        assert_eq!(open(&damaged, &meta, 0, true).is_err(), failed, "{place}");
    }
    // Padding before a part is free to change.
    assert!(unseen <= 2 * 7 + 3, "{unseen} flips went unseen");
}

/// A small table with every part: both codecs' blocks, filters, tombstones.
fn small() -> (Vec<Owned>, Fragments, Vec<u8>, TableMeta) {
    let mut list: Vec<_> = (0..12)
        .map(|i| value(&format!("a/{i:02}"), 5, &"v".repeat(i)))
        .collect();
    list.push(value("b", 9, "new"));
    list.push(("b".into(), 3, Kind::Tombstone, Vec::new()));
    list.push(value("c", 2, "old"));
    let tombstones = fragments(&[(b"a/".to_vec(), b"b".to_vec(), 4)]);
    let (bytes, meta) = write(&options(Codec::Lz4, 150), &list, tombstones.clone());
    (list, tombstones, bytes, meta)
}

/// Right answers only, though any of them may be an error.
fn answers_or_errors(bytes: &[u8], meta: &TableMeta, mapped: bool) -> Result<()> {
    let (list, tombstones, ..) = small();
    let table = open(bytes, meta, 1 << 20, mapped)?;
    assert_eq!(table.opened().unwrap().tombstones(), &tombstones);
    for owned in &list {
        assert_eq!(may_contain(&table, &owned.0)?, Some(true));
        if let Ok(found) = get(&table, &owned.0, owned.1) {
            assert_eq!(found.as_ref(), Some(owned));
        }
    }
    check(&table, &list, &[])?;
    block_on(table.verify(no_blobs, MODE))
}

#[test]
fn every_flip_is_an_error_or_changes_no_answer() {
    let (_, _, bytes, meta) = small();
    let mut unseen = 0;
    for place in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= flip;
            match answers_or_errors(&damaged, &meta, place % 2 == 0) {
                Ok(()) => unseen += 1,
                Err(error) => assert!(
                    matches!(
                        error,
                        Error::Corruption { .. }
                            | Error::InvalidFormat { .. }
                            | Error::UnsupportedFormat { .. }
                    ),
                    "{error:?}"
                ),
            }
        }
    }
    // Only padding is free to change: less than 64 bytes before each of five parts.
    assert!(unseen <= 5 * 63 * 3, "{unseen} flips went unseen");
    assert!(answers_or_errors(&bytes, &meta, true).is_ok());
}

#[test]
fn every_truncation_is_an_error() {
    let (_, _, bytes, meta) = small();
    for length in 0..bytes.len() {
        let cut = TableMeta {
            bytes: length as u64,
            ..meta.clone()
        };
        for meta in [&meta, &cut] {
            assert!(open(&bytes[..length], meta, 0, true).is_err());
        }
    }
}

#[test]
fn a_table_that_is_not_the_one_recorded_is_an_error() {
    let (_, _, bytes, meta) = small();
    let changes: [fn(&mut TableMeta); 6] = [
        |meta| meta.number += 1,
        |meta| meta.entries += 1,
        |meta| meta.tombstones += 1,
        |meta| meta.smallest.push(0),
        |meta| meta.largest_exclusive ^= true,
        |meta| meta.largest_sequence = Sequence::new(99),
    ];
    for change in changes {
        let mut other = meta.clone();
        change(&mut other);
        assert!(matches!(
            open(&bytes, &other, 0, true),
            Err(Error::InvalidFormat { .. })
        ));
    }
}

#[test]
fn what_waits_for_storage_may_move_between_threads() {
    fn assert_send<T: Send>(_: &T) {}
    let (_, _, bytes, meta) = small();
    let cache = Arc::new(BlockCache::new(0));
    let table = open_in(&bytes, &meta, &cache, false).unwrap();
    assert_send(&table.open(MODE));
    assert_send(&table.verify(no_blobs, MODE));
    assert_send(&TableCursor::new(Arc::clone(&table), Counting::Blocks));
    let mut cursor = TableCursor::new(table, Counting::Blocks);
    if let Err(Halt::Needs(missing)) = cursor.seek_first() {
        assert_send(&missing.load(MODE));
    }
}
