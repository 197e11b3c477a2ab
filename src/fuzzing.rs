//! What `fuzz/` feeds with bytes: each decoder, the opening of a damaged directory, and calls against a model.
//!
//! Compiled for fuzzing and for tests only. For fuzzing every checksum is the same ([`crate::checksum`]), so that inputs
//! get behind them: what lies there must not panic, hang or allocate without bound, but may give wrong answers.
//! Tests run the corpus with checksums as they are.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use trine_io::{Mode, Storage};
use trine_platform::block_on;

use crate::blob::{BlobFile, BlobIndex, BlobMeta, BlobUses, BlobValue};
use crate::block::Block;
use crate::block::frame::{BlockHandle, Frame};
use crate::block::iter::BlockCursor;
use crate::cache::BlockCache;
use crate::coding::Reader;
use crate::commit::batch::WriteBatch;
use crate::commit::encoding::operations as batch_operations;
use crate::db::Db;
use crate::db::open::on_storage;
use crate::db::snapshot::Snapshot;
use crate::direction::Direction;
use crate::error::Result;
use crate::filter::{bloom, prefix};
use crate::hash::KeyHash;
use crate::key::KeyRange;
use crate::manifest::{ManifestState, VersionEdit};
use crate::open_files::OpenFiles;
use crate::options::{
    BucketOptions, CompressionProfile, DbOptions, DurabilityMode, PrefixFilterPolicy, WriteOptions,
};
use crate::prefix::PrefixExtractor;
use crate::runtime::RuntimeOptions;
use crate::sequence::Sequence;
use crate::wal::{replay, segment_name};

const MODE: Mode = Mode::Blocking;
/// How much of an input is used: longer ones say nothing new.
const INPUT_BYTES_MAX: usize = 1 << 16;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Options that make everything small.
fn options() -> DbOptions {
    DbOptions {
        background_worker_count: 0,
        runtime: RuntimeOptions::inline(),
        write_buffer_bytes: 600,
        max_immutable_memtables: 2,
        max_l0_files: 2,
        target_table_bytes: 400,
        block_cache_bytes: 4096,
        blob_gc_min_file_bytes: 1,
        default_bucket_options: BucketOptions {
            block_bytes: 128,
            blob_threshold_bytes: 100,
            compression: CompressionProfile::Fast,
            prefix_extractor: PrefixExtractor::FixedLen(1),
            prefix_filter_policy: PrefixFilterPolicy::Bloom {
                bits_per_prefix: 10,
            },
            ..BucketOptions::default()
        },
        durability: DurabilityMode::Buffered,
        ..DbOptions::new("fuzzed")
    }
}

fn open_in(storage: &Storage) -> Result<Db> {
    block_on(on_storage(options(), storage.clone(), MODE))
}

/// A directory in memory with these files.
fn directory<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Storage {
    let storage = Storage::memory();
    for (name, bytes) in files {
        let written = block_on(async {
            let file = storage.create(MODE, name).await?;
            file.write_at(MODE, 0, bytes.to_vec()).await
        });
        written.map(drop).unwrap_or_default();
    }
    storage
}

fn rows(db: &Db) -> Result<Rows> {
    let rows = db.range_sync(&KeyRange::all())?;
    rows.map(|row| row.map(|row| (row.key, row.value)))
        .collect()
}

/// A small database with a file of each kind: names and contents.
fn example() -> &'static [(String, Vec<u8>)] {
    static EXAMPLE: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    EXAMPLE.get_or_init(|| build_example().unwrap_or_default())
}

fn build_example() -> Result<Vec<(String, Vec<u8>)>> {
    let storage = Storage::memory();
    let db = open_in(&storage)?;
    let second = db.bucket_sync("second")?;
    for round in 0..4_u8 {
        for key in 0..12_u8 {
            let length = if key % 5 == 0 { 150 } else { usize::from(key) };
            db.put_sync([b'k', key], vec![round; length])?;
            second.put_sync([key], [round])?;
        }
        db.delete_sync([b'k', round])?;
        db.delete_range_sync(KeyRange::half_open([b'k', round + 6], [b'k', round + 7]))?;
        if round < 3 {
            db.flush_sync()?;
        }
        if round == 1 {
            db.compact_range_sync(KeyRange::all())?;
        }
    }
    drop((second, db));
    let mut files = Vec::new();
    for name in block_on(storage.list(MODE))? {
        let bytes = block_on(storage.read_file(MODE, &name, u64::MAX))?;
        files.push((name, bytes));
    }
    Ok(files)
}

/// Inputs to begin with: target, name, bytes.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (name, bytes) in example() {
        let target = match name.split_once('-').map(|(kind, _)| kind) {
            Some("wal") => "record",
            Some("table") => "table",
            Some("blob") => "blob",
            Some("MANIFEST") => "edit",
            _ => continue,
        };
        seeds.push((target, name.clone(), bytes.clone()));
        if target == "table" {
            seeds.push((
                "block",
                name.clone(),
                bytes.get(24..).unwrap_or_default().to_vec(),
            ));
            seeds.push(("filter", name.clone(), bytes.clone()));
        }
    }
    for (name, bytes) in [
        ("nothing", &[][..]),
        (
            "some",
            &[0, 1, 7, 0, 9, 3, 200, 2, 77, 77, 1, 5, 40, 1, 2, 3],
        ),
    ] {
        seeds.push(("open", name.to_owned(), bytes.to_vec()));
        seeds.push(("operations", name.to_owned(), bytes.to_vec()));
    }
    seeds
}

/// A log segment, and the batches in it.
pub fn record(input: &[u8]) {
    let storage = directory([(&*segment_name(1), input)]);
    let read = replay(&storage, 1..=1, MODE, |_, batch| {
        for operation in batch_operations(batch) {
            drop(operation);
        }
        Ok(true)
    });
    drop(block_on(read));
    for operation in batch_operations(input) {
        if operation.is_err() {
            break;
        }
    }
}

/// A block and the frame around it.
pub fn block(input: &[u8]) {
    if let Ok(decoded) = Frame::parse(input).and_then(|frame| frame.decode()) {
        walk(&decoded);
    }
    walk(input);
}

fn walk(bytes: &[u8]) {
    let Ok(block) = Block::parse(bytes) else {
        return;
    };
    let mut cursor = BlockCursor::default();
    let mut keys = Vec::new();
    if cursor.enter(block, 0).is_ok() {
        while let Some(entry) = cursor.entry(block) {
            keys.push((entry.key.to_vec(), entry.sequence));
            if keys.len() > 200 || !matches!(cursor.next(block), Ok(true)) {
                break;
            }
        }
        while matches!(cursor.previous(block), Ok(true)) {}
    }
    keys.push((bytes.iter().take(9).copied().collect(), Sequence::new(3)));
    for (key, sequence) in keys {
        drop(block.lower_bound(&key, sequence));
        drop(block.get(&key, KeyHash::of(&key), sequence));
    }
}

/// A table: footer, index, tombstones, properties, blocks.
pub fn table(input: &[u8]) {
    crate::table::fuzzing::table(input);
}

/// Filters, and the extractor of a prefix filter.
pub fn filter(input: &[u8]) {
    let (key, filter) = input.split_at(input.len().min(8));
    let line = filter.first_chunk::<{ bloom::LINE_BYTES }>();
    if let Some(line) = line {
        bloom::line_may_contain(line, KeyHash::of(key));
    }
    let mut reader = Reader::new(key);
    if let Ok(extractor) = prefix::decode_extractor(&mut reader) {
        let shared = prefix::SharedPrefix::new(extractor, filter);
        shared.begins(key);
        if let (Some(line), Some(hash)) = (line, shared.hash()) {
            bloom::line_may_contain(line, hash);
        }
    }
}

/// Edits of the manifest, one after the other.
pub fn edit(input: &[u8]) {
    let mut state = ManifestState::default();
    let mut reader = Reader::new(input);
    while let Ok(edit) = reader.bytes().and_then(VersionEdit::decode) {
        assert_eq!(VersionEdit::decode(&edit.encode()).as_ref(), Ok(&edit));
        if state.apply(&edit).is_err() {
            break;
        }
        let snapshot = VersionEdit::decode(&state.snapshot().encode());
        let mut again = ManifestState::default();
        let applied = snapshot.and_then(|snapshot| again.apply(&snapshot));
        assert_eq!(applied, Ok(()), "a snapshot of what was applied must apply");
    }
    drop(VersionEdit::decode(input));
}

/// A blob file, and references to values.
pub fn blob(input: &[u8]) {
    drop(BlobIndex::decode(input));
    drop(BlobUses::decode(&mut Reader::new(input)));
    let storage = directory([("blob", input)]);
    let (Ok(file), Some(first)) = (block_on(storage.open(MODE, "blob")), input.first()) else {
        return;
    };
    for values in [1, 3, u64::from(*first)] {
        let meta = BlobMeta {
            number: 1,
            values,
            value_bytes: 150 * values,
            bytes: input.len() as u64,
        };
        let cache = Arc::new(BlockCache::new(4096));
        let files = Arc::new(OpenFiles::new(storage.clone(), cache, usize::MAX));
        let Ok(file) = block_on(BlobFile::open_in(&file, &meta, &files, MODE)) else {
            continue;
        };
        let mut offset = 24;
        for ordinal in 0..values {
            let value = BlobValue::new(
                Arc::clone(&file),
                BlobIndex {
                    file: 1,
                    ordinal,
                    record: BlockHandle {
                        offset,
                        length: u32::from(*first),
                    },
                    value_bytes: 150,
                },
            );
            drop(block_on(value.read(MODE)));
            offset += u64::from(*first) + 9;
        }
    }
}

/// The next so many bytes as a number; zeros behind the end.
fn take(input: &mut &[u8], count: usize) -> usize {
    let (now, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    now.iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// Opens a database some of whose files were changed, reads all of it and writes to it.
pub fn open(input: &[u8]) {
    let mut files = example().to_vec();
    let mut rest = input;
    while !rest.is_empty() && !files.is_empty() {
        let count = files.len();
        let (_, bytes) = &mut files[take(&mut rest, 1) % count];
        let (how, at) = (take(&mut rest, 1), take(&mut rest, 2));
        // Counted from the end, too, where footers are.
        let at = if how & 1 == 0 {
            at
        } else {
            bytes.len().saturating_sub(at)
        };
        match how >> 1 & 7 {
            0 => bytes.truncate(at),
            1 => bytes.extend(std::iter::repeat_n(0, at.min(4096))),
            2 if at <= bytes.len() => {
                let inserted = take(&mut rest, 1);
                bytes.insert(at, u8::try_from(inserted).unwrap_or_default());
            }
            3 => bytes
                .drain(at.min(bytes.len())..(at + 7).min(bytes.len()))
                .for_each(drop),
            4 => bytes
                .iter_mut()
                .skip(at)
                .take(64)
                .for_each(|byte| *byte = 0),
            _ => {
                let value = take(&mut rest, 1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(value).unwrap_or_default();
                }
            }
        }
    }
    let storage = directory(files.iter().map(|(name, bytes)| (&**name, &**bytes)));
    let Ok(db) = open_in(&storage) else { return };
    drop(use_database(&db));
}

fn use_database(db: &Db) -> Result<()> {
    drop(db.verify_sync(|_| {}));
    drop(rows(db));
    for row in db.range_reverse_sync(&KeyRange::all())? {
        drop(row?);
    }
    for key in 0..14 {
        drop(db.get_sync(&[b'k', key]));
    }
    drop(db.stats());
    db.put_sync("new", "row")?;
    db.flush_sync()?;
    db.compact_range_sync(KeyRange::all())?;
    drop(rows(db));
    Ok(())
}

/// Calls on a database, compared with a map after each look.
///
/// # Panics
/// A call fails, or an answer is not the model's.
pub fn operations(input: &[u8]) {
    let storage = Storage::memory();
    let mut rest = input.get(..INPUT_BYTES_MAX).unwrap_or(input);
    let outcome = run(&storage, &mut rest);
    assert!(outcome.is_ok(), "{outcome:?}");
}

fn run(storage: &Storage, rest: &mut &[u8]) -> Result<()> {
    let mut db = open_in(storage)?;
    let mut model = Rows::new();
    let mut snapshots: Vec<(Snapshot, Rows)> = Vec::new();
    while !rest.is_empty() {
        let what = take(rest, 1);
        let key = |number: usize| {
            vec![
                b"kl"[number & 1],
                u8::try_from(number & 31).unwrap_or_default(),
            ]
        };
        match what % 16 {
            0..4 => {
                let (key, length) = (key(take(rest, 1)), take(rest, 1));
                let value = vec![u8::try_from(what).unwrap_or_default(); length];
                model.insert(key.clone(), value.clone());
                db.put_sync(key, value)?;
            }
            4 => {
                let key = key(take(rest, 1));
                model.remove(&key);
                db.delete_sync(key)?;
            }
            5 | 6 => {
                let (start, end) = (key(take(rest, 1)), key(take(rest, 1)));
                model.retain(|key, _| !(start <= *key && *key < end));
                db.delete_range_sync(KeyRange::half_open(start, end))?;
            }
            7 => {
                let mut batch = WriteBatch::new();
                for _ in 0..take(rest, 1) % 8 {
                    let (first, last) = (key(take(rest, 1)), key(take(rest, 1)));
                    if last < first {
                        batch.delete_range(KeyRange::half_open(last.clone(), first.clone()));
                        model.retain(|key, _| !(last <= *key && *key < first));
                    } else {
                        batch.put(first.clone(), last.clone());
                        model.insert(first, last);
                    }
                }
                db.write_sync(batch, WriteOptions::default())?;
            }
            8 => db.flush_sync()?,
            9 => drop(db.compact_range_sync(KeyRange::all())?),
            10 => snapshots.push((db.snapshot(), model.clone())),
            11 if !snapshots.is_empty() => {
                let index = take(rest, 1) % snapshots.len();
                let (snapshot, rows) = snapshots.swap_remove(index);
                look(&db, Some(&snapshot), &rows, take(rest, 1))?;
            }
            12 => {
                snapshots.clear();
                drop(db);
                db = open_in(storage)?;
            }
            _ => look(&db, None, &model, take(rest, 1))?,
        }
    }
    look(&db, None, &model, 0)?;
    db.verify_sync(|_| {}).map(drop)
}

/// Compares a point, and the rows in both directions, from a key on.
fn look(db: &Db, snapshot: Option<&Snapshot>, model: &Rows, from: usize) -> Result<()> {
    let start = vec![
        b'k' + u8::try_from(from >> 7).unwrap_or_default(),
        u8::try_from(from & 31).unwrap_or_default(),
    ];
    let range = KeyRange::half_open(start.clone(), "z");
    let now = db.snapshot();
    let snapshot = snapshot.unwrap_or(&now);
    assert_eq!(
        db.get_at_sync(snapshot, &start)?.as_ref(),
        model.get(&start)
    );
    for direction in [Direction::Forward, Direction::Reverse] {
        let found = match direction {
            Direction::Forward => db.range_at_sync(snapshot, &range)?,
            Direction::Reverse => db.range_reverse_at_sync(snapshot, &range)?,
        };
        let found: Vec<_> = found.collect::<Result<_>>()?;
        let mut expected: Vec<_> = model.range(start.clone()..).collect();
        if direction == Direction::Reverse {
            expected.reverse();
        }
        assert!(
            found
                .iter()
                .map(|row| (&row.key, &row.value))
                .eq(expected.iter().copied())
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_of_the_corpus_is_survived() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 8] = [
            ("record", record),
            ("block", block),
            ("table", table),
            ("filter", filter),
            ("edit", edit),
            ("blob", blob),
            ("open", open),
            ("operations", operations),
        ];
        for (name, target) in targets {
            let seeds = seeds().into_iter().filter(|(of, _, _)| *of == name);
            seeds.for_each(|(_, _, input)| target(&input));
            let path = format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let corpus = Storage::portable(path.as_ref());
            for name in block_on(corpus.list(MODE)).unwrap() {
                target(&block_on(corpus.read_file(MODE, &name, u64::MAX)).unwrap());
            }
        }
    }
}
